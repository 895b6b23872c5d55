package wheels

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/sandbox"
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
		s.house.stage.tookTime(d, time.Duration(seconds*float64(time.Second)))
	}
	first := s.sdist("first")
	s.house.stage.tookTime(first, time.Hour)
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

// What was never built is judged by its size.
func TestEstimate(t *testing.T) {
	t.Parallel()
	s := newHouse(t, 1)
	d := s.sdist("a")
	guess, err := s.house.stage.seconds(d)
	if err != nil || guess <= 0 || guess > 1 {
		t.Errorf("got %g, %v", guess, err)
	}
	s.house.stage.tookTime(d, 3*time.Second)
	if took, err := s.house.stage.seconds(d); err != nil || took != 3 {
		t.Errorf("got %g, %v", took, err)
	}
}
