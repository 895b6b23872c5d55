package sources_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/faults"
	"ampoule/registry/tokens"
	"ampoule/service/access"
	"ampoule/service/builds"
	"ampoule/service/logs"
	"ampoule/service/web"
	"ampoule/service/web/sources"
)

var begun = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// queue is a queue with one build.
type queue struct {
	mu       sync.Mutex
	build    builds.Build
	streams  map[logs.Stream]string
	archives map[string]string
	opened   int
	asked    []builds.Caller
	changed  chan struct{}
}

func newQueue() *queue {
	return &queue{
		build:   builds.Build{ID: "b1", Kind: builds.KindBuild, Recipe: "web", State: "building", Caller: "ann", Followers: 3, Archive: "a1", Created: begun, Started: begun},
		streams: map[logs.Stream]string{}, archives: map[string]string{"a1": "an archive"}, changed: make(chan struct{}),
	}
}

func (q *queue) append(stream logs.Stream, text string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.streams[stream] += text
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *queue) Get(_ context.Context, id string) (builds.Build, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if id != q.build.ID {
		return builds.Build{}, &builds.NotFoundError{ID: id}
	}
	return q.build, nil
}

func (q *queue) List(_ context.Context, f builds.Filter, after string, _ int) (builds.Page, error) {
	if f.Recipe != "" && f.Recipe != q.build.Recipe {
		return builds.Page{}, nil
	}
	if len(f.States) > 0 && f.States[0] != q.build.State {
		return builds.Page{}, nil
	}
	return builds.Page{Builds: []builds.Build{q.build}, Next: after + "x"}, nil
}

func (q *queue) Cancel(_ context.Context, by builds.Caller, _ string) (builds.Build, error) {
	q.asked = append(q.asked, by)
	return q.build, nil
}

func (q *queue) Retry(_ context.Context, by builds.Caller, _ string) (builds.Accepted, error) {
	q.asked = append(q.asked, by)
	return builds.Accepted{Build: builds.Build{ID: "b2"}}, nil
}

func (q *queue) Follow(ctx context.Context, _ string, _ int64) iter.Seq2[builds.Event, error] {
	return func(yield func(builds.Event, error) bool) {
		<-ctx.Done()
		yield(builds.Event{}, ctx.Err())
	}
}

func (q *queue) ReadLog(_ context.Context, id string, stream logs.Stream, offset int64, limit int) (logs.Chunk, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if id != q.build.ID {
		return logs.Chunk{}, &builds.NotFoundError{ID: id}
	}
	rest := q.streams[stream][offset:]
	rest = rest[:min(len(rest), limit, 40)] // in small pieces
	return logs.Chunk{Offset: offset, Data: []byte(rest), Next: offset + int64(len(rest)), End: q.build.State.Terminal() && rest == ""}, nil
}

func (q *queue) FollowLog(ctx context.Context, id string, stream logs.Stream, offset int64) iter.Seq2[logs.Chunk, error] {
	return func(yield func(logs.Chunk, error) bool) {
		for {
			q.mu.Lock()
			changed := q.changed
			q.mu.Unlock()
			chunk, err := q.ReadLog(ctx, id, stream, offset, 1<<20)
			if err != nil || len(chunk.Data) > 0 || chunk.End {
				if !yield(chunk, err) || chunk.End || err != nil {
					return
				}
				offset = chunk.Next
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(logs.Chunk{}, ctx.Err())
				return
			}
		}
	}
}

func (q *queue) OpenArchive(_ context.Context, sum string) (io.ReadCloser, error) {
	q.opened++
	return io.NopCloser(strings.NewReader(q.archives[sum])), nil
}

func (q *queue) Workers(context.Context) ([]builds.Worker, error) {
	return []builds.Worker{
		{Name: "gone", Seen: begun}, {Name: "idle", Alive: true, Labels: []string{"large"}}, {Name: "busy", Alive: true, Builds: []string{"b1"}}, {Name: "ends", Alive: true, Draining: true, Builds: []string{"b1"}},
	}, nil
}

const told = `{"time":"2026-05-04T12:00:01Z","seq":1,"build":"x","kind":"started","stage":"build"}
{"time":"2026-05-04T12:00:02Z","seq":2,"build":"x","kind":"started","stage":"fetch"}
{"time":"2026-05-04T12:00:03Z","seq":3,"build":"x","kind":"advanced","stage":"fetch","done":10,"total":20,"unit":"bytes"}
{"time":"2026-05-04T12:00:04Z","seq":4,"build":"x","kind":"done","stage":"fetch","reused":true,"cache":"registry.example/cache"}
not an event
{"time":"2026-05-04T12:00:05Z","seq":5,"build":"x","kind":"started","stage":"wheel","task":"numpy==2.3.1"}
{"time":"2026-05-04T12:00:06Z","seq":6,"build":"x","kind":"waiting","stage":"wheel","task":"numpy==2.3.1","holder":{"recipe":"shop"}}
`

func TestSteps(t *testing.T) {
	t.Parallel()
	q := newQueue()
	b := &sources.Builds{Queue: q}
	at := func(second int) time.Time { return begun.Add(time.Duration(second) * time.Second) }
	read := func() []web.Step {
		t.Helper()
		one, err := b.Build(t.Context(), "b1")
		if err != nil {
			t.Fatal(err)
		}
		return one.Steps
	}
	q.append(logs.Progress, told)
	fetch := web.Step{Stage: "fetch", State: web.StepDone, Started: at(2), Finished: at(4), Reused: true, Cache: "registry.example/cache", Amount: 10, Total: 20, Unit: "bytes"}
	wheel := web.Step{Stage: "wheel", Task: "numpy==2.3.1", State: web.StepWaiting, Started: at(5), Message: "waits for a build of shop, which makes the same"}
	if diff := cmp.Diff([]web.Step{fetch, wheel}, read()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	// A line that comes in two parts is one event; a worker that died has its steps run anew.
	q.append(logs.Progress, `{"time":"2026-05-04T12:00:07Z","seq":7,"build":"x","kind":"resumed","sta`)
	_ = read()
	q.append(logs.Progress, `ge":"wheel","task":"numpy==2.3.1"}`+"\n"+`{"time":"2026-05-04T12:00:08Z","kind":"started","stage":"fetch"}`+"\n")
	wheel.State, wheel.Message = web.StepRunning, ""
	again := web.Step{Stage: "fetch", State: web.StepRunning, Started: at(8)}
	if diff := cmp.Diff([]web.Step{fetch, wheel, again}, read()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	q.build.State, q.build.Ended = builds.Cancelled, at(9)
	wheel.State, wheel.Finished, wheel.Message = web.StepFailed, at(9), "it was not finished"
	again.State, again.Finished, again.Message = web.StepFailed, at(9), "it was not finished"
	if diff := cmp.Diff([]web.Step{fetch, wheel, again}, read()); diff != "" {
		t.Errorf("steps of a cancelled build (-want +got):\n%s", diff)
	}
}

func TestBuild(t *testing.T) {
	t.Parallel()
	q := newQueue()
	q.build.State, q.build.Result = builds.Done, &builds.Result{Digest: "sha256:1"}
	b := &sources.Builds{Queue: q, Inputs: func(_ context.Context, r io.Reader) ([]web.Input, error) {
		data, err := io.ReadAll(r)
		return []web.Input{{Name: string(data)}}, err
	}}
	for range 2 {
		one, err := b.Build(t.Context(), "b1")
		if err != nil {
			t.Fatal(err)
		}
		if one.Ref != "web@sha256:1" || one.Followers != 2 || one.State != web.Done || len(one.Inputs) != 1 || one.Inputs[0].Name != "an archive" {
			t.Errorf("%+v", one)
		}
	}
	if q.opened != 1 {
		t.Errorf("the archive was read %d times", q.opened)
	}
	q.build.State, q.build.Result, q.build.Failure = builds.Failed, nil, &builds.Failure{Message: "no", Hints: []string{"do"}, Stage: "wheel", Task: "numpy"}
	one, err := b.Build(t.Context(), "b1")
	if diff := cmp.Diff(&web.Failure{Text: "no", Hints: []string{"do"}, Step: "wheel numpy"}, one.Failure); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if _, err := b.Build(t.Context(), "b9"); faults.Of(err) != faults.NotFound {
		t.Error(err)
	}
	page, err := b.Builds(t.Context(), web.Filter{State: web.Failed, Before: "y"})
	if err != nil || len(page.Builds) != 1 || page.Next != "yx" || page.Builds[0].Steps != nil {
		t.Errorf("%+v, %v", page, err)
	}
	if err := b.Cancel(t.Context(), web.Identity{Name: "ben", Trusted: true, May: func(s web.Scope, name, _ string) bool { return s == web.Admin && name == "web" }}, "b1"); err != nil || !q.asked[0].Admin || !q.asked[0].Trusted || q.asked[0].Name != "ben" {
		t.Errorf("%+v, %v", q.asked, err)
	}
	if id, err := b.Retry(t.Context(), web.Identity{Name: "cleo", May: func(web.Scope, string, string) bool { return false }}, "b1"); err != nil || id != "b2" || q.asked[1].Admin || q.asked[1].Trusted {
		t.Errorf("%s, %+v, %v", id, q.asked, err)
	}
}

// TestPublished wants each artifact once, of a registry that cannot be listed.
func TestPublished(t *testing.T) {
	t.Parallel()
	q := newQueue()
	q.build.State, q.build.Ended, q.build.Result = builds.Done, begun, &builds.Result{Digest: "sha256:1"}
	a := &sources.Artifacts{Done: (&sources.Builds{Queue: q}).Published}
	got, err := a.Artifacts(t.Context(), "web")
	if diff := cmp.Diff([]web.ArtifactSummary{{Ref: "web@sha256:1", Name: "web", Digest: "sha256:1", Published: begun}}, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if got, err := a.Artifacts(t.Context(), "other"); err != nil || len(got) > 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	q := newQueue()
	b := &sources.Builds{Queue: q}
	text := strings.Repeat("fetch | a line of a log\n", 50)
	q.append(logs.Output, text)
	r, err := b.OpenLog(t.Context(), "b1")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != text {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	var got strings.Builder
	stop := errors.New("enough")
	go q.append(logs.Output, "more\n")
	err = b.FollowLog(t.Context(), "b1", 24, func(data []byte) error {
		got.Write(data)
		if strings.HasSuffix(got.String(), "more\n") {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || got.String() != text[24:]+"more\n" {
		t.Errorf("%q, %v", got.String(), err)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	q := newQueue()
	b := &sources.Builds{Queue: q}
	ctx, cancel := context.WithCancel(t.Context())
	changed := b.Watch(ctx, "b1")
	q.append(logs.Progress, told)
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody told of an event")
	}
	cancel()
	for range changed { //nolint:revive // it ends with its context
	}
}

func TestWorkers(t *testing.T) {
	t.Parallel()
	f := &sources.Fleet{Queue: newQueue()}
	all, err := f.Workers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var states []web.WorkerState
	for _, w := range all {
		states = append(states, w.State)
	}
	if diff := cmp.Diff([]web.WorkerState{web.WorkerLost, web.WorkerIdle, web.WorkerBusy, web.WorkerDraining}, states); diff != "" {
		t.Error(diff)
	}
}

// guard knows one token.
type guard struct{ err error }

func (g guard) Check(_ *http.Request, secret string) (access.Caller, error) {
	if secret != "good" {
		return access.Caller{}, g.err
	}
	return access.Caller{Name: "ann", Scopes: []tokens.Scope{{Verb: tokens.Read, Pattern: "web"}, {Verb: tokens.Promote, Pattern: "web", Channel: "prod"}}}, nil
}

func (g guard) Identify(r *http.Request) (access.Caller, error) {
	if r.Header.Get("Authorization") == "Bearer builds" {
		return access.Caller{Scopes: []tokens.Scope{{Verb: tokens.Pull, Pattern: "*"}}}, nil
	}
	return g.Check(r, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
}

func TestGuarded(t *testing.T) {
	t.Parallel()
	served := sources.Guarded(guard{status(http.StatusUnauthorized)}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "counts") }))
	for token, want := range map[string]int{"good": http.StatusOK, "bad": http.StatusUnauthorized, "": http.StatusUnauthorized, "builds": http.StatusForbidden} {
		w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		served.ServeHTTP(w, r)
		if w.Code != want || (w.Body.String() == "counts") != (want == http.StatusOK) || (w.Header().Get("WWW-Authenticate") != "") != (want == http.StatusUnauthorized) {
			t.Errorf("token %q: %d %s", token, w.Code, w.Body)
		}
	}
}

type status int

func (s status) Error() string { return http.StatusText(int(s)) }
func (s status) Status() int   { return int(s) }

func TestAccess(t *testing.T) {
	t.Parallel()
	a := sources.Access{By: guard{status(http.StatusUnauthorized)}}
	who, err := a.Identify(nil, "good")
	if err != nil || who.Name != "ann" {
		t.Fatal(err)
	}
	for _, test := range []struct {
		scope         web.Scope
		name, channel string
		want          bool
	}{
		{web.Read, "web", "", true}, {web.Read, "", "", true}, {web.Read, "shop", "", false}, {web.Submit, "web", "", false}, {web.Submit, "", "", false},
		{web.Promote, "web", "prod", true}, {web.Promote, "web", "staging", false}, {web.Promote, "", "", true}, {web.Approve, "web", "prod", false}, {web.Admin, "web", "", false},
	} {
		if got := who.May(test.scope, test.name, test.channel); got != test.want {
			t.Errorf("%s %s %s: %v", test.scope, test.name, test.channel, got)
		}
	}
	for _, token := range []string{"", "bad"} {
		if _, err := a.Identify(nil, token); !errors.Is(err, web.ErrUnknown) {
			t.Errorf("token %q: %v", token, err)
		}
	}
	busy := sources.Access{By: guard{status(http.StatusTooManyRequests)}}
	if _, err := busy.Identify(nil, "bad"); errors.Is(err, web.ErrUnknown) || err == nil {
		t.Errorf("too many tries: %v", err)
	}
}
