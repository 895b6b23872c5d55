package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ampoule/faults"
	"ampoule/service/builds"
	"ampoule/service/database"
)

// Able says which builds a worker can take.
type Able struct {
	Platforms []string
	// Labels are what the worker has: it takes builds that want no others.
	Labels []string
}

// Lease is the right of a worker to a build. What it writes after that has ended is a
// [*builds.FenceError], and changes nothing.
type Lease struct {
	// Build is as it was when the lease began.
	Build builds.Build

	q     *Queue
	token string
}

// Lease gives a worker the queued build that comes next among those that it can take: by
// priority, then by turns of callers, then by age. Found is false where there is none.
func (q *Queue) Lease(ctx context.Context, worker string, able Able) (_ *Lease, found bool, err error) {
	lease := &Lease{q: q, token: newID("", "")}
	err = q.db.Write(ctx, func(ctx context.Context, tx database.Tx) error {
		r, err := q.next(ctx, tx, able)
		found = err == nil && r != nil
		if !found {
			return err
		}
		if err := r.become(builds.Fetching); err != nil {
			return err
		}
		r.Attempt++
		r.Fence++
		r.token, r.Worker = lease.token, worker
		r.Started, r.Heartbeat = r.at(), r.at()
		r.LeaseUntil = r.at().Add(q.config.Lease)
		err = q.save(ctx, tx, r, &builds.Event{What: builds.Leased, From: builds.Queued, Who: worker})
		lease.Build = r.Build
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("leasing a build: %w", err)
	}
	return lease, found, nil
}

// next is the build that comes next; nil where there is none.
func (q *Queue) next(ctx context.Context, tx database.Tx, able Able) (*row, error) {
	text, args := nextQuery(able)
	r, err := scanRow(tx.QueryRow(ctx, text, args...))
	if isNoRow(err) {
		return nil, nil
	}
	return &r, err
}

// nextQuery asks for the build that comes next. An index has its order: however many are queued, it
// reads the first that fits.
func nextQuery(able Able) (text string, args []any) {
	platforms, args := placeholders(1, able.Platforms)
	labels, more := placeholders(1+len(args), able.Labels)
	wanted := ""
	if len(more) > 0 {
		wanted = " AND l.label NOT IN (" + labels + ")"
	}
	return `SELECT ` + columns + ` FROM builds WHERE state = 'queued' AND available <= {now} AND platform IN (` + platforms + `)
		AND NOT EXISTS (SELECT 1 FROM build_labels l WHERE l.build = builds.id` + wanted + `)
		ORDER BY priority DESC, turn, created, id LIMIT 1 {skip}`, append(args, more...)
}

// hold locks the row of the lease's build, if it is still the lease's.
func (l *Lease) hold(ctx context.Context, tx database.Tx) (*row, error) {
	r, err := lockRow(ctx, tx, l.Build.ID)
	var gone *builds.NotFoundError
	if errors.As(err, &gone) {
		return nil, l.fenced()
	}
	if err == nil {
		err = l.own(r)
	}
	return r, err
}

// own is nil if a row is the lease's.
func (l *Lease) own(r *row) error {
	if r.Fence != l.Build.Fence || r.token != l.token || !r.State.Running() {
		return l.fenced()
	}
	return nil
}

func (l *Lease) fenced() error { return &builds.FenceError{ID: l.Build.ID, Fence: l.Build.Fence} }

// change runs a transaction on the lease's build.
func (l *Lease) change(ctx context.Context, doing string, do func(context.Context, database.Tx, *row) error) error {
	err := l.q.db.Write(ctx, func(ctx context.Context, tx database.Tx) error {
		r, err := l.hold(ctx, tx)
		if err != nil {
			return err
		}
		return do(ctx, tx, r)
	})
	if err != nil {
		return fmt.Errorf("%s build %s: %w", doing, l.Build.ID, err)
	}
	return nil
}

// Heartbeat prolongs the lease. A build that shall be cancelled is a
// [*builds.CancelledError], and one that took too long a [*builds.LimitError]: the lease is
// prolonged all the same, so that the worker can end the build.
func (l *Lease) Heartbeat(ctx context.Context) error {
	var order error
	err := l.change(ctx, "keeping", func(ctx context.Context, tx database.Tx, r *row) error {
		order = orderOf(r)
		r.Heartbeat, r.LeaseUntil = r.at(), r.at().Add(l.q.config.Lease)
		return l.q.save(ctx, tx, r, nil)
	})
	return errors.Join(err, order)
}

// orderOf is what the queue wants of who has a build; nil where it shall go on.
func orderOf(r *row) error {
	switch {
	case r.cancelledBy != "":
		return &builds.CancelledError{By: r.cancelledBy}
	case r.at().Sub(r.Started) > r.Limit:
		return &builds.LimitError{Limit: r.Limit}
	}
	return nil
}

// look reads what [Lease.Heartbeat] would answer, and writes nothing: most changes of a build are its
// worker's own.
func (l *Lease) look(ctx context.Context) error {
	return l.q.db.Read(ctx, func(ctx context.Context, q database.Querier) error {
		r, err := readRow(ctx, q, l.Build.ID, "")
		if err == nil {
			err = l.own(r)
		}
		if err == nil {
			err = orderOf(r)
		}
		return err
	})
}

// Move tells how far the build is. A state that it has passed changes nothing.
func (l *Lease) Move(ctx context.Context, to builds.State) error {
	return l.change(ctx, "moving", func(ctx context.Context, tx database.Tx, r *row) error {
		if !r.State.Before(to) {
			return nil
		}
		return l.q.move(ctx, tx, r, to)
	})
}

func (q *Queue) move(ctx context.Context, tx database.Tx, r *row, to builds.State) error {
	from := r.State
	if err := r.become(to); err != nil {
		return err
	}
	return q.save(ctx, tx, r, &builds.Event{What: builds.Moved, From: from, Who: r.Worker})
}

// Claim writes the row of the build's key: from then on the digest counts, and the build cannot
// be cancelled. It comes before the registry's tag, and after the artifact's content. A key
// that has another digest is a [*builds.TakenError], a build that shall be cancelled a
// [*builds.CancelledError].
func (l *Lease) Claim(ctx context.Context, digest string) error {
	return l.change(ctx, "publishing", func(ctx context.Context, tx database.Tx, r *row) error {
		if r.cancelledBy != "" {
			return &builds.CancelledError{By: r.cancelledBy}
		}
		if r.State.Before(builds.Publishing) {
			if err := l.q.move(ctx, tx, r, builds.Publishing); err != nil {
				return err
			}
		}
		return l.q.claim(ctx, tx, r, digest)
	})
}

func (q *Queue) claim(ctx context.Context, tx database.Tx, r *row, digest string) error {
	n, err := tx.Exec(ctx, `INSERT INTO publications (build_key, recipe, digest, build, trusted, tagged, at) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (build_key) DO NOTHING`, r.Key, r.Recipe, digest, r.ID, r.Trusted, false, r.now)
	if err != nil {
		return fmt.Errorf("writing the publication of %s: %w", r.Key, err)
	}
	if n == 0 {
		p, _, err := published(ctx, tx, r.Key)
		if err != nil {
			return err
		}
		if p.Digest != digest {
			return &builds.TakenError{Key: r.Key, Published: p.Digest, Offered: digest}
		}
		// Who asks for the key is answered with a build that there still is.
		_, err = tx.Exec(ctx, "UPDATE publications SET build = $2 WHERE build_key = $1 AND NOT EXISTS (SELECT 1 FROM builds b WHERE b.id = publications.build)", r.Key, r.ID)
		if err != nil {
			return fmt.Errorf("writing the publication of %s: %w", r.Key, err)
		}
	}
	r.claimed = true
	if n == 0 {
		return q.save(ctx, tx, r, nil)
	}
	return q.save(ctx, tx, r, &builds.Event{What: builds.Published, From: r.State, Who: r.Worker, Message: digest})
}

// Claimed returns the digest that the build's key has already, which the registry may lack.
func (l *Lease) Claimed(ctx context.Context) (digest string, found bool, err error) {
	err = l.q.db.Read(ctx, func(ctx context.Context, q database.Querier) error {
		p, ok, err := published(ctx, q, l.Build.Key)
		digest, found = p.Digest, ok
		return err
	})
	return digest, found, err
}

// Finish ends the build well. The row of its key is written unless it is there.
func (l *Lease) Finish(ctx context.Context, result builds.Result) error {
	return l.finally(ctx, func(ctx context.Context, tx database.Tx, r *row) error {
		if r.cancelledBy != "" && !r.claimed {
			return l.q.end(ctx, tx, r, builds.Cancelled, &builds.CancelledError{By: r.cancelledBy}, r.Worker)
		}
		if r.Kind == builds.KindBuild {
			if err := l.publish(ctx, tx, r, result); err != nil {
				return err
			}
		}
		from := r.State
		if err := r.become(builds.Done); err != nil {
			return err
		}
		r.Result = &result
		return l.q.save(ctx, tx, r, &builds.Event{What: builds.Ended, From: from, Who: r.Worker, Message: result.Digest})
	})
}

// publish has the key's row name the digest, which the registry has under the key's tag.
func (l *Lease) publish(ctx context.Context, tx database.Tx, r *row, result builds.Result) error {
	if err := l.q.claim(ctx, tx, r, result.Digest); err != nil {
		return err
	}
	trusted := r.Trusted && (!r.Force || result.Same != nil && *result.Same)
	_, err := tx.Exec(ctx, "UPDATE publications SET tagged = $2, trusted = (trusted OR $3) WHERE build_key = $1", r.Key, true, trusted)
	return err
}

// Fail ends the build for an error. Result may say what was made all the same.
func (l *Lease) Fail(ctx context.Context, cause error, result *builds.Result) error {
	return l.endAs(ctx, builds.Failed, cause, result)
}

// Cancelled ends the build that was to be cancelled.
func (l *Lease) Cancelled(ctx context.Context, cause error) error {
	return l.endAs(ctx, builds.Cancelled, cause, nil)
}

func (l *Lease) endAs(ctx context.Context, to builds.State, cause error, result *builds.Result) error {
	return l.finally(ctx, func(ctx context.Context, tx database.Tx, r *row) error {
		r.Result = result
		return l.q.end(ctx, tx, r, to, cause, r.Worker)
	})
}

// finally ends the build. If it has ended by this lease already, an answer was lost on its
// way, and nothing is done.
func (l *Lease) finally(ctx context.Context, do func(context.Context, database.Tx, *row) error) error {
	err := l.change(ctx, "ending", do)
	var fence *builds.FenceError
	if !errors.As(err, &fence) {
		return err
	}
	readErr := l.q.db.Read(ctx, func(ctx context.Context, q database.Querier) error {
		r, readErr := readRow(ctx, q, l.Build.ID, "")
		if readErr == nil && r.State.Terminal() && r.token == l.token && r.Fence == l.Build.Fence {
			err = nil
		}
		return readErr
	})
	return errors.Join(err, readErr)
}

// Release gives the build back: another worker, or this one later, goes on with it.
func (l *Lease) Release(ctx context.Context) error {
	return l.change(ctx, "giving back", func(ctx context.Context, tx database.Tx, r *row) error {
		return l.q.requeue(ctx, tx, r, builds.Event{What: builds.Released, Who: r.Worker})
	})
}

const (
	// pauseAfter is when a build may be taken again that was given up for the first time; each next
	// pause is three times as long. Five attempts bear a registry that is away for three minutes.
	pauseAfter = 5 * time.Second
	// pauseMost bounds it.
	pauseMost = 5 * time.Minute
	// versionPause is when a build may be taken again that is for a worker of another version.
	versionPause = 15 * time.Second
	// versionWait is how long after its submission a build waits for such a worker: a service is upgraded
	// in less, and then nobody has the older version any more.
	versionWait = time.Hour
)

// pause is when a build may be taken again that was given up, or lost, a number of times.
func pause(lost int) time.Duration {
	p := pauseAfter
	for range lost - 1 {
		p = min(3*p, pauseMost)
	}
	return p
}

// GiveUp gives the build back for an error that is not its own, see [Passes]: it shall be tried
// again after a while, by whichever worker. A build that was given up, or lost, too often fails, and so
// does one that has no worker of its version for long: see [builds.VersionError].
func (l *Lease) GiveUp(ctx context.Context, cause error) error {
	return l.change(ctx, "giving back", func(ctx context.Context, tx database.Tx, r *row) error {
		wait, again := versionPause, r.at().Sub(r.Created) < versionWait
		if !isVersion(cause) {
			r.lost++
			wait, again = pause(r.lost), r.lost < l.q.config.Attempts
		}
		if !again {
			return l.q.end(ctx, tx, r, builds.Failed, cause, r.Worker)
		}
		r.available = r.at().Add(wait).UnixMicro()
		return l.q.requeue(ctx, tx, r, builds.Event{What: builds.Released, Who: r.Worker, Message: builds.FailureOf(r.ID, cause).Message})
	})
}

// requeue takes the build from its worker and queues it; one that shall be cancelled ends.
func (q *Queue) requeue(ctx context.Context, tx database.Tx, r *row, e builds.Event) error {
	r.unlease()
	if r.cancelledBy != "" && !r.claimed {
		return q.end(ctx, tx, r, builds.Cancelled, &builds.CancelledError{By: r.cancelledBy}, e.Who)
	}
	e.From = r.State
	if err := r.become(builds.Queued); err != nil {
		return err
	}
	if err := q.save(ctx, tx, r, &e); err != nil {
		return err
	}
	return q.enqueue(ctx, tx, r)
}

// reapAtOnce bounds how many builds one transaction takes back.
const reapAtOnce = 100

// Reap takes builds back whose leases have ended, and returns how many they were. A build that
// was lost too often fails.
func (q *Queue) Reap(ctx context.Context) (int, error) { return q.reap(ctx, false) }

func (q *Queue) reap(ctx context.Context, all bool) (int, error) {
	total := 0
	for {
		n, err := q.reapSome(ctx, all)
		total += n
		if n < reapAtOnce || err != nil {
			return total, err
		}
	}
}

func (q *Queue) reapSome(ctx context.Context, all bool) (n int, err error) {
	ended := "lease_until < {now}"
	if all {
		ended = "1 = 1"
	}
	err = q.db.Write(ctx, func(ctx context.Context, tx database.Tx) error {
		var found []row
		err := database.Each(ctx, tx, "SELECT "+columns+" FROM builds WHERE state IN ("+running+") AND "+ended+" ORDER BY lease_until LIMIT $1 {skip}", []any{reapAtOnce},
			func(from database.Row) error {
				r, err := scanRow(from)
				found = append(found, r)
				return err
			})
		for i := range found {
			if err == nil {
				err = q.lose(ctx, tx, &found[i])
			}
		}
		n = len(found)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("taking back builds: %w", err)
	}
	return n, nil
}

// lose takes back one build whose worker was lost.
func (q *Queue) lose(ctx context.Context, tx database.Tx, r *row) error {
	r.lost++
	if r.lost >= q.config.Attempts && r.cancelledBy == "" {
		r.unlease()
		return q.end(ctx, tx, r, builds.Failed, &builds.LostError{Attempts: r.lost}, "")
	}
	return q.requeue(ctx, tx, r, builds.Event{What: builds.Lost, Who: r.Worker})
}

// isMachine reports whether another machine may succeed.
func isMachine(err error) bool { return faults.Of(err) == faults.Machine }

// isVersion reports whether a worker of another version may succeed, on the same machine too.
func isVersion(err error) bool {
	var version *builds.VersionError
	return errors.As(err, &version)
}

// Passes reports whether an error says nothing of a build, which is given back for it: another machine may
// succeed, or this one when a server that was away is back.
func Passes(err error) bool { return isMachine(err) || faults.Passes(err) }
