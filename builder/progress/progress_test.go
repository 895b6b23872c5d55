package progress

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// events keeps what it is told.
type events []Event

// Observe implements [Observer].
func (e *events) Observe(event Event) { *e = append(*e, event) }

func TestTask(t *testing.T) {
	t.Parallel()
	var got events
	task := Start(With(t.Context(), &got), "wheel", "x==1.0")
	task.SetLog("/logs/x.log")
	task.Advance(1, 3, Items)
	task.Tell("slow")
	task.End(nil)
	Start(With(t.Context(), &got), "wheel", "y").End(errors.New("broke"))
	Start(With(t.Context(), &got), "seal", "").Reuse()
	want := events{
		{Kind: Started, Stage: "wheel", Task: "x==1.0"},
		{Kind: Advanced, Stage: "wheel", Task: "x==1.0", Done: 1, Total: 3, Unit: Items, Log: "/logs/x.log"},
		{Kind: Told, Stage: "wheel", Task: "x==1.0", Message: "slow", Log: "/logs/x.log"},
		{Kind: Done, Stage: "wheel", Task: "x==1.0", Log: "/logs/x.log"},
		{Kind: Started, Stage: "wheel", Task: "y"},
		{Kind: Failed, Stage: "wheel", Task: "y", Message: "broke"},
		{Kind: Started, Stage: "seal"},
		{Kind: Done, Stage: "seal", Reused: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestObservers(t *testing.T) {
	t.Parallel()
	Send(t.Context(), Event{Kind: Warned}) // Nobody is told, and nothing breaks.
	var outer, inner events
	ctx := With(With(t.Context(), &outer), &inner)
	Send(context.WithoutCancel(ctx), Event{Kind: Warned, Message: "m"})
	if len(outer) != 0 || len(inner) != 1 {
		t.Errorf("the outer observer has %v, the inner one %v", outer, inner)
	}
}

// TestJSON holds the form that programs read.
func TestJSON(t *testing.T) {
	t.Parallel()
	for want, event := range map[string]Event{
		`{"kind":"started","stage":"lock"}`: {Kind: Started, Stage: "lock"},
		`{"kind":"advanced","stage":"fetch","task":"a","reused":true,"done":1,"total":2,"unit":"bytes","message":"m","log":"l"}`: {
			Kind: Advanced, Stage: "fetch", Task: "a", Reused: true, Done: 1, Total: 2, Unit: Bytes, Message: "m", Log: "l",
		},
	} {
		if got, err := json.Marshal(event); string(got) != want || err != nil {
			t.Errorf("JSON %s, %v; want %s", got, err, want)
		}
	}
}
