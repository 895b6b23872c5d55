package images

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// What describes an image is not read where it is too large to: a sparse file costs nobody
// anything, and reading it all the memory that there is.
func TestHugeDescriptions(t *testing.T) {
	t.Parallel()
	made := image(t, "one")
	manifest, err := made.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := made.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for what, file := range map[string]string{
		"index": "index.json", "manifest": "blobs/sha256/" + digest.Hex, "configuration": "blobs/sha256/" + manifest.Config.Digest.Hex,
	} {
		dir := t.TempDir()
		at, err := layout.Write(dir, empty.Index)
		if err == nil {
			err = at.AppendImage(made)
		}
		if err == nil {
			err = os.Truncate(filepath.Join(dir, file), 100<<30)
		}
		if err != nil {
			t.Fatal(err)
		}
		expectHuge(t, what, dir)
	}
	for what, config := range map[string]int64{"configuration": 100 << 30, "manifest.json": 0} {
		saved := filepath.Join(t.TempDir(), "image.tar")
		f, err := os.Create(saved)
		if err != nil {
			t.Fatal(err)
		}
		w := tar.NewWriter(f)
		text, size := `[{"Config":"config","Layers":[]}]`, int64(100<<30)
		if config > 0 {
			size = int64(len(text))
		}
		err = w.WriteHeader(&tar.Header{Name: "manifest.json", Mode: 0o644, Size: size, Typeflag: tar.TypeReg})
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err == nil && config > 0 {
			err = w.WriteHeader(&tar.Header{Name: "config", Mode: 0o644, Size: config, Typeflag: tar.TypeReg})
		}
		if err = errors.Join(err, f.Truncate(101<<30), f.Close()); err != nil {
			t.Fatal(err)
		}
		expectHuge(t, "saved "+what, saved)
	}
}

func expectHuge(t *testing.T, what, path string) {
	t.Helper()
	_, err := Open(t.Context(), path, "linux/amd64")
	if !errors.Is(err, ErrNoImage) && !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "nothing that describes an image") {
		t.Errorf("a huge %s: %v", what, err)
	}
}

func TestReadingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := tarball.WriteToFile(file, name.MustParseReference("example.org/a:b"), image(t, "one")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	layers, err := Open(ctx, file, "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	r, err := layers[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	stop := errors.New("stop")
	cancel(stop)
	if _, err := io.ReadAll(r); !errors.Is(err, stop) {
		t.Errorf("reading a layer: %v", err)
	}
	if _, err := Open(ctx, file, "linux/amd64"); !errors.Is(err, stop) {
		t.Errorf("opening: %v", err)
	}
}
