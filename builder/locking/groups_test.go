package locking

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/faults"
	"ampoule/recipes"
)

// group is what a dependency group requires, in a file of its own.
func group(specs ...string) *recipes.RequirementSet {
	set := requirements(specs...)
	var text strings.Builder
	for i := range set.Requirements {
		set.Requirements[i].Position = recipes.Position{File: "requirements-test.txt", Line: 1 + i, Column: 1}
		text.WriteString(set.Requirements[i].Spec + "\n")
	}
	set.File = "requirements-test.txt"
	set.Files = map[string][]byte{set.File: []byte(text.String())}
	return set
}

// lockBoth locks what the world has, with its groups.
func (w *world) lockBoth(reqs *recipes.RequirementSet, opts Options) (*recipes.Lock, error) {
	w.t.Helper()
	p := w.start(reqs, opts)
	if err := p.lockTree(w.t.Context()); err != nil {
		return nil, err
	}
	return p.lock, p.lockGroups(w.t.Context())
}

// groupWorld has flask, and a group that requires pytest, built from its sdist, and flask.
func groupWorld(t *testing.T) (*world, *recipes.RequirementSet) {
	t.Helper()
	w := newWorld(t)
	flask := w.file("flask", "flask-3.1-py3-none-any.whl", emptyZip)
	setuptools := w.file("setuptools", "setuptools-80.1-py3-none-any.whl", emptyZip)
	demo := w.sdist("demo", "1.0", "setuptools")
	native := w.file("demo", "demo-1.0-cp313-cp313-linux_x86_64.whl", "native")
	pytest := w.sdist("pytest", "8.3", "setuptools", "hatchling")
	wheel := w.file("pytest", "pytest-8.3-cp313-cp313-linux_x86_64.whl", "native")
	hatchling := w.file("hatchling", "hatchling-1.27-py3-none-any.whl", emptyZip)
	w.uv = func(asked, _ string) (string, string) {
		releases := map[string][]indexFile{}
		for name, files := range map[string][]indexFile{
			"flask==3.1": {flask}, "setuptools==80.1": {setuptools}, "demo==1.0": {demo, native}, "pytest==8.3": {pytest, wheel}, "hatchling==1.27": {hatchling},
		} {
			if base, _, _ := strings.Cut(name, "=="); strings.Contains(asked, base) {
				releases[name] = files
			}
		}
		return w.resolved(releases), ""
	}
	reqs := requirements("flask==3.1", "demo==1.0")
	reqs.Groups = map[string]*recipes.RequirementSet{"test": group("pytest", "flask")}
	return w, reqs
}

// The lock of the artifact has the bytes that it has without a group, and the group's section
// has what the artifact does not have.
func TestLockGroups(t *testing.T) {
	t.Parallel()
	w, reqs := groupWorld(t)
	alone := *reqs
	alone.Groups = nil
	without, err := w.lockBoth(&alone, Options{})
	if err != nil {
		t.Fatal(err)
	}
	with, err := w.lockBoth(reqs, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(without.Encode()), string(with.Alone().Encode())); diff != "" {
		t.Errorf("the group changes the lock (-without +with):\n%s", diff)
	}
	var dists []string
	for _, d := range with.Groups["test"].Dists {
		dists = append(dists, d.ID())
	}
	section := with.Groups["test"]
	want := [][]string{{"flask", "pytest"}, {"pytest==8.3"}, {"hatchling==1.27", "pytest==8.3"}, {"hatchling==1.27", "setuptools==80.1"}}
	if diff := cmp.Diff(want, [][]string{section.Answers, section.Requirements, dists, section.Dists[1].Build.Dists}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !slices.Contains(w.asked, "pytest\nflask\n") {
		t.Errorf("uv was asked %q", w.asked)
	}
}

// The artifact's versions are constraints, the group's pins are kept, and both stand where an
// upgrade does not name them.
func TestGroupPins(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts Options
		kept bool
	}{
		"kept":     {Options{}, true},
		"upgraded": {Options{UpgradeNames: []string{"pytest"}}, false},
		"all":      {Options{Upgrade: true}, false},
		"another":  {Options{UpgradeNames: []string{"flask"}}, true},
	} {
		w, reqs := groupWorld(t)
		first, err := w.lockBoth(reqs, Options{})
		if err != nil {
			t.Fatal(err)
		}
		answer := w.uv
		told := ""
		w.uv = func(asked, config string) (string, string) {
			if strings.HasPrefix(asked, "pytest") {
				told = config
			}
			return answer(asked, config)
		}
		c.opts.Previous = first
		again, err := w.lockBoth(reqs, c.opts)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(first.Encode()), string(again.Encode())); diff != "" {
			t.Errorf("%s: another lock (-first +again):\n%s", name, diff)
		}
		if !strings.Contains(told, "flask==3.1\n") || !strings.Contains(told, "demo==1.0\n") {
			t.Errorf("%s: the artifact's versions are no constraints: %s", name, told)
		}
		if kept := strings.Contains(told, `name = "pytest"`+"\nversion = \"8.3\""); kept != c.kept {
			t.Errorf("%s: the group's pin is told: %t\n%s", name, kept, told)
		}
	}
}

// A group that conflicts with the artifact's versions is refused, with the resolver's
// explanation, and where both are written.
func TestGroupConflict(t *testing.T) {
	t.Parallel()
	w, reqs := groupWorld(t)
	answer := w.uv
	w.uv = func(asked, config string) (string, string) {
		if strings.HasPrefix(asked, "pytest") {
			return "", "Because you require flask==3.1 and pytest depends on flask<3, your requirements are unsatisfiable.\n"
		}
		return answer(asked, config)
	}
	_, err := w.lockBoth(reqs, Options{})
	var conflict *ResolutionError
	if !errors.As(err, &conflict) || conflict.Group != "test" || faults.Of(err) != faults.Input {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"dependency group test", "Because you require flask==3.1", "requirements-test.txt:1:1: pytest", "ampoule.yaml:7:5: flask==3.1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("it does not say %q:\n%v", want, err)
		}
	}
	if !strings.Contains(conflict.Hint(), "whose versions stand") {
		t.Errorf("hint %q", conflict.Hint())
	}
}

// A release of which the artifact is built with another file cannot be laid over it.
func TestGroupWantsAnotherFile(t *testing.T) {
	t.Parallel()
	w, reqs := groupWorld(t)
	reqs.Groups["test"] = group("setuptools")
	sdist := w.sdist("setuptools", "80.1")
	native := w.file("setuptools", "setuptools-80.1-cp313-cp313-linux_x86_64.whl", "native")
	answer := w.uv
	w.uv = func(asked, config string) (string, string) {
		if asked == "setuptools\n" && strings.Contains(config, "flask==3.1") {
			return w.resolved(map[string][]indexFile{"setuptools==80.1": {sdist, native}}), ""
		}
		return answer(asked, config)
	}
	_, err := w.lockBoth(reqs, Options{})
	var faults recipes.Faults
	if !errors.As(err, &faults) || faults[0].File != "requirements-test.txt" || faults[0].Line != 1 || !strings.Contains(err.Error(), "the artifact is built with setuptools-80.1-py3-none-any.whl") {
		t.Errorf("got %v", err)
	}
}

// What says how a group's wheel is built is used, and not told to do nothing.
func TestGroupPackagesAreUsed(t *testing.T) {
	t.Parallel()
	r, err := recipes.ParseRecipe("ampoule.yaml", []byte("apiVersion: ampoule/v1\nname: web\npython: {version: 3.13.5}\nbase: {debian: bookworm}\nruntime: {vm: {glibc: \"2.36\"}}\npackages:\n  pytest: {env: {X: y}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	built := recipes.Dist{Name: "pytest", Version: "8", Build: &recipes.BuildSet{}}
	if err := unusedPackages(r, &recipes.Lock{Groups: map[string]recipes.LockedGroup{"test": {Dists: []recipes.Dist{built}}}}); err != nil {
		t.Errorf("the group builds it: %v", err)
	}
	if err := unusedPackages(r, &recipes.Lock{Groups: map[string]recipes.LockedGroup{"test": {}}}); err == nil {
		t.Error("nothing builds it, and nothing was told")
	}
}

// What the recipe accepts, and how it has a wheel built, hold for a group's distributions.
func TestGroupObeysRecipe(t *testing.T) {
	t.Parallel()
	file := func(change func(*recipes.Recipe)) recipes.Dist {
		w, reqs := groupWorld(t)
		change(w.recipe)
		lock, err := w.lockBoth(reqs, Options{})
		if err != nil {
			t.Fatal(err)
		}
		dists := lock.Groups["test"].Dists
		return dists[len(dists)-1]
	}
	if d := file(func(r *recipes.Recipe) {
		r.Binary.Accept = []recipes.Acceptance{{Match: []string{"pytest"}, Why: "a test", Until: "2999-01-01"}}
	}); d.File != "pytest-8.3-cp313-cp313-linux_x86_64.whl" {
		t.Errorf("accepted, it is taken as %s", d.File)
	}
	if d := file(func(r *recipes.Recipe) {
		r.Packages = map[string]recipes.Packages{"pytest": {Settings: recipes.Settings{Env: map[string]string{"X": "y"}}}}
	}); d.File != "pytest-8.3.tar.gz" || d.Build.Env["X"] != "y" {
		t.Errorf("with settings, it is built as %+v", d)
	}
}

// Debian packages that only a group's wheel is built with are in the group's section alone.
func TestGroupDebianPackages(t *testing.T) {
	t.Parallel()
	w, reqs := groupWorld(t)
	first, err := w.lockBoth(reqs, Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.recipe.Packages = map[string]recipes.Packages{"pytest": {Settings: recipes.Settings{Build: []string{"graphviz"}}}}
	graphviz := recipes.Deb{Name: "graphviz", Version: "2.42", Arch: "amd64", File: "pool/main/g/graphviz_1_amd64.deb", SHA256: strings.Repeat("1", 64)}
	section := first.Groups["test"]
	section.Debian = map[string]recipes.Suite{"bookworm": {graphviz}}
	section.Dists[1].Build.Packages = []string{"graphviz"}
	first.Groups["test"], first.Answers = section, recipes.MakeAnswers(w.recipe, reqs)
	again, err := w.lockBoth(reqs, Options{Previous: first})
	if err != nil {
		t.Fatal(err)
	}
	got := again.Groups["test"]
	if diff := cmp.Diff(map[string]recipes.Suite{"bookworm": {graphviz}}, got.Debian); diff != "" || len(again.Debian["bookworm"]) != 0 || !slices.Equal(got.Dists[1].Build.Packages, []string{"graphviz"}) {
		t.Errorf("the lock has %v, the group's dist %+v, the group's packages (-want +got):\n%s", again.Debian, got.Dists[1].Build, diff)
	}
}

// Libraries that a group's distribution loads by name are the group's, on top of the artifact's.
func TestGroupLibrariesInLock(t *testing.T) {
	t.Parallel()
	w, reqs := groupWorld(t)
	w.recipeWith("")
	w.file("test-loads", "test_loads-1.0-py3-none-any.whl", emptyZip)
	w.uv = func(asked, _ string) (string, string) {
		if strings.Contains(asked, "test-loads") {
			return w.resolved(map[string][]indexFile{"test-loads==1.0": w.index["test-loads"]}), ""
		}
		return w.resolved(map[string][]indexFile{"flask==3.1": w.index["flask"]}), ""
	}
	reqs.Requirements = reqs.Requirements[:1]
	reqs.Groups = map[string]*recipes.RequirementSet{"test": group("test-loads")}
	magic := recipes.Deb{Name: "libmagic1", Version: "1", Arch: "amd64", File: "pool/main/f/libmagic1_1_amd64.deb", SHA256: strings.Repeat("1", 64)}
	libraries := &recipes.LockedLibraries{Names: []string{"libmagic1"}, Packages: []string{"libmagic1"}}
	previous := &recipes.Lock{
		Answers: recipes.MakeAnswers(w.recipe, reqs), Base: recipes.LockedBase{Suite: "bookworm"},
		Groups: map[string]recipes.LockedGroup{"test": {Libraries: libraries, Debian: map[string]recipes.Suite{"bookworm": {magic}}}},
	}
	lock, err := w.lockBoth(reqs, Options{Previous: previous})
	if err != nil {
		t.Fatal(err)
	}
	got := lock.Groups["test"]
	if got.Libraries == nil || !slices.Equal(got.Libraries.Names, libraries.Names) || len(got.Libraries.Overrides) != 1 || len(lock.Debian["bookworm"]) != 0 || lock.Libraries != nil {
		t.Errorf("the group has %+v, the artifact %+v and %v", got.Libraries, lock.Libraries, lock.Debian)
	}
	if diff := cmp.Diff(map[string]recipes.Suite{"bookworm": {magic}}, got.Debian); diff != "" {
		t.Errorf("the group's packages (-want +got):\n%s", diff)
	}
}
