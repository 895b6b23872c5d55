package worklog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/internal/watched"
	"ampoule/service/builds"
	"ampoule/service/journal"
	"ampoule/service/queue"
	"ampoule/service/worklog"
)

type running func(ctx context.Context, job queue.Job) (builds.Result, error)

// Run implements [queue.Runner].
func (f running) Run(ctx context.Context, job queue.Job) (builds.Result, error) { return f(ctx, job) }

type starting func(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error)

// Start implements [sandbox.Runner].
func (f starting) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	return f(ctx, spec)
}

type loading func() (sandbox.ID, error)

// Load implements [sandbox.Images].
func (f loading) Load(context.Context, sandbox.Config, ...sandbox.Layer) (sandbox.ID, error) {
	return f()
}

// Steps, loads, starts, sweeps and requests that fail are logged with the build's fields; what is printed is
// not, and no query of an address.
func TestWorkIsLogged(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/busy" {
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	t.Cleanup(server.Close)
	client := &http.Client{Transport: watched.Transport{Next: http.DefaultTransport}}
	get := func(ctx context.Context, url string) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
		}
	}
	errFull := errors.New("the disk is full")
	starts := worklog.Sandboxes(starting(func(_ context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
		if spec.Name == "broken" {
			return nil, errFull
		}
		return nil, nil
	}))
	loads := worklog.Images(loading(func() (sandbox.ID, error) { return "sha256:image", nil }))
	run := worklog.Builds(running(func(ctx context.Context, _ queue.Job) (builds.Result, error) {
		task := progress.Start(ctx, progress.StageWheel, "six")
		task.Tell("canary: what a step prints")
		task.End(nil)
		progress.Start(ctx, progress.StageGate, "").End(errors.New("canary: why"))
		_, _ = loads.Load(ctx, sandbox.Config{})
		_, _ = starts.Start(ctx, sandbox.Spec{Name: "wheel six", Image: "sha256:image"})
		_, _ = starts.Start(ctx, sandbox.Spec{Name: "broken"})
		worklog.Swept(ctx, 3)
		get(ctx, server.URL+"/fine")
		get(ctx, server.URL+"/busy?canary=1")
		get(ctx, "http://127.0.0.1:1/away?canary=1")
		return builds.Result{}, nil
	}))

	var out bytes.Buffer
	log, err := journal.New(&out, "json")
	if err != nil {
		t.Fatal(err)
	}
	ctx := progress.With(journal.In(t.Context(), log), progress.NewFeed())
	if _, err := run.Run(ctx, queue.Job{Build: builds.Build{ID: "b1", Recipe: "web", Key: "k", Caller: "me", Worker: "w"}}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range bytes.Lines(out.Bytes()) {
		var e map[string]any
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if e["build"] != "b1" || e["recipe"] != "web" || e["key"] != "k" || e["caller"] != "me" || e["worker"] != "w" {
			t.Errorf("without the build's fields: %s", line)
		}
		text := ""
		for _, name := range []string{"level", "msg", "stage", "task", "outcome", "sandbox", "image", "containers", "path", "status"} {
			if v, ok := e[name]; ok && v != "" {
				data, _ := json.Marshal(v)
				text += " " + string(data)
			}
		}
		got = append(got, text)
	}
	want := []string{
		` "info" "image is loaded" "sha256:image"`,
		` "info" "sandbox starts" "wheel six" "sha256:image"`,
		` "warning" "not so: sandbox starts" "broken"`,
		` "info" "containers of ended processes are removed" 3`,
		` "warning" "a server did not do what was asked" "/busy" 429`,
		` "warning" "a server was not reached" "/away"`,
		` "info" "step ends" "wheel" "six" "made"`,
		` "info" "step ends" "gate" "failed"`,
	}
	// Steps are told on a way of their own.
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if bytes.Contains(out.Bytes(), []byte("canary")) {
		t.Errorf("%s", out.Bytes())
	}
}
