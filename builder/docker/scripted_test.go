package docker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"ampoule/builder/sandbox"
)

// scripted is an engine that has one container and runs nothing.
type scripted struct {
	*Engine
	mu   sync.Mutex
	args []string
	// run writes what a step writes, and returns false for an engine that dies meanwhile.
	run     func(args []string, stdout io.Writer) bool
	died    bool
	removed bool
	// fails says which command ends with exit code 1, or with code; oomKilled is what the engine says
	// of the container, and gone has it say nothing more.
	fails     string
	code      int
	oomKilled bool
	gone      atomic.Bool
	// user is the last sandbox's.
	user int
}

func newScripted(t *testing.T, run func(args []string, stdout io.Writer) bool) *scripted {
	t.Helper()
	s := &scripted{run: run}
	routes := map[string]http.HandlerFunc{
		"HEAD /_ping":             ping("1.41"),
		"GET /info":               answer(200, linuxInfo),
		"GET /containers/json":    answer(200, `[]`),
		"POST /containers/create": s.create,
		"POST /containers/c/start": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNoContent)
		},
		"DELETE /containers/c": func(w http.ResponseWriter, _ *http.Request) {
			s.removed = true
			w.WriteHeader(http.StatusNoContent)
		},
		"GET /containers/c/json":  s.inspect,
		"POST /containers/c/exec": s.createExec,
		"POST /exec/e/start":      s.startExec,
		"GET /exec/e/json":        s.inspectExec,
	}
	e, err := Open(t.Context(), Options{Host: engineAt(t, routes), Locks: t.TempDir(), Store: "test"})
	if err != nil {
		t.Fatal(err)
	}
	s.Engine = e
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *scripted) create(w http.ResponseWriter, r *http.Request) {
	var asked container.Config
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		panic(err)
	}
	if _, err := fmt.Sscanf(asked.User, "%d:", &s.user); err != nil {
		panic(err)
	}
	answer(201, `{"Id": "c"}`)(w, r)
}

// asUser is a writer for which whoever says that he is user 1000 is the sandbox's.
type asUser struct {
	io.Writer
	user int
}

func (a asUser) Write(p []byte) (int, error) {
	_, err := a.Writer.Write(bytes.ReplaceAll(p, []byte("1000"), []byte(strconv.Itoa(a.user))))
	return len(p), err
}

func (s *scripted) inspect(w http.ResponseWriter, _ *http.Request) {
	if s.gone.Load() {
		panic(http.ErrAbortHandler)
	}
	c := inspected(s.Engine, confinement{users: usualUsers, user: s.user}, s.limits)
	c.State.OOMKilled = s.oomKilled
	if err := json.NewEncoder(w).Encode(c); err != nil {
		panic(err)
	}
}

func (s *scripted) createExec(w http.ResponseWriter, r *http.Request) {
	var options container.ExecOptions
	if err := json.NewDecoder(r.Body).Decode(&options); err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.args = options.Cmd
	answer(201, `{"Id": "e"}`)(w, r)
}

func (s *scripted) startExec(w http.ResponseWriter, r *http.Request) {
	// Closing a connection with something unread resets it, and what was written is lost.
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		panic(err)
	}
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.died = !s.run(s.args, asUser{stdcopy.NewStdWriter(conn, stdcopy.Stdout), s.user})
}

func (s *scripted) inspectExec(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.died {
		panic(http.ErrAbortHandler)
	}
	code := 0
	if s.fails != "" && s.args[len(s.args)-1] == s.fails {
		code = cmp.Or(s.code, 1)
	}
	answer(200, fmt.Sprintf(`{"ID": "e", "Running": false, "ExitCode": %d}`, code))(w, r)
}

func TestEngineDiesDuringStep(t *testing.T) {
	t.Parallel()
	s := newScripted(t, func(args []string, stdout io.Writer) bool {
		if strings.HasSuffix(args[len(args)-1], "/proc/net/dev") {
			_, err := io.WriteString(stdout, goodStatus)
			return err == nil
		}
		fmt.Fprint(stdout, "half of the out")
		return false
	})
	b, err := s.Start(t.Context(), sandbox.Spec{Name: "dying"})
	if err != nil {
		t.Fatal(err)
	}
	err = b.Exec(t.Context(), sandbox.Step{Args: []string{"make"}})
	if !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("got %v, want one of an engine that is gone", err)
	}
}

// An engine that is gone when it is asked why a step has failed is the machine's fault, and not the step's.
func TestEngineDiesAfterStep(t *testing.T) {
	t.Parallel()
	for _, code := range []int{1, killedCode} {
		s := newScripted(t, nil)
		s.run = func(args []string, stdout io.Writer) bool {
			_, err := io.WriteString(stdout, goodStatus)
			if args[len(args)-1] == "make" {
				s.gone.Store(true)
			}
			return err == nil
		}
		s.fails, s.code = "make", code
		b, err := s.Start(t.Context(), sandbox.Spec{Name: "dying"})
		if err != nil {
			t.Fatal(err)
		}
		var hinted interface{ Hint() string }
		if err := b.Exec(t.Context(), sandbox.Step{Args: []string{"make"}}); !errors.Is(err, sandbox.ErrUnavailable) || !errors.As(err, &hinted) || hinted.Hint() != goneHint {
			t.Errorf("code %d: got %v, want one of an engine that is gone", code, err)
		}
	}
}

func TestIgnoredSignalsAreReset(t *testing.T) {
	t.Parallel()
	ignoring := strings.Replace(goodStatus, "SigIgn:	0000000000000000", "SigIgn:	0000000000000001", 1)
	var last []string
	s := newScripted(t, func(args []string, stdout io.Writer) bool {
		last = args
		text := ignoring
		if args[2] == "--default-signal" {
			text = goodStatus
		}
		_, err := io.WriteString(stdout, text)
		return err == nil
	})
	b, err := s.Start(t.Context(), sandbox.Spec{Name: "ignoring"})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Exec(t.Context(), sandbox.Step{Args: []string{"make", "all"}, Env: []string{"A=1"}}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(last, " "); got != "/usr/bin/env -i --default-signal -- A=1 make all" {
		t.Errorf("a step runs as %q", got)
	}

	never := newScripted(t, func(_ []string, stdout io.Writer) bool {
		_, err := io.WriteString(stdout, ignoring)
		return err == nil
	})
	_, err = never.Start(t.Context(), sandbox.Spec{Name: "ignoring"})
	if !errors.Is(err, sandbox.ErrNotSealed) || !never.removed {
		t.Errorf("got %v, removed %v, want ErrNotSealed and no container", err, never.removed)
	}
}

// Docker 26 says of a container that goes on that it was killed for want of memory, from
// the first process on that was.
func TestOldKillIsForgotten(t *testing.T) {
	t.Parallel()
	kills := 1
	s := newScripted(t, func(args []string, stdout io.Writer) bool {
		switch {
		case strings.HasSuffix(args[len(args)-1], "/proc/net/dev"):
			io.WriteString(stdout, goodStatus)
		case strings.HasSuffix(args[len(args)-1], "memory.events"):
			fmt.Fprintf(stdout, "oom_kill %d\n", kills)
		}
		return true
	})
	s.fails, s.oomKilled = "make", true
	b, err := s.Start(t.Context(), sandbox.Spec{Name: "hungry"})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		err = b.Exec(t.Context(), sandbox.Step{Args: []string{"make"}})
		var exit *sandbox.ExitError
		if !errors.As(err, &exit) || exit.OutOfMemory != want || (exit.Hint() != "") != want {
			t.Errorf("step %d: got %v, out of memory should be %t", i, err, want)
		}
	}
}

// An engine that fails while a sandbox starts is the machine's fault, a layer that ends
// too soon is not.
func TestWhoseFault(t *testing.T) {
	t.Parallel()
	for name, create := range map[string]http.HandlerFunc{
		"full":    answer(500, `{"message": "mkdir /var/lib/docker: no space left on device"}`),
		"crashes": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		e, err := Open(t.Context(), Options{Host: engineAt(t, map[string]http.HandlerFunc{
			"HEAD /_ping": ping("1.41"), "GET /info": answer(200, linuxInfo), "GET /containers/json": answer(200, `[]`),
			"POST /containers/create": create,
		}), Locks: t.TempDir(), Store: "test"})
		if err != nil {
			t.Fatal(err)
		}
		var hinted interface{ Hint() string }
		if _, err := e.Start(t.Context(), sandbox.Spec{Name: name}); !errors.Is(err, sandbox.ErrUnavailable) || !errors.As(err, &hinted) || hinted.Hint() == "" {
			t.Errorf("%s: got %v", name, err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	s := newScripted(t, nil)
	cut := sandbox.Layer{DiffID: "sha256:" + strings.Repeat("0", 64), Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("x"), iotest.ErrReader(io.ErrUnexpectedEOF))), nil
	}}
	if _, err := s.Load(t.Context(), sandbox.Config{Architecture: "amd64"}, cut); err == nil || errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("a layer that is cut: %v", err)
	}
}
