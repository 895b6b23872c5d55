package images

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"ampoule/artifact"
)

const here = "linux/amd64"

var (
	amd = &v1.Platform{OS: "linux", Architecture: "amd64"}
	arm = &v1.Platform{OS: "linux", Architecture: "arm64"}
)

// entry is an image of an index, by its name and for a platform.
func entry(image mutate.Appendable, ref string, platform *v1.Platform) mutate.IndexAddendum {
	d := v1.Descriptor{Platform: platform}
	if ref != "" {
		d.Annotations = map[string]string{artifact.AnnotationRefName: ref}
	}
	return mutate.IndexAddendum{Add: image, Descriptor: d}
}

func writeLayout(t *testing.T, entries ...mutate.IndexAddendum) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := layout.Write(dir, mutate.AppendManifests(empty.Index, entries...)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// configured says in an image's configuration what it is for.
func configured(t *testing.T, image v1.Image, architecture string) v1.Image {
	t.Helper()
	config, err := image.ConfigFile()
	if err == nil {
		config = config.DeepCopy()
		config.OS, config.Architecture = "linux", architecture
		image, err = mutate.ConfigFile(image, config)
	}
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// told lists images by their names and first texts, and what is left.
func told(t *testing.T, list []Image, left []Left) []string {
	t.Helper()
	lines := []string{}
	for _, one := range list {
		if one.Err != nil {
			t.Fatal(one.Err)
		}
		lines = append(lines, strings.Join(one.Names, ",")+"="+texts(t, one.Layers)[0])
	}
	for _, l := range left {
		lines = append(lines, "left: "+l.Label+": "+l.Why)
	}
	return lines
}

func TestAllOfALayout(t *testing.T) {
	t.Parallel()
	a, b, other := image(t, "a"), image(t, "b"), image(t, "other")
	attestation := mutate.IndexAddendum{Add: image(t, "x"), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"},
		Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest"}}}
	inner := mutate.AppendManifests(empty.Index, entry(a, "", amd), entry(other, "", arm), attestation)
	signature := entry(image(t, "sig"), "sig", nil)
	signature.ArtifactType = "application/x-sig"
	for what, c := range map[string]struct {
		entries []mutate.IndexAddendum
		want    []string
	}{
		"two tags":                  {[]mutate.IndexAddendum{entry(a, "a", amd), entry(b, "b", amd)}, []string{"a=a", "b=b"}},
		"one image, two tags":       {[]mutate.IndexAddendum{entry(a, "new", amd), entry(a, "old", amd)}, []string{"new,old=a"}},
		"no tags":                   {[]mutate.IndexAddendum{entry(a, "", amd), entry(b, "", amd)}, []string{"=a", "=b"}},
		"no platforms":              {[]mutate.IndexAddendum{entry(a, "a", nil), entry(b, "b", nil)}, []string{"a=a", "b=b"}},
		"a platform in the image":   {[]mutate.IndexAddendum{entry(a, "a", nil), entry(configured(t, b, "arm64"), "b", nil)}, []string{"a=a", "left: b: it is for another platform, linux/arm64"}},
		"another platform":          {[]mutate.IndexAddendum{entry(a, "a", amd), entry(other, "o", arm)}, []string{"a=a", "left: o: it is for another platform, linux/arm64"}},
		"an index with attestation": {[]mutate.IndexAddendum{entry(inner, "web", nil), entry(b, "b", amd)}, []string{"web=a", "b=b", "left: web: it is for another platform, linux/arm64"}},
		"a signature":               {[]mutate.IndexAddendum{entry(a, "a", amd), signature}, []string{"a=a", "left: sig: it is no image, but application/x-sig"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := writeLayout(t, c.entries...)
			list, left, err := All(t.Context(), dir, here)
			if err != nil {
				t.Fatal(err)
			}
			got := told(t, list, left)
			slices.Sort(got)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if _, err := Open(t.Context(), dir, here); (err == nil) != (len(list) == 1) || err != nil && !errors.Is(err, ErrNoImage) {
				t.Errorf("the only one of %d: %v", len(list), err)
			}
		})
	}
}

func TestAllOfASaveFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "image.tar")
	refs := map[name.Tag]v1.Image{}
	for ref, made := range map[string]v1.Image{"example.org/a:1": image(t, "a"), "example.org/b:1": image(t, "b"), "example.org/o:1": configured(t, image(t, "o"), "arm64")} {
		tag, err := name.NewTag(ref)
		if err != nil {
			t.Fatal(err)
		}
		refs[tag] = made
	}
	if err := tarball.MultiWriteToFile(file, refs); err != nil {
		t.Fatal(err)
	}
	list, left, err := All(t.Context(), file, here)
	if err != nil {
		t.Fatal(err)
	}
	got := told(t, list, nil)
	slices.Sort(got)
	if want := []string{"example.org/a:1=a", "example.org/b:1=b"}; !slices.Equal(got, want) || len(left) != 1 {
		t.Errorf("got %q, want %q; left %v", got, want, left)
	}
	// Without tags each is found all the same.
	data, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, bytes.ReplaceAll(data, []byte("RepoTags"), []byte("RepoTagz")), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if list, _, err = All(t.Context(), file, here); err != nil {
		t.Fatal(err)
	}
	if got = told(t, list, nil); len(got) != 2 {
		t.Errorf("without tags: %q", got)
	}
}

// Whatever of an image is damaged or gone, the error says that it is damaged and what.
func TestDamagedImagesAreTold(t *testing.T) {
	t.Parallel()
	made := image(t, strings.Repeat("one", 10_000))
	manifest, err := made.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := made.Digest()
	if err != nil {
		t.Fatal(err)
	}
	change := map[string]func(string) error{
		"gone":     os.Remove,
		"cut off":  func(p string) error { return os.Truncate(p, 20) },
		"empty":    func(p string) error { return os.Truncate(p, 0) },
		"no text":  func(p string) error { return os.WriteFile(p, []byte("\x00\x01garbage"), 0o644) },
		"a circle": func(p string) error { return errors.Join(os.Remove(p), os.Symlink(p, p)) },
	}
	for part, digest := range map[string]v1.Hash{"manifest": digest, "configuration": manifest.Config.Digest, "layer": manifest.Layers[0].Digest} {
		for how, change := range change {
			t.Run(fmt.Sprintf("%s %s", part, how), func(t *testing.T) {
				t.Parallel()
				dir := writeLayout(t, entry(made, "web", amd))
				if err := change(filepath.Join(dir, "blobs", digest.Algorithm, digest.Hex)); err != nil {
					t.Fatal(err)
				}
				layers, err := Open(t.Context(), dir, here)
				if err == nil {
					var r io.ReadCloser
					if r, err = layers[0].Open(); err == nil {
						_, err = io.ReadAll(r)
						r.Close()
					}
				}
				if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "sha256:") {
					t.Errorf("%v", err)
				}
			})
		}
	}
}
