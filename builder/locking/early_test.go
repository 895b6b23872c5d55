package locking

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/fetch"
	"ampoule/recipes"
)

// Whatever the index and the sdists say beforehand is told at once, before anything is
// compiled or resolved, each at its line.
func TestEarly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.private = map[string]fetch.Source{"own": {Mirrors: []string{"https://private.example/simple"}, Names: []string{"own-*"}}}
	w.recipeWith("pure: [called-pure]\nbinary:\n  accept:\n    - {match: [\"taken-*\"], why: \"it is \\\"closed\\\"\", until: 2099-01-31}\n")
	native := func(name, version string) {
		w.file(name, strings.ReplaceAll(name, "-", "_")+"-"+version+"-cp313-cp313-manylinux_2_17_x86_64.whl", "native")
	}
	native("test-native", "4.0")
	w.sdist("sound", "1.0", "setuptools")
	native("sound", "1.0")
	for _, name := range []string{"closed-b", "closed-a", "taken-x", "called-pure"} {
		native(name, "1.0")
	}
	w.file("called-pure", "called_pure-1.0-py3-none-any.whl", emptyZip)
	w.file("pure", "pure-1.0-py3-none-any.whl", emptyZip)
	w.file("pure", "pure-1.0-cp313-cp313-win_amd64.whl", "of Windows")
	w.file("local", "local-1.0+cpu-py3-none-any.whl", emptyZip)
	w.file("elsewhere", "elsewhere-1.0-cp313-cp313-win_amd64.whl", "of Windows")
	w.file("elsewhere", "elsewhere-0.9.tar.gz", "old")
	w.file("odd", "odd-1.0.tar.bz2", "of another form")
	for _, v := range []string{"0.1", "0.9", "1.10", "1.2", "2.0rc1"} {
		w.file("old", "old-"+v+".tar.gz", "old"+v)
	}
	rust := w.file("rust", "rust-1.0.tar.gz", string(gzipped(tarOf(t,
		member{name: "rust-1.0/pyproject.toml", text: "[build-system]\nrequires = [\"maturin\"]\n"}, member{name: "rust-1.0/Cargo.toml", text: "[dependencies]\npyo3 = {git = \"https://git.invalid/pyo3\"}\n"}))))
	w.file("free", "free-1.0.tar.gz", string(gzipped(tarOf(t,
		member{name: "free-1.0/pyproject.toml", text: "[build-system]\nrequires = [\"maturin\"]\n"}, member{name: "free-1.0/Cargo.toml", text: "[dependencies]\npyo3 = \"0.26\"\n"}))))
	native("rust", "1.0")
	w.file("git", "git-1.0.tar.gz", string(gzipped(tarOf(t,
		member{name: "git-1.0/pyproject.toml", text: "[build-system]\nrequires = [\"maturin\"]\n"}, member{name: "git-1.0/Cargo.toml"},
		member{name: "git-1.0/Cargo.lock", text: "[[package]]\nname = \"pyo3\"\nversion = \"0.26.0\"\nsource = \"git+https://git.invalid/pyo3\"\n"}))))
	w.file("test-native", "test_native-4.0.tar.gz", "new")
	l := w.start(requirements(), Options{}).l
	reqs := requirements("sound==1.0", "pure==1.0", "called-pure==1.0", "taken-x==1.0", "local==1.0", "elsewhere==1.0", "own-thing==1", "old>=9", "odd==1.0",
		"closed-b==1.0", "mispelt==1.0", "old==1.5", "closed-a==1.0", "rust==1.0", "git==1.0", "test-native==4.0", `closed-a==0.1; sys_platform == "win32"`, "misnamed>=2", "free==1.0", `windows-only; sys_platform == "win32"`)
	for _, previous := range []recipes.Lock{{}, {Dists: []recipes.Dist{{Name: "rust", Version: "1.0", SHA256: rust.Hashes["sha256"]}}}} {
		err := l.checkEarly(t.Context(), w.recipe, reqs, &previous)
		var told recipes.Faults
		if !errors.As(err, &told) {
			t.Fatalf("got %v", err)
		}
		want := []string{
			"ampoule.yaml:12:5: elsewhere 1.0 has no sdist, and no wheel for CPython 3.13 on Linux",
			"ampoule.yaml:16:5: closed-b 1.0 has native code and no sdist to build it from",
			"ampoule.yaml:17:5: no index has mispelt",
			"ampoule.yaml:18:5: the index has old, and no version 1.5 of it",
			"ampoule.yaml:19:5: closed-a 1.0 has native code and no sdist to build it from",
			"ampoule.yaml:20:5: reading rust-1.0.tar.gz: its Cargo.toml: crate pyo3: it comes from a git repository, which has no sha256",
			"ampoule.yaml:21:5: reading git-1.0.tar.gz: its Cargo.lock: crate pyo3 0.26.0: it comes from a git repository, which has no sha256",
			"ampoule.yaml:22:5: override test-native, revision 7, holds it to test-native<3: this Debian is old",
			"ampoule.yaml:24:5: no index has misnamed",
		}
		accept := `["closed-a", "closed-b", "rust", "test-native"]`
		if len(previous.Dists) > 0 { // its sdist was locked before
			want, accept = append(want[:5:5], want[6:]...), `["closed-a", "closed-b", "test-native"]`
		}
		if diff := cmp.Diff(want, strings.Split(told.Error(), "\n")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		hint := regexp.MustCompile(`\d{4}-\d\d-\d\d}$`).ReplaceAllString(told[1].Hint, "DAY}")
		entry := "\nbinary:\n  accept:\n    - {match: [\"taken-*\"], why: \"it is \\\"closed\\\"\", until: 2099-01-31}\n    - {match: " + accept + ", why: \"no sdist that can be built\", until: DAY}"
		if !strings.HasSuffix(hint, entry) {
			t.Errorf("the hint is %s", hint)
		}
		if told[3].Hint != "nearest to it: 0.9, 1.2, 1.10, 2.0rc1" || !strings.Contains(told[2].Hint, "misspelt") || told[0].Hint != "nearest to it: 0.9" {
			t.Errorf("the hints are %q, %q, %q", told[0].Hint, told[2].Hint, told[3].Hint)
		}
		// The entry is the recipe's.
		_, entry, _ = strings.Cut(told[1].Hint, "\nbinary:")
		w2 := &world{t: t}
		w2.recipeWith("binary:" + entry + "\n")
		if _, ok := w2.recipe.Accepted("closed-a"); !ok {
			t.Error("the entry of the hint does not accept what it is for")
		}
	}
	if n := len(w.asked); n > 0 {
		t.Errorf("the resolver was asked %d times", n)
	}
}

// What is in the way of a dependency group is told with the rest, and once.
func TestEarlyLooksAtGroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.recipeWith("")
	w.file("sound", "sound-1.0-py3-none-any.whl", emptyZip)
	reqs := requirements("sound==1.0", "mispelt")
	reqs.Groups = map[string]*recipes.RequirementSet{"test": group("sound==2.0", "pytset"), "lint": requirements("sound==1.0", "mispelt")}
	err := w.start(requirements(), Options{}).l.checkEarly(t.Context(), w.recipe, reqs, &recipes.Lock{})
	want := "ampoule.yaml:8:5: no index has mispelt\nrequirements-test.txt:1:1: the index has sound, and no version 2.0 of it\nrequirements-test.txt:2:1: no index has pytset"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// What the index does not answer is no obstacle: the resolution tells it, if it matters.
func TestEarlyWithoutIndex(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.recipeWith("")
	l := w.start(requirements(), Options{}).l
	l.Fetch = fetch.New(w.st, fetch.Config{Sources: map[string]fetch.Source{"pypi": {Mirrors: []string{t.TempDir()}}}})
	if err := l.checkEarly(t.Context(), w.recipe, requirements("demo==1.0"), &recipes.Lock{}); err != nil {
		t.Error(err)
	}
}

// What else the tree takes and nobody pinned is told at once, too.
func TestNoSdists(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.recipeWith("")
	releases := map[string][]indexFile{}
	for _, name := range []string{"one", "two", "three"} {
		releases[name+"==1.0"] = []indexFile{w.file(name, name+"-1.0-cp313-cp313-manylinux_2_17_x86_64.whl", "native")}
	}
	w.uv = func(string, string) (string, string) { return w.resolved(releases), "" }
	_, err := w.lockAll(requirements("two", "one"), Options{})
	var told recipes.Faults
	if !errors.As(err, &told) || len(told) != 3 || told[0].Line != 0 || told[1].Line != 7 || !strings.Contains(told[0].Hint, `["one", "three", "two"]`) {
		t.Errorf("got %v with %q", err, told.Hint())
	}
}
