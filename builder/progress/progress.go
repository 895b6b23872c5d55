// Package progress carries what a build tells while it runs: typed events, from
// whichever stage, to whoever shows or records them.
package progress

import "context"

// Kind says what an event tells.
type Kind string

// The kinds of events.
const (
	// Started and Done bracket one task; Failed ends it too.
	Started Kind = "started"
	Done    Kind = "done"
	Failed  Kind = "failed"
	// Advanced moves a running task's Done and Total.
	Advanced Kind = "advanced"
	// Told is a message of a task that a person should see.
	Told Kind = "told"
	// Warned is a message that a person should act on, some day.
	Warned Kind = "warned"
)

// Unit says what Done and Total count.
type Unit string

// The units of progress.
const (
	Bytes Unit = "bytes"
	Items Unit = "items"
)

// Event is one thing that happened. Together Stage and Task name a running task.
type Event struct {
	Kind Kind `json:"kind"`
	// Stage is the part of the way: "lock", "fetch", "toolchain", "interpreter", "wheel", "seal", "gate", "publish", "shell".
	Stage string `json:"stage"`
	// Task is what within the stage, for example a wheel's name; may be empty.
	Task string `json:"task,omitempty"`
	// Reused says of a Done task that its result was there already.
	Reused  bool   `json:"reused,omitempty"`
	Done    int64  `json:"done,omitempty"`
	Total   int64  `json:"total,omitempty"`
	Unit    Unit   `json:"unit,omitempty"`
	Message string `json:"message,omitempty"`
	// Log is the path of the task's whole log, where it has one.
	Log string `json:"log,omitempty"`
}

// Observer is told of every event, from several goroutines at once. It must not block.
type Observer interface {
	Observe(Event)
}

type observerKey struct{}

// With returns a context whose events go to the observer.
func With(ctx context.Context, o Observer) context.Context {
	return context.WithValue(ctx, observerKey{}, o)
}

// Send tells the context's observer, if there is one.
func Send(ctx context.Context, e Event) {
	if o, ok := ctx.Value(observerKey{}).(Observer); ok {
		o.Observe(e)
	}
}

// Task is a running task that reports itself.
type Task struct {
	//nolint:containedctx // a task ends where it started
	ctx   context.Context
	event Event
}

// Start tells that a task starts.
func Start(ctx context.Context, stage, task string) *Task {
	t := &Task{ctx: ctx, event: Event{Stage: stage, Task: task}}
	t.send(Started, "")
	return t
}

// Advance tells how far the task is.
func (t *Task) Advance(done, total int64, unit Unit) {
	e := t.event
	e.Kind, e.Done, e.Total, e.Unit = Advanced, done, total, unit
	Send(t.ctx, e)
}

// Tell passes a message on.
func (t *Task) Tell(message string) { t.send(Told, message) }

// SetLog names the task's log in its later events.
func (t *Task) SetLog(path string) { t.event.Log = path }

// End tells that the task is over: failed when err is not nil.
func (t *Task) End(err error) {
	if err != nil {
		t.send(Failed, err.Error())
		return
	}
	t.send(Done, "")
}

// Reuse tells that the task's result was there already.
func (t *Task) Reuse() {
	t.event.Reused = true
	t.send(Done, "")
}

func (t *Task) send(kind Kind, message string) {
	e := t.event
	e.Kind, e.Message = kind, message
	Send(t.ctx, e)
}
