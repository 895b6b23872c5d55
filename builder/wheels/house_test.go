package wheels

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/fetch"
	"ampoule/builder/once"
	"ampoule/builder/once/oncetest"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/recipes"
	"ampoule/tree"
)

// patience bounds what would else hang.
const patience = 10 * time.Second

type setting struct {
	*backend
	*lock
	runner *fake.Runner
	fetch  *fetched
	house  *House
}

func newHouse(t *testing.T, concurrent int) *setting {
	t.Helper()
	b := newBackend()
	stage, r, image := newStage(t, b)
	f := &fetched{st: stage.Store}
	stage.Jobs = concurrent
	house := NewHouse(stage, f, testPython, 0, func(context.Context, recipes.Dist) (sandbox.Image, error) { return image, nil })
	return &setting{backend: b, lock: newLock(t, stage.Store), runner: r, fetch: f, house: house}
}

func (s *setting) wheels(t *testing.T, names ...string) ([]Wheel, error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("the house hangs"))
	defer cancel()
	ids := make([]string, len(names))
	for i, name := range names {
		ids[i] = name + "==1.0"
	}
	return s.house.Wheels(ctx, s.find, ids)
}

func files(wheels []Wheel) []string {
	var names []string
	for _, w := range wheels {
		names = append(names, w.File)
	}
	return names
}

func TestWheelsOnceEach(t *testing.T) {
	t.Parallel()
	s := newHouse(t, 2)
	pure := s.wheel("flit")
	s.sdist("setuptools", "flit")
	s.sdist("cython", "setuptools")
	s.sdist("a", "setuptools", "cython")
	s.sdist("b", "cython")
	for range 2 {
		got, err := s.wheels(t, "b", "flit", "a")
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"b-1.0-py3-none-any.whl", "flit-1.0-py3-none-any.whl", "a-1.0-py3-none-any.whl"}
		if diff := cmp.Diff(want, files(got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got[1].SHA256 != pure.SHA256 || got[1].Key != "" || got[0].Key == "" {
			t.Errorf("the wheels are %+v", got)
		}
	}
	if diff := cmp.Diff(map[string]int{"a-1.0.tar.gz": 1, "b-1.0.tar.gz": 1, "cython-1.0.tar.gz": 1, "setuptools-1.0.tar.gz": 1}, s.builds); diff != "" {
		t.Errorf("builds (-want +got):\n%s", diff)
	}
	slices.Sort(s.fetch.names)
	if diff := cmp.Diff([]string{"a", "b", "cython", "flit", "setuptools"}, s.fetch.names); diff != "" {
		t.Errorf("fetched (-want +got):\n%s", diff)
	}
	for _, sb := range s.runner.Sandboxes() {
		if sb.Spec.Name == "wheel-a" && len(sb.Files().Sub("ampoule-build/needs").Entries()) != 2 {
			t.Errorf("a was built with %v", sb.Files().Sub("ampoule-build/needs").Entries())
		}
	}
	checkClosed(t, s.runner)
}

// Two that are built at the same time wait for each other; with places for two, a
// third never runs beside them.
func TestWheelsConcurrently(t *testing.T) {
	t.Parallel()
	s := newHouse(t, 2)
	answer := s.answer
	var running, most atomic.Int32
	both := make(chan struct{})
	s.answer = func(ctx context.Context, mode, sdist string) (string, []tree.Entry, error) {
		n := running.Add(1)
		defer running.Add(-1)
		if n > most.Load() {
			most.Store(n)
		}
		if n == 2 {
			select {
			case <-both:
			default:
				close(both)
			}
		}
		select {
		case <-both:
		case <-ctx.Done():
			return "", nil, context.Cause(ctx)
		}
		time.Sleep(5 * time.Millisecond) // A third would be seen beside them.
		return answer(ctx, mode, sdist)
	}
	names := []string{"a", "b", "c", "d", "e"}
	for _, name := range names {
		s.sdist(name)
	}
	if _, err := s.wheels(t, names...); err != nil {
		t.Fatal(err)
	}
	if most.Load() != 2 {
		t.Errorf("%d were built at once", most.Load())
	}
}

// One that fails ends the others, those that it has nothing to do with too; what it
// said is what is returned, and not that others were ended.
func TestWheelsFirstError(t *testing.T) {
	t.Parallel()
	s := newHouse(t, 4)
	answer := s.answer
	var waiting sync.WaitGroup
	waiting.Add(2)
	var ended atomic.Int32
	broken := errors.New("no such header")
	s.answer = func(ctx context.Context, mode, sdist string) (string, []tree.Entry, error) {
		switch sdist {
		case "slow-1.0.tar.gz", "slower-1.0.tar.gz":
			waiting.Done()
			<-ctx.Done()
			if errors.Is(context.Cause(ctx), broken) {
				ended.Add(1)
			}
			return "", nil, context.Cause(ctx)
		case "broken-1.0.tar.gz":
			waiting.Wait()
			return "", nil, broken
		}
		return answer(ctx, mode, sdist)
	}
	s.sdist("broken")
	s.sdist("slow")
	s.sdist("slower")
	s.sdist("b", "slow", "broken")
	s.sdist("c", "slow", "slower")
	_, err := s.wheels(t, "c", "b")
	var fault *BuildError
	if !errors.As(err, &fault) || fault.Dist != "broken==1.0" || !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if ended.Load() != 2 || s.count("b-1.0.tar.gz")+s.count("c-1.0.tar.gz") != 0 {
		t.Errorf("%d were ended, built: %v", ended.Load(), s.builds)
	}
	checkClosed(t, s.runner)
	s.answer = answer
	if _, err := s.wheels(t, "b"); err != nil {
		t.Errorf("later: %v", err)
	}
}

func TestWheelsCircle(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		needs map[string][]string
		want  string
	}{
		"itself":    {map[string][]string{"a": {"a"}, "b": {}}, "a==1.0 → a==1.0"},
		"two":       {map[string][]string{"a": {"b"}, "b": {"a"}}, "a==1.0 → b==1.0 → a==1.0"},
		"deep down": {map[string][]string{"a": {"c"}, "b": {"c"}, "c": {"d"}, "d": {"e"}, "e": {"c"}}, "circle: c==1.0 → d==1.0 → e==1.0 → c==1.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newHouse(t, 2)
			for name, needs := range c.needs {
				s.sdist(name, needs...)
			}
			_, err := s.wheels(t, "a", "b")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if len(s.builds) != 0 || len(s.fetch.names) != 0 {
				t.Errorf("built %v, fetched %v", s.builds, s.fetch.names)
			}
		})
	}
}

// A job whose sdist is needed to build what it needs has a circle too.
func TestJobCircle(t *testing.T) {
	t.Parallel()
	s := newHouse(t, 2)
	s.sdist("b", "a")
	a := s.sdist("a")
	if _, err := s.house.Job(t.Context(), s.find, a, []string{"b==1.0"}); err == nil || !strings.Contains(err.Error(), "a==1.0 → b==1.0 → a==1.0") {
		t.Errorf("got %v", err)
	}
}

func TestJob(t *testing.T) {
	t.Parallel()
	s := newHouse(t, 2)
	s.wheel("flit")
	s.sdist("b", "flit")
	a := s.sdist("a")
	job, err := s.house.Job(t.Context(), s.find, a, []string{"b==1.0", "flit==1.0"})
	if err != nil {
		t.Fatal(err)
	}
	if job.Sdist.ID() != "a==1.0" || job.Python != testPython || !slices.Equal(files(job.Needs), []string{"b-1.0-py3-none-any.whl", "flit-1.0-py3-none-any.whl"}) {
		t.Errorf("got %+v", job)
	}
	if s.count("a-1.0.tar.gz") != 0 {
		t.Error("the sdist itself was built")
	}
}

func TestWheelsMissing(t *testing.T) {
	t.Parallel()
	s := newHouse(t, 2)
	s.sdist("a", "nobody")
	if _, err := s.wheels(t, "a"); err == nil || err.Error() != "nobody==1.0 is not in the lock" {
		t.Errorf("got %v", err)
	}
	lost := s.sdist("lost")
	lost.SHA256 = strings.Repeat("0", 64)
	s.dists[lost.ID()] = lost
	if _, err := s.wheels(t, "lost"); err == nil || err.Error() != "not in the store: lost-1.0.tar.gz" {
		t.Errorf("got %v", err)
	}
}

func TestWheelsCancelled(t *testing.T) {
	t.Parallel()
	s := newHouse(t, 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("interrupted")
	answer := s.answer
	s.answer = func(ctx context.Context, _, _ string) (string, []tree.Entry, error) {
		cancel(stop)
		<-ctx.Done()
		return "", nil, context.Cause(ctx)
	}
	s.sdist("a")
	s.sdist("b") // It waits for a place.
	s.sdist("c", "a", "b")
	if _, err := s.house.Wheels(ctx, s.find, []string{"a==1.0", "b==1.0", "c==1.0"}); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	checkClosed(t, s.runner)
	// Who asks later is not told of it.
	s.answer = answer
	if _, err := s.wheels(t, "c"); err != nil {
		t.Errorf("later: %v", err)
	}
}

// Calls that meet at one sdist do not disturb one another: that one of them is
// cancelled is nothing to the other.
func TestWheelsOfTwoCalls(t *testing.T) {
	t.Parallel()
	s := newHouse(t, 2)
	s.sdist("common")
	s.sdist("a", "common")
	s.sdist("b", "common")
	answer := s.answer
	begun := make(chan struct{})
	var once sync.Once
	s.answer = func(ctx context.Context, mode, sdist string) (string, []tree.Entry, error) {
		first := false
		once.Do(func() { first = true })
		if first {
			close(begun)
			<-ctx.Done()
			return "", nil, context.Cause(ctx)
		}
		return answer(ctx, mode, sdist)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := s.house.Wheels(ctx, s.find, []string{"a==1.0"})
		gone <- err
	}()
	<-begun
	time.AfterFunc(10*time.Millisecond, cancel)
	if got, err := s.wheels(t, "b"); err != nil || !slices.Equal(files(got), []string{"b-1.0-py3-none-any.whl"}) {
		t.Errorf("got %v, %v", got, err)
	}
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the cancelled call returns %v", err)
	}
}

func TestNativeInPureWheel(t *testing.T) {
	t.Parallel()
	s := newHouse(t, 2)
	s.wheel("liar", member{name: "liar/fast.bin", text: "\x7fELF\x02\x01\x01"})
	_, err := s.wheels(t, "liar")
	var native *NativeError
	if !errors.As(err, &native) || native.Member != "liar/fast.bin" || native.Dist != "liar==1.0" || native.Hint() == "" {
		t.Errorf("got %v", err)
	}
}

func TestItems(t *testing.T) {
	t.Parallel()
	d := recipes.Dist{Name: "a", Version: "1", File: "a-1.tar.gz", SHA256: "0", Build: &recipes.BuildSet{
		Crates: []recipes.Crate{{Name: "itoa", Version: "1.0.15", SHA256: "1"}},
	}}
	want := []fetch.Item{
		{Source: "pypi", Name: "a", Version: "1", File: "a-1.tar.gz", SHA256: "0"},
		{Source: "crates", Name: "itoa", Version: "1.0.15", File: "itoa-1.0.15.crate", SHA256: "1"},
	}
	if diff := cmp.Diff(want, Items(d)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A file comes from the source that the lock names, and from the public index if it names none.
func TestItemsSource(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{"": fetch.PyPI, "company": "company"} {
		items := Items(recipes.Dist{Name: "x", Version: "1", File: "x-1.tar.gz", Source: source, Build: &recipes.BuildSet{Crates: []recipes.Crate{{Name: "itoa"}}}})
		if items[0].Source != want || items[1].Source != fetch.Crates {
			t.Errorf("source %q: %+v", source, items)
		}
	}
}

// Where a cache may have what is built, sources wait until it is: they are fetched for a build alone.
func TestSourcesWaitForCaches(t *testing.T) {
	t.Parallel()
	shelf := oncetest.New()
	for _, c := range []struct {
		name    string
		lost    bool
		fetched []string
		fails   bool
	}{
		{"they are not there, and must be", true, []string{"flit", "a"}, true},
		{"they are there", false, []string{"flit"}, false},
		{"nothing is built", true, []string{"flit"}, false},
	} {
		s := newHouse(t, 1)
		s.house.stage.Fetch = s.fetch
		s.wheel("flit")
		a := s.sdist("a", "flit")
		if c.lost {
			if err := os.Remove(s.fetch.st.Path(a.SHA256)); err != nil {
				t.Fatal(err)
			}
		}
		ctx, use := once.Using(t.Context(), shelf.At(s.fetch.st))
		_, err := s.house.Wheels(ctx, s.find, []string{"a==1.0"})
		use.End()
		if (err != nil) != c.fails || !slices.Equal(s.fetch.names, c.fetched) {
			t.Errorf("%s: fetched %q, %v", c.name, s.fetch.names, err)
		}
	}
}
