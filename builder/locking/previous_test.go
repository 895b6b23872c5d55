package locking

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/layers"
	"ampoule/builder/sandbox/fake"
	"ampoule/recipes"
	"ampoule/tree"
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

// metadataWorld has an sdist, demo, whose metadata uv wants and which depends on what
// it is built with: on wanted beside helper, on nothing otherwise.
func metadataWorld(t *testing.T) (*world, *recipes.RequirementSet) {
	t.Helper()
	w := newWorld(t)
	pure := map[string]indexFile{}
	for _, name := range []string{"setuptools", "helper", "wanted"} {
		pure[name] = w.file(name, name+"-1-py3-none-any.whl", string(zipOf(t, member{name: name})))
	}
	demo := w.sdist("demo", "1.0", "setuptools")
	w.told = func(_ string, needs, depends []string) []string {
		if slices.ContainsFunc(needs, func(n string) bool { return strings.HasPrefix(n, "helper") }) {
			return []string{"wanted"}
		}
		return depends
	}
	w.uv = func(asked, config string) (string, string) {
		releases := map[string][]indexFile{}
		if strings.Contains(asked, "demo") {
			if !strings.Contains(config, "name = 'demo'") {
				return "", strings.ReplaceAll(strings.ReplaceAll(refusal, "docopt", "demo"), "0.6.2", "1.0")
			}
			releases["demo==1.0"] = []indexFile{demo}
			asked = config
		}
		for name, file := range pure {
			if strings.Contains(asked, name) {
				releases[name+"==1"] = []indexFile{file}
			}
		}
		return w.resolved(releases), ""
	}
	return w, requirements("demo==1.0")
}

// What one recipe adds to a build decides nothing of another recipe's lock, in either order
// and with a lock of before.
func TestMetadataOfAnotherRecipe(t *testing.T) {
	t.Parallel()
	plain := &recipes.Recipe{}
	helped := &recipes.Recipe{Packages: map[string]recipes.Packages{"demo": {Settings: recipes.Settings{Requires: []string{"helper"}}}}}
	want := map[*recipes.Recipe]string{plain: "requirements demo==1.0", helped: "requirements demo==1.0 wanted==1"}
	for name, order := range map[string][]*recipes.Recipe{
		"the helped first": {helped, plain, helped, plain}, "the plain first": {plain, helped, plain, helped},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, reqs := metadataWorld(t)
			previous := map[*recipes.Recipe]*recipes.Lock{}
			for i, recipe := range order {
				w.recipe = recipe
				got, err := w.lockAll(reqs, Options{Previous: previous[recipe]})
				if err != nil || got[0] != want[recipe] {
					t.Errorf("lock %d: %q, %v; want %q", i, got, err, want[recipe])
				}
				previous[recipe] = w.locker.lock
			}
		})
	}
}

// Metadata is remembered under everything that could have decided it: each influence that
// changes has the backend asked again.
func TestMetadataIsKeyedOnItsEnvironment(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*testing.T, *world, *recipes.RequirementSet)
		again  bool
	}{
		"nothing":             {func(*testing.T, *world, *recipes.RequirementSet) {}, false},
		"the recipe's name":   {func(_ *testing.T, w *world, _ *recipes.RequirementSet) { w.recipe.Name = "other" }, false},
		"a build requirement": {entry(recipes.Settings{Requires: []string{"helper"}}), true},
		"a variable":          {entry(recipes.Settings{Env: map[string]string{"A": "b"}}), true},
		"a setting":           {entry(recipes.Settings{ConfigSettings: map[string]recipes.Setting{"a": {Text: "b"}}}), true},
		"a layer of the image: toolchain, packages, interpreter": {func(t *testing.T, w *world, _ *recipes.RequirementSet) {
			more, err := tree.New([]tree.Entry{tree.FileEntry("opt/ampoule/lib/x.py", 0o644, nil)})
			if err != nil {
				t.Fatal(err)
			}
			layer, err := layers.Save(t.Context(), w.st, more, "")
			if err != nil {
				t.Fatal(err)
			}
			w.image = w.image.With(layer)
		}, true},
		"the content of a build requirement": {func(t *testing.T, w *world, _ *recipes.RequirementSet) {
			w.index["setuptools"][0].Hashes["sha256"] = put(t, w.st, string(zipOf(t, member{name: "other"})))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, reqs := metadataWorld(t)
			if _, err := w.lockAll(reqs, Options{}); err != nil {
				t.Fatal(err)
			}
			before := len(w.runner.Sandboxes())
			w.recipe = &recipes.Recipe{}
			c.change(t, w, reqs)
			if _, err := w.lockAll(reqs, Options{}); err != nil {
				t.Fatal(err)
			}
			again := slices.ContainsFunc(w.runner.Sandboxes()[before:], func(s *fake.Sandbox) bool { return s.Spec.Name == "metadata-demo" })
			if again != c.again {
				t.Errorf("the backend is asked again is %t", again)
			}
		})
	}
}

// entry changes what the recipe says of demo.
func entry(s recipes.Settings) func(*testing.T, *world, *recipes.RequirementSet) {
	return func(_ *testing.T, w *world, _ *recipes.RequirementSet) {
		w.recipe.Packages = map[string]recipes.Packages{"demo": {Settings: s}}
	}
}

// A backend that runs nothing of the project is asked before what the project's build
// imports is built, unless it cannot answer so.
func TestDeclarativeBackendsAreAskedFirst(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		backend string
		needsIt bool
		built   bool
	}{
		"declarative":               {"mesonpy", false, false},
		"declarative, with a hook":  {"mesonpy", true, true},
		"setuptools":                {"setuptools.build_meta", false, true},
		"declarative by name alone": {"mesonpy\"\nbackend-path = [\".\"]\nx = \"", false, true},
	} {
		w := newWorld(t)
		meson := w.file("meson-python", "meson_python-1-py3-none-any.whl", emptyZip)
		array := w.sdist("array", "2")
		text := "[build-system]\nrequires = [\"meson-python\", \"array\"]\nbuild-backend = \"" + c.backend + "\"\n"
		project := w.file("project", "project-1.tar.gz", string(gzipped(tarOf(t, member{name: "project-1/pyproject.toml", text: text}))))
		w.uv = func(asked, _ string) (string, string) {
			if strings.Contains(asked, "meson-python") {
				return w.resolved(map[string][]indexFile{"meson-python==1": {meson}, "array==2": {array}}), ""
			}
			return w.resolved(map[string][]indexFile{"project==1": {project}}), ""
		}
		w.fails = func(sdist string, needs []string) bool {
			return c.needsIt && sdist == project.Filename && !slices.ContainsFunc(needs, func(n string) bool { return strings.HasPrefix(n, "array") })
		}
		// array itself has no build requirements: setuptools is none of this world's.
		if _, err := w.lockAll(requirements("project"), Options{}); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		built := slices.ContainsFunc(w.runner.Sandboxes(), func(s *fake.Sandbox) bool { return s.Spec.Name == "wheel-array" })
		if built != c.built {
			t.Errorf("%s: array was built is %t", name, built)
		}
		if d, _ := w.locker.lock.Dist("project==1"); !slices.Equal(d.Build.Dists, []string{"array==2", "meson-python==1"}) {
			t.Errorf("%s: built with %q", name, d.Build.Dists)
		}
	}
}
