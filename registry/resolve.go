package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"ampoule/artifact"
	"ampoule/registry/layer"
)

// maxConfig bounds an image configuration, in bytes.
const maxConfig = 8 << 20

// Resolve describes the image or index that a reference names: NAME@sha256:HEX or
// NAME:TAG in this registry, HOST/NAME@sha256:HEX or HOST/NAME:TAG in any. What
// is not there is a [*NotFoundError].
func (r *Registry) Resolve(ctx context.Context, ref string) (Description, error) {
	at, err := r.parse(ref)
	if err != nil {
		return Description{}, err
	}
	root, err := at.get(ctx, at.reference())
	if err != nil {
		return Description{}, at.convert("resolving "+ref, ref, err)
	}
	d := Description{Ref: at.at(root.Digest.String()), Name: at.name, Digest: root.Digest.String(), Raw: root.Manifest}
	manifests, err := at.images(ctx, root)
	if err != nil {
		return Description{}, at.convert("resolving "+ref, ref, err)
	}
	for _, m := range manifests {
		image, err := at.describe(ctx, m)
		if err != nil {
			return Description{}, at.convert(fmt.Sprintf("resolving %s: image %s", ref, m.Digest), ref, err)
		}
		d.Images = append(d.Images, image)
	}
	return d, nil
}

// Split reads a reference to something in the store's own registry, which has a digest or
// a tag. One to another registry is an error of kind Usage.
func (r *Registry) Split(ref string) (name, tag, digest string, err error) {
	at, err := r.parse(ref)
	if err == nil && !at.local {
		err = wrongReference(ref, "it is in another registry than the store's own")
	}
	return at.name, at.tag, at.digest, err
}

// Image returns the image for a platform.
func (d Description) Image(platform string) (ImageInfo, error) {
	for _, image := range d.Images {
		if image.Platform == platform {
			return image, nil
		}
	}
	return ImageInfo{}, &NotFoundError{What: fmt.Sprintf("platform %s in %s", platform, d.Ref)}
}

// OpenLayer returns a layer's uncompressed tar. Content that is not what its digest and
// its DiffID say is a [*DamagedError] from Read where io.EOF would be, or earlier; one that
// is not there is such an error, too: the manifest names it.
func (r *Registry) OpenLayer(ctx context.Context, l LayerInfo) (io.ReadCloser, error) {
	at, err := r.parse(l.Blob)
	if err != nil {
		return nil, err
	}
	if err := checkGzip(types.MediaType(l.MediaType)); err != nil {
		return nil, fmt.Errorf("opening layer %s: %w", l.Digest, err)
	}
	what := "layer " + l.Digest
	tar, err := at.layer(l.Name, l.DiffID, l.Digest, l.Size).OpenTar(ctx)
	if err != nil {
		at.suspect(ctx, l.Digest)
		return nil, at.asDamage(l.Blob, what, err)
	}
	return at.judged(ctx, tar, l.Blob, what, l.Digest), nil
}

// judged has the errors of reading something say that it is damaged.
func (l location) judged(ctx context.Context, content io.ReadCloser, ref, what, digest string) io.ReadCloser {
	return &judged{
		ReadCloser: content,
		damage:     func(err error) error { return l.asDamage(ref, what, err) },
		suspect:    func() { l.suspect(ctx, digest) },
	}
}

type judged struct {
	io.ReadCloser
	damage  func(error) error
	suspect func()
	whole   bool
}

// Read implements [io.Reader].
func (j *judged) Read(p []byte) (int, error) {
	n, err := j.ReadCloser.Read(p)
	j.whole = j.whole || errors.Is(err, io.EOF)
	if isWrong(err) {
		err = j.damage(err)
	}
	return n, err
}

// Close implements [io.Closer]. Who does not read to the end may have had a reason: the
// content.
func (j *judged) Close() error {
	if !j.whole {
		j.suspect()
	}
	return j.ReadCloser.Close()
}

// suspect has the store's registry look again at what was read from it and may be wrong. A
// disk that rots changes no file's times: the registry may still take it for whole.
func (l location) suspect(ctx context.Context, digest string) {
	if l.transport == nil {
		return
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodHead,
		"http://"+localHost+"/v2/"+l.repo.RepositoryStr()+"/blobs/"+digest, nil)
	if err != nil {
		return
	}
	req.Header.Set("Cache-Control", "no-cache")
	if resp, err := l.transport.RoundTrip(req); err == nil {
		_ = resp.Body.Close()
	}
}

// converting types the errors of reading from a registry.
type converting struct {
	io.ReadCloser
	location
	op string
}

func (c converting) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if err == nil || errors.Is(err, io.EOF) || isWrong(err) {
		return n, err
	}
	return n, c.convert(c.op, c.base, err)
}

// layer makes a layer whose blob stays in the registry until it is opened.
func (l location) layer(name, diffID, digest string, size int64) layer.Layer {
	return layer.Layer{
		Name: name, DiffID: diffID, Digest: digest, Size: size,
		Open: func(ctx context.Context) (io.ReadCloser, error) {
			op := "reading layer " + digest
			blob, err := l.openBlob(ctx, digest)
			if err := l.asDamage(l.at(digest), "layer "+digest, err); err != nil {
				return nil, l.convert(op, l.at(digest), err)
			}
			return converting{ReadCloser: blob, location: l, op: op}, nil
		},
	}
}

// openBlob opens a blob; its digest is verified at its end.
func (l location) openBlob(ctx context.Context, digest string) (io.ReadCloser, error) {
	if content := l.openKept(ctx, digest); content != nil {
		return content, nil
	}
	var content io.ReadCloser
	err := alive(ctx, func() error {
		blob, err := l.puller.Layer(ctx, l.repo.Digest(digest))
		if err == nil {
			content, err = blob.Compressed()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return verified{content}, nil
}

// verified marks the client's verification errors.
type verified struct{ io.ReadCloser }

func (v verified) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	return n, markWrong(err)
}

// markWrong gives the client's verification errors a value to be told by: they have
// no exported type.
func markWrong(err error) error {
	if err == nil || !isMismatch(err.Error()) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDigest, err)
}

// isMismatch reports whether a message of the client is about content that is not what its
// digest says: of a blob, of a manifest that was asked for, or of one that was read.
func isMismatch(message string) bool {
	return strings.HasPrefix(message, "error verifying ") || strings.HasPrefix(message, "manifest digest: ") ||
		strings.Contains(message, "does not match requested digest")
}

// images fetches the manifests of an index, or returns the one manifest that root is.
// Entries that are no images, such as attestations, say "unknown" as their platform.
func (l location) images(ctx context.Context, root *remote.Descriptor) ([]*remote.Descriptor, error) {
	if root.MediaType.IsImage() {
		return []*remote.Descriptor{root}, nil
	}
	if !root.MediaType.IsIndex() {
		return nil, fmt.Errorf("media type %s is neither an image nor an index", root.MediaType)
	}
	index, err := parseIndex(root.Manifest)
	if err != nil {
		return nil, err
	}
	var images []*remote.Descriptor
	for _, d := range index.Manifests {
		if !d.MediaType.IsImage() || (d.Platform != nil && d.Platform.OS == "unknown") {
			continue
		}
		image, err := l.get(ctx, l.repo.Digest(d.Digest.String()))
		if err := l.asDamage(l.at(root.Digest.String()), "its image "+d.Digest.String(), err); err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	return images, nil
}

// describe fetches an image's configuration and puts it together with its manifest.
func (l location) describe(ctx context.Context, d *remote.Descriptor) (ImageInfo, error) {
	var m v1.Manifest
	if err := json.Unmarshal(d.Manifest, &m); err != nil {
		return ImageInfo{}, fmt.Errorf("reading manifest: %w", err)
	}
	raw, config, err := l.config(ctx, m.Config)
	if err := l.asDamage(l.at(d.Digest.String()), "its configuration", err); err != nil {
		return ImageInfo{}, err
	}
	if len(config.RootFS.DiffIDs) != len(m.Layers) {
		return ImageInfo{}, fmt.Errorf("manifest has %d layers, configuration %d", len(m.Layers), len(config.RootFS.DiffIDs))
	}
	image := ImageInfo{
		Platform: platformString(config.Platform()), Digest: d.Digest.String(), Manifest: d.Manifest, RawConfig: raw,
		Created: config.Created.Time, Config: decodeConfig(config),
	}
	for i, ld := range m.Layers {
		image.Layers = append(image.Layers, LayerInfo{
			Name: ld.Annotations[artifact.AnnotationLayer], Base: ld.Annotations[artifact.AnnotationKind] != artifact.KindTree,
			DiffID: config.RootFS.DiffIDs[i].String(), Digest: ld.Digest.String(),
			Size: ld.Size, MediaType: string(ld.MediaType), Blob: l.at(ld.Digest.String()),
		})
	}
	return image, nil
}

// config reads a configuration, and gives its bytes too.
func (l location) config(ctx context.Context, d v1.Descriptor) ([]byte, *v1.ConfigFile, error) {
	if d.Size > maxConfig {
		return nil, nil, fmt.Errorf("configuration of %d bytes is larger than %d", d.Size, maxConfig)
	}
	raw, err := l.readBlob(ctx, d.Digest.String(), maxConfig)
	if err != nil {
		return nil, nil, fmt.Errorf("reading configuration: %w", err)
	}
	var config v1.ConfigFile
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, nil, fmt.Errorf("reading configuration: %w", err)
	}
	return raw, &config, nil
}

// readBlob reads a blob of at most limit bytes whole, verified.
func (l location) readBlob(ctx context.Context, digest string, limit int64) ([]byte, error) {
	r, err := l.openBlob(ctx, digest)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return raw, errors.Join(err, r.Close())
}

func parseIndex(raw []byte) (*v1.IndexManifest, error) {
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("reading index: %w", err)
	}
	return &index, nil
}

// checkGzip refuses layers that are not gzip-compressed tars: Docker 20.10 reads
// no zstd, and foreign layers lie elsewhere.
func checkGzip(mediaType types.MediaType) error {
	if mediaType == types.OCILayer || mediaType == types.DockerLayer {
		return nil
	}
	return fmt.Errorf("media type %s is not a gzip-compressed layer", mediaType)
}

// Tags lists the tags of a repository: NAME, or HOST/NAME in any registry.
func (r *Registry) Tags(ctx context.Context, repository string) ([]string, error) {
	l, err := r.locate(repository, repository)
	if err != nil {
		return nil, err
	}
	tags, err := l.puller.List(ctx, l.repo)
	if err != nil {
		return nil, l.convert("listing the tags of "+l.base, l.base, err)
	}
	return tags, nil
}
