package display

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"ampoule/builder/progress"
)

// plain writes a line for each start, end and message, headed by the seconds since
// the first one. Parts of tasks have a line if they fail or take long.
type plain struct {
	first time.Time
	tasks tasks
}

func (p *plain) live(time.Time, int, int) []string { return nil }

func (p *plain) event(e progress.Event) string {
	at := e.Time
	if p.first.IsZero() {
		p.first = at
	}
	r := p.tasks.follow(e)
	var what string
	switch {
	case e.Kind == progress.Started && !r.part:
		what = "start " + name(e)
	case (e.Kind == progress.Done || e.Kind == progress.Failed) && !r.quiet(e):
		what = ended(e, r)
	case e.Kind == progress.Waiting:
		what = "wait  " + name(e) + " for " + holder(e.Holder, at)
	case e.Kind == progress.Told:
		what = message("note", e)
	case e.Kind == progress.Warned:
		what = message("warning", e)
	default:
		return ""
	}
	return fmt.Sprintf("%7.1f  %s\n", at.Sub(p.first).Seconds(), what)
}

// ended is the line about a task's end.
func ended(e progress.Event, r *running) string {
	if e.Reused {
		return "ready " + name(e) + from(e)
	}
	word := "done "
	if e.Kind == progress.Failed {
		word = "fail "
	}
	line := word + " " + name(e)
	if r != nil {
		line += " in " + Duration(e.Time.Sub(r.begun))
	}
	if e.Kind == progress.Failed {
		return line + logOf(e)
	}
	if total := r.total(); total != "" {
		line += ", " + total
	}
	return line
}

// message is a line about a message, whose own further lines stand below it.
func message(word string, e progress.Event) string {
	text := strings.ReplaceAll(strings.TrimRight(Clean(e.Message, true), "\n"), "\n", "\n         ")
	if task := name(e); task != "" {
		return word + ": " + task + ": " + text
	}
	return word + ": " + text
}

// from names the cache that a result was read from.
func from(e progress.Event) string {
	if e.Cache == "" {
		return ""
	}
	return " from cache " + Clean(e.Cache, false)
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

func (*jsonLines) live(time.Time, int, int) []string { return nil }

func (*jsonLines) event(e progress.Event) string {
	line, err := json.Marshal(e)
	if err != nil {
		// An event holds strings, numbers, times of this age and stages that have names: there
		// is nothing to fail on.
		panic("display: marshalling an event: " + err.Error())
	}
	return string(line) + "\n"
}
