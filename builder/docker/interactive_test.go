//go:build docker

package docker_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/sandboxtest"
)

// patience bounds what has to happen within seconds.
const patience = 20 * time.Second

// typist types at a step with a terminal, and reads what it shows.
type typist struct {
	t     *testing.T
	keys  *io.PipeWriter
	shown *io.PipeReader
	done  chan error
}

func typeAt(t *testing.T, b sandbox.Sandbox, args ...string) *typist {
	t.Helper()
	keys, stdin := io.Pipe()
	shown, stdout := io.Pipe()
	typed := &typist{t: t, keys: stdin, shown: shown, done: make(chan error, 1)}
	step := sandboxtest.Probe(args...)
	step.Stdin, step.Stdout, step.Terminal = keys, stdout, &sandbox.Terminal{}
	go func() {
		err := b.Exec(t.Context(), step)
		stdout.CloseWithError(err)
		typed.done <- err
	}()
	t.Cleanup(func() { stdin.Close() })
	return typed
}

// types types, and waits until a text is shown.
func (p *typist) types(keys, want string) {
	p.t.Helper()
	if _, err := io.WriteString(p.keys, keys); err != nil {
		p.t.Fatal(err)
	}
	found := make(chan string, 1)
	go func() {
		var got bytes.Buffer
		for b := make([]byte, 1); !strings.Contains(got.String(), want); got.Write(b) {
			if _, err := io.ReadFull(p.shown, b); err != nil {
				break
			}
		}
		found <- got.String()
	}()
	select {
	case got := <-found:
		if !strings.Contains(got, want) {
			p.t.Fatalf("after %q it shows %q and ends, want %q", keys, got, want)
		}
	case <-time.After(patience):
		p.t.Fatalf("after %q nothing shows %q", keys, want)
	}
}

// ends waits for the step's end and returns its exit code.
func (p *typist) ends() int {
	p.t.Helper()
	go func() { _, _ = io.Copy(io.Discard, p.shown) }()
	select {
	case err := <-p.done:
		var exit *sandbox.ExitError
		if err != nil && !errors.As(err, &exit) {
			p.t.Fatal(err)
		}
		if exit != nil {
			return exit.Code
		}
		return 0
	case <-time.After(patience):
		p.t.Fatal("the step does not end")
		return 0
	}
}

func TestTerminalKeys(t *testing.T) {
	t.Parallel()
	e := open(t)
	b := sandboxtest.Start(t, e, sandbox.Spec{Image: image(t, e), Name: t.Name()})

	interrupted := typeAt(t, b, "sleep")
	interrupted.types("", "ready")
	interrupted.types("\x03", "^C")
	if code := interrupted.ends(); code != 128+2 {
		t.Errorf("Ctrl-C: exit code %d", code)
	}

	ended := typeAt(t, b, "stdin")
	// The echo, and what the program writes.
	ended.types("one\r", "one\r\none\r\n")
	// What makes the engine leave a terminal alone, and its own keys for it, do not.
	for _, key := range []string{"\x00", "\x1f", "\x10", "\x11"} {
		ended.types(key, "")
		time.Sleep(20 * time.Millisecond)
	}
	ended.types("\x15two\r", "two\r\ntwo\r\n")
	ended.types("\x04", "")
	if code := ended.ends(); code != 0 {
		t.Errorf("Ctrl-D: exit code %d", code)
	}
}

// passing counts the goroutines that pass something on for a step.
func passing() int {
	all := make([]byte, 4<<20)
	all = all[:runtime.Stack(all, true)]
	return bytes.Count(all, []byte("docker.(*input).pass(")) + bytes.Count(all, []byte("docker.(*box).resize.func"))
}

// TestNothingGoesOnAfterStep is not parallel: it counts the whole program's goroutines.
func TestNothingGoesOnAfterStep(t *testing.T) {
	e := open(t)
	b := sandboxtest.Start(t, e, sandbox.Spec{Image: image(t, e), Name: t.Name()})
	step := sandboxtest.Probe("exit", "0")
	step.Terminal = &sandbox.Terminal{Sizes: make(chan sandbox.Size)}
	step.Stdin = strings.NewReader(strings.Repeat("x", 1<<20))
	if err := b.Exec(t.Context(), step); err != nil {
		t.Fatal(err)
	}
	if n := passing(); n != 0 {
		t.Errorf("%d goroutines go on", n)
	}
	silent, writer := io.Pipe()
	step.Stdin = silent
	if err := b.Exec(t.Context(), step); err != nil {
		t.Fatal(err)
	}
	if n := passing(); n != 1 {
		t.Errorf("%d goroutines go on, want the one that waits for input", n)
	}
	// It takes what comes, drops it, and ends.
	if _, err := io.WriteString(writer, "late"); err != nil {
		t.Error(err)
	}
	for end := time.Now().Add(patience); passing() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the goroutine does not end with its input")
		}
	}
}
