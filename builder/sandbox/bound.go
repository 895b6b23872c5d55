package sandbox

import (
	"context"
	"strings"
	"time"

	"ampoule/faults"
)

// Bounded starts sandboxes whose steps may take a time and no longer. A step that does
// is an error of kind Build, and its sandbox is removed.
type Bounded struct {
	Runner
	// Time is what one step may take.
	Time time.Duration
	// Limits are for a [Spec] that has none; what is zero is left to the runner.
	Limits Limits
}

// BoundedOnline does for containers with a network what [Bounded] does for sandboxes.
type BoundedOnline struct {
	Online
	Time   time.Duration
	Limits Limits
}

// late says that a step took longer than it was given.
func late(step Step, given time.Duration) error {
	return faults.New(faults.Build, "a build that waits for something never ends; one that needs longer gets it with --step-timeout",
		"running %s: not done after %s", strings.Join(step.Args[:min(1, len(step.Args))], ""), given)
}

// Start implements [Runner].
func (b Bounded) Start(ctx context.Context, spec Spec) (Sandbox, error) {
	spec.Limits = spec.Limits.Or(b.Limits)
	s, err := b.Runner.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	return boundedBox{s, b.Time}, nil
}

// StartOnline implements [Online].
func (b BoundedOnline) StartOnline(ctx context.Context, spec OnlineSpec) (Sandbox, error) {
	spec.Limits = spec.Limits.Or(b.Limits)
	s, err := b.Online.StartOnline(ctx, spec)
	if err != nil {
		return nil, err
	}
	return boundedBox{s, b.Time}, nil
}

type boundedBox struct {
	Sandbox
	time time.Duration
}

// Exec implements [Sandbox].
func (b boundedBox) Exec(ctx context.Context, step Step) error {
	ctx, cancel := context.WithTimeoutCause(ctx, b.time, late(step, b.time))
	defer cancel()
	return b.Sandbox.Exec(ctx, step)
}

// Unwrap implements [Wrapper].
func (b boundedBox) Unwrap() Sandbox { return b.Sandbox }
