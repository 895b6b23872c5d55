package cpython

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
)

// What compiling was seen to hold is what its steps are expected to hold the next time. One that failed
// lowers nothing.
func TestMemoryIsRemembered(t *testing.T) {
	t.Parallel()
	holds := int64(3 << 30)
	var failed error
	s := newScene(t, func(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
		if step.Parallel != nil {
			s.Hold(holds)
			if failed != nil {
				return failed
			}
		}
		return compiler(ctx, s, step)
	})
	for i, c := range []struct {
		holds  int64
		failed error
		// want is what the first parallel step is expected to hold.
		want int64
	}{
		{holds: 3 << 30, want: linkTime},
		{holds: 1 << 30, failed: &sandbox.ExitError{Args: []string{"make"}, Code: 2}, want: 3 << 30},
		{holds: 2 << 30, want: 3 << 30},
		{holds: 4 << 30, failed: &sandbox.ExitError{Args: []string{"make"}, Code: 2}, want: 2 << 30},
		{holds: 1 << 30, want: 4 << 30},
	} {
		holds, failed = c.holds, c.failed
		// Another source, of which configure is told the same.
		source, _, err := s.Store.Put(t.Context(), strings.NewReader(fmt.Sprint("archive ", i)))
		if err != nil {
			t.Fatal(err)
		}
		s.spec.Source = source
		if _, err := s.build(t); (err != nil) != (c.failed != nil) {
			t.Fatal(err)
		}
		steps := s.runner.Sandboxes()[i].Steps()
		first := slices.IndexFunc(steps, func(step sandbox.Step) bool { return step.Parallel != nil })
		if steps[first].Memory != c.want {
			t.Errorf("%d: %v is expected to hold %d, want %d", i, steps[first].Args, steps[first].Memory, c.want)
		}
		if slices.ContainsFunc(steps, func(step sandbox.Step) bool { return step.Parallel == nil && step.Memory != 0 }) {
			t.Errorf("%d: a step that does not compile is expected to hold as much", i)
		}
	}
}

// An interpreter that counts is linked without link-time optimisation: what that holds says nothing of others.
func TestMemoryOfTraining(t *testing.T) {
	t.Parallel()
	var holds int64
	train := trainer(&[]string{"Objects/list.o"})
	s := newScene(t, func(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
		if step.Parallel != nil {
			s.Hold(holds)
		}
		return train(ctx, s, step)
	})
	s.spec.Configure, s.spec.Compilers = []string{"--enable-optimizations", "--with-lto"}, []string{"gcc-12=12.2.0-14"}
	for i, c := range []struct {
		trains      bool
		holds, want int64
	}{
		{holds: 3 << 30, want: linkTime},
		{trains: true, holds: 1 << 30},
		{holds: 4 << 30, want: 3 << 30},
		{trains: true, holds: 2 << 30, want: 1 << 30},
	} {
		holds = c.holds
		source, _, err := s.Store.Put(t.Context(), strings.NewReader(fmt.Sprint("archive ", i)))
		if err != nil {
			t.Fatal(err)
		}
		s.spec.Source = source
		if c.trains {
			_, err = s.Train(t.Context(), s.spec, Workload{})
		} else {
			_, err = s.build(t)
		}
		if err != nil {
			t.Fatal(err)
		}
		steps := s.runner.Sandboxes()[i].Steps()
		first := slices.IndexFunc(steps, func(step sandbox.Step) bool { return step.Parallel != nil })
		if steps[first].Memory != c.want {
			t.Errorf("%d: %v is expected to hold %d, want %d", i, steps[first].Args, steps[first].Memory, c.want)
		}
	}
}
