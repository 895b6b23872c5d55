// Package progresstest keeps a build's events for tests.
package progresstest

import (
	"context"
	"sync"
	"time"

	"ampoule/builder/progress"
)

// Recorder keeps events. It is made by [New].
type Recorder struct {
	Feed *progress.Feed

	mu    sync.Mutex
	leave func()
	list  []progress.Event
	// came is closed, and made anew, with each event.
	came chan struct{}
}

// New starts a recorder with a feed of its own.
func New() *Recorder {
	r := &Recorder{Feed: progress.NewFeed(), came: make(chan struct{})}
	r.leave = r.Feed.Follow(r)
	return r
}

// Context returns a context whose events are kept.
func (r *Recorder) Context(ctx context.Context) context.Context { return progress.With(ctx, r.Feed) }

// Observe implements [progress.Observer].
func (r *Recorder) Observe(e progress.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, e)
	close(r.came)
	r.came = make(chan struct{})
}

// Stamped returns the events since the last call. Nothing may be told meanwhile.
func (r *Recorder) Stamped() []progress.Event {
	r.leave()
	r.leave = r.Feed.Follow(r)
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.list
	r.list = nil
	return list
}

// Events is [Recorder.Stamped] without times, numbers and the build: as they were told.
func (r *Recorder) Events() []progress.Event {
	list := r.Stamped()
	for i := range list {
		list[i].Time, list[i].Seq, list[i].Build = time.Time{}, 0, ""
	}
	return list
}

// Await returns the first event of a kind, as soon as there is one. It gives false when the
// context ends before that.
func (r *Recorder) Await(ctx context.Context, kind progress.Kind) (progress.Event, bool) {
	for {
		r.mu.Lock()
		came := r.came
		for _, e := range r.list {
			if e.Kind == kind {
				r.mu.Unlock()
				return e, true
			}
		}
		r.mu.Unlock()
		select {
		case <-came:
		case <-ctx.Done():
			return progress.Event{}, false
		}
	}
}
