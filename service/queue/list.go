package queue

import (
	"context"
	"encoding/base64"
	"fmt"
	"iter"
	"strings"
	"time"

	"ampoule/service/builds"
	"ampoule/service/database"
)

// maxPage bounds a page.
const maxPage = 500

// where collects conditions and their arguments.
type where struct {
	conditions []string
	args       []any
}

// add adds a condition in which ? stands for the value.
func (w *where) add(condition string, value any) {
	w.args = append(w.args, value)
	w.conditions = append(w.conditions, strings.ReplaceAll(condition, "?", fmt.Sprintf("$%d", len(w.args))))
}

func in[T any](w *where, column string, values []T) {
	if len(values) == 0 {
		return
	}
	marks, args := placeholders(len(w.args)+1, values)
	w.args = append(w.args, args...)
	w.conditions = append(w.conditions, column+" IN ("+marks+")")
}

// text is the condition for SQL.
func (w *where) text() string {
	if len(w.conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conditions, " AND ")
}

// escapeLike makes a text a part of a LIKE pattern that finds it.
var escapeLike = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

func conditions(f builds.Filter) *where {
	w := &where{}
	in(w, "state", f.States)
	in(w, "kind", f.Kinds)
	for _, is := range []struct{ column, value string }{{"recipe", f.Recipe}, {"build_key", f.Key}, {"caller", f.Caller}} {
		if is.value != "" {
			w.add(is.column+" = ?", is.value)
		}
	}
	if f.Digest != "" {
		w.add("build_key IN (SELECT build_key FROM publications WHERE digest = ?)", f.Digest)
	}
	if !f.Since.IsZero() {
		w.add("created >= ?", f.Since.UnixMicro())
	}
	if !f.Until.IsZero() {
		w.add("created < ?", f.Until.UnixMicro())
	}
	if f.Search != "" {
		pattern := "%" + escapeLike.Replace(strings.ToLower(f.Search)) + "%"
		w.add(`(lower(recipe) LIKE ? ESCAPE '\' OR id LIKE ? ESCAPE '\' OR lower(caller) LIKE ? ESCAPE '\' OR build_key LIKE ? ESCAPE '\')`, pattern)
	}
	if f.Trusted != nil {
		w.add("trusted = ?", *f.Trusted)
	}
	return w
}

// List returns builds, the newest first. After is the Next of the page before; limit is at
// most 500, and 0 is 50.
func (q *Queue) List(ctx context.Context, f builds.Filter, after string, limit int) (builds.Page, error) {
	limit = min(orDefault(max(limit, 0), 50), maxPage)
	w := conditions(f)
	if after != "" {
		created, id, err := readCursor(after)
		if err != nil {
			return builds.Page{}, err
		}
		w.add("created <= ?", created)
		w.args = append(w.args, created, id)
		w.conditions = append(w.conditions, fmt.Sprintf("(created < $%d OR id < $%d)", len(w.args)-1, len(w.args)))
	}
	w.args = append(w.args, limit+1)
	text := "SELECT " + columns + " FROM builds" + w.text() + fmt.Sprintf(" ORDER BY created DESC, id DESC LIMIT $%d", len(w.args))
	page := builds.Page{Builds: []builds.Build{}}
	err := q.db.Read(ctx, func(ctx context.Context, query database.Querier) error {
		return database.Each(ctx, query, text, w.args, func(from database.Row) error {
			r, err := scanRow(from)
			page.Builds = append(page.Builds, r.Build)
			return err
		})
	})
	if err != nil {
		return builds.Page{}, fmt.Errorf("listing builds: %w", err)
	}
	if len(page.Builds) > limit {
		page.Builds = page.Builds[:limit]
		last := page.Builds[limit-1]
		page.Next = base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s", last.Created.UnixMicro(), last.ID))
	}
	return page, nil
}

func readCursor(text string) (created int64, id string, err error) {
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		_, err = fmt.Sscanf(string(data), "%d %s", &created, &id)
	}
	if err != nil {
		return 0, "", &builds.SubmissionError{Field: "after", Msg: "it is not the end of a page"}
	}
	return created, id, nil
}

// Events returns a build's events behind one, by their numbers.
func (q *Queue) Events(ctx context.Context, id string, after int64, limit int) ([]builds.Event, error) {
	var all []builds.Event
	err := q.db.Read(ctx, func(ctx context.Context, query database.Querier) error {
		all = nil
		return database.Each(ctx, query, `SELECT build, seq, at, what, from_state, state, fence, who, message FROM events
			WHERE build = $1 AND seq > $2 ORDER BY seq LIMIT $3`, []any{id, after, min(orDefault(max(limit, 0), maxPage), maxPage)}, func(from database.Row) error {
			var e builds.Event
			var at int64
			err := from.Scan(&e.Build, &e.Seq, &at, &e.What, &e.From, &e.State, &e.Fence, &e.Who, &e.Message)
			e.Time = database.Time(at)
			all = append(all, e)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading the events of build %s: %w", id, err)
	}
	return all, nil
}

// look is how often a follower looks that nobody has woken.
const look = 2 * time.Second

// waitFor waits for a change, for the time to look again, or for the end of the context.
func waitFor(ctx context.Context, changed <-chan struct{}, look time.Duration) error {
	timer := time.NewTimer(look)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// Follow gives a build's events behind one, those to come too, until the build has ended.
// Without a build the error is a [*builds.NotFoundError]. A database that is away is waited for.
func (q *Queue) Follow(ctx context.Context, id string, after int64) iter.Seq2[builds.Event, error] {
	return func(yield func(builds.Event, error) bool) {
		changed, leave := q.hub.watch(id)
		defer leave()
		var away outage
		for {
			// The state before the events: those of a build that has ended are all there.
			b, err := q.Get(ctx, id)
			var events []builds.Event
			if err == nil {
				events, err = q.Events(ctx, id, after, 0)
			}
			if away.over(ctx, err) {
				continue
			}
			if err != nil {
				yield(builds.Event{}, err)
				return
			}
			for _, e := range events {
				after = e.Seq
				if !yield(e, nil) || e.What == builds.Ended {
					return
				}
			}
			switch {
			case len(events) > 0:
				continue
			case b.State.Terminal():
				return
			}
			if err := waitFor(ctx, changed, look); err != nil {
				yield(builds.Event{}, err)
				return
			}
		}
	}
}

// Stats counts what is there now.
func (q *Queue) Stats(ctx context.Context) (builds.Stats, error) {
	stats := builds.Stats{States: map[builds.State]int{}}
	err := q.db.Read(ctx, func(ctx context.Context, query database.Querier) error {
		err := database.Each(ctx, query, "SELECT state, count(*) FROM builds WHERE state IN ("+active+") GROUP BY state", nil, func(from database.Row) error {
			var state builds.State
			var n int
			err := from.Scan(&state, &n)
			stats.States[state] = n
			return err
		})
		if err != nil {
			return err
		}
		var oldest int64
		err = query.QueryRow(ctx, "SELECT coalesce({now} - min(created), 0) FROM builds WHERE state = 'queued'").Scan(&oldest)
		stats.Oldest = time.Duration(oldest) * time.Microsecond
		return err
	})
	if err != nil {
		return builds.Stats{}, fmt.Errorf("counting builds: %w", err)
	}
	workers, err := q.Workers(ctx)
	for _, w := range workers {
		if w.Alive {
			stats.Workers++
		}
	}
	return stats, err
}
