package locking

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/once"
	"ampoule/builder/once/oncetest"
	"ampoule/recipes"
)

// A lock on an empty store with a filled cache asks no build backend.
func TestLockFromCache(t *testing.T) {
	t.Parallel()
	shelf := oncetest.New()
	lock := func() (dists []recipes.Dist, asked []string, tally once.Tally) {
		w := newWorld(t)
		setuptools := w.file("setuptools", "setuptools-80.1-py3-none-any.whl", emptyZip)
		cffi := w.sdist("cffi", "1.17", "setuptools")
		demo := w.sdist("demo", "1.0", "setuptools>=40")
		w.dynamic[demo.Filename] = []string{"cffi"}
		w.uv = func(asked, _ string) (string, string) {
			releases := map[string][]indexFile{}
			for id, f := range map[string]indexFile{"setuptools==80.1": setuptools, "cffi==1.17": cffi, "demo==1.0": demo} {
				if name, _, _ := strings.Cut(id, "=="); strings.Contains(asked, name) {
					releases[id] = []indexFile{f}
				}
			}
			return w.resolved(releases), ""
		}
		p := w.start(requirements("demo==1.0"), Options{})
		ctx, use := once.Using(t.Context(), shelf.At(w.st))
		if err := p.lockDists(ctx); err != nil {
			t.Fatal(err)
		}
		for _, s := range w.runner.Sandboxes() {
			if s.Spec.Name != "resolve" {
				asked = append(asked, s.Spec.Name)
			}
		}
		return p.lock.Dists, asked, use.End()
	}
	first, asked, _ := lock()
	if !slices.Contains(asked, "requires-demo") || !slices.Contains(asked, "requires-cffi") {
		t.Errorf("the first one starts %q", asked)
	}
	second, asked, tally := lock()
	if len(asked) != 0 || tally.Made != 0 || tally.Cached == 0 {
		t.Errorf("the second one starts %q: %+v", asked, tally)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the locks differ (-first +second):\n%s", diff)
	}
}
