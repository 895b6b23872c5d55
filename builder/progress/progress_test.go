package progress_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/progress"
	"ampoule/builder/progress/progresstest"
)

func TestTask(t *testing.T) {
	t.Parallel()
	r := progresstest.New()
	ctx := r.Context(t.Context())
	task := progress.Start(ctx, progress.StageWheel, "x==1.0")
	task.SetLog("/logs/x.log")
	task.Advance(1, 3, progress.Items)
	task.Wait(progress.Holder{Build: "b"})
	task.Resume()
	task.Tell("slow")
	task.End(nil)
	progress.Start(ctx, progress.StageWheel, "y").End(errors.New("broke"))
	progress.Start(ctx, progress.StageSeal, "").Reuse()
	const x, log = "x==1.0", "/logs/x.log"
	want := []progress.Event{
		{Kind: progress.Started, Stage: progress.StageWheel, Task: x},
		{Kind: progress.Advanced, Stage: progress.StageWheel, Task: x, Done: 1, Total: 3, Unit: progress.Items, Log: log},
		{Kind: progress.Waiting, Stage: progress.StageWheel, Task: x, Log: log, Holder: &progress.Holder{Build: "b"}},
		{Kind: progress.Resumed, Stage: progress.StageWheel, Task: x, Log: log},
		{Kind: progress.Told, Stage: progress.StageWheel, Task: x, Message: "slow", Log: log},
		{Kind: progress.Done, Stage: progress.StageWheel, Task: x, Log: log},
		{Kind: progress.Started, Stage: progress.StageWheel, Task: "y"},
		{Kind: progress.Failed, Stage: progress.StageWheel, Task: "y", Message: "broke"},
		{Kind: progress.Started, Stage: progress.StageSeal},
		{Kind: progress.Done, Stage: progress.StageSeal, Reused: true},
	}
	if diff := cmp.Diff(want, r.Events()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A task that has nothing to tell is not heard of; one that has starts before.
func TestLater(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		do   func(*progress.Task)
		want []progress.Kind
	}{
		"end":    {func(task *progress.Task) { task.End(errors.New("told by others")) }, nil},
		"reuse":  {func(task *progress.Task) { task.Reuse() }, nil},
		"begin":  {func(task *progress.Task) { task.Begin(); task.Begin(); task.End(nil) }, []progress.Kind{progress.Started, progress.Done}},
		"wait":   {func(task *progress.Task) { task.Wait(progress.Holder{}); task.Reuse() }, []progress.Kind{progress.Started, progress.Waiting, progress.Done}},
		"resume": {func(task *progress.Task) { task.Resume() }, []progress.Kind{progress.Started, progress.Resumed}},
		"tell":   {func(task *progress.Task) { task.Tell("m") }, []progress.Kind{progress.Started, progress.Told}},
		"go on":  {func(task *progress.Task) { task.Advance(1, 2, progress.Items) }, []progress.Kind{progress.Started, progress.Advanced}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := progresstest.New()
			test.do(progress.Later(r.Context(t.Context()), progress.StageFetch, "a"))
			var got []progress.Kind
			for _, e := range r.Events() {
				got = append(got, e.Kind)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("kinds (-want +got):\n%s", diff)
			}
		})
	}
}

func TestContext(t *testing.T) {
	t.Parallel()
	progress.Send(t.Context(), progress.Event{Kind: progress.Warned}) // Nobody is told, and nothing breaks.
	outer, inner := progresstest.New(), progresstest.New()
	ctx := inner.Context(outer.Context(t.Context()))
	progress.Send(context.WithoutCancel(ctx), progress.Event{Kind: progress.Warned, Message: "m"})
	progress.Send(progress.Silent(ctx), progress.Event{Kind: progress.Warned, Message: "silent"})
	if got := outer.Events(); len(got) != 0 {
		t.Errorf("the outer feed has %v", got)
	}
	if got := inner.Events(); len(got) != 1 || got[0].Message != "m" {
		t.Errorf("the inner feed has %v", got)
	}
}

// Every build has an ID, whether it is followed or not.
func TestSelf(t *testing.T) {
	t.Parallel()
	if self := progress.Self(t.Context()); self != (progress.Holder{}) {
		t.Errorf("without a build: %+v", self)
	}
	followed := progress.NewFeed()
	ctx := progress.Of(progress.With(t.Context(), followed), "web")
	if diff := cmp.Diff(progress.Holder{Build: followed.Build(), Recipe: "web"}, progress.Self(progress.Silent(ctx))); diff != "" {
		t.Errorf("followed (-want +got):\n%s", diff)
	}
	one, two := progress.Self(progress.Of(t.Context(), "web")), progress.Self(progress.Of(t.Context(), "web"))
	if one.Build == "" || one.Build == two.Build || one.Recipe != "web" {
		t.Errorf("not followed: %+v and %+v", one, two)
	}
}

// TestJSON holds the form that programs read.
func TestJSON(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 5, 4, 12, 0, 0, 5000, time.UTC)
	for want, event := range map[string]progress.Event{
		`{"time":"2026-05-04T12:00:00.000005Z","seq":1,"build":"b","kind":"started","stage":"lock"}`: {
			Time: noon, Seq: 1, Build: "b", Kind: progress.Started, Stage: progress.StageLock,
		},
		`{"time":"2026-05-04T12:00:00.000005Z","seq":2,"build":"b","kind":"advanced","stage":"fetch","task":"a","reused":true,"done":1,"total":2,"unit":"bytes","message":"m","log":"l"}`: {
			Time: noon, Seq: 2, Build: "b", Kind: progress.Advanced, Stage: progress.StageFetch, Task: "a", Reused: true, Done: 1, Total: 2, Unit: progress.Bytes, Message: "m", Log: "l",
		},
		`{"time":"2026-05-04T12:00:00.000005Z","seq":3,"build":"b","kind":"waiting","stage":"","holder":{}}`: {
			Time: noon, Seq: 3, Build: "b", Kind: progress.Waiting, Holder: &progress.Holder{},
		},
		`{"time":"2026-05-04T12:00:00.000005Z","seq":4,"build":"b","kind":"waiting","stage":"wheel","holder":{"build":"c","recipe":"web","process":1,"host":"h","since":"2026-05-04T12:00:00.000005Z"}}`: {
			Time: noon, Seq: 4, Build: "b", Kind: progress.Waiting, Stage: progress.StageWheel, Holder: &progress.Holder{Build: "c", Recipe: "web", Process: 1, Host: "h", Since: noon},
		},
	} {
		got, err := json.Marshal(event)
		if string(got) != want || err != nil {
			t.Errorf("JSON %s, %v; want %s", got, err, want)
		}
		var back progress.Event
		if err := json.Unmarshal(got, &back); err != nil || cmp.Diff(event, back) != "" {
			t.Errorf("%s is read as %+v, %v", got, back, err)
		}
	}
}

// Each stage has a name of its own, and no other name is one.
func TestStages(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{"": true}
	for _, s := range progress.Stages() {
		text, err := s.MarshalText()
		if err != nil || seen[string(text)] || s.String() != string(text) {
			t.Errorf("stage %d is %q, %v", s, text, err)
		}
		seen[string(text)] = true
		var back progress.Stage
		if err := back.UnmarshalText(text); err != nil || back != s {
			t.Errorf("%q is read as %s, %v", text, back, err)
		}
	}
	var s progress.Stage
	if err := s.UnmarshalText([]byte("wheels")); err == nil {
		t.Error("a free text is a stage")
	}
	if text, err := progress.Stage(200).MarshalText(); err == nil {
		t.Errorf("a number without a name is %q", text)
	}
	if got := fmt.Sprint(progress.Stage(200)); got != "stage(200)" {
		t.Error(got)
	}
}
