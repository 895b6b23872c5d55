//go:build postgres

package queue

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ampoule/builder/progress"
	"ampoule/internal/postgres"
	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
	"ampoule/service/logs"
	"ampoule/system/systemtest"
)

// stopped stops a cluster with the test.
func stopped(t *testing.T, c *postgres.Cluster, err error) *postgres.Cluster {
	t.Helper()
	must(t, err)
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// awaitDatabase waits until the database answers.
func awaitDatabase(t *testing.T, db *database.DB, patience time.Duration) bool {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if db.Ping(t.Context()) == nil {
			return true
		}
	}
	return false
}

// The server is away for longer than a lease while a build runs that two follow: they wait, and see
// all of its events and its whole log. The build runs once.
func TestFollowersOutlastTheServer(t *testing.T) {
	t.Parallel()
	own, err := postgres.Start(t.Context())
	stopped(t, own, err)
	db := databasetest.Open(t, database.Options{URL: own.URL("postgres")})
	q := open(t, db, Config{Lease: outageLease})
	begun, end := make(chan struct{}), make(chan struct{})
	fake := &runner{do: func(ctx context.Context, job Job) (builds.Result, error) {
		task := progress.Start(ctx, progress.StageWheel, "x")
		task.Tell("before")
		close(begun)
		<-end
		task.Tell("after")
		return succeed(ctx, job)
	}}
	work(t, q, WorkerConfig{Runner: fake, Drain: time.Minute})
	id := submit(t, q, team, ask(1)).Build.ID
	type seen struct {
		last  builds.What
		count int
		log   string
		err   error
	}
	followed := make(chan seen, 2)
	go func() {
		var s seen
		for e, err := range q.Follow(t.Context(), id, 0) {
			if s.err = errors.Join(s.err, err); err == nil {
				s.last, s.count = e.What, s.count+1
			}
		}
		followed <- s
	}()
	go func() {
		var s seen
		for c, err := range q.FollowLog(t.Context(), id, logs.Output, 0) {
			s.err, s.log = errors.Join(s.err, err), s.log+string(c.Data)
		}
		followed <- s
	}()
	<-begun
	must(t, own.Halt(true))
	time.Sleep(outageTime) // longer than the lease, that is what is tried
	close(end)
	must(t, own.Run(t.Context()))
	for range 2 {
		s := <-followed
		if s.err != nil || s.log == "" && s.last != builds.Ended || s.log != "" && !bytes.Contains([]byte(s.log), []byte("wheel x | after\n")) {
			t.Errorf("%+v", s)
		}
	}
	if b := get(t, q, id); b.State != builds.Done || b.Attempt != 1 {
		t.Errorf("%+v", b)
	}
	checkHistory(t, db, []string{id}, true)
}

// The server's disk is full: nothing is accepted, and what was stays. With room it goes on.
func TestFullServer(t *testing.T) {
	t.Parallel()
	disk, err := os.MkdirTemp("", "ampoule-full-") //nolint:usetesting // the server runs as another user, who may not enter the test's directory
	must(t, err)
	t.Cleanup(func() { os.Remove(disk) })
	systemtest.Mount(t, disk, "size=160m,mode=0755")
	dir := filepath.Join(disk, "cluster")
	must(t, os.Mkdir(dir, 0o700))
	own, err := postgres.StartIn(t.Context(), dir, "max_wal_size=48MB")
	stopped(t, own, err)
	db := databasetest.Open(t, database.Options{URL: own.URL("postgres")})
	q := open(t, db, Config{Quota: 10_000})
	id := submit(t, q, team, ask(0)).Build.ID

	// Archives fill the disk, until one does not fit.
	var away *database.UnavailableError
	full := errors.New("the disk did not become full")
	for range 100 {
		if _, _, err := q.PutArchive(t.Context(), bytes.NewReader(noise(t, 4<<20))); err != nil {
			full = err
			break
		}
	}
	if !errors.As(full, &away) {
		t.Errorf("an archive on the full disk: %v", full)
	}
	systemtest.Resize(t, disk, "320m")
	// Where the log of the database itself had no room, the server has ended.
	must(t, own.Halt(true))
	must(t, own.Run(t.Context()))
	db = databasetest.Open(t, database.Options{URL: own.URL("postgres")})
	q = open(t, db, Config{})
	work(t, q, WorkerConfig{Runner: &runner{}})
	next := submit(t, q, team, ask(1)).Build.ID
	for _, one := range []string{id, next} {
		if b := await(t, q, one, "done", ended); b.State != builds.Done {
			t.Errorf("%+v", b)
		}
	}
	checkHistory(t, db, []string{id, next}, true)
}

// noise is what no database makes smaller.
func noise(t *testing.T, size int) []byte {
	t.Helper()
	data := make([]byte, size)
	_, err := rand.Read(data)
	must(t, err)
	return data
}
