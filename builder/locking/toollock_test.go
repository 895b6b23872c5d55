package locking

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/fetch"
	"ampoule/builder/progress/progresstest"
	"ampoule/recipes"
)

// What is left out of the requirements is told, with its place.
func TestTellFirstParty(t *testing.T) {
	t.Parallel()
	r := progresstest.New()
	at := recipes.Position{File: "uv.lock", Line: 3, Column: 1}
	tellFirstParty(r.Context(t.Context()), &recipes.RequirementSet{
		FirstParty: []recipes.FirstParty{{Name: "lib", Position: at}, {Name: "web", Position: at}},
		Projects:   []recipes.Project{{Name: "web"}},
	})
	want := []string{"uv.lock:3:1: lib is code of this repository; only what it requires is locked, unless the recipe has it as app"}
	if diff := cmp.Diff(want, messages(r)); diff != "" {
		t.Error(diff)
	}
}

// toolLock is what a uv.lock pins, by name=version.
func toolLock(specs ...string) *recipes.RequirementSet {
	set := requirements(specs...)
	set.File, set.Relock = "uv.lock", "uv lock"
	return set
}

// What another tool's lock does not pin is not installed, with hashes and without.
func TestToolLockIsWhole(t *testing.T) {
	t.Parallel()
	for _, hashes := range []bool{false, true} {
		p := &distLocker{recipe: &recipes.Recipe{}, reqs: toolLock("a==1")}
		p.reqs.RequireHashes = hashes
		if hashes {
			p.reqs.Requirements[0].Hashes = []string{"sha256:aa"}
		}
		a := release{name: "a", version: "1", sdist: &recipes.Dist{Name: "a", Version: "1", File: "a-1.tar.gz", SHA256: "aa"}}
		if err := p.checkHashes([]release{a}); err != nil {
			t.Error(err)
		}
		// It need not have a file that could be taken.
		err := p.checkHashes([]release{a, {name: "b", version: "2"}})
		if err == nil || !strings.Contains(err.Error(), "uv.lock: b==2 is needed and is not in it") || !strings.Contains(hintOf(err), "`uv lock`") {
			t.Error(err)
		}
	}
}

// A distribution of another index is asked of no index but that of the source that owns it.
func TestToolLockRegistries(t *testing.T) {
	t.Parallel()
	for owned, want := range map[string]string{
		"":      "ampoule.yaml:8:5: own-b comes from another index than the rest, https://private.example/simple, and no source has its name",
		"own-*": "",
	} {
		w := newWorld(t)
		if owned != "" {
			w.private = map[string]fetch.Source{"own": {Mirrors: []string{"https://private.example/simple"}, Names: []string{owned}}}
		}
		set := toolLock("a==1", "own-b==2")
		set.Requirements[1].Registry = "https://private.example/simple"
		err := w.start(set, Options{}).checkRegistries()
		switch {
		case want == "" && err != nil:
			t.Error(err)
		case want != "" && (err == nil || err.Error() != want || !strings.Contains(hintOf(err), `names = ["own-b"]`)):
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// The resolver is asked for what was read, never with the files themselves: their options
// and indexes reach it not.
func TestRootQuery(t *testing.T) {
	t.Parallel()
	set := requirements("a==1", "b>=2")
	set.File = "r.txt"
	set.Files = map[string][]byte{"r.txt": []byte("--index-url https://index.example/simple\na==1\n-c c.txt"), "c.txt": []byte("b>=2")}
	set.Requirements[1].Constraint = true
	p := &distLocker{recipe: &recipes.Recipe{}, reqs: set, lock: &recipes.Lock{}, opts: Options{Previous: &recipes.Lock{}}}
	q := p.rootQuery()
	if got := string(q.files[q.file]); got != "a==1\n-c constraints.txt\n" {
		t.Errorf("requirements %q", got)
	}
	if got := string(q.files["constraints.txt"]); got != "b>=2\n" || len(q.files) != 2 {
		t.Errorf("constraints %q of %d files", got, len(q.files))
	}
}

// hintOf gives the hint of faults.
func hintOf(err error) string {
	told, _ := errors.AsType[recipes.Faults](err)
	return told.Hint()
}
