package wiring

import (
	"context"
	"errors"
	"fmt"

	"ampoule/artifact"
	"ampoule/builder"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/registry"
	"ampoule/registry/layer"
	"ampoule/store"
)

// Publisher makes of a registry what the builder needs of one.
type Publisher struct {
	Registry *registry.Registry
	Store    *store.Store
	// Signing signs what is published; may be nil.
	Signing *Signing
	// Claim is asked before a key names an artifact: see [registry.Packed]; may be nil.
	Claim func(ctx context.Context, digest string) error

	// witness is told of what is published, before it can be found; may be nil.
	witness func(b built, digest string) error
}

var (
	_ builder.Publisher = Publisher{}
	_ builder.Preparer  = Publisher{}
	_ builder.Bases     = Publisher{}
)

// FindKey implements [builder.Publisher]. What is damaged is told, and is not found: it is
// published again.
func (p Publisher) FindKey(ctx context.Context, name, key string) (string, bool, error) {
	digest, found, err := p.Registry.FindKey(ctx, name, key, artifact.PublishedBeside())
	return whole(ctx, name, digest, found, err)
}

// whole tells of what is damaged, and takes it for not found.
func whole(ctx context.Context, name, digest string, found bool, err error) (string, bool, error) {
	var damaged *registry.DamagedError
	if errors.As(err, &damaged) {
		progress.Send(ctx, progress.Event{Kind: progress.Warned, Stage: progress.StagePublish, Task: name, Message: damaged.Error() + ": it is published again"})
		return "", false, nil
	}
	return digest, found, err
}

// Publish implements [builder.Publisher]: it compresses the layers and sends
// them with the verdict and the wheelhouse.
func (p Publisher) Publish(ctx context.Context, a artifact.Artifact) (_ string, err error) {
	ready, err := p.Prepare(ctx, a)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, ready.Close()) }()
	return ready.Publish(ctx, a.Verdict, a.Provenance)
}

// Prepare implements [builder.Preparer].
func (p Publisher) Prepare(ctx context.Context, a artifact.Artifact) (builder.Prepared, error) {
	dir, remove, err := p.Store.TempDir()
	if err != nil {
		return nil, fmt.Errorf("packing %s: %w", a.Name, err)
	}
	a.Verdict = nil
	packed, err := registry.Pack(ctx, layer.Packer{Dir: dir, Memory: blobs{p.Store}}, a)
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	return prepared{p, a, packed, remove}, nil
}

// prepared is an artifact that is compressed.
type prepared struct {
	publisher Publisher
	artifact  artifact.Artifact
	packed    registry.Packed
	remove    func() error
}

// Publish implements [builder.Prepared].
func (p prepared) Publish(ctx context.Context, verdict []byte, provenance artifact.Provenance) (string, error) {
	packed := p.packed.WithVerdict(verdict)
	packed.Evidence = p.publisher.evidence(built{p.artifact.Name, provenance, verdict, p.artifact.SBOM})
	packed.Claim = p.publisher.Claim
	published, err := p.publisher.Registry.Publish(ctx, packed)
	return published.Digest, err
}

// evidence is what is signed of what is published, and has the witness told of it; nil where nobody wants it.
func (p Publisher) evidence(b built) func(ctx context.Context, repository, digest string) ([]registry.Evidence, error) {
	if p.witness == nil {
		return p.Signing.evidence(b)
	}
	return func(_ context.Context, _, digest string) ([]registry.Evidence, error) {
		return nil, p.witness(b, digest)
	}
}

// Close implements [builder.Prepared].
func (p prepared) Close() error { return p.remove() }

// Tree implements [builder.GroupPublisher].
func (p Publisher) Tree(ctx context.Context, name, digest, platform string) (string, error) {
	found, err := p.Registry.Resolve(ctx, name+"@"+digest)
	if err != nil {
		return "", err
	}
	image, err := found.Image(platform)
	if err != nil {
		return "", err
	}
	labels, err := artifact.ParseLabels(image.Config.Labels)
	return labels.Tree, err
}

// FindGroup implements [builder.GroupPublisher]. What is damaged is told, and is not found.
func (p Publisher) FindGroup(ctx context.Context, name, of, key string) (string, bool, error) {
	digest, found, err := p.Registry.FindGroup(ctx, name, of, key)
	return whole(ctx, name, digest, found, err)
}

// PublishGroup implements [builder.GroupPublisher].
func (p Publisher) PublishGroup(ctx context.Context, g artifact.Group) (_ string, err error) {
	dir, remove, err := p.Store.TempDir()
	if err != nil {
		return "", fmt.Errorf("packing group %s: %w", g.Record.Name, err)
	}
	defer func() { err = errors.Join(err, remove()) }()
	packed, err := registry.PackGroup(ctx, layer.Packer{Dir: dir, Memory: blobs{p.Store}}, g)
	if err != nil {
		return "", err
	}
	packed.Evidence = p.evidence(built{g.Repository + " with group " + g.Record.Name, g.Provenance, g.Verdict, g.SBOM})
	return p.Registry.PublishGroup(ctx, packed)
}

// PullBase implements [builder.Bases]. The layers are read from their registry
// each time that they are opened.
func (p Publisher) PullBase(ctx context.Context, ref, platform string) ([]sandbox.Layer, sandbox.Config, error) {
	base, err := p.Registry.PullBase(ctx, ref, platform)
	if err != nil {
		return nil, sandbox.Config{}, err
	}
	pulled := make([]sandbox.Layer, len(base.Layers))
	for i, l := range base.Layers {
		pulled[i] = sandbox.Layer{DiffID: l.DiffID, Open: l.OpenTar}
	}
	return pulled, base.Config, nil
}

// BaseFiles implements [builder.Bases].
func (p Publisher) BaseFiles(ctx context.Context, ref, platform string) ([]artifact.File, error) {
	return p.Registry.BaseFiles(ctx, ref, platform)
}

// blobs remembers in the store which blob a layer compresses to.
type blobs struct{ store *store.Store }

// blobsKind is the kind of the records.
const blobsKind = "layer-blob"

// blobKey names a layer and what compresses it.
func blobKey(diffID string) string { return layers.Key(blobsKind, layer.Format, diffID) }

// blob is one record.
type blob struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

// Recall implements [layer.Memory]. What cannot be read is compressed again.
func (b blobs) Recall(diffID string) (digest string, size int64, ok bool) {
	var found blob
	ok, err := b.store.Lookup(blobsKind, blobKey(diffID), &found)
	return found.Digest, found.Size, ok && err == nil
}

// Remember implements [layer.Memory].
func (b blobs) Remember(diffID, digest string, size int64) error {
	return b.store.Record(blobsKind, blobKey(diffID), blob{digest, size})
}
