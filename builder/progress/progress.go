// Package progress carries what a build tells while it runs: typed events, from
// whichever stage, to all who follow the build.
//
// Stages tell the context ([Start], [Send]). The context leads to the build's [Feed],
// which numbers the events and hands them to each observer by itself.
package progress

import (
	"context"
	"time"
)

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
	// Waiting says that a running task waits until another build has made what it needs, or
	// until it gets its share of the machine; the Holder says for whom. It comes again when the
	// holder changes.
	Waiting Kind = "waiting"
	// Resumed ends the waiting: what was waited for is there, or the task makes it itself.
	Resumed Kind = "resumed"
	// Told is a message of a task that a person should see.
	Told Kind = "told"
	// Warned is a message that a person should act on, some day.
	Warned Kind = "warned"
)

// Kinds lists all kinds.
func Kinds() []Kind {
	return []Kind{Started, Done, Failed, Advanced, Waiting, Resumed, Told, Warned}
}

// Unit says what Done and Total count.
type Unit string

// The units of progress.
const (
	Bytes Unit = "bytes"
	Items Unit = "items"
)

// Event is one thing that happened. Together Stage and Task name a running task.
type Event struct {
	// Time, Seq and Build are the [Feed]'s: whoever tells an event leaves them empty.
	// Time is in UTC.
	Time time.Time `json:"time"`
	// Seq counts the build's events from 1. An observer to which the numbers leave a gap
	// has missed as many events.
	Seq uint64 `json:"seq"`
	// Build is the ID of the build that the event belongs to.
	Build string `json:"build"`
	Kind  Kind   `json:"kind"`
	Stage Stage  `json:"stage"`
	// Task is what within the stage, for example a wheel's name; may be empty.
	Task string `json:"task,omitempty"`
	// Reused says of a Done task that its result was there already.
	Reused bool `json:"reused,omitempty"`
	// Cache is the cache in a registry that the result of a reused task was read from; empty
	// where it was here.
	Cache   string `json:"cache,omitempty"`
	Done    int64  `json:"done,omitempty"`
	Total   int64  `json:"total,omitempty"`
	Unit    Unit   `json:"unit,omitempty"`
	Message string `json:"message,omitempty"`
	// Log is the path of the task's whole log, where it has one.
	Log string `json:"log,omitempty"`
	// Holder is who is waited for, of a Waiting event alone.
	Holder *Holder `json:"holder,omitempty"`
}

// Resource is something of the machine that steps share.
type Resource string

// The resources.
const (
	Processors Resource = "processors"
	Memory     Resource = "memory"
)

// Holder is a build that makes something which others wait for, or has something that others wait
// for. What is not known of it is empty: an older Ampoule does not say who it is.
type Holder struct {
	// Build is its ID.
	Build string `json:"build,omitempty"`
	// Recipe is the name of the recipe that it builds or locks.
	Recipe string `json:"recipe,omitempty"`
	// Process and Host are where it runs. The number is the one that the process itself has:
	// in a container it is another one than outside.
	Process int    `json:"process,omitempty"`
	Host    string `json:"host,omitempty"`
	// Since is when it began to make what is waited for, or took it, in UTC.
	Since time.Time `json:"since,omitzero"`
	// Has is what it has of the machine; empty where it makes what is waited for.
	Has Resource `json:"has,omitempty"`
	// Step is the step of its build that has it; empty as Has is.
	Step string `json:"step,omitempty"`
}

type feedKey struct{}

type recipeKey struct{}

// With returns a context whose events go to the feed. Without a feed nobody is told.
func With(ctx context.Context, f *Feed) context.Context {
	return context.WithValue(ctx, feedKey{}, f)
}

// Of returns a context for work on the recipe of that name. Where the context has no feed yet
// it gets one, so that every build has an ID.
func Of(ctx context.Context, recipe string) context.Context {
	if feedOf(ctx) == nil {
		ctx = With(ctx, NewFeed())
	}
	return context.WithValue(ctx, recipeKey{}, recipe)
}

// Follow hands what the context's build tells from now on to an observer, as [Feed.Follow] does.
// Where the context has no feed, nobody tells anything.
func Follow(ctx context.Context, o Observer) (leave func()) {
	if f := feedOf(ctx); f != nil {
		return f.Follow(o)
	}
	return func() {}
}

func feedOf(ctx context.Context) *Feed {
	f, _ := ctx.Value(feedKey{}).(*Feed)
	return f
}

// Self says who works under the context, as far as the context knows: the build and the recipe.
func Self(ctx context.Context) Holder {
	var self Holder
	if f := feedOf(ctx); f != nil {
		self.Build = f.build
	}
	self.Recipe, _ = ctx.Value(recipeKey{}).(string)
	return self
}

type silentKey struct{}

// Silent returns a context of which nobody is told. It belongs to the same build.
func Silent(ctx context.Context) context.Context {
	return context.WithValue(ctx, silentKey{}, true)
}

// Send tells the followers of the context's feed, if there is one.
func Send(ctx context.Context, e Event) {
	if f := feedOf(ctx); f != nil && ctx.Value(silentKey{}) == nil {
		f.Tell(e)
	}
}

// Task is a running task that reports itself. It is for one goroutine until it has begun.
type Task struct {
	//nolint:containedctx // a task ends where it started
	ctx   context.Context
	event Event
	begun bool
}

// Start tells that a task starts.
func Start(ctx context.Context, stage Stage, task string) *Task {
	t := Later(ctx, stage, task)
	t.Begin()
	return t
}

// Later returns a task that starts with the first thing that it has to tell, or with
// [Task.Begin]. If it ends before that, nobody hears of it.
func Later(ctx context.Context, stage Stage, task string) *Task {
	return &Task{ctx: ctx, event: Event{Stage: stage, Task: task}}
}

// Begin tells that the task starts, once.
func (t *Task) Begin() {
	if !t.begun {
		t.begun = true
		t.send(Started, "")
	}
}

// Advance tells how far the task is.
func (t *Task) Advance(done, total int64, unit Unit) {
	t.Begin()
	e := t.event
	e.Kind, e.Done, e.Total, e.Unit = Advanced, done, total, unit
	Send(t.ctx, e)
}

type taskKey struct{}

// Within returns a context for the task's work: see [Current].
func (t *Task) Within(ctx context.Context) context.Context {
	return context.WithValue(ctx, taskKey{}, t)
}

// Current is the task that is worked on under a context. Where there is none, it is one of which
// nobody hears.
func Current(ctx context.Context) *Task {
	if t, ok := ctx.Value(taskKey{}).(*Task); ok {
		return t
	}
	return &Task{ctx: Silent(ctx), begun: true}
}

// Wait tells that the task waits for another build.
func (t *Task) Wait(h Holder) {
	t.Begin()
	e := t.event
	e.Kind, e.Holder = Waiting, &h
	Send(t.ctx, e)
}

// Resume tells that the task waits no longer.
func (t *Task) Resume() { t.tell(Resumed, "") }

// Tell passes a message on.
func (t *Task) Tell(message string) { t.tell(Told, message) }

// Warn passes a message on that a person should act on. The task may have ended, and begins by
// that no more than it did.
func (t *Task) Warn(message string) { t.send(Warned, message) }

// ReadFrom names the cache that the task's result was read from.
func (t *Task) ReadFrom(cache string) { t.event.Cache = cache }

// SetLog names the task's log in its later events.
func (t *Task) SetLog(path string) { t.event.Log = path }

// End tells that the task is over: failed when err is not nil.
func (t *Task) End(err error) {
	switch {
	case !t.begun:
	case err != nil:
		t.send(Failed, err.Error())
	default:
		t.send(Done, "")
	}
}

// Reuse tells that the task's result was there already.
func (t *Task) Reuse() {
	t.event.Reused = true
	if t.begun {
		t.send(Done, "")
	}
}

// Finish is [Task.Reuse] or [Task.End], whichever is true.
func (t *Task) Finish(reused bool, err error) {
	if err == nil && reused {
		t.Reuse()
		return
	}
	t.End(err)
}

func (t *Task) tell(kind Kind, message string) {
	t.Begin()
	t.send(kind, message)
}

func (t *Task) send(kind Kind, message string) {
	e := t.event
	e.Kind, e.Message = kind, message
	Send(t.ctx, e)
}
