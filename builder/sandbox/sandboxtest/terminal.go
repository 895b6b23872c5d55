package sandboxtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"ampoule/builder/sandbox"
)

// execute runs a step that has to end in time, and returns what it wrote to stdout.
func execute(t *testing.T, b sandbox.Sandbox, step sandbox.Step) (string, error) {
	t.Helper()
	var out bytes.Buffer
	step.Stdout = &out
	done := make(chan error, 1)
	go func() { done <- b.Exec(t.Context(), step) }()
	select {
	case err := <-done:
		return out.String(), err
	case <-time.After(patience):
		t.Fatalf("%q does not end", step.Args)
		return "", nil
	}
}

func (s *suite) testInput(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	for name, text := range map[string]string{
		"nothing":    "",
		"a line":     "a line\n",
		"bytes":      "\x00\x1f\x04\x03\xff no line end",
		"very much":  strings.Repeat("0123456789abcdef", bigFile/16),
		"as it came": strings.Repeat("\r\n", 1000),
	} {
		step := Probe("stdin")
		step.Stdin = iotest.DataErrReader(strings.NewReader(text))
		if got, err := execute(t, b, step); err != nil || got != text {
			t.Errorf("%s: %d bytes became %d, %v", name, len(text), len(got), err)
		}
	}
	if got, err := execute(t, b, Probe("stdin")); err != nil || got != "" {
		t.Errorf("no input: got %q, %v", got, err)
	}
}

// silent is input that says nothing as long as the test runs.
func silent(t *testing.T) io.Reader {
	t.Helper()
	reader, writer := io.Pipe()
	t.Cleanup(func() {
		if err := writer.Close(); err != nil {
			t.Error(err)
		}
	})
	return reader
}

func (s *suite) testInputNotRead(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	for name, stdin := range map[string]io.Reader{
		"silent": silent(t),
		"ended":  strings.NewReader(""),
		"much":   strings.NewReader(strings.Repeat("x", bigFile)),
	} {
		step := Probe("exit", "3")
		step.Stdin = stdin
		_, err := execute(t, b, step)
		var exit *sandbox.ExitError
		if !errors.As(err, &exit) || exit.Code != 3 {
			t.Errorf("%s: got %v, want exit code 3", name, err)
		}
	}
}

func (s *suite) testInputFails(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	broken := errors.New("the source broke")
	step := Probe("stdin")
	step.Stdin = io.MultiReader(strings.NewReader("half a te"), iotest.ErrReader(broken))
	if _, err := execute(t, b, step); !errors.Is(err, broken) {
		t.Errorf("got %v, want the reader's error", err)
	}
	if err := b.Exec(t.Context(), Probe("exit", "0")); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("afterwards: got %v, want ErrClosed", err)
	}
}

func (s *suite) testCancelInput(t *testing.T) {
	for name, terminal := range map[string]*sandbox.Terminal{"stream": nil, "terminal": {Sizes: make(chan sandbox.Size)}} {
		b := s.start(t, sandbox.Unprivileged)
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		begun, done := make(notifier, 1), make(chan error, 1)
		step := Probe("stdin")
		step.Stdin = io.MultiReader(strings.NewReader("a line\n"), silent(t))
		step.Stdout, step.Terminal = begun, terminal
		go func() { done <- b.Exec(ctx, step) }()
		select {
		case <-begun:
		case <-time.After(patience):
			t.Fatalf("%s: the step does not answer", name)
		}
		cause := errors.New("no longer wanted")
		cancel(cause)
		select {
		case err := <-done:
			if !errors.Is(err, cause) {
				t.Errorf("%s: got %v, want the cause", name, err)
			}
		case <-time.After(patience):
			t.Fatalf("%s: the step does not end", name)
		}
	}
}

func (s *suite) testTerminal(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	var errOut bytes.Buffer
	step := Probe("isatty")
	step.Stdin, step.Stderr = strings.NewReader(""), &errOut
	if got, err := execute(t, b, step); err != nil || got != "false false false\n" {
		t.Errorf("without a terminal: got %q, %v", got, err)
	}
	step.Terminal = &sandbox.Terminal{}
	// Keys reach the terminal whether they are read or not, and may be echoed.
	step.Stdin = nil
	if got, err := execute(t, b, step); err != nil || strings.TrimSpace(got) != "true true true" {
		t.Errorf("with a terminal: got %q, %v", got, err)
	}
	step.Args = Probe("echo", "to stdout", "to stderr").Args
	if got, err := execute(t, b, step); err != nil || !strings.Contains(got, "to stdout") || !strings.Contains(got, "to stderr") || errOut.Len() > 0 {
		t.Errorf("two streams became %q and %q, %v", got, errOut.String(), err)
	}
	step.Args = Probe("exit", "7").Args
	var exit *sandbox.ExitError
	if _, err := execute(t, b, step); !errors.As(err, &exit) || exit.Code != 7 {
		t.Errorf("got %v, want exit code 7", err)
	}
}

func (s *suite) testTerminalInput(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	step := Probe("stdin")
	step.Stdin, step.Terminal = strings.NewReader("a line\nanother\n"), &sandbox.Terminal{}
	got, err := execute(t, b, step)
	if err != nil || !strings.Contains(got, "a line") || !strings.HasSuffix(strings.ReplaceAll(got, "\r\n", "\n"), "another\n") {
		t.Errorf("got %q, %v", got, err)
	}
}

func (s *suite) testTerminalSize(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	reader, writer := io.Pipe()
	sizes, done := make(chan sandbox.Size), make(chan error, 1)
	step := Probe("terminal", "1")
	step.Stdout, step.Terminal = writer, &sandbox.Terminal{Sizes: sizes}
	go func() {
		err := b.Exec(t.Context(), step)
		writer.CloseWithError(err)
		done <- err
	}()
	for _, size := range []sandbox.Size{{Rows: 33, Columns: 101}, {Rows: 20, Columns: 60}} {
		select {
		case sizes <- size:
		case <-time.After(patience):
			t.Fatal("nobody takes the size")
		}
		if got := readLine(t, reader); got != sizeLine(size) {
			t.Errorf("got %q, want %q", got, sizeLine(size))
		}
	}
	// Sizes that come late keep nobody waiting.
	if _, err := io.Copy(io.Discard, reader); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func sizeLine(size sandbox.Size) string { return fmt.Sprint(size.Rows, size.Columns) }

// readLine reads a line byte by byte, so that nothing behind it is taken away.
func readLine(t *testing.T, r io.Reader) string {
	t.Helper()
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := io.ReadFull(r, b); err != nil {
			t.Fatal(err)
		}
		if b[0] == '\n' {
			return strings.TrimSuffix(string(line), "\r")
		}
		line = append(line, b[0])
	}
}
