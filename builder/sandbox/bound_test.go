package sandbox_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"ampoule/builder/sandbox"
	"ampoule/faults"
)

// hanging is a runner and a sandbox whose steps end with their context.
type hanging struct{ sandbox.Sandbox }

func (h hanging) Start(context.Context, sandbox.Spec) (sandbox.Sandbox, error) { return h, nil }

func (h hanging) StartOnline(context.Context, sandbox.OnlineSpec) (sandbox.Sandbox, error) {
	return h, nil
}

func (hanging) Exec(ctx context.Context, _ sandbox.Step) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// remembering is a runner that remembers what it was asked for.
type remembering struct {
	hanging
	asked *sandbox.Spec
}

func (r remembering) Start(_ context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	*r.asked = spec
	return r.hanging, nil
}

// StartOnline remembers, too.
func (r remembering) StartOnline(_ context.Context, spec sandbox.OnlineSpec) (sandbox.Sandbox, error) {
	*r.asked = sandbox.Spec{Limits: spec.Limits}
	return r.hanging, nil
}

func TestBoundedLimits(t *testing.T) {
	t.Parallel()
	bound := sandbox.Limits{Memory: 5, CPUs: 2, Disk: 7}
	for _, c := range []struct{ bound, own, want sandbox.Limits }{
		{},
		{bound: bound, want: bound},
		{bound, sandbox.Limits{Memory: 3, PIDs: 9}, sandbox.Limits{Memory: 3, PIDs: 9, CPUs: 2, Disk: 7}},
	} {
		var asked sandbox.Spec
		b := sandbox.Bounded{Runner: remembering{asked: &asked}, Time: time.Minute, Limits: c.bound}
		if _, err := b.Start(t.Context(), sandbox.Spec{Limits: c.own}); err != nil || asked.Limits != c.want {
			t.Errorf("bound %+v, own %+v: asked for %+v, %v", c.bound, c.own, asked.Limits, err)
		}
		o := sandbox.BoundedOnline{Online: remembering{asked: &asked}, Time: time.Minute, Limits: c.bound}
		if _, err := o.StartOnline(t.Context(), sandbox.OnlineSpec{Limits: c.own}); err != nil || asked.Limits != c.want {
			t.Errorf("online, bound %+v, own %+v: asked for %+v, %v", c.bound, c.own, asked.Limits, err)
		}
	}
}

// A step that never ends is ended, with a network and without.
func TestBounded(t *testing.T) {
	t.Parallel()
	b, err := sandbox.Bounded{Runner: hanging{}, Time: time.Millisecond}.Start(t.Context(), sandbox.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	o, err := sandbox.BoundedOnline{Online: hanging{}, Time: time.Millisecond}.StartOnline(t.Context(), sandbox.OnlineSpec{})
	if err != nil {
		t.Fatal(err)
	}
	for _, sb := range []sandbox.Sandbox{b, o} {
		err := sb.Exec(t.Context(), sandbox.Step{Args: []string{"make"}})
		if faults.Of(err) != faults.Build || !strings.Contains(err.Error(), "running make: not done after 1ms") || len(faults.Hints(err)) != 1 {
			t.Errorf("got %v", err)
		}
	}
	stop := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if err := b.Exec(ctx, sandbox.Step{Args: []string{"make"}}); !errors.Is(err, stop) {
		t.Errorf("interrupted: %v", err)
	}
}

// A step without a command is for the sandbox to refuse.
func TestStepWithoutCommand(t *testing.T) {
	t.Parallel()
	b, err := sandbox.Bounded{Runner: hanging{}, Time: time.Millisecond}.Start(t.Context(), sandbox.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Exec(t.Context(), sandbox.Step{}); faults.Of(err) != faults.Build {
		t.Errorf("a step without a command: %v", err)
	}
}

// measured is a sandbox of which a peak is known.
type measured struct{ hanging }

func (measured) Peak() int64 { return 5 }

func (m measured) Start(context.Context, sandbox.Spec) (sandbox.Sandbox, error) { return m, nil }

// The peak of a sandbox is known through what stands around it.
func TestPeak(t *testing.T) {
	t.Parallel()
	for want, runner := range map[int64]sandbox.Runner{5: measured{}, 0: hanging{}} {
		b := sandbox.Bounded{Runner: sandbox.Bounded{Runner: runner}, Time: time.Minute}
		sb, err := b.Start(t.Context(), sandbox.Spec{})
		if err != nil {
			t.Fatal(err)
		}
		if got, known := sandbox.Peak(sb); got != want || known != (want > 0) {
			t.Errorf("the peak is %d, %t; want %d", got, known, want)
		}
	}
}

// A step is told of another number of processors in its arguments and environment, says so, and keeps the rest.
func TestStepWith(t *testing.T) {
	t.Parallel()
	step := sandbox.InParallel(4, func(n int) sandbox.Step {
		return sandbox.Step{Args: []string{"make", strings.Repeat("j", n)}, Env: []string{"JOBS=" + strings.Repeat("j", n)}, Dir: "/tmp"}
	})
	step.Memory, step.Dir = 7, "/srv"
	for n, want := range map[int]string{4: "jjjj", 2: "jj"} {
		got := step.With(n)
		if got.Args[1] != want || got.Env[0] != "JOBS="+want || got.Memory != 7 || got.Dir != "/srv" || got.Parallel.Most != n || step.Parallel.Most != 4 {
			t.Errorf("with %d processors: %+v", n, got)
		}
	}
	if got := (sandbox.Step{Args: []string{"true"}}).With(3); len(got.Args) != 1 {
		t.Errorf("a step that uses one processor: %+v", got)
	}
}
