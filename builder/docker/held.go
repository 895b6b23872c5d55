package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"ampoule/builder/sandbox"
)

// outputGrace is how long the output of a program that has ended is still read: what it left
// running may hold it open.
const outputGrace = time.Second

// Held runs programs of one image, one after another. They share a container as long as each
// leaves nothing running in it: files that one makes are there for the next one. What is left
// running ends with the container, and the next program gets a new one. It serves one
// goroutine.
type Held interface {
	// Ready makes sure that there is a container, so that the next program need not wait for
	// it.
	Ready(ctx context.Context) error
	// Run runs a program as [Engine.Run] does, and returns its exit code. Of the options it
	// takes Args, Signals, Stdout and Stderr; signals go to all processes in the
	// container.
	Run(ctx context.Context, o RunOptions) (int, error)
	// Close removes the container. It is safe to call again.
	Close() error
}

// heldRuns is a Held, whose container may not be there yet.
type heldRuns struct {
	engine *Engine
	image  sandbox.ID
	o      RunOptions
	keeper []string
	// container is empty where there is none; entrypoint is the image's.
	container  string
	entrypoint []string
}

// Hold gives what runs several programs of an image, with the environment, mounts, ports, directory,
// user and network of the options. Keeper is a command of the image: the first process of the
// container, which stays, reaps what it inherits, and passes signals that come from outside of
// the container on to all other processes. The caller closes what it gets.
func (e *Engine) Hold(id sandbox.ID, o RunOptions, keeper []string) Held {
	return &heldRuns{engine: e, image: id, o: o, keeper: keeper}
}

// Ready implements [Held].
func (h *heldRuns) Ready(ctx context.Context) error {
	if h.container != "" {
		return nil
	}
	if err := h.start(ctx); err != nil {
		return fmt.Errorf("running image %s: %w", h.image, errors.Join(err, h.drop(ctx)))
	}
	return nil
}

// start starts a container.
func (h *heldRuns) start(ctx context.Context) error {
	e := h.engine
	image, err := e.client.ImageInspect(ctx, string(h.image))
	if err != nil {
		return fmt.Errorf("inspecting image: %w", err)
	}
	if image.Config != nil {
		h.entrypoint = image.Config.Entrypoint
	}
	c, hc, err := e.runConfig(h.image, h.o)
	if err != nil {
		return err
	}
	c.Entrypoint, c.Cmd = h.keeper, nil
	// The keeper is process 1 itself: nothing in the container can end that.
	init := false
	hc.Init = &init
	if h.container, err = e.create(ctx, c, hc, "run"); err != nil {
		return err
	}
	if err := e.client.ContainerStart(ctx, h.container, container.StartOptions{}); err != nil {
		return fmt.Errorf("starting container: %w", err)
	}
	return nil
}

// Run implements [Held].
func (h *heldRuns) Run(ctx context.Context, o RunOptions) (int, error) {
	if err := h.Ready(ctx); err != nil {
		return 0, err
	}
	code, err := h.run(ctx, o)
	if err == nil && h.container != "" && h.isUsed(ctx) {
		err = h.drop(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("running image %s: %w", h.image, errors.Join(err, h.drop(ctx)))
	}
	return code, nil
}

// run starts a program, and waits for it.
func (h *heldRuns) run(ctx context.Context, o RunOptions) (int, error) {
	client := h.engine.client
	created, err := client.ContainerExecCreate(ctx, h.container, container.ExecOptions{
		Cmd: slices.Concat(h.entrypoint, o.Args), AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return 0, fmt.Errorf("creating process: %w", err)
	}
	stream, err := client.ContainerExecAttach(ctx, created.ID, container.ExecAttachOptions{})
	if err != nil {
		return 0, fmt.Errorf("starting process: %w", err)
	}
	output := make(chan error, 1)
	go func() { output <- receiveOutput(stream, RunOptions{Stdout: o.Stdout, Stderr: o.Stderr}) }()
	// Cancelling asks the program to end; what it says meanwhile is still read.
	alive := context.WithoutCancel(ctx)
	id, finished, stopped := h.container, make(chan struct{}), make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { stopped <- h.engine.end(alive, id, finished) })
	forwarded := h.engine.forward(alive, id, o.Signals)
	code, err := h.wait(alive, created.ID, output, stream.Close)
	forwarded()
	close(finished)
	if !stop() {
		return 0, errors.Join(context.Cause(ctx), <-stopped)
	}
	return code, err
}

// wait waits for a program and its output, which is read no longer than it runs. A program that
// the container has ended with got SIGKILL.
func (h *heldRuns) wait(ctx context.Context, exec string, output <-chan error, hangUp func()) (code int, err error) {
	defer hangUp()
	code, read, err := h.codeOf(ctx, exec, output)
	if read {
		return code, err
	}
	select {
	case failed := <-output:
		return code, errors.Join(err, outputError(failed))
	case <-time.After(outputGrace):
		hangUp()
		// Nobody writes to the caller's streams any more when this returns.
		<-output
		return code, err
	}
}

// codeOf waits for a program's exit code. Read says that its output had ended before.
func (h *heldRuns) codeOf(ctx context.Context, exec string, output <-chan error) (code int, read bool, err error) {
	for wait := firstPoll; ; wait = min(2*wait, lastPoll) {
		select {
		case failed := <-output:
			if failed != nil {
				return 0, true, outputError(failed)
			}
			// It is about to end.
			read, output, wait = true, nil, firstPoll
		case <-time.After(wait):
		}
		state, err := h.engine.client.ContainerExecInspect(ctx, exec)
		switch {
		case errdefs.IsNotFound(err) || errdefs.IsConflict(err):
			return killedCode, read, h.drop(ctx)
		case err != nil:
			return 0, read, fmt.Errorf("asking for exit code: %w", engineFault(err))
		case !state.Running:
			return state.ExitCode, read, nil
		}
	}
}

func outputError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("reading output: %w", err)
}

// isUsed reports whether something besides the keeper runs in the container, or might.
func (h *heldRuns) isUsed(ctx context.Context) bool {
	top, err := h.engine.client.ContainerTop(context.WithoutCancel(ctx), h.container, nil)
	return err != nil || len(top.Processes) != 1
}

// end ends a container whose programs are asked to end before, by SIGTERM. It waits a while until
// they are finished.
func (e *Engine) end(ctx context.Context, id string, finished <-chan struct{}) error {
	// The container may have ended.
	_ = e.client.ContainerKill(ctx, id, "SIGTERM")
	select {
	case <-finished:
	case <-time.After(stopSeconds * time.Second):
	}
	return e.remove(ctx, id)
}

// drop removes the container, if there is one.
func (h *heldRuns) drop(ctx context.Context) error {
	if h.container == "" {
		return nil
	}
	if err := h.engine.remove(ctx, h.container); err != nil {
		return err
	}
	h.container = ""
	return nil
}

// Close implements [Held].
func (h *heldRuns) Close() error {
	if err := h.drop(context.Background()); err != nil {
		return fmt.Errorf("running image %s: %w", h.image, err)
	}
	return nil
}
