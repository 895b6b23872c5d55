package survey

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file whose hash is known is not read for it.
func TestKnownHashes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"known", "other"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at := strings.TrimPrefix(dir, "/")
	v := newSurvey(Target{Files: Machine("/"), Path: dir, Hashes: map[string]string{at + "/known": "abc"}}, defaultBounds)
	v.watch(t.Context())
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
