package cli

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
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
	if ExitCode(err) != codeRefused || !strings.Contains(err.Error(), "the audit refuses 1 of what is in it") || !strings.Contains(out.String(), `"path": "/app/b-1.0-py3-none-any.whl"`) {
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
	if err := Audit(t.Context(), s, file, AuditOptions{Root: "/"}); ExitCode(err) != codeInput {
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

// ociLayout makes an OCI layout of images, by their names, with a layer each.
func ociLayout(t *testing.T, named map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	blob := func(kind string, data []byte) map[string]any {
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		at := filepath.Join(dir, "blobs/sha256", sum)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, data, 0o644)); err != nil {
			t.Fatal(err)
		}
		return map[string]any{"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + sum, "size": len(data)}
	}
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var manifests []any
	for _, name := range slices.Sorted(maps.Keys(named)) {
		layer := blob("layer.v1.tar", named[name])
		config := blob("config.v1+json", encode(map[string]any{"architecture": "amd64", "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": []any{layer["digest"]}}}))
		m := blob("manifest.v1+json", encode(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": []any{layer}}))
		m["platform"], m["annotations"] = map[string]string{"os": "linux", "architecture": "amd64"}, map[string]string{"org.opencontainers.image.ref.name": name}
		manifests = append(manifests, m)
	}
	for name, data := range map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`), "index.json": encode(map[string]any{"schemaVersion": 2, "manifests": manifests})} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// soundDist is a layer with an installed distribution.
func soundDist(t *testing.T, site string) []byte {
	t.Helper()
	files, record := []string{}, ""
	for name, text := range map[string]string{"METADATA": "Metadata-Version: 2.1\nName: ok\nVersion: 1.0\n", "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"} {
		files = append(files, site+"ok-1.0.dist-info/"+name, text)
		sum := sha256.Sum256([]byte(text))
		record += fmt.Sprintf("ok-1.0.dist-info/%s,sha256=%s,%d\n", name, base64.RawURLEncoding.EncodeToString(sum[:]), len(text))
	}
	return archive(t, append(files, site+"ok-1.0.dist-info/RECORD", record+"ok-1.0.dist-info/RECORD,,\n")...)
}

// Each image of a layout is judged; one that is damaged is told by its name, and keeps no other
// from being judged.
func TestAuditOfSeveralImages(t *testing.T) {
	t.Parallel()
	empty := archive(t, "etc/passwd", "x")
	bad := archive(t, "app/a-1.0-py3-none-any.whl", "no zip")
	good := soundDist(t, "usr/lib/python3.11/site-packages/")
	damage := func(dir string, layer []byte) {
		if err := os.Truncate(filepath.Join(dir, fmt.Sprintf("blobs/sha256/%x", sha256.Sum256(layer))), 100); err != nil {
			t.Fatal(err)
		}
	}
	for what, c := range map[string]struct {
		images  map[string][]byte
		damaged []byte
		code    int
		tells   []string
	}{
		"one under two names":          {map[string][]byte{"a": good, "b": good}, nil, codeDone, []string{`"path": "/usr/lib`}},
		"the second one bad":           {map[string][]byte{"a": good, "b": bad}, nil, codeRefused, []string{`"path": "b:/app/a-1.0-py3-none-any.whl"`, `"path": "a:/usr/lib`}},
		"the first one bad":            {map[string][]byte{"a": bad, "b": good}, nil, codeRefused, []string{`"path": "a:/app`}},
		"one without anything":         {map[string][]byte{"a": empty, "b": bad}, nil, codeRefused, []string{`"path": "a:/"`, "no wheel and no installed distribution"}},
		"nothing in any":               {map[string][]byte{"a": empty, "b": archive(t, "etc/group", "x")}, nil, codeInput, nil},
		"one damaged":                  {map[string][]byte{"a": good, "b": bad}, bad, codeInput, []string{`"path": "b:/"`, "is damaged"}},
		"one damaged, the other bad":   {map[string][]byte{"a": bad, "b": good}, good, codeRefused, []string{`"path": "b:/"`, "is damaged"}},
		"the only one damaged":         {map[string][]byte{"a": bad}, bad, codeInput, nil},
		"the only one, and it is good": {map[string][]byte{"a": good}, nil, codeDone, []string{`"path": "/usr/lib`}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := ociLayout(t, c.images)
			if c.damaged != nil {
				damage(dir, c.damaged)
			}
			var out bytes.Buffer
			err := Audit(t.Context(), &Session{Out: &out, Err: &bytes.Buffer{}, Output: JSON}, dir, AuditOptions{Root: "/"})
			if got := ExitCode(err); got != c.code {
				t.Errorf("code %d, want %d: %v\n%s", got, c.code, err, &out)
			}
			if what == "the only one damaged" && !strings.Contains(fmt.Sprint(err), "sha256:") {
				t.Errorf("it does not say what is damaged: %v", err)
			}
			for _, text := range c.tells {
				if !strings.Contains(out.String(), text) {
					t.Errorf("it lacks %q:\n%s", text, &out)
				}
			}
		})
	}
	if err := Audit(t.Context(), &Session{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, t.TempDir(), AuditOptions{Root: "/", Against: ociLayout(t, map[string][]byte{"a": good, "b": bad})}); !errors.Is(err, images.ErrNoImage) {
		t.Errorf("against one of two: %v", err)
	}
}
