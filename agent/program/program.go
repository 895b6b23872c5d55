// Package program runs programs that may hang: within a time, and ended with all that they have
// started. It knows nothing of what they are for.
package program

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ampoule/faults"
	"ampoule/system"
)

// Command is a program that is run once.
type Command struct {
	// Args are its name and its arguments.
	Args []string
	// Path is the program's file; empty looks for Args[0] in this process's PATH.
	Path string
	// Dir is where it runs; empty is where this process does.
	Dir string
	// Environ is its environment, as os.Environ has it.
	Environ []string
	// Timeout is how long it may take; 0 is for ever.
	Timeout time.Duration
	// User is who runs it; nil is who runs this process.
	User *User
	// Leave lets what it has started go on when it has ended well: a service, for example.
	Leave bool
}

// User is a user of the machine, by number.
type User struct{ UID, GID uint32 }

// Error says how a program failed.
type Error struct {
	// Program is its name and its arguments, Output the end of what it wrote to both streams.
	Program, Output string
	// After is its time; 0 where it did not use it up.
	After time.Duration
	Err   error
}

func (e *Error) Error() string {
	what := fmt.Sprintf("running %s: %v", e.Program, e.Err)
	if e.After > 0 {
		what = fmt.Sprintf("running %s: it did not end within %s, and was killed with all that it had started", e.Program, e.After)
	}
	if e.Output == "" {
		return what
	}
	return what + "; it said: " + e.Output
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Kind says whose fault it is.
func (*Error) Kind() faults.Kind { return faults.Machine }

const (
	// maxOutput is how much of the end of its output is told, in bytes.
	maxOutput = 2 << 10
	// maxProgram bounds how much of its name and arguments is told, in bytes.
	maxProgram = 200
	// linger is how long its streams are read after its end: what it has started may have them.
	linger = 200 * time.Millisecond
	// variable marks the environment of all that it starts, however it starts that.
	variable = "AMPOULE_RUN"
)

// Run runs a program to its end. A failure is an [*Error]; that the context has ended is the
// context's cause. What it has started is killed when it fails, and also when it ends well,
// unless it is left.
func Run(ctx context.Context, c Command) error {
	if len(c.Args) == 0 {
		return errors.New("running nothing")
	}
	within, cancel := ctx, context.CancelFunc(func() {})
	if c.Timeout > 0 {
		within, cancel = context.WithTimeout(ctx, c.Timeout)
	}
	defer cancel()
	mark := variable + "=" + rand.Text()
	out := &tail{most: maxOutput}
	cmd := exec.CommandContext(within, c.Args[0], c.Args[1:]...)
	if c.Path != "" {
		cmd.Path, cmd.Err = c.Path, nil
	}
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = c.Dir, append(c.Environ[:len(c.Environ):len(c.Environ)], mark), out, out, linger
	system.Group(cmd, syscall.SIGKILL)
	if c.User != nil {
		system.RunAs(cmd, c.User.UID, c.User.GID)
	}
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success() {
		err = nil // it ended well, and what it has started holds its streams
	}
	if cmd.Process != nil && (err != nil || !c.Leave) {
		_ = system.KillGroup(cmd.Process.Pid) // nobody may be left in its group
		killMarked(mark)
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	failed := &Error{Program: shown(c.Args), Output: out.String(), Err: err}
	if within.Err() != nil {
		failed.After, failed.Err = c.Timeout, context.DeadlineExceeded
	}
	return failed
}

// shown is a command for people.
func shown(args []string) string {
	text := strings.Join(args, " ")
	if len(text) > maxProgram {
		text = strings.ToValidUTF8(text[:maxProgram], "") + "…"
	}
	return text
}

// killMarked kills every process whose environment has the mark: one that left its group and its
// parents has that still. New ones may appear meanwhile, so it looks again until there is none.
func killMarked(mark string) {
	const tries = 20
	for range tries {
		found := marked(mark)
		if len(found) == 0 {
			return
		}
		for _, pid := range found {
			_ = system.Kill(pid) // it may have ended by itself
		}
		time.Sleep(time.Millisecond)
	}
}

// marked lists the processes with a mark that have not ended.
func marked(mark string) []int {
	files, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is right
	var found []int
	for _, file := range files {
		environ, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(environ, []byte(mark)) {
			continue // it has ended, or is another user's
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			found = append(found, pid)
		}
	}
	return found
}

// tail keeps the end of what is written to it.
type tail struct {
	text []byte
	most int
}

// Write implements [io.Writer].
func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if over := len(t.text) - t.most; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

// String is the end in one line of valid UTF-8.
func (t *tail) String() string {
	return strings.Join(strings.Fields(strings.ToValidUTF8(string(t.text), "?")), " ")
}
