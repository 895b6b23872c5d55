package queue

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"ampoule/service/builds"
	"ampoule/service/database"
)

// The same submission is one build, whoever sends it, while it has not ended; then its digest is
// the answer.
func TestSameIsOne(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		first := submit(t, q, team, ask(1))
		if first.Joined || first.Published || first.Build.State != builds.Queued || first.Build.Followers != 1 {
			t.Errorf("first: %+v", first)
		}
		high := ask(1)
		high.Priority = builds.High
		second := submit(t, q, other, high)
		if !second.Joined || second.Build.ID != first.Build.ID || second.Build.Followers != 2 || second.Build.Priority != builds.High {
			t.Errorf("second: %+v", second)
		}
		untrusted := submit(t, q, builds.Caller{Name: "fork"}, ask(1))
		if untrusted.Joined || untrusted.Build.ID == first.Build.ID {
			t.Errorf("an untrusted caller joins a trusted build: %+v", untrusted)
		}
		if _, found, err := q.Published(t.Context(), keyOf(1)); found || err != nil {
			t.Errorf("published: %t, %v", found, err)
		}
		l := lease(t, q, "w")
		if l.Build.ID != first.Build.ID {
			t.Fatalf("the build of higher priority is not first: %+v", l.Build)
		}
		finish(t, l)
		p, found, err := q.Published(t.Context(), keyOf(1))
		if !found || err != nil || p.Digest != digestOf(keyOf(1)) || p.Build != first.Build.ID {
			t.Errorf("published: %+v, %t, %v", p, found, err)
		}
		third := submit(t, q, team, ask(1))
		if !third.Published || third.Build.ID != first.Build.ID || third.Build.Result.Digest != p.Digest {
			t.Errorf("third: %+v", third)
		}
		force := ask(1)
		force.Force = true
		if again := submit(t, q, team, force); again.Published || again.Joined || again.Build.ID == first.Build.ID {
			t.Errorf("forced: %+v", again)
		}
	})
}

// What an untrusted caller published is built again and compared for a trusted one.
func TestTrust(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		submit(t, q, builds.Caller{Name: "fork"}, ask(1))
		finish(t, lease(t, q, "w"))
		if a := submit(t, q, builds.Caller{Name: "fork"}, ask(1)); !a.Published {
			t.Errorf("the untrusted caller: %+v", a)
		}
		a := submit(t, q, team, ask(1))
		if a.Published || !a.Build.Force || !a.Build.Trusted {
			t.Errorf("the trusted caller: %+v", a)
		}
		same := true
		must(t, lease(t, q, "w").Finish(t.Context(), builds.Result{Digest: digestOf(keyOf(1)), Same: &same}))
		if a := submit(t, q, team, ask(1)); !a.Published {
			t.Errorf("after the comparison: %+v", a)
		}
	})
}

func TestIdempotencyKey(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		s := ask(1)
		s.IdempotencyKey = "deploy-7"
		first := submit(t, q, team, s)
		again := submit(t, q, team, s)
		if !again.Repeated || again.Build.ID != first.Build.ID || again.Build.Followers != 1 {
			t.Errorf("again: %+v", again)
		}
		changed := s
		changed.Force = true
		_, err := q.Submit(t.Context(), team, changed)
		want[*builds.IdempotencyError](t, "another request under the key", err)
		if a := submit(t, q, other, s); a.Repeated || !a.Joined {
			t.Errorf("another caller's key of the same name: %+v", a)
		}
		finish(t, lease(t, q, "w"))
		if a := submit(t, q, team, s); !a.Repeated || a.Build.State != builds.Done {
			t.Errorf("after the end: %+v", a)
		}

		// A standby was promoted that had not got the last transactions.
		must(t, q.forget(t.Context(), first.Build.ID))
		must(t, db.Write(t.Context(), wipe))
		if a := submit(t, q, team, s); a.Build.ID != first.Build.ID || a.Build.State != builds.Queued {
			t.Errorf("after a failover: %+v, want ID %s", a, first.Build.ID)
		}
	})
}

func TestQuota(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{Quota: 3})
		var wg sync.WaitGroup
		results := make(chan error, 12)
		for i := range 12 {
			wg.Go(func() {
				_, err := q.Submit(t.Context(), team, ask(i))
				results <- err
			})
		}
		wg.Wait()
		close(results)
		accepted := 0
		for err := range results {
			var quota *builds.QuotaError
			switch {
			case err == nil:
				accepted++
			case !errors.As(err, &quota):
				t.Error(err)
			case quota.RetryAfter <= 0 || quota.Used != 3 || quota.Most != 3:
				t.Errorf("%+v", quota)
			}
		}
		if accepted != 3 {
			t.Errorf("%d of 12 submissions at once are accepted, and 3 may be", accepted)
		}
		submit(t, q, other, ask(100))
		large := team
		large.Quota = 4
		submit(t, q, large, ask(101))
		// One of them is the other caller's: they take turns.
		for range 3 {
			finish(t, lease(t, q, "w"))
		}
		submit(t, q, team, ask(102))
	})
}

// A thousand callers who ask for the same at once get one build.
func TestManyAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		const callers = 100
		ids := make(chan string, callers)
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				a, err := q.Submit(t.Context(), builds.Caller{Name: fmt.Sprint("c", i), Trusted: true}, ask(1))
				if err != nil {
					t.Error(err)
				}
				ids <- a.Build.ID
			})
		}
		wg.Wait()
		close(ids)
		all := map[string]bool{}
		for id := range ids {
			all[id] = true
			if b := get(t, q, id); b.Followers != callers {
				t.Fatalf("%d follow the build", b.Followers)
			}
		}
		if len(all) != 1 {
			t.Errorf("%d builds", len(all))
		}
	})
}

func TestBadSubmissions(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{Limit: time.Hour})
		for field, change := range map[string]func(*builds.Submission){
			"kind":            func(s *builds.Submission) { s.Kind = "magic" },
			"recipe":          func(s *builds.Submission) { s.Recipe = "" },
			"key":             func(s *builds.Submission) { s.Key = "sha256:abc" },
			"archive":         func(s *builds.Submission) { s.Archive = "../x" },
			"platform":        func(s *builds.Submission) { s.Platform = "linux" },
			"labels":          func(s *builds.Submission) { s.Labels = []string{"a b"} },
			"priority":        func(s *builds.Submission) { s.Priority = 1000 },
			"limit":           func(s *builds.Submission) { s.Limit = 2 * time.Hour },
			"idempotency key": func(s *builds.Submission) { s.IdempotencyKey = strings.Repeat("x", 300) },
		} {
			s := ask(1)
			change(&s)
			_, err := q.Submit(t.Context(), team, s)
			var wrong *builds.SubmissionError
			if !errors.As(err, &wrong) || wrong.Field != field {
				t.Errorf("%s: %v", field, err)
			}
		}
		_, err := q.Get(t.Context(), "nothing")
		want[*builds.NotFoundError](t, "get", err)
		_, err = q.Cancel(t.Context(), team, "nothing")
		want[*builds.NotFoundError](t, "cancel", err)
		_, err = q.Retry(t.Context(), team, "nothing")
		want[*builds.NotFoundError](t, "retry", err)
	})
}

// A lock is a build of its own kind: the same files and options are one, others another.
func TestLocks(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		s := ask(1)
		s.Kind, s.Key = builds.KindLock, ""
		first := submit(t, q, team, s)
		if second := submit(t, q, other, s); !second.Joined {
			t.Errorf("the same: %+v", second)
		}
		s.Options = &builds.LockOptions{Upgrade: true}
		upgrade := submit(t, q, team, s)
		if upgrade.Joined || upgrade.Build.Key == first.Build.Key {
			t.Errorf("with other options: %+v", upgrade)
		}
		sum, _, err := q.PutArchive(t.Context(), strings.NewReader("the lock"))
		must(t, err)
		l := lease(t, q, "w")
		must(t, l.Move(t.Context(), builds.Building))
		must(t, l.Finish(t.Context(), builds.Result{Lock: sum}))
		if b := get(t, q, first.Build.ID); b.State != builds.Done || b.Result.Lock != sum {
			t.Errorf("%+v", b)
		}
		if a := submit(t, q, team, builds.Submission{Kind: builds.KindLock, Recipe: "recipe-1", Platform: platform, Archive: fmt.Sprintf("%064x", 1)}); a.Joined || a.Published {
			t.Errorf("a lock is made anew, since indexes change: %+v", a)
		}
	})
}

func TestRetry(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		s := ask(1)
		s.Labels, s.Groups, s.Priority, s.Limit = []string{"big"}, []string{"test"}, builds.High, time.Minute
		a := submit(t, q, team, s)
		_, err := q.Retry(t.Context(), team, a.Build.ID)
		want[*builds.TransitionError](t, "of a queued build", err)
		l, _, err := q.Lease(t.Context(), "w", Able{[]string{platform}, []string{"big"}})
		must(t, err)
		must(t, l.Fail(t.Context(), errors.New("broken"), nil))
		again, err := q.Retry(t.Context(), other, a.Build.ID)
		must(t, err)
		b := again.Build
		if b.ID == a.Build.ID || b.RetryOf != a.Build.ID || b.Caller != "other" || b.State != builds.Queued || b.Labels[0] != "big" || b.Groups[0] != "test" ||
			b.Priority != builds.High || b.Limit != time.Minute || b.Archive != a.Build.Archive {
			t.Errorf("%+v", b)
		}
		if first := get(t, q, a.Build.ID); first.State != builds.Failed || first.Failure.Message != "broken" || first.Failure.Kind != "internal" {
			t.Errorf("%+v", first)
		}
	})
}
