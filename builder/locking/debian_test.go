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
