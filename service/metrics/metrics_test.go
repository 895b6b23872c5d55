package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"ampoule/audit"
	"ampoule/builder"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/faults"
	"ampoule/service/metrics"
)

// read gives all lines that Prometheus would read.
func read(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func want(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, "\n"+line+"\n") {
			name, _, _ := strings.Cut(line, "{")
			t.Errorf("there is no line %q; those of %s:\n%s", line, name, only(text, name))
		}
	}
}

func only(text, name string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, name) {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestBuilds(t *testing.T) {
	t.Parallel()
	m := metrics.New("1.2.3")
	refused := &builder.RefusedError{Verdict: audit.Verdict{Checks: []audit.CheckResult{{Name: "libpython", Refused: 2}, {Name: "load"}}}}
	m.Ended(metrics.Build{Kind: "build", State: "done", Waited: 2 * time.Second, Took: 90 * time.Second})
	m.Ended(metrics.Build{Kind: "build", State: "failed", Took: time.Second, Err: fmt.Errorf("building web: %w", refused)})
	m.Ended(metrics.Build{Kind: "lock", State: "failed", Took: time.Second, Err: faults.New(faults.Remote, "", "the mirror is away")})
	want(t, read(t, m),
		`ampoule_info{version="1.2.3"} 1`,
		`ampoule_build_duration_seconds_count{kind="build",state="done"} 1`, `ampoule_build_duration_seconds_sum{kind="build",state="done"} 90`,
		`ampoule_build_wait_seconds_count{kind="build"} 2`,
		`ampoule_build_failures_total{fault="refused"} 1`, `ampoule_build_failures_total{fault="remote"} 1`,
		`ampoule_verdict_failures_total{check="libpython"} 2`)
	if strings.Contains(read(t, m), `check="load"`) {
		t.Error("a check that refused nothing is counted")
	}
}

func TestSteps(t *testing.T) {
	t.Parallel()
	m := metrics.New("")
	o := m.Observer()
	at := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	after := func(seconds int) time.Time { return at.Add(time.Duration(seconds) * time.Second) }
	for _, e := range []progress.Event{
		{Kind: progress.Started, Stage: progress.StageFetch, Time: at},
		{Kind: progress.Advanced, Stage: progress.StageFetch, Unit: progress.Bytes, Done: 100, Total: 300},
		{Kind: progress.Advanced, Stage: progress.StageFetch, Unit: progress.Bytes, Done: 300, Total: 300},
		{Kind: progress.Advanced, Stage: progress.StageFetch, Unit: progress.Items, Done: 7},
		{Kind: progress.Done, Stage: progress.StageFetch, Time: after(4)},
		{Kind: progress.Started, Stage: progress.StageWheel, Task: "a", Time: at}, {Kind: progress.Started, Stage: progress.StageWheel, Task: "b", Time: after(1)},
		{Kind: progress.Done, Stage: progress.StageWheel, Task: "b", Time: after(2), Reused: true, Cache: "registry.example/cache"},
		{Kind: progress.Failed, Stage: progress.StageWheel, Task: "a", Time: after(60), Message: "code 1"},
		{Kind: progress.Started, Stage: progress.StageToolchain, Time: at}, {Kind: progress.Done, Stage: progress.StageToolchain, Time: at, Reused: true},
	} {
		o.Observe(e)
	}
	want(t, read(t, m),
		`ampoule_fetched_bytes_total 300`,
		`ampoule_results_total{from="made",stage="fetch"} 1`, `ampoule_results_total{from="cached",stage="wheel"} 1`, `ampoule_results_total{from="reused",stage="toolchain"} 1`,
		`ampoule_step_duration_seconds_sum{outcome="made",stage="fetch"} 4`, `ampoule_step_duration_seconds_sum{outcome="failed",stage="wheel"} 60`, `ampoule_step_duration_seconds_sum{outcome="cached",stage="wheel"} 1`)
}

func TestState(t *testing.T) {
	t.Parallel()
	m := metrics.New("")
	state, err := metrics.State{Unfinished: map[string]int{"queued": 3, "building": 1}, Oldest: 90 * time.Second, Workers: 2, Hosts: map[metrics.Host]int{{"web:prod", "current"}: 5}}, error(nil)
	m.Watch(func(ctx context.Context) (metrics.State, error) {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("asking may last for ever")
		}
		return state, err
	})
	want(t, read(t, m), `ampoule_queue_builds{state="queued"} 3`, `ampoule_queue_oldest_seconds 90`, `ampoule_workers 2`, `ampoule_hosts{channel="web:prod",state="current"} 5`, `ampoule_database_up 1`)
	err = errors.New("the database is away")
	text := read(t, m)
	want(t, text, `ampoule_database_up 0`)
	if strings.Contains(text, "ampoule_queue_builds{") {
		t.Error("old counts are told as if they were new")
	}
}

func TestRequests(t *testing.T) {
	t.Parallel()
	m := metrics.New("")
	m.Request("GET /builds/{id}", "GET", 200, 30*time.Millisecond)
	m.Request("GET /builds/{id}", "PROPFIND'\"\n", 405, time.Millisecond)
	want(t, read(t, m), `ampoule_http_request_duration_seconds_count{method="GET",route="GET /builds/{id}",status="2xx"} 1`, `ampoule_http_request_duration_seconds_count{method="other",route="GET /builds/{id}",status="4xx"} 1`)
}

// engine fails as it is told.
type engine struct{ start, exec error }

func (e engine) Start(context.Context, sandbox.Spec) (sandbox.Sandbox, error) {
	return box{err: e.exec}, e.start
}

type box struct {
	sandbox.Sandbox
	err error
}

func (b box) Exec(context.Context, sandbox.Step) error              { return b.err }
func (b box) Import(context.Context, string, io.Reader) error       { return b.err }
func (b box) Export(context.Context, string) (io.ReadCloser, error) { return nil, b.err }

func TestEngine(t *testing.T) {
	t.Parallel()
	away := errors.New("the engine is away")
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"away", away, "1"},
		{"a step's own code", fmt.Errorf("running: %w", &sandbox.ExitError{Code: 2}), ""},
		{"what is not there", fmt.Errorf("exporting: %w", fs.ErrNotExist), ""},
		{"well", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := metrics.New("")
			s, err := m.Runner(engine{exec: test.err}).Start(t.Context(), sandbox.Spec{})
			if err != nil {
				t.Fatal(err)
			}
			_ = s.Exec(t.Context(), sandbox.Step{})
			_ = s.Import(t.Context(), "/", nil)
			_, _ = s.Export(t.Context(), "/")
			for _, operation := range []string{"exec", "import", "export"} {
				line := fmt.Sprintf("ampoule_docker_errors_total{operation=%q} 1\n", operation)
				if got := strings.Contains(read(t, m), line); got != (test.want != "") {
					t.Errorf("%s counted: %v", operation, got)
				}
			}
			if _, ok := s.(sandbox.Wrapper); !ok {
				t.Error("the sandbox's abilities are hidden")
			}
		})
	}
	m := metrics.New("")
	if _, err := m.Runner(engine{start: away}).Start(t.Context(), sandbox.Spec{}); !errors.Is(err, away) {
		t.Error(err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	_, _ = m.Runner(engine{start: away}).Start(stopped, sandbox.Spec{})
	want(t, read(t, m), `ampoule_docker_errors_total{operation="start"} 1`)
}

// everything is metrics of which each has something to tell.
func everything() *metrics.Metrics {
	m := metrics.New("1")
	m.Ended(metrics.Build{Kind: "build", State: "failed", Err: &builder.RefusedError{Verdict: audit.Verdict{Checks: []audit.CheckResult{{Name: "load", Refused: 1}}}}})
	m.Request("GET /", "GET", 200, 0)
	m.Watch(func(context.Context) (metrics.State, error) {
		return metrics.State{Unfinished: map[string]int{"queued": 1}, Hosts: map[metrics.Host]int{{"a:b", "c"}: 1}}, nil
	})
	o := m.Observer()
	o.Observe(progress.Event{Kind: progress.Started, Stage: progress.StageSeal})
	o.Observe(progress.Event{Kind: progress.Done, Stage: progress.StageSeal})
	_, _ = m.Runner(engine{start: errors.New("away")}).Start(context.Background(), sandbox.Spec{})
	return m
}

// TestNames wants the names to be as Prometheus wants them.
func TestNames(t *testing.T) {
	t.Parallel()
	problems, err := promlint.New(strings.NewReader(read(t, everything()))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "ampoule_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// TestAlerts wants the alert rules to ask for metrics that there are, by labels that they have.
func TestAlerts(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile(filepath.Join("..", "..", "operations", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := read(t, everything())
	asked := regexp.MustCompile(`\b(ampoule_[a-z_]+)(?:\{([^}]*)\})?`).FindAllStringSubmatch(string(rules), -1)
	if len(asked) < 12 {
		t.Fatalf("the rules ask for %d metrics", len(asked))
	}
	label := regexp.MustCompile(`([a-z_]+)(?:=|!=|=~|!~)"`)
	for _, one := range asked {
		lines := only(text, one[1]+"{") + only(text, one[1]+" ")
		if lines == "" {
			t.Errorf("a rule asks for %s, which is none of the metrics", one[1])
		}
		for _, name := range label.FindAllStringSubmatch(one[2], -1) {
			if !strings.Contains(lines, name[1]+`="`) {
				t.Errorf("a rule asks for the label %s of %s, which has none", name[1], one[1])
			}
		}
	}
}
