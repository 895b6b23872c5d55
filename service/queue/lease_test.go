package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/progress"
	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
	"ampoule/service/logs"
)

// wipe removes what a standby has not got.
func wipe(ctx context.Context, tx database.Tx) error {
	_, err := tx.Exec(ctx, "DELETE FROM publications")
	return err
}

// Builds come by priority, and then in the order of their submission.
func TestOrder(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		var wanted []string
		for i, p := range []builds.Priority{builds.Low, builds.Normal, builds.Normal, builds.High} {
			s := ask(i)
			s.Priority = p
			wanted = append(wanted, submit(t, q, team, s).Build.ID)
			time.Sleep(2 * time.Millisecond) // SQLite's clock has milliseconds
		}
		wanted = []string{wanted[3], wanted[1], wanted[2], wanted[0]}
		var got []string
		for range wanted {
			got = append(got, lease(t, q, "w").Build.ID)
		}
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
		if l, found, err := q.Lease(t.Context(), "w", Able{Platforms: []string{platform}}); found || err != nil {
			t.Errorf("one more: %+v, %v", l, err)
		}
	})
}

// A worker takes builds of its platform that want no labels but its own.
func TestAble(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		s := ask(1)
		s.Labels = []string{"big", "gpu=a100"}
		submit(t, q, team, s)
		for name, test := range map[string]struct {
			able Able
			want bool
		}{
			"no labels":      {Able{Platforms: []string{platform}}, false},
			"one of them":    {Able{[]string{platform}, []string{"big"}}, false},
			"another one":    {Able{[]string{platform}, []string{"big", "gpu=v100"}}, false},
			"other platform": {Able{[]string{"linux/arm64"}, []string{"big", "gpu=a100"}}, false},
		} {
			if _, found, err := q.Lease(t.Context(), "w", test.able); found != test.want || err != nil {
				t.Errorf("%s: found %t, %v", name, found, err)
			}
		}
		if _, found, err := q.Lease(t.Context(), "w", Able{[]string{"linux/arm64", platform}, []string{"a", "big", "gpu=a100"}}); !found || err != nil {
			t.Errorf("all of them: found %t, %v", found, err)
		}
	})
}

// One who has lost the lease changes nothing, whatever he writes.
func TestFence(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		id := submit(t, q, team, ask(1)).Build.ID
		zombie := lease(t, q, "zombie")
		must(t, zombie.Move(t.Context(), builds.Gating))
		lose(t, q)
		b := get(t, q, id)
		if b.State != builds.Queued || b.Fence <= zombie.Build.Fence {
			t.Errorf("lost: %+v", b)
		}
		writes := map[string]func() error{
			"heartbeat": func() error { return zombie.Heartbeat(t.Context()) },
			"move":      func() error { return zombie.Move(t.Context(), builds.Publishing) },
			"claim":     func() error { return zombie.Claim(t.Context(), "sha256:zombie") },
			"finish":    func() error { return zombie.Finish(t.Context(), builds.Result{Digest: "sha256:zombie"}) },
			"fail":      func() error { return zombie.Fail(t.Context(), errors.New("x"), nil) },
			"cancelled": func() error { return zombie.Cancelled(t.Context(), errors.New("x")) },
			"release":   func() error { return zombie.Release(t.Context()) },
			"give up":   func() error { return zombie.GiveUp(t.Context(), syscall.ENOSPC) },
			"log":       func() error { return zombie.appendLog(t.Context(), logs.Output, []byte("zombie\n")) },
		}
		for _, when := range []string{"queued", "another's", "ended"} {
			var l *Lease
			switch when {
			case "another's":
				l = lease(t, q, "second")
			case "ended":
				l = &Lease{Build: get(t, q, id), q: q}
				must(t, db.Read(t.Context(), func(ctx context.Context, query database.Querier) error {
					return query.QueryRow(ctx, "SELECT token FROM builds WHERE id = $1", id).Scan(&l.token)
				}))
				finish(t, l)
				if err := l.Finish(t.Context(), builds.Result{Digest: digestOf(keyOf(1))}); err != nil {
					t.Errorf("finishing again, after a lost answer: %v", err)
				}
			}
			before := get(t, q, id)
			for name, write := range writes {
				want[*builds.FenceError](t, when+", "+name, write())
			}
			if diff := cmp.Diff(before, get(t, q, id)); diff != "" {
				t.Errorf("%s: a zombie has changed (-before +after):\n%s", when, diff)
			}
		}
		if log := readLog(t, q, id, logs.Output); log != "" {
			t.Errorf("a zombie has written %q", log)
		}
		if p, _, err := q.Published(t.Context(), keyOf(1)); p.Digest != digestOf(keyOf(1)) || err != nil {
			t.Errorf("published: %+v, %v", p, err)
		}
	})
}

// What a worker tells whose lease is over is in no log: another one writes it.
func TestZombieTellsNothing(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		id := submit(t, q, team, ask(1)).Build.ID
		zombie := newTeller(t.Context(), q, lease(t, q, "zombie"), journal(t.Output()))
		tell := func(to *teller, text string) {
			to.Observe(progress.Event{Stage: progress.StageInterpreter, Kind: progress.Told, Message: text})
		}
		tell(zombie, "before")
		zombie.flush(false)
		lose(t, q)
		second := newTeller(t.Context(), q, lease(t, q, "second"), journal(t.Output()))
		tell(second, "after")
		tell(zombie, "of a zombie")
		zombie.close()
		second.close()
		finish(t, second.l)
		log := readLog(t, q, id, logs.Output)
		if !strings.Contains(log, "before\n") || !strings.Contains(log, "after\n") || strings.Contains(log, "of a zombie\n") || !zombie.fenced || second.fenced {
			t.Errorf("%q", log)
		}
		if events := readLog(t, q, id, logs.Progress); strings.Contains(events, "of a zombie") {
			t.Errorf("%q", events)
		}
	})
}

// A promoted standby may lack the last lease: then two workers have the same fence, and only one
// has the token.
func TestFenceRepeats(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		submit(t, q, team, ask(1))
		first := lease(t, q, "first")
		must(t, db.Write(t.Context(), func(ctx context.Context, tx database.Tx) error {
			_, err := tx.Exec(ctx, "UPDATE builds SET state = 'queued', fence = 0, seq = 1, token = '', attempt = 0, lease_until = NULL")
			if err == nil {
				_, err = tx.Exec(ctx, "DELETE FROM events WHERE seq > 1")
			}
			return err
		}))
		second := lease(t, q, "second")
		if first.Build.Fence != second.Build.Fence {
			t.Fatalf("fences %d and %d", first.Build.Fence, second.Build.Fence)
		}
		want[*builds.FenceError](t, "the first", first.Claim(t.Context(), "sha256:first"))
		finish(t, second)
	})
}

// A worker may be lost in any state; the build goes on elsewhere and has the same digest.
func TestLostInEachState(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		for i, state := range builds.Running() {
			id := submit(t, q, team, ask(i)).Build.ID
			first := lease(t, q, "first")
			must(t, first.Move(t.Context(), state))
			if state == builds.Publishing {
				must(t, first.Claim(t.Context(), digestOf(keyOf(i))))
				if _, found, err := q.Published(t.Context(), keyOf(i)); found || err != nil {
					t.Errorf("the registry may lack the tag: %t, %v", found, err)
				}
			}
			lose(t, q)
			second := lease(t, q, "second")
			if second.Build.ID != id || second.Build.Attempt != 2 {
				t.Fatalf("%s: %+v", state, second.Build)
			}
			if digest, found, err := second.Claimed(t.Context()); found != (state == builds.Publishing) || err != nil {
				t.Errorf("%s: claimed %s, %t, %v", state, digest, found, err)
			}
			finish(t, second)
			if b := get(t, q, id); b.State != builds.Done || b.Result.Digest != digestOf(keyOf(i)) {
				t.Errorf("%s: %+v", state, b)
			}
		}
		checkHistory(t, db, nil, true)
	})
}

// A build whose workers are lost again and again fails.
func TestLostTooOften(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{Attempts: 3})
		id := submit(t, q, team, ask(1)).Build.ID
		for range 3 {
			lease(t, q, "w")
			lose(t, q)
		}
		b := get(t, q, id)
		if b.State != builds.Failed || b.Failure.Kind != "machine" || len(b.Failure.Hints) == 0 {
			t.Errorf("%+v", b)
		}
	})
}

// A machine that cannot gives the build back, for a while, and not for ever.
func TestGiveUp(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{Attempts: 2})
		id := submit(t, q, team, ask(1)).Build.ID
		must(t, lease(t, q, "full").GiveUp(t.Context(), syscall.ENOSPC))
		if _, found, err := q.Lease(t.Context(), "w", Able{Platforms: []string{platform}}); found || err != nil {
			t.Errorf("at once: found %t, %v", found, err)
		}
		earlier(t, db, "available", pauseAfter)
		must(t, lease(t, q, "full").GiveUp(t.Context(), syscall.ENOSPC))
		if b := get(t, q, id); b.State != builds.Failed || b.Failure.Kind != "machine" {
			t.Errorf("%+v", b)
		}
	})
}

// earlier has a time of the only build be so much earlier.
func earlier(t *testing.T, db *database.DB, column string, by time.Duration) {
	t.Helper()
	must(t, db.Write(t.Context(), func(ctx context.Context, tx database.Tx) error {
		n, err := tx.Exec(ctx, "UPDATE builds SET "+column+" = "+column+" - $1", by.Microseconds())
		if n != 1 {
			t.Errorf("%d rows", n)
		}
		return err
	}))
}

// A build of another version waits for its worker, however often others give it back, and not for ever.
func TestGiveUpForVersion(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{Attempts: 2})
		id := submit(t, q, team, ask(1)).Build.ID
		other := fmt.Errorf("planning: %w", &builds.VersionError{Accepted: keyOf(1), Here: keyOf(2)})
		for range 5 {
			must(t, lease(t, q, "older").GiveUp(t.Context(), other))
			if b := get(t, q, id); b.State != builds.Queued || b.Failure != nil {
				t.Fatalf("%+v", b)
			}
			if _, found, err := q.Lease(t.Context(), "w", Able{Platforms: []string{platform}}); found || err != nil {
				t.Errorf("at once: found %t, %v", found, err)
			}
			earlier(t, db, "available", versionPause)
		}
		l := lease(t, q, "older")
		earlier(t, db, "created", versionWait)
		must(t, l.GiveUp(t.Context(), other))
		if b := get(t, q, id); b.State != builds.Failed || b.Failure.Kind != "machine" || !strings.Contains(b.Failure.Message, keyOf(2)) {
			t.Errorf("%+v", b)
		}
	})
}

// A release in order is no loss.
func TestRelease(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{Attempts: 2})
		submit(t, q, team, ask(1))
		for range 4 {
			must(t, lease(t, q, "w").Release(t.Context()))
		}
		finish(t, lease(t, q, "w"))
	})
}

// A key has one digest: a build that made another one is told, and the first stands.
func TestFirstDigestStands(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		submit(t, q, team, ask(1))
		finish(t, lease(t, q, "w"))
		force := ask(1)
		force.Force = true
		id := submit(t, q, team, force).Build.ID
		l := lease(t, q, "w")
		want[*builds.TakenError](t, "claim", l.Claim(t.Context(), "sha256:other"))
		want[*builds.TakenError](t, "finish", l.Finish(t.Context(), builds.Result{Digest: "sha256:other"}))
		if b := get(t, q, id); b.State.Terminal() {
			t.Errorf("%+v", b)
		}
		same := true
		must(t, l.Finish(t.Context(), builds.Result{Digest: digestOf(keyOf(1)), Same: &same}))
	})
}

func TestCancel(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		id := submit(t, q, team, ask(1)).Build.ID
		submit(t, q, other, ask(1))
		_, err := q.Cancel(t.Context(), builds.Caller{Name: "stranger"}, id)
		want[*builds.OwnerError](t, "a stranger", err)
		if b, err := q.Cancel(t.Context(), team, id); err != nil || b.State != builds.Queued || b.Followers != 1 {
			t.Errorf("while another one follows: %+v, %v", b, err)
		}
		if b, err := q.Cancel(t.Context(), other, id); err != nil || b.State != builds.Cancelled {
			t.Errorf("the last one: %+v, %v", b, err)
		}
		if b, err := q.Cancel(t.Context(), other, id); err != nil || b.State != builds.Cancelled {
			t.Errorf("once more: %+v, %v", b, err)
		}

		running := submit(t, q, team, ask(1)).Build.ID
		submit(t, q, other, ask(1))
		l := lease(t, q, "w")
		if b, err := q.Cancel(t.Context(), admin, running); err != nil || !b.Cancelling {
			t.Errorf("by an administrator: %+v, %v", b, err)
		}
		want[*builds.CancelledError](t, "heartbeat", l.Heartbeat(t.Context()))
		want[*builds.CancelledError](t, "claim", l.Claim(t.Context(), "sha256:x"))
		if next := submit(t, q, team, ask(1)); next.Joined || next.Build.ID == running {
			t.Errorf("a build that is being cancelled is joined: %+v", next)
		}
		must(t, l.Finish(t.Context(), builds.Result{Digest: "sha256:x"}))
		if b := get(t, q, running); b.State != builds.Cancelled {
			t.Errorf("what ends well after all: %+v", b)
		}

		l = lease(t, q, "w")
		must(t, l.Claim(t.Context(), digestOf(keyOf(1))))
		_, err = q.Cancel(t.Context(), team, l.Build.ID)
		want[*builds.TransitionError](t, "after the claim", err)
		finish(t, l)
		_, err = q.Cancel(t.Context(), team, l.Build.ID)
		want[*builds.TransitionError](t, "after the end", err)

		lost := submit(t, q, team, ask(2)).Build.ID
		lease(t, q, "w")
		_, err = q.Cancel(t.Context(), team, lost)
		must(t, err)
		lose(t, q)
		if b := get(t, q, lost); b.State != builds.Cancelled {
			t.Errorf("cancelled and lost: %+v", b)
		}
	})
}

// Whichever is first counts whole: a build is cancelled and nothing is published, or it is
// published and done.
func TestCancelRacesPublication(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		ends := map[builds.State]int{}
		for i := range 40 {
			id := submit(t, q, team, ask(i)).Build.ID
			l := lease(t, q, "w")
			var wg sync.WaitGroup
			wg.Go(func() {
				time.Sleep(rand.N(time.Millisecond))
				_, err := q.Cancel(t.Context(), team, id)
				var late *builds.TransitionError
				if err != nil && !errors.As(err, &late) {
					t.Error(err)
				}
			})
			wg.Go(func() {
				time.Sleep(rand.N(time.Millisecond))
				digest := digestOf(keyOf(i))
				err := l.Claim(t.Context(), digest)
				var cancelled *builds.CancelledError
				switch {
				case err == nil:
					err = l.Finish(t.Context(), builds.Result{Digest: digest})
				case errors.As(err, &cancelled):
					err = l.Cancelled(t.Context(), cancelled)
				}
				if err != nil {
					t.Error(err)
				}
			})
			wg.Wait()
			b := get(t, q, id)
			_, published, err := q.Published(t.Context(), keyOf(i))
			must(t, err)
			if published != (b.State == builds.Done) || !b.State.Terminal() {
				t.Errorf("published %t, and the build is %s", published, b.State)
			}
			ends[b.State]++
		}
		t.Logf("ends: %v", ends)
	})
}

// Two workers never have one build, and none is left.
func TestWorkersRace(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{Quota: 1000})
		const number = 60
		for i := range number {
			submit(t, q, team, ask(i))
		}
		var mu sync.Mutex
		taken := map[string]string{}
		var wg sync.WaitGroup
		for w := range 6 {
			wg.Go(func() {
				for {
					l, found, err := q.Lease(t.Context(), fmt.Sprint("w", w), Able{Platforms: []string{platform}})
					if err != nil {
						t.Error(err)
					}
					if !found {
						return
					}
					mu.Lock()
					if before, ok := taken[l.Build.ID]; ok {
						t.Errorf("%s and w%d have %s", before, w, l.Build.ID)
					}
					taken[l.Build.ID] = fmt.Sprint("w", w)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(taken) != number {
			t.Errorf("%d of %d builds are taken", len(taken), number)
		}
	})
}

// The database's time counts: a process whose clock is an hour off takes nothing back, and gives
// nothing away.
func TestClockOff(t *testing.T) {
	t.Parallel()
	for name, options := range engines {
		for _, off := range []time.Duration{time.Hour, -time.Hour} {
			t.Run(name+off.String(), func(t *testing.T) {
				t.Parallel()
				o := options(t)
				o.Ahead = off
				db := databasetest.Open(t, o)
				q := open(t, db, Config{})
				id := submit(t, q, team, ask(1)).Build.ID
				l := lease(t, q, "w")
				must(t, l.Heartbeat(t.Context()))
				if n, err := q.Reap(t.Context()); n != 0 || err != nil {
					t.Errorf("%d builds are taken back, %v", n, err)
				}
				now, err := db.Now(t.Context())
				must(t, err)
				if ahead := time.Until(now) - off; ahead.Abs() > time.Minute {
					t.Fatalf("the database's clock is %s off, not %s", ahead+off, off)
				}
				b := get(t, q, id)
				if left := b.LeaseUntil.Sub(now); left <= 0 || left > defaultLease {
					t.Errorf("the lease lasts %s", left)
				}
				finish(t, l)
				if b := get(t, q, id); b.Ended.Sub(now).Abs() > time.Minute || b.Ended.Before(b.Created) {
					t.Errorf("ended %s, created %s, now %s", b.Ended, b.Created, now)
				}
				checkHistory(t, db, nil, true)
			})
		}
	}
}

// SQLite has one process: what was running when it ended is queued at once.
func TestBoot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := database.Open(t.Context(), database.Options{Dir: dir})
	must(t, err)
	q, err := New(t.Context(), Config{DB: db})
	must(t, err)
	id := submit(t, q, team, ask(1)).Build.ID
	l := lease(t, q, "before")
	must(t, errors.Join(q.Close(), db.Close()))

	db = databasetest.Open(t, database.Options{Dir: dir})
	q = open(t, db, Config{})
	b := get(t, q, id)
	if b.State != builds.Queued || b.Fence <= l.Build.Fence {
		t.Errorf("after the start: %+v", b)
	}
	finish(t, lease(t, q, "after"))
	checkHistory(t, db, []string{id}, true)
}
