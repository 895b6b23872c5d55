package display

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ampoule/builder/progress"
)

// slow is how long a part of a task takes when it deserves a line of its own.
const slow = 5 * time.Second

// tasks are the tasks that run, the oldest first.
type tasks struct{ running []*running }

// running is one of them.
type running struct {
	// event holds the last Done, Total and Unit.
	event progress.Event
	// holder is who the task waits for; nil while it does not wait.
	holder *progress.Holder
	begun  time.Time
	// part says that a task named by the stage alone runs around this one: what it
	// tells is one number of that one's.
	part bool
}

// follow takes an event in. It returns the task that the event is about, which is
// nil if it never started; one that ended is not among the running ones any more.
func (t *tasks) follow(e progress.Event) *running {
	r := t.find(e.Stage, e.Task)
	switch e.Kind {
	case progress.Told, progress.Warned:
	case progress.Started:
		if r == nil {
			r = &running{event: e, begun: e.Time, part: e.Task != "" && t.find(e.Stage, "") != nil}
			t.running = append(t.running, r)
		}
	case progress.Advanced:
		if r != nil {
			r.event.Done, r.event.Total, r.event.Unit = e.Done, e.Total, e.Unit
		}
	case progress.Waiting, progress.Resumed:
		if r != nil {
			r.holder = e.Holder
		}
	case progress.Done, progress.Failed:
		t.running = slices.DeleteFunc(t.running, func(other *running) bool { return other == r })
	}
	return r
}

func (t *tasks) find(stage progress.Stage, task string) *running {
	for _, r := range t.running {
		if r.event.Stage == stage && r.event.Task == task {
			return r
		}
	}
	return nil
}

// quiet reports whether the end of a task goes without saying: a part that did well,
// and soon.
func (r *running) quiet(e progress.Event) bool {
	return r != nil && r.part && e.Kind == progress.Done && e.Time.Sub(r.begun) < slow
}

// total is how much a task that ended has done; empty when it did not count.
func (r *running) total() string {
	if r == nil {
		return ""
	}
	switch n := max(r.event.Done, r.event.Total); {
	case n == 0:
		return ""
	case r.event.Unit == progress.Bytes:
		return Size(n)
	default:
		return strings.TrimSpace(fmt.Sprintf("%d %s", n, r.event.Unit))
	}
}
