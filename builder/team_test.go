package builder

import (
	"path/filepath"
	"strings"
	"testing"

	"ampoule/store"
)

// The slash in a team's artifact makes no directories of its logs.
func TestBuildOfTeam(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.recipe.Name = "team/web"
	got, err := w.build()
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "team/web" || filepath.Dir(got.Logs) != w.st.Dir(store.Logs) || !strings.Contains(filepath.Base(got.Logs), "-team--web-") {
		t.Errorf("%s has its logs in %s", got.Name, got.Logs)
	}
}
