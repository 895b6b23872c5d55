package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"ampoule/artifact"
	"ampoule/faults"
)

// Referrers lists what refers to an artifact; with an artifactType, only what has
// it. A registry without the referrers API is asked by tag (OCI
// distribution-spec, "Referrers Tag Schema").
func (r *Registry) Referrers(ctx context.Context, ref, artifactType string) ([]ReferrerInfo, error) {
	at, err := r.parse(ref)
	if err != nil {
		return nil, err
	}
	if at.digest == "" {
		return nil, wrongReference(ref, "referrers belong to a digest, not to a tag")
	}
	list, err := at.listReferrers(ctx, at.digest, artifactType)
	if err != nil {
		return nil, at.convert("listing referrers of "+ref, ref, err)
	}
	var found []ReferrerInfo
	for _, d := range list {
		info, err := at.describeReferrer(ctx, d)
		if err := at.asDamage(at.at(d.Digest.String()), "its manifest", err); err != nil {
			return nil, at.convert("reading referrer "+d.Digest.String(), at.at(d.Digest.String()), err)
		}
		found = append(found, info)
	}
	return found, nil
}

// listReferrers lists what refers to a digest.
func (l location) listReferrers(ctx context.Context, digest, artifactType string) ([]v1.Descriptor, error) {
	options := append([]remote.Option{remote.WithContext(ctx)}, l.options...)
	if artifactType != "" {
		options = append(options, remote.WithFilter("artifactType", artifactType))
	}
	list, err := remote.Referrers(l.repo.Digest(digest), options...)
	if err != nil {
		return nil, err
	}
	index, err := list.IndexManifest()
	if err != nil {
		return nil, err
	}
	return index.Manifests, nil
}

// referring is a manifest that refers to a subject, both by their digests.
type referring struct{ subject, digest, artifactType string }

// checkListed wants what was sent to be listed at its subject. A registry that keeps manifests and forgets
// what they refer to would make evidence vanish.
func (l location) checkListed(ctx context.Context, op string, sent []referring) error {
	listed, asked := map[string]bool{}, map[string]bool{}
	for _, s := range sent {
		if asked[s.subject] {
			continue
		}
		asked[s.subject] = true
		list, err := l.listReferrers(ctx, s.subject, "")
		if err != nil {
			return l.convert("listing referrers of "+s.subject, l.at(s.subject), err)
		}
		for _, d := range list {
			listed[d.Digest.String()] = true
		}
	}
	for _, s := range sent {
		if !listed[s.digest] {
			return &RemoteError{Registry: l.shown, Op: op, Err: &StrippedError{Subject: s.subject, Type: s.artifactType}}
		}
	}
	return nil
}

// StrippedError says that a registry took what refers to something, and does not list it.
type StrippedError struct {
	// Subject is the digest that it refers to, Type its artifact type.
	Subject, Type string
}

func (e *StrippedError) Error() string {
	return fmt.Sprintf("it does not list what refers to %s: %s", e.Subject, e.Type)
}

// Kind says whose fault it is.
func (*StrippedError) Kind() faults.Kind { return faults.Remote }

// Lasts says that the registry is none for this: see [faults.Passes].
func (*StrippedError) Lasts() bool { return true }

// Hint says what to do.
func (*StrippedError) Hint() string {
	return "use a registry that keeps referrers, or at least tags; an artifact is not put where its evidence would be missing"
}

func (l location) describeReferrer(ctx context.Context, d v1.Descriptor) (ReferrerInfo, error) {
	info := ReferrerInfo{Digest: d.Digest.String(), ArtifactType: d.ArtifactType, Annotations: d.Annotations}
	if !d.MediaType.IsImage() {
		return info, nil
	}
	raw, err := l.get(ctx, l.repo.Digest(info.Digest))
	if err != nil {
		return info, err
	}
	return l.describeFiles(info, raw.Manifest)
}

// describeFiles adds to a description what a manifest of files says.
func (l location) describeFiles(info ReferrerInfo, manifest []byte) (ReferrerInfo, error) {
	var m v1.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return info, fmt.Errorf("reading manifest: %w", err)
	}
	info.Annotations = m.Annotations
	if m.ArtifactType != "" {
		info.ArtifactType = m.ArtifactType // some registries list another one
	}
	for _, f := range m.Layers {
		if f.MediaType == artifact.EmptyType {
			continue
		}
		info.Files = append(info.Files, FileInfo{
			Name: f.Annotations[artifact.AnnotationTitle], MediaType: string(f.MediaType),
			Digest: f.Digest.String(), Size: f.Size, Blob: l.at(f.Digest.String()),
		})
	}
	return info, nil
}

// OpenFile returns the content of a referrer's file. Content that is not what its
// digest says is a [*DamagedError] from Read, where io.EOF would be.
func (r *Registry) OpenFile(ctx context.Context, f FileInfo) (io.ReadCloser, error) {
	at, err := r.parse(f.Blob)
	if err != nil {
		return nil, err
	}
	op := "reading " + f.Name
	content, err := at.openBlob(ctx, f.Digest)
	if err := at.asDamage(f.Blob, f.Name, err); err != nil {
		return nil, at.convert(op, f.Blob, err)
	}
	plain := converting{ReadCloser: content, location: at, op: op}
	return at.judged(ctx, plain, f.Blob, f.Name, f.Digest), nil
}
