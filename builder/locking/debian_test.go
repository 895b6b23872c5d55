package locking

import (
	"context"
	"errors"
	"slices"
	"testing"

	"ampoule/builder/buildenv"
	"ampoule/builder/fetch"
	"ampoule/builder/locking/apt"
	"ampoule/builder/memo"
	"ampoule/recipes"
)

// openingLocker opens package lists of mirrors that have none.
func openingLocker(t *testing.T) *debianLocker {
	t.Helper()
	st := openStore(t)
	config := fetch.Config{Sources: map[string]fetch.Source{"debian": {Mirrors: []string{t.TempDir()}}}}
	l := &Locker{Resources: buildenv.Resources{Store: st, Fetch: fetch.New(st, config)}}
	dir, remove, err := l.aptDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := remove(); err != nil {
			t.Error(err)
		}
	})
	return &debianLocker{
		l:      l,
		recipe: &recipes.Recipe{Packages: map[string]recipes.Packages{"lxml": {Settings: recipes.Settings{Build: []string{"libxml2-dev"}}}}},
		lock:   &recipes.Lock{Base: recipes.LockedBase{Suite: "bookworm"}}, opts: Options{Previous: &recipes.Lock{}},
		dir: dir, resolvers: map[string]*memo.Value[*apt.Resolver]{},
	}
}

// That package lists were not opened for one who gave up is no answer for the next.
func TestResolverOutlivesACaller(t *testing.T) {
	t.Parallel()
	d := openingLocker(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.resolver(ctx, "bookworm"); err == nil {
		t.Error("who gave up has package lists")
	}
	// There is nothing to open, which is another fault.
	if _, err := d.resolver(t.Context(), "bookworm"); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("the next one is told %v", err)
	}
	opened := &apt.Resolver{}
	if got, err := d.opened("bookworm").Get(t.Context(), func() (*apt.Resolver, error) { return opened, nil }); got != opened || err != nil {
		t.Errorf("opened it is %v, %v", got, err)
	}
	if got, err := d.resolver(t.Context(), "bookworm"); got != opened || err != nil {
		t.Errorf("later it is %v, %v", got, err)
	}
}

// Package lists are opened ahead where the last lock lacks a package that the recipe names, and
// closing waits for that.
func TestForesee(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		locked []recipes.Deb
		want   []string
	}{
		"a new package": {[]recipes.Deb{{Name: "gcc"}}, []string{"bookworm"}},
		"none":          {[]recipes.Deb{{Name: "gcc"}, {Name: "libxml2-dev"}}, nil},
	} {
		d := openingLocker(t)
		d.opts.Previous.Debian = map[string]recipes.Suite{"bookworm": c.locked}
		ctx, cancel := context.WithCancel(t.Context())
		d.foresee(ctx)
		cancel()
		if err := d.close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := sortedKeys(d.resolvers); !slices.Equal(got, c.want) {
			t.Errorf("%s: opened are %q, want %q", name, got, c.want)
		}
	}
}

// What one recipe has asked apt answers another one of the process, which opens no package lists.
// Anything else is asked anew, and so is what is old.
func TestAnswersAreShared(t *testing.T) {
	t.Parallel()
	shared := &Answers{}
	base := []recipes.Deb{{Name: "libc6", Version: "2.36", Arch: "amd64", SHA256: "a"}}
	d := openingLocker(t)
	d.l.Answers = shared
	answered := []recipes.Deb{{Name: "gcc-12", Version: "12.2", Arch: "amd64", SHA256: "b"}}
	ask := func(below installed, kept pins, want ...string) ([]recipes.Deb, error) {
		return d.resolve(t.Context(), "bookworm", below, kept, want)
	}
	if _, err := ask(d.with("bookworm", nothing, base), pins{}, "gcc", "make"); err == nil {
		t.Fatal("package lists are there")
	}
	// That failed, and counts for nobody.
	if _, err := shared.get(t.Context(), "bookworm", question("bookworm", d.with("bookworm", nothing, base), pins{}, []string{"make", "gcc"}), func() ([]recipes.Deb, error) {
		return answered, nil
	}); err != nil {
		t.Fatal(err)
	}
	d = openingLocker(t)
	d.l.Answers = shared
	got, err := ask(d.with("bookworm", nothing, base), pins{}, "gcc", "make")
	if err != nil || !slices.Equal(got, answered) || len(d.resolvers) > 0 {
		t.Errorf("got %v, %v with %d opened lists", got, err, len(d.resolvers))
	}
	d.lock.Base.Suite = "bookworm"
	d.foresee(t.Context())
	if len(d.resolvers) > 0 {
		t.Error("package lists are opened ahead of their need")
	}
	other := slices.Clone(base)
	other[0].Version = "2.37"
	for name, again := range map[string]func() ([]recipes.Deb, error){
		"another package": func() ([]recipes.Deb, error) { return ask(d.with("bookworm", nothing, base), pins{}, "gcc") },
		"on another base": func() ([]recipes.Deb, error) { return ask(d.with("bookworm", nothing, other), pins{}, "gcc", "make") },
		"with another pin": func() ([]recipes.Deb, error) {
			return ask(d.with("bookworm", nothing, base), pins{debs: answered}, "gcc", "make")
		},
		"with a moved one": func() ([]recipes.Deb, error) {
			return ask(d.with("bookworm", nothing, base), pins{moved: []string{"gcc"}}, "gcc", "make")
		},
		"of another suite": func() ([]recipes.Deb, error) {
			return d.resolve(t.Context(), "trixie", d.with("bookworm", nothing, base), pins{}, []string{"gcc", "make"})
		},
	} {
		if got, err := again(); err == nil {
			t.Errorf("%s is answered by %v", name, got)
		}
	}
	for key, old := range shared.known {
		old.begun = old.begun.Add(-2 * answersLast)
		shared.known[key] = old
	}
	if got, err := ask(d.with("bookworm", nothing, base), pins{}, "gcc", "make"); err == nil {
		t.Errorf("an old answer counts: %v", got)
	}
}
