package builder

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"ampoule/artifact"
	"ampoule/builder/fetch"
	"ampoule/builder/once"
	"ampoule/builder/once/oncetest"
	"ampoule/builder/progress"
	"ampoule/builder/progress/progresstest"
)

// compiled are the sandboxes in which something was made: all but those of the gate.
func (w *world) compiled() []string {
	var names []string
	for _, s := range w.runner.Sandboxes() {
		if !strings.HasPrefix(s.Spec.Name, "gate-") {
			names = append(names, s.Spec.Name)
		}
	}
	return names
}

// tree is the hash of the tree that was published last.
func (w *world) tree() string {
	return w.artifacts[len(w.artifacts)-1].Config.Labels[artifact.LabelTree]
}

// A machine with an empty store and a filled cache compiles nothing, and publishes the same. What is
// compiled is not even there: it would be fetched from mirrors, of which there are none.
func TestBuildFromCache(t *testing.T) {
	t.Parallel()
	shelf := oncetest.New()
	first, second := newWorld(t), newWorld(t)
	first.needs.Caches, second.needs.Caches = []Cache{shelf.At(first.st)}, []Cache{shelf.At(second.st)}
	one, err := first.build()
	if err != nil {
		t.Fatal(err)
	}
	if got := first.compiled(); len(got) < 3 || one.Stages == nil || one.Stages.Made < 3 || one.Stages.Cached != 0 {
		t.Errorf("the first one started %q: %+v", got, one.Stages)
	}
	for _, sum := range []string{second.lock.Python.SHA256, second.lock.Dists[0].SHA256} {
		if err := os.Remove(second.st.Path(sum)); err != nil {
			t.Fatal(err)
		}
	}
	r := progresstest.New()
	two, err := second.builder().Build(r.Context(t.Context()), second.request())
	if err != nil {
		t.Fatal(err)
	}
	if got := second.compiled(); len(got) != 0 {
		t.Errorf("the second one started %q", got)
	}
	if two.Stages == nil || two.Stages.Made != 0 || two.Stages.Cached != one.Stages.Made {
		t.Errorf("stages: first %+v, then %+v", one.Stages, two.Stages)
	}
	if one.Key != two.Key || first.tree() != second.tree() {
		t.Error("the cache gives another tree")
	}
	var from, summed bool
	for _, e := range r.Events() {
		from = from || e.Kind == progress.Done && e.Stage == progress.StageInterpreter && e.Cache == oncetest.Name
		summed = summed || e.Kind == progress.Told && strings.Contains(e.Message, " 0 were made, 0 found in the store, and ")
	}
	if !from || !summed {
		t.Errorf("the events tell of the cache: %v, of the sum: %v", from, summed)
	}
}

// An interpreter that a cache has takes no profile: that may be in no place that the machine knows.
func TestCachedInterpreterWithoutProfile(t *testing.T) {
	t.Parallel()
	shelf := oncetest.New()
	first, second := newWorld(t), newWorld(t)
	var runs uint32
	for _, w := range []*world{first, second} {
		w.needs.Caches = []Cache{shelf.At(w.st)}
		w.optimise("train:\n  commands: [[demo]]\n", &runs)
	}
	trained, _, err := first.builder().Train(t.Context(), first.request(), LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first.recipe.Python.Profile = "sha256:" + trained.SHA256
	second.recipe.Python.Profile = first.recipe.Python.Profile
	if _, err := first.build(); err != nil {
		t.Fatal(err)
	}
	if _, err := second.build(); err != nil {
		t.Error(err)
	}
	if got := second.compiled(); slices.Contains(got, "cpython-3.13.5") || !slices.Contains(first.compiled(), "cpython-3.13.5") {
		t.Errorf("the second one started %q", got)
	}
}

// What the cache has wrong is made, and the rest is read.
func TestBuildFromDamagedCache(t *testing.T) {
	t.Parallel()
	shelf := oncetest.New()
	first, second := newWorld(t), newWorld(t)
	first.needs.Caches, second.needs.Caches = []Cache{shelf.At(first.st)}, []Cache{shelf.At(second.st)}
	one, err := first.build()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range shelf.Keys() {
		if strings.HasPrefix(id, "wheel ") {
			shelf.Poison(id)
		}
	}
	r := progresstest.New()
	two, err := second.builder().Build(r.Context(t.Context()), second.request())
	if err != nil || two.Stages.Made != 1 || two.Stages.Cached != one.Stages.Made-1 {
		t.Fatalf("%+v, %v", two.Stages, err)
	}
	if first.tree() != second.tree() {
		t.Error("the build is another one")
	}
	if !slices.ContainsFunc(r.Events(), func(e progress.Event) bool { return e.Kind == progress.Warned && e.Stage == progress.StageWheel }) {
		t.Error("nobody is told")
	}
}

// slowShelf takes its time.
type slowShelf struct{ Cache }

func (s slowShelf) Put(ctx context.Context, e Entry) {
	time.Sleep(100 * time.Millisecond)
	s.Cache.Put(ctx, e)
}

// A build ends when the cache has what it made, and tells what it waits for.
func TestBuildWaitsForCache(t *testing.T) {
	t.Parallel()
	shelf := oncetest.New()
	w := newWorld(t)
	w.needs.Caches = []Cache{slowShelf{shelf.At(w.st)}}
	r := progresstest.New()
	use, stop := context.WithCancel(r.Context(t.Context()))
	defer stop()
	use, end := w.builder().caching(use)
	_, _, err := once.Remembered(use, w.st, progress.Later(use, progress.StageWheel, "x"), "wheel", "k", func(context.Context) (int, error) { return 1, nil })
	if err != nil {
		t.Fatal(err)
	}
	if tally := end(); tally.Made != 1 || len(shelf.Keys()) != 1 {
		t.Errorf("%+v, the cache has %q", tally, shelf.Keys())
	}
	var kinds []progress.Kind
	for _, e := range r.Events() {
		if e.Stage == progress.StagePublish {
			kinds = append(kinds, e.Kind)
		}
	}
	if !slices.Equal(kinds, []progress.Kind{progress.Started, progress.Done}) {
		t.Errorf("told %q", kinds)
	}
}

// First-party code stays here: no other commit has it.
func TestOwnCodeIsNotCached(t *testing.T) {
	t.Parallel()
	shelf := oncetest.New()
	w := newAppWorld(t, allFiles)
	w.needs.Caches = []Cache{shelf.At(w.st)}
	if _, err := w.build(); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, id := range shelf.Keys() {
		kind, _, _ := strings.Cut(id, " ")
		count[kind]++
	}
	// Two wheels are built and installed: that of demo, and the application's.
	if len(w.compiled()) < 5 || count["wheel"] != 1 || count["install"] != 1 || count["interpreter"] != 1 {
		t.Errorf("sandboxes %q, in the cache %v", w.compiled(), count)
	}
}

// The second build of a check asks no cache: it would compare what was read with itself.
func TestCheckAsksNoCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.needs.Caches = []Cache{oncetest.New().At(w.st)}
	second, err := w.builder().varied(w.st, w)
	if err != nil {
		t.Fatal(err)
	}
	if len(second.d.Caches) != 0 {
		t.Error("it has a cache")
	}
}

// Without a cache nothing is told of any.
func TestBuildWithoutCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := progresstest.New()
	res, err := w.builder().Build(r.Context(t.Context()), w.request())
	if err != nil || res.Stages != nil {
		t.Fatalf("%+v, %v", res.Stages, err)
	}
	if slices.ContainsFunc(r.Events(), func(e progress.Event) bool { return e.Cache != "" || strings.Contains(e.Message, "read from a cache") }) {
		t.Error("it tells of a cache")
	}
}

// Where a cache may have what is made of them, all inputs but published wheels wait.
func TestFetchFirst(t *testing.T) {
	t.Parallel()
	inputs := []fetch.Item{
		{Source: fetch.Debian, Name: "gcc-12", File: "pool/gcc-12_12.2_amd64.deb"}, {Source: fetch.CPython, Name: "cpython", File: "Python-3.13.5.tar.xz"},
		{Source: fetch.PyPI, Name: "numpy", File: "numpy-2.3.1.tar.gz"}, {Source: fetch.Crates, Name: "pyo3", File: "pyo3-0.25.0.crate"},
		{Source: fetch.PyPI, Name: "demo", File: "demo-1.0-py3-none-any.whl"},
	}
	w := newWorld(t)
	if got := w.builder().fetchFirst(inputs); len(got) != len(inputs) {
		t.Errorf("without a cache %v", got)
	}
	w.needs.Caches = []Cache{oncetest.New().At(w.st)}
	if got := w.builder().fetchFirst(inputs); len(got) != 1 || got[0].Name != "demo" {
		t.Errorf("with a cache %v", got)
	}
}
