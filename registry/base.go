package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"ampoule/artifact"
)

// PullBase reads an image by HOST/REPOSITORY@sha256:HEX for a platform, from what
// [Registry.Prefer] names where that has it. A tag is an error of kind Usage, a platform
// that the image does not have a [*NotFoundError].
func (r *Registry) PullBase(ctx context.Context, ref, platform string) (Base, error) {
	at, _, image, err := r.base(ctx, ref, platform)
	if err != nil {
		return Base{}, err
	}
	base := Base{Config: image.Config}
	for i, l := range image.Layers {
		base.Layers = append(base.Layers, at.layer(fmt.Sprintf("%d", i), l.DiffID, l.Digest, l.Size))
	}
	return base, nil
}

// BaseFiles lists all that [Registry.PullBase] reads: the index where there is one, the
// manifests and configurations that it looks at for the platform, and the image's layers.
func (r *Registry) BaseFiles(ctx context.Context, ref, platform string) ([]artifact.File, error) {
	at, documents, image, err := r.base(ctx, ref, platform)
	if err != nil {
		return nil, err
	}
	var files []artifact.File
	blob := func(name string, mediaType, digest string, size int64) {
		files = append(files, artifact.File{Name: name, MediaType: mediaType, Digest: digest, Size: size,
			Open: func(ctx context.Context) (io.ReadCloser, error) {
				content, err := at.openBlob(ctx, digest)
				if err := at.convert("reading base "+ref, at.at(digest), err); err != nil {
					return nil, err
				}
				return content, nil
			}})
	}
	for _, d := range documents {
		files = append(files, artifact.BytesFile("manifest", string(d.MediaType), d.Manifest))
		if d.MediaType.IsImage() {
			var m v1.Manifest
			if err := json.Unmarshal(d.Manifest, &m); err != nil {
				return nil, fmt.Errorf("reading manifest: %w", err)
			}
			blob("config", string(m.Config.MediaType), m.Config.Digest.String(), m.Config.Size)
		}
	}
	for i, l := range image.Layers {
		blob(fmt.Sprintf("layer-%d", i), l.MediaType, l.Digest, l.Size)
	}
	return files, nil
}

// base reads what describes an image: its manifests, and the image for a platform.
func (r *Registry) base(ctx context.Context, ref, platform string) (location, []*remote.Descriptor, ImageInfo, error) {
	at, err := r.parse(ref)
	if err != nil {
		return at, nil, ImageInfo{}, err
	}
	if at.digest == "" {
		return at, nil, ImageInfo{}, wrongReference(ref, "a base is named by its digest, not by a tag")
	}
	at.kept = r.kept
	documents, image, err := at.imageFor(ctx, platform)
	if err := at.convert("reading base "+ref, ref, err); err != nil {
		return at, nil, image, err
	}
	if documents == nil {
		return at, nil, image, &NotFoundError{What: fmt.Sprintf("platform %s in %s", platform, ref)}
	}
	for _, l := range image.Layers {
		if err := checkGzip(types.MediaType(l.MediaType)); err != nil {
			return at, nil, image, &RemoteError{Registry: at.shown, Op: "reading base " + ref, Err: fmt.Errorf("layer %s: %w", l.Digest, err)}
		}
	}
	return at, documents, image, nil
}

// imageFor finds the image for a platform, and gives the manifests that it read for that. Of
// an index it asks only for the images that may be it. Without one there are no documents.
func (l location) imageFor(ctx context.Context, platform string) (documents []*remote.Descriptor, image ImageInfo, err error) {
	root, err := l.get(ctx, l.reference())
	if err != nil {
		return nil, image, err
	}
	candidates := []v1.Descriptor{root.Descriptor}
	if root.MediaType.IsIndex() {
		index, err := parseIndex(root.Manifest)
		if err != nil {
			return nil, image, err
		}
		documents, candidates = append(documents, root), index.Manifests
	}
	for _, c := range candidates {
		if !c.MediaType.IsImage() || c.Platform != nil && platformString(c.Platform) != platform {
			continue
		}
		manifest := root
		if root.MediaType.IsIndex() {
			if manifest, err = l.get(ctx, l.repo.Digest(c.Digest.String())); err != nil {
				return nil, image, err
			}
		}
		documents = append(documents, manifest)
		if image, err = l.describe(ctx, manifest); err != nil {
			return nil, image, err
		}
		if image.Platform == platform {
			return documents, image, nil
		}
	}
	return nil, ImageInfo{}, nil
}

// maxManifest bounds a kept manifest, in bytes, as registries bound theirs.
const maxManifest = 4 << 20

// getKept gives a manifest from the first place that has it whole; nil where none has.
// What a place has instead, or why it cannot be asked, does not matter then: its registry is.
func (l location) getKept(ctx context.Context, ref name.Reference) *remote.Descriptor {
	pinned, ok := ref.(name.Digest)
	if !ok {
		return nil
	}
	for _, place := range l.kept {
		raw, err := readKept(ctx, place, pinned.DigestStr())
		if err != nil {
			continue
		}
		if d, err := describeKept(raw); err == nil {
			return d
		}
	}
	return nil
}

// readKept reads a manifest from a place, and compares it with its digest.
func readKept(ctx context.Context, place Content, digest string) ([]byte, error) {
	content, err := place.Open(ctx, strings.TrimPrefix(digest, "sha256:"))
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(content, maxManifest+1))
	if err := errors.Join(err, content.Close()); err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(raw); "sha256:"+hex.EncodeToString(sum[:]) != digest {
		return nil, fmt.Errorf("%w: kept content is not %s", ErrDigest, digest)
	}
	return raw, nil
}

func describeKept(raw []byte) (*remote.Descriptor, error) {
	var m struct {
		MediaType types.MediaType   `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("reading manifest: %w", err)
	}
	if m.MediaType == "" {
		// The OCI image-spec lets a manifest leave it out.
		m.MediaType = types.OCIManifestSchema1
		if m.Manifests != nil {
			m.MediaType = types.OCIImageIndex
		}
	}
	hash, size, err := v1.SHA256(bytes.NewReader(raw))
	return &remote.Descriptor{Descriptor: v1.Descriptor{MediaType: m.MediaType, Size: size, Digest: hash}, Manifest: raw}, err
}

// openKept opens a blob in the first place that has it; nil where none has. A place that
// cannot be asked is passed over: the registry has the blob, too.
func (l location) openKept(ctx context.Context, digest string) io.ReadCloser {
	sum, ok := strings.CutPrefix(digest, "sha256:")
	if !ok {
		return nil
	}
	for _, place := range l.kept {
		if content, err := place.Open(ctx, sum); err == nil {
			return &hashing{ReadCloser: content, hash: sha256.New(), want: sum}
		}
	}
	return nil
}

// hashing compares content with its sha256 at its end.
type hashing struct {
	io.ReadCloser
	hash hash.Hash
	want string
}

func (h *hashing) Read(p []byte) (int, error) {
	n, err := h.ReadCloser.Read(p)
	h.hash.Write(p[:n])
	if errors.Is(err, io.EOF) && hex.EncodeToString(h.hash.Sum(nil)) != h.want {
		err = fmt.Errorf("%w: kept content is not %s", ErrDigest, h.want)
	}
	return n, err
}
