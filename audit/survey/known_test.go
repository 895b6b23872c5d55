package survey

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A file whose hash is known is not read for it, and what is to be passed over is not seen.
func TestKnown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"known", "other", "skipped"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at := strings.TrimPrefix(dir, "/")
	v := newSurvey(Target{Files: Machine("/"), Path: dir, Known: Known{
		Hash: func(p string) string { return map[string]string{at + "/known": "abc"}[p] },
		Skip: func(p string) bool { return p == at+"/skipped" },
	}}, defaultBounds)
	v.watch(t.Context())
	if names, err := v.Files.List(at); err != nil || !slices.Equal(names, []string{"known", "other"}) {
		t.Errorf("listed %v, %v", names, err)
	}
	if _, ok := v.Files.Lookup(at + "/skipped"); ok {
		t.Error("what is passed over is found")
	}
	for name, want := range map[string]string{"known": "abc", "other": "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"} {
		e, ok := v.Files.Lookup(at + "/" + name)
		if !ok {
			t.Fatal(name)
		}
		if e, err := hashed(e); err != nil || e.SHA256 != want {
			t.Errorf("%s: %s, %v", name, e.SHA256, err)
		}
	}
}
