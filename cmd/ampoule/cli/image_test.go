package cli

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/audit/survey"
	"ampoule/registry/images"
)

// archive makes a tar of files, given as pairs of names and contents.
func archive(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1])), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// saved makes a file as "docker save" does, of layers.
func saved(t *testing.T, layers ...[]byte) string {
	t.Helper()
	type rootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
	type manifest struct {
		Config string
		Layers []string
	}
	m, fs := manifest{Config: "config.json"}, rootFS{Type: "layers"}
	var files []string
	for i, layer := range layers {
		name := fmt.Sprintf("%d/layer.tar", i)
		m.Layers = append(m.Layers, name)
		fs.DiffIDs = append(fs.DiffIDs, fmt.Sprintf("sha256:%x", sha256.Sum256(layer)))
		files = append(files, name, string(layer))
	}
	config, err := json.Marshal(map[string]any{"architecture": "amd64", "os": "linux", "config": map[string]any{}, "rootfs": fs})
	if err != nil {
		t.Fatal(err)
	}
	list, err := json.Marshal([]manifest{m})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(path, archive(t, append(files, "config.json", string(config), "manifest.json", string(list))...), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// Layers are laid over one another before anything is judged: what a later one removes
// is not there.
func TestAuditOfImage(t *testing.T) {
	t.Parallel()
	below := archive(t, "app/a-1.0-py3-none-any.whl", "no zip", "app/b-1.0-py3-none-any.whl", "no zip")
	above := archive(t, "app/.wh.a-1.0-py3-none-any.whl", "")
	var out bytes.Buffer
	s := &Session{Out: &out, Err: &bytes.Buffer{}, Output: JSON}
	err := Audit(t.Context(), s, saved(t, below, above), AuditOptions{Root: "/"})
	var refused *AuditRefusedError
	if !errors.As(err, &refused) || refused.Units != 1 || !strings.Contains(out.String(), `"path": "/app/b-1.0-py3-none-any.whl"`) {
		t.Errorf("%v\n%s", err, &out)
	}
	var nothing *survey.NothingError
	if err := Audit(t.Context(), s, saved(t, archive(t, "etc/passwd", "x")), AuditOptions{Root: "/"}); !errors.As(err, &nothing) {
		t.Errorf("an image without wheels: %v", err)
	}
	// A layer that is not the one that the configuration names.
	file := saved(t, below)
	data, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, bytes.Replace(data, []byte("no zip"), []byte("no Zip"), 1), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := Audit(t.Context(), s, file, AuditOptions{Root: "/"}); err == nil || errors.As(err, &refused) {
		t.Errorf("a damaged image: %v", err)
	}
	noImage := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(noImage, archive(t, "manifest.json", "[]"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Audit(context.Background(), s, noImage, AuditOptions{Root: "/"}); !errors.Is(err, images.ErrNoImage) || ExitCode(err) != codeInput {
		t.Errorf("an archive without an image: %v, code %d", err, ExitCode(err))
	}
}
