package locking

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/recipes"
)

// keptWorld has a recipe of one sdist, demo, which uv must be told the metadata of and
// which is built with another one, cffi.
func keptWorld(t *testing.T) (*world, *recipes.RequirementSet) {
	t.Helper()
	w := newWorld(t)
	setuptools := w.file("setuptools", "setuptools-80.1-py3-none-any.whl", emptyZip)
	cffi, demo := w.sdist("cffi", "1.17", "setuptools"), w.sdist("demo", "1.0", "setuptools>=40", "cffi")
	w.uv = func(asked, config string) (string, string) {
		releases := map[string][]indexFile{}
		if strings.Contains(asked, "demo") {
			if !strings.Contains(config, "'demo'") && !strings.Contains(config, `"demo"`) {
				return "", strings.ReplaceAll(strings.ReplaceAll(refusal, "docopt", "demo"), "0.6.2", "1.0")
			}
			releases["demo==1.0"] = []indexFile{demo}
		}
		for name, file := range map[string]indexFile{"setuptools==80.1": setuptools, "cffi==1.17": cffi} {
			if base, _, _ := strings.Cut(name, "=="); strings.Contains(asked, base) {
				releases[name] = []indexFile{file}
			}
		}
		return w.resolved(releases), ""
	}
	return w, requirements("demo==1.0")
}

// relock locks again on top of what was locked, and returns what uv was asked and how
// many sandboxes ran code of sdists.
func (w *world) relock(t *testing.T, reqs *recipes.RequirementSet, change func(*Options)) (asked []string, sandboxes int) {
	t.Helper()
	first, err := w.lockAll(reqs, Options{})
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{Previous: w.locker.lock}
	change(&opts)
	w.asked = nil
	before := len(w.runner.Sandboxes())
	second, err := w.lockAll(reqs, opts)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first[0], second[0]); diff != "" {
		t.Errorf("the lock changed:\n%s", diff)
	}
	for _, s := range w.runner.Sandboxes()[before:] {
		if !s.Online {
			sandboxes++
		}
	}
	return w.asked, sandboxes
}

// Of what is as it was, nothing is asked again: not what it is built with, nor its backend.
func TestBuildSetsAreKept(t *testing.T) {
	t.Parallel()
	w, reqs := keptWorld(t)
	asked, sandboxes := w.relock(t, reqs, func(*Options) {})
	if diff := cmp.Diff([]string{"demo==1.0\n"}, asked); diff != "" || sandboxes != 0 {
		t.Errorf("%d sandboxes; uv was asked (-want +got):\n%s", sandboxes, diff)
	}
	want := []string{"cffi==1.17", "demo==1.0", "setuptools==80.1"}
	var got []string
	for _, d := range w.locker.lock.Dists {
		got = append(got, d.ID())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("locked (-want +got):\n%s", diff)
	}
}

func TestBuildSetsAreMadeAnew(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){
		"upgrade":                  func(o *Options) { o.Upgrade = true },
		"upgrade of a requirement": func(o *Options) { o.UpgradeNames = []string{"cffi"} },
		"other settings": func(o *Options) {
			alter(o.Previous, "demo", func(d *recipes.Dist) { d.Build.Env = map[string]string{"A": "b"} })
		},
		"another override": func(o *Options) {
			alter(o.Previous, "demo", func(d *recipes.Dist) { d.Build.Overrides = []recipes.Applied{{Name: "demo"}} })
		},
		"another recipe": func(o *Options) { o.Previous.Answers.Recipe = append(o.Previous.Answers.Recipe, "pure: x") },
		"other entry of a need": func(o *Options) {
			o.Previous.Answers.Recipe = append(o.Previous.Answers.Recipe, "packages.cffi.build: x")
		},
		"not in the lock of before": func(o *Options) { o.Previous.Dists = nil },
	} {
		w, reqs := keptWorld(t)
		asked, _ := w.relock(t, reqs, change)
		if !slices.ContainsFunc(asked, func(q string) bool { return strings.Contains(q, "setuptools>=40") }) {
			t.Errorf("%s: uv was asked %q", name, asked)
		}
	}
	w, reqs := keptWorld(t)
	asked, _ := w.relock(t, reqs, func(o *Options) {
		o.Previous.Answers.Recipe = append(o.Previous.Answers.Recipe, "packages.other.build: x")
	})
	if len(asked) != 1 {
		t.Errorf("with another entry of something else uv was asked %q", asked)
	}
}

// alter changes a dist of a lock.
func alter(l *recipes.Lock, name string, with func(*recipes.Dist)) {
	for i := range l.Dists {
		if l.Dists[i].Name == name {
			with(&l.Dists[i])
		}
	}
}
