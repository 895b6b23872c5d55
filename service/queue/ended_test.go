package queue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"ampoule/service/builds"
	"ampoule/service/database"
)

// Whoever wants to know it is told of the end of each build, once, in the transaction that ends it.
func TestEnded(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		var mu sync.Mutex
		var told []string
		full := false
		q := open(t, db, Config{Ended: func(_ context.Context, tx database.Tx, b builds.Build) error {
			if full {
				return errors.New("the disk is full")
			}
			tx.OnCommit(func() {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, b.Recipe+" "+string(b.State))
			})
			return nil
		}})
		submit(t, q, team, ask(1))
		finish(t, lease(t, q, "w1"))
		submit(t, q, team, ask(2))
		l := lease(t, q, "w1")
		must(t, l.Fail(t.Context(), errors.New("broken"), nil))
		must(t, l.Fail(t.Context(), errors.New("broken"), nil)) // its answer was lost
		a := submit(t, q, team, ask(3))
		full = true
		if _, err := q.Cancel(t.Context(), team, a.Build.ID); err == nil || get(t, q, a.Build.ID).State != builds.Queued {
			t.Errorf("a build ended, and nobody could be told: %v", err)
		}
		full = false
		if _, err := q.Cancel(t.Context(), team, a.Build.ID); err != nil {
			t.Error(err)
		}
		if want := []string{"recipe-1 done", "recipe-2 failed", "recipe-3 cancelled"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}
