// Package images reads images that are files: what "docker save" writes, and OCI layouts
// (OCI image specification, image-layout.md), as directories or tar archives.
package images

import (
	"cmp"
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
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"ampoule/artifact"
	"ampoule/faults"
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
var ErrNoImage = faults.New(faults.Input, "", "no image")

// ErrDamaged is wrapped by errors about files whose content is not what they say it is.
var ErrDamaged = faults.New(faults.Input, "", "the image's file is damaged")

// maxIndexes bounds how many indexes are looked at, of which one may lead to others and
// back to itself.
const maxIndexes = 100

// IsLayout reports whether a directory is an OCI layout: it has the marker file and an index.
func IsLayout(dir string) bool {
	for _, name := range []string{"oci-layout", "index.json"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// Image is one image of a file or a layout.
type Image struct {
	// Names are what the file calls it, sorted; Digest is its manifest's in a layout, and its
	// configuration's in a file of "docker save".
	Names  []string
	Digest string
	// Layers are listed from the lowest up.
	Layers []Layer
	// Err says why it cannot be read, if it cannot; it wraps [ErrDamaged], and there are no layers.
	Err error
}

// Label is how an image is told from others of its file.
func (i *Image) Label() string {
	if len(i.Names) > 0 {
		return strings.Join(i.Names, ", ")
	}
	return i.Digest
}

// Left is what a file has beside the images that are opened, and why it is not.
type Left struct{ Label, Why string }

// Open finds the image for a platform (OS/ARCH) in an OCI layout, or in a file of "docker
// save", which must have one such image only. Layers are listed from the lowest up.
func Open(ctx context.Context, path, platform string) ([]Layer, error) {
	list, _, err := All(ctx, path, platform)
	if err != nil {
		return nil, err
	}
	if len(list) > 1 {
		labels := make([]string, len(list))
		for i := range list {
			labels[i] = list[i].Label()
		}
		return nil, fmt.Errorf("opening image %s: %w: it has %d for %s: %s", path, ErrNoImage, len(list), platform, strings.Join(labels, "; "))
	}
	if list[0].Err != nil {
		return nil, list[0].Err
	}
	return list[0].Layers, nil
}

// All finds the images for a platform (OS/ARCH) in an OCI layout, or in a file of "docker
// save": at least one, in the file's order. An image that several names or indexes lead to is
// one. What is of other platforms, or no image, is left.
func All(ctx context.Context, path, platform string) ([]Image, []Left, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("opening image: %w", err)
	}
	p := picker{dir: path, platform: platform, at: map[string]int{}}
	if info.IsDir() {
		err = p.layout(ctx)
	} else {
		err = p.saved(ctx)
	}
	if err == nil && len(p.images) == 0 {
		err = &noneError{platform, p.left}
	}
	switch {
	case err == nil:
		return p.images, p.left, nil
	case ctx.Err() != nil:
		return nil, nil, fmt.Errorf("opening image %s: %w", path, context.Cause(ctx))
	case errors.Is(err, ErrDamaged):
		return nil, nil, fmt.Errorf("opening image %s: %w", path, err)
	}
	return nil, nil, fmt.Errorf("opening image %s: %w: %w", path, ErrNoImage, err)
}

// noneError says that a file has no image for a platform, and what it has.
type noneError struct {
	Platform string
	Left     []Left
}

func (e *noneError) Error() string {
	text := "it has none for " + e.Platform
	for i, left := range e.Left {
		if i == maxTold {
			return fmt.Sprintf("%s; and %d more", text, len(e.Left)-i)
		}
		text += "; " + left.Label + ": " + left.Why
	}
	return text
}

// maxTold bounds what is told of what is left.
const maxTold = 5

// add opens an image, or notes one more name of it.
func (p *picker) add(ctx context.Context, digest string, names []string, open func() (v1.Image, error)) error {
	at, ok := p.at[digest]
	if !ok {
		at = len(p.images)
		p.at[digest] = at
		p.images = append(p.images, Image{Digest: digest})
		label := digest
		if len(names) > 0 {
			label = names[0] + " (" + digest + ")"
		}
		p.images[at].Layers, p.images[at].Err = layersOf(ctx, label, open)
	}
	one := &p.images[at]
	one.Names = append(one.Names, names...)
	slices.Sort(one.Names)
	one.Names = slices.Compact(one.Names)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// layersOf lists the layers of an image, which its configuration has by what they unpack to.
func layersOf(ctx context.Context, label string, open func() (v1.Image, error)) ([]Layer, error) {
	image, err := open()
	var list []v1.Layer
	if err == nil {
		list, err = image.Layers()
	}
	var config *v1.ConfigFile
	if err == nil {
		config, err = image.ConfigFile()
	}
	if err == nil && len(config.RootFS.DiffIDs) != len(list) {
		err = fmt.Errorf("it has %d layers, and %d by its configuration", len(list), len(config.RootFS.DiffIDs))
	}
	if err != nil {
		return nil, fmt.Errorf("opening image %s: %w: %w", label, ErrDamaged, err)
	}
	layers := make([]Layer, len(list))
	for i, l := range list {
		id := config.RootFS.DiffIDs[i]
		layers[i] = Layer{DiffID: id.String(), Open: func() (io.ReadCloser, error) {
			r, err := l.Uncompressed()
			if err != nil {
				return nil, fmt.Errorf("opening layer %s: %w: %w", id, ErrDamaged, err)
			}
			return &verifying{ctx, tree.ReaderWhile(ctx, r), r, sha256.New(), id.Hex}, nil
		}}
	}
	return layers, nil
}

// layout looks for images in an OCI layout.
func (p *picker) layout(ctx context.Context) error {
	if err := fileFits(filepath.Join(p.dir, "index.json")); err != nil {
		return err
	}
	index, err := layout.ImageIndexFromPath(p.dir)
	if err != nil {
		return err
	}
	return p.pick(ctx, index, nil)
}

// verifying compares what it has read, at its end, with a sha256.
type verifying struct {
	//nolint:containedctx // a Read has no context of its own
	ctx context.Context
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
	if err != nil && !errors.Is(err, io.EOF) && v.ctx.Err() == nil {
		return n, fmt.Errorf("reading layer sha256:%s: %w: %w", v.want, ErrDamaged, err)
	}
	return n, err
}

// configs are the types of what can be run; descriptors may leave it out.
var configs = []string{"", string(types.OCIConfigJSON), string(types.DockerConfigJSON)}

// picker finds the images for a platform.
type picker struct {
	dir, platform string
	looked        int
	images        []Image
	// at says where in images one is, by its digest.
	at   map[string]int
	left []Left
}

// fullName is what containerd and Docker write beside [artifact.AnnotationRefName], with the
// repository.
const fullName = "io.containerd.image.name"

// pick looks in an index that has the names: the images of an index that is named have its name.
func (p *picker) pick(ctx context.Context, index v1.ImageIndex, names []string) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	p.looked++
	if p.looked > maxIndexes {
		return fmt.Errorf("more than %d indexes", maxIndexes)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, d := range manifest.Manifests {
		if err := p.descriptor(ctx, index, d, append(namesOf(d), names...)); err != nil {
			return err
		}
	}
	return nil
}

// namesOf are the names that a descriptor has.
func namesOf(d v1.Descriptor) []string {
	for _, key := range []string{fullName, artifact.AnnotationRefName} {
		if name := d.Annotations[key]; name != "" {
			return []string{name}
		}
	}
	return nil
}

// descriptor looks at what one descriptor of an index leads to.
func (p *picker) descriptor(ctx context.Context, index v1.ImageIndex, d v1.Descriptor, names []string) error {
	label := d.Digest.String()
	if len(names) > 0 {
		label = names[0]
	}
	switch platform := p.platformOf(index, d); {
	case d.MediaType.IsIndex():
		inner, err := p.inner(index, d.Digest)
		if err != nil {
			return fmt.Errorf("index %s: %w: %w", label, ErrDamaged, err)
		}
		return p.pick(ctx, inner, names)
	case isAttestation(d):
	case !d.MediaType.IsImage() || !slices.Contains(configs, d.ArtifactType):
		p.left = append(p.left, Left{label, "it is no image, but " + cmp.Or(d.ArtifactType, string(d.MediaType), "of no type")})
	case platform != "" && platform != p.platform:
		p.left = append(p.left, Left{label, "it is for another platform, " + platform})
	default:
		return p.add(ctx, d.Digest.String(), names, func() (v1.Image, error) { return p.image(index, d.Digest) })
	}
	return nil
}

// isAttestation tells what BuildKit adds to an index beside each image, which says for which
// image it is, and that it is for no platform.
func isAttestation(d v1.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] == "attestation-manifest" || d.Platform != nil && d.Platform.OS == "unknown"
}

// platformOf is what an image is for, by its descriptor or else by its configuration; empty
// where neither can be read.
func (p *picker) platformOf(index v1.ImageIndex, d v1.Descriptor) string {
	if d.Platform != nil {
		return d.Platform.OS + "/" + d.Platform.Architecture
	}
	if !d.MediaType.IsImage() {
		return ""
	}
	image, err := p.image(index, d.Digest)
	if err != nil {
		return ""
	}
	config, err := image.ConfigFile()
	if err != nil || config.OS == "" || config.Architecture == "" {
		return ""
	}
	return config.OS + "/" + config.Architecture
}

// inner opens an index in an index.
func (p *picker) inner(index v1.ImageIndex, digest v1.Hash) (v1.ImageIndex, error) {
	if err := blobFits(p.dir, digest); err != nil {
		return nil, err
	}
	inner, err := index.ImageIndex(digest)
	if err == nil {
		_, err = inner.IndexManifest()
	}
	return inner, err
}

// image opens an image in an index.
func (p *picker) image(index v1.ImageIndex, digest v1.Hash) (v1.Image, error) {
	if err := blobFits(p.dir, digest); err != nil {
		return nil, err
	}
	image, err := index.Image(digest)
	if err != nil {
		return nil, err
	}
	raw, err := image.RawManifest()
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != digest.Hex {
		return nil, fmt.Errorf("its manifest is not %s", digest)
	}
	manifest, err := image.Manifest()
	if err != nil {
		return nil, err
	}
	if err := blobFits(p.dir, manifest.Config.Digest); err != nil {
		return nil, err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(config); hex.EncodeToString(sum[:]) != manifest.Config.Digest.Hex {
		return nil, fmt.Errorf("its configuration is not %s", manifest.Config.Digest)
	}
	return image, nil
}
