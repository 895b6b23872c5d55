//go:build docker

package docker_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ampoule/builder/docker"
	"ampoule/builder/sandbox"
)

func TestRun(t *testing.T) {
	t.Parallel()
	e := open(t)
	id := image(t, e)
	sizes := make(chan sandbox.Size, 1)
	sizes <- sandbox.Size{Rows: 33, Columns: 101}
	for name, test := range map[string]struct {
		options        docker.RunOptions
		code           int
		stdout, stderr string
	}{
		"output":      {docker.RunOptions{Args: []string{"echo", "out", "err"}}, 0, "out", "err"},
		"exit code":   {docker.RunOptions{Args: []string{"exit", "42"}}, 42, "", ""},
		"input":       {docker.RunOptions{Args: []string{"stdin"}, Stdin: strings.NewReader("a line\n")}, 0, "a line\n", ""},
		"no input":    {docker.RunOptions{Args: []string{"stdin"}}, 0, "", ""},
		"directory":   {docker.RunOptions{Args: []string{"pwd"}}, 0, "/srv\n", ""},
		"elsewhere":   {docker.RunOptions{Args: []string{"pwd"}, Dir: "/bin"}, 0, "/bin\n", ""},
		"entry point": {docker.RunOptions{Entrypoint: []string{"/bin/probe", "exit"}, Args: []string{"3"}}, 3, "", ""},
		"terminal":    {docker.RunOptions{Args: []string{"terminal"}, TTY: true, Sizes: sizes}, 0, "33 101\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, errOut bytes.Buffer
			test.options.Stdout, test.options.Stderr = &out, &errOut
			code, err := e.Run(t.Context(), id, test.options)
			if err != nil || code != test.code || out.String() != test.stdout || errOut.String() != test.stderr {
				t.Errorf("got %d, %v, %q, %q", code, err, out.String(), errOut.String())
			}
		})
	}
}

func TestRunEnvironment(t *testing.T) {
	t.Parallel()
	e := open(t)
	var out bytes.Buffer
	_, err := e.Run(t.Context(), image(t, e), docker.RunOptions{Args: []string{"environ"}, Env: []string{"MINE=1"}, Stdout: &out})
	if err != nil || !strings.Contains(out.String(), "MINE=1\n") || !strings.Contains(out.String(), "FROM_IMAGE=1\n") {
		t.Errorf("got %v, %q", err, out.String())
	}
}

// TestRunMountsAndPublishes reads a file of this machine, and reaches a port.
func TestRunMountsAndPublishes(t *testing.T) {
	t.Parallel()
	e := open(t)
	id := image(t, e)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "given"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	code, err := e.Run(t.Context(), id, docker.RunOptions{
		Args: []string{"cat", "given"}, Dir: "/given", User: "0:0", Network: "none", Volumes: []string{dir + ":/given:ro"}, Stdout: &out,
	})
	if err != nil || code != 0 || out.String() != "x" {
		t.Errorf("got %d, %v, %q", code, err, &out)
	}
	if _, err := e.Run(t.Context(), id, docker.RunOptions{Args: []string{"pwd"}, Ports: []string{"no port"}}); err == nil {
		t.Error("a port that is none is published")
	}
	// What listens on the port already keeps the engine from publishing it.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if _, err := e.Run(t.Context(), id, docker.RunOptions{Args: []string{"pwd"}, Ports: []string{listener.Addr().String() + ":80"}}); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a port that is taken: %v", err)
	}
}

func TestRunPassesSignals(t *testing.T) {
	t.Parallel()
	e := open(t)
	out := &lines{first: make(chan struct{})}
	signals := make(chan os.Signal, 1)
	go func() {
		<-out.first
		signals <- syscall.SIGTERM
	}()
	code, err := e.Run(t.Context(), image(t, e), docker.RunOptions{Args: []string{"trap"}, Stdout: out, Signals: signals})
	if err != nil || code != 7 || out.String() != "ready\nterminated\n" {
		t.Errorf("got %d, %v, %q", code, err, out)
	}
}

// lines collects output and tells of its first line.
type lines struct {
	bytes.Buffer
	first chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	if l.Len() == 0 {
		close(l.first)
	}
	return l.Buffer.Write(p)
}

func TestRunIsStopped(t *testing.T) {
	t.Parallel()
	e := open(t)
	id := image(t, e)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("interrupted")
	out := &lines{first: make(chan struct{})}
	reader, writer := io.Pipe()
	defer writer.Close()
	done := make(chan error, 1)
	go func() {
		_, err := e.Run(ctx, id, docker.RunOptions{Args: []string{"trap"}, Stdin: reader, Stdout: out})
		done <- err
	}()
	select {
	case <-out.first:
	case err := <-done:
		t.Fatalf("it ended: %v", err)
	}
	cancel(cause)
	select {
	case err := <-done:
		if !errors.Is(err, cause) {
			t.Errorf("got %v, want the cause", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it does not stop")
	}
	if got := out.String(); got != "ready\nterminated\n" {
		t.Errorf("the process wrote %q", got)
	}
	if _, err := e.Run(t.Context(), "sha256:"+sandbox.ID(strings.Repeat("0", 64)), docker.RunOptions{}); err == nil {
		t.Error("an image that is not there was run")
	}
}
