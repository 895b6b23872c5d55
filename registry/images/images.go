// Package images reads images that are files: what "docker save" writes, and OCI layouts
// (OCI image specification, image-layout.md), as directories or tar archives.
package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"ampoule/registry/layer"
	"ampoule/tree"
)

// Layer is one layer of an image.
type Layer struct {
	// DiffID is "sha256:" and the hash of the uncompressed tar.
	DiffID string
	// Open returns the uncompressed tar. Content that is not what DiffID says is an error
	// from Read where io.EOF would be, which wraps [ErrDamaged] and [layer.ErrDiffID].
	Open func() (io.ReadCloser, error)
}

// ErrNoImage is wrapped by errors about files that hold no image, or several of which none
// was named.
var ErrNoImage = errors.New("no image")

// ErrDamaged is wrapped by errors about files whose content is not what they say it is.
var ErrDamaged = errors.New("the image's file is damaged")

// maxIndexes bounds how many indexes are looked at, of which one may lead to others and
// back to itself.
const maxIndexes = 100

// IsLayout tells whether a directory is an OCI layout: it has the marker file and an index.
func IsLayout(dir string) bool {
	for _, name := range []string{"oci-layout", "index.json"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// Open finds the image for a platform (OS/ARCH) in an OCI layout, or in a file of "docker
// save", which must have one image only. Layers are listed from the lowest up.
func Open(ctx context.Context, path, platform string) ([]Layer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("opening image: %w", err)
	}
	var image v1.Image
	if info.IsDir() {
		image, err = fromLayout(ctx, path, platform)
	} else if err = savedFits(ctx, path); err == nil {
		image, err = tarball.Image(func() (io.ReadCloser, error) { return openWhile(ctx, path) }, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("opening image %s: %w: %w", path, ErrNoImage, err)
	}
	list, err := image.Layers()
	if err != nil {
		return nil, fmt.Errorf("opening image %s: %w: %w", path, ErrNoImage, err)
	}
	layers := make([]Layer, len(list))
	for i, l := range list {
		id, err := l.DiffID()
		if err != nil {
			return nil, fmt.Errorf("opening image %s: %w", path, err)
		}
		layers[i] = Layer{DiffID: id.String(), Open: func() (io.ReadCloser, error) {
			r, err := l.Uncompressed()
			if err != nil {
				return nil, fmt.Errorf("opening layer %s: %w", id, err)
			}
			return &verifying{tree.ReaderWhile(ctx, r), r, sha256.New(), id.Hex}, nil
		}}
	}
	return layers, nil
}

// fromLayout finds the image of a platform in an OCI layout.
func fromLayout(ctx context.Context, dir, platform string) (v1.Image, error) {
	if err := fileFits(filepath.Join(dir, "index.json")); err != nil {
		return nil, err
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	p := picker{dir: dir, platform: platform}
	image, err := p.pick(ctx, index)
	if err != nil {
		return nil, err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return nil, err
	}
	return image, blobFits(dir, manifest.Config.Digest)
}

// verifying compares what it has read, at its end, with a sha256.
type verifying struct {
	io.Reader
	io.Closer
	sum  hash.Hash
	want string
}

// Read implements [io.Reader].
func (v *verifying) Read(p []byte) (int, error) {
	n, err := v.Reader.Read(p)
	v.sum.Write(p[:n])
	if errors.Is(err, io.EOF) && hex.EncodeToString(v.sum.Sum(nil)) != v.want {
		return n, fmt.Errorf("reading layer sha256:%s: %w: %w", v.want, ErrDamaged, layer.ErrDiffID)
	}
	return n, err
}

// configs are the types of what can be run; descriptors may leave it out.
var configs = []string{"", string(types.OCIConfigJSON), string(types.DockerConfigJSON)}

// picker finds the image for a platform in a layout.
type picker struct {
	dir, platform string
	looked        int
}

// pick looks in an index. An image that does not say its platform counts if there is no
// other.
func (p *picker) pick(ctx context.Context, index v1.ImageIndex) (v1.Image, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if p.looked++; p.looked > maxIndexes {
		return nil, fmt.Errorf("more than %d indexes", maxIndexes)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var unsaid []v1.Hash
	for _, d := range manifest.Manifests {
		switch {
		case d.MediaType.IsIndex():
			if err := blobFits(p.dir, d.Digest); err != nil {
				return nil, err
			}
			inner, err := index.ImageIndex(d.Digest)
			if err != nil {
				return nil, err
			}
			if image, err := p.pick(ctx, inner); err == nil {
				return image, nil
			}
		case !d.MediaType.IsImage() || !slices.Contains(configs, d.ArtifactType):
		case d.Platform == nil:
			unsaid = append(unsaid, d.Digest)
		case d.Platform.OS+"/"+d.Platform.Architecture == p.platform:
			return p.image(index, d.Digest)
		}
	}
	if len(unsaid) == 1 {
		return p.image(index, unsaid[0])
	}
	return nil, fmt.Errorf("it has none for %s, or several", p.platform)
}

func (p *picker) image(index v1.ImageIndex, digest v1.Hash) (v1.Image, error) {
	if err := blobFits(p.dir, digest); err != nil {
		return nil, err
	}
	return index.Image(digest)
}
