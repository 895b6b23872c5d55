// Package worklog tells the service's log what its builds do with the machine and with other
// servers: which steps ended how, which images were loaded and sandboxes started, what ended
// processes had left, and which requests to mirrors and registries did not succeed. Entries have the
// build's fields, through the context. What builds print is no part of it.
package worklog

import (
	"context"
	"net/http"
	"time"

	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/internal/watched"
	"ampoule/service/builds"
	"ampoule/service/journal"
	"ampoule/service/queue"
)

// Builds gives what a worker's runner does the build's fields, and logs its steps.
func Builds(next queue.Runner) queue.Runner { return runner{next} }

type runner struct{ next queue.Runner }

// Run runs a build.
func (r runner) Run(ctx context.Context, job queue.Job) (builds.Result, error) {
	b := job.Build
	ctx = journal.With(ctx, journal.Fields{"build": b.ID, "recipe": b.Recipe, "key": b.Key, "caller": b.Caller, "worker": b.Worker})
	ctx = watched.With(ctx, requests)
	leave := progress.Follow(ctx, &steps{ctx, map[step]time.Time{}})
	defer leave()
	return r.next.Run(ctx, job)
}

type step struct {
	stage progress.Stage
	task  string
}

// steps logs the ends of steps. It is told of events one after another.
type steps struct {
	//nolint:containedctx // the observer of a feed has none
	ctx   context.Context
	begun map[step]time.Time
}

// Observe implements [progress.Observer]. What a step says, and why it failed, is in the build's log.
func (s *steps) Observe(e progress.Event) {
	of := step{e.Stage, e.Task}
	outcome := "made"
	switch {
	case e.Kind == progress.Started:
		s.begun[of] = e.Time
		return
	case e.Kind == progress.Failed:
		outcome = "failed"
	case e.Kind != progress.Done:
		return
	case e.Cache != "":
		outcome = "cached"
	case e.Reused:
		outcome = "reused"
	}
	fields := journal.Fields{"stage": e.Stage.String(), "task": e.Task, "outcome": outcome}
	if begun, ok := s.begun[of]; ok {
		fields["seconds"] = max(0, e.Time.Sub(begun).Seconds())
	}
	delete(s.begun, of)
	journal.Of(s.ctx).WithFields(fields).Info("step ends")
}

// Sandboxes logs which sandboxes are started.
func Sandboxes(next sandbox.Runner) sandbox.Runner { return starts{next} }

type starts struct{ next sandbox.Runner }

// Start starts a sandbox.
func (s starts) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	begun := time.Now()
	made, err := s.next.Start(ctx, spec)
	tell(ctx, begun, err, "sandbox starts", journal.Fields{"sandbox": spec.Name, "image": string(spec.Image)})
	return made, err
}

// Images logs which images are loaded.
func Images(next sandbox.Images) sandbox.Images { return loads{next} }

type loads struct{ next sandbox.Images }

// Load loads an image.
func (l loads) Load(ctx context.Context, config sandbox.Config, layers ...sandbox.Layer) (sandbox.ID, error) {
	begun := time.Now()
	id, err := l.next.Load(ctx, config, layers...)
	tell(ctx, begun, err, "image is loaded", journal.Fields{"image": string(id), "layers": len(layers)})
	return id, err
}

// Swept logs that containers were removed that an ended process had left.
func Swept(ctx context.Context, containers int) {
	journal.Of(ctx).WithField("containers", containers).Info("containers of ended processes are removed")
}

// tell logs what the engine did, or could not; not what somebody did not want any more.
func tell(ctx context.Context, begun time.Time, err error, what string, fields journal.Fields) {
	entry := journal.Of(ctx).WithFields(fields).WithField("seconds", time.Since(begun).Seconds())
	switch {
	case err == nil:
		entry.Info(what)
	case ctx.Err() == nil:
		entry.WithError(err).Warn("not so: " + what)
	}
}

// requests logs requests that did not succeed: the server was not reached, it is busy, or it failed.
// Whoever sent them may ask again, or another mirror. That something is not there is an answer.
func requests(next http.RoundTripper) http.RoundTripper {
	return watched.Func(func(req *http.Request) (*http.Response, error) {
		begun := time.Now()
		resp, err := next.RoundTrip(req)
		if req.Context().Err() != nil {
			return resp, err
		}
		entry := journal.Of(req.Context()).WithFields(journal.Fields{"method": req.Method, "host": req.URL.Host, "path": req.URL.Path, "seconds": time.Since(begun).Seconds()})
		switch {
		case err != nil:
			entry.WithError(err).Warn("a server was not reached")
		case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError:
			entry.WithField("status", resp.StatusCode).Warn("a server did not do what was asked")
		}
		return resp, err
	})
}
