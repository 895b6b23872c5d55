package builder

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/recipes"
)

// What stands in the way of building adopted wheels is what overrides and the recipe say,
// and what only an index knows is told as not known.
func TestAdoptedWheels(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.accepts("binary: {accept: [{match: [\"*\"], why: adopted, until: " + day(t, 90) + "}]}\npackages:\n  ours: {build: [libx-dev], requires: [cython], env: {A: b}}\n")
	wheel := func(name, version, tags string) recipes.Dist {
		return recipes.Dist{Name: name, Version: version, File: strings.ReplaceAll(name, "-", "_") + "-" + version + "-" + tags + ".whl", SHA256: "of " + name}
	}
	const native = "cp313-cp313-manylinux_2_28_x86_64"
	w.lock.Base.Suite, w.lock.Python.Version = "bookworm", "3.13.5"
	w.lock.Dists = []recipes.Dist{
		wheel("cmake", "4.0", "py3-none-manylinux_2_28_x86_64"), wheel("confluent-kafka", "99.0", native), wheel("flask", "3.1", "py3-none-any"),
		wheel("ours", "1.0", native), wheel("psycopg2", "2.9.10", native), wheel("unheard-of", "1.0", native),
		{Name: "sdist", Version: "1.0", File: "sdist-1.0.tar.gz", Build: &recipes.BuildSet{}},
	}
	w.lock.Requirements = []string{"confluent-kafka==99.0", "flask==3.1", "ours==1.0", "psycopg2==2.9.10", "sdist==1.0", "unheard-of==1.0"}
	index := "the lock does not say whether the index has an sdist of it"
	got := map[string][2][]string{}
	for _, a := range AdoptedWheels(w.recipe, w.lock) {
		got[a.ID()] = [2][]string{a.Known, a.Blocks}
		if a.Until != day(t, 90) || a.Why != "adopted" || a.File == "" {
			t.Errorf("%+v", a)
		}
	}
	kafka := got["confluent-kafka==99.0"]
	if len(kafka[1]) != 2 || !strings.HasPrefix(kafka[1][0], "it is known to be built as confluent-kafka<") {
		t.Errorf("confluent-kafka: %q", kafka)
	}
	delete(got, "confluent-kafka==99.0")
	want := map[string][2][]string{
		"ours==1.0":        {{"Debian packages libx-dev", "build requirements cython", "environment A"}, {index}},
		"psycopg2==2.9.10": {{"Debian packages libpq-dev"}, {index}},
		"unheard-of==1.0":  {{}, {"nothing is known of its build: which Debian packages it needs, only trying tells", index}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A plan is refused as a build is.
func TestPlanBuild(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, err := PlanBuild(t.Context(), w.request(), nil)
	if err != nil || p.Key != MakePlan(w.recipe, w.lock, "linux/amd64", "").Key || len(p.Inputs) == 0 {
		t.Errorf("%+v, %v", p, err)
	}
	w.recipe.Python.Configure, w.recipe.Python.Profile = []string{"--enable-optimizations", "--enable-bolt"}, "sha256:ad"
	bolt := MakePlan(w.recipe, w.lock, "linux/amd64", "").Key
	if without := recipes.Key(w.recipe, w.lock, "linux/amd64", Version(), ""); bolt == without {
		t.Error("the key of a recipe with BOLT does not have its rules")
	}
	req := w.request()
	req.Lock = nil
	if _, err := PlanBuild(t.Context(), req, nil); !errors.Is(err, ErrNoLock) {
		t.Errorf("without a lock: %v", err)
	}
	w.lock.Answers.Recipe = nil
	var faults recipes.Faults
	if _, err := PlanBuild(t.Context(), w.request(), nil); !errors.As(err, &faults) {
		t.Errorf("with a stale lock: %v", err)
	}
}
