package metrics

import (
	"context"
	"errors"
	"time"

	"ampoule/builder/progress"
	"ampoule/service/builds"
	"ampoule/service/queue"
)

// Builds counts the builds that a worker's runner makes, and their steps.
func (m *Metrics) Builds(next queue.Runner) queue.Runner { return &counting{m, next} }

type counting struct {
	m    *Metrics
	next queue.Runner
}

// Run runs a build. What it tells its feed is followed.
func (c *counting) Run(ctx context.Context, job queue.Job) (builds.Result, error) {
	leave := progress.Follow(ctx, c.m.Observer())
	begun := time.Now()
	result, err := c.next.Run(ctx, job)
	leave()
	state, counts := outcome(err, context.Cause(ctx))
	if !counts {
		return result, err
	}
	ended := Build{Kind: string(job.Build.Kind), State: string(state), Took: time.Since(begun), Accepted: result.Accepted}
	if state == builds.Failed {
		ended.Err = err
		if queue.Passes(err) {
			ended.State = string(builds.Released)
		}
	}
	if job.Build.Attempt <= 1 {
		ended.Waited = max(0, job.Build.Started.Sub(job.Build.Created))
	}
	c.m.Ended(ended)
	return result, err
}

// outcome is the state in which a build ends by its error and by why its context ended. One whose
// worker stops, or does not have it any more, goes on elsewhere, and counts there.
func outcome(err, cause error) (state builds.State, counts bool) {
	var cancelled *builds.CancelledError
	var limit *builds.LimitError
	var fence *builds.FenceError
	switch {
	case err == nil:
		return builds.Done, true
	case errors.As(cause, &cancelled), errors.As(err, &cancelled):
		return builds.Cancelled, true
	case errors.As(cause, &limit):
		return builds.Failed, true
	case errors.As(err, &fence), cause != nil:
		return "", false
	}
	return builds.Failed, true
}

// Stats are what a queue says of itself; [*queue.Queue] says them.
type Stats interface {
	Stats(ctx context.Context) (builds.Stats, error)
}

// WatchQueue asks a queue for its state, and for hosts, each time that somebody reads. Hosts may be nil.
func (m *Metrics) WatchQueue(q Stats, hosts func(context.Context) (map[Host]int, error)) {
	m.Watch(func(ctx context.Context) (State, error) {
		stats, err := q.Stats(ctx)
		if err != nil {
			return State{}, err
		}
		// What waits is told although nothing does: rules compare it.
		state := State{Unfinished: map[string]int{string(builds.Queued): 0}, Oldest: stats.Oldest, Workers: stats.Workers}
		for name, n := range stats.States {
			state.Unfinished[string(name)] = n
		}
		if hosts != nil {
			state.Hosts, err = hosts(ctx)
		}
		return state, err
	})
}
