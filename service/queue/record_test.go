package queue

import (
	"context"
	"errors"
	"testing"
	"time"

	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/trail"
)

// What is submitted and cancelled has its entry in the audit log, if and only if it was.
func TestChangesAreRecorded(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{Quota: 2})
		ctx := trail.In(t.Context(), &trail.Request{ID: "r1", Client: "192.0.2.7"})
		log := trail.Open(db, 0)
		as := func(name string) *trail.Request {
			r := &trail.Request{ID: "r-" + name, Client: "192.0.2.7"}
			r.By(trail.Who{Name: name, ID: "id-" + name})
			return r
		}
		if _, err := q.Submit(ctx, team, ask(9)); err != nil { // nobody is known to have asked
			t.Fatal(err)
		}
		request := as("team")
		a, err := q.Submit(trail.In(t.Context(), request), team, ask(1))
		if err != nil {
			t.Fatal(err)
		}
		// A quota that is full takes back the entry with the build.
		full := trail.In(t.Context(), as("team"))
		_, err = q.Submit(full, team, ask(2))
		var quota *builds.QuotaError
		if !errors.As(err, &quota) {
			t.Fatal(err)
		}
		if err := log.Conclude(full, "submit-build", "/v1/builds", err); err != nil {
			t.Fatal(err)
		}
		if _, err := q.Cancel(trail.In(t.Context(), as("team")), team, a.Build.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := q.Retry(trail.In(t.Context(), as("other")), other, a.Build.ID); err != nil {
			t.Fatal(err)
		}
		// What has its entry gets no other one.
		if err := log.Conclude(trail.In(t.Context(), request), "submit-build", "/v1/builds", nil); err != nil {
			t.Fatal(err)
		}
		page, err := log.List(t.Context(), trail.Filter{}, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		want := []struct {
			action, caller string
			result         trail.Result
		}{{"retry-build", "other", trail.Done}, {"cancel-build", "team", trail.Done}, {"submit-build", "team", trail.Refused}, {"submit-build", "team", trail.Done}}
		if len(page.Entries) != len(want) {
			t.Fatalf("%+v", page.Entries)
		}
		for i, e := range page.Entries {
			if e.Action != want[i].action || e.Name != want[i].caller || e.Result != want[i].result || e.Client != "192.0.2.7" || e.Request != "r-"+e.Name {
				t.Errorf("entry %d: %+v, want %+v", i, e, want[i])
			}
		}
		end, err := log.Begin(trail.In(t.Context(), as("ops")), "promote", "web:prod", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := end(nil); err != nil {
			t.Fatal(err)
		}
		if n, err := trail.Open(db, time.Nanosecond).Clean(t.Context()); n != len(want)+1 || err != nil {
			t.Errorf("%d entries were removed, %v", n, err)
		}
		if e := page.Entries[1]; e.Target != a.Build.ID || e.Details["recipe"] != a.Build.Recipe {
			t.Errorf("%+v", e)
		}
	})
}

// A digest may be promoted if a trusted build has published it, however long ago.
func TestTrustOfDigests(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		err := db.Write(t.Context(), func(ctx context.Context, tx database.Tx) error {
			for _, p := range []struct {
				key, digest string
				trusted     bool
			}{{"k1", "sha256:1", true}, {"k2", "sha256:2", false}, {"k3", "sha256:3", false}, {"k4", "sha256:3", true}} {
				_, err := tx.Exec(ctx, "INSERT INTO publications (build_key, recipe, digest, build, trusted, tagged, at) VALUES ($1, 'web', $2, '', $3, $4, {now})", p.key, p.digest, p.trusted, true)
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for digest, want := range map[string][2]bool{"sha256:1": {true, true}, "sha256:2": {true, false}, "sha256:3": {true, true}, "sha256:4": {false, false}} {
			known, trusted, err := q.Trust(t.Context(), digest)
			if err != nil || [2]bool{known, trusted} != want {
				t.Errorf("%s: %v, %v, %v", digest, known, trusted, err)
			}
		}
	})
}
