package builds

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"ampoule/faults"
)

// What may follow what: each pair of states is here.
func TestTransitions(t *testing.T) {
	t.Parallel()
	// A row is the state before; a letter is the state behind it, in the order of States:
	// queued, fetching, building, gating, publishing, done, failed, cancelled.
	allowed := map[State]string{
		Queued:     ".x....xx",
		Fetching:   "x.xxxxxx",
		Building:   "x..xxxxx",
		Gating:     "x...xxxx",
		Publishing: "x....xxx",
		Done:       "........",
		Failed:     "........",
		Cancelled:  "........",
		"unknown":  "........",
		"":         "........",
	}
	for from, row := range allowed {
		for i, to := range States() {
			err := Check(from, to)
			if ok := err == nil; ok != (row[i] == 'x') {
				t.Errorf("%q to %q: %v", from, to, err)
			}
			var transition *TransitionError
			if err != nil && (!errors.As(err, &transition) || transition.From != from || transition.To != to) {
				t.Errorf("%q to %q: %#v", from, to, err)
			}
		}
		if Check(from, "unknown") == nil {
			t.Errorf("%q to a state that there is not", from)
		}
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	for _, s := range States() {
		running, active := false, false
		for _, r := range Running() {
			running = running || r == s
		}
		for _, a := range Active() {
			active = active || a == s
		}
		if s.Terminal() == active || s.Running() != running || !s.Valid() {
			t.Errorf("%s: terminal %t, active %t, running %t", s, s.Terminal(), active, running)
		}
	}
	if !Queued.Before(Done) || Done.Before(Queued) || Failed.Before(Done) || Queued.Before(Queued) || State("").Before(Done) {
		t.Error("the order of the states is wrong")
	}
}

// step is an error that knows its step.
type step struct{}

func (step) Error() string          { return "no gcc" }
func (step) Step() (string, string) { return "wheel", "x==1" }

func TestFailure(t *testing.T) {
	t.Parallel()
	f := FailureOf("b1", fmt.Errorf("building: %w", faults.New(faults.Build, "add gcc", "%w", step{})))
	if f.Kind != "build" || f.Message != "building: no gcc" || len(f.Hints) != 1 || f.Stage != "wheel" || f.Task != "x==1" || f.FaultKind() != faults.Build {
		t.Errorf("%+v", f)
	}
	if f := FailureOf("b1", syscall.ENOSPC); f.FaultKind() != faults.Machine || f.Stage != "" {
		t.Errorf("%+v", f)
	}
	if k := (Failure{Kind: "of the future"}).FaultKind(); k != faults.Unknown {
		t.Error(k)
	}
}

// Each error says whose turn it is, and what it is about.
func TestErrors(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"not-found: there is no build b1": &NotFoundError{"b1"},
		"input: key: wrong":               &SubmissionError{"key", "wrong"},
		`input: the idempotency key "k" was used for another request, which is build b1`: &IdempotencyError{"k", "b1"},
		"refused: team has 3 unfinished builds, and may have 3":                          &QuotaError{"team", 3, 3, time.Minute},
		"refused: build b1 is done: it cannot become cancelled":                          &TransitionError{"b1", Done, Cancelled},
		"refused: the build is done: it cannot become queued":                            &TransitionError{From: Done, To: Queued},
		"interrupted: the lease 7 of build b1 has ended: nothing of it counts any more":  &FenceError{"b1", 7},
		"refused: key k is published as sha256:1, and this build made sha256:2":          &TakenError{"k", "sha256:1", "sha256:2"},
		"interrupted: cancelled by team":                                                 &CancelledError{"team"},
		"interrupted: cancelled":                                                         &CancelledError{},
		"build: the build took longer than 1h0m0s":                                       &LimitError{time.Hour},
		"machine: the workers of 5 attempts were lost while they had the build":          &LostError{5},
		"refused: build b1 was not submitted by other":                                   &OwnerError{"b1", "other"},
	} {
		if got := faults.Of(err).String() + ": " + err.Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
