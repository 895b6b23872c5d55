package sandbox_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"ampoule/builder/sandbox"
)

// hanging is a runner and a sandbox whose steps end with their context.
type hanging struct{ sandbox.Sandbox }

func (h hanging) Start(context.Context, sandbox.Spec) (sandbox.Sandbox, error) { return h, nil }

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

func TestBoundedMemory(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ bound, own, want int64 }{{0, 0, 0}, {5, 0, 5}, {5, 3, 3}} {
		var asked sandbox.Spec
		b := sandbox.Bounded{Runner: remembering{asked: &asked}, Time: time.Minute, Memory: c.bound}
		if _, err := b.Start(t.Context(), sandbox.Spec{Limits: sandbox.Limits{Memory: c.own}}); err != nil || asked.Limits.Memory != c.want {
			t.Errorf("bound %d, own %d: asked for %d, %v", c.bound, c.own, asked.Limits.Memory, err)
		}
	}
}

func TestBounded(t *testing.T) {
	t.Parallel()
	b, err := sandbox.Bounded{Runner: hanging{}, Time: time.Millisecond}.Start(t.Context(), sandbox.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	var late *sandbox.TimeError
	if err := b.Exec(t.Context(), sandbox.Step{Args: []string{"make"}}); !errors.As(err, &late) || late.Args[0] != "make" || late.Hint() == "" {
		t.Errorf("got %v", err)
	}
	stop := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if err := b.Exec(ctx, sandbox.Step{Args: []string{"make"}}); !errors.Is(err, stop) {
		t.Errorf("interrupted: %v", err)
	}
}
