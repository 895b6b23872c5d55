package display

import (
	"fmt"
	"strings"
	"time"

	"ampoule/builder/progress"
)

// SGR sequences: colours that a terminal without them leaves out.
const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	faint  = "\x1b[2m"
	plainS = "\x1b[0m"
)

// maxLive is the largest number of live lines; fewer on a low terminal.
const maxLive = 12

// barWidth is a bar's width in columns, and minBarLine the narrowest line that has one.
const barWidth, minBarLine = 20, 60

// spinner has one sign for each frame of a task whose total is not known.
var spinner = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

// terminal keeps the running tasks below, and what ended above.
type terminal struct{ tasks tasks }

func (t *terminal) event(e progress.Event) string {
	r := t.tasks.follow(e)
	switch e.Kind {
	case progress.Started, progress.Advanced, progress.Waiting, progress.Resumed:
		// The live lines show it.
	case progress.Told:
		return "  " + message("note", e) + "\n"
	case progress.Warned:
		return yellow + "!" + plainS + " " + message("warning", e) + "\n"
	case progress.Done, progress.Failed:
		if !r.quiet(e) {
			return endLine(e, r)
		}
	}
	return ""
}

// endLine is what stays of a task.
func endLine(e progress.Event, r *running) string {
	details := ""
	if r != nil {
		details = Duration(e.Time.Sub(r.begun))
	}
	switch {
	case e.Kind == progress.Failed:
		return red + "✗" + plainS + " " + name(e) + "  " + faint + details + plainS + logOf(e) + "\n"
	case e.Reused:
		details = "ready" + from(e)
	case r.total() != "":
		details += ", " + r.total()
	}
	return green + "✓" + plainS + " " + name(e) + "  " + faint + details + plainS + "\n"
}

// live draws the running tasks, the oldest first, as many as the terminal is high enough for.
func (t *terminal) live(at time.Time, width, height int) []string {
	room := max(1, min(maxLive, height-2))
	shown, hidden := t.tasks.running, 0
	if len(shown) > room {
		// The line that tells of the others takes one's place.
		shown, hidden = shown[:room-1], len(shown)-room+1
	}
	lines := make([]string, 0, room)
	for _, r := range shown {
		lines = append(lines, r.line(at, width-1))
	}
	if hidden > 0 {
		lines = append(lines, faint+fit(fmt.Sprintf("  … and %d more", hidden), width-1)+plainS)
	}
	return lines
}

// line is a running task: a sign, its name, a bar or an amount, and the time on the right.
func (r *running) line(at time.Time, width int) string {
	elapsed := at.Sub(r.begun)
	sign := string(spinner[int(elapsed/frame)%len(spinner)])
	took := Duration(elapsed)
	middle := width - textWidth(sign) - 1 - textWidth(took) - 2
	if middle < 1 {
		return fit(sign+" "+name(r.event), width)
	}
	text := name(r.event)
	if r.holder != nil {
		text += "  waits for " + holder(r.holder, at)
	}
	switch how := amount(r.event.Done, r.event.Total, r.event.Unit); {
	case r.holder != nil:
	case r.event.Total > 0 && width >= minBarLine:
		tail := "  " + bar(r.event.Done, r.event.Total) + "  " + how
		text = fit(text, middle-textWidth(tail)) + tail
	case how != "":
		text += "  " + how
	}
	text = fit(text, middle)
	return sign + " " + text + strings.Repeat(" ", middle-textWidth(text)) + "  " + faint + took + plainS
}

// bar shows done of total.
func bar(done, total int64) string {
	share := min(max(float64(done)/float64(total), 0), 1)
	full := int(share * barWidth)
	return strings.Repeat("━", full) + strings.Repeat("─", barWidth-full)
}
