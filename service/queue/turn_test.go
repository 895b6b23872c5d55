package queue

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/service/builds"
	"ampoule/service/database"
)

// callersOf takes builds until there are none, and lists who asked for each.
func callersOf(t *testing.T, q *Queue, most int) (who []string) {
	t.Helper()
	for range most {
		l, found, err := q.Lease(t.Context(), "w", Able{Platforms: []string{platform}})
		must(t, err)
		if !found {
			break
		}
		who = append(who, l.Build.Caller)
	}
	return who
}

// Callers take turns within a priority: a hundred builds of one do not keep another one's waiting. A
// higher priority comes before, and who begins later has no turns saved up.
func TestTurns(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{Quota: 200})
		n := 0
		queue := func(who string, p builds.Priority, count int) {
			for range count {
				n++
				s := ask(n)
				s.Priority = p
				submit(t, q, builds.Caller{Name: who}, s)
			}
		}
		queue("many", builds.Normal, 100)
		if got := callersOf(t, q, 3); len(got) != 3 {
			t.Fatalf("%v", got)
		}
		queue("one", builds.Normal, 1)
		queue("few", builds.Normal, 3)
		queue("urgent", builds.High, 1)
		want := []string{"urgent", "many", "one", "few", "many", "few", "many", "few", "many", "many"}
		if diff := cmp.Diff(want, callersOf(t, q, len(want))); diff != "" {
			t.Errorf("turns (-want +got):\n%s", diff)
		}
		queue("late", builds.Normal, 2)
		want = []string{"many", "late", "many", "late", "many"}
		if diff := cmp.Diff(want, callersOf(t, q, len(want))); diff != "" {
			t.Errorf("turns of who begins late (-want +got):\n%s", diff)
		}
	})
}

// What a caller has cancelled costs it no turns. A build whose priority rises takes its turn there,
// and one that was lost keeps the turn that it had.
func TestTurnsOfOthers(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{Quota: 200})
		for i := range 20 {
			id := submit(t, q, team, ask(100+i)).Build.ID
			if _, err := q.Cancel(t.Context(), team, id); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 3 {
			submit(t, q, other, ask(i))
		}
		submit(t, q, team, ask(10))
		if diff := cmp.Diff([]string{"other", "team"}, callersOf(t, q, 2)); diff != "" {
			t.Errorf("after cancelling (-want +got):\n%s", diff)
		}
		lose(t, q)
		if diff := cmp.Diff([]string{"other", "team", "other", "other"}, callersOf(t, q, 9)); diff != "" {
			t.Errorf("after a loss (-want +got):\n%s", diff)
		}
		urgent := func(n int) builds.Submission { s := ask(n); s.Priority = builds.High; return s }
		for i := range 5 {
			submit(t, q, other, ask(30+i))
		}
		for i := range 2 {
			submit(t, q, builds.Caller{Name: "urgent", Trusted: true}, urgent(40+i))
		}
		if a := submit(t, q, team, urgent(34)); !a.Joined {
			t.Errorf("%+v", a)
		}
		// The last of the other's builds is team's first urgent one, and older than those.
		if l := lease(t, q, "w"); l.Build.Key != keyOf(34) {
			t.Errorf("%+v", l.Build)
		}
	})
}

// The queue is asked for its first build by an index that has its order, also of what lets none of
// this worker's pass: however many wait, no query sorts or reads all of them.
func TestLongQueue(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		const queued = 5000
		q := open(t, db, Config{Quota: queued})
		must(t, db.Write(t.Context(), func(ctx context.Context, tx database.Tx) error {
			_, err := tx.Exec(ctx, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
				INSERT INTO builds (id, kind, state, recipe, build_key, same_as, platform, labels, priority, forced, trusted, options,
					caller, followers, archive, retry_of, time_limit, created, available, turn, seq)
				SELECT 'long' || i, 'build', 'queued', 'r', 'k' || i, 's' || i, 'linux/amd64', '', 0, FALSE, TRUE, '', 'c' || (i % 100), 1, '', '', 1000000, i, i, i, 1 FROM n`, queued)
			if err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `INSERT INTO events (build, seq, at, what, from_state, state, fence, who, message)
				SELECT id, 1, created, 'submitted', '', 'queued', 0, '', '' FROM builds`)
			return err
		}))
		must(t, db.Write(t.Context(), func(ctx context.Context, tx database.Tx) error {
			_, err := tx.Exec(ctx, "ANALYZE")
			return err
		}))
		text, args := nextQuery(Able{Platforms: []string{platform}, Labels: []string{"big"}})
		plan := planOf(t, db, text, args...)
		if !strings.Contains(plan, "builds_in_turn") || strings.Contains(plan, "Sort") || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("the next build is found by\n%s", plan)
		}
		for what, f := range map[string]builds.Filter{"a caller's": {Caller: "c7"}, "failed": {States: []builds.State{builds.Failed}}, "a recipe's": {Recipe: "none"}} {
			w := conditions(f)
			plan := planOf(t, db, "SELECT id FROM builds"+w.text()+" ORDER BY created DESC, id DESC LIMIT 50", w.args...)
			if strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "builds_listed") || strings.Contains(plan, "TEMP B-TREE") {
				t.Errorf("%s builds are listed by\n%s", what, plan)
			}
		}
		if l := lease(t, q, "w"); l.Build.ID != "long1" {
			t.Errorf("%+v", l.Build)
		}
		if a := submit(t, q, team, ask(1)); a.Build.State != builds.Queued {
			t.Errorf("%+v", a)
		}
	})
}

// planOf is what the engine says of how it does a query.
func planOf(t *testing.T, db *database.DB, text string, args ...any) string {
	t.Helper()
	explain := "EXPLAIN "
	if db.Engine() == database.SQLite {
		explain = "EXPLAIN QUERY PLAN "
	}
	var plan strings.Builder
	must(t, db.Write(t.Context(), func(ctx context.Context, tx database.Tx) error {
		return database.Each(ctx, tx, explain+text, args, func(from database.Row) error {
			var line string
			dest := []any{&line}
			if db.Engine() == database.SQLite {
				dest = []any{new(int), new(int), new(int), &line}
			}
			err := from.Scan(dest...)
			plan.WriteString(line + "\n")
			return err
		})
	}))
	return plan.String()
}
