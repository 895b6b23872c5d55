// Package buildlog keeps what a build step prints: the whole of it in a file, the
// last lines of it at hand for the error.
package buildlog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"ampoule/faults"
)

// tailBytes bounds what is kept in memory for the error.
const tailBytes = 16 << 10

// tailLines is how many lines an error shows.
const tailLines = 25

// lineBytes bounds a line of an error.
const lineBytes = 1 << 10

// maxBytes bounds a log file: of what a step prints without end the beginning is kept,
// and the last [tailBytes].
const maxBytes = 64 << 20

// Log is a file that remembers its end. It is safe for concurrent use.
type Log struct {
	mu   sync.Mutex
	file *os.File
	tail []byte
	// left is how many bytes the file may still take, dropped how many it did not get
	// since; full says that the file tells so.
	left, dropped int
	full          bool
}

// Open makes NAME.log in the directory, which it makes if it is missing.
func Open(dir, name string) (*Log, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making log directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening log: %w", err)
	}
	return &Log{file: f, left: maxBytes}, nil
}

// Path returns where the log is.
func (l *Log) Path() string { return l.file.Name() }

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.write(p)
	l.tail = append(l.tail, p[max(0, len(p)-tailBytes):]...)
	if len(l.tail) > tailBytes {
		l.tail = slices.Clone(l.tail[len(l.tail)-tailBytes:])
	}
	return n, err
}

// write writes to the file as long as there is room.
func (l *Log) write(p []byte) (int, error) {
	n, err := l.file.Write(p[:min(len(p), l.left)])
	l.left -= n
	if err != nil || n == len(p) {
		return n, err
	}
	if !l.full {
		l.full = true
		_, err = fmt.Fprintf(l.file, "\n… of what followed only the end is kept: a log has at most %d MiB\n", maxBytes>>20)
	}
	l.dropped += len(p) - n
	return len(p), err
}

// writeEnd writes the end of what had no room.
func (l *Log) writeEnd() error {
	_, err := l.file.Write(l.tail[max(0, len(l.tail)-l.dropped):])
	l.dropped = 0
	return err
}

// Printf writes a line of our own.
func (l *Log) Printf(format string, args ...any) {
	fmt.Fprintf(l, format+"\n", args...)
}

// Close closes the file, after the end of what had no room in it.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.writeEnd(), l.file.Close())
}

// Tail returns the last lines written, of long ones both ends.
func (l *Log) Tail() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := string(bytes.TrimRight(l.tail, "\n"))
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	for i, line := range lines {
		if len(line) > lineBytes {
			lines[i] = strings.ToValidUTF8(line[:lineBytes/2], "") + " … " + strings.ToValidUTF8(line[len(line)-lineBytes/2:], "")
		}
	}
	return lines
}

// StepError says that a build step failed, with the end of its own log.
type StepError struct {
	// What failed: "interpreter", "wheel psycopg2 2.9.10".
	What string
	// Log is the path of the whole log.
	Log string
	// Last are the log's last lines.
	Last []string
	// Advice says what to do, where it is known.
	Advice string
	Err    error
}

func (e *StepError) Error() string {
	return fmt.Sprintf("building %s: %v%s", e.What, e.Err, indent(e.Last))
}

// Kind says whose fault it is.
func (*StepError) Kind() faults.Kind { return faults.Build }

// Unwrap gives the cause, and that the disk is full where the step said so.
func (e *StepError) Unwrap() []error {
	if SaysFull(e.Last) {
		return []error{e.Err, syscall.ENOSPC}
	}
	return []error{e.Err}
}

// SaysFull reports whether the lines of a log say that a disk is full.
func SaysFull(lines []string) bool {
	return slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, "No space left on device") })
}

// LogFile is the path of the whole log, on the machine that built.
func (e *StepError) LogFile() string { return e.Log }

// Hint says where the whole log is.
func (e *StepError) Hint() string {
	where := "the whole log is " + e.Log
	if e.Advice != "" {
		return e.Advice + "; " + where
	}
	return where
}

// Fail makes a StepError of an error, with this log's end, which the file has from then
// on; nil stays nil, and a StepError stays as it is.
func (l *Log) Fail(what string, err error) error {
	var step *StepError
	if err == nil || errors.As(err, &step) {
		return err
	}
	step = &StepError{What: what, Log: l.Path(), Last: l.Tail(), Err: err}
	l.mu.Lock()
	defer l.mu.Unlock()
	if endErr := l.writeEnd(); endErr != nil {
		step.Err = errors.Join(err, endErr)
	}
	return step
}

func indent(lines []string) string {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString("\n    " + line)
	}
	return b.String()
}
