package display

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"ampoule/builder/progress"
)

// plain writes a line for each start, end and message, headed by the seconds since
// the first one.
type plain struct {
	first time.Time
	begun map[string]time.Time
}

func (p *plain) live(time.Time, int, int) []string { return nil }

func (p *plain) event(e progress.Event, at time.Time) string {
	if p.begun == nil {
		p.first, p.begun = at, map[string]time.Time{}
	}
	var what string
	switch e.Kind {
	case progress.Started:
		p.begun[taskKey(e)] = at
		what = "start " + name(e)
	case progress.Done, progress.Failed:
		what = ended(e, p.begun[taskKey(e)], at)
		delete(p.begun, taskKey(e))
	case progress.Told:
		what = message("note", e)
	case progress.Warned:
		what = message("warning", e)
	default:
		return ""
	}
	return fmt.Sprintf("%7.1f  %s\n", at.Sub(p.first).Seconds(), what)
}

// taskKey names a running task.
func taskKey(e progress.Event) string { return e.Stage + "\x00" + e.Task }

// ended is the line about a task's end, which took the time since begun.
func ended(e progress.Event, begun, at time.Time) string {
	if e.Reused {
		return "ready " + name(e)
	}
	took := ""
	if !begun.IsZero() {
		took = " in " + Duration(at.Sub(begun))
	}
	if e.Kind == progress.Done {
		return "done  " + name(e) + took
	}
	return "fail  " + name(e) + took + logOf(e)
}

// message is a line about a message, whose own further lines stand below it.
func message(word string, e progress.Event) string {
	text := strings.ReplaceAll(strings.TrimRight(Clean(e.Message, true), "\n"), "\n", "\n         ")
	if task := name(e); task != "" {
		return word + ": " + task + ": " + text
	}
	return word + ": " + text
}

// logOf names a failed task's log.
func logOf(e progress.Event) string {
	if e.Log == "" {
		return ""
	}
	return ", log: " + Clean(e.Log, false)
}

// jsonLines writes each event as one JSON object in one line.
type jsonLines struct{}

// jsonEvent is an event with its time.
type jsonEvent struct {
	Time time.Time `json:"time"`
	progress.Event
}

func (*jsonLines) live(time.Time, int, int) []string { return nil }

func (*jsonLines) event(e progress.Event, at time.Time) string {
	line, err := json.Marshal(jsonEvent{at.UTC(), e})
	if err != nil {
		// An event holds strings, numbers and one boolean: there is nothing to fail on.
		panic("display: marshalling an event: " + err.Error())
	}
	return string(line) + "\n"
}
