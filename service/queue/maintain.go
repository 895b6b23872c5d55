package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"ampoule/service/builds"
	"ampoule/service/database"
)

const (
	// cleanEvery is how often what ended long ago is removed.
	cleanEvery = time.Hour
	// strayFor is how long an archive stays that no build names: its submission may come yet.
	strayFor = 24 * time.Hour
	// cleanAtOnce bounds what one transaction removes.
	cleanAtOnce = 200
	// looks is how often leases are looked at while one lasts.
	looks = 3
)

// Maintain takes back builds whose leases have ended, and removes what has been kept long
// enough, until the context ends. Several processes may do so at once.
//
// While the database was away nobody could prolong a lease: nothing is taken back before it has
// answered for as long as a lease lasts.
func (q *Queue) Maintain(ctx context.Context, log *logrus.Entry) {
	period := q.config.Lease / looks
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	var cleaned time.Time
	good, since := time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := q.db.Ping(ctx); err != nil {
			continue
		}
		if time.Since(good) > 2*period {
			since = time.Now()
		}
		good = time.Now()
		if time.Since(since) >= q.config.Lease {
			n, err := q.Reap(ctx)
			if n > 0 || err != nil && ctx.Err() == nil {
				log.WithError(err).WithField("builds", n).Warn("took back builds whose workers were lost")
			}
		}
		if time.Since(cleaned) > cleanEvery {
			cleaned = time.Now()
			if err := q.Clean(ctx); err != nil && ctx.Err() == nil {
				log.WithError(err).Warn("removing what has been kept long enough")
			}
		}
	}
}

// Clean removes builds that ended longer ago than [Config.Keep], with their logs, archives that
// no build names, and workers that were not seen for a day. Publications stay.
func (q *Queue) Clean(ctx context.Context) error {
	for q.config.Keep > 0 {
		n, err := q.cleanBuilds(ctx)
		if err != nil {
			return fmt.Errorf("removing old builds: %w", err)
		}
		if n < cleanAtOnce {
			break
		}
	}
	stray := strayFor.Microseconds()
	err := q.db.Write(ctx, func(ctx context.Context, tx database.Tx) error {
		for _, one := range []struct {
			text string
			args []any
		}{
			{`DELETE FROM archives WHERE used < {now} - $1 AND NOT EXISTS (SELECT 1 FROM builds b WHERE b.archive = archives.sum
				OR b.kind = 'lock' AND b.result LIKE '%' || archives.sum || '%')`, []any{stray}},
			{"DELETE FROM archive_parts WHERE NOT EXISTS (SELECT 1 FROM archives a WHERE a.sum = archive_parts.sum)", nil},
			{"DELETE FROM workers WHERE seen < {now} - $1", []any{stray}},
		} {
			if _, err := tx.Exec(ctx, one.text, one.args...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("removing what nobody needs: %w", err)
	}
	return nil
}

func (q *Queue) cleanBuilds(ctx context.Context) (int, error) {
	var old []string
	err := q.db.Read(ctx, func(ctx context.Context, query database.Querier) error {
		old = nil
		return database.Each(ctx, query, "SELECT id FROM builds WHERE ended < {now} - $1 LIMIT $2", []any{q.config.Keep.Microseconds(), cleanAtOnce},
			func(from database.Row) error {
				var id string
				err := from.Scan(&id)
				old = append(old, id)
				return err
			})
	})
	for _, id := range old {
		if err == nil {
			err = q.logs.Remove(ctx, id)
		}
		if err == nil {
			err = q.forget(ctx, id)
		}
	}
	return len(old), err
}

// forget removes the rows of a build.
func (q *Queue) forget(ctx context.Context, id string) error {
	return q.db.Write(ctx, func(ctx context.Context, tx database.Tx) error {
		for _, text := range []string{
			"DELETE FROM build_labels WHERE build = $1", "DELETE FROM submissions WHERE build = $1",
			"DELETE FROM events WHERE build = $1", "DELETE FROM builds WHERE id = $1",
		} {
			if _, err := tx.Exec(ctx, text, id); err != nil {
				return err
			}
		}
		return nil
	})
}

type logKey struct{}

// WithLog returns a context whose changes of builds are logged there.
func WithLog(ctx context.Context, log *logrus.Entry) context.Context {
	return context.WithValue(ctx, logKey{}, log)
}

// logEvent logs a change, where the context has a log.
func (q *Queue) logEvent(ctx context.Context, r *row, e builds.Event) {
	log, ok := ctx.Value(logKey{}).(*logrus.Entry)
	if !ok {
		return
	}
	log.WithFields(logrus.Fields{
		"build": r.ID, "recipe": r.Recipe, "key": r.Key, "caller": r.Caller, "from": e.From, "state": r.State, "fence": r.Fence, "who": e.Who,
	}).Info("build " + string(e.What))
}
