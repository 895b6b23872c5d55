package ci

import (
	"crypto/rand"
	"fmt"
	"io"
	"sync"
	"time"
)

// Log is the log of a step. What is written to it is foreign text: it is shown, and nothing
// in it is a command to the system. The commands are those of its methods. A Log serves
// several goroutines.
type Log struct {
	system  System
	secrets []string
	now     func() time.Time

	mu    sync.Mutex
	w     io.Writer
	text  *filter
	token string
	parts int
	open  *Part
	err   error
}

// NewLog begins a log. Secrets are shown nowhere in it. Close ends it.
func NewLog(w io.Writer, system System, secrets []string, now func() time.Time) *Log {
	l := &Log{system: system, secrets: secrets, now: now, w: w}
	// One goes through the other, so that disarming does not take a secret apart.
	l.text = newFilter(newFilter(w, system.Disarm()), masking(secrets))
	l.stop()
	return l
}

// Write writes foreign text.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// Beside makes another stream, of which nobody reads commands, and hides the same secrets in
// it. Close writes what it held back, and leaves w open.
func (l *Log) Beside(w io.Writer) io.WriteCloser {
	return masked{newFilter(w, masking(l.secrets))}
}

// Begin begins a part of the log, which ends where the next one begins.
func (l *Log) Begin(title string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
	l.parts++
	l.open = &Part{ID: fmt.Sprintf("ampoule_%d", l.parts), Title: mask(title, l.secrets), Unix: l.now().Unix()}
	l.command(l.system.Begin(*l.open))
}

// End ends the part that is open, if there is one.
func (l *Log) End() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
}

func (l *Log) end() {
	if l.open == nil {
		return
	}
	p := *l.open
	p.Unix, l.open = l.now().Unix(), nil
	l.command(l.system.End(p))
}

// Annotate tells a message about a file.
func (l *Log) Annotate(a Annotation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.Message = mask(a.Message, l.secrets)
	l.command(l.system.Annotate(a))
}

// Close ends the log: later lines may be commands again. The stream stays open. The error is
// the first one that the stream gave to a command.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
	l.resume()
	return l.err
}

// command writes a line that the system may obey.
func (l *Log) command(line string) {
	if line == "" {
		return
	}
	l.resume()
	l.line(line)
	l.stop()
}

// stop makes all that follows foreign text. Each time has a token of its own, which text that
// comes later cannot know.
func (l *Log) stop() {
	l.token = "ampoule-" + rand.Text()
	l.line(l.system.Stop(l.token))
}

// resume ends foreign text, and the line that it left open.
func (l *Log) resume() {
	l.note(l.text.flush())
	inner := l.text.w.(*filter)
	l.note(inner.flush())
	if inner.inLine {
		l.line("\n")
		inner.inLine = false
	}
	l.text.inLine = false
	l.line(l.system.Resume(l.token))
}

// line writes a line as it is; an empty one is left out.
func (l *Log) line(line string) {
	if line == "" {
		return
	}
	if line[len(line)-1] != '\n' {
		line += "\n"
	}
	_, err := io.WriteString(l.w, line)
	l.note(err)
}

func (l *Log) note(err error) {
	if l.err == nil {
		l.err = err
	}
}
