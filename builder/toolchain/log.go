package toolchain

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"

	"ampoule/builder/buildlog"
	"ampoule/faults"
)

// StepError says that a program that installs packages ended with an error.
type StepError struct {
	// Step names the program.
	Step string
	// Last are the last lines that it wrote.
	Last []string
	Err  error
}

func (e *StepError) Error() string {
	if len(e.Last) == 0 {
		return fmt.Sprintf("running %s: %v", e.Step, e.Err)
	}
	return fmt.Sprintf("running %s: %v; its last lines:\n%s", e.Step, e.Err, strings.Join(e.Last, "\n"))
}

// Kind says whose fault it is.
func (*StepError) Kind() faults.Kind { return faults.Build }

// Unwrap gives the cause, and that the disk is full where the program said so.
func (e *StepError) Unwrap() []error {
	if e.full() {
		return []error{e.Err, syscall.ENOSPC}
	}
	return []error{e.Err}
}

// noMode is what mmdebstrap says where it may not change its root, by whatever means.
const noMode = "unable to pick chroot mode automatically"

// Hint says where to make room, or what mmdebstrap lacks.
func (e *StepError) Hint() string {
	switch {
	case e.full():
		return "make room in the store, where temporary files are (TMPDIR) and where Docker keeps its containers (docker system df)"
	case slices.ContainsFunc(e.Last, func(line string) bool { return strings.Contains(line, noMode) }):
		return "a user other than root needs newuidmap (package uidmap) and ranges of ids in /etc/subuid and /etc/subgid; a base by image digest needs no mmdebstrap"
	}
	return ""
}

func (e *StepError) full() bool { return buildlog.SaysFull(e.Last) }

// The bounds of what an error repeats of a log.
const (
	tailLines = 20
	tailBytes = 8 << 10
)

// tail passes a log on and keeps its end.
type tail struct {
	mu  sync.Mutex
	log io.Writer
	end []byte
}

func newTail(log io.Writer) *tail {
	if log == nil {
		log = io.Discard
	}
	return &tail{log: log}
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = append(t.end, p...)
	if over := len(t.end) - tailBytes; over > 0 {
		t.end = append(t.end[:0], t.end[over:]...)
	}
	return t.log.Write(p)
}

func (t *tail) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimRight(string(t.end), "\n")
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	return lines[max(0, len(lines)-tailLines):]
}
