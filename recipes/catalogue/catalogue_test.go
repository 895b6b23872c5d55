package catalogue

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/recipes"
)

// TestRecipes holds every recipe to what its user relies on: it is named as its
// directory, says what it is for, runs in a container and on a machine, is tested,
// and its lock answers it.
func TestRecipes(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := recipes.ReadRecipe(filepath.Join(name, recipeFile))
			if err != nil {
				t.Fatal(err)
			}
			if r.Name != name {
				t.Errorf("the recipe in %s is named %s", name, r.Name)
			}
			if s := Summary(name); s == "" || strings.Contains(s, "\n") {
				t.Errorf("summary %q", s)
			}
			if r.Runtime.Container == nil || r.Runtime.VM == nil {
				t.Error("lacks a runtime target")
			}
			if len(r.Test.Commands) == 0 {
				t.Error("tests nothing")
			}
			reqs, err := recipes.ReadRequirements(r)
			if err != nil {
				t.Fatal(err)
			}
			lock, err := recipes.ReadLock(filepath.Join(name, "ampoule.lock"))
			if err != nil {
				t.Fatal(err)
			}
			if err := recipes.CheckFresh(r, reqs, lock); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLocksAreCanonical: keys are made of a lock's one form, in which the files have the
// names of their distributions. Another form would be another key of all that was published.
func TestLocksAreCanonical(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		file := filepath.Join(name, "ampoule.lock")
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lock, err := recipes.ReadLock(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(data), string(lock.Encode())); diff != "" {
			t.Errorf("%s is encoded in another form (-file +encoded):\n%s", file, diff)
		}
		for _, d := range lock.Dists {
			if normal := packaging.NormalName(d.Name); normal != d.Name {
				t.Errorf("%s: %s is %s by now", file, d.Name, normal)
			}
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"embed", "legacy", "minimal", "quickstart", "rust", "science", "shared", "web"} {
		if !slices.Contains(Names(), name) {
			t.Errorf("lacks %s", name)
		}
	}
	if !slices.IsSorted(Names()) {
		t.Errorf("%q are not sorted", Names())
	}
}

// TestFiles checks that what is embedded is what stands in the directories, and
// that nothing else stands there.
func TestFiles(t *testing.T) {
	t.Parallel()
	known := []string{"ampoule.yaml", "ampoule.lock", "requirements*.txt", "README.md", "patches", "patches/*.patch"}
	for _, name := range Names() {
		dir, err := Open(name)
		if err != nil {
			t.Fatal(err)
		}
		want := walk(t, os.DirFS(name))
		if diff := cmp.Diff(want, walk(t, dir)); diff != "" {
			t.Errorf("%s (-directory +embedded):\n%s", name, diff)
		}
		for file := range want {
			if !slices.ContainsFunc(known, func(pattern string) bool { ok, _ := path.Match(pattern, file); return ok }) {
				t.Errorf("%s has %s", name, file)
			}
		}
	}
}

// walk reads all files below a directory.
func walk(t *testing.T, dir fs.FS) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := fs.WalkDir(dir, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := fs.ReadFile(dir, name)
		found[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestOpenUnknown(t *testing.T) {
	t.Parallel()
	for name, near := range map[string]string{
		"quikstart": "quickstart", "sci": "science", "Web": "web", "mimimal": "minimal", "xyzzy-and-more": "", "": "",
		"web/../web": "", strings.Repeat("w", 1<<20): "",
	} {
		_, err := Open(name)
		if faults.Of(err) != faults.NotFound {
			t.Fatalf("Open(%.20q): %v", name, err)
		}
		hint := strings.Join(faults.Hints(err), "")
		want := "the recipes are:\n"
		if near != "" {
			want = "did you mean " + near + "? the recipes are:\n"
		}
		if !strings.HasPrefix(hint, want) || !strings.Contains(hint, "web         "+Summary("web")) {
			t.Errorf("Open(%.20q): hint %q", name, hint)
		}
	}
	if s := Summary("xyzzy"); s != "" {
		t.Errorf("Summary of what is not there: %q", s)
	}
}
