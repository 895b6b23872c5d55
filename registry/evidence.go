package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"ampoule/artifact"
	"ampoule/faults"
)

// EvidenceKind is how a signature or a statement is attached to an artifact.
type EvidenceKind int

// The kinds. Those of cosign's tags are images with a layer for each signature or statement.
const (
	// SignatureTag is a layer of the image that [artifact.SignatureTag] names.
	SignatureTag EvidenceKind = iota
	// AttestationTag is a layer of the image that [artifact.AttestationTag] names.
	AttestationTag
	// Bundle is an OCI referrer.
	Bundle
)

const (
	// maxEvidence bounds one signature or statement, in bytes.
	maxEvidence = 16 << 20
	// maxEvidenceCount bounds how many an artifact has of one kind.
	maxEvidenceCount = 64
	// bundleFile is the name of a bundle's file.
	bundleFile = "bundle.json"
	// evidenceTries is how often a tag is written that others write at the same time.
	evidenceTries = 8
)

// Evidence is a signature or a statement about an artifact, as it lies in a registry. Package
// evidence has its forms.
type Evidence struct {
	Kind EvidenceKind `json:"kind"`
	// Where names it for people, once it was read.
	Where string `json:"where"`
	// MediaType is that of Data.
	MediaType string `json:"mediaType"`
	// Annotations stand beside it: at its layer, or at a bundle's manifest.
	Annotations map[string]string `json:"annotations,omitempty"`
	Data        []byte            `json:"data"`
	// Err says that it is there and could not be read: it is damaged, or too large.
	Err error `json:"-"`
}

// Evidence reads all signatures and statements about the artifact that a digest names. What
// is damaged is listed with its Err. A registry that fails is an error.
func (r *Registry) Evidence(ctx context.Context, ref string) ([]Evidence, error) {
	at, err := r.parse(ref)
	if err != nil {
		return nil, err
	}
	if at.digest == "" {
		return nil, wrongReference(ref, "signatures belong to a digest, not to a tag")
	}
	var all []Evidence
	for kind, tag := range evidenceTags(at.digest) {
		found, err := at.taggedEvidence(ctx, kind, tag)
		if err != nil {
			return nil, at.convert("reading signatures of "+ref, ref, err)
		}
		all = append(all, found...)
	}
	bundles, err := at.bundles(ctx)
	if err != nil {
		return nil, at.convert("reading signatures of "+ref, ref, err)
	}
	return append(all, bundles...), nil
}

// evidenceTags are the tags of an artifact's evidence, in the order of their kinds.
func evidenceTags(digest string) []string {
	return []string{SignatureTag: artifact.SignatureTag(digest), AttestationTag: artifact.AttestationTag(digest)}
}

// taggedEvidence reads the layers of the image that a tag of cosign's names.
func (l location) taggedEvidence(ctx context.Context, kind int, tag string) ([]Evidence, error) {
	m, err := l.tagged(ctx, tag)
	if err != nil {
		return unreadable(EvidenceKind(kind), l.base+":"+tag, l.asDamage(l.base+":"+tag, "its manifest", err))
	}
	var all []Evidence
	for i, d := range m.Layers {
		e := Evidence{Kind: EvidenceKind(kind), Where: fmt.Sprintf("%s:%s[%d]", l.base, tag, i), MediaType: string(d.MediaType), Annotations: d.Annotations}
		if i == maxEvidenceCount {
			e.Err = fmt.Errorf("there are more than %d", maxEvidenceCount)
			return append(all, e), nil
		}
		if e, err = l.evidence(ctx, e, d); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// tagged reads the manifest that a tag names; one that is not there is empty.
func (l location) tagged(ctx context.Context, tag string) (v1.Manifest, error) {
	var m v1.Manifest
	raw, err := l.get(ctx, l.repo.Tag(tag))
	var missing *NotFoundError
	if errors.As(l.convert("", "", err), &missing) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(raw.Manifest, &m); err != nil || !raw.MediaType.IsImage() {
		return m, fmt.Errorf("%w: it is no image's manifest", ErrDigest)
	}
	return m, nil
}

// unreadable is evidence that is there and cannot be read. Other errors stay errors.
func unreadable(kind EvidenceKind, where string, err error) ([]Evidence, error) {
	var damaged *DamagedError
	if errors.As(err, &damaged) {
		return []Evidence{{Kind: kind, Where: where, Err: err}}, nil
	}
	return nil, err
}

// evidence reads the content of one piece.
func (l location) evidence(ctx context.Context, e Evidence, d v1.Descriptor) (Evidence, error) {
	if d.Size > maxEvidence {
		e.Err = fmt.Errorf("it has %d bytes, more than %d", d.Size, maxEvidence)
		return e, nil
	}
	content, err := l.openBlob(ctx, d.Digest.String())
	if err == nil {
		e.Data, err = io.ReadAll(io.LimitReader(content, maxEvidence+1))
		err = errors.Join(err, content.Close())
	}
	if err == nil && int64(len(e.Data)) != d.Size {
		err = fmt.Errorf("%w: it has %d bytes, not %d", ErrDigest, len(e.Data), d.Size)
	}
	err = l.asDamage(l.at(d.Digest.String()), "its content", err)
	var damaged *DamagedError
	if errors.As(err, &damaged) {
		e.Data, e.Err = nil, err
		return e, nil
	}
	return e, err
}

// bundles reads the referrers that are sigstore bundles.
func (l location) bundles(ctx context.Context) ([]Evidence, error) {
	list, err := l.listReferrers(ctx, l.digest, "")
	if err != nil {
		return nil, err
	}
	var all []Evidence
	for _, d := range list {
		// Some registries list no type, or that of the configuration: then the manifest tells it.
		if t := d.ArtifactType; t != artifact.BundleType && t != "" && t != artifact.EmptyType {
			continue
		}
		e := Evidence{Kind: Bundle, Where: l.at(d.Digest.String()), MediaType: artifact.BundleType}
		if len(all) == maxEvidenceCount {
			e.Err = fmt.Errorf("there are more than %d", maxEvidenceCount)
			return append(all, e), nil
		}
		e, is, err := l.bundle(ctx, e, d)
		if err != nil {
			return nil, err
		}
		if is {
			all = append(all, e)
		}
	}
	return all, nil
}

// bundle reads the one file of a bundle's manifest, and reports whether it is one.
func (l location) bundle(ctx context.Context, e Evidence, d v1.Descriptor) (Evidence, bool, error) {
	raw, err := l.get(ctx, l.repo.Digest(d.Digest.String()))
	var m v1.Manifest
	if err == nil && json.Unmarshal(raw.Manifest, &m) != nil {
		err = fmt.Errorf("%w: it is no manifest", ErrDigest)
	}
	if err != nil {
		err = l.asDamage(l.at(d.Digest.String()), "its manifest", err)
		var damaged *DamagedError
		if errors.As(err, &damaged) {
			e.Err = err
			return e, true, nil
		}
		return e, false, err
	}
	e.Annotations = m.Annotations
	switch {
	case m.ArtifactType != artifact.BundleType:
		return e, false, nil
	case len(m.Layers) != 1:
		e.Err = fmt.Errorf("it has %d files, not one", len(m.Layers))
		return e, true, nil
	}
	e, err = l.evidence(ctx, e, m.Layers[0])
	return e, true, err
}

// AddEvidence attaches signatures and statements to an artifact, beside those that it has. OCI
// registries have no condition on writes of a tag: of two processes that add to one at the same
// moment, one may lose what it has added, and must add it again.
func (r *Registry) AddEvidence(ctx context.Context, ref string, items ...Evidence) error {
	at, err := r.parse(ref)
	if err != nil {
		return err
	}
	if at.digest == "" {
		return wrongReference(ref, "signatures belong to a digest, not to a tag")
	}
	var subject *v1.Descriptor
	err = alive(ctx, func() (err error) {
		subject, err = at.puller.Head(ctx, at.reference())
		return err
	})
	if err != nil {
		return at.convert("signing "+ref, ref, err)
	}
	pusher, err := remote.NewPusher(at.options...)
	if err != nil {
		return fmt.Errorf("signing %s: %w", ref, err)
	}
	return at.convert("signing "+ref, ref, at.pushEvidence(ctx, pusher, *subject, items))
}

// pushEvidence sends evidence about a subject, which need not be there yet.
func (l location) pushEvidence(ctx context.Context, pusher *remote.Pusher, subject v1.Descriptor, items []Evidence) error {
	for kind, tag := range evidenceTags(subject.Digest.String()) {
		of := slices.DeleteFunc(slices.Clone(items), func(e Evidence) bool { return e.Kind != EvidenceKind(kind) })
		if len(of) == 0 {
			continue
		}
		if err := l.addTagged(ctx, pusher, tag, of); err != nil {
			return err
		}
	}
	var sent []referring
	for _, e := range items {
		if e.Kind != Bundle {
			continue
		}
		file := artifact.BytesFile(bundleFile, e.MediaType, e.Data)
		referrer := artifact.Referrer{ArtifactType: artifact.BundleType, Annotations: e.Annotations, Files: []artifact.File{file}}
		manifest, err := l.pushReferrer(ctx, pusher, referrer, subject)
		if err != nil {
			return err
		}
		sent = append(sent, referring{subject.Digest.String(), manifest.digest(), referrer.ArtifactType})
	}
	return l.checkListed(ctx, "signing "+l.at(subject.Digest.String()), sent)
}

// addTagged adds layers to the image that a tag names, until they are seen there.
func (l location) addTagged(ctx context.Context, pusher *remote.Pusher, tag string, items []Evidence) error {
	layers := make([]v1.Descriptor, len(items))
	for i, e := range items {
		file := artifact.BytesFile("", e.MediaType, e.Data)
		if err := l.upload(ctx, pusher, blobsOf([]artifact.File{file})[1]); err != nil {
			return err
		}
		digest, err := v1.NewHash(file.Digest)
		if err != nil {
			return err
		}
		layers[i] = v1.Descriptor{MediaType: types.MediaType(e.MediaType), Size: file.Size, Digest: digest, Annotations: e.Annotations}
	}
	l.tagging.Lock()
	defer l.tagging.Unlock()
	for range evidenceTries {
		m, err := l.tagged(ctx, tag)
		if err != nil {
			return err
		}
		missing := slices.DeleteFunc(slices.Clone(layers), func(d v1.Descriptor) bool { return hasLayer(m.Layers, d) })
		if len(missing) == 0 {
			return nil
		}
		if len(m.Layers)+len(missing) > maxEvidenceCount {
			return faults.New(faults.Refused, "remove the tag, and sign again what is still trusted",
				"%s:%s would have more than %d signatures", l.base, tag, maxEvidenceCount)
		}
		if err := l.putTagged(ctx, pusher, tag, append(m.Layers, missing...)); err != nil {
			return err
		}
	}
	return faults.New(faults.Remote, "sign again", "others write %s:%s at the same time, again and again", l.base, tag)
}

func hasLayer(layers []v1.Descriptor, d v1.Descriptor) bool {
	return slices.ContainsFunc(layers, func(has v1.Descriptor) bool {
		return has.Digest == d.Digest && maps.Equal(has.Annotations, d.Annotations)
	})
}

// putTagged writes an image with these layers under a tag, in the form that cosign has for it.
func (l location) putTagged(ctx context.Context, pusher *remote.Pusher, tag string, layers []v1.Descriptor) error {
	file := v1.ConfigFile{RootFS: v1.RootFS{Type: "layers"}}
	for _, d := range layers {
		file.RootFS.DiffIDs = append(file.RootFS.DiffIDs, d.Digest)
	}
	config, err := newDocument(types.OCIConfigJSON, file)
	if err != nil {
		return err
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config.descriptor(), Layers: layers}
	manifest, err := newDocument(types.OCIManifestSchema1, m)
	if err != nil {
		return err
	}
	if err := l.upload(ctx, pusher, documentBlob(config)); err != nil {
		return err
	}
	return pusher.Put(ctx, l.repo.Tag(tag), manifest)
}
