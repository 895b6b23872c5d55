package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry/layer"
)

// maxGroupRecord bounds the record of a group, in bytes.
const maxGroupRecord = 64 << 20

// PackedGroup is a dependency group in the form that a registry takes.
type PackedGroup struct {
	// Repository is the artifact's, Digest its index's.
	Repository, Digest string
	Referrer           artifact.Referrer
	// Verdict refers to the group.
	Verdict artifact.Referrer
	// SBOM writes the bill of materials of the group with a digest; may be nil.
	SBOM func(digest string) ([]byte, error)
	// Evidence makes what is signed of the group, as [Packed] has it.
	Evidence func(ctx context.Context, repository, digest string) ([]Evidence, error)
}

// PackGroup compresses a group's layers. What the packer keeps must stay until the result is
// published.
func PackGroup(ctx context.Context, packer layer.Packer, g artifact.Group) (PackedGroup, error) {
	packed, err := packLayers(ctx, packer, g.Layers)
	if err != nil {
		return PackedGroup{}, fmt.Errorf("packing group %s: %w", g.Record.Name, err)
	}
	record, err := json.MarshalIndent(g.Record, "", "  ")
	if err != nil {
		return PackedGroup{}, fmt.Errorf("packing group %s: %w", g.Record.Name, err)
	}
	files := []artifact.File{artifact.BytesFile(artifact.GroupFile, artifact.GroupRecordType, record)}
	for i, p := range packed {
		files = append(files, artifact.File{
			Name: g.Record.Layers[i].File, MediaType: artifact.LayerType, Digest: p.Digest, Size: p.Size, Open: p.Open,
		})
	}
	return PackedGroup{
		Repository: g.Repository, Digest: g.Digest, SBOM: g.SBOM,
		Referrer: artifact.Referrer{
			ArtifactType: artifact.GroupType, Files: files,
			Annotations: map[string]string{artifact.AnnotationGroup: g.Record.Name, artifact.AnnotationGroupKey: g.Record.Key},
		},
		Verdict: artifact.Referrer{
			ArtifactType: artifact.VerdictType, Annotations: map[string]string{artifact.AnnotationGroup: g.Record.Name},
			Files: []artifact.File{artifact.BytesFile(artifact.VerdictFile, artifact.VerdictType, g.Verdict)},
		},
	}, nil
}

// PublishGroup attaches a group to its artifact, and returns the digest of its manifest. What
// refers to the group is sent first, so that whoever finds it finds all of it.
func (r *Registry) PublishGroup(ctx context.Context, g PackedGroup) (string, error) {
	op := "publishing a group of " + g.Repository
	at, err := r.locateOwn(g.Repository, g.Repository)
	if err != nil {
		return "", err
	}
	var subject *v1.Descriptor
	err = alive(ctx, func() (err error) {
		subject, err = at.puller.Head(ctx, at.repo.Digest(g.Digest))
		return err
	})
	if err != nil {
		return "", at.convert(op, at.at(g.Digest), err)
	}
	manifest, err := encodeReferrer(g.Referrer, v1.Descriptor{MediaType: subject.MediaType, Size: subject.Size, Digest: subject.Digest})
	if err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	pusher, err := remote.NewPusher(at.options...)
	if err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	beside, evidence, err := g.beside(ctx, at.base, manifest.digest())
	if err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	send := func() error {
		for _, referrer := range beside {
			if _, err := at.pushReferrer(ctx, pusher, referrer, manifest.descriptor()); err != nil {
				return err
			}
		}
		if err := at.pushEvidence(ctx, pusher, manifest.descriptor(), evidence); err != nil {
			return err
		}
		_, err := at.pushReferrer(ctx, pusher, g.Referrer, *subject)
		return err
	}
	if err = send(); isBlobUnknown(err) {
		// The registry has collected a blob since it was asked for it.
		err = send()
	}
	return manifest.digest(), at.convert(op, at.base, err)
}

// beside is what refers to the group of a digest, and what is signed of it.
func (g PackedGroup) beside(ctx context.Context, repository, digest string) ([]artifact.Referrer, []Evidence, error) {
	referrers := []artifact.Referrer{g.Verdict}
	if g.SBOM != nil {
		bill, err := billReferrer(g.SBOM, digest)
		if err != nil {
			return nil, nil, err
		}
		bill.Annotations = g.Verdict.Annotations
		referrers = append(referrers, bill)
	}
	if g.Evidence == nil {
		return referrers, nil, nil
	}
	evidence, err := g.Evidence(ctx, repository, digest)
	return referrers, evidence, err
}

// FindGroup returns the digest of the group that refers to an artifact and has a key. One of
// which something is gone is a [*DamagedError]: publishing it again mends it.
func (r *Registry) FindGroup(ctx context.Context, name, digest, key string) (string, bool, error) {
	at, err := r.locateOwn(name, name)
	if err != nil {
		return "", false, err
	}
	op := "finding a group of " + at.at(digest)
	list, err := at.listReferrers(ctx, digest, artifact.GroupType)
	if err != nil {
		return "", false, at.convert(op, at.at(digest), err)
	}
	for _, d := range list {
		c := chain{location: at, key: key, digest: d.Digest.String()}
		var m v1.Manifest
		if err = c.manifest(ctx, d, &m); err != nil || m.Annotations[artifact.AnnotationGroupKey] != key {
			continue
		}
		if err = c.heads(ctx, append(m.Layers, m.Config)); err == nil {
			return c.digest, true, nil
		}
	}
	return "", false, at.convert(op, at.at(digest), err)
}

// Group is a published dependency group.
type Group struct {
	// Digest is its manifest's, Ref names it by that.
	Digest, Ref string
	Record      artifact.GroupRecord
	// Layers are laid over the artifact's image, the lowest first.
	Layers []LayerInfo
	// Refused says why it may not be laid over anything; nil where it may. Who refuses a group
	// takes its layers away.
	Refused error
}

// Groups lists the dependency groups that were published for an artifact, which a digest names.
func (r *Registry) Groups(ctx context.Context, ref string) ([]Group, error) {
	referrers, err := r.Referrers(ctx, ref, artifact.GroupType)
	if err != nil {
		return nil, err
	}
	repository, _, _ := strings.Cut(ref, "@")
	var groups []Group
	for _, info := range referrers {
		if info.ArtifactType != artifact.GroupType {
			continue
		}
		g, err := r.group(ctx, info)
		if err != nil {
			return nil, fmt.Errorf("reading group %s: %w", info.Digest, err)
		}
		if !strings.HasSuffix(ref, "@"+g.Record.Artifact) {
			return nil, fmt.Errorf("reading group %s: it says that it is laid over %s", info.Digest, g.Record.Artifact)
		}
		g.Ref = repository + "@" + g.Digest
		groups = append(groups, g)
	}
	return groups, nil
}

// group reads one group.
func (r *Registry) group(ctx context.Context, info ReferrerInfo) (Group, error) {
	g := Group{Digest: info.Digest}
	byName := map[string]FileInfo{}
	for _, f := range info.Files {
		byName[f.Name] = f
	}
	data, err := r.readFile(ctx, byName[artifact.GroupFile], maxGroupRecord)
	if err != nil {
		return Group{}, err
	}
	if g.Record, err = artifact.ParseGroupRecord(data); err != nil {
		return Group{}, err
	}
	for _, l := range g.Record.Layers {
		f, ok := byName[l.File]
		if !ok {
			return Group{}, fmt.Errorf("it has no file %s", l.File)
		}
		g.Layers = append(g.Layers, LayerInfo{Name: f.Name, DiffID: l.DiffID, Digest: f.Digest, Size: f.Size, MediaType: f.MediaType, Blob: f.Blob})
	}
	return g, nil
}

// readFile reads a referrer's file of at most limit bytes.
func (r *Registry) readFile(ctx context.Context, f FileInfo, limit int64) (_ []byte, err error) {
	if f.Blob == "" {
		return nil, errors.New("it has no " + artifact.GroupFile)
	}
	content, err := r.OpenFile(ctx, f)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	data, err := io.ReadAll(io.LimitReader(content, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", f.Name, limit)
	}
	return data, err
}

// ChooseGroups picks published groups that are laid over one artifact together. Each is wanted
// by its name, or as NAME@sha256:… where several of a name are published. One that is refused
// counts where no other is there: then the error is its own.
func ChooseGroups(published []Group, wanted []string) ([]Group, error) {
	var chosen []Group
	for _, want := range wanted {
		g, err := chooseGroup(published, want)
		if err != nil {
			return nil, err
		}
		for _, other := range chosen {
			if found := other.Record.Collisions(g.Record); len(found) > 0 {
				return nil, faults.New(faults.Refused, "run with one of them, or put both into one group, which is locked together",
					"dependency groups %s and %s cannot be laid over one artifact together: %s", other.Record.Name, g.Record.Name, found[0])
			}
		}
		chosen = append(chosen, g)
	}
	return chosen, nil
}

func chooseGroup(published []Group, want string) (Group, error) {
	name, digest, exact := strings.Cut(want, "@")
	var digests []string
	var found Group
	var refused error
	for _, g := range published {
		switch {
		case g.Record.Name != name || exact && g.Digest != digest:
		case g.Refused != nil:
			refused = cmp.Or(refused, g.Refused)
		default:
			digests, found = append(digests, g.Digest), g
		}
	}
	switch {
	case len(digests) == 1:
		return found, nil
	case len(digests) == 0 && refused != nil:
		return Group{}, refused
	case len(digests) == 0:
		return Group{}, faults.New(faults.NotFound, "`ampoule build --group "+name+"` beside the artifact's recipe and lock publishes it",
			"the artifact has no dependency group %s that was published for it", want)
	}
	slices.Sort(digests)
	return Group{}, faults.New(faults.Usage, "name one of them: --group "+name+"@"+digests[0],
		"several dependency groups %s were published for the artifact: %s", name, strings.Join(digests, ", "))
}
