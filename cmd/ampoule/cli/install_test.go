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
	"ampoule/wiring"
)

// published publishes the sample artifact into a new store and tells where its blobs are.
func published(t *testing.T, s *Session) (found registry.Description, blob func(digest string) string) {
	t.Helper()
	err := s.wired(t.Context(), func(ctx context.Context, w *wiring.Parts) error {
		digest := publish(ctx, t, w, sampleTree(t))
		reg, err := w.Registry()
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
				code := Main(&Session{In: s.In, Out: out, Err: errs}, []string{"--store", s.Store, "install", found.Ref, "--root", root})
				if code != codeRefused {
					t.Errorf("code %d, want %d: %s", code, codeRefused, errs)
				}
				if left, _ := filepath.Glob(filepath.Join(root, "*")); !slices.Contains([]int{0, 1}, len(left)) {
					t.Errorf("left %v", left)
				}
			})
		}
	}
}

// TestVerify asks what the verb says of roots, as text and as JSON.
func TestVerify(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	found, _ := published(t, s)
	other := "sha256:" + strings.Repeat("a", 64)
	sealed := sampleTree(t).Hash()
	edit := func(t *testing.T, root string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(root, "current", "lib/python3.13/site-packages/idna/__init__.py"), []byte("evil"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		set  func(t *testing.T, root string)
		args []string
		code int
		// out and errs are what the verb must say, among other things; an empty out is nothing.
		out, errs []string
	}{
		{name: "the digest of the root", out: []string{sealed}, errs: []string{found.Ref + " is whole", "must be known from elsewhere"}},
		{name: "a reference", args: []string{found.Ref}, out: []string{sealed}, errs: []string{found.Ref + " is whole"}},
		{name: "a digest", args: []string{found.Digest}, out: []string{sealed}},
		{name: "another digest", args: []string{other}, code: codeRefused, errs: []string{"its digest is " + found.Digest + ", not " + other, "hint: another release is the current one"}},
		{name: "a tag", args: []string{"web:latest"}, code: codeUsage, errs: []string{"it has no digest"}},
		{name: "no root", set: func(t *testing.T, root string) { must(t, os.RemoveAll(root)) }, code: codeNotFound},
		{name: "a link", set: func(t *testing.T, root string) {
			must(t, os.Rename(root, root+"2"))
			must(t, os.Symlink(root+"2", root))
		}, code: codeMachine, errs: []string{"is a symbolic link"}},
		{name: "an edited file", set: edit, code: codeRefused, errs: []string{"idna/__init__.py", "hint: install the same reference again"}},
		{name: "JSON", args: []string{found.Digest, "--output", "json"}, out: []string{`"proven": true`, `"given": true`, `"what": "owner"`, `"differs": []`, `"warnings": []`}},
		{name: "JSON of the digest of the root", args: []string{"--output", "json"}, out: []string{`"given": false`, `"digest": "` + found.Digest}},
		{name: "JSON of an edited file", set: edit, args: []string{"--output", "json"}, code: codeRefused, out: []string{`"proven": false`, `"holds": false`, `idna/__init__.py"`}},
		{name: "JSON of another digest", args: []string{other, "--output", "json"}, code: codeRefused, out: []string{`"proven": false`, `"want": "` + other}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "root")
			if code := Main(&Session{In: s.In, Out: out, Err: errs}, []string{"--store", s.Store, "install", found.Ref, "--root", root}); code != 0 {
				t.Fatalf("code %d: %s", code, errs)
			}
			if c.set != nil {
				c.set(t, root)
			}
			out.Reset()
			errs.Reset()
			code := Main(&Session{In: s.In, Out: out, Err: errs}, append([]string{"verify", root}, c.args...))
			if code != c.code || (out.Len() > 0) != (len(c.out) > 0) {
				t.Errorf("code %d, want %d; stdout %q, stderr %q", code, c.code, out, errs)
			}
			for _, want := range c.out {
				if !strings.Contains(out.String(), want) {
					t.Errorf("stdout lacks %q: %s", want, out)
				}
			}
			for _, want := range c.errs {
				if !strings.Contains(errs.String(), want) {
					t.Errorf("stderr lacks %q: %s", want, errs)
				}
			}
			if slices.Contains(c.args, "json") && !json.Valid(out.Bytes()) {
				t.Errorf("no JSON: %s", out)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Roots that are refused end with their code and say what to do.
func TestInstallIntoUnsafeRoot(t *testing.T) {
	t.Parallel()
	s, out, errs := session(t, goodRecipe)
	found, _ := published(t, s)
	root := filepath.Join(t.TempDir(), "a[b")
	must(t, os.Mkdir(root, 0o777))
	must(t, os.Chmod(root, 0o777))
	install := func() int {
		return Main(&Session{In: s.In, Out: out, Err: errs}, []string{"--store", s.Store, "install", found.Ref, "--root", root})
	}
	if code := install(); code != codeMachine || !strings.Contains(errs.String(), "hint: chmod go-w "+root) {
		t.Errorf("code %d: %s", code, errs)
	}
	must(t, os.Chmod(root, 0o755))
	errs.Reset()
	if code := install(); code != 0 || strings.Contains(errs.String(), "warning") {
		t.Errorf("code %d: %s", code, errs)
	}
	parent := filepath.Dir(root)
	must(t, os.Chmod(parent, 0o777))
	if code := install(); code != 0 || !strings.Contains(errs.String(), "warning: everybody may change "+parent) {
		t.Errorf("code %d: %s", code, errs)
	}
}
