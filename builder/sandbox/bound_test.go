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
