package builder

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"ampoule/artifact"
	"ampoule/builder/sandbox"
)

// preparing is a publisher that prepares artifacts.
type preparing struct {
	*world
	fails                       error
	prepared, published, closed atomic.Int32
	// begun is closed when something is prepared.
	begun chan struct{}
}

// Prepare implements Preparer.
func (p *preparing) Prepare(_ context.Context, a artifact.Artifact) (Prepared, error) {
	if a.Verdict != nil {
		p.t.Error("there is a verdict already")
	}
	if p.prepared.Add(1) == 1 {
		close(p.begun)
	}
	if p.fails != nil {
		return nil, p.fails
	}
	return ready{p, a}, nil
}

type ready struct {
	p *preparing
	a artifact.Artifact
}

// Publish implements Prepared.
func (r ready) Publish(ctx context.Context, verdict []byte, _ artifact.Provenance) (string, error) {
	r.p.published.Add(1)
	r.a.Verdict = verdict
	return r.p.Publish(ctx, r.a)
}

// Close implements Prepared.
func (r ready) Close() error {
	r.p.closed.Add(1)
	return nil
}

// An artifact is packed while the gate judges its tree, and published after that has passed.
func TestPackedBesideTheGate(t *testing.T) {
	t.Parallel()
	full := errors.New("no space left on device")
	for name, c := range map[string]struct {
		fails     error
		code      int
		published int32
	}{
		"passes":           {published: 1},
		"refused":          {code: 3},
		"cannot be packed": {fails: full},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := &preparing{world: w, fails: c.fails, begun: make(chan struct{})}
			w.needs.Publisher = p
			w.test = func(ctx context.Context, step sandbox.Step) error {
				select {
				case <-p.begun: // while the gate's tests run
				case <-ctx.Done():
					return context.Cause(ctx)
				}
				if p.published.Load() != 0 {
					t.Error("it is published before the gate has ended")
				}
				if c.code != 0 {
					return &sandbox.ExitError{Args: step.Args, Code: c.code}
				}
				return nil
			}
			_, err := w.build()
			var refused *RefusedError
			if errors.As(err, &refused) != (c.code != 0) || c.fails != nil && !errors.Is(err, c.fails) || c.published == 1 && err != nil {
				t.Errorf("got %v", err)
			}
			closed := p.prepared.Load()
			if c.fails != nil {
				closed = 0
			}
			if p.prepared.Load() != 1 || p.published.Load() != c.published || p.closed.Load() != closed {
				t.Errorf("prepared %d, published %d, closed %d", p.prepared.Load(), p.published.Load(), p.closed.Load())
			}
			if n := len(w.artifacts); n != int(c.published) || n == 1 && len(w.artifacts[0].Verdict) == 0 {
				t.Errorf("%d artifacts", n)
			}
			w.checkClosed()
		})
	}
}
