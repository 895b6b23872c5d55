// Package drive runs programs as a person would, and tells what a run took: its
// time, its memory, and the events that the program tells of itself.
package drive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"ampoule/builder/progress"
)

// Program is a program with what every call of it has.
type Program struct {
	// Path is the executable, as [exec.Command] finds it.
	Path string
	// Args stand before a call's own.
	Args []string
	// Env is added to this process's environment, as KEY=VALUE.
	Env []string
	// Dir is where it runs; empty is where this process does.
	Dir string
	// Show gets the program's messages as they come; nil for nobody.
	Show io.Writer
	// Out gets the standard output as it comes, beside [Run.Out]; nil for nobody.
	Out io.Writer
	// Group kills all of its process group when the context of a call ends, where it would be told by SIGTERM alone.
	Group bool
	// KillAfter is when it is killed by SIGKILL, without what it started; 0 is never.
	KillAfter time.Duration
}

// In is the program run in a directory.
func (p Program) In(dir string) Program {
	p.Dir = dir
	return p
}

// With is the program with further arguments before a call's own.
func (p Program) With(args ...string) Program {
	p.Args = append(append([]string{}, p.Args...), args...)
	return p
}

// Run is one call that ended.
type Run struct {
	// Out is the standard output without the space around it.
	Out string
	// Messages is the end of the standard error without the events, at most [maxMessages] bytes.
	Messages string
	// Events are the starts and ends of tasks, in the order that they were told.
	Events []Event
	Wall   time.Duration
	// CPU is what the process took of processors, and children of it that it waited for.
	CPU time.Duration
	// PeakBytes is the largest resident set of the process, or of a child of it
	// that it waited for. The kernel counts this process's own at the start too
	// (getrusage(2), ru_maxrss), so it is never less than that.
	PeakBytes int64
}

// stopTime is how long an interrupted program may take to clean up.
const stopTime = time.Minute

// Run calls the program and waits for its end. What it told is given whatever the
// end was. A program that ended with another code than 0 gives a [*FailureError]; one
// that the context ended, an error that wraps the context's cause.
func (p Program) Run(ctx context.Context, args ...string) (*Run, error) {
	cmd := exec.CommandContext(ctx, p.Path, append(append([]string{}, p.Args...), args...)...)
	cmd.Dir, cmd.Env = p.Dir, append(os.Environ(), p.Env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTime
	if p.Group {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	}
	var out bytes.Buffer
	told := &listener{show: p.Show}
	cmd.Stdout, cmd.Stderr = &out, told
	if p.Out != nil {
		cmd.Stdout = io.MultiWriter(&out, p.Out)
	}
	began := time.Now()
	err := cmd.Start()
	if err == nil {
		if p.KillAfter > 0 {
			defer time.AfterFunc(p.KillAfter, func() { _ = cmd.Process.Kill() }).Stop()
		}
		err = cmd.Wait()
	}
	run := &Run{Out: strings.TrimSpace(out.String()), Wall: time.Since(began)}
	told.end()
	run.Messages, run.Events = told.messages.String(), told.events
	if cmd.ProcessState != nil {
		run.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			run.PeakBytes = usage.Maxrss << 10
		}
	}
	return run, p.failure(ctx, run, err)
}

// failure says how a run ended.
func (p Program) failure(ctx context.Context, run *Run, err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("running %s: %w", p.Path, context.Cause(ctx))
	case errors.As(err, &exit):
		return &FailureError{Program: p.Path, Code: exit.ExitCode(), Stage: run.failedStage(), Message: run.Complaint()}
	default:
		return fmt.Errorf("running %s: %w", p.Path, err)
	}
}

// FailureError says that a program ended with another code than 0.
type FailureError struct {
	Program string
	// Code is the exit code; -1 when a signal ended it.
	Code int
	// Stage is that of the first task that failed; empty if none did.
	Stage string
	// Message is the first line of what it said was wrong.
	Message string
}

func (e *FailureError) Error() string {
	return fmt.Sprintf("%s ended with code %d: %s", e.Program, e.Code, e.Message)
}

// Complaint is the first line of what the program said was wrong: the first that begins
// with "error: " (in any case), without it, else the last of all.
func (r *Run) Complaint() string {
	last := ""
	for line := range strings.Lines(r.Messages) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		const word = "error: "
		if len(line) > len(word) && strings.EqualFold(line[:len(word)], word) {
			return line[len(word):]
		}
		last = line
	}
	return last
}

func (r *Run) failedStage() string {
	for _, e := range r.Events {
		if e.Kind == progress.Failed {
			return e.Stage.String()
		}
	}
	return ""
}
