package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ampoule/service/builds"
	"ampoule/service/queue"
	"ampoule/store"
)

// TestServeCollects: with bounds in its configuration, a service's store is collected after each build, also
// after one that failed. Tokens stay.
func TestServeCollects(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, recipeDir := filepath.Join(dir, "data"), filepath.Join(dir, "web")
	local, _, _ := session(t, goodRecipe)
	if err := os.CopyFS(recipeDir, os.DirFS(filepath.Dir(local.Recipe))); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(data, ".config", "ampoule", "config.toml")
	if err := errors.Join(os.MkdirAll(filepath.Dir(config), 0o700), os.WriteFile(config, []byte("[store]\nkeep = \"0h\"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(ownStore(data))
	if err != nil {
		t.Fatal(err)
	}
	unused, _, err := st.Put(t.Context(), strings.NewReader("nobody uses this"))
	if err != nil {
		t.Fatal(err)
	}
	a := startService(t, data, func(context.Context, queue.Job) (builds.Result, error) {
		if !st.Has(unused) {
			t.Error("collected before a build has ended")
		}
		return builds.Result{}, errors.New("this build fails")
	})
	a.token = a.makeToken("me", "build:*")
	for range 2 {
		if code, _, errs := a.verb(recipeDir, "lock"); code == codeDone || !strings.Contains(errs, "this build fails") {
			t.Fatalf("%d %s", code, errs)
		}
		for begun := time.Now(); st.Has(unused); time.Sleep(10 * time.Millisecond) {
			if time.Since(begun) > time.Minute {
				t.Fatalf("nothing is collected: %s", a.errs)
			}
		}
		if unused, _, err = st.Put(t.Context(), strings.NewReader("nor this")); err != nil {
			t.Fatal(err)
		}
	}
}
