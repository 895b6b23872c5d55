package registry

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"ampoule/artifact"
	"ampoule/registry/layer"
)

// maxLayers is the largest number of layers that Docker mounts.
const maxLayers = 125

// emptyJSON is a configuration that says nothing, of [artifact.EmptyType].
var emptyJSON = []byte("{}")

// document is a manifest, index or configuration in its final bytes.
type document struct {
	raw       []byte
	mediaType types.MediaType
}

// RawManifest implements remote.Taggable.
func (d document) RawManifest() ([]byte, error) { return d.raw, nil }

// MediaType tells the client what it puts.
func (d document) MediaType() (types.MediaType, error) { return d.mediaType, nil }

func (d document) digest() string {
	sum := sha256.Sum256(d.raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (d document) descriptor() v1.Descriptor {
	sum := sha256.Sum256(d.raw)
	return v1.Descriptor{
		MediaType: d.mediaType, Size: int64(len(d.raw)),
		Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])},
	}
}

func newDocument(mediaType types.MediaType, v any) (document, error) {
	raw, err := json.Marshal(v)
	return document{raw, mediaType}, err
}

// encoded is an artifact's documents: all that its digest depends on.
type encoded struct {
	configs, manifests []document
	index              document
}

// encode makes an artifact's documents. It reads no layer.
func encode(a Packed) (encoded, error) {
	if len(a.Images) == 0 {
		return encoded{}, errors.New("it has no image")
	}
	var e encoded
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	images := slices.SortedFunc(slices.Values(a.Images), func(x, y PackedImage) int { return cmp.Compare(x.Platform, y.Platform) })
	for i, image := range images {
		if i > 0 && images[i-1].Platform == image.Platform {
			return encoded{}, fmt.Errorf("two images for platform %s", image.Platform)
		}
		config, manifest, platform, err := encodeImage(image)
		if err != nil {
			return encoded{}, fmt.Errorf("image for %s: %w", image.Platform, err)
		}
		e.configs, e.manifests = append(e.configs, config), append(e.manifests, manifest)
		d := manifest.descriptor()
		d.Platform = platform
		index.Manifests = append(index.Manifests, d)
	}
	var err error
	e.index, err = newDocument(types.OCIImageIndex, index)
	return e, err
}

// encodeImage makes an image's configuration and manifest. It sets no
// artifactType: a runnable image has none (OCI image-spec, manifest.md).
func encodeImage(image PackedImage) (config, manifest document, platform *v1.Platform, err error) {
	platform, err = parsePlatform(image.Platform)
	if err != nil {
		return config, manifest, nil, err
	}
	if image.Config.Architecture != platform.Architecture {
		return config, manifest, nil, fmt.Errorf("its configuration is for %q", image.Config.Architecture)
	}
	if n := len(image.Base) + len(image.Layers); n > maxLayers {
		return config, manifest, nil, fmt.Errorf("%d layers are more than the %d that Docker mounts", n, maxLayers)
	}
	created := v1.Time{Time: image.Created.UTC().Truncate(time.Second)}
	file := v1.ConfigFile{
		Architecture: platform.Architecture, OS: platform.OS, Variant: platform.Variant, Created: created,
		RootFS: v1.RootFS{Type: "layers"}, Config: encodeConfig(image.Config),
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	add := func(l layer.Layer, kind string) error {
		d, diffID, err := describeLayer(l, kind)
		m.Layers = append(m.Layers, d)
		file.RootFS.DiffIDs = append(file.RootFS.DiffIDs, diffID)
		file.History = append(file.History, v1.History{Created: created, CreatedBy: "ampoule: " + kind + " " + l.Name})
		return err
	}
	for _, l := range image.Base {
		err = errors.Join(err, add(l, artifact.KindBase))
	}
	for _, l := range image.Layers {
		err = errors.Join(err, add(l, artifact.KindTree))
	}
	if err != nil {
		return config, manifest, nil, err
	}
	if config, err = newDocument(types.OCIConfigJSON, file); err != nil {
		return config, manifest, nil, err
	}
	m.Config = config.descriptor()
	manifest, err = newDocument(types.OCIManifestSchema1, m)
	return config, manifest, platform, err
}

// describeLayer makes a layer's descriptor and DiffID.
func describeLayer(l layer.Layer, kind string) (v1.Descriptor, v1.Hash, error) {
	diffID, err := v1.NewHash(l.DiffID)
	if err != nil {
		return v1.Descriptor{}, v1.Hash{}, fmt.Errorf("layer %s: %w", l.Name, err)
	}
	digest, err := v1.NewHash(l.Digest)
	if err != nil {
		return v1.Descriptor{}, v1.Hash{}, fmt.Errorf("layer %s: %w", l.Name, err)
	}
	return v1.Descriptor{
		MediaType: artifact.LayerType, Size: l.Size, Digest: digest,
		Annotations: map[string]string{artifact.AnnotationLayer: l.Name, artifact.AnnotationKind: kind},
	}, diffID, nil
}

// encodeReferrer makes a referrer's manifest: its artifactType and an empty
// configuration (OCI image-spec, manifest.md, "Guidelines for Artifact Usage").
func encodeReferrer(ref artifact.Referrer, subject v1.Descriptor) (document, error) {
	if !strings.Contains(ref.ArtifactType, "/") {
		return document{}, fmt.Errorf("artifact type %q is not a media type", ref.ArtifactType)
	}
	return encodeFiles(ref.ArtifactType, ref.Annotations, ref.Files, func(m *v1.Manifest) { m.Subject = &subject })
}

// encodeFiles makes the manifest of files that are no image.
func encodeFiles(artifactType string, annotations map[string]string, files []artifact.File, more ...func(*v1.Manifest)) (document, error) {
	empty := document{emptyJSON, artifact.EmptyType}
	m := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: artifactType,
		Config: empty.descriptor(), Annotations: annotations,
	}
	for _, change := range more {
		change(&m)
	}
	for _, f := range files {
		digest, err := v1.NewHash(f.Digest)
		if err != nil {
			return document{}, fmt.Errorf("file %s: %w", f.Name, err)
		}
		m.Layers = append(m.Layers, v1.Descriptor{
			MediaType: types.MediaType(f.MediaType), Size: f.Size, Digest: digest,
			Annotations: map[string]string{artifact.AnnotationTitle: f.Name},
		})
	}
	if len(m.Layers) == 0 {
		m.Layers = []v1.Descriptor{empty.descriptor()}
	}
	return newDocument(types.OCIManifestSchema1, m)
}

func encodeConfig(c artifact.Config) v1.Config {
	return v1.Config{
		Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd,
		WorkingDir: c.WorkingDir, User: c.User, Labels: c.Labels,
	}
}

func decodeConfig(file *v1.ConfigFile) artifact.Config {
	c := file.Config
	return artifact.Config{
		Architecture: file.Architecture, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd,
		WorkingDir: c.WorkingDir, User: c.User, Labels: c.Labels,
	}
}

// parsePlatform reads OS/ARCH[/VARIANT].
func parsePlatform(s string) (*v1.Platform, error) {
	fields := strings.Split(s, "/")
	if len(fields) < 2 || len(fields) > 3 || slices.Contains(fields, "") {
		return nil, fmt.Errorf("platform %q is not OS/ARCH or OS/ARCH/VARIANT", s)
	}
	p := &v1.Platform{OS: fields[0], Architecture: fields[1]}
	if len(fields) == 3 {
		p.Variant = fields[2]
	}
	return p, nil
}

func platformString(p *v1.Platform) string {
	if p == nil {
		return ""
	}
	return strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
}
