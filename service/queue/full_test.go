package queue

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
	"ampoule/system/systemtest"
)

// The disk of the data directory is full: what is submitted is refused, in words that say why, and
// nothing of it is left. A build that ends then is ended when there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := systemtest.Disk(t, "24m")
	db := databasetest.Open(t, database.Options{Dir: dir})
	q := open(t, db, Config{})
	begun, end := make(chan struct{}), make(chan struct{})
	work(t, q, WorkerConfig{Drain: time.Minute, Runner: &runner{do: func(ctx context.Context, job Job) (builds.Result, error) {
		close(begun)
		<-end
		return succeed(ctx, job)
	}}})
	id := submit(t, q, team, ask(1)).Build.ID
	<-begun
	filler := systemtest.Fill(t, dir, 0)

	var away *database.UnavailableError
	if _, _, err := q.PutArchive(t.Context(), bytes.NewReader(make([]byte, 1<<20))); !errors.As(err, &away) || faults.Of(err) != faults.Machine {
		t.Errorf("an archive: %v, %s", err, faults.Of(err))
	}
	s := ask(2)
	refused := 0
	for i := range 200 { // the log of the database may have room for a few
		s.Key = keyOf(100 + i)
		if _, err := q.Submit(t.Context(), builds.Caller{Name: "full", Quota: 1000}, s); err != nil {
			if refused++; !errors.As(err, &away) || faults.Of(err) != faults.Machine {
				t.Fatalf("a submission: %v, %s", err, faults.Of(err))
			}
		}
	}
	if refused == 0 {
		t.Error("all submissions were accepted")
	}
	close(end)
	time.Sleep(2 * endPause) // its end is written again and again
	must(t, os.Remove(filler))
	if b := await(t, q, id, "done", ended); b.State != builds.Done || b.Attempt != 1 {
		t.Errorf("%+v", b)
	}
	checkHistory(t, db, []string{id}, false)
}
