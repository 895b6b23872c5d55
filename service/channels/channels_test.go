package channels

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/registry/channel"
	"ampoule/registry/channel/rules"
	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
)

// list is the builds of a service.
type list []builds.Build

func (l list) List(_ context.Context, f builds.Filter, _ string, _ int) (builds.Page, error) {
	var page builds.Page
	for _, b := range l {
		if b.Result.Digest == f.Digest {
			page.Builds = append(page.Builds, b)
		}
	}
	return page, nil
}

// What was built for callers who are not trusted is not promoted, unless somebody else had it built, too.
func TestCheckTrusted(t *testing.T) {
	t.Parallel()
	all := list{
		{Result: &builds.Result{Digest: "a"}}, {Result: &builds.Result{Digest: "b"}}, {Result: &builds.Result{Digest: "b"}, Trusted: true},
	}
	if err := CheckTrusted(t.Context(), all, "a"); faults.Of(err) != faults.Refused || !strings.Contains(err.Error(), "not trusted") {
		t.Errorf("%v", err)
	}
	for _, digest := range []string{"b", "of elsewhere"} {
		if err := CheckTrusted(t.Context(), all, digest); err != nil {
			t.Errorf("%s: %v", digest, err)
		}
	}
	d := &Desk{Builds: all}
	for _, action := range []channel.Action{channel.Promote, channel.Restart} {
		if _, err := d.Write(t.Context(), channel.Name{Repository: "web", Channel: "prod"}, "ann", channel.Move{Action: action, Digest: "a"}); faults.Of(err) != faults.Refused {
			t.Errorf("%s: %v", action, err)
		}
	}
}

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
