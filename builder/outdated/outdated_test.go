package outdated_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/fetch"
	"ampoule/builder/lineage"
	"ampoule/builder/outdated"
	"ampoule/recipes"
	"ampoule/store"
)

// index has files by project.
type index map[string][]fetch.IndexFile

func (i index) Project(_ context.Context, source, name string) ([]fetch.IndexFile, error) {
	if files, ok := i[name]; ok {
		return files, nil
	}
	return nil, &fetch.NoProjectError{Source: source, Name: name}
}

func file(name string) fetch.IndexFile { return fetch.IndexFile{File: name, SHA256: "00"} }

// graphOf has demo 1.0 in the tree, which a person requires.
func graphOf(t *testing.T, spec, locked string) *lineage.Graph {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	d := recipes.Dist{Name: "demo", Version: locked, File: "demo-" + locked + ".tar.gz", SHA256: "00"}
	lock := &recipes.Lock{Requirements: []string{d.ID()}, Dists: []recipes.Dist{d}}
	reqs := &recipes.RequirementSet{Requirements: []recipes.Requirement{{Name: "demo", Spec: spec, Position: recipes.Position{File: "requirements.txt", Line: 1}}}}
	g, err := lineage.Read(t.Context(), st, recipe(), reqs, lock, "")
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func recipe() *recipes.Recipe { return &recipes.Recipe{Python: recipes.Python{Version: "3.13.5"}} }

func TestCompare(t *testing.T) {
	t.Parallel()
	yanked, newer := file("demo-9.0.tar.gz"), file("demo-3.0.tar.gz")
	yanked.Yanked, newer.RequiresPython = true, ">=3.14"
	for name, c := range map[string]struct {
		spec, locked    string
		files           []fetch.IndexFile
		allowed, newest string
		held            []string
	}{
		"the newest":          {"demo", "1.0", []fetch.IndexFile{file("demo-1.0.tar.gz"), file("demo-0.9.tar.gz")}, "1.0", "1.0", nil},
		"newer ones":          {"demo<2", "1.0", []fetch.IndexFile{file("demo-1.2.tar.gz"), file("demo-1.10.tar.gz"), file("demo-2.0.tar.gz")}, "1.10", "2.0", []string{"demo<2"}},
		"withdrawn":           {"demo", "1.0", []fetch.IndexFile{yanked}, "1.0", "1.0", nil},
		"for another Python":  {"demo", "1.0", []fetch.IndexFile{newer, file("demo-2.0.tar.gz")}, "2.0", "3.0", nil},
		"a pre-release":       {"demo", "1.0", []fetch.IndexFile{file("demo-2.0rc1.tar.gz")}, "1.0", "1.0", nil},
		"from a pre-release":  {"demo>=2.0b1", "2.0b1", []fetch.IndexFile{file("demo-2.0rc1.tar.gz")}, "2.0rc1", "2.0rc1", nil},
		"a pure wheel":        {"demo", "1.0", []fetch.IndexFile{file("demo-2.0-py3-none-any.whl")}, "2.0", "2.0", nil},
		"native wheels alone": {"demo", "1.0", []fetch.IndexFile{file("demo-2.0-cp313-cp313-manylinux_2_28_x86_64.whl")}, "1.0", "2.0", nil},
		"without a hash":      {"demo", "1.0", []fetch.IndexFile{{File: "demo-2.0.tar.gz"}}, "1.0", "2.0", nil},
		"other files":         {"demo", "1.0", []fetch.IndexFile{file("demo-2.0.exe"), file("other-3.0.tar.gz")}, "1.0", "1.0", nil},
		"spelled otherwise":   {"demo", "1.0", []fetch.IndexFile{file("demo-1.0.0.tar.gz")}, "1.0", "1.0", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pins, err := outdated.Compare(t.Context(), index{"demo": c.files}, recipe(), graphOf(t, c.spec, c.locked), []string{"demo"})
			if err != nil {
				t.Fatal(err)
			}
			var held []string
			for _, e := range pins[0].Held {
				held = append(held, e.Requires)
			}
			got := []any{pins[0].Allowed, pins[0].Newest, held, pins[0].Direct, pins[0].IsOutdated()}
			want := []any{c.allowed, c.newest, c.held, true, c.newest != c.locked}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A project that is gone is told; an index that fails ends it.
func TestCompareFaults(t *testing.T) {
	t.Parallel()
	g := graphOf(t, "demo", "1.0")
	pins, err := outdated.Compare(t.Context(), index{}, recipe(), g, []string{"demo"})
	if err != nil || pins[0].Newest != "" || pins[0].IsOutdated() {
		t.Errorf("%v, %v", pins, err)
	}
	broken := errors.New("away")
	if _, err := outdated.Compare(t.Context(), failing{broken}, recipe(), g, []string{"demo"}); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

type failing struct{ err error }

func (f failing) Project(context.Context, string, string) ([]fetch.IndexFile, error) {
	return nil, f.err
}
