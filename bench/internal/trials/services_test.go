package trials

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/bench/internal/recorded"
	"ampoule/recipes"
)

func TestServices(t *testing.T) {
	t.Parallel()
	trials, calls := faked(t)
	if err := trials.Services(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"lock", "build", "lock", "build", "lock", "build"}, verbs(t, calls)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	told, err := os.ReadFile(calls)
	if err != nil || strings.Count(string(told), "lock --all --upgrade") != 1 {
		t.Errorf("pins move once, with Debian's: %v\n%s", err, told)
	}
	got := recordedIn[recorded.Rollout](t, trials, recorded.ServicesFile)
	if len(got) != 3 {
		t.Fatalf("%d changes are recorded", len(got))
	}
	for i, want := range []recorded.Rollout{
		// The fake tells tasks without the service's name; what the last change wants is there.
		{Name: "first build", Interpreters: 1, Wheels: 6, Python: oldPython},
		{Name: "new CPython", Edits: 1, Interpreters: 1, Wheels: 6, Python: newPython},
		{Name: "new libssl", Python: newPython},
	} {
		r := got[i]
		if r.Name != want.Name || r.Edits != want.Edits || r.Services != 3 || r.Commands != 2 || !r.Passed || len(r.Digests) != 3 || r.Python != want.Python || r.Wheels != want.Wheels || r.Interpreters != want.Interpreters {
			t.Errorf("%+v, want %+v", r, want)
		}
	}
}

// TestServicesFail: a service that cannot be locked, and a number that there is not, are errors.
func TestServicesFail(t *testing.T) {
	t.Parallel()
	trials, _ := faked(t)
	for count, want := range map[int]string{AllServices: "wrapt", 0: "not 0", AllServices + 1: "not 11"} {
		if err := trials.Services(t.Context(), count); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d services: %v", count, err)
		}
	}
	if got := recordedIn[recorded.Rollout](t, trials, recorded.ServicesFile); len(got) > 0 {
		t.Errorf("recorded %+v", got)
	}
}

// TestServiceRecipes: each is a recipe whose native distributions have a setting that makes
// their wheels this run's own.
func TestServiceRecipes(t *testing.T) {
	t.Parallel()
	trials, _ := faked(t)
	r := &repository{t: trials, dir: t.TempDir(), settings: t.TempDir(), count: AllServices}
	if err := r.write(); err != nil {
		t.Fatal(err)
	}
	for _, s := range services {
		recipe, err := recipes.ReadRecipe(filepath.Join(r.dir, s.name, recipeFile))
		if err != nil {
			t.Fatal(err)
		}
		if recipe.Name != "services/"+s.name || recipe.Python.Version != oldPython {
			t.Errorf("%s has the name %s and CPython %s", s.name, recipe.Name, recipe.Python.Version)
		}
		for _, dist := range s.wants {
			if _, set := recipe.Packages[dist]; set == slices.Contains(pureServices, dist) {
				t.Errorf("%s has a setting for %s: %v", s.name, dist, set)
			}
		}
	}
}
