package metrics

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"ampoule/builder/sandbox"
)

// Runner counts the errors of a sandbox engine.
func (m *Metrics) Runner(next sandbox.Runner) sandbox.Runner { return &runner{m, next} }

type runner struct {
	m    *Metrics
	next sandbox.Runner
}

// Start starts a sandbox.
func (r *runner) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	s, err := r.next.Start(ctx, spec)
	r.m.engine(ctx, "start", err)
	if err != nil {
		return nil, err
	}
	return &counted{s, r.m}, nil
}

// engine counts an error, unless a step has ended by itself or somebody did not want it any more.
func (m *Metrics) engine(ctx context.Context, operation string, err error) {
	var exit *sandbox.ExitError
	var exceeded *sandbox.ExceededError
	if err == nil || ctx.Err() != nil || errors.As(err, &exit) || errors.As(err, &exceeded) || errors.Is(err, fs.ErrNotExist) {
		return
	}
	m.docker.WithLabelValues(operation).Inc()
}

// counted is a sandbox whose errors are counted.
type counted struct {
	sandbox.Sandbox
	m *Metrics
}

// Unwrap gives the sandbox itself, so that its abilities are found.
func (c *counted) Unwrap() sandbox.Sandbox { return c.Sandbox }

// Exec runs a step.
func (c *counted) Exec(ctx context.Context, step sandbox.Step) error {
	err := c.Sandbox.Exec(ctx, step)
	c.m.engine(ctx, "exec", err)
	return err
}

// Import brings files in.
func (c *counted) Import(ctx context.Context, dir string, tar io.Reader) error {
	err := c.Sandbox.Import(ctx, dir, tar)
	c.m.engine(ctx, "import", err)
	return err
}

// Export takes files out.
func (c *counted) Export(ctx context.Context, dir string) (io.ReadCloser, error) {
	r, err := c.Sandbox.Export(ctx, dir)
	c.m.engine(ctx, "export", err)
	return r, err
}
