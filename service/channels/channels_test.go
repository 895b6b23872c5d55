package channels

import (
	"context"
	"slices"
	"testing"
	"time"

	"ampoule/registry/channel"
	"ampoule/registry/channel/rules"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
)

const text = `apiVersion: ampoule/v1
trust: acme
version: 1
people: {ann: {callers: [ann]}, ben: {callers: [ben]}}
channels:
- {name: staging}
- {name: canary, from: staging, approvals: {count: 1}, match: [other]}
- {name: prod, from: staging, approvals: {count: 1}}
- {name: eu-prod, from: prod, approvals: {count: 1}}
`

// follow is a follower of a database, and what it has told.
func follow(db *database.DB, began time.Time, told *[]string) *Follower {
	return &Follower{DB: db, began: began, Tell: func(_ context.Context, tx database.Tx, e Entry) error {
		said := e.String() + " " + string(e.Action) + " " + e.Digest
		for _, n := range e.Next {
			said += " then " + n.Channel
		}
		tx.OnCommit(func() { *told = append(*told, said) })
		return nil
	}}
}

// Each entry is told once, whoever tells it. What is older than the process is no news, and a row that is lost begins at the log's end.
func TestFollower(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, database.Options{Dir: t.TempDir()})
	in, err := rules.Parse("channels.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	n := channel.Name{Repository: "web", Channel: "staging"}
	began := time.Unix(1700000000, 0)
	log := &channel.Log{}
	add := func(at time.Time, action channel.Action, digest string) {
		log.Entries = append(log.Entries, channel.Signed{Entry: channel.Entry{Sequence: len(log.Entries) + 1, Action: action, Digest: digest}, At: at})
	}
	var told []string
	one, other := follow(db, began, &told), follow(db, began, &told)
	tell := func(f *Follower, want ...string) {
		t.Helper()
		told = nil
		if err := f.tell(t.Context(), n, log, in); err != nil || !slices.Equal(told, want) {
			t.Errorf("told %q, want %q: %v", told, want, err)
		}
	}
	add(began.Add(-time.Hour), channel.Promote, "a")
	add(began.Add(time.Second), channel.Promote, "b")
	tell(one, "web:staging promote b then prod")
	tell(other)
	add(began.Add(2*time.Second), channel.Freeze, "b")
	add(began.Add(3*time.Second), channel.Rollback, "a")
	tell(other, "web:staging freeze b", "web:staging rollback a then prod")
	tell(one)
	err = db.Write(t.Context(), func(ctx context.Context, tx database.Tx) error {
		_, err := tx.Exec(ctx, "DELETE FROM channel_told")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tell(follow(db, began.Add(time.Hour), &told))
}
