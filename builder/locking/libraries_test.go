package locking

import (
	"errors"
	"strings"
	"testing"

	"ampoule/builder/locking/apt"
	"ampoule/recipes"
)

// recipeWith reads a recipe whose target has some more lines.
func recipeWith(t *testing.T, lines string) *recipes.Recipe {
	t.Helper()
	r, err := recipes.ParseRecipe("ampoule.yaml", []byte("apiVersion: ampoule/v1\nname: x\npython: {version: 3.13.5}\nbase: {debian: bookworm}\nruntime:\n  vm: {glibc: \"2.36\"}\n"+lines))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLibraryFault(t *testing.T) {
	t.Parallel()
	d := &debianLocker{recipe: recipeWith(t, "  libraries: [libpq5, libmagik1]\n")}
	unknown := &apt.UnknownError{Name: "libmagik1", Suite: "bookworm", Nearest: "libmagic1"}
	for name, c := range map[string]struct {
		err           error
		applied       []recipes.Applied
		column        int
		message, hint string
	}{
		"written":        {unknown, nil, 23, "Debian bookworm has no package libmagik1", "did you mean libmagic1?"},
		"of an override": {&apt.UnknownError{Name: "libother", Suite: "bookworm"}, []recipes.Applied{{Name: "python-magic"}}, 1, "no package libother", "packages: {python-magic: {overrides: none}}"},
	} {
		var faults recipes.Faults
		if err := d.libraryFault(c.err, c.applied); !errors.As(err, &faults) || len(faults) != 1 || faults[0].Column != c.column ||
			!strings.Contains(faults[0].What, c.message) || !strings.Contains(faults[0].Hint, c.hint) {
			t.Errorf("%s: %+v", name, err)
		}
	}
	if other := errors.New("other"); !errors.Is(d.libraryFault(other, nil), other) {
		t.Error("another error became something else")
	}
}

// The packages are those of the last lock as long as recipe and overrides name the same.
func TestPreviousLibraries(t *testing.T) {
	t.Parallel()
	deb := recipes.Deb{Name: "libmagic1", Version: "1"}
	lock := func(names ...string) *recipes.Lock {
		return &recipes.Lock{
			Answers: recipes.Answers{Recipe: []string{"python.version: 3.13.5", "runtime.libraries: libmagic1"}},
			Base:    recipes.LockedBase{Suite: "bookworm"}, Debian: map[string]recipes.Suite{"bookworm": {deb}},
			Libraries: &recipes.LockedLibraries{Names: names, Packages: []string{"libmagic1"}},
		}
	}
	for name, c := range map[string]struct {
		previous *recipes.Lock
		opts     Options
		now      []string
		debs     int
		whole    bool
	}{
		"the same":        {lock("libmagic1"), Options{}, []string{"libmagic1"}, 1, true},
		"one more":        {lock("libmagic1"), Options{}, []string{"libmagic1", "libpq5"}, 1, false},
		"upgraded":        {lock("libmagic1"), Options{Upgrade: true}, []string{"libmagic1"}, 0, false},
		"let go":          {lock("libmagic1"), Options{UpgradeNames: []string{"libmagic1"}}, []string{"libmagic1"}, 0, false},
		"none was before": {&recipes.Lock{}, Options{}, []string{"libmagic1"}, 0, false},
	} {
		c.opts.Previous = c.previous
		d := &debianLocker{opts: c.opts, lock: lock(c.now...), debs: map[string]map[string]recipes.Deb{}}
		kept := d.previousLibraries(c.previous.Libraries, d.lock.Libraries)
		if len(kept.debs) != c.debs || kept.whole != c.whole {
			t.Errorf("%s: %+v", name, kept)
		}
	}
}

// An entry under packages that only turns an override off needs no build, but a release that is
// locked.
func TestOverridesNoneOfAPureWheel(t *testing.T) {
	t.Parallel()
	lock := &recipes.Lock{
		Base: recipes.LockedBase{Suite: "bookworm"}, Python: recipes.LockedPython{Version: "3.13.5"}, Requirements: []string{"python-magic==0.4.27", "flask==3"},
		Dists: []recipes.Dist{{Name: "python-magic", Version: "0.4.27", File: "x.whl"}, {Name: "flask", Version: "3", File: "y.whl"}},
	}
	for lines, refused := range map[string]bool{
		"packages: {python-magic: {overrides: none}}\n":                    false,
		"packages: {python-magic: {overrides: none, build: [libx-dev]}}\n": true,
		"packages: {flask: {overrides: none}}\n":                           false,
		"packages: {django: {overrides: none}}\n":                          true,
	} {
		if err := unusedPackages(recipeWith(t, lines), lock); (err != nil) != refused {
			t.Errorf("%s: %v", lines, err)
		}
	}
}

// Package lists are asked before anything is compiled, and only for names that are new.
func TestCheckLibraries(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		locked []string
		suite  string
		asks   bool
	}{
		"none was before": {nil, "", true},
		"the same":        {[]string{"libpq5", "libmagic1"}, "bookworm", false},
		"one more":        {[]string{"libpq5"}, "bookworm", true},
		"another suite":   {[]string{"libpq5", "libmagic1"}, "trixie", true},
	} {
		d := openingLocker(t)
		d.recipe = recipeWith(t, "  libraries: [libpq5, libmagic1]\n")
		d.opts.Previous.Base.Suite = c.suite
		if c.locked != nil {
			d.opts.Previous.Libraries = &recipes.LockedLibraries{Names: c.locked}
		}
		// There are no lists to open.
		if err := d.checkLibraries(t.Context()); (err != nil) != c.asks {
			t.Errorf("%s: %v", name, err)
		}
	}
}
