package share

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"ampoule/builder/sandbox"
)

// Runner starts sandboxes whose steps take their share of a pool, and are told how many processors
// they have. What a step waits is not part of the time that a runner below may bound.
type Runner struct {
	sandbox.Runner
	Pool *Pool
}

// Start implements [sandbox.Runner].
func (r Runner) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	b, err := r.Runner.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &box{Sandbox: b, pool: r.Pool, name: spec.Name}, nil
}

// Online does for containers with a network what [Runner] does for sandboxes.
type Online struct {
	sandbox.Online
	Pool *Pool
}

// StartOnline implements [sandbox.Online].
func (o Online) StartOnline(ctx context.Context, spec sandbox.OnlineSpec) (sandbox.Sandbox, error) {
	b, err := o.Online.StartOnline(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &box{Sandbox: b, pool: o.Pool, name: spec.Name}, nil
}

type box struct {
	sandbox.Sandbox
	pool *Pool
	name string
	// waited is how long its steps have waited, in nanoseconds.
	waited atomic.Int64
}

// Waited is how long its steps have waited: see [sandbox.Waited].
func (b *box) Waited() time.Duration { return time.Duration(b.waited.Load()) }

// Unwrap implements [sandbox.Wrapper].
func (b *box) Unwrap() sandbox.Sandbox { return b.Sandbox }

// Exec implements [sandbox.Sandbox].
func (b *box) Exec(ctx context.Context, step sandbox.Step) error {
	want := Want{Step: b.name, Memory: step.Memory, AtOnce: step.AtOnce, Processors: 1}
	if step.Parallel != nil {
		want.Processors = step.Parallel.Most
	}
	begun := time.Now()
	share, err := b.pool.Take(ctx, want)
	b.waited.Add(int64(time.Since(begun)))
	if err != nil {
		return fmt.Errorf("running a step in %s: %w", b.name, err)
	}
	defer share.Release()
	return b.Sandbox.Exec(ctx, step.With(share.Processors))
}
