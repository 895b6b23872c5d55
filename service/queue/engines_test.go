package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"ampoule/builder/progress"
	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
	"ampoule/service/logs"
	"ampoule/service/queue/history"
)

// engines are the databases that every test runs on. With the tag "postgres" there is a
// second one.
var engines = map[string]func(testing.TB) database.Options{
	"sqlite": func(t testing.TB) database.Options { return database.Options{Dir: t.TempDir()} },
}

// onEach runs a test on a new database of each engine. Afterwards the history is checked.
func onEach(t *testing.T, test func(t *testing.T, db *database.DB)) {
	t.Helper()
	t.Parallel()
	for name, options := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := databasetest.Open(t, options(t))
			test(t, db)
			checkHistory(t, db, nil, false)
		})
	}
}

func checkHistory(t *testing.T, db *database.DB, accepted []string, settled bool) {
	t.Helper()
	faults, err := history.Check(context.WithoutCancel(t.Context()), db, accepted, settled)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Error("history: " + f)
	}
}

func open(t testing.TB, db *database.DB, c Config) *Queue {
	t.Helper()
	c.DB = db
	q, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

const platform = "linux/amd64"

var (
	team  = builds.Caller{Name: "team", Trusted: true}
	other = builds.Caller{Name: "other", Trusted: true}
	admin = builds.Caller{Name: "admin", Trusted: true, Admin: true}
)

func keyOf(n int) string { return fmt.Sprintf("sha256:%064x", n) }

func digestOf(key string) string { return "sha256:" + strings.Repeat("d", 32) + key[len(key)-32:] }

// ask is a submission of a build with the key of that number.
func ask(n int) builds.Submission {
	return builds.Submission{
		Kind: builds.KindBuild, Recipe: fmt.Sprintf("recipe-%d", n), Key: keyOf(n), Platform: platform, Archive: fmt.Sprintf("%064x", n),
	}
}

func submit(t testing.TB, q *Queue, c builds.Caller, s builds.Submission) builds.Accepted {
	t.Helper()
	a, err := q.Submit(t.Context(), c, s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func lease(t testing.TB, q *Queue, worker string) *Lease {
	t.Helper()
	l, found, err := q.Lease(t.Context(), worker, Able{Platforms: []string{platform}})
	if err != nil || !found {
		t.Fatalf("lease: found %t, %v", found, err)
	}
	return l
}

func get(t testing.TB, q *Queue, id string) builds.Build {
	t.Helper()
	b, err := q.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lose ends all leases, as if their time were over, and takes the builds back.
func lose(t testing.TB, q *Queue) {
	t.Helper()
	must(t, q.db.Write(t.Context(), func(ctx context.Context, tx database.Tx) error {
		_, err := tx.Exec(ctx, "UPDATE builds SET lease_until = {now} - 1 WHERE lease_until IS NOT NULL")
		return err
	}))
	if _, err := q.Reap(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// want fails unless the error is one of a type.
func want[E error](t testing.TB, what string, err error) {
	t.Helper()
	var e E
	if !errors.As(err, &e) {
		t.Errorf("%s: %v, want a %T", what, err, e)
	}
}

// finish publishes and ends a build well.
func finish(t testing.TB, l *Lease) {
	t.Helper()
	digest := digestOf(l.Build.Key)
	must(t, l.Claim(t.Context(), digest))
	must(t, l.Finish(t.Context(), builds.Result{Digest: digest}))
}

// runner is a fake of what builds.
type runner struct {
	mu   sync.Mutex
	runs map[string]int
	do   func(ctx context.Context, job Job) (builds.Result, error)
}

// ran is how often a build was run so far; others may be running.
func (r *runner) ran(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.runs[id]
}

// Run implements [Runner].
func (r *runner) Run(ctx context.Context, job Job) (builds.Result, error) {
	r.mu.Lock()
	if r.runs == nil {
		r.runs = map[string]int{}
	}
	r.runs[job.Build.ID]++
	r.mu.Unlock()
	if r.do != nil {
		return r.do(ctx, job)
	}
	return succeed(ctx, job)
}

// succeed makes the digest of the job's key.
func succeed(ctx context.Context, job Job) (builds.Result, error) {
	for _, stage := range []progress.Stage{progress.StageFetch, progress.StageInterpreter, progress.StageGate} {
		progress.Start(ctx, stage, "").End(nil)
	}
	digest := digestOf(job.Build.Key)
	return builds.Result{Digest: digest}, job.Claim(ctx, digest)
}

// work runs a worker until stop is called; without a call it ends with the test.
func work(t testing.TB, q *Queue, c WorkerConfig) (w *Worker, stop func()) {
	t.Helper()
	c.Queue, c.Platform = q, orDefault(c.Platform, platform)
	w, err := NewWorker(c)
	must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("worker: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return w, stop
}

// patience is how long is waited for what happens at once on a machine with nothing else to do.
const patience = 2 * time.Minute

// await waits until a build is as it is wanted.
func await(t testing.TB, q *Queue, id string, what string, is func(builds.Build) bool) builds.Build {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		b := get(t, q, id)
		if is(b) {
			return b
		}
		if time.Now().After(deadline) {
			t.Fatalf("build %s is not %s: %+v", id, what, b)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func ended(b builds.Build) bool { return b.State.Terminal() }

// journal is where a test's worker logs.
func journal(w io.Writer) *logrus.Entry {
	l := logrus.New()
	l.SetOutput(w)
	return logrus.NewEntry(l)
}

// readLog reads all of a log.
func readLog(t testing.TB, q *Queue, id string, s logs.Stream) string {
	t.Helper()
	var all []byte
	for c, err := range q.FollowLog(t.Context(), id, s, 0) {
		must(t, err)
		all = append(all, c.Data...)
	}
	return string(all)
}
