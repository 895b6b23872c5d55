package worker

import (
	"path/filepath"
	"strings"
	"testing"

	"ampoule/config"
	"ampoule/wiring"
)

// A builder for callers who are not trusted does not even read the key that caches are signed with, also
// where a cache is only written to.
func TestUntrustedBuildersWriteNoCache(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	parts, err := wiring.Open(config.Place{Store: filepath.Join(dir, "store")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := parts.Close(); err != nil {
			t.Error(err)
		}
	})
	place := Local{Parts: parts, Inputs: config.Inputs{Cache: config.Cache{Use: []string{"127.0.0.1:1/cache"}, Key: filepath.Join(dir, "absent.key")}}}
	if _, err := place.Builder(true, nil); err == nil || !strings.Contains(err.Error(), "absent.key") {
		t.Errorf("for a trusted caller: %v", err)
	}
	if _, err := place.Builder(false, nil); err != nil {
		t.Errorf("for another one: %v", err)
	}
}
