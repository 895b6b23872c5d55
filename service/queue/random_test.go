package queue

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/queue/history"
)

// operations is how many random operations the history is made of.
const operations = 1000

// player does what callers, workers and accidents do, in an order that is drawn.
type player struct {
	t        *testing.T
	q        *Queue
	rand     *rand.Rand
	accepted []string
	leases   []*Lease
}

// After a thousand random operations, among them losses, zombies and races of publication with
// cancellation, the history has no fault.
func TestRandomHistory(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		p := &player{t: t, q: open(t, db, Config{Quota: 8, Attempts: 4}), rand: rand.New(rand.NewPCG(seed, 0))}
		for range operations {
			p.step()
		}
		p.settle()
		checkHistory(t, db, p.accepted, true)
	})
}

func (p *player) step() {
	switch n := p.rand.IntN(100); {
	case n < 25:
		p.submit()
	case n < 50:
		p.lease()
	case n < 58:
		p.cancel()
	case n < 61 && len(p.accepted) > 0:
		a, err := p.q.Retry(p.t.Context(), team, p.any())
		p.note(a, err)
	case n < 64:
		p.crash()
	case len(p.leases) > 0:
		p.work()
	}
}

func (p *player) any() string { return p.accepted[p.rand.IntN(len(p.accepted))] }

func (p *player) note(a builds.Accepted, err error) {
	if err == nil {
		p.accepted = append(p.accepted, a.Build.ID)
	}
	p.expected(err)
}

func (p *player) submit() {
	s := ask(p.rand.IntN(12))
	s.Force = p.rand.IntN(10) == 0
	s.Priority = builds.Priority(p.rand.IntN(20) - 10)
	if p.rand.IntN(3) == 0 {
		s.IdempotencyKey = string(rune('a' + p.rand.IntN(8)))
	}
	who := []builds.Caller{team, other, {Name: "fork"}}[p.rand.IntN(3)]
	a, err := p.q.Submit(p.t.Context(), who, s)
	p.note(a, err)
}

func (p *player) lease() {
	worker := string(rune('A' + p.rand.IntN(4)))
	l, found, err := p.q.Lease(p.t.Context(), worker, Able{Platforms: []string{platform}})
	p.expected(err)
	if found {
		p.leases = append(p.leases, l)
	}
}

func (p *player) cancel() {
	if len(p.accepted) == 0 {
		return
	}
	who := []builds.Caller{team, other, admin}[p.rand.IntN(3)]
	_, err := p.q.Cancel(p.t.Context(), who, p.any())
	p.expected(err)
}

// crash has one build's lease end. The worker keeps its lease, and writes with it later.
func (p *player) crash() {
	err := p.q.db.Write(p.t.Context(), func(ctx context.Context, tx database.Tx) error {
		_, err := tx.Exec(ctx, "UPDATE builds SET lease_until = {now} - 1 WHERE id = (SELECT min(id) FROM builds WHERE lease_until IS NOT NULL)")
		return err
	})
	if err == nil {
		_, err = p.q.Reap(p.t.Context())
	}
	p.expected(err)
	// What waits after a fault of a machine need not wait here.
	p.expected(p.q.db.Write(p.t.Context(), func(ctx context.Context, tx database.Tx) error {
		_, err := tx.Exec(ctx, "UPDATE builds SET available = created")
		return err
	}))
}

// work does something with a lease, which may have ended long ago.
func (p *player) work() {
	ctx, i := p.t.Context(), p.rand.IntN(len(p.leases))
	l := p.leases[i]
	digest := digestOf(l.Build.Key)
	if p.rand.IntN(20) == 0 {
		digest = "sha256:another"
	}
	running := builds.Running()
	over := true
	var err error
	switch p.rand.IntN(12) {
	case 0:
		err = l.Fail(ctx, errors.New("broken"), nil)
	case 1:
		err = l.Release(ctx)
	case 2:
		err = l.GiveUp(ctx, syscall.ENOSPC)
	case 3:
		err = l.Finish(ctx, builds.Result{Digest: digest})
	case 4, 5:
		if err = l.Claim(ctx, digest); err == nil {
			err = l.Finish(ctx, builds.Result{Digest: digest})
		}
	case 6:
		over, err = false, l.Claim(ctx, digest)
	case 7:
		over, err = false, l.Heartbeat(ctx)
	default:
		over, err = false, l.Move(ctx, running[p.rand.IntN(len(running))])
	}
	p.expected(err)
	if over && p.rand.IntN(4) > 0 {
		p.leases = slices.Delete(p.leases, i, i+1)
	}
}

// settle ends all builds.
func (p *player) settle() {
	p.leases = nil
	lose(p.t, p.q)
	p.expected(p.q.db.Write(p.t.Context(), func(ctx context.Context, tx database.Tx) error {
		_, err := tx.Exec(ctx, "UPDATE builds SET available = created")
		return err
	}))
	for {
		l, found, err := p.q.Lease(p.t.Context(), "last", Able{Platforms: []string{platform}})
		must(p.t, err)
		if !found {
			return
		}
		digest, claimed, err := l.Claimed(p.t.Context())
		must(p.t, err)
		if !claimed {
			digest = digestOf(l.Build.Key)
		}
		must(p.t, l.Finish(p.t.Context(), builds.Result{Digest: digest}))
	}
}

// expected fails the test for an error that no caller and no worker should see.
func (p *player) expected(err error) {
	p.t.Helper()
	for _, known := range []any{
		new(*builds.FenceError), new(*builds.TransitionError), new(*builds.QuotaError), new(*builds.IdempotencyError),
		new(*builds.OwnerError), new(*builds.TakenError), new(*builds.CancelledError),
	} {
		if err == nil || errors.As(err, known) {
			return
		}
	}
	p.t.Errorf("unexpected: %v", err)
}

// The checker finds what would be wrong.
func TestCheckerFinds(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		id := submit(t, q, team, ask(1)).Build.ID
		finish(t, lease(t, q, "w"))
		undo := func(text string) error {
			return db.Write(t.Context(), func(ctx context.Context, tx database.Tx) error {
				n, err := tx.Exec(ctx, text)
				if n == 0 {
					t.Errorf("%s changes nothing", text)
				}
				return err
			})
		}
		for name, plant := range map[string][2]string{
			"a lost event":        {"UPDATE events SET seq = 20 WHERE seq = 2", "UPDATE events SET seq = 2 WHERE seq = 20"},
			"a second end":        {"INSERT INTO events SELECT build, seq + 1, at, what, state, state, fence, who, message FROM events WHERE what = 'ended'", "DELETE FROM events WHERE seq > (SELECT min(seq) FROM events WHERE what = 'ended')"},
			"a fence that falls":  {"UPDATE events SET fence = 0 WHERE what = 'published'", "UPDATE events SET fence = 1 WHERE what = 'published'"},
			"another's write":     {"UPDATE events SET who = 'zombie' WHERE what = 'published'", "UPDATE events SET who = 'w' WHERE what = 'published'"},
			"another digest":      {"UPDATE publications SET digest = 'sha256:x'", "UPDATE publications SET digest = '" + digestOf(keyOf(1)) + "'"},
			"a forbidden way":     {"UPDATE events SET state = 'queued' WHERE what = 'moved'", "UPDATE events SET state = 'publishing' WHERE what = 'moved'"},
			"a row without event": {"UPDATE builds SET state = 'failed'", "UPDATE builds SET state = 'done'"},
		} {
			must(t, undo(plant[0]))
			faults, err := history.Check(t.Context(), db, []string{id}, true)
			if len(faults) == 0 || err != nil {
				t.Errorf("%s is not found, %v", name, err)
			}
			must(t, undo(plant[1]))
			checkHistory(t, db, []string{id}, true)
		}
		if faults, err := history.Check(t.Context(), db, []string{"other"}, false); len(faults) != 1 || err != nil {
			t.Errorf("a lost build: %v, %v", faults, err)
		}
		submit(t, q, team, ask(2))
		if faults, err := history.Check(t.Context(), db, nil, true); len(faults) != 1 || err != nil {
			t.Errorf("a build that never ends: %v, %v", faults, err)
		}
	})
}
