package wiring

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"ampoule/builder"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/registry"
	"ampoule/registry/layer"
	"ampoule/store"
)

// Artifact types of what refers to an artifact, and media types of its files.
const (
	VerdictType    = "application/vnd.ampoule.verdict.v1+json"
	WheelhouseType = "application/vnd.ampoule.wheelhouse.v1"
	wheelType      = "application/zip"
	DebugType      = "application/vnd.ampoule.debug.v1"
)

// Publisher makes of a registry what the builder needs of one.
type Publisher struct {
	Registry *registry.Registry
	Store    *store.Store
}

var (
	_ builder.Publisher = Publisher{}
	_ builder.Bases     = Publisher{}
)

// FindKey implements [builder.Publisher]. What is damaged is told, and is not found: it is
// published again.
func (p Publisher) FindKey(ctx context.Context, name, key string) (string, bool, error) {
	digest, found, err := p.Registry.FindKey(ctx, name, key, registry.Beside{Always: []string{VerdictType, WheelhouseType}, Maybe: []string{DebugType}})
	var damaged *registry.DamagedError
	if errors.As(err, &damaged) {
		progress.Send(ctx, progress.Event{Kind: progress.Warned, Stage: "publish", Task: name, Message: damaged.Error() + ": it is published again"})
		return "", false, nil
	}
	return digest, found, err
}

// Publish implements [builder.Publisher]: it compresses the layers and sends
// them with the verdict and the wheelhouse.
func (p Publisher) Publish(ctx context.Context, a builder.Artifact) (_ string, err error) {
	dir, remove, err := p.Store.TempDir()
	if err != nil {
		return "", fmt.Errorf("packing %s: %w", a.Name, err)
	}
	defer func() { err = errors.Join(err, remove()) }()
	packer := layer.Packer{Dir: dir, Memory: blobs{p.Store}}
	image, err := pack(ctx, packer, a)
	if err != nil {
		return "", fmt.Errorf("packing %s: %w", a.Name, err)
	}
	debug, err := debugFiles(ctx, packer, a.Debug)
	if err != nil {
		return "", fmt.Errorf("packing %s: %w", a.Name, err)
	}
	referrers := []registry.Referrer{
		{ArtifactType: VerdictType, Files: []registry.File{registry.BytesFile("verdict.json", VerdictType, a.Verdict)}},
		{ArtifactType: WheelhouseType, Files: wheelhouse(a.Wheelhouse)},
	}
	if len(debug) > 0 {
		referrers = append(referrers, registry.Referrer{ArtifactType: DebugType, Files: debug})
	}
	published, err := p.Registry.Publish(ctx, registry.Artifact{
		Name: a.Name, Key: a.Key, Images: []registry.Image{image}, Referrers: referrers,
	})
	return published.Digest, err
}

// pack makes the artifact's image.
func pack(ctx context.Context, packer layer.Packer, a builder.Artifact) (registry.Image, error) {
	image := registry.Image{Platform: a.Platform, Created: a.Created, Config: registry.Config{
		Env: a.Config.Env, Entrypoint: a.Config.Entrypoint, Cmd: a.Config.Cmd,
		WorkingDir: a.Config.WorkingDir, User: a.Config.User, Labels: a.Config.Labels,
	}}
	if want := path.Base(a.Platform); a.Config.Architecture != want {
		return image, fmt.Errorf("its configuration is for %q, its platform is %s", a.Config.Architecture, a.Platform)
	}
	all := make([]layers.Named, len(a.Base), len(a.Base)+len(a.Layers))
	for i, below := range a.Base {
		all[i] = layers.Named{Name: fmt.Sprintf("base-%d", i), Layer: below}
	}
	packed, err := packAll(ctx, packer, append(all, a.Layers...))
	if err != nil {
		return image, err
	}
	image.Base, image.Layers = packed[:len(a.Base)], packed[len(a.Base):]
	return image, nil
}

// packAll packs layers, several at a time, in their order.
func packAll(ctx context.Context, packer layer.Packer, all []layers.Named) ([]layer.Layer, error) {
	packed := make([]layer.Layer, len(all))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, l := range all {
		group.Go(func() (err error) {
			packed[i], err = packer.Pack(ctx, l.Name, l.DiffID, l.Open)
			return err
		})
	}
	return packed, group.Wait()
}

// debugFiles packs debug information, a compressed tar for each part.
func debugFiles(ctx context.Context, packer layer.Packer, parts map[string]sandbox.Layer) ([]registry.File, error) {
	var all []layers.Named
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		all = append(all, layers.Named{Name: name, Layer: parts[name]})
	}
	packed, err := packAll(ctx, packer, all)
	if err != nil {
		return nil, fmt.Errorf("debug information: %w", err)
	}
	files := make([]registry.File, len(packed))
	for i, p := range packed {
		files[i] = registry.File{Name: p.Name + ".debug.tar.gz", MediaType: layer.MediaType, Digest: p.Digest, Size: p.Size, Open: p.Open}
	}
	return files, nil
}

// wheelhouse makes files of the wheels.
func wheelhouse(files []builder.File) []registry.File {
	wheels := make([]registry.File, 0, len(files))
	for _, f := range files {
		wheels = append(wheels, registry.File{
			Name: f.Name, MediaType: wheelType, Digest: "sha256:" + f.SHA256, Size: f.Size,
			Open: f.Open,
		})
	}
	return wheels
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
	return pulled, SandboxConfig(base.Config, platform), nil
}

// BaseFiles implements [builder.Bases].
func (p Publisher) BaseFiles(ctx context.Context, ref, platform string) ([]builder.File, error) {
	parts, err := p.Registry.BaseFiles(ctx, ref, platform)
	if err != nil {
		return nil, err
	}
	files := make([]builder.File, len(parts))
	for i, part := range parts {
		files[i] = builder.File{
			Name: part.Name, Size: part.Size, SHA256: strings.TrimPrefix(part.Digest, "sha256:"),
			Open: part.Open,
		}
	}
	return files, nil
}

// SandboxConfig is a published image's configuration as a sandbox engine takes it.
func SandboxConfig(c registry.Config, platform string) sandbox.Config {
	return sandbox.Config{
		Architecture: path.Base(platform), Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd,
		WorkingDir: c.WorkingDir, User: c.User, Labels: c.Labels,
	}
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
