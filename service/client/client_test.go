package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/progress"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/service/problem"
	"ampoule/service/submission"
	"ampoule/service/wire"
)

// of makes a client of a server that a function is, without pauses.
func of(t *testing.T, serve http.HandlerFunc) (*Client, *atomic.Int64) {
	t.Helper()
	asked := &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		serve(w, r)
	}))
	t.Cleanup(s.Close)
	c, err := New(Options{Server: s.URL + "/", Token: "canary", Agent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	c.wait = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	return c, asked
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{
		{Server: ""}, {Server: "ampoule.example"}, {Server: "ftp://ampoule.example"}, {Server: "https://me:canary@ampoule.example"},
		{Server: "https://ampoule.example/?a=b"}, {Server: "http://ampoule.example", Token: "canary"}, {Server: "https://ampoule.example", Token: "canary\n"},
	} {
		if _, err := New(o); faults.Of(err) != faults.Usage || strings.Contains(err.Error()+strings.Join(faults.Hints(err), ""), "canary") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, server := range []string{"http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://ampoule.example/prefix"} {
		if _, err := New(Options{Server: server, Token: "x"}); err != nil {
			t.Errorf("%s: %v", server, err)
		}
	}
}

// What a server says went wrong is an error of the same kind here.
func TestProblemsBecomeErrors(t *testing.T) {
	t.Parallel()
	c, asked := of(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer canary" || r.UserAgent() != "test" {
			t.Errorf("%v", r.Header)
		}
		problem.Of(faults.New(faults.NotFound, "look elsewhere", "there is no build b1")).Write(w)
	})
	_, err := c.Build(t.Context(), "b1")
	if faults.Of(err) != faults.NotFound || err.Error() != "there is no build b1" || cmp.Diff([]string{"look elsewhere"}, faults.Hints(err)) != "" || asked.Load() != 1 {
		t.Errorf("%v, %q, asked %d times", err, faults.Hints(err), asked.Load())
	}
}

// A submission whose answer is lost is sent again under the same key, and so is one that a busy
// server turns away.
func TestSubmissionIsSentAgain(t *testing.T) {
	t.Parallel()
	var keys []string
	archive := submission.Archive{Data: []byte("archive")}
	c, asked := of(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		keys = append(keys, r.Header.Get(wire.IdempotencyHeader))
		if !bytes.Equal(body, archive.Data) || r.URL.Query().Get("group") != "a,b" || r.URL.Query().Get("force") != "true" {
			t.Errorf("%s %q", r.URL, body)
		}
		switch len(keys) {
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			problem.Of(problem.Later(http.StatusServiceUnavailable, time.Second, faults.Machine, "", "busy")).Write(w)
		case 3:
			w.WriteHeader(http.StatusBadGateway)
		default:
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, `{"build":{"id":"b1","state":"queued"}}`)
		}
	})
	s, err := c.SubmitBuild(t.Context(), archive, Wishes{Force: true, Groups: []string{"a", "b"}})
	if err != nil || s.Build.ID != "b1" || asked.Load() != 4 {
		t.Fatalf("%+v, %v, asked %d times", s, err, asked.Load())
	}
	for _, key := range keys {
		if key != keys[0] || key == "" {
			t.Errorf("keys %q", keys)
		}
	}
}

// Faults of files name the caller's files.
func TestFaultsArePlaced(t *testing.T) {
	t.Parallel()
	wrong := recipes.Faults{{File: "ampoule.yaml", Line: 2, Column: 3, What: "wrong", Hint: "right"}}
	c, _ := of(t, func(w http.ResponseWriter, _ *http.Request) { problem.Of(wrong).Write(w) })
	_, err := c.Plan(t.Context(), submission.Archive{})
	if diff := cmp.Diff(error(wrong), err); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A server that is away, one that is none, and one that never gets better are faults of the remote.
func TestServerIsAway(t *testing.T) {
	t.Parallel()
	c, err := New(Options{Server: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	c.wait = func(context.Context, time.Duration) error { return nil }
	if _, err := c.WhoAmI(t.Context()); faults.Of(err) != faults.Remote || len(faults.Hints(err)) == 0 {
		t.Errorf("away: %v", err)
	}
	for name, serve := range map[string]http.HandlerFunc{
		"a page":      func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"a page, 404": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusNotFound) },
		"502":         func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
	} {
		c, _ := of(t, serve)
		if _, err := c.WhoAmI(t.Context()); faults.Of(err) != faults.Remote {
			t.Errorf("%s: %v", name, err)
		}
	}
	c, asked := of(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://elsewhere.example/", http.StatusFound)
	})
	if _, err := c.WhoAmI(t.Context()); err == nil || asked.Load() != 1 || !strings.Contains(err.Error(), "elsewhere.example") {
		t.Errorf("a redirect: %v, asked %d times", err, asked.Load())
	}
	// A quota that is full for long is told at once.
	c, asked = of(t, func(w http.ResponseWriter, _ *http.Request) {
		problem.Of(problem.Later(http.StatusTooManyRequests, time.Hour, faults.Refused, "", "full")).Write(w)
	})
	if _, err := c.WhoAmI(t.Context()); faults.Of(err) != faults.Refused || asked.Load() != 1 {
		t.Errorf("a quota: %v, asked %d times", err, asked.Load())
	}
}

// A stream that breaks goes on where it ended, each event once, and ends with the build.
func TestProgressResumes(t *testing.T) {
	t.Parallel()
	all := []string{"", "one", "two", "three", "four"}
	c, _ := of(t, func(w http.ResponseWriter, r *http.Request) {
		from := 0
		_, _ = fmt.Sscan(r.Header.Get("Last-Event-ID"), &from)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "retry: 2000\n\n: nothing new\n\n")
		for i := from + 1; i < len(all); i++ {
			_, _ = fmt.Fprintf(w, "id: %d\nevent: progress\ndata: {\"kind\":\"told\",\ndata: \"message\":%q}\n\n", i, all[i])
			if i == 1 || i == 3 {
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
		}
		_, _ = io.WriteString(w, "event: end\ndata: {\"id\":\"b1\",\"state\":\"failed\",\"failure\":{\"kind\":\"build\",\"message\":\"no\",\"hints\":[\"first\",\"second\"]}}\n\n")
	})
	var seen []string
	b, err := c.Progress(t.Context(), "b1", func(e progress.Event) { seen = append(seen, e.Message) })
	if err != nil || strings.Join(seen, " ") != "one two three four" || b.State != "failed" {
		t.Errorf("%q, %+v, %v", seen, b, err)
	}
	out := Outcome(b, nil)
	if faults.Of(out) != faults.Build || out.Error() != "no" || cmp.Diff([]string{"first", "second"}, faults.Hints(out)) != "" {
		t.Errorf("%v, %q", out, faults.Hints(out))
	}
	if Outcome(wire.Build{}, nil) != nil {
		t.Error("a build without a failure failed")
	}
}

// A stream that says why it ends is not asked for again.
func TestStreamEndsWithAProblem(t *testing.T) {
	t.Parallel()
	c, asked := of(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "event: error\ndata: {\"kind\":\"refused\",\"detail\":\"the token is revoked\",\"status\":401}\n\n")
	})
	var out bytes.Buffer
	if _, err := c.FollowLog(t.Context(), "b1", "", &out); faults.Of(err) != faults.Refused || asked.Load() != 1 {
		t.Errorf("%v, asked %d times", err, asked.Load())
	}
}

// A stream that never ends well is given up, and one whose reader is gone ends at once.
func TestStreamIsGivenUp(t *testing.T) {
	t.Parallel()
	c, asked := of(t, func(http.ResponseWriter, *http.Request) {})
	if _, err := c.FollowLog(t.Context(), "b1", "", io.Discard); faults.Of(err) != faults.Remote || asked.Load() != 2*tries {
		t.Errorf("%v, asked %d times", err, asked.Load())
	}
	c, asked = of(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "id: 5\nevent: line\ndata: {\"text\":\"hello\"}\n\n")
	})
	full := errors.New("full")
	if _, err := c.FollowLog(t.Context(), "b1", "", failing{full}); !errors.Is(err, full) || asked.Load() != 1 {
		t.Errorf("%v, asked %d times", err, asked.Load())
	}
}

// failing takes nothing.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestCancelledWhileItWaits(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := faults.New(faults.Interrupted, "", "interrupted")
	c, _ := of(t, func(w http.ResponseWriter, _ *http.Request) {
		cancel(cause)
		w.WriteHeader(http.StatusBadGateway)
	})
	if _, err := c.WhoAmI(ctx); faults.Of(err) != faults.Interrupted {
		t.Errorf("%v", err)
	}
}
