package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ampoule/registry"
)

// published publishes the sample artifact into a new store and tells where its blobs are.
func published(t *testing.T, s *Session) (found registry.Description, blob func(digest string) string) {
	t.Helper()
	err := s.wired(t.Context(), func(ctx context.Context, w *wiring) error {
		digest := publish(ctx, t, w, sampleTree(t))
		reg, err := w.registry()
		if err != nil {
			return err
		}
		found, err = reg.Resolve(ctx, "web@"+digest)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found, func(digest string) string {
		return filepath.Join(s.Store, "registry", "repositories", "web", "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
	}
}

// A damaged artifact is refused, whatever part of it is damaged and however.
func TestInstallOfDamagedArtifact(t *testing.T) {
	t.Parallel()
	damages := map[string]func(string) error{
		"a bit is flipped": func(path string) error {
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			raw[len(raw)/2] ^= 0x10
			return os.WriteFile(path, raw, 0o644)
		},
		"it is cut":   func(path string) error { return os.Truncate(path, 40) },
		"it is empty": func(path string) error { return os.Truncate(path, 0) },
		"it is gone":  os.Remove,
	}
	parts := map[string]func(registry.Description) string{
		"index":    func(d registry.Description) string { return d.Digest },
		"manifest": func(d registry.Description) string { return d.Images[0].Digest },
		"configuration": func(d registry.Description) string {
			var m struct{ Config struct{ Digest string } }
			if err := json.Unmarshal(d.Images[0].Manifest, &m); err != nil {
				panic(err)
			}
			return m.Config.Digest
		},
		"first layer": func(d registry.Description) string { return d.Images[0].Layers[0].Digest },
		"last layer": func(d registry.Description) string {
			return d.Images[0].Layers[len(d.Images[0].Layers)-1].Digest
		},
	}
	for part, digest := range parts {
		for damage, do := range damages {
			t.Run(part+": "+damage, func(t *testing.T) {
				t.Parallel()
				s, out, errs := session(t, goodRecipe)
				found, blob := published(t, s)
				if err := do(blob(digest(found))); err != nil {
					t.Fatal(err)
				}
				root := filepath.Join(t.TempDir(), "root")
				code := Main([]string{"--store", s.Store, "install", found.Ref, "--root", root}, s.In, out, errs)
				want := codeRefused
				if damage == "it is gone" {
					want = codeNotFound
				}
				if code != want {
					t.Errorf("code %d, want %d: %s", code, want, errs)
				}
				if left, _ := filepath.Glob(filepath.Join(root, "*")); !slices.Contains([]int{0, 1}, len(left)) {
					t.Errorf("left %v", left)
				}
			})
		}
	}
}
