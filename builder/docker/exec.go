package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/pkg/stdcopy"

	"ampoule/builder/sandbox"
)

// launcher runs a step's command: a process started by the engine always inherits
// HOME, HOSTNAME, PATH and the image's variables, and env takes them away.
const launcher = "/usr/bin/env"

// Times between looks at a step that has closed its output, but has not ended.
const (
	firstPoll = 5 * time.Millisecond
	lastPoll  = 500 * time.Millisecond
)

// oomTimeout bounds the question whether the kernel killed for want of memory.
const oomTimeout = 10 * time.Second

// box is one container.
type box struct {
	engine      *Engine
	id          string
	name        string
	confinement confinement
	limits      sandbox.Limits
	// exceeded is why the sandbox was ended, if it used more than it may.
	exceeded atomic.Pointer[sandbox.ExceededError]
	// resetSignals says that processes inherit ignored signals from the engine, and
	// that env is to give them their default.
	resetSignals bool
	// oomKills is the number of processes that the kernel had killed for want of
	// memory when that was last read.
	oomKills atomic.Int64
	// peak is the most memory that it was seen to hold, in bytes.
	peak    atomic.Int64
	once    sync.Once
	removed chan struct{}
}

var _ sandbox.Sandbox = (*box)(nil)

// Exec implements [sandbox.Sandbox]. A step without PATH finds its command in
// /bin and /usr/bin. One that cannot be started has exit code 126 or 127, as in a
// shell. An error of a step's writer removes the sandbox, too.
func (b *box) Exec(ctx context.Context, step sandbox.Step) error {
	args, err := b.commandLine(step)
	if err != nil {
		return fmt.Errorf("running a step in %s: %w", b.name, err)
	}
	if step, err = revealing(step); err != nil {
		return fmt.Errorf("running a step in %s: %w", b.name, err)
	}
	code, err := b.exec(ctx, args, step)
	outOfMemory := false
	if err == nil && code == killedCode {
		err = b.outlived(ctx)
	}
	if err == nil && code != 0 {
		outOfMemory, err = b.outOfMemory(ctx)
	}
	if err != nil {
		return fmt.Errorf("running %s in %s: %w", step.Args[0], b.name, b.abandon(ctx, err))
	}
	if code != 0 {
		return &sandbox.ExitError{Args: step.Args, Code: code, OutOfMemory: outOfMemory}
	}
	return nil
}

// commandLine puts the launcher before a step's command.
func (b *box) commandLine(step sandbox.Step) ([]string, error) {
	if len(step.Args) == 0 || step.Args[0] == "" {
		return nil, errors.New("no command")
	}
	if strings.Contains(step.Args[0], "=") {
		return nil, fmt.Errorf("command %q has a = in its name", step.Args[0])
	}
	if step.Dir != "" && !path.IsAbs(step.Dir) {
		return nil, fmt.Errorf("working directory %q is not absolute", step.Dir)
	}
	var args []string
	if oneWriter(step) {
		// It comes first: what a shell adds to its environment, env takes away.
		args = append(args, oneStream...)
	}
	args = append(args, launcher, "-i")
	if b.resetSignals {
		args = append(args, "--default-signal")
	}
	args = append(args, "--")
	for _, variable := range step.Env {
		if strings.Index(variable, "=") < 1 {
			return nil, fmt.Errorf("environment variable %q is not KEY=value", variable)
		}
		args = append(args, variable)
	}
	if len(step.Secrets) > 0 {
		args = append(args, readSecrets...)
	}
	return append(args, step.Args...), nil
}

// oneStream has a step's standard error go where its standard output goes. Two
// streams come through the engine in any order.
var oneStream = []string{"/bin/sh", "-c", `exec "$@" 2>&1`, "sh"}

// oneWriter reports whether a step's output and errors go to the same place.
func oneWriter(step sandbox.Step) bool {
	// Comparing what cannot be compared panics; then they are two.
	defer func() { _ = recover() }()
	return step.Stdout != nil && step.Stdout == step.Stderr
}

// abandon removes the sandbox after an error that leaves a step running in it:
// a process that was started in a container does not end with its request
// (moby#44018). It returns the error, or why there is one.
func (b *box) abandon(ctx context.Context, err error) error {
	err = b.explain(ctx, err)
	return errors.Join(err, b.remove(ctx))
}

// exec runs a command line and returns its exit code.
func (b *box) exec(ctx context.Context, args []string, step sandbox.Step) (int, error) {
	dir := step.Dir
	if dir == "" {
		dir = "/"
	}
	created, err := b.engine.client.ContainerExecCreate(ctx, b.id, container.ExecOptions{
		User: b.confinement.userAndGroup(), Cmd: args, WorkingDir: dir, AttachStdin: step.Stdin != nil, AttachStdout: true, AttachStderr: true,
		Tty: step.Terminal != nil, DetachKeys: detachKeys,
	})
	if err != nil {
		return 0, fmt.Errorf("creating process: %w", engineFault(err))
	}
	stream, err := b.engine.client.ContainerExecAttach(ctx, created.ID, container.ExecAttachOptions{Tty: step.Terminal != nil})
	if err != nil {
		return 0, fmt.Errorf("starting process: %w", engineFault(err))
	}
	resized := b.resize(ctx, created.ID, step.Terminal)
	defer resized()
	if err := copyStreams(ctx, stream, step); err != nil {
		return 0, err
	}
	return b.exitCode(ctx, created.ID)
}

// copyStreams passes a step's streams on until its output ends or ctx is cancelled.
func copyStreams(ctx context.Context, stream types.HijackedResponse, step sandbox.Step) error {
	stop := context.AfterFunc(ctx, stream.Close)
	defer stop()
	ended := sendStdin(stream, step)
	err := copyOutput(stream, step)
	inputErr := ended()
	switch cause := context.Cause(ctx); {
	case cause != nil:
		return cause
	case inputErr != nil:
		return fmt.Errorf("reading input: %w", inputErr)
	case err != nil:
		return fmt.Errorf("reading output: %w", engineFault(err))
	}
	return nil
}

// copyOutput passes a step's output on until it ends. A terminal's is one stream.
func copyOutput(stream types.HijackedResponse, step sandbox.Step) (err error) {
	if step.Terminal != nil {
		_, err = io.Copy(orDiscard(step.Stdout), stream.Reader)
		return err
	}
	_, err = stdcopy.StdCopy(orDiscard(step.Stdout), orDiscard(step.Stderr), stream.Reader)
	return err
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// exitCode waits until a process has ended, which may be long after it closed its output.
func (b *box) exitCode(ctx context.Context, id string) (int, error) {
	for wait := firstPoll; ; wait = min(2*wait, lastPoll) {
		state, err := b.engine.client.ContainerExecInspect(ctx, id)
		if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
			return b.codeOfDead(ctx, err)
		}
		if err != nil {
			return 0, fmt.Errorf("asking for exit code: %w", engineFault(err))
		}
		if !state.Running {
			return state.ExitCode, nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// killedCode is the exit code of a process that got SIGKILL.
const killedCode = 128 + 9

// codeOfDead is the exit code of a step whose container has ended, which happens
// when the kernel kills the first process for want of memory.
func (b *box) codeOfDead(ctx context.Context, err error) (int, error) {
	state, inspectErr := b.engine.client.ContainerInspect(ctx, b.id)
	if inspectErr == nil && b.diedOfMemory(ctx, state) {
		return killedCode, nil
	}
	return 0, errors.Join(errEnded, err)
}

var errEnded = errors.New("the sandbox ended before the step")

// stopped reports whether a sandbox that has ended was stopped through the engine, or
// with it, rather than by a process in it.
func (b *box) stopped(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, eventsTime)
	defer cancel()
	// What has happened comes first, then what happens.
	seen, failed := b.engine.client.Events(ctx, events.ListOptions{Since: "0", Filters: filters.NewArgs(filters.Arg("container", b.id))})
	for {
		select {
		case event := <-seen:
			switch event.Action {
			case events.ActionKill, events.ActionDestroy:
				return true
			case events.ActionDie:
				return false
			}
		case <-failed:
			// It does not answer any more, or has forgotten since it restarted.
			return true
		}
	}
}

// diedOfMemory reports whether a sandbox has ended since the kernel killed its first process
// for want of memory. Engines say of one that goes on, or was stopped later, that it was
// killed so, too, once any process of it was.
func (b *box) diedOfMemory(ctx context.Context, c container.InspectResponse) bool {
	return c.State.OOMKilled && !c.State.Running && !b.stopped(ctx)
}

// eventsTime bounds how long an engine is asked for what happened.
const eventsTime = 2 * time.Second

// outOfMemory reports whether the kernel has killed a process of this sandbox for
// want of memory since this was last asked. It is an error when the sandbox has
// ended for another reason: then the step did not end by itself.
func (b *box) outOfMemory(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, oomTimeout, errors.New("the engine does not answer"))
	defer cancel()
	var out bytes.Buffer
	// One of the two files is missing: they are those of cgroups version 1 and 2.
	step := sandbox.Step{Stdout: &limited{w: &out, left: reportBytes}}
	args := []string{launcher, "cat", "/sys/fs/cgroup/memory/memory.oom_control", "/sys/fs/cgroup/memory.events"}
	code, execErr := b.exec(ctx, args, step)
	state, err := b.engine.client.ContainerInspect(ctx, b.id)
	switch {
	case errdefs.IsNotFound(err):
		return false, errors.Join(errEnded, err)
	case err != nil:
		return false, engineFault(err)
	case b.diedOfMemory(ctx, state):
		return true, nil
	case !state.State.Running:
		return false, errEnded
	case execErr != nil:
		return false, engineFault(execErr)
	}
	if code == killedCode {
		return true, nil // Not even cat found memory.
	}
	kills := parseOOMKills(out.String())
	return kills > 0 && kills > b.oomKills.Swap(kills), nil
}

// outlived returns an error wrapping errEnded if the whole sandbox ends, rather than
// the one step that was killed: the engine tells of the step first.
func (b *box) outlived(ctx context.Context) error {
	for range 10 {
		c, err := b.engine.client.ContainerInspect(ctx, b.id)
		switch {
		case errdefs.IsNotFound(err):
			return errors.Join(errEnded, err)
		case err != nil:
			return engineFault(err)
		case b.diedOfMemory(ctx, c):
			return nil
		case !c.State.Running || c.State.Dead || c.State.Status == container.StateRemoving:
			return errEnded
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

// parseOOMKills reads the line "oom_kill N".
func parseOOMKills(text string) int64 {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err == nil {
				return n
			}
		}
	}
	return 0
}

// Peak is the most memory that the sandbox held at one of the looks, which come each second: see
// [sandbox.Peak]. The kernel's own peak (memory.peak) has in it what was read of files.
func (b *box) Peak() int64 { return b.peak.Load() }

// Close implements [sandbox.Sandbox].
func (b *box) Close() error {
	if err := b.remove(context.Background()); err != nil {
		return fmt.Errorf("closing sandbox %s: %w", b.name, err)
	}
	return nil
}

func (b *box) isRemoved() bool {
	select {
	case <-b.removed:
		return true
	default:
		return false
	}
}

// remove removes the container, unless that was done.
func (b *box) remove(ctx context.Context) error {
	if b.isRemoved() {
		return nil
	}
	if err := b.engine.remove(ctx, b.id); err != nil {
		b.engine.left.Store(b, true)
		return err
	}
	b.engine.left.Delete(b)
	b.once.Do(func() { close(b.removed) })
	b.engine.usage.drop(b)
	return nil
}

// limited passes the first bytes on and drops the rest.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	if _, err := l.w.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}
