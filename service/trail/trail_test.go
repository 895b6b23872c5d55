package trail

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
)

// request is one of a caller.
func request(t *testing.T, name string) context.Context {
	t.Helper()
	r := &Request{ID: "request-" + name, Client: "192.0.2.7"}
	r.By(Who{Name: name, ID: "id-" + name, Issuer: "https://ci.example", Subject: "sub-" + name})
	return In(t.Context(), r)
}

// Entries are listed in the order in which they were written, however close they are.
func TestOrder(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, database.Options{Dir: t.TempDir()})
	l := Open(db, 0)
	const entries = 50
	for n := range entries {
		if err := l.Conclude(request(t, "ann"), "promote", strconv.Itoa(n), nil); err != nil {
			t.Fatal(err)
		}
	}
	page, err := l.List(t.Context(), Filter{}, "", entries)
	if err != nil || len(page.Entries) != entries {
		t.Fatalf("%d entries, %v", len(page.Entries), err)
	}
	for i, e := range page.Entries {
		if want := strconv.Itoa(entries - 1 - i); e.Target != want || time.Since(e.Time).Abs() > time.Minute {
			t.Errorf("entry %d is %s at %s, want %s", i, e.Target, e.Time, want)
		}
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, database.Options{Dir: t.TempDir()})
	l := Open(db, 0)
	const secret = "ampoule_abcdefghij_CANARYCANARYCANARYCANARYCA"
	ctx := request(t, "ann")
	Tell(ctx, map[string]string{"recipe": "team/web", "reason": "because of " + secret, "digest": ""})
	if err := l.Conclude(ctx, "promote", "team/web:prod", nil); err != nil {
		t.Fatal(err)
	}
	if err := l.Conclude(ctx, "promote", "team/web:prod", nil); err != nil { // it has its entry
		t.Fatal(err)
	}
	for i, cause := range []error{faults.New(faults.Refused, "", "token ben may not %s", secret), faults.New(faults.Remote, "", "away"), errors.New("unforeseen")} {
		if err := l.Conclude(request(t, "ben"), "revoke", fmt.Sprint("target ", i, "\x00\xff", strings.Repeat("x", 3000)), cause); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Conclude(t.Context(), "revoke", "of nobody", nil); err != nil {
		t.Fatal(err)
	}
	all, err := l.List(t.Context(), Filter{}, "", 0)
	if err != nil || len(all.Entries) != 4 || all.Next != "" {
		t.Fatalf("%+v, %v", all, err)
	}
	first := all.Entries[3]
	want := Who{"ann", "id-ann", "https://ci.example", "sub-ann"}
	if first.Who != want || first.Client != "192.0.2.7" || first.Request != "request-ann" || first.Result != Done || time.Since(first.Time) > time.Minute || first.Details["recipe"] != "team/web" || len(first.Details) != 2 {
		t.Errorf("%+v", first)
	}
	for i, result := range []Result{Failed, Failed, Refused} {
		if e := all.Entries[i]; e.Result != result || e.Message == "" || len(e.Target) > maxText+10 {
			t.Errorf("%+v, want %s", e, result)
		}
	}
	if text := fmt.Sprintf("%+v", all); strings.Contains(text, "CANARY") {
		t.Error("the log has a secret")
	}
	for name, test := range map[string]struct {
		f    Filter
		want int
	}{
		"caller": {Filter{Caller: "ann"}, 1}, "ID": {Filter{Caller: "id-ben"}, 3}, "action": {Filter{Action: "revoke"}, 3}, "target": {Filter{Target: "team/web:prod"}, 1},
		"recipe": {Filter{Target: "team/web"}, 1}, "a part of one": {Filter{Target: "team/w"}, 0}, "a pattern": {Filter{Target: "%"}, 0}, "result": {Filter{Result: Failed}, 2},
		"since": {Filter{Since: time.Now().Add(time.Hour)}, 0}, "until": {Filter{Until: time.Now().Add(time.Hour)}, 4}, "both": {Filter{Caller: "ben", Result: Refused}, 1},
	} {
		page, err := l.List(t.Context(), test.f, "", 0)
		if err != nil || len(page.Entries) != test.want {
			t.Errorf("%s: %d entries, %v, want %d", name, len(page.Entries), err, test.want)
		}
	}
	var seen []Entry
	for after, pages := "", 0; pages == 0 || after != ""; pages++ {
		page, err := l.List(t.Context(), Filter{}, after, 3)
		if err != nil || pages > 1 {
			t.Fatal(pages, err)
		}
		seen = append(seen, page.Entries...)
		after = page.Next
	}
	if fmt.Sprint(seen) != fmt.Sprint(all.Entries) {
		t.Errorf("by pages: %+v", seen)
	}
	if _, err := l.List(t.Context(), Filter{}, "garbage", 0); faults.Of(err) != faults.Usage {
		t.Errorf("%v", err)
	}
}

// A change that is not the database's has an entry before it is made.
func TestBegin(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, database.Options{Dir: t.TempDir()})
	l := Open(db, 0)
	for _, cause := range []error{nil, faults.New(faults.Refused, "", "frozen")} {
		ctx := request(t, "ann")
		end, err := l.Begin(ctx, "promote", "web:prod", map[string]string{"digest": "sha256:1"})
		if err != nil {
			t.Fatal(err)
		}
		page, err := l.List(t.Context(), Filter{Result: Begun}, "", 0)
		if err != nil || len(page.Entries) != 1 || page.Entries[0].Details["digest"] != "sha256:1" {
			t.Errorf("%+v, %v", page, err)
		}
		if err := end(cause); err != nil {
			t.Fatal(err)
		}
		if err := l.Conclude(ctx, "promote", "web:prod", cause); err != nil {
			t.Fatal(err)
		}
		page, err = l.List(t.Context(), Filter{Result: resultOf(cause)}, "", 0)
		if err != nil || len(page.Entries) != 1 {
			t.Errorf("%+v, %v", page, err)
		}
	}
	ended, cancel := context.WithCancel(request(t, "ann"))
	cancel()
	if _, err := l.Begin(ended, "promote", "web:prod", nil); err == nil {
		t.Error("what could not be recorded is begun")
	}
}

// A caller who is refused again and again fills no disk, and others are not silenced.
func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, database.Options{Dir: t.TempDir()})
	l := Open(db, 0)
	now := time.Now()
	l.now = func() time.Time { return now }
	flood := func(name string, n int) {
		t.Helper()
		for range n {
			if err := l.Conclude(request(t, name), "promote", "web:prod", faults.New(faults.Refused, "", "no")); err != nil {
				t.Fatal(err)
			}
		}
	}
	flood("ann", maxRefusals+10)
	flood("ben", 1)
	now = now.Add(time.Minute)
	flood("ann", 1)
	page, err := l.List(t.Context(), Filter{}, "", maxPage)
	if err != nil || len(page.Entries) != maxRefusals+2 {
		t.Errorf("%d entries, %v", len(page.Entries), err)
	}
}

func TestRetention(t *testing.T) {
	t.Parallel()
	db := databasetest.Open(t, database.Options{Dir: t.TempDir()})
	l := Open(db, time.Hour)
	for _, name := range []string{"old", "new"} {
		if err := l.Conclude(request(t, name), "promote", "web:prod", nil); err != nil {
			t.Fatal(err)
		}
	}
	err := db.Write(t.Context(), func(ctx context.Context, tx database.Tx) error {
		_, err := tx.Exec(ctx, "UPDATE trail SET at = at - $1 WHERE caller = 'old'", 2*time.Hour.Microseconds())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := Open(db, 0).Clean(t.Context()); n != 0 || err != nil {
		t.Errorf("what is kept for ever: %d, %v", n, err)
	}
	n, err := l.Clean(t.Context())
	page, listErr := l.List(t.Context(), Filter{}, "", 0)
	if n != 1 || err != nil || listErr != nil || len(page.Entries) != 1 || page.Entries[0].Name != "new" {
		t.Errorf("%d, %v, %+v, %v", n, err, page, listErr)
	}
}
