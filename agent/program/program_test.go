package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ampoule/faults"
)

func sh(script string) Command {
	return Command{Args: []string{"sh", "-c", script}, Environ: os.Environ(), Timeout: time.Minute}
}

func TestRun(t *testing.T) {
	t.Parallel()
	missing := Command{Args: []string{"no-such-program"}}
	noisy := sh("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; exit 3")
	for name, c := range map[string]struct {
		command Command
		want    string
	}{
		"well":        {sh("echo x"), ""},
		"by its path": {Command{Args: []string{"anything", "-c", "test $0 = anything"}, Path: "/bin/sh"}, ""},
		"badly":       {sh("echo why >&2; exit 3"), "exit status 3; it said: why"},
		"missing":     {missing, `"no-such-program": executable file not found`},
		"much output": {noisy, "line 2999"},
		"nothing":     {Command{}, "running nothing"},
	} {
		err := Run(t.Context(), c.command)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && len(err.Error()) > maxOutput+maxProgram+100 {
			t.Errorf("%s: its message has %d bytes", name, len(err.Error()))
		}
	}
	if err := Run(t.Context(), sh("exit 1")); faults.Of(err) != faults.Machine {
		t.Errorf("kind %v", faults.Of(err))
	}
}

// A program that hangs is killed with what left its group and its parents.
func TestHanging(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"itself":        "echo $$ > %s; exec sleep 600",
		"a child":       "sh -c 'echo $$ > %s; exec sleep 600' & wait",
		"a new session": "setsid sh -c 'echo $$ > %s; exec sleep 600' & sleep 600",
		"an orphan":     "(setsid sh -c 'echo $$ > %s; exec sleep 600' &) ; sleep 600",
		"a deaf one":    "trap '' TERM INT HUP; echo $$ > %s; while :; do sleep 1; done",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "pid")
			c := sh(fmt.Sprintf(script, file))
			c.Timeout = time.Second
			begun := time.Now()
			err := Run(t.Context(), c)
			var failed *Error
			if !errors.As(err, &failed) || failed.After != time.Second || !strings.Contains(err.Error(), "did not end within 1s") {
				t.Errorf("%v", err)
			}
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
			gone(t, file)
		})
	}
}

// gone expects the process that a file names to end.
func gone(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(state), ") Z ") {
			return
		}
		if time.Now().After(until) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatalf("process %d is still there: %s", pid, state)
		}
	}
}

// What a program has started ends with it, unless it is left.
func TestLeave(t *testing.T) {
	t.Parallel()
	for _, leave := range []bool{false, true} {
		file := filepath.Join(t.TempDir(), "pid")
		c := sh(fmt.Sprintf("setsid sh -c 'echo $$ > %s; exec sleep 600' & while ! test -s %s; do sleep 0.01; done", file, file))
		c.Leave = leave
		if err := Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if !leave {
			gone(t, file)
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		if err := syscall.Kill(pid, 0); err != nil {
			t.Errorf("what was left is gone: %v", err)
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	why := errors.New("the end")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
	if err := Run(ctx, sh("sleep 600")); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
}

// What a program was to leave is left when the program itself has ended, and is killed with it when it
// has not.
func TestEnd(t *testing.T) {
	t.Parallel()
	for _, hangs := range []bool{false, true} {
		file := filepath.Join(t.TempDir(), "pid")
		script := fmt.Sprintf("setsid sh -c 'echo $$ > %s; exec sleep 600' & while ! test -s %s; do sleep 0.01; done", file, file)
		if hangs {
			script += "; exec sleep 600"
		}
		c := sh(script)
		traces, done := make(chan *Trace, 3), make(chan error, 1) // before it starts, when it has, at its end
		c.Leave, c.Note = true, func(t *Trace) { traces <- t }
		go func() { done <- Run(t.Context(), c) }()
		trace := <-traces
		if trace.PID != 0 {
			t.Errorf("%+v was noted before it started", trace)
		}
		trace = <-traces
		if !hangs {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		for _, err := os.Stat(file); err != nil; _, err = os.Stat(file) {
			time.Sleep(time.Millisecond)
		}
		if got := End(*trace); got != hangs {
			t.Errorf("hangs %v: something was killed: %v", hangs, got)
		}
		if hangs {
			<-done
		} else {
			killMarked(trace.Mark)
		}
		gone(t, file)
	}
}
