//go:build postgres

package queue

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ampoule/builder/progress"
	"ampoule/internal/postgres"
	"ampoule/internal/record"
	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
	"ampoule/service/logs"
)

var (
	growth   = flag.Int("growth", 100, "how many builds are played through the queue")
	recordTo = flag.String("record", "", "the file that gets what was measured of that")
	keptIn   = flag.String("kept", "", "a directory whose database goes on where it was left; it is removed when all were played")
)

const (
	growthWorkers = 100
	growthRecipes = 2000
	// growthSlices is in how many parts the builds are played, each of which is measured.
	growthSlices = 10
	// growthArchive is the size of a submission, and growthLines how much a build prints.
	growthArchive = 12 << 10
	growthLines   = 60
	// growthBacklog is how many builds are queued at most.
	growthBacklog = 1000
)

// grown is what was measured of a slice; `measure table` shows it.
type grown struct {
	Name          string      `json:"name"`
	When          string      `json:"when"`
	Cores         int         `json:"cores"`
	Shared        bool        `json:"shared,omitempty"`
	Workers       int         `json:"workers"`
	Recipes       int         `json:"recipes"`
	Before        int         `json:"before"`
	Builds        int         `json:"builds"`
	PerSecond     float64     `json:"per_second"`
	DatabaseBytes int64       `json:"database_bytes"`
	Queries       []statement `json:"queries"`
}

// Key is its name.
func (g grown) Key() string { return g.Name }

// statement is a kind of query.
type statement struct {
	Text       string  `json:"text"`
	Calls      int64   `json:"calls"`
	MeanMillis float64 `json:"mean_ms"`
	Share      float64 `json:"share"`
}

// day plays a day of a service.
type day struct {
	t    *testing.T
	db   *database.DB
	apis []*Queue

	queued chan struct{}
	// from is how many builds an earlier run has left.
	from int
}

// A day of a service is played as fast as it goes: a hundred workers with connections of their own lease,
// prolong, tell, publish and end builds of two thousand recipes that fifty callers submit. One
// submission in five is of a key that is published. Every build ends once, and well.
func TestGrowth(t *testing.T) {
	t.Parallel()
	server := growthServer(t)
	d := newDay(t, server)
	workers := growthWorkers
	if *growth < 1000 {
		workers = 10
	}
	for range workers {
		d.work(server.URL("postgres") + "&pool_max_conns=2")
	}
	d.settle()
	d.from = d.count()
	slice := *growth / max(1, min(growthSlices, *growth/1000))
	for before := d.from; before < *growth; {
		// A run that goes on first fills the slice that was not filled.
		count := min(slice-before%slice, *growth-before)
		began := time.Now()
		d.play(before, count)
		took := time.Since(began)
		g := grown{
			Name: fmt.Sprintf("%07d builds before", before), When: time.Now().UTC().Format(time.DateOnly), Cores: runtime.NumCPU(), Shared: os.Getenv("AMPOULE_SHARED") != "",
			Workers: workers, Recipes: growthRecipes, Before: before, Builds: count, PerSecond: math.Round(float64(count)/took.Seconds()*10) / 10,
		}
		d.measure(&g)
		t.Logf("%d builds before: %.1f per second, %d MiB", before, g.PerSecond, g.DatabaseBytes>>20)
		for _, q := range g.Queries {
			t.Logf("  %5.1f %%  %8d × %7.3f ms  %s", q.Share*100, q.Calls, q.MeanMillis, q.Text)
		}
		if *recordTo != "" && count == slice {
			must(t, record.Put(*recordTo, g))
		}
		before += count
	}
	d.look()
	checkHistory(t, d.db, nil, true)
}

// growthServer is the server of the day, which syncs to the disk.
func growthServer(t *testing.T) *postgres.Cluster {
	t.Helper()
	start := postgres.Start
	if *keptIn != "" {
		t.Cleanup(func() { // when the server has ended
			if !t.Failed() {
				must(t, os.RemoveAll(*keptIn))
			}
		})
		start = func(ctx context.Context, settings ...string) (*postgres.Cluster, error) {
			return postgres.Keep(ctx, *keptIn, settings...)
		}
	}
	server, err := start(t.Context(), "fsync=on", "max_connections=500", "shared_buffers=256MB", "max_wal_size=1GB", "shared_preload_libraries=pg_stat_statements")
	return stopped(t, server, err)
}

// count is how many builds there are.
func (d *day) count() (n int) {
	d.t.Helper()
	must(d.t, d.db.Read(d.t.Context(), func(ctx context.Context, q database.Querier) error {
		return q.QueryRow(ctx, "SELECT count(*) FROM builds").Scan(&n)
	}))
	return n
}

func newDay(t *testing.T, server *postgres.Cluster) *day {
	t.Helper()
	d := &day{t: t, queued: make(chan struct{}, growthBacklog)}
	for range 2 {
		d.db = databasetest.Open(t, database.Options{URL: server.URL("postgres") + "&pool_max_conns=8"})
		d.apis = append(d.apis, open(t, d.db, Config{Quota: 1_000_000}))
	}
	must(t, d.db.Write(t.Context(), func(ctx context.Context, tx database.Tx) error {
		_, err := tx.Exec(ctx, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
		return err
	}))
	return d
}

// work starts a worker with connections of its own. Its builds tell of their steps, print, and publish.
func (d *day) work(url string) {
	q := open(d.t, databasetest.Open(d.t, database.Options{URL: url}), Config{})
	work(d.t, q, WorkerConfig{Runner: &runner{do: func(ctx context.Context, job Job) (builds.Result, error) {
		for _, stage := range []progress.Stage{progress.StageFetch, progress.StageInterpreter, progress.StageWheel, progress.StageSeal, progress.StageGate} {
			task := progress.Start(ctx, stage, "")
			for range growthLines / 5 {
				task.Tell("a line of a build's output, as long as such lines are: 0123456789")
			}
			task.End(nil)
		}
		digest := digestOf(job.Build.Key)
		err := job.Claim(ctx, digest)
		d.took()
		return builds.Result{Digest: digest}, err
	}}})
}

// took says that a build waits no more.
func (d *day) took() {
	select {
	case <-d.queued:
	default: // it is of an earlier run
	}
}

// play submits builds, and returns when all have ended.
func (d *day) play(from, count int) {
	d.t.Helper()
	var next atomic.Int64
	var submitting sync.WaitGroup
	for i := range 8 {
		submitting.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= count {
					return
				}
				d.submit(d.apis[i%2], from+n)
			}
		})
	}
	submitting.Wait()
	d.settle()
}

// settle returns when all builds have ended.
func (d *day) settle() {
	d.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		// What has run has not ended before that is written.
		stats, err := d.apis[0].Stats(d.t.Context())
		must(d.t, err)
		left := 0
		for _, state := range builds.Active() {
			left += stats.States[state]
		}
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("%d builds have not ended", left)
		}
	}
}

// submit submits a build with its archive, and now and then one whose key is published.
func (d *day) submit(q *Queue, n int) {
	d.queued <- struct{}{}
	data := make([]byte, growthArchive)
	source := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	_, _ = source.Read(data) // it never fails
	sum, _, err := q.PutArchive(d.t.Context(), bytes.NewReader(data))
	if err == nil {
		s := builds.Submission{Kind: builds.KindBuild, Recipe: fmt.Sprintf("team-%d/service-%d", n%50, n%growthRecipes), Key: keyOf(n), Platform: platform, Archive: sum}
		var a builds.Accepted
		if a, err = q.Submit(d.t.Context(), builds.Caller{Name: fmt.Sprintf("team-%d", n%50), Trusted: true}, s); a.Published || a.Joined {
			d.took() // an earlier run had it
		}
		if err == nil && n%5 == 0 && n >= d.from+2*growthBacklog {
			s.Key = keyOf(n - 2*growthBacklog)
			if a, err = q.Submit(d.t.Context(), builds.Caller{Name: "again", Trusted: true}, s); err == nil && !a.Published {
				err = fmt.Errorf("a published key is answered with %+v", a)
			}
		}
	}
	if err != nil {
		d.t.Error(err)
	}
}

// measure notes how large the database is and what took its time, and begins to count anew.
func (d *day) measure(g *grown) {
	d.t.Helper()
	must(d.t, d.db.Read(d.t.Context(), func(ctx context.Context, q database.Querier) error {
		if err := q.QueryRow(ctx, "SELECT pg_database_size(current_database())").Scan(&g.DatabaseBytes); err != nil {
			return err
		}
		return database.Each(ctx, q, `SELECT left(regexp_replace(regexp_replace(query, '\s+', ' ', 'g'), 'SELECT id, kind, .* FROM builds', 'SELECT … FROM builds'), 90), sum(calls)::bigint, sum(total_exec_time) / sum(calls), sum(total_exec_time) / sum(sum(total_exec_time)) OVER ()
			FROM pg_stat_statements GROUP BY 1 ORDER BY sum(total_exec_time) DESC LIMIT 8`, nil, func(from database.Row) error {
			var s statement
			err := from.Scan(&s.Text, &s.Calls, &s.MeanMillis, &s.Share)
			s.MeanMillis, s.Share = math.Round(s.MeanMillis*1000)/1000, math.Round(s.Share*1000)/1000
			g.Queries = append(g.Queries, s)
			return err
		})
	}))
	must(d.t, d.db.Write(d.t.Context(), func(ctx context.Context, tx database.Tx) error {
		_, err := tx.Exec(ctx, "SELECT pg_stat_statements_reset()")
		return err
	}))
}

// look tells what people's questions take, with all that there is.
func (d *day) look() {
	d.t.Helper()
	q, id := d.apis[0], ""
	for name, ask := range map[string]func(ctx context.Context) error{
		"the first page": func(ctx context.Context) error {
			p, err := q.List(ctx, builds.Filter{}, "", 50)
			if len(p.Builds) > 0 {
				id = p.Builds[0].ID
			}
			return err
		},
		"a recipe's builds": func(ctx context.Context) error {
			_, err := q.List(ctx, builds.Filter{Recipe: "team-7/service-7"}, "", 50)
			return err
		},
		"failed builds": func(ctx context.Context) error {
			_, err := q.List(ctx, builds.Filter{States: []builds.State{builds.Failed}}, "", 50)
			return err
		},
		"a caller's builds": func(ctx context.Context) error {
			_, err := q.List(ctx, builds.Filter{Caller: "team-7"}, "", 50)
			return err
		},
		"a search for little": func(ctx context.Context) error {
			_, err := q.List(ctx, builds.Filter{Search: "nothing has this"}, "", 50)
			return err
		},
		"counts":          func(ctx context.Context) error { _, err := q.Stats(ctx); return err },
		"a published key": func(ctx context.Context) error { _, _, err := q.Published(ctx, keyOf(7)); return err },
		"an empty queue": func(ctx context.Context) error {
			_, _, err := q.Lease(ctx, "w", Able{Platforms: []string{"none/none"}})
			return err
		},
	} {
		var took []time.Duration
		for range 5 {
			began := time.Now()
			must(d.t, ask(d.t.Context()))
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		d.t.Logf("%-20s %s", name, took[2].Round(10*time.Microsecond))
	}
	if _, err := q.ReadLog(d.t.Context(), id, logs.Output, 0, logs.MaxRead); err != nil {
		d.t.Error(err)
	}
	must(d.t, d.db.Read(d.t.Context(), func(ctx context.Context, query database.Querier) error {
		return database.Each(ctx, query, `SELECT relname, pg_total_relation_size(relid), n_live_tup FROM pg_stat_user_tables ORDER BY 2 DESC LIMIT 8`, nil, func(from database.Row) error {
			var name string
			var size, rows int64
			err := from.Scan(&name, &size, &rows)
			d.t.Logf("table %-16s %7.1f MiB, %d rows", name, float64(size)/(1<<20), rows)
			return err
		})
	}))
}
