package drive

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"time"

	"ampoule/builder/progress"
)

// Limits on what is kept of a program's messages.
const (
	maxLine     = 1 << 20
	maxMessages = 64 << 10
)

// Event is one of a program's events with its time, as `--progress json` writes them.
type Event struct {
	Time time.Time `json:"time"`
	progress.Event
}

// listener takes a program's standard error apart: events, and messages.
type listener struct {
	show     io.Writer
	line     []byte
	events   []Event
	messages bytes.Buffer
}

// Write implements [io.Writer]. It never fails.
func (l *listener) Write(p []byte) (int, error) {
	for _, part := range bytes.SplitAfter(p, []byte("\n")) {
		if room := maxLine - len(l.line); len(part) <= room {
			l.line = append(l.line, part...)
		}
		if bytes.HasSuffix(part, []byte("\n")) {
			l.end()
		}
	}
	return len(p), nil
}

// end takes in the line that was read so far.
func (l *listener) end() {
	line := l.line
	l.line = l.line[:0]
	if len(line) == 0 {
		return
	}
	if text, ok := failureOf(line); ok {
		line = text
	}
	var e Event
	if line[0] == '{' && json.Unmarshal(line, &e) == nil && e.Kind != "" {
		if e.Kind == progress.Started || e.Kind == progress.Done || e.Kind == progress.Failed {
			l.events = append(l.events, e)
		}
		return
	}
	if l.messages.Len()+len(line) > maxMessages {
		l.messages.Next(l.messages.Len() + len(line) - maxMessages)
	}
	l.messages.Write(line)
	if l.show != nil {
		_, _ = l.show.Write(line)
	}
}

// failureSchema begins the schema of a failure that is told as data.
const failureSchema = "ampoule.failure/"

// failureOf spells a failure that is told as data as a program spells it for people.
func failureOf(line []byte) (text []byte, ok bool) {
	var f struct{ Schema, What, Hint string }
	if json.Unmarshal(line, &f) != nil || !strings.HasPrefix(f.Schema, failureSchema) {
		return nil, false
	}
	text = append(text, "error: "+f.What+"\n"...)
	if f.Hint != "" {
		text = append(text, "hint: "+f.Hint+"\n"...)
	}
	return text, true
}

// Took is the time in which at least one task of a stage was doing work that ended
// well: of those named, or of all if none is. It is 0 if there was none.
func (r *Run) Took(stage string, tasks ...string) time.Duration {
	type span struct{ from, to time.Time }
	began, spans := map[string]time.Time{}, []span{}
	for _, e := range r.Events {
		if e.Stage.String() != stage || len(tasks) > 0 && !slices.Contains(tasks, e.Task) {
			continue
		}
		switch start, started := began[e.Task]; {
		case e.Kind == progress.Started:
			began[e.Task] = e.Time
		case e.Kind == progress.Done && started && !e.Reused:
			spans = append(spans, span{start, e.Time})
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from.Compare(b.from) })
	var took time.Duration
	var until time.Time
	for _, s := range spans {
		if s.from.Before(until) {
			s.from = until
		}
		if s.to.After(s.from) {
			took, until = took+s.to.Sub(s.from), s.to
		}
	}
	return took
}

// Tasks lists the tasks of a stage that did work that ended well, in the order of their ends.
func (r *Run) Tasks(stage string) []string {
	var tasks []string
	for _, e := range r.Events {
		if e.Stage.String() == stage && e.Kind == progress.Done && !e.Reused && !slices.Contains(tasks, e.Task) {
			tasks = append(tasks, e.Task)
		}
	}
	return tasks
}

// Reused counts the tasks of a stage whose result was there already.
func (r *Run) Reused(stage string) int {
	n := 0
	for _, e := range r.Events {
		if e.Stage.String() == stage && e.Kind == progress.Done && e.Reused {
			n++
		}
	}
	return n
}
