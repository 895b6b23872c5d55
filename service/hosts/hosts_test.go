package hosts

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"ampoule/agent/reports"
	"ampoule/faults"
	"ampoule/registry/trust/keys"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
)

// engines are the databases that every test runs on. With the tag "postgres" there is a second one.
var engines = map[string]func(testing.TB) database.Options{
	"sqlite": func(t testing.TB) database.Options { return database.Options{Dir: t.TempDir()} },
}

// desk is a book, and hosts that report to it.
type desk struct {
	*Book
	t     *testing.T
	signs map[string]*keys.Private
	known reports.Keys
	fell  []string
}

func onEach(t *testing.T, test func(d *desk)) {
	t.Helper()
	t.Parallel()
	for name, options := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &desk{t: t, signs: map[string]*keys.Private{}, known: reports.Keys{}}
			for _, host := range []string{"web-1", "web-2"} {
				d.enroll(host)
			}
			d.Book = &Book{DB: databasetest.Open(t, options(t)), Keys: func(context.Context) (reports.Keys, error) { return d.known, nil }}
			d.FellBack = func(_ context.Context, tx database.Tx, r reports.Report) error {
				tx.OnCommit(func() { d.fell = append(d.fell, r.Host+" "+r.Time) })
				return nil
			}
			test(d)
		})
	}
}

func (d *desk) enroll(host string) {
	d.t.Helper()
	key, err := keys.Generate()
	if err != nil {
		d.t.Fatal(err)
	}
	d.signs[host], d.known[host] = key, key.Public()
}

var one, two = "sha256:" + strings.Repeat("1", 64), "sha256:" + strings.Repeat("2", 64)

// report is one of a host at a second, which may be changed.
func (d *desk) report(host string, second int, change func(*reports.Report)) []byte {
	d.t.Helper()
	r := reports.Report{
		Host: host, Channel: "registry.example/web:prod", Root: "/opt/web", Count: second, State: reports.Follows, Digest: one, Wanted: one,
		Time: time.Date(2026, 1, 2, 3, 4, second, 0, time.UTC).Format(time.RFC3339),
	}
	if change != nil {
		change(&r)
	}
	data, err := r.Sign(d.t.Context(), d.signs[host])
	if err != nil {
		d.t.Fatal(err)
	}
	return data
}

// take parses and keeps a report.
func (d *desk) take(body []byte) (bool, error) {
	r, err := d.Parse(d.t.Context(), body)
	if err != nil {
		return false, err
	}
	return d.Put(d.t.Context(), r, body)
}

func (d *desk) takes(changed bool, body []byte) {
	d.t.Helper()
	if got, err := d.take(body); err != nil || got != changed {
		d.t.Errorf("changed %t, want %t: %v", got, changed, err)
	}
}

func (d *desk) host(name string) (roots, history []Reported) {
	d.t.Helper()
	roots, history, err := d.Host(d.t.Context(), name)
	if err != nil {
		d.t.Fatal(err)
	}
	return roots, history
}

// The last report of each root counts; what changed is kept, and what comes again changes nothing.
func TestPut(t *testing.T) {
	onEach(t, func(d *desk) {
		first := d.report("web-1", 1, nil)
		d.takes(true, first)
		d.takes(false, first)
		d.takes(false, d.report("web-1", 2, nil))
		d.takes(true, d.report("web-1", 3, func(r *reports.Report) { r.Wanted, r.State = two, reports.Deploys }))
		d.takes(true, d.report("web-1", 4, func(r *reports.Report) {
			r.Wanted, r.State, r.Why, r.Failed = two, reports.FellBack, "it does not start", map[string]string{two: "it does not start"}
		}))
		d.takes(false, d.report("web-1", 5, func(r *reports.Report) {
			r.Wanted, r.State, r.Why, r.Failed = two, reports.FellBack, "it does not start", map[string]string{two: "it does not start"}
		}))
		d.takes(true, d.report("web-1", 1, func(r *reports.Report) { r.Root = "/opt/other" }))
		d.takes(true, d.report("web-2", 1, nil))
		if len(d.fell) != 1 || !strings.HasPrefix(d.fell[0], "web-1 ") {
			t.Errorf("fell back: %v", d.fell)
		}
		roots, history := d.host("web-1")
		if len(roots) != 2 || roots[1].State != reports.FellBack || roots[1].Count != 5 || len(history) != 4 || roots[0].Silent {
			t.Errorf("%+v\n%+v", roots, history)
		}
		all, err := d.List(t.Context())
		if err != nil || len(all) != 3 || len(Counting(all)) != 3 {
			t.Errorf("%+v %v", all, err)
		}
		if err := d.Forget(t.Context(), "web-1"); err != nil {
			t.Error(err)
		}
		if _, _, err := d.Host(t.Context(), "web-1"); faults.Of(err) != faults.NotFound {
			t.Errorf("%v", err)
		}
		if err := d.Forget(t.Context(), "web-1"); faults.Of(err) != faults.NotFound {
			t.Errorf("%v", err)
		}
	})
}

// A report that is replayed, of tomorrow, a stranger's, or one too many is refused.
func TestPutRefuses(t *testing.T) {
	onEach(t, func(d *desk) {
		old := d.report("web-1", 1, nil)
		d.takes(true, d.report("web-1", 2, func(r *reports.Report) { r.Digest = two }))
		var older *OlderError
		if _, err := d.take(old); !errors.As(err, &older) || older.Status() != 409 {
			t.Errorf("a replayed report: %v", err)
		}
		// The same moment in another zone, whose text comes later.
		if _, err := d.take(d.report("web-1", 2, func(r *reports.Report) { r.Time, r.Count = "2026-01-02T05:04:01+02:00", 9 })); !errors.As(err, &older) {
			t.Errorf("an older report of another zone: %v", err)
		}
		if _, err := d.take(d.report("web-1", 3, func(r *reports.Report) { r.Time = time.Now().Add(time.Hour).UTC().Format(time.RFC3339) })); faults.Of(err) != faults.Refused || !strings.Contains(err.Error(), "clock of host web-1 is ahead") {
			t.Errorf("a report of tomorrow: %v", err)
		}
		stranger, err := keys.Generate()
		if err != nil {
			t.Fatal(err)
		}
		mine := d.signs["web-2"]
		d.signs["web-2"] = stranger
		if _, err := d.take(d.report("web-2", 1, nil)); faults.Of(err) != faults.Refused || !strings.Contains(err.Error(), "whose key has not signed it") {
			t.Errorf("a stranger's: %v", err)
		}
		d.signs["web-2"] = mine
		if _, err := d.take([]byte("{}")); faults.Of(err) != faults.Refused {
			t.Errorf("nothing: %v", err)
		}
		for n := range maxRoots {
			d.takes(true, d.report("web-2", 1, func(r *reports.Report) { r.Root = "/opt/" + strings.Repeat("x", n+1) }))
		}
		if _, err := d.take(d.report("web-2", 1, func(r *reports.Report) { r.Root = "/opt/more" })); faults.Of(err) != faults.Refused {
			t.Errorf("one root too many: %v", err)
		}
	})
}

// A report of a host whose key was replaced does not count any more.
func TestReplacedKey(t *testing.T) {
	onEach(t, func(d *desk) {
		d.takes(true, d.report("web-1", 1, nil))
		d.takes(true, d.report("web-2", 1, nil))
		d.enroll("web-1")
		all, err := d.List(t.Context())
		if err != nil || len(all) != 2 || !strings.Contains(all[0].Refused, "whose key has not signed it") || all[0].Digest != "" || all[0].Channel == "" || len(Counting(all)) != 1 {
			t.Errorf("%+v %v", all, err)
		}
	})
}

// A host that says something else all the time fills nothing.
func TestHistoryIsBounded(t *testing.T) {
	onEach(t, func(d *desk) {
		for n := range maxHistory + 5 {
			body := d.report("web-1", n%60, func(r *reports.Report) {
				r.Count, r.Why = n, strings.Repeat("w", n+1)
				r.Time = time.Date(2026, 1, 2, 3, n, 0, 0, time.UTC).Format(time.RFC3339)
			})
			d.takes(true, body)
		}
		if _, history := d.host("web-1"); len(history) != maxHistory || history[0].Count != maxHistory+4 {
			t.Errorf("%d reports are kept", len(history))
		}
	})
}

// A host that is silent for hours is told as such, by the database's clock.
func TestSilent(t *testing.T) {
	onEach(t, func(d *desk) {
		d.takes(true, d.report("web-1", 1, nil))
		err := d.DB.Write(t.Context(), func(ctx context.Context, tx database.Tx) error {
			_, err := tx.Exec(ctx, "UPDATE host_reports SET received = received - $1", (silence + time.Minute).Microseconds())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if roots, _ := d.host("web-1"); !roots[0].Silent {
			t.Errorf("%+v", roots)
		}
	})
}
