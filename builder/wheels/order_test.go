package wheels

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/recipes"
	"ampoule/tree"
)

func TestKeepGoing(t *testing.T) {
	t.Parallel()
	s := newHouse(t, 2)
	s.house.KeepGoing = true
	s.wheel("flit")
	s.sdist("numpy", "flit")
	s.sdist("scipy", "numpy")
	s.sdist("sklearn", "scipy")
	s.sdist("lxml", "flit")
	s.sdist("cffi", "flit")
	answer := s.answer
	s.answer = func(ctx context.Context, mode, sdist string) (string, []tree.Entry, error) {
		switch {
		case strings.HasPrefix(sdist, "numpy"):
			return "", nil, &sandbox.ExitError{Args: []string{"cc"}, Code: 1}
		case strings.HasPrefix(sdist, "lxml"):
			return `{"wheel": "other-1.0-py3-none-any.whl"}`, nil, nil
		}
		return answer(ctx, mode, sdist)
	}
	_, err := s.wheels(t, "cffi", "sklearn", "lxml")
	var failed *FailedError
	if !errors.As(err, &failed) {
		t.Fatalf("got %v", err)
	}
	if diff := cmp.Diff([]string{"scipy==1.0", "sklearn==1.0"}, failed.Skipped); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
	var dists []string
	for _, err := range failed.Failures {
		var build *BuildError
		if errors.As(err, &build) {
			dists = append(dists, build.Dist)
		}
	}
	slices.Sort(dists)
	if diff := cmp.Diff([]string{"lxml==1.0", "numpy==1.0"}, dists); diff != "" || s.count("cffi-1.0.tar.gz") != 1 {
		t.Errorf("failed (-want +got):\n%s", diff)
	}
	if text := err.Error(); !strings.Contains(text, "2 builds failed") || !strings.Contains(text, "scipy==1.0, sklearn==1.0") {
		t.Errorf("told: %s", text)
	}
	checkClosed(t, s.runner)
}

// What is wrong with the machine is wrong with every build, and is told once.
func TestKeepGoingEndsWithTheMachine(t *testing.T) {
	t.Parallel()
	s := newHouse(t, 1)
	s.house.KeepGoing = true
	s.sdist("a")
	s.sdist("b")
	s.answer = func(context.Context, string, string) (string, []tree.Entry, error) {
		return "", nil, sandbox.ErrUnavailable
	}
	_, err := s.wheels(t, "a", "b")
	var failed *FailedError
	if !errors.Is(err, sandbox.ErrUnavailable) || errors.As(err, &failed) {
		t.Errorf("got %v", err)
	}
}

// With one place, what the longest way begins with is built first.
func TestLongestWayFirst(t *testing.T) {
	t.Parallel()
	s := newHouse(t, 1)
	for name, seconds := range map[string]float64{"short": 1, "start": 2, "end": 100, "middle": 50} {
		needs := map[string][]string{"end": {"start"}}[name]
		d := s.sdist(name, needs...)
		s.house.stage.tookTime(d, time.Duration(seconds*float64(time.Second)), nil)
	}
	first := s.sdist("first")
	s.house.stage.tookTime(first, time.Hour, nil)
	answer := s.answer
	var order []string
	s.answer = func(ctx context.Context, mode, sdist string) (string, []tree.Entry, error) {
		order = append(order, strings.TrimSuffix(sdist, "-1.0.tar.gz"))
		return answer(ctx, mode, sdist)
	}
	if _, err := s.wheels(t, "short", "middle", "end", "first"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"first", "start", "end", "middle", "short"}, order); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A place is free when a build's work is done, and its wheel not yet taken out.
func TestNextBeginsMeanwhile(t *testing.T) {
	t.Parallel()
	s := newHouse(t, 1)
	for name, seconds := range map[string]float64{"long": 2, "short": 1} {
		s.house.stage.tookTime(s.sdist(name), time.Duration(seconds*float64(time.Second)), nil)
	}
	answer := s.answer
	began := make(chan struct{})
	s.answer = func(ctx context.Context, mode, sdist string) (string, []tree.Entry, error) {
		if strings.HasPrefix(sdist, "short") {
			close(began)
		}
		return answer(ctx, mode, sdist)
	}
	s.read = func(ctx context.Context, _ string) {
		select {
		case <-began:
		case <-ctx.Done():
		}
	}
	if _, err := s.wheels(t, "short", "long"); err != nil {
		t.Fatal(err)
	}
	checkClosed(t, s.runner)
}

// What was never built is judged by its size.
func TestEstimate(t *testing.T) {
	t.Parallel()
	s := newHouse(t, 1)
	d := s.sdist("a")
	guess, err := s.house.stage.seconds(d)
	if err != nil || guess <= 0 || guess > 1 {
		t.Errorf("got %g, %v", guess, err)
	}
	s.house.stage.tookTime(d, 3*time.Second, nil)
	if took, err := s.house.stage.seconds(d); err != nil || took != 3 {
		t.Errorf("got %g, %v", took, err)
	}
}

// slow is a sandbox whose steps wait for longer than they run.
type slow struct{ sandbox.Sandbox }

func (slow) Waited() time.Duration { return time.Hour }

type slowRunner struct{ sandbox.Runner }

func (r slowRunner) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	sb, err := r.Runner.Start(ctx, spec)
	return slow{sb}, err
}

// What a build has waited for its share is no part of how long it takes, and one that was ended says
// nothing of that.
func TestTimeIsThatOfTheStep(t *testing.T) {
	t.Parallel()
	b := newBackend()
	stage, r, image := newStage(t, b)
	stage.Runner = slowRunner{r}
	sdists := newLock(t, stage.Store)
	built, ended := sdists.sdist("built"), sdists.sdist("ended")
	if _, err := stage.Build(t.Context(), Job{Sdist: built, Image: image, Python: testPython}); err != nil {
		t.Fatal(err)
	}
	var seconds float64
	if known, err := stage.noted(secondsKind, measures(built), &seconds); !known || err != nil || seconds > -3000 {
		t.Errorf("it took %g seconds, %t, %v", seconds, known, err)
	}
	b.answer = func(context.Context, string, string) (string, []tree.Entry, error) {
		return "", nil, sandbox.ErrUnavailable
	}
	if _, err := stage.Build(t.Context(), Job{Sdist: ended, Image: image, Python: testPython}); err == nil {
		t.Fatal("it was built")
	}
	if known, err := stage.noted(secondsKind, measures(ended), &seconds); known || err != nil {
		t.Errorf("what was ended took %g seconds, %v", seconds, err)
	}
}

// A release that was never built is taken to need what the last one of its name did.
func TestNextReleaseIsEstimated(t *testing.T) {
	t.Parallel()
	s := newHouse(t, 1)
	stage := s.house.stage
	old := s.sdist("scipy")
	stage.tookTime(old, time.Hour, nil)
	s.held(old, 3<<30)
	next := old
	next.Version, next.SHA256 = "2.0", put(t, s.st, "another sdist")
	seconds, err := stage.seconds(next)
	if err != nil || seconds != 3600 {
		t.Errorf("it takes %g seconds, %v", seconds, err)
	}
	memory, err := stage.memory(next)
	if err != nil || memory != 3<<30 {
		t.Errorf("it takes %d bytes, %v", memory, err)
	}
	stage.tookTime(next, time.Minute, nil)
	if seconds, err = stage.seconds(old); err != nil || seconds != 3600 {
		t.Errorf("the old one takes %g seconds, %v", seconds, err)
	}
}

// What a build was seen to hold is what its step is expected to hold the next time, also when it failed.
func TestMemoryIsRemembered(t *testing.T) {
	t.Parallel()
	b := newBackend()
	stage, _, image := newStage(t, b)
	r := fake.New(func(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
		if step.Args[0] != "cat" {
			s.Hold(3 << 30)
		}
		return b.step(ctx, s, step)
	})
	stage.Runner, stage.Images = r, r
	sdists := newLock(t, stage.Store)
	good, bad := sdists.sdist("good"), sdists.sdist("bad")
	answer := b.answer
	b.answer = func(ctx context.Context, mode, sdist string) (string, []tree.Entry, error) {
		if strings.HasPrefix(sdist, "bad") {
			return "", nil, &sandbox.ExitError{Args: []string{"ld"}, Code: 1, OutOfMemory: true}
		}
		return answer(ctx, mode, sdist)
	}
	var expected []int64
	for _, d := range []recipes.Dist{good, bad} {
		// Another environment of the same sdist.
		for _, environment := range []string{"1", "2"} {
			d.Build = &recipes.BuildSet{Env: map[string]string{"WAY": environment}}
			if _, err := stage.Build(t.Context(), Job{Sdist: d, Image: image, Python: testPython}); (err != nil) != (d.Name == "bad") {
				t.Fatal(err)
			}
			expected = append(expected, r.Sandboxes()[len(r.Sandboxes())-1].Steps()[0].Memory)
		}
	}
	if diff := cmp.Diff([]int64{0, 3 << 30, 0, 3 << 30}, expected); diff != "" {
		t.Errorf("expected memory (-want +got):\n%s", diff)
	}
	if memory, err := stage.memory(sdists.wheel("flit")); memory != 0 || err != nil {
		t.Errorf("a wheel that is taken as it is: %d, %v", memory, err)
	}
}

// A build that was ended, or failed early, says nothing of a whole one: what is noted never gets less
// by it. What a whole one took counts, whatever was noted before.
func TestEarlyEndsAreNoMeasure(t *testing.T) {
	t.Parallel()
	b := newBackend()
	stage, _, image := newStage(t, b)
	r := fake.New(func(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
		s.Hold(60 << 20)
		return b.step(ctx, s, step)
	})
	stage.Runner, stage.Images = r, r
	old := newLock(t, stage.Store).sdist("scipy")
	next := old
	next.Version, next.SHA256 = "2.0", put(t, stage.Store, "another sdist")
	stage.tookTime(old, 1500*time.Second, nil)
	note(stage, memoryKind, old, int64(3<<30), nil)
	answer := b.answer
	for _, failure := range []error{&sandbox.ExitError{Args: []string{"cc"}, Code: 1}, context.Canceled} {
		b.answer = func(context.Context, string, string) (string, []tree.Entry, error) { return "", nil, failure }
		for _, d := range []recipes.Dist{old, next} {
			if _, err := stage.Build(t.Context(), Job{Sdist: d, Image: image, Python: testPython}); err == nil {
				t.Fatal("it was built")
			}
		}
	}
	for _, d := range []recipes.Dist{old, next} {
		for _, key := range measures(d) {
			var memory int64
			var seconds float64
			_, err := stage.noted(memoryKind, []string{key}, &memory)
			_, err2 := stage.noted(secondsKind, []string{key}, &seconds)
			if err := errors.Join(err, err2); err != nil || memory != 3<<30 || seconds != 1500 {
				t.Errorf("%s under %s takes %d bytes, %g seconds, %v", d.ID(), key, memory, seconds, err)
			}
		}
	}
	b.answer = answer
	if _, err := stage.Build(t.Context(), Job{Sdist: old, Image: image, Python: testPython}); err != nil {
		t.Fatal(err)
	}
	memory, err := stage.memory(old)
	seconds, err2 := stage.seconds(old)
	if err := errors.Join(err, err2); err != nil || memory != 60<<20 || seconds > 1000 {
		t.Errorf("a whole build is noted with %d bytes, %g seconds, %v", memory, seconds, err)
	}
}

// held has the last build of a dist have held memory.
func (s *setting) held(d recipes.Dist, memory int64) {
	note(s.house.stage, memoryKind, d, memory, nil)
}

// Two that do not fit beside one another are built one after the other, though there are
// processors for both; what fits beside the first is built meanwhile.
func TestLargeOnesApart(t *testing.T) {
	t.Parallel()
	s := newHouse(t, 4)
	s.house.memory = 4 << 30
	small := make(chan struct{})
	for i, name := range []string{"scipy", "torch", "lxml"} {
		d := s.sdist(name)
		s.house.stage.tookTime(d, time.Duration(300-i)*time.Second, nil)
		s.held(d, map[string]int64{"scipy": 3 << 30, "torch": 3 << 30, "lxml": 1 << 30}[name])
	}
	answer := s.answer
	var large atomic.Int32
	s.answer = func(ctx context.Context, mode, sdist string) (string, []tree.Entry, error) {
		switch sdist {
		case "lxml-1.0.tar.gz":
			close(small)
		case "scipy-1.0.tar.gz", "torch-1.0.tar.gz":
			if large.Add(1) > 1 {
				t.Error("both large ones are built at once")
			}
			select {
			case <-small:
			case <-ctx.Done():
				return "", nil, context.Cause(ctx)
			}
			time.Sleep(5 * time.Millisecond) // The other one would be seen beside it.
			large.Add(-1)
		}
		return answer(ctx, mode, sdist)
	}
	if _, err := s.wheels(t, "scipy", "torch", "lxml"); err != nil {
		t.Fatal(err)
	}
}

// planned is a schedule of sdists of which nothing is made, all of them ready, with the memory of
// each. The longest way begins with the first.
func planned(names []string, memory map[string]int64) *schedule {
	s := &schedule{made: map[string]Wheel{}, ranks: map[string]float64{}, memory: map[string]int64{}, before: map[string]map[string]bool{}, worked: map[string]bool{}}
	for i, name := range names {
		d := recipes.Dist{Name: name, Version: "1.0", Build: &recipes.BuildSet{}}
		s.ready = append(s.ready, d)
		s.ranks[d.ID()], s.memory[d.ID()] = float64(100-i), memory[name]
	}
	return s
}

// begins wants the next dist to be the one of a name; empty is none.
func (s *schedule) begins(t *testing.T, want string, room int64) recipes.Dist {
	t.Helper()
	d, _ := s.next(room)
	if d.Name != want {
		t.Errorf("%q begins, want %q", d.Name, want)
	}
	return d
}

// One that the longest way begins with is overtaken while what was there before has no room for it,
// and then no more.
func TestLargeOneIsNotLast(t *testing.T) {
	t.Parallel()
	const room = 32
	s := planned([]string{"lxml", "scipy", "a", "b", "c"}, map[string]int64{"lxml": 4, "scipy": 30, "a": 4, "b": 4, "c": 4})
	lxml := s.begins(t, "lxml", room)
	a := s.begins(t, "a", room)
	s.end(result{dist: a})
	b := s.begins(t, "b", room)
	s.end(result{dist: lxml})
	s.begins(t, "", room)
	s.end(result{dist: b})
	scipy := s.begins(t, "scipy", room)
	s.begins(t, "", room)
	s.end(result{dist: scipy})
	s.begins(t, "c", room)
}

// A build whose work is done has no memory and no processors.
func TestDoneWorkTakesNothing(t *testing.T) {
	t.Parallel()
	const room = 32
	s := planned([]string{"scipy", "torch"}, map[string]int64{"scipy": 30, "torch": 30})
	scipy := s.begins(t, "scipy", room)
	s.begins(t, "", room)
	s.worked[scipy.ID()] = true
	s.begins(t, "torch", room)
	if n := s.wide(); n != 1 {
		t.Errorf("%d compilations are running", n)
	}
}

// What is larger than there is room for is built alone.
func TestTooLargeIsBuilt(t *testing.T) {
	t.Parallel()
	s := newHouse(t, 2)
	s.house.memory = 1 << 30
	for _, name := range []string{"a", "b"} {
		s.held(s.sdist(name), 2<<30)
	}
	if _, err := s.wheels(t, "a", "b"); err != nil {
		t.Error(err)
	}
}

// Processors are divided among what is built and what could be: what everything waits for has all.
func TestProcessorsAreDivided(t *testing.T) {
	t.Parallel()
	s := newHouse(t, 8)
	s.sdist("numpy")
	s.wheel("flit")
	for _, name := range []string{"a", "b"} {
		s.sdist(name, "numpy", "flit")
	}
	for _, name := range []string{"c", "d", "e", "f", "g"} {
		s.sdist(name, "a", "b")
	}
	if _, err := s.wheels(t, "c", "d", "e", "f", "g"); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, sb := range s.runner.Sandboxes() {
		for _, variable := range sb.Steps()[0].Env {
			if flags, ok := strings.CutPrefix(variable, "MAKEFLAGS="); ok {
				got[strings.TrimPrefix(sb.Spec.Name, "wheel-")] = flags
			}
		}
	}
	want := map[string]string{"numpy": "-j8", "a": "-j4", "b": "-j4", "c": "-j2", "d": "-j2", "e": "-j2", "f": "-j2", "g": "-j2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
