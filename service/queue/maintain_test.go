package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/logs"
)

// change runs SQL of a test.
func change(t *testing.T, db *database.DB, text string, args ...any) {
	t.Helper()
	must(t, db.Write(t.Context(), func(ctx context.Context, tx database.Tx) error {
		n, err := tx.Exec(ctx, text, args...)
		if n == 0 && err == nil {
			t.Errorf("%s changes nothing", text)
		}
		return err
	}))
}

// An archive is what was put, in parts too, or an error.
func TestArchives(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		for _, size := range []int{0, 1, partBytes, 2*partBytes + 7} {
			data := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
			sum, n, err := q.PutArchive(t.Context(), bytes.NewReader(data))
			must(t, err)
			if again, _, err := q.PutArchive(t.Context(), bytes.NewReader(data)); again != sum || err != nil || n != int64(size) {
				t.Errorf("%d bytes again: %s, %d, %v", size, again, n, err)
			}
			from, err := q.OpenArchive(t.Context(), sum)
			must(t, err)
			got, err := io.ReadAll(from)
			if !bytes.Equal(got, data) || err != nil {
				t.Errorf("%d bytes, %v; want %d", len(got), err, size)
			}
		}
		_, err := q.OpenArchive(t.Context(), "nothing")
		want[*ArchiveError](t, "no archive", err)
		change(t, db, "UPDATE archive_parts SET data = $1 WHERE part = 1", []byte("damaged"))
		sum, _, err := q.PutArchive(t.Context(), bytes.NewReader(bytes.Repeat([]byte("0123456789abcdef"), 2*partBytes/16+1)[:2*partBytes+7]))
		must(t, err)
		if _, err := q.OpenArchive(t.Context(), sum); !errors.Is(err, errDamaged) {
			t.Errorf("a damaged one: %v", err)
		}
	})
}

// What ended long ago is removed with all that belongs to it. Its key stays published.
func TestClean(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{Keep: time.Hour})
		sum, _, err := q.PutArchive(t.Context(), bytes.NewReader([]byte("a submission")))
		must(t, err)
		s := ask(1)
		s.Archive = sum
		old := submit(t, q, team, s).Build.ID
		l := lease(t, q, "w")
		must(t, l.appendLog(t.Context(), logs.Output, []byte("x\n")))
		finish(t, l)
		fresh := submit(t, q, team, ask(2)).Build.ID
		change(t, db, "UPDATE archives SET used = used - $1", (2 * strayFor).Microseconds())
		must(t, q.Clean(t.Context()))
		if b := get(t, q, old); b.State != builds.Done {
			t.Errorf("%+v", b)
		}
		if _, err := q.OpenArchive(t.Context(), sum); err != nil {
			t.Errorf("the archive of a build: %v", err)
		}
		change(t, db, "UPDATE builds SET ended = ended - $1 WHERE id = $2", (2 * time.Hour).Microseconds(), old)
		must(t, q.Clean(t.Context()))
		_, err = q.Get(t.Context(), old)
		want[*builds.NotFoundError](t, "an old build", err)
		get(t, q, fresh)
		_, err = q.OpenArchive(t.Context(), sum)
		want[*ArchiveError](t, "its archive", err)
		if data, err := q.logs.Read(t.Context(), old, logs.Output, 0, 10); len(data) != 0 || err != nil {
			t.Errorf("its log: %q, %v", data, err)
		}
		if _, found, err := q.Published(t.Context(), keyOf(1)); !found || err != nil {
			t.Errorf("its key: %t, %v", found, err)
		}
		for _, table := range []string{"submissions", "events", "build_labels", "archive_parts", "log_parts"} {
			var left int
			must(t, db.Read(t.Context(), func(ctx context.Context, query database.Querier) error {
				where := " WHERE build = $1"
				if table == "archive_parts" {
					where = " WHERE sum <> $1"
				}
				return query.QueryRow(ctx, "SELECT count(*) FROM "+table+where, old).Scan(&left)
			}))
			if left != 0 {
				t.Errorf("%d rows of %s are left", left, table)
			}
		}
		// The key's build is gone: another one answers for it, and from then on it is the key's.
		again := submit(t, q, team, ask(1))
		if again.Published || again.Build.State != builds.Queued {
			t.Errorf("asked for again: %+v", again)
		}
		change(t, db, "UPDATE builds SET priority = 100 WHERE id = $1", again.Build.ID)
		finish(t, lease(t, q, "w"))
		if a := submit(t, q, team, ask(1)); !a.Published || a.Build.ID != again.Build.ID {
			t.Errorf("asked for once more: %+v", a)
		}
	})
}

// What is committed is logged, with the build's fields; what is not is not.
func TestTransitionsAreLogged(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		var out bytes.Buffer
		log := journal(&out)
		q := open(t, db, Config{Log: func(context.Context) *logrus.Entry { return log }})
		id := submit(t, q, team, ask(1)).Build.ID
		l := lease(t, q, "w")
		err := l.change(t.Context(), "trying", func(ctx context.Context, tx database.Tx, r *row) error {
			return errors.Join(q.move(ctx, tx, r, builds.Gating), errDamaged)
		})
		if !errors.Is(err, errDamaged) {
			t.Error(err)
		}
		finish(t, l)
		var got []string
		for line := range strings.Lines(out.String()) {
			for _, field := range []string{"build=" + id, "recipe=recipe-1", "key=" + strconv.Quote(keyOf(1)), "caller=team"} {
				if !strings.Contains(line, field) {
					t.Errorf("%q lacks %s", line, field)
				}
			}
			_, what, _ := strings.Cut(line, "msg=")
			got = append(got, strings.Join(strings.Fields(what)[:2], " "))
		}
		if want := `["build submitted" "build leased" "build moved" "build published" "build ended"]`; fmt.Sprint(got) != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// Logs may be kept shorter than builds. What is read of them then says so, and it is done once.
func TestCleanLogs(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{KeepLogs: time.Hour})
		old, fresh := submit(t, q, team, ask(1)).Build.ID, submit(t, q, team, ask(2)).Build.ID
		for range 2 {
			l := lease(t, q, "w")
			must(t, l.appendLog(t.Context(), logs.Output, []byte("x\n")))
			finish(t, l)
		}
		change(t, db, "UPDATE builds SET ended = ended - $1 WHERE id = $2", (2 * time.Hour).Microseconds(), old)
		for range 2 {
			must(t, q.Clean(t.Context()))
		}
		if b := get(t, q, old); b.State != builds.Done {
			t.Errorf("%+v", b)
		}
		if got := readLog(t, q, old, logs.Output); got != "build | the log was removed: it is kept for 1h0m0s\n" {
			t.Errorf("its log: %q", got)
		}
		if got := readLog(t, q, fresh, logs.Output); got != "x\n" {
			t.Errorf("another one's log: %q", got)
		}
		must(t, db.Read(t.Context(), func(ctx context.Context, query database.Querier) error {
			rows, err := q.old(ctx, time.Hour, "logs_removed IS NULL")
			if len(rows) != 0 {
				t.Errorf("removed again and again: %v", rows)
			}
			return err
		}))
	})
}

// Builds are listed by what they are, the newest first, page by page.
func TestList(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		var ids []string
		for i := range 7 {
			who := team
			if i%2 == 1 {
				who = other
			}
			ids = append(ids, submit(t, q, who, ask(i)).Build.ID)
			time.Sleep(2 * time.Millisecond) // SQLite's clock has milliseconds
		}
		finish(t, lease(t, q, "w"))
		var got []string
		after := ""
		for {
			page, err := q.List(t.Context(), builds.Filter{}, after, 3)
			must(t, err)
			for _, b := range page.Builds {
				got = append(got, b.ID)
			}
			if after = page.Next; after == "" {
				break
			}
		}
		if len(got) != 7 || got[0] != ids[6] || got[6] != ids[0] {
			t.Errorf("pages: %v, submitted %v", got, ids)
		}
		no := false
		for name, test := range map[string]struct {
			filter builds.Filter
			want   int
		}{
			"state":          {builds.Filter{States: []builds.State{builds.Done, builds.Failed}}, 1},
			"kind":           {builds.Filter{Kinds: []builds.Kind{builds.KindLock}}, 0},
			"recipe":         {builds.Filter{Recipe: "recipe-3"}, 1},
			"key":            {builds.Filter{Key: keyOf(2)}, 1},
			"caller":         {builds.Filter{Caller: "other"}, 3},
			"digest":         {builds.Filter{Digest: digestOf(keyOf(0))}, 1},
			"since":          {builds.Filter{Since: time.Now().Add(time.Hour)}, 0},
			"until":          {builds.Filter{Until: time.Now().Add(time.Hour)}, 7},
			"search":         {builds.Filter{Search: "RECIPE-5"}, 1},
			"literal search": {builds.Filter{Search: "recipe_5"}, 0},
			"trusted":        {builds.Filter{Trusted: &no}, 0},
			"several":        {builds.Filter{States: builds.Active(), Caller: "team", Search: "recipe"}, 3},
		} {
			page, err := q.List(t.Context(), test.filter, "", 0)
			if len(page.Builds) != test.want || err != nil {
				t.Errorf("%s: %d builds, %v; want %d", name, len(page.Builds), err, test.want)
			}
		}
		_, err := q.List(t.Context(), builds.Filter{}, "garbage", 0)
		want[*builds.SubmissionError](t, "a bad page", err)
		stats, err := q.Stats(t.Context())
		if err != nil || stats.States[builds.Queued] != 6 || stats.Oldest <= 0 || stats.Workers != 0 {
			t.Errorf("%+v, %v", stats, err)
		}
	})
}
