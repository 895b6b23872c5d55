package images

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// image makes an image with a layer for each text, which is a file's content.
func image(t *testing.T, texts ...string) v1.Image {
	t.Helper()
	made := empty.Image
	for _, text := range texts {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
		if err == nil {
			made, err = mutate.AppendLayers(made, layer)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return made
}

// texts are the contents of an image's files, layer by layer.
func texts(t *testing.T, layers []Layer) []string {
	t.Helper()
	var list []string
	for _, l := range layers {
		r, err := l.Open()
		if err != nil {
			t.Fatal(err)
		}
		archive := tar.NewReader(r)
		if _, err := archive.Next(); err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		list = append(list, string(data))
	}
	return list
}

func TestSaveFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, []byte("no archive"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), file, "linux/amd64"); !errors.Is(err, ErrNoImage) {
		t.Errorf("a file without an image: %v", err)
	}
	if err := tarball.WriteToFile(file, name.MustParseReference("example.org/a:b"), image(t, "one", "two")); err != nil {
		t.Fatal(err)
	}
	layers, err := Open(t.Context(), file, "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	if got := texts(t, layers); len(got) != 2 || got[0] != "one" || got[1] != "two" {
		t.Errorf("layers %q", got)
	}
	if IsLayout(filepath.Dir(file)) {
		t.Error("a directory with an archive is taken for a layout")
	}
	marker := t.TempDir()
	if err := os.WriteFile(filepath.Join(marker, "oci-layout"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if IsLayout(marker) {
		t.Error("a directory with a marker and no index is taken for a layout")
	}
}

func TestLayout(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir, "linux/amd64"); !IsLayout(dir) || !errors.Is(err, ErrNoImage) {
		t.Errorf("an empty layout: %v", err)
	}
	// An index in an index, as registries have it.
	inner := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: image(t, "arm"), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
		mutate.IndexAddendum{Add: image(t, "amd"), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	if err := at.AppendIndex(inner); err != nil {
		t.Fatal(err)
	}
	for platform, want := range map[string]string{"linux/amd64": "amd", "linux/arm64": "arm"} {
		layers, err := Open(t.Context(), dir, platform)
		if err != nil {
			t.Fatal(err)
		}
		if got := texts(t, layers); len(got) != 1 || got[0] != want {
			t.Errorf("%s: layers %q", platform, got)
		}
	}
	if _, err := Open(t.Context(), dir, "linux/s390x"); !errors.Is(err, ErrNoImage) {
		t.Errorf("a platform that is not there: %v", err)
	}
}

// A layer that is not what the image says is no layer of it.
func TestDamagedLayout(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	made := image(t, "one")
	at, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = at.AppendImage(made)
	}
	if err != nil {
		t.Fatal(err)
	}
	list, err := made.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := list[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(dir, "blobs", "sha256", digest.Hex)
	data, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 0xff
	if err := os.WriteFile(blob, data, 0o644); err != nil {
		t.Fatal(err)
	}
	layers, err := Open(t.Context(), dir, "linux/amd64")
	if err != nil {
		return
	}
	r, err := layers[0].Open()
	if err == nil {
		_, err = io.ReadAll(r)
	}
	if err == nil {
		t.Error("a damaged layer is read without an error")
	}
}

// FuzzLayout opens layouts whose files are anything: it is an error, or an image whose
// layers can be asked for. INDEX, MANIFEST, CONFIG and LAYER in a file stand for the
// descriptors of others, so that what refers to them leads there.
func FuzzLayout(f *testing.F) {
	const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":CONFIG,"layers":[LAYER]}`
	const config = `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["DIFFID"]}}`
	f.Add(`{"schemaVersion":2,"manifests":[MANIFEST]}`, `{}`, manifest, config, []byte("no archive"))
	f.Add(`{"manifests":[INDEX]}`, `{"manifests":[MANIFEST,INDEX]}`, manifest, config, []byte("\x1f\x8b\x08"))
	f.Add(`{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:0","size":2}]}`, `{}`, `{"layers":[LAYER,LAYER]}`, `{}`, []byte{})
	f.Fuzz(func(t *testing.T, root, index, manifest, config string, blob []byte) {
		dir := t.TempDir()
		blobs := filepath.Join(dir, "blobs", "sha256")
		if err := os.MkdirAll(blobs, 0o755); err != nil {
			t.Fatal(err)
		}
		put := func(data, kind string) string {
			sum := sha256.Sum256([]byte(data))
			if err := os.WriteFile(filepath.Join(blobs, hex.EncodeToString(sum[:])), []byte(data), 0o644); err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%x","size":%d}`, kind, sum, len(data))
		}
		diffID := fmt.Sprintf("sha256:%x", sha256.Sum256(blob))
		layer := put(string(blob), "layer.v1.tar")
		config = put(strings.ReplaceAll(config, "DIFFID", diffID), "config.v1+json")
		manifest = put(strings.NewReplacer("CONFIG", config, "LAYER", layer).Replace(manifest), "manifest.v1+json")
		index = put(strings.ReplaceAll(index, "MANIFEST", manifest), "index.v1+json")
		root = strings.NewReplacer("INDEX", index, "MANIFEST", manifest).Replace(root)
		for name, data := range map[string]string{"index.json": root, "oci-layout": `{"imageLayoutVersion":"1.0.0"}`} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		layers, err := Open(t.Context(), dir, "linux/amd64")
		if err != nil {
			return
		}
		for _, l := range layers {
			r, err := l.Open()
			if err != nil {
				continue
			}
			if data, err := io.ReadAll(r); err == nil && l.DiffID != fmt.Sprintf("sha256:%x", sha256.Sum256(data)) {
				t.Errorf("layer %s holds %.100q", l.DiffID, data)
			}
			r.Close()
		}
	})
}
