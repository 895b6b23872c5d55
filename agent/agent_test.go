package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/agent/reports"
	"ampoule/faults"
	"ampoule/registry/channel"
)

func TestFollows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok("") // nothing was promoted
	w.entry(channel.Promote, a)
	w.ok(a)
	w.entry(channel.Promote, b)
	w.ok(b)
	j := w.journal()
	if j.Good != b || j.State != reports.Follows || j.Alarm != "" {
		t.Errorf("%+v", j)
	}
	w.entry(channel.Rollback, a)
	w.ok(a)
	w.entry(channel.Refresh, a)
	w.ok(a)
}

// A channel that has not changed costs one small request.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.entry(channel.Promote, a)
	agent := w.agent()
	ctx, cancel := context.WithCancel(t.Context())
	polls := 0
	agent.sleep = func(_ context.Context, d time.Duration) error {
		w.now = w.now.Add(d)
		if w.asked["collect"] == 0 {
			return nil // it watches
		}
		switch polls++; polls {
		case 1:
			w.asked = map[string]int{"collect": 1}
		case 11:
			cancel()
		}
		return ctx.Err()
	}
	if err := agent.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"collect": 1, "head": 10}, w.asked); diff != "" {
		t.Error(diff)
	}
}

// A release that fails in anything is gone back from by itself, and not tried again until the
// channel names it anew.
func TestFallsBack(t *testing.T) {
	t.Parallel()
	for _, stage := range []string{"smoke", "restart", "watch"} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.entry(channel.Promote, a)
			w.ok(a)
			w.entry(channel.Promote, b)
			w.bad[b] = stage
			var failed *FailedError
			if err := w.once(); !errors.As(err, &failed) || failed.Digest != b || failed.Back != a || faults.Of(err) != faults.Refused {
				t.Fatal(err)
			}
			w.runs(a)
			if j := w.journal(); j.State != reports.FellBack || j.Quarantined[b].Sequence != 2 || j.Good != a {
				t.Errorf("%+v", j)
			}
			w.entry(channel.Refresh, b)
			ops := w.asked["install"]
			w.refuses(b+" has failed on this host, and "+a+" runs", faults.Refused)
			if w.asked["install"] != ops {
				t.Error("it was tried again")
			}
			delete(w.bad, b)
			w.entry(channel.Rollback, a)
			w.ok(a)
			w.entry(channel.Promote, b)
			w.ok(b)
		})
	}
}

// Where the release before does not come up either, a person is told, and it is tried again.
func TestFallsBackBadly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.entry(channel.Promote, a)
	w.ok(a)
	w.entry(channel.Promote, b)
	w.bad[a], w.bad[b] = "restart", "watch"
	w.refuses("which is the current release again, does not come up", faults.Refused)
	if j := w.journal(); w.current != a || !j.Unrestarted || j.State != reports.Alarmed {
		t.Errorf("%.9s %+v", w.current, j)
	}
	w.refuses("programs may not run "+a+": restarting", faults.Machine)
	delete(w.bad, a)
	w.refuses(b+" has failed on this host", faults.Refused)
	w.runs(a)

	gone := newWorld(t)
	gone.entry(channel.Promote, a)
	gone.ok(a)
	gone.entry(channel.Promote, b)
	gone.bad[b] = "watch"
	delete(gone.installed, a) // somebody has removed it: it is installed again
	gone.refuses(b+" has failed on this host", faults.Refused)
	gone.runs(a)

	lost := newWorld(t)
	lost.entry(channel.Promote, a)
	lost.ok(a)
	lost.entry(channel.Promote, b)
	lost.bad[a], lost.bad[b] = "activate", "watch"
	lost.refuses("and going back to "+a+": ", faults.Machine)
	if j := lost.journal(); j.Phase != Returning || j.State != reports.Alarmed {
		t.Errorf("%+v", j)
	}
	delete(lost.bad, a)
	lost.refuses(b+" has failed on this host", faults.Refused)
	lost.runs(a)
}

// The first release of a host has nothing to go back to.
func TestFirstFails(t *testing.T) {
	t.Parallel()
	for stage, want := range map[string]string{"smoke": "", "watch": a} {
		w := newWorld(t)
		w.entry(channel.Promote, a)
		w.bad[a] = stage
		w.refuses(map[string]string{"smoke": "nothing runs", "watch": "there is nothing to go back to"}[stage], faults.Refused)
		w.runs(want)
		w.entry(channel.Promote, b)
		w.ok(b)
	}
}

// What could not be tried says nothing about the release: it is tried again.
func TestNotTried(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.entry(channel.Promote, a)
	w.ok(a)
	w.entry(channel.Promote, b)
	for _, stage := range []string{"install", "activate"} {
		w.bad[b] = stage
		if err := w.once(); err == nil {
			t.Errorf("%s ends well", stage)
		}
		w.runs(a)
		if j := w.journal(); len(j.Quarantined) > 0 || j.Failures == 0 {
			t.Errorf("%+v", j)
		}
	}
	delete(w.bad, b)
	w.ok(b)
}

// A process is killed before and after everything that it does. The next one finishes what it
// began, or goes back: what is current runs, and nothing is under way.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	for _, stage := range []string{"", "smoke", "restart", "watch"} {
		t.Run("fails in "+stage, func(t *testing.T) {
			t.Parallel()
			killed := 0
			for at := 1; ; at++ {
				w := newWorld(t)
				w.entry(channel.Promote, a)
				w.ok(a)
				w.entry(channel.Promote, b)
				w.bad[b] = stage
				w.ops, w.crashAt = 0, at
				err := w.once()
				if !errors.Is(err, errCrash) {
					break
				}
				killed++
				w.crashAt = 0
				err = w.once()
				var failed *FailedError
				if stage == "" && err != nil || stage != "" && !errors.As(err, &failed) {
					t.Errorf("killed at %d: %v", at, err)
				}
				w.runs(map[bool]string{true: b, false: a}[stage == ""])
			}
			if killed < 5 {
				t.Errorf("it was killed %d times", killed)
			}
		})
	}
}

// A kill between the switch and the watch leads to a whole watch.
func TestWatchGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.entry(channel.Promote, a)
	w.ok(a)
	w.entry(channel.Promote, b)
	looks := 0
	w.during = func(what string) {
		if what == "look" {
			if looks++; looks == 4 {
				panic(errCrash)
			}
		}
	}
	if err := w.once(); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	if j := w.journal(); j.Phase != Watching || j.Deployment.Watched != 20*time.Second {
		t.Errorf("%+v", j.Deployment)
	}
	w.now = w.now.Add(24 * time.Hour) // somebody sets the clock: the watch is not shorter for that
	w.ok(b)
	if looks != 4+5 {
		t.Errorf("it was looked at %d times", looks)
	}
}

// The channel is looked at during the watch, too.
func TestMovesDuringWatch(t *testing.T) {
	t.Parallel()
	for name, move := range map[string]func(w *world){
		"back":    func(w *world) { w.entry(channel.Rollback, a) },
		"revoked": func(w *world) { w.entry(channel.Revoke, b) },
		"on":      func(w *world) { w.entry(channel.Promote, c) },
	} {
		w := newWorld(t)
		w.settings.Watch.For = time.Hour
		w.entry(channel.Promote, a)
		w.ok(a)
		w.entry(channel.Promote, b)
		looks := 0
		w.during = func(what string) {
			if what == "look" {
				if looks++; looks == 2 {
					move(w)
				}
			}
		}
		err := w.once()
		want := map[string]string{"back": a, "revoked": a, "on": c}[name]
		if (err != nil) != (name == "revoked") {
			t.Errorf("%s: %v", name, err)
		}
		w.runs(want)
		if len(w.journal().Quarantined) > 0 || w.journal().Good != want {
			t.Errorf("%s: %+v", name, w.journal())
		}
	}
}

func TestRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.settings.Delay = time.Hour
	w.entry(channel.Promote, a)
	w.ok(a)
	w.entry(channel.Promote, b)
	w.now = w.now.Add(2 * time.Hour)
	w.ok(b)
	w.entry(channel.Revoke, b)
	w.refuses("channel registry.example/web:prod names "+b+", which is revoked: why; "+a+" runs here", faults.Refused)
	w.runs(a)
	if j := w.journal(); j.State != reports.Alarmed {
		t.Errorf("%+v", j)
	}
	w.refuses("which is revoked", faults.Refused) // it is said as long as it is so
	w.entry(channel.Rollback, a)
	w.ok(a)
	w.entry(channel.Revoke, a)
	w.refuses(a+" runs here, and is revoked in channel", faults.Refused)
	w.runs(a) // nothing is left to go to
}

// Past max-stale nothing is activated, and what runs goes on.
func TestStale(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.settings.MaxStale = 24 * time.Hour
	w.entry(channel.Promote, a)
	w.ok(a)
	w.entry(channel.Promote, b)
	w.now = w.now.Add(25 * time.Hour)
	w.refuses("is too old: nothing is activated, and what runs goes on", faults.Refused)
	w.runs(a)
	w.away = faults.New(faults.Remote, "", "connection refused")
	w.refuses("is too old: its last entry was written at", faults.Remote)
	w.away = nil
	w.entry(channel.Refresh, b)
	w.ok(b)
	if w.now = w.now.Add(48 * time.Hour); len(w.journal().Events) == 0 {
		t.Error("no events")
	}
	w.refuses("is too old", faults.Refused)
	w.runs(b)
	if j := w.journal(); j.State != reports.Blind {
		t.Errorf("%+v", j)
	}
}

// The registry is away, fails, is not believed: what runs goes on, and it is asked less and less.
func TestBackoff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.entry(channel.Promote, a)
	w.ok(a)
	w.away = later{errors.New("too many requests"), 40 * time.Minute}
	agent := w.agent()
	var pauses []time.Duration
	agent.sleep = func(_ context.Context, d time.Duration) error {
		pauses = append(pauses, d)
		w.now = w.now.Add(d)
		switch len(pauses) {
		case 1:
			w.away = faults.New(faults.Remote, "", "connection refused")
		case 8:
			w.away = nil
		case 9:
			return errCrash
		}
		return nil
	}
	if err := agent.Run(t.Context()); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	for i, want := range []time.Duration{40 * time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, maxBackoff, maxBackoff, maxBackoff, maxBackoff, 30 * time.Second} {
		if got := pauses[i]; got < want*9/10 || got > want*11/10 {
			t.Errorf("pause %d is %s, not about %s", i, got, want)
		}
	}
	w.runs(a)
	if told := strings.Join(w.told, "\n"); strings.Count(told, "connection refused") != 1 || !strings.Contains(told, "all is well again") {
		t.Errorf("%s", told)
	}
}

type later struct {
	error
	after time.Duration
}

func (l later) After() time.Duration { return l.after }

// A wave follows promotions later, and all else at once.
func TestDelay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.settings.Delay = 30 * time.Minute
	w.entry(channel.Promote, a)
	w.ok(a) // it runs nothing yet
	w.entry(channel.Promote, b)
	w.ok(a)
	if j := w.journal(); j.State != reports.Waits || !j.Later.Equal(w.now.Add(30*time.Minute)) {
		t.Errorf("%+v", j)
	}
	w.now = w.now.Add(29 * time.Minute)
	w.entry(channel.Promote, c)
	w.ok(a)
	w.now = w.now.Add(2 * time.Minute)
	w.ok(b) // that channel was there half an hour ago
	w.now = w.now.Add(30 * time.Minute)
	w.ok(c)
	w.entry(channel.Rollback, a)
	w.ok(a)
	w.entry(channel.Promote, b)
	w.entry(channel.Restart, c)
	w.ok(c)
}

func TestHandsOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.entry(channel.Promote, a)
	w.ok(a)
	w.settings.Channel = "staging"
	w.ok(a)
	if j := w.journal(); j.Channel != "registry.example/web:staging" {
		t.Errorf("%+v", j)
	}
	// What somebody has activated by hand is replaced: the channel decides.
	w.entry(channel.Promote, b)
	w.ok(b)
	w.current = a
	w.ok(b)
}

func TestTwoAgents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.entry(channel.Promote, a)
	var second error
	w.during = func(what string) {
		if what == "smoke" {
			second = w.agent().Once(t.Context())
		}
	}
	w.ok(a)
	var busy *BusyError
	if !errors.As(second, &busy) || faults.Of(second) != faults.Machine {
		t.Errorf("%v", second)
	}
}

func TestDamagedJournal(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no JSON": "{", "another version": `{"version": 9, "channel": "x"}`, "no deployment": `{"version": 1, "channel": "x", "phase": "watching"}`,
		"too large": strings.Repeat(" ", maxJournal+1),
	} {
		w := newWorld(t)
		w.entry(channel.Promote, a)
		w.ok(a)
		w.entry(channel.Promote, b)
		file := filepath.Join(w.settings.Root, dirName, journalName)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		w.refuses("reading "+file, faults.Machine)
		if w.current != a {
			t.Errorf("%s: %s is current", name, w.current)
		}
	}
	if _, err := ReadJournal(t.TempDir()); faults.Of(err) != faults.NotFound {
		t.Errorf("%v", err)
	}
}

// A journal keeps so many events, and not more.
func TestEvents(t *testing.T) {
	t.Parallel()
	j := &Journal{}
	for i := range maxEvents + 10 {
		j.note(time.Time{}, "", fmt.Sprint(i))
	}
	if len(j.Events) != maxEvents || j.Events[0].What != "10" {
		t.Errorf("%d events from %s on", len(j.Events), j.Events[0].What)
	}
}
