package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/logs"
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

// Clean removes builds that ended longer ago than [Config.Keep] with all that belongs to them,
// logs of those that ended longer ago than [Config.KeepLogs], archives that no build names, and
// workers that were not seen for a day. Publications stay, and it has nothing to do with the
// registry. What was removed is logged.
func (q *Queue) Clean(ctx context.Context) error {
	removed, err := q.cleanOld(ctx, q.config.Keep, "ended IS NOT NULL", q.cleanBuild)
	if err != nil {
		return fmt.Errorf("removing old builds: %w", err)
	}
	logs, err := q.cleanOld(ctx, q.config.KeepLogs, "ended IS NOT NULL AND logs_removed IS NULL", q.cleanLog)
	if err != nil {
		return fmt.Errorf("removing old logs: %w", err)
	}
	archives, err := q.cleanStray(ctx)
	if err != nil {
		return fmt.Errorf("removing what nobody needs: %w", err)
	}
	if removed+logs+archives > 0 {
		q.config.Log(ctx).WithFields(logrus.Fields{"builds": removed, "logs": logs, "archives": archives}).Info("removed what was kept long enough")
	}
	return nil
}

// cleanStray removes what no build names any more, and returns how many archives that were.
func (q *Queue) cleanStray(ctx context.Context) (archives int, err error) {
	stray := strayFor.Microseconds()
	err = q.db.Write(ctx, func(ctx context.Context, tx database.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM archives WHERE used < {now} - $1 AND NOT EXISTS (SELECT 1 FROM builds b WHERE b.archive = archives.sum)
			AND NOT EXISTS (SELECT 1 FROM builds b WHERE b.kind = 'lock' AND b.result LIKE '%' || archives.sum || '%')`, stray)
		if err != nil {
			return err
		}
		archives = int(n)
		for _, one := range []struct {
			text string
			args []any
		}{
			{"DELETE FROM archive_parts WHERE NOT EXISTS (SELECT 1 FROM archives a WHERE a.sum = archive_parts.sum)", nil},
			{"DELETE FROM workers WHERE seen < {now} - $1", []any{stray}},
		} {
			if _, err := tx.Exec(ctx, one.text, one.args...); err != nil {
				return err
			}
		}
		return nil
	})
	return archives, err
}

// cleanOld does something to each build that ended longer ago than a time, and returns how many
// they were. Afterwards the condition, as SQL, is not theirs any more. The time 0 is for ever.
func (q *Queue) cleanOld(ctx context.Context, keep time.Duration, which string, do func(ctx context.Context, id string) error) (total int, err error) {
	for keep > 0 {
		old, err := q.old(ctx, keep, which)
		if err != nil {
			return total, err
		}
		for _, id := range old {
			if err := do(ctx, id); err != nil {
				return total, err
			}
			total++
		}
		if len(old) < cleanAtOnce {
			break
		}
	}
	return total, nil
}

// old lists some builds that ended longer ago than a time.
func (q *Queue) old(ctx context.Context, keep time.Duration, which string) (ids []string, err error) {
	err = q.db.Read(ctx, func(ctx context.Context, query database.Querier) error {
		ids = nil
		return database.Each(ctx, query, "SELECT id FROM builds WHERE "+which+" AND ended < {now} - $1 ORDER BY ended LIMIT $2", []any{keep.Microseconds(), cleanAtOnce},
			func(from database.Row) error {
				var id string
				err := from.Scan(&id)
				ids = append(ids, id)
				return err
			})
	})
	return ids, err
}

// cleanBuild removes a build and its logs.
func (q *Queue) cleanBuild(ctx context.Context, id string) error {
	if err := q.logs.Remove(ctx, id); err != nil {
		return err
	}
	return q.forget(ctx, id)
}

// cleanLog removes the logs of a build. What is left says so.
func (q *Queue) cleanLog(ctx context.Context, id string) error {
	if err := q.logs.Remove(ctx, id); err != nil {
		return err
	}
	return q.db.Write(ctx, func(ctx context.Context, tx database.Tx) error {
		n, err := tx.Exec(ctx, "UPDATE builds SET logs_removed = {now} WHERE id = $1", id)
		if err != nil || n == 0 { // the build is gone, too
			return err
		}
		return q.logs.Append(ctx, tx, id, logs.Output, []byte(logs.Line("build", fmt.Sprintf("the log was removed: it is kept for %s", q.config.KeepLogs))))
	})
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

// logEvent logs a change when it is committed.
func (q *Queue) logEvent(ctx context.Context, tx database.Tx, r *row, e builds.Event) {
	entry := q.config.Log(ctx).WithFields(logrus.Fields{
		"build": r.ID, "recipe": r.Recipe, "key": r.Key, "caller": r.Caller, "from": e.From, "state": r.State, "fence": r.Fence, "attempt": r.Attempt, "who": e.Who,
	})
	tx.OnCommit(func() { entry.Info("build " + string(e.What)) })
}
