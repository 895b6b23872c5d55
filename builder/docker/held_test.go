//go:build docker

package docker_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"ampoule/builder/docker"
)

// keeper is what stays in a container of the test image.
var keeper = []string{"/bin/probe", "keep"}

// TestHold runs programs one after another in one container, until one leaves something running.
func TestHold(t *testing.T) {
	t.Parallel()
	e := open(t)
	h := e.Hold(image(t, e), docker.RunOptions{Env: []string{"MINE=1"}, Dir: "/tmp", User: "1234:1234"}, keeper)
	defer func() {
		for range 2 {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		}
	}()
	for _, step := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"both streams", []string{"echo", "out", "err"}, 0, "out", "err"},
		{"its own code", []string{"exit", "42"}, 42, "", ""},
		{"who it is", []string{"id"}, 0, "1234 1234\n", ""},
		{"where it is", []string{"pwd"}, 0, "/tmp\n", ""},
		{"a file", []string{"write", "/tmp/a", "x"}, 0, "", ""},
		{"the file of another one", []string{"cat", "a"}, 0, "x", ""},
		{"what ends by itself", []string{"orphan"}, 0, "", ""},
		{"by a signal", []string{"kill", "9"}, 137, "", ""},
		{"a program that is not there", []string{"none"}, 64, "", ""},
		{"a new file", []string{"write", "/tmp/b", "y"}, 0, "", ""},
		{"what leaves a process", []string{"leave"}, 0, "", ""},
		{"in a new container", []string{"cat", "b"}, 1, "", "probe: open b: no such file or directory\n"},
	} {
		var out, errOut bytes.Buffer
		code, err := h.Run(t.Context(), docker.RunOptions{Args: step.args, Stdout: &out, Stderr: &errOut})
		if err != nil || code != step.code || out.String() != step.stdout || errOut.String() != step.stderr {
			t.Errorf("%s: got %d, %v, %q, %q", step.name, code, err, &out, &errOut)
		}
	}
	var out bytes.Buffer
	if _, err := h.Run(t.Context(), docker.RunOptions{Args: []string{"environ"}, Stdout: &out}); err != nil || !strings.Contains(out.String(), "MINE=1\n") || !strings.Contains(out.String(), "FROM_IMAGE=1\n") {
		t.Errorf("the environment: %v, %q", err, &out)
	}
}

// TestHoldPassesSignals: a program gets what the caller does; cancelling ends it, and the container.
func TestHoldPassesSignals(t *testing.T) {
	t.Parallel()
	e := open(t)
	h := e.Hold(image(t, e), docker.RunOptions{}, keeper)
	defer h.Close()
	out := &lines{first: make(chan struct{})}
	signals := make(chan os.Signal, 1)
	go func() {
		<-out.first
		signals <- syscall.SIGTERM
	}()
	code, err := h.Run(t.Context(), docker.RunOptions{Args: []string{"trap"}, Stdout: out, Signals: signals})
	if err != nil || code != 7 || out.String() != "ready\nterminated\n" {
		t.Errorf("got %d, %v, %q", code, err, out)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("interrupted")
	out = &lines{first: make(chan struct{})}
	go func() {
		<-out.first
		cancel(cause)
	}()
	begun := time.Now()
	if _, err := h.Run(ctx, docker.RunOptions{Args: []string{"trap"}, Stdout: out}); !errors.Is(err, cause) || out.String() != "ready\nterminated\n" {
		t.Errorf("got %v, %q", err, out)
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("it ended after %s", took)
	}
	// The next one has a container again.
	if code, err := h.Run(t.Context(), docker.RunOptions{Args: []string{"exit", "3"}}); err != nil || code != 3 {
		t.Errorf("then: %d, %v", code, err)
	}
}

// TestHoldRefuses: an image that is not there, and a keeper that is none.
func TestHoldRefuses(t *testing.T) {
	t.Parallel()
	e := open(t)
	for name, h := range map[string]docker.Held{
		"no image":  e.Hold("sha256:0000000000000000000000000000000000000000000000000000000000000000", docker.RunOptions{}, keeper),
		"no keeper": e.Hold(image(t, e), docker.RunOptions{}, []string{"/bin/none"}),
	} {
		if err := h.Ready(t.Context()); err == nil {
			t.Errorf("%s: it is ready", name)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
}
