package cli

import (
	"context"
	"io"

	"ampoule/builder"
	"ampoule/config"
	"ampoule/service/builds"
	"ampoule/service/queue"
	"ampoule/service/submission"
	"ampoule/service/worker"
	"ampoule/wiring"
)

// runner runs a service's builds by the builder, with what the configuration sets.
func (s *Session) runner(_ context.Context, w *wiring.Parts) (queue.Runner, error) {
	set, err := config.Read(s.Environ, "")
	if err != nil {
		return nil, err
	}
	if set.Inputs.Cache, err = s.cacheOf(set.Inputs.Cache); err != nil {
		return nil, err
	}
	return submissions{worker.Local{Parts: w, Inputs: set.Inputs}, s.Environ}, nil
}

// collecting says of each build that it has ended.
type collecting struct {
	queue.Runner
	ended chan<- struct{}
}

// Run implements [queue.Runner].
func (c collecting) Run(ctx context.Context, job queue.Job) (builds.Result, error) {
	defer func() {
		select {
		case c.ended <- struct{}{}:
		default: // A collection is due already.
		}
	}()
	return c.Runner.Run(ctx, job)
}

// collectBetween keeps the store within bounds, until the context ends: a collection follows each build, one for
// all that end while another runs. Nobody waits for it.
func collectBetween(ctx context.Context, w *wiring.Parts, bounds config.Bounds, ended <-chan struct{}, tell func(format string, args ...any)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-ended:
			collectAfter(ctx, w, bounds, tell)
		}
	}
}

// submissions runs builds whose files have their names in the archive, in whatever is said of them.
type submissions struct {
	place   worker.Place
	environ []string
}

// Run implements [queue.Runner].
func (r submissions) Run(ctx context.Context, job queue.Job) (builds.Result, error) {
	at := ""
	runner := worker.Runner{Place: r.place, Environ: r.environ, Open: func(ctx context.Context, archive io.Reader, dir string) (builder.Request, error) {
		at = dir
		return openSubmission(ctx, archive, dir)
	}}
	result, err := runner.Run(ctx, job)
	if at == "" {
		return result, err
	}
	return result, submission.Relative(err, at)
}

// openSubmission unpacks a submission into a directory and reads it.
func openSubmission(ctx context.Context, archive io.Reader, dir string) (builder.Request, error) {
	in, err := submission.Open(ctx, archive, dir, submission.Usual)
	return builder.Request{Recipe: in.Recipe, Requirements: in.Requirements, Lock: in.Lock, Workspace: in.Workspace}, err
}
