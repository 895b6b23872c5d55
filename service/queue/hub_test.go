//go:build postgres

package queue

import (
	"context"
	"testing"
	"time"

	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
)

// A change that one process commits wakes who waits for it in another one, if it cannot wait. What is
// rolled back wakes nobody.
func TestToldAcrossProcesses(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	here := open(t, databasetest.Open(t, database.Options{URL: url}), Config{})
	there := open(t, databasetest.Open(t, database.Options{URL: url}), Config{})
	tell := func(id string, what builds.What, result error) {
		_ = here.db.Write(t.Context(), func(_ context.Context, tx database.Tx) error {
			here.hub.announce(tx, id, what)
			return result
		})
	}
	within := func(changed <-chan struct{}, most time.Duration) bool {
		select {
		case <-changed:
			return true
		case <-time.After(most):
			return false
		}
	}
	// When it hears of one, it listens, and is through with what it may have missed.
	probe, leave := there.hub.watch("probe")
	defer leave()
	for begun := time.Now(); !within(probe, 50*time.Millisecond); tell("probe", builds.Ended, nil) {
		if time.Since(begun) > patience {
			t.Fatal("nothing is told across processes")
		}
	}
	b1, leave1 := there.hub.watch("b1")
	defer leave1()
	b2, leave2 := there.hub.watch("b2")
	defer leave2()
	b3, leave3 := there.hub.watch("b3")
	defer leave3()
	tell("b2", builds.Ended, context.Canceled)
	tell("b3", builds.Moved, nil)
	tell("b1", builds.Cancelling, nil)
	if !within(b1, patience) {
		t.Error("a change is not told")
	}
	if within(b2, 0) || within(b3, 0) {
		t.Error("what was rolled back is told, or what can wait")
	}
}
