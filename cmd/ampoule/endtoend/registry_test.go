//go:build docker

package endtoend

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// attempt runs the program and returns what it tells, and its exit code.
func attempt(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append([]string{"--store", filepath.Join(cache, "store"), "--progress", "plain"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(stdout.String()), stderr.String(), code
}

// shelf is the artifact's repository in the store's registry.
type shelf string

func shelfOf(a artifact) shelf {
	return shelf(filepath.Join(cache, "store", "registry", "repositories", a.recipe.Name))
}

func (s shelf) blob(digest string) string {
	return filepath.Join(string(s), "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}

// put writes content and returns its digest.
func (s shelf) put(t *testing.T, content []byte) string {
	t.Helper()
	sum := sha256.Sum256(content)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	if err := os.WriteFile(s.blob(digest), content, 0o644); err != nil {
		t.Fatal(err)
	}
	return digest
}

func (s shelf) read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// tryRot flips a bit of the interpreter's layer: nothing is installed of it, and a build
// publishes the artifact again, as the same digest.
func tryRot(t *testing.T, a artifact) {
	var info struct {
		Images []struct {
			Layers []struct{ Name, Digest string }
		}
	}
	if err := json.Unmarshal([]byte(ampoule(t, "inspect", a.ref, "--output", "json")), &info); err != nil {
		t.Fatal(err)
	}
	for _, layer := range info.Images[0].Layers {
		if layer.Name != "interpreter" {
			continue
		}
		file := shelfOf(a).blob(layer.Digest)
		raw := shelfOf(a).read(t, file)
		raw[len(raw)/2] ^= 1
		if err := os.WriteFile(file, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root := t.TempDir()
	if _, errs, code := attempt(t, "install", a.ref, "--root", root); code != 4 {
		t.Errorf("installing from a damaged layer ends with code %d\n%s", code, errs)
	}
	if again, errs, code := attempt(t, "-f", a.file, "build"); code != 0 || again != a.ref || !strings.Contains(errs, "it is published again") {
		t.Errorf("building gives %q, code %d, want %s\n%s", again, code, a.ref, errs)
	}
	ampoule(t, "install", a.ref, "--root", root)
}

// tryLyingKey has the key's tag name an artifact of another key: no build prints that one.
func tryLyingKey(t *testing.T, a artifact) {
	s := shelfOf(a)
	list := filepath.Join(string(s), "index.json")
	honest := s.read(t, list)
	defer func() {
		if err := os.WriteFile(list, honest, 0o644); err != nil {
			t.Error(err)
		}
	}()
	_, digest, _ := strings.Cut(a.ref, "@")
	var index struct{ Manifests []struct{ Digest string } }
	raw := s.read(t, s.blob(digest))
	if err := json.Unmarshal(raw, &index); err != nil {
		t.Fatal(err)
	}
	image := s.read(t, s.blob(index.Manifests[0].Digest))
	var manifest struct{ Config struct{ Digest string } }
	if err := json.Unmarshal(image, &manifest); err != nil {
		t.Fatal(err)
	}
	config := s.read(t, s.blob(manifest.Config.Digest))
	_, key, found := bytes.Cut(config, []byte(`"dev.ampoule.key":"sha256:`))
	if !found {
		t.Fatal("the configuration has no key")
	}
	// What has the same size keeps every descriptor true.
	replace := func(in []byte, from, to string) []byte { return bytes.ReplaceAll(in, []byte(from), []byte(to)) }
	other := s.put(t, replace(config, string(key[:64]), strings.Repeat("0", 64)))
	lied := s.put(t, replace(image, manifest.Config.Digest, other))
	lie := s.put(t, replace(raw, index.Manifests[0].Digest, lied))
	if err := os.WriteFile(list, replace(honest, digest, lie), 0o644); err != nil {
		t.Fatal(err)
	}
	out, errs, code := attempt(t, "-f", a.file, "build")
	if code != 4 || out != "" || !strings.Contains(errs, fmt.Sprintf("names %s, which is not that key's artifact", lie)) {
		t.Errorf("building prints %q, code %d\n%s", out, code, errs)
	}
}
