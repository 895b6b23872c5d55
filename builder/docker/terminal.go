package docker

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"

	"ampoule/builder/sandbox"
)

// detachKeys are what, typed one after the other, makes the engine leave a step with
// a terminal alone. There have to be some; the engine's own, Ctrl-P Ctrl-Q, are keys
// of every shell, and the first one reaches the step only with the next key. What
// Ctrl-@ does, setting a mark, shows nothing. The second one is never sent behind it.
const detachKeys = "ctrl-@,ctrl-_"

// Keys as a terminal sends them.
const (
	// endOfInput is Ctrl-D, which ends the input of whoever reads lines.
	endOfInput = 0x04
	// detachFirst and detachSecond are the detachKeys.
	detachFirst, detachSecond = 0x00, 0x1f
)

// resize passes a terminal's sizes on until the function that it returns is called.
func (b *box) resize(ctx context.Context, exec string, t *sandbox.Terminal) func() {
	if t == nil || t.Sizes == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case size, ok := <-t.Sizes:
				if !ok {
					return
				}
				// The size is for looks only, and the process may have ended.
				_ = b.engine.client.ContainerExecResize(ctx, exec, container.ResizeOptions{Height: size.Rows, Width: size.Columns})
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

// input passes a step's input on, in a goroutine of its own.
type input struct {
	source   io.Reader
	stream   types.HijackedResponse
	terminal bool
	// last is the byte that was sent last.
	last byte
	// done is closed when the goroutine ends.
	done chan struct{}

	mu sync.Mutex
	// reading says that the goroutine waits for the source, and ended that nothing
	// is wanted of it any more.
	reading, ended bool
	err            error
}

// sendStdin passes a step's input on. The function that it returns closes the
// stream, and waits until nothing is done with the input any more but a Read that
// the source has not answered; it returns the source's error.
func sendStdin(stream types.HijackedResponse, step sandbox.Step) func() error {
	if step.Stdin == nil {
		return func() error {
			stream.Close()
			return nil
		}
	}
	in := &input{source: step.Stdin, stream: stream, terminal: step.Terminal != nil, last: endOfInput, done: make(chan struct{})}
	go in.pass()
	return in.end
}

func (in *input) pass() {
	defer close(in.done)
	buf := make([]byte, 32<<10)
	for in.begin() {
		n, err := in.source.Read(buf)
		if !in.wanted() || !in.send(buf[:n], err) {
			return
		}
	}
}

// begin reports whether the source is to be read.
func (in *input) begin() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.reading = !in.ended
	return in.reading
}

// wanted reports whether what was read is still to be passed on.
func (in *input) wanted() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.reading = false
	return !in.ended
}

// send passes a piece on and reports whether there is more to come. A process that
// does not read any more is no error of this side.
func (in *input) send(p []byte, readErr error) bool {
	if in.terminal {
		p = in.attached(p)
	}
	if len(p) > 0 {
		if _, err := in.stream.Conn.Write(p); err != nil {
			return false
		}
	}
	switch {
	case readErr == nil:
		return true
	case !errors.Is(readErr, io.EOF):
		in.fail(readErr)
	case in.terminal:
		// Closing its input would make the engine close a terminal's output, too.
		_, _ = in.stream.Conn.Write([]byte{endOfInput})
	default:
		_ = in.stream.CloseWrite()
	}
	return false
}

// attached leaves out, in place, what would detach the engine from the step: then
// nobody could end it from its terminal any more.
func (in *input) attached(p []byte) []byte {
	kept := p[:0]
	for _, key := range p {
		if in.last == detachFirst && key == detachSecond {
			continue
		}
		in.last = key
		kept = append(kept, key)
	}
	return kept
}

// fail keeps the source's error, and ends the step's output.
func (in *input) fail(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.err = err
	in.stream.Close()
}

func (in *input) end() error {
	in.stream.Close()
	in.mu.Lock()
	in.ended = true
	reading := in.reading
	in.mu.Unlock()
	if !reading {
		<-in.done
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.err
}
