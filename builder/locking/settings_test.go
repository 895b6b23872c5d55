package locking

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ampoule/builder/fetch"
	"ampoule/builder/locking/apt"
	"ampoule/builder/progress"
	"ampoule/builder/progress/progresstest"
	"ampoule/builder/sandbox"
	"ampoule/faults"
	"ampoule/recipes"
)

// TestMain adds overrides of distributions that there are only in these tests.
func TestMain(m *testing.M) {
	env := map[string]string{"A": "override", "B": "override"}
	for _, o := range []*recipes.Override{
		{Name: "test-native", Revision: "7", Rules: []recipes.OverrideRule{
			{Why: "it does not say so", Settings: recipes.Settings{Requires: []string{"cython<4", "wheel"}, Env: env, ConfigSettings: map[string]recipes.Setting{"x": {Text: "override"}}}},
			{Why: "later versions", Versions: ">=2", Settings: recipes.Settings{Env: map[string]string{"C": "override"}}},
			{Why: "this Debian is old", Suites: []string{"bookworm"}, Limit: "<3"},
			{Why: "another Debian", Suites: []string{"trixie"}, Limit: "<4"},
		}},
		{Name: "test-debian", Revision: "1", Rules: []recipes.OverrideRule{{Why: "it links pq", Settings: recipes.Settings{Build: []string{"libpq-dev"}}}}},
		{Name: "test-tool", Revision: "1", Rules: []recipes.OverrideRule{{Why: "a program", Binary: recipes.BuildTool}}},
		{Name: "test-loads", Revision: "1", Rules: []recipes.OverrideRule{{Why: "it loads magic", Runtime: []string{"libmagic1"}}}},
		{Name: "test-pure", Revision: "1", Rules: []recipes.OverrideRule{{Why: "pure will do", Binary: recipes.PureWheel}}},
	} {
		recipes.ShippedOverrides()[o.Name] = o
	}
	os.Exit(m.Run())
}

// recipeWith reads a recipe whose packages begin in line 7, and what stands behind them.
func (w *world) recipeWith(more string) {
	w.t.Helper()
	r, err := recipes.ParseRecipe("ampoule.yaml", []byte("apiVersion: ampoule/v1\nname: web\npython: {version: 3.13.5}\nbase: {debian: bookworm}\nruntime: {vm: {glibc: \"2.36\"}}\n"+more))
	if err != nil {
		w.t.Fatal(err)
	}
	w.recipe = r
}

// knows lets uv answer with one release of each distribution that it is asked for, by
// NAME==VERSION, and returns the configurations that it is asked with.
func (w *world) knows(releases map[string][]indexFile) *[]string {
	var configs []string
	w.uv = func(asked, config string) (string, string) {
		configs = append(configs, config)
		answer := map[string][]indexFile{}
		for line := range strings.Lines(asked) {
			req, err := recipes.ParseRequirement(strings.TrimSpace(line))
			if err != nil {
				return "", err.Error()
			}
			for id, files := range releases {
				if strings.HasPrefix(id, req.Name+"==") {
					answer[id] = files
				}
			}
		}
		return w.resolved(answer), ""
	}
	return &configs
}

// build locks a requirement and returns how it is built.
func (w *world) build(reqs *recipes.RequirementSet, opts Options) (recipes.BuildSet, error) {
	w.t.Helper()
	p := w.start(reqs, opts)
	if err := p.lockDists(w.t.Context()); err != nil {
		return recipes.BuildSet{}, err
	}
	for _, d := range p.lock.Dists {
		if d.Name == reqs.Requirements[0].Name && d.Build != nil {
			return *d.Build, nil
		}
	}
	w.t.Fatalf("nothing builds %s: %+v", reqs.Requirements[0].Name, p.lock.Dists)
	return recipes.BuildSet{}, nil
}

// plain are three wheels that builds take.
func (w *world) plain(releases map[string][]indexFile) map[string][]indexFile {
	for _, id := range []string{"setuptools==80.1", "cython==3.1", "wheel==0.45"} {
		name, version, _ := strings.Cut(id, "==")
		releases[id] = []indexFile{w.file(name, name+"-"+version+"-py3-none-any.whl", emptyZip)}
	}
	return releases
}

func text(s string) recipes.Setting { return recipes.Setting{Text: s} }

// What an override and the recipe say of building a distribution lands in its lock, and
// reaches the backend that is asked.
func TestSettingsInLock(t *testing.T) {
	t.Parallel()
	applied := func(whys ...string) []recipes.Applied {
		var all []recipes.Applied
		for _, why := range whys {
			all = append(all, recipes.Applied{Name: "test-native", Revision: "7", Why: why})
		}
		return all
	}
	const first, limit = "it does not say so", "this Debian is old"
	dists := []string{"cython==3.1", "setuptools==80.1", "wheel==0.45"}
	for name, c := range map[string]struct {
		packages, version string
		want              recipes.BuildSet
	}{
		"override": {"", "1.0", recipes.BuildSet{
			Added: []string{"cython<4", "wheel"}, Env: map[string]string{"A": "override", "B": "override"}, ConfigSettings: map[string]recipes.Setting{"x": text("override")},
			Overrides: applied(first, limit), Dists: dists,
		}},
		"of a version": {"", "2.0", recipes.BuildSet{
			Added: []string{"cython<4", "wheel"}, Env: map[string]string{"A": "override", "B": "override", "C": "override"}, ConfigSettings: map[string]recipes.Setting{"x": text("override")},
			Overrides: applied(first, "later versions", limit), Dists: dists,
		}},
		"recipe over it": {"packages: {test-native: {requires: [Cython >= 3], env: {B: recipe}, config-settings: {x: [a, b], y: c}}}\n", "1.0", recipes.BuildSet{
			Added: []string{"cython>=3", "wheel"}, Env: map[string]string{"A": "override", "B": "recipe"},
			ConfigSettings: map[string]recipes.Setting{"x": {List: []string{"a", "b"}}, "y": text("c")}, Overrides: applied(first, limit), Dists: dists,
		}},
		"left out": {"packages: {test-native: {overrides: none, env: {B: recipe}}}\n", "2.0", recipes.BuildSet{
			Env: map[string]string{"B": "recipe"}, Dists: []string{"setuptools==80.1"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.recipeWith(c.packages)
			sdist := w.sdist("test-native", c.version, "setuptools")
			configs := w.knows(w.plain(map[string][]indexFile{"test-native==" + c.version: {sdist}}))
			got, err := w.build(requirements("test-native=="+c.version), Options{})
			if err != nil {
				t.Fatal(err)
			}
			c.want.Requires = []string{"setuptools"}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			limited := c.want.Overrides != nil
			for _, config := range *configs {
				if strings.Contains(config, "\ntest-native<3\n") != limited || strings.Contains(config, "test-native<4") {
					t.Errorf("uv is asked with %s", config)
				}
			}
			checkAsked(t, w, got)
		})
	}
}

// checkAsked wants every backend to have been asked with what a lock says.
func checkAsked(t *testing.T, w *world, set recipes.BuildSet) {
	t.Helper()
	asked := 0
	for _, s := range w.runner.Sandboxes() {
		for _, step := range s.Steps() {
			if step.Args[0] != testPython {
				continue
			}
			asked++
			for name, value := range set.Env {
				if !slices.Contains(step.Env, name+"="+value) {
					t.Errorf("%s is not %s in %q", name, value, step.Env)
				}
			}
			job, ok := s.Files().Lookup(strings.TrimPrefix(sandbox.WorkDir, "/") + "/job.json")
			if !ok {
				t.Fatal("there is no job.json")
			}
			for name, setting := range set.ConfigSettings {
				if told, err := job.ReadAll(); err != nil || !strings.Contains(string(told), fmt.Sprintf("%q:", name)) || !strings.Contains(string(told), strings.Trim(setting.Text, `"`)) {
					t.Errorf("the job is %s, %v", told, err)
				}
			}
		}
	}
	if asked == 0 {
		t.Error("no backend was asked")
	}
}

// messages lists what a person was told.
func messages(r *progresstest.Recorder) []string {
	var all []string
	for _, e := range r.Events() {
		if e.Kind == progress.Told {
			all = append(all, e.Message)
		}
	}
	return all
}

func TestTell(t *testing.T) {
	t.Parallel()
	p := &distLocker{opts: Options{Previous: &recipes.Lock{}}, lock: &recipes.Lock{Dists: []recipes.Dist{
		{Name: "a", Version: "1", Build: &recipes.BuildSet{Overrides: []recipes.Applied{{Name: "a", Revision: "3", Why: "it links pq"}}}},
		{Name: "b", Version: "1", Build: &recipes.BuildSet{}}, {Name: "c", Version: "1"},
	}}}
	r := progresstest.New()
	p.tell(r.Context(t.Context()))
	if diff := cmp.Diff([]string{"a==1: it links pq (override a, revision 3)"}, messages(r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// What the previous lock says already is not told again; what changed is.
	same, other := *p.lock, recipes.Lock{Dists: slices.Clone(p.lock.Dists)}
	other.Dists[0].Build = &recipes.BuildSet{Overrides: []recipes.Applied{{Name: "a", Revision: "2", Why: "it links pq"}}}
	for previous, want := range map[*recipes.Lock]int{&same: 0, &other: 1} {
		r := progresstest.New()
		p.opts.Previous = previous
		p.tell(r.Context(t.Context()))
		if got := messages(r); len(got) != want {
			t.Errorf("told %q, want %d", got, want)
		}
	}
}

func TestTellExternal(t *testing.T) {
	t.Parallel()
	d := recipes.Dist{Name: "a", Version: "1"}
	for metadata, want := range map[string]string{
		"Name: a\nRequires-External: libpq\nRequires-External: C\n\nRequires-External: body\n": "needs, beside Python's distributions: libpq, C; packages.a.build",
		"Name: a\n": "", "": "",
	} {
		r := progresstest.New()
		tellExternal(r.Context(t.Context()), d, metadata)
		if got := strings.Join(messages(r), "\n"); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%q: told %q", metadata, got)
		}
	}
}

// pinnedBefore is a lock in which a distribution is built with packages.
func (w *world) pinnedBefore(reqs *recipes.RequirementSet, name string, set recipes.BuildSet) Options {
	l := &recipes.Lock{Answers: recipes.MakeAnswers(w.recipe, reqs), Base: recipes.LockedBase{Suite: "bookworm"}, Debian: map[string]recipes.Suite{}}
	for _, p := range set.Packages {
		l.Debian["bookworm"] = append(l.Debian["bookworm"], recipes.Deb{Name: p, Version: "1", SHA256: p})
	}
	l.Dists = []recipes.Dist{{Name: name, Version: "0.9", Build: &set}}
	return Options{Previous: l}
}

// The packages that an override wants are that distribution's, and stay as they are
// while what they answer is the same.
func TestPackagesInLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.recipeWith("")
	w.knows(w.plain(map[string][]indexFile{"test-debian==1.0": {w.sdist("test-debian", "1.0", "setuptools")}}))
	reqs := requirements("test-debian==1.0")
	applied := []recipes.Applied{{Name: "test-debian", Revision: "1", Why: "it links pq"}}
	got, err := w.build(reqs, w.pinnedBefore(reqs, "test-debian", recipes.BuildSet{Packages: []string{"libpq-dev", "libpq5"}, Overrides: applied}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(applied, got.Overrides); diff != "" || !slices.Equal(got.Packages, []string{"libpq-dev", "libpq5"}) {
		t.Errorf("packages %q, overrides (-want +got):\n%s", got.Packages, diff)
	}
	if debs := w.locker.lock.Debian["bookworm"]; len(debs) != 2 || debs[0].Name != "libpq-dev" {
		t.Errorf("the lock has %+v", debs)
	}
}

func TestUnknownPackage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.recipeWith("packages:\n  psycopg2: {build: [libpq-dve]}\n")
	d := &debianLocker{recipe: w.recipe}
	err := d.at(fmt.Errorf("resolving: %w", &apt.UnknownError{Name: "libpq-dve", Suite: "bookworm", Nearest: "libpq-dev"}), "packages", "psycopg2")
	checkFault(t, err, "ampoule.yaml:7:3: Debian bookworm has no package libpq-dve", "libpq-dev")
}

// A package of the toolchain's that no suite has may be the compiler's, as the recipe names it.
func TestUnknownCompiler(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.recipeWith("toolchain: {packages: [gdbb]}\n")
	w.recipe.Python.Compiler = "clang-99"
	d := &debianLocker{recipe: w.recipe}
	for name, at := range map[string]recipes.Position{"llvm-99": w.recipe.At("python", "compiler"), "gdbb": w.recipe.At("toolchain", "packages")} {
		checkFault(t, d.atTool(&apt.UnknownError{Name: name, Suite: "bookworm"}, "bookworm"), at.String()+": Debian bookworm has no package "+name, "")
	}
}

// checkFault wants an error to be one fault, at its place, with a hint.
func checkFault(t *testing.T, err error, want, hint string) {
	t.Helper()
	var faults recipes.Faults
	if !errors.As(err, &faults) || len(faults) != 1 || !strings.HasPrefix(faults[0].String(), want) || !strings.Contains(faults[0].Hint, hint) {
		t.Errorf("got %v, want %s (%s)", err, want, hint)
	}
}

const patching = "packages:\n  demo:\n    patches:\n      - patches/one.patch\n      - patches/two.patch\n"

// patchedWorld has a demo 1.0 that states what nothing may read, and is patched.
func patchedWorld(t *testing.T, static string) (*world, *recipes.RequirementSet, Options) {
	t.Helper()
	w := newWorld(t)
	w.recipeWith(patching)
	sdist := w.sdist("demo", "1.0", "evil @ http://index.invalid/x")
	w.static[sdist.Filename] = static
	w.knows(w.plain(map[string][]indexFile{"demo==1.0": {sdist}}))
	reqs := requirements("demo==1.0")
	reqs.Patches = map[string][]byte{"patches/one.patch": []byte("one"), "patches/two.patch": []byte("two")}
	return w, reqs, w.pinnedBefore(reqs, "demo", recipes.BuildSet{Packages: []string{"patch"}})
}

// With patches the sandbox tells what an sdist requires, since they may change it.
func TestPatched(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		static string
		want   []string
	}{
		"states it": {`{"failed_patch": null, "build_system": {"requires": ["Cython >= 3", "wheel"], "build-backend": "x"}}`, []string{"cython>=3", "wheel"}},
		"nothing":   {`{"failed_patch": null, "build_system": {"requires": []}}`, nil},
		"no table":  {`{"failed_patch": null, "build_system": null}`, []string{"setuptools>=40.8.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, reqs, opts := patchedWorld(t, c.static)
			got, err := w.build(reqs, opts)
			if err != nil {
				t.Fatal(err)
			}
			want := recipes.BuildSet{Requires: c.want, Packages: []string{"patch"}, Patches: []recipes.Patch{
				{File: "patches/one.patch", SHA256: put(t, w.st, "one")}, {File: "patches/two.patch", SHA256: put(t, w.st, "two")}}}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(recipes.BuildSet{}, "Dists")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, s := range w.runner.Sandboxes() {
				if s.Steps()[0].Args[0] != testPython {
					continue
				}
				for file, content := range map[string]string{"0000.patch": "one", "0001.patch": "two"} {
					e, ok := s.Files().Lookup(strings.TrimPrefix(sandbox.WorkDir, "/") + "/patches/" + file)
					if data, err := e.ReadAll(); !ok || err != nil || string(data) != content {
						t.Errorf("%s has the patch %s: %q, %v", s.Spec.Name, file, data, err)
					}
				}
			}
		})
	}
}

func TestPatchFault(t *testing.T) {
	t.Parallel()
	w, reqs, opts := patchedWorld(t, `{"failed_patch": 1, "build_system": null}`)
	_, err := w.build(reqs, opts)
	checkFault(t, err, "ampoule.yaml:10:9: patches/two.patch does not apply to demo==1.0", "make it anew")

	w, reqs, opts = patchedWorld(t, `{"failed_patch": null, "build_system": {"build-backend": "x"}}`)
	if _, err := w.build(reqs, opts); err == nil || !strings.Contains(err.Error(), "has no requires") {
		t.Errorf("without requires: %v", err)
	}
	// What comes out of a sandbox may be anything.
	for _, place := range []string{"2", "-1"} {
		w, reqs, opts = patchedWorld(t, `{"failed_patch": `+place+`}`)
		if _, err := w.build(reqs, opts); err == nil || !strings.Contains(err.Error(), "names patch "+place+" of 2") {
			t.Errorf("patch %s: %v", place, err)
		}
	}
	p := &distLocker{recipe: w.recipe}
	shipped := recipes.Dist{Name: "demo", Version: "1", Build: &recipes.BuildSet{Patches: []recipes.Patch{{File: "overrides/demo-x.patch"}}}}
	checkFault(t, p.patchFault(shipped, 0), "ampoule.yaml:6:1: overrides/demo-x.patch does not apply to demo==1", "packages: {demo: {overrides: none}}")
}

// A patch that neither the recipe nor this Ampoule has is not passed over.
func TestPatchesMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(&recipes.RequirementSet{}, Options{})
	if got, err := p.patches(t.Context(), []string{"overrides/none.patch"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestUnusedPackages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.recipeWith("packages:\n  built: {env: {A: b}}\n  wheel: {env: {A: b}}\n  nowhere: {overrides: none}\n")
	lock := &recipes.Lock{Dists: []recipes.Dist{{Name: "built", Version: "1", Build: &recipes.BuildSet{}}, {Name: "wheel", Version: "1", File: "wheel-1-py3-none-any.whl"}}}
	err := unusedPackages(w.recipe, lock)
	var faults recipes.Faults
	if !errors.As(err, &faults) {
		t.Fatalf("got %v", err)
	}
	want := "ampoule.yaml:8:3: packages.wheel says how wheel is built, and nothing builds it\nampoule.yaml:9:3: packages.nowhere says how nowhere is built, and nothing builds it"
	if diff := cmp.Diff(want, faults.Error()); diff != "" || !strings.Contains(faults.Hint(), "require nowhere") {
		t.Errorf("(-want +got):\n%s", diff)
	}
	w.recipeWith("packages:\n  built: {env: {A: b}}\n  wheel: {overrides: none}\n")
	if err := unusedPackages(w.recipe, lock); err != nil {
		t.Error(err)
	}
	// Files of any wheel that is installed may be left out.
	w.recipeWith("packages:\n  wheel: {exclude: [tests]}\n")
	if err := unusedPackages(w.recipe, lock); err == nil || !strings.Contains(err.Error(), "ampoule.yaml:7:11: packages.wheel leaves files of wheel out, which is not installed") {
		t.Errorf("of what is not installed: %v", err)
	}
	lock.Requirements = []string{"wheel==1"}
	if err := unusedPackages(w.recipe, lock); err != nil {
		t.Error(err)
	}
}

// A conflict with what an override says names the override, and how to leave it out.
func TestConflictNamesOverride(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.recipeWith("")
	native := w.sdist("test-native", "1.0", "setuptools", "cython>=4")
	w.uv = func(asked, _ string) (string, string) {
		switch {
		case strings.Contains(asked, "demo"):
			return "", "No solution found: because you require test-native>=3 and test-native<3, and demo==1 depends on wheel-tools\n"
		case strings.Contains(asked, "cython"):
			return "", "No solution found: because you require cython<4 and cython>=4\n"
		}
		return w.resolved(map[string][]indexFile{"test-native==1.0": {native}}), ""
	}
	hint := "packages: {test-native: {overrides: none}}"
	_, err := w.lockAll(requirements("wheel==1", "demo==1"), Options{})
	want := "\noverride test-native, revision 7: test-native<3: this Debian is old\nampoule.yaml:8:5: demo==1"
	if err == nil || !strings.HasSuffix(err.Error(), want) || !strings.Contains(strings.Join(faults.Hints(err), ""), hint) {
		t.Errorf("a limit: %v, %v", err, faults.Hints(err))
	}
	_, err = w.lockAll(requirements("test-native==1.0"), Options{})
	want = "\noverride test-native, revision 7: requires cython<4: it does not say so"
	if err == nil || !strings.HasSuffix(err.Error(), want) || !strings.Contains(strings.Join(faults.Hints(err), ""), hint) {
		t.Errorf("a build requirement: %v, %v", err, faults.Hints(err))
	}
}

func TestYanked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := w.file("demo", "demo-1.0-py3-none-any.whl", emptyZip)
	sound := w.file("other", "other-1.0-py3-none-any.whl", emptyZip+"x")
	w.knows(map[string][]indexFile{"demo==1.0": {file}, "other==1.0": {sound}})
	w.index["demo"][0].Yanked = true
	_, err := w.lockAll(requirements("other==1.0", "demo==1.0"), Options{})
	checkFault(t, err, "ampoule.yaml:8:5: demo 1.0 was yanked", "another version of demo")
	// Another file of the release was withdrawn: not the one that is taken.
	w.index["demo"][0].Yanked = false
	w.index["demo"] = append(w.index["demo"], indexFile{Filename: "demo-1.0.tar.gz", URL: "x", Hashes: map[string]string{"sha256": strings.Repeat("0", 64)}, Yanked: true})
	if _, err := w.lockAll(requirements("other==1.0", "demo==1.0"), Options{}); err != nil {
		t.Errorf("not yanked: %v", err)
	}
}

func TestNoSdist(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	native := w.file("onnx", "onnx-1.0-cp313-cp313-manylinux_2_28_x86_64.whl", "native")
	releases := w.plain(map[string][]indexFile{"onnx==1.0": {native}, "demo==1.0": {w.sdist("demo", "1.0", "onnx")}})
	w.knows(releases)
	_, err := w.lockAll(requirements("wheel==0.45", "onnx==1.0"), Options{})
	checkFault(t, err, "ampoule.yaml:8:5: onnx 1.0 has native code and no sdist", "binary.accept")
	// What a build requires is written in no line of a person's.
	_, err = w.lockAll(requirements("demo==1.0"), Options{})
	var none *NoSdistError
	if !errors.As(err, &none) || none.Name != "onnx" || none.Hint() == "" {
		t.Errorf("of a build: %v", err)
	}
	w.recipeWith("binary: {accept: [{match: [\"onn*\"], why: no sdist, until: 2027-03-01}]}\n")
	got, err := w.lockAll(requirements("onnx==1.0"), Options{})
	if diff := cmp.Diff([]string{"requirements onnx==1.0", native.Filename}, got); err != nil || diff != "" {
		t.Errorf("accepted: %v (-want +got):\n%s", err, diff)
	}
}

func TestLyingSdist(t *testing.T) {
	t.Parallel()
	for lie, says := range map[string]string{"Name: other": "it is of other", "Version: 0.6.3": "its version is 0.6.3"} {
		w := newWorld(t)
		sdist := w.sdist("docopt", "0.6.2")
		w.depends[sdist.Filename] = []string{"x\n" + lie}
		w.uv = func(string, string) (string, string) { return "", refusal }
		_, err := w.lockAll(requirements("docopt"), Options{})
		if faults.Of(err) != faults.Input || !strings.Contains(err.Error(), "an sdist of docopt 0.6.2 whose metadata says that "+says) {
			t.Errorf("%s: %v", lie, err)
		}
	}
}

// The published wheel of a program, or the pure one of what has others, is taken for
// builds; where the tree requires it, it is built, and builds take that.
func TestBuildWheels(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tool := []indexFile{w.sdist("test-tool", "1.0", "setuptools"), w.file("test-tool", "test_tool-1.0-py3-none-manylinux_2_17_x86_64.whl", "program")}
	pure := []indexFile{w.sdist("test-pure", "1.0", "setuptools"), w.file("test-pure", "test_pure-1.0-py3-none-any.whl", emptyZip), w.file("test-pure", "test_pure-1.0-cp313-cp313-linux_x86_64.whl", "native")}
	w.knows(w.plain(map[string][]indexFile{"test-tool==1.0": tool, "test-pure==1.0": pure, "demo==1.0": {w.sdist("demo", "1.0", "test-tool", "test-pure")}, "zone==1.0": {w.sdist("zone", "1.0", "test-tool")}}))
	demo := `demo-1.0.tar.gz static ["test-tool" "test-pure"] dynamic [] with ["test-pure==1.0" "test-tool==1.0"]`
	built := ` static ["setuptools"] dynamic [] with ["setuptools==80.1"]`
	for name, c := range map[string]struct {
		packages string
		reqs     []string
		want     []string
	}{
		"for a build": {"", []string{"demo==1.0"}, []string{
			"requirements demo==1.0", demo, "test_pure-1.0-py3-none-any.whl", "test_tool-1.0-py3-none-manylinux_2_17_x86_64.whl"}},
		// Whether what needs them is locked before or after them.
		"for the tree": {"", []string{"demo==1.0", "test-tool==1.0", "test-pure==1.0", "zone==1.0"}, []string{
			"requirements demo==1.0 test-pure==1.0 test-tool==1.0 zone==1.0", demo, "setuptools-80.1-py3-none-any.whl", "test_pure-1.0.tar.gz" + built, "test_tool-1.0.tar.gz" + built,
			`zone-1.0.tar.gz static ["test-tool"] dynamic [] with ["test-tool==1.0"]`}},
		"overrides left out": {"packages: {test-tool: {overrides: none}}\n", []string{"demo==1.0"}, []string{
			"requirements demo==1.0", demo, "setuptools-80.1-py3-none-any.whl", "test_pure-1.0-py3-none-any.whl", "test_tool-1.0.tar.gz" + built}},
	} {
		w.recipeWith(c.packages)
		got, err := w.lockAll(requirements(c.reqs...), Options{})
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

// rustSdist is an sdist of Rust with one crate, which lies beside the index.
func (w *world) rustSdist(name, crate, requires string) (indexFile, recipes.Crate) {
	w.t.Helper()
	sum := put(w.t, openStore(w.t), crate)
	if err := os.WriteFile(filepath.Join(w.crates, "itoa-1.0.15.crate"), []byte(crate), 0o600); err != nil {
		w.t.Fatal(err)
	}
	stem := name + "-1.0/"
	file := w.file(name, name+"-1.0.tar.gz", string(gzipped(tarOf(w.t,
		member{name: stem + "pyproject.toml", text: "[build-system]\nrequires = [\"" + requires + "\"]\n"}, member{name: stem + "Cargo.toml"},
		member{name: stem + "Cargo.lock", text: cargoLock(locked("itoa", "1.0.15", registryOfTest, sum))}))))
	return file, recipes.Crate{Name: "itoa", Version: "1.0.15", SHA256: sum}
}

func TestCratesInLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.recipeWith("")
	sdist, crate := w.rustSdist("demo", "a crate", "maturin>=1")
	w.knows(map[string][]indexFile{"demo==1.0": {sdist}, "maturin==1.9": {w.file("maturin", "maturin-1.9-py3-none-manylinux_2_17_x86_64.whl", "program")}})
	reqs := requirements("demo==1.0")
	opts := w.pinnedBefore(reqs, "demo", recipes.BuildSet{Packages: rust, Crates: []recipes.Crate{{Name: "libc"}}})
	got, err := w.build(reqs, opts)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]recipes.Crate{crate}, got.Crates); diff != "" || !slices.Equal(got.Packages, rust) || !slices.Equal(got.Dists, []string{"maturin==1.9"}) {
		t.Errorf("packages %q, dists %q, crates (-want +got):\n%s", got.Packages, got.Dists, diff)
	}
	if !w.st.Has(crate.SHA256) {
		t.Error("the crate was not fetched")
	}
	// Only the backend's answer names what calls cargo.
	w = newWorld(t)
	w.recipeWith("")
	sdist, crate = w.rustSdist("demo", "a crate", "setuptools")
	w.dynamic[sdist.Filename] = []string{"setuptools_rust>=1"}
	w.knows(map[string][]indexFile{
		"demo==1.0": {sdist}, "setuptools==80.1": {w.file("setuptools", "setuptools-80.1-py3-none-any.whl", emptyZip)},
		"setuptools-rust==1.12": {w.file("setuptools-rust", "setuptools_rust-1.12-py3-none-any.whl", emptyZip)},
	})
	if got, err = w.build(reqs, opts); err != nil || !slices.Equal(got.Crates, []recipes.Crate{crate}) || !slices.Equal(got.Packages, rust) {
		t.Errorf("asked for by the backend: %+v, %v", got, err)
	}
	// Not there: said by name.
	w = newWorld(t)
	w.recipeWith("")
	sdist, _ = w.rustSdist("demo", "a crate", "maturin>=1")
	if err := os.Remove(filepath.Join(w.crates, "itoa-1.0.15.crate")); err != nil {
		t.Fatal(err)
	}
	w.knows(map[string][]indexFile{"demo==1.0": {sdist}})
	_, err = w.build(reqs, opts)
	var missing *fetch.NotFoundError
	if !errors.As(err, &missing) || missing.Item.Name != "itoa" {
		t.Errorf("a crate that cannot be had: %v", err)
	}
}
