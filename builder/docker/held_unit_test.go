package docker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// holding is an engine that has containers c1, c2 and so on, one after another, in which nothing
// runs. What is asked of it is noted.
type holding struct {
	*Engine
	made, removed []string
	commands      [][]string
	keepers       [][]string
	// left is what the engine lists after each command beside the keeper; gone says that the
	// container ends with the command.
	left []int
	gone bool
	code int
}

func newHolding(t *testing.T) *holding {
	t.Helper()
	h := &holding{}
	routes := map[string]http.HandlerFunc{
		"HEAD /_ping": ping("1.41"), "GET /info": answer(200, linuxInfo), "GET /containers/json": answer(200, `[]`),
		"GET /images/sha256:1/json": answer(200, `{"Config": {"Entrypoint": ["/init", "--"]}}`),
		"POST /containers/create": func(w http.ResponseWriter, r *http.Request) {
			var asked container.CreateRequest
			if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || *asked.HostConfig.Init {
				t.Errorf("%v: the engine's init is process 1", err)
			}
			h.keepers = append(h.keepers, slices.Concat(asked.Entrypoint, asked.Cmd))
			h.made = append(h.made, fmt.Sprintf("c%d", len(h.made)+1))
			answer(201, fmt.Sprintf(`{"Id": %q}`, h.made[len(h.made)-1]))(w, r)
		},
		"POST /exec/e/start": func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				t.Error(err)
			}
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprint(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
			fmt.Fprint(stdcopy.NewStdWriter(conn, stdcopy.Stdout), "out")
			fmt.Fprint(stdcopy.NewStdWriter(conn, stdcopy.Stderr), "err")
		},
		"GET /exec/e/json": func(w http.ResponseWriter, r *http.Request) {
			if h.gone {
				http.NotFound(w, r)
				return
			}
			answer(200, fmt.Sprintf(`{"ID": "e", "Running": false, "ExitCode": %d}`, h.code))(w, r)
		},
	}
	for _, id := range []string{"c1", "c2", "c3"} {
		routes["POST /containers/"+id+"/start"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
		routes["POST /containers/"+id+"/exec"] = func(w http.ResponseWriter, r *http.Request) {
			var options container.ExecOptions
			if err := json.NewDecoder(r.Body).Decode(&options); err != nil {
				t.Error(err)
			}
			h.commands = append(h.commands, options.Cmd)
			answer(201, `{"Id": "e"}`)(w, r)
		}
		routes["GET /containers/"+id+"/top"] = func(w http.ResponseWriter, r *http.Request) {
			more := strings.Repeat(`, ["7"]`, h.left[0])
			h.left = h.left[1:]
			answer(200, `{"Titles": ["PID"], "Processes": [["1"]`+more+`]}`)(w, r)
		}
		routes["DELETE /containers/"+id] = func(w http.ResponseWriter, _ *http.Request) {
			h.removed = append(h.removed, id)
			w.WriteHeader(http.StatusNoContent)
		}
	}
	e, err := Open(t.Context(), Options{Host: engineAt(t, routes), Locks: t.TempDir(), Store: "test"})
	if err != nil {
		t.Fatal(err)
	}
	h.Engine = e
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// Programs run behind the image's entry point, in one container until something is left in it.
func TestHeldContainers(t *testing.T) {
	t.Parallel()
	e := newHolding(t)
	e.left, e.code = []int{0, 1, 0}, 3
	h := e.Hold("sha256:1", RunOptions{}, []string{"python3", "keep.py"})
	for i, made := range []string{"c1", "c1", "c2"} {
		var out, errs bytes.Buffer
		code, err := h.Run(t.Context(), RunOptions{Args: []string{"a", fmt.Sprint(i)}, Stdout: &out, Stderr: &errs})
		if err != nil || code != 3 || out.String() != "out" || errs.String() != "err" || e.made[len(e.made)-1] != made {
			t.Errorf("%d: %d, %v, %q, %q in %q", i, code, err, &out, &errs, e.made)
		}
	}
	for range 2 {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
	if !slices.Equal(e.removed, []string{"c1", "c2"}) || !slices.Equal(e.commands[2], []string{"/init", "--", "a", "2"}) || !slices.Equal(e.keepers[1], []string{"python3", "keep.py"}) {
		t.Errorf("removed %q, ran %q, kept by %q", e.removed, e.commands, e.keepers)
	}
}

// A program that the container has ended with was killed, and the next one has another container.
// A writer that fails is an error, and leaves none.
func TestHeldContainerEnds(t *testing.T) {
	t.Parallel()
	e := newHolding(t)
	e.left, e.gone = []int{0, 0}, true
	h := e.Hold("sha256:1", RunOptions{}, []string{"keep"})
	if code, err := h.Run(t.Context(), RunOptions{Args: []string{"a"}}); err != nil || code != killedCode {
		t.Errorf("got %d, %v", code, err)
	}
	e.gone = false
	if code, err := h.Run(t.Context(), RunOptions{Args: []string{"b"}}); err != nil || code != 0 || len(e.made) != 2 {
		t.Errorf("then %d, %v in %q", code, err, e.made)
	}
	full := errors.New("full")
	if _, err := h.Run(t.Context(), RunOptions{Args: []string{"c"}, Stdout: failing{full}}); !errors.Is(err, full) {
		t.Errorf("a writer that fails: %v", err)
	}
	if !slices.Equal(e.removed, []string{"c1", "c2"}) {
		t.Errorf("removed %q", e.removed)
	}
}

// failing is a writer that fails.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
