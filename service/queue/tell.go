package queue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"ampoule/builder/progress"
	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/logs"
)

const (
	// flushEvery is how often what was told is appended to the logs.
	flushEvery = 250 * time.Millisecond
	// advanceEvery is how often the state of one task is kept that only advances.
	advanceEvery = 2 * time.Second
	// tailRead bounds what is read of one step's log at a time, and how long a line is.
	tailRead = 256 << 10
)

// teller writes what a build tells into its logs, with what its steps print, and tells the
// queue how far the build is.
type teller struct {
	q     *Queue
	l     *Lease
	entry *logrus.Entry
	feed  *progress.Feed
	leave func()
	// working ends with the build.
	//nolint:containedctx // the observer of a feed has none
	working context.Context

	stop    chan struct{}
	flusher sync.WaitGroup

	mu       sync.Mutex
	buffers  map[logs.Stream]*bytes.Buffer
	written  map[logs.Stream]int
	tails    map[string]*tail
	advanced map[string]time.Time
	// failed is the first step that failed.
	failed *progress.Event
	state  builds.State
	// fenced says that the logs are another worker's: nothing is written any more.
	fenced bool
}

func newTeller(working context.Context, q *Queue, l *Lease, entry *logrus.Entry) *teller {
	t := &teller{
		q: q, l: l, entry: entry, feed: progress.NewFeed(), working: working, stop: make(chan struct{}),
		buffers: map[logs.Stream]*bytes.Buffer{logs.Output: {}, logs.Progress: {}}, written: map[logs.Stream]int{},
		tails: map[string]*tail{}, advanced: map[string]time.Time{}, state: l.Build.State,
	}
	t.leave = t.feed.Follow(t)
	if l.Build.Attempt > 1 {
		t.put(logs.Output, logs.Line("build", "begins again, on worker "+l.Build.Worker))
	}
	t.flusher.Go(t.flushing)
	return t
}

// context is for the build's work: its events go to the teller.
func (t *teller) context(ctx context.Context) context.Context { return progress.With(ctx, t.feed) }

// close returns when all is written that was told, or cannot be for too long.
func (t *teller) close() {
	t.leave()
	close(t.stop)
	t.flusher.Wait()
	for range endTries {
		if t.flush(true) {
			return
		}
		time.Sleep(endPause)
	}
}

func (t *teller) flushing() {
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			t.flush(false)
		case <-t.stop:
			return
		}
	}
}

// Observe implements [progress.Observer].
func (t *teller) Observe(e progress.Event) {
	t.keepEvent(e)
	if to := stateOf(e.Stage); t.state.Before(to) {
		t.state = to
		if err := t.l.Move(context.WithoutCancel(t.working), to); err != nil {
			t.entry.WithError(err).Warn("telling how far a build is")
		}
	}
}

// stateOf is the state of a build that works on a stage. What stage publish does before the
// gate has judged publishes nothing: [Lease.Claim] begins that state.
func stateOf(s progress.Stage) builds.State {
	switch s {
	case progress.StageLock, progress.StageToolchain, progress.StageInterpreter, progress.StageWheel, progress.StageSeal:
		return builds.Building
	case progress.StageGate:
		return builds.Gating
	default:
		return ""
	}
}

// stepOf names an event's step in the log.
func stepOf(e progress.Event) string {
	return strings.TrimSpace(strings.ReplaceAll(e.Stage.String()+" "+e.Task, "\n", " "))
}

func (t *teller) keepEvent(e progress.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	step := stepOf(e)
	if e.Log != "" && t.tails[e.Log] == nil {
		t.tails[e.Log] = &tail{path: e.Log, step: step}
	}
	over := e.Kind == progress.Done || e.Kind == progress.Failed
	if one := t.tails[e.Log]; over && one != nil {
		t.drain(one, true)
		delete(t.tails, e.Log)
	}
	if e.Kind == progress.Failed && t.failed == nil && e.Stage != progress.StageBuild {
		t.failed = &e
	}
	if e.Kind == progress.Advanced && e.Done != e.Total {
		if time.Since(t.advanced[step]) < advanceEvery {
			return
		}
		t.advanced[step] = time.Now()
	}
	// The build has the queue's name, and the path of a log is of this machine.
	e.Build, e.Log = t.l.Build.ID, ""
	if data, err := json.Marshal(e); err == nil {
		t.put(logs.Progress, string(data)+"\n")
	}
	for line := range strings.SplitSeq(textOf(e), "\n") {
		if line != "" {
			t.put(logs.Output, logs.Line(step, line))
		}
	}
}

// textOf is an event for people; nothing for what only advances.
func textOf(e progress.Event) string {
	switch e.Kind {
	case progress.Advanced:
		return ""
	case progress.Done:
		if e.Reused {
			return "done: it was there"
		}
		return "done"
	case progress.Failed:
		return "failed: " + e.Message
	case progress.Told:
		return e.Message
	case progress.Warned:
		return "warning: " + e.Message
	default:
		return string(e.Kind)
	}
}

// put adds to a stream, up to its bound.
func (t *teller) put(s logs.Stream, line string) {
	if t.fenced || t.written[s] > logs.MaxBytes {
		return
	}
	t.written[s] += len(line)
	if t.written[s] > logs.MaxBytes {
		if s == logs.Output {
			t.buffers[s].WriteString(logs.Line("build", "the log ends here: it has 64 MiB"))
		}
		return
	}
	t.buffers[s].WriteString(line)
}

// flush appends what was told since. Done is false if the database did not answer; what could
// not be appended is tried again with the next flush.
func (t *teller) flush(last bool) (done bool) {
	done = true
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fenced {
		return true
	}
	for _, one := range t.tails {
		t.drain(one, last)
	}
	for s, buffer := range t.buffers {
		if buffer.Len() == 0 {
			continue
		}
		if err := t.l.appendLog(context.WithoutCancel(t.working), s, buffer.Bytes()); err != nil {
			t.entry.WithError(err).Warn("writing a build's log")
			var fence *builds.FenceError
			t.fenced = errors.As(err, &fence)
			if t.fenced {
				return true
			}
			// A full disk is not waited for: how the build ended matters more.
			var away *database.UnavailableError
			done = done && !errors.As(err, &away)
			continue
		}
		buffer.Reset()
	}
	return done
}

// tail is the log of a step that is being written.
type tail struct {
	path, step string
	offset     int64
}

// drain takes the whole lines that a step has printed since; at the end, what follows them
// too.
func (t *teller) drain(one *tail, last bool) {
	for {
		data := readAt(one.path, one.offset)
		end := bytes.LastIndexByte(data, '\n') + 1
		if end == 0 && (last || len(data) == tailRead) {
			end = len(data)
		}
		if end == 0 {
			return
		}
		one.offset += int64(end)
		for line := range bytes.Lines(data[:end]) {
			t.put(logs.Output, logs.Line(one.step, strings.ToValidUTF8(string(bytes.TrimRight(line, "\r\n")), "\uFFFD")))
		}
	}
}

// readAt reads a file from an offset. One that cannot be read has nothing yet.
func readAt(path string, offset int64) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	data := make([]byte, tailRead)
	n, err := f.ReadAt(data, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	return data[:n]
}

// tellGivenBack tells whoever follows the build why it does not go on here.
func (t *teller) tellGivenBack(err error) {
	f := builds.FailureOf(t.l.Build.ID, err)
	message := "given back to the queue: " + f.Message
	for _, hint := range f.Hints {
		message += "\nhint: " + hint
	}
	t.feed.Tell(progress.Event{Kind: progress.Warned, Stage: progress.StageBuild, Task: t.l.Build.Recipe, Message: message})
}

// located is an error with the step that failed first.
func (t *teller) located(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed == nil {
		return err
	}
	return &stepError{err, t.failed.Stage.String(), t.failed.Task}
}

// stepError knows where an error happened: see [builds.FailureOf].
type stepError struct {
	error
	stage, task string
}

// Unwrap gives the error.
func (e *stepError) Unwrap() error { return e.error }

// Step names the step.
func (e *stepError) Step() (stage, task string) { return e.stage, e.task }
