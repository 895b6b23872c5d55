// Package display shows what a build tells, while it runs, to whoever started it:
// live lines on a terminal, one line for each start and end elsewhere, or JSON for
// a program.
package display

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"ampoule/address"
	"ampoule/builder/progress"
	"ampoule/system"
)

// Mode is a form of display.
type Mode string

// The modes. Auto is TTY on a terminal that can move its cursor, Plain elsewhere.
const (
	Auto  Mode = "auto"
	TTY   Mode = "tty"
	Plain Mode = "plain"
	JSON  Mode = "json"
)

// Modes lists all modes, in the order that help shows them.
func Modes() []Mode { return []Mode{Auto, TTY, Plain, JSON} }

// ParseMode refuses what is not a mode.
func ParseMode(s string) (Mode, error) {
	names := make([]string, 0, len(Modes()))
	for _, m := range Modes() {
		if s == string(m) {
			return m, nil
		}
		names = append(names, string(m))
	}
	return "", fmt.Errorf("%q is not a form of progress: want one of %s", s, strings.Join(names, ", "))
}

// frame is how often a terminal's live lines are drawn anew.
const frame = 100 * time.Millisecond

// style turns events into text.
type style interface {
	// event takes an event in and returns the whole lines to write for it; empty for none.
	event(e progress.Event) string
	// live returns the lines that stand below all others until the next frame.
	live(at time.Time, width, height int) []string
}

// Display is a [progress.Observer] that writes. Observing never waits for the
// writer: one goroutine of the display's own writes, and Close waits for it. What a
// writer that stands still has not taken yet is kept in memory, whole.
type Display struct {
	w     io.Writer
	size  func() (width, height int)
	clock func() time.Time

	mu      sync.Mutex
	style   style
	pending bytes.Buffer
	closed  bool

	wake chan struct{}
	done chan struct{}
	// drawn holds the widths of the live lines that stand on the terminal. Only
	// the writing goroutine uses it.
	drawn []int
}

// New starts a display on w, which is a terminal only if it is an [*os.File] that is one.
func New(w io.Writer, mode Mode) *Display {
	f, isFile := w.(*os.File)
	obeys := isFile && system.Terminal(f)
	if mode == Auto {
		mode = Plain
		if obeys {
			mode = TTY
		}
	}
	size := func() (int, int) { return defaultWidth, defaultHeight }
	if isFile {
		size = func() (int, int) { return terminalSize(f) }
	}
	return start(w, styleOf(mode), size, time.Now)
}

// The size of a terminal that does not tell it.
const defaultWidth, defaultHeight = 80, 24

// Columns is how wide the lines of w may be: its terminal's width, or the usual one.
func Columns(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return defaultWidth
	}
	width, _ := terminalSize(f)
	return width
}

func terminalSize(f *os.File) (width, height int) {
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return defaultWidth, defaultHeight
	}
	return width, height
}

func styleOf(mode Mode) style {
	switch mode {
	case TTY:
		return &terminal{}
	case JSON:
		return &jsonLines{}
	default:
		return &plain{}
	}
}

func start(w io.Writer, s style, size func() (int, int), clock func() time.Time) *Display {
	d := &Display{
		w: w, style: s, size: size, clock: clock,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	go d.run()
	return d
}

// Observe implements [progress.Observer]. What comes after Close is left out, and so are
// user names and passwords in addresses.
func (d *Display) Observe(e progress.Event) {
	e.Task, e.Message = address.Redact(e.Task), address.Redact(e.Message)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	if text := d.style.event(e); text != "" {
		d.pending.WriteString(text)
		d.signal()
	}
}

// Close writes what is left, takes the live lines away, and waits for both.
func (d *Display) Close() {
	d.mu.Lock()
	if !d.closed {
		d.closed = true
		d.signal()
	}
	d.mu.Unlock()
	<-d.done
}

func (d *Display) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// run writes whole lines at once, and live lines with the next frame.
func (d *Display) run() {
	defer close(d.done)
	tick := time.NewTicker(frame)
	defer tick.Stop()
	for {
		if d.draw() {
			return
		}
		select {
		case <-d.wake:
		case <-tick.C:
		}
	}
}

// draw writes one frame and reports whether it was the last.
func (d *Display) draw() (last bool) {
	width, height := d.size()
	d.mu.Lock()
	text := d.pending.String()
	d.pending.Reset()
	last = d.closed
	var lines []string
	if !last {
		lines = d.style.live(d.clock(), width, height)
	}
	d.mu.Unlock()

	if text == "" && len(lines) == 0 && len(d.drawn) == 0 {
		return last
	}
	var out strings.Builder
	out.WriteString(erase(d.drawn, width))
	out.WriteString(text)
	d.drawn = d.drawn[:0]
	for _, line := range lines {
		out.WriteString(line + "\n")
		d.drawn = append(d.drawn, textWidth(line))
	}
	// A display that nobody reads any more must not end the build.
	_, _ = io.WriteString(d.w, out.String())
	return last
}

// erase takes the live lines away, which a terminal that became narrower since
// shows in several rows each.
func erase(drawn []int, width int) string {
	rows := 0
	for _, w := range drawn {
		rows += max(1, (w+width-1)/width)
	}
	if rows == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA\r\x1b[J", rows)
}
