package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
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

// FuzzLayout opens layouts whose index is anything: it is an error, or an image whose
// layers can be asked for.
func FuzzLayout(f *testing.F) {
	const digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" // of "{}"
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"`+digest+`","size":2}]}`), []byte("{}"))
	f.Add([]byte(`{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"`+digest+`","size":2,"platform":{"os":"linux","architecture":"amd64"}}]}`),
		[]byte(`{"layers":[{"digest":"`+digest+`"}],"config":{"digest":"`+digest+`"}}`))
	f.Fuzz(func(t *testing.T, index, blob []byte) {
		dir := t.TempDir()
		blobs := filepath.Join(dir, "blobs", "sha256")
		if err := os.MkdirAll(blobs, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{
			filepath.Join(dir, "index.json"): index, filepath.Join(dir, "oci-layout"): []byte(`{"imageLayoutVersion":"1.0.0"}`),
			filepath.Join(blobs, digest[len("sha256:"):]): blob,
		} {
			if err := os.WriteFile(name, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		layers, err := Open(t.Context(), dir, "linux/amd64")
		if err != nil {
			return
		}
		for _, l := range layers {
			if r, err := l.Open(); err == nil {
				_, _ = io.Copy(io.Discard, io.LimitReader(r, 1<<20))
				r.Close()
			}
		}
	})
}
