//go:build postgres

package queue

import (
	"context"
	"errors"
	"testing"

	"ampoule/internal/postgres"
	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
)

// pair is a primary with its standby, and a queue that works with whichever takes writes.
type pair struct {
	primary, standby *postgres.Cluster
	db               *database.DB
	q                *Queue
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{}
	primary, err := postgres.Start(t.Context())
	p.primary = stopped(t, primary, err)
	standby, err := p.primary.Standby(t.Context())
	p.standby = stopped(t, standby, err)
	p.db = databasetest.Open(t, database.Options{URL: p.primary.EitherURL(p.standby, "postgres")})
	p.q = open(t, p.db, Config{Lease: frozenLease})
	return p
}

// failOver has the primary crash, and the standby take its place.
func (p *pair) failOver(t *testing.T) {
	t.Helper()
	must(t, p.primary.Halt(true))
	must(t, p.standby.Promote(t.Context()))
	if !awaitDatabase(t, p.db, patience) {
		t.Fatal("the promoted standby does not answer")
	}
}

// An asynchronous standby that is promoted lacks what came last: a submission is repeated under its
// idempotency key, and has the ID that it had; of a lease that is not known any more nothing counts.
func TestAsynchronousStandby(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	kept := submit(t, p.q, team, ask(1)).Build.ID
	must(t, p.primary.CaughtUp(t.Context()))
	must(t, p.standby.Cut(t.Context()))
	s := ask(2)
	s.IdempotencyKey = "once"
	lost := submit(t, p.q, team, s).Build.ID
	zombie := lease(t, p.q, "zombie")
	if zombie.Build.ID != kept {
		t.Fatalf("%+v", zombie.Build)
	}
	p.failOver(t)

	_, err := p.q.Get(t.Context(), lost)
	want[*builds.NotFoundError](t, "what the standby lacks", err)
	if again := submit(t, p.q, team, s); again.Build.ID != lost || again.Repeated {
		t.Errorf("submitted again: %+v, want %s", again, lost)
	}
	second := lease(t, p.q, "second")
	if second.Build.ID != kept || second.Build.Fence != zombie.Build.Fence {
		t.Fatalf("the standby gives %+v", second.Build)
	}
	want[*builds.FenceError](t, "publishing under the forgotten lease", zombie.Claim(t.Context(), "sha256:zombie"))
	finish(t, second)
	want[*builds.FenceError](t, "ending under it", zombie.Finish(t.Context(), builds.Result{Digest: "sha256:zombie"}))
	finish(t, lease(t, p.q, "second"))
	checkHistory(t, p.db, []string{kept, lost}, true)
}

// With a synchronous standby nothing that was accepted is lost, whenever the primary crashes; and
// while the standby is away, nothing is accepted.
func TestSynchronousStandby(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	must(t, p.primary.Synchronous(t.Context()))
	ids := []string{submit(t, p.q, team, ask(1000)).Build.ID}
	must(t, p.primary.CaughtUp(t.Context())) // the server may have answered it before it had read its settings
	accepted, stopped := make(chan string, 1000), make(chan error, 1)
	go func() {
		defer close(accepted)
		for i := range 1000 {
			a, err := p.q.Submit(context.WithoutCancel(t.Context()), builds.Caller{Name: "load", Quota: 10_000}, ask(i))
			if err != nil {
				stopped <- err
				return
			}
			accepted <- a.Build.ID
		}
		stopped <- nil
	}()
	for range 20 {
		ids = append(ids, <-accepted)
	}
	p.failOver(t)
	for id := range accepted {
		ids = append(ids, id)
	}
	var away *database.UnavailableError
	if err := <-stopped; err != nil && !errors.As(err, &away) {
		t.Errorf("while the primary crashes: %v", err)
	}
	t.Logf("%d were accepted", len(ids))
	for _, id := range ids {
		if _, err := p.q.Get(t.Context(), id); err != nil {
			t.Errorf("%s was accepted: %v", id, err)
		}
	}
	checkHistory(t, p.db, ids, false)

	// The promoted one waits for a standby that there is not, as soon as it has read its settings.
	must(t, p.standby.Set(t.Context(), "synchronous_standby_names", postgres.StandbyName))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	refused := make(chan error, 1)
	go func() {
		for i := 2000; ; i++ {
			if _, err := p.q.Submit(ctx, builds.Caller{Name: "load", Quota: 10_000}, ask(i)); err != nil {
				refused <- err
				return
			}
		}
	}()
	must(t, p.standby.Waits(t.Context()))
	select {
	case err := <-refused:
		t.Errorf("while nobody confirms: %v", err)
	default:
	}
	cancel()
	<-refused
	must(t, p.standby.Set(t.Context(), "synchronous_standby_names", ""))
}
