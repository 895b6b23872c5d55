package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/docker/go-connections/nat"

	"ampoule/builder/sandbox"
)

// stopSeconds is how long a process that is asked to end has for it.
const stopSeconds = 5

// RunOptions says how an image is run.
type RunOptions struct {
	// Args take the place of the image's command; its entry point stays.
	Args []string
	// Entrypoint takes the place of the image's, and of its command; nil leaves both, and
	// one empty text takes both away.
	Entrypoint []string
	// Env is added to the image's environment, as KEY=value.
	Env []string
	// Ports are published, in the form of "docker run --publish"; Volumes are mounted, as
	// SOURCE:TARGET[:OPTIONS] with an absolute path or a volume's name as SOURCE.
	Ports, Volumes []string
	// Dir and User take the place of the image's; Network is the engine's name of one. Empty
	// is what the image says, and the engine's own network.
	Dir, User, Network string
	// Signals are passed to the process; may be nil.
	Signals <-chan os.Signal
	// TTY gives the process a terminal. Everything it writes goes to Stdout then.
	TTY bool
	// Sizes gives the terminal's size, first and whenever it changes; may be nil.
	Sizes <-chan sandbox.Size
	// Stdin may be nil: the process reads nothing then. It is not read any more
	// when the process has ended; a Read that has begun by then is left to itself.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Run runs an image as "docker run --rm" does, with a network and the user that the
// image names, and returns the exit code: 128+n after signal n. It is no sandbox.
// When ctx is cancelled, the process gets SIGTERM, five seconds later SIGKILL, and
// the error is ctx's cause. The container is removed in any case.
func (e *Engine) Run(ctx context.Context, id sandbox.ID, o RunOptions) (int, error) {
	code, err := e.runImage(ctx, id, o)
	if err != nil {
		return 0, fmt.Errorf("running image %s: %w", id, err)
	}
	return code, nil
}

func (e *Engine) runImage(ctx context.Context, id sandbox.ID, o RunOptions) (code int, err error) {
	c, h, err := e.runConfig(id, o)
	if err != nil {
		return 0, err
	}
	containerID, err := e.create(ctx, c, h, "run")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, e.remove(ctx, containerID)) }()
	stream, err := e.client.ContainerAttach(ctx, containerID, container.AttachOptions{
		Stream: true, Stdin: o.Stdin != nil, Stdout: true, Stderr: true,
	})
	if err != nil {
		return 0, fmt.Errorf("attaching: %w", err)
	}
	defer stream.Close()
	return e.attached(ctx, containerID, stream, o)
}

// runConfig says how the container of an image that is run looks.
func (e *Engine) runConfig(id sandbox.ID, o RunOptions) (c *container.Config, h *container.HostConfig, err error) {
	c = &container.Config{
		Image: string(id), Cmd: o.Args, Env: o.Env, Tty: o.TTY, Labels: e.labels("run"),
		AttachStdin: o.Stdin != nil, OpenStdin: o.Stdin != nil, StdinOnce: o.Stdin != nil,
		AttachStdout: true, AttachStderr: true,
	}
	c.Entrypoint, c.WorkingDir, c.User = o.Entrypoint, o.Dir, o.User
	init := true
	h = &container.HostConfig{
		Init: &init, LogConfig: container.LogConfig{Type: "none"}, Binds: o.Volumes, NetworkMode: container.NetworkMode(o.Network),
	}
	c.ExposedPorts, h.PortBindings, err = nat.ParsePortSpecs(o.Ports)
	return c, h, err
}

// attached starts a container that is attached to, and waits for it.
func (e *Engine) attached(ctx context.Context, id string, stream types.HijackedResponse, o RunOptions) (int, error) {
	// Cancelling asks the process to end; what it says meanwhile is still read.
	alive := context.WithoutCancel(ctx)
	ended, drain := e.exitOf(alive, id)
	defer drain()
	if err := e.client.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return 0, fmt.Errorf("starting container: %w", err)
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { stopped <- e.stop(alive, id) })
	finished := e.resize(alive, id, o.Sizes)
	defer finished()
	forwarded := e.forward(alive, id, o.Signals)
	defer forwarded()
	if o.Stdin != nil {
		go sendInput(stream, o.Stdin)
	}
	if err := receiveOutput(stream, o); err != nil {
		return 0, fmt.Errorf("reading output: %w", err)
	}
	result := <-ended
	if !stop() {
		return 0, errors.Join(context.Cause(ctx), <-stopped)
	}
	return result.code, result.err
}

// exit is how a container ended.
type exit struct {
	code int
	err  error
}

// exitOf waits for a container's next end, in a goroutine that the function that
// it returns ends.
func (e *Engine) exitOf(ctx context.Context, id string) (<-chan exit, func()) {
	ctx, cancel := context.WithCancel(ctx)
	answers, errs := e.client.ContainerWait(ctx, id, container.WaitConditionNextExit)
	ended := make(chan exit, 1)
	go func() {
		defer close(ended)
		select {
		case answer := <-answers:
			result := exit{code: int(answer.StatusCode)}
			if answer.Error != nil {
				result.err = errors.New(answer.Error.Message)
			}
			ended <- result
		case err := <-errs:
			ended <- exit{err: fmt.Errorf("waiting for the container: %w", err)}
		}
	}()
	return ended, func() {
		cancel()
		for range ended { // Until it is closed.
			continue
		}
	}
}

func (e *Engine) stop(ctx context.Context, id string) error {
	seconds := stopSeconds
	if err := e.client.ContainerStop(ctx, id, container.StopOptions{Timeout: &seconds}); err != nil {
		return fmt.Errorf("stopping container: %w", err)
	}
	return nil
}

// forward passes signals on until the function that it returns is called.
func (e *Engine) forward(ctx context.Context, id string, signals <-chan os.Signal) func() {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case s := <-signals:
				if number, ok := s.(syscall.Signal); ok {
					// The process may have ended.
					_ = e.client.ContainerKill(ctx, id, strconv.Itoa(int(number)))
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// resize passes the terminal's sizes on until the function that it returns is called.
func (e *Engine) resize(ctx context.Context, id string, sizes <-chan sandbox.Size) func() {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case size, ok := <-sizes:
				if !ok {
					return
				}
				// The size is for looks only, and the process may have ended.
				_ = e.client.ContainerResize(ctx, id, container.ResizeOptions{Height: size.Rows, Width: size.Columns})
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// sendInput passes input on. A process that does not read any more is no error of
// this side.
func sendInput(stream types.HijackedResponse, stdin io.Reader) {
	if _, err := io.Copy(stream.Conn, stdin); err == nil {
		_ = stream.CloseWrite()
	}
}

func receiveOutput(stream types.HijackedResponse, o RunOptions) error {
	stdout, stderr := orDiscard(o.Stdout), orDiscard(o.Stderr)
	if o.TTY {
		_, err := io.Copy(stdout, stream.Reader)
		return err
	}
	_, err := stdcopy.StdCopy(stdout, stderr, stream.Reader)
	return err
}
