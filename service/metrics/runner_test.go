package metrics_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"ampoule/builder/progress"
	"ampoule/faults"
	"ampoule/service/builds"
	"ampoule/service/metrics"
	"ampoule/service/queue"
)

// run is a runner that ends as it is told.
type run struct {
	err error
	end func()
}

func (r run) Run(ctx context.Context, _ queue.Job) (builds.Result, error) {
	progress.Start(ctx, progress.StageSeal, "").End(nil)
	r.end()
	return builds.Result{Digest: "sha256:1", Accepted: map[string]int{"binary": 2}}, r.err
}

// ear counts what it is told.
type ear struct{ events int }

func (e *ear) Observe(progress.Event) { e.events++ }

func TestRunner(t *testing.T) {
	t.Parallel()
	stopped := errors.New("the worker ends")
	for _, test := range []struct {
		name       string
		err, cause error
		want       string
	}{
		{"done", nil, nil, "done"},
		{"failed", faults.New(faults.Build, "", "code 1"), nil, "failed"},
		{"given back", faults.New(faults.Remote, "", "it is away"), nil, "released"},
		{"cancelled", context.Canceled, &builds.CancelledError{By: "ann"}, "cancelled"},
		{"too long", context.Canceled, &builds.LimitError{Limit: time.Hour}, "failed"},
		{"the worker stops", context.Canceled, stopped, ""},
		{"the lease is lost", &builds.FenceError{ID: "x"}, nil, ""},
		{"done although it stops", nil, stopped, "done"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := metrics.New("")
			// The feed is the worker's: it hears of all, too.
			feed := progress.NewFeed()
			heard := &ear{}
			leave := feed.Follow(heard)
			ctx, cancel := context.WithCancelCause(progress.With(t.Context(), feed))
			defer cancel(nil)
			end := func() {
				if test.cause != nil {
					cancel(test.cause)
				}
			}
			created := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
			job := queue.Job{Build: builds.Build{Kind: builds.KindBuild, Attempt: 1, Created: created, Started: created.Add(7 * time.Second)}}
			result, err := m.Builds(run{test.err, end}).Run(ctx, job)
			if result.Digest != "sha256:1" || !errors.Is(err, test.err) {
				t.Errorf("%+v, %v", result, err)
			}
			leave()
			if heard.events != 2 {
				t.Errorf("the worker heard of %d events", heard.events)
			}
			text := read(t, m)
			if test.want != "" && !strings.Contains(text, `ampoule_acceptances_total{what="binary"} 2`) {
				t.Errorf("what was accepted is not counted: %s", text)
			}
			if test.want == "" {
				if strings.Contains(text, "ampoule_build_duration_seconds_count") {
					t.Error("a build that goes on elsewhere is counted")
				}
				return
			}
			want(t, text, `ampoule_build_duration_seconds_count{kind="build",state="`+test.want+`"} 1`, `ampoule_build_wait_seconds_sum{kind="build"} 7`, `ampoule_step_duration_seconds_count{outcome="made",stage="seal"} 1`)
		})
	}
}

type counted builds.Stats

func (c counted) Stats(context.Context) (builds.Stats, error) { return builds.Stats(c), nil }

func TestWatchQueue(t *testing.T) {
	t.Parallel()
	m := metrics.New("")
	m.WatchQueue(counted{States: map[builds.State]int{builds.Gating: 2}, Oldest: time.Minute, Workers: 3}, func(context.Context) (map[metrics.Host]int, error) {
		return map[metrics.Host]int{{Channel: "web:prod", State: "fell back"}: 2}, nil
	})
	want(t, read(t, m), `ampoule_queue_builds{state="queued"} 0`, `ampoule_queue_builds{state="gating"} 2`, `ampoule_queue_oldest_seconds 60`, `ampoule_workers 3`,
		`ampoule_hosts{channel="web:prod",state="fell back"} 2`)
}
