package queue

import (
	"context"
	"errors"
	"io"
	"time"

	"ampoule/service/database"
)

const (
	// outageMost is how long a follower waits for a database that does not answer.
	outageMost = 10 * time.Minute
	// outagePause is the time between two looks at it.
	outagePause = time.Second
)

// outage is how long the database has been away for a follower: what it follows goes on meanwhile,
// so that there is no reason to send it off.
type outage struct{ since time.Time }

// over waits for a moment if an error says that the database is away, and reports whether to look
// again. Another error, or an outage of more than [outageMost], is not waited for.
func (o *outage) over(ctx context.Context, err error) bool {
	var away *database.UnavailableError
	if !errors.As(err, &away) {
		o.since = time.Time{}
		return false
	}
	if o.since.IsZero() {
		o.since = time.Now()
	}
	if time.Since(o.since) > outageMost {
		return false
	}
	return waitFor(ctx, nil, outagePause) == nil
}

// outlast does something again while the database is away: what was built is not given up for that.
func outlast(ctx context.Context, do func() error) error {
	var away outage
	for {
		if err := do(); !away.over(ctx, err) {
			return err
		}
	}
}

// outlasting is the job of a lease, whose calls wait while the database is away.
func (w *Worker) outlasting(l *Lease) Job {
	return Job{
		Build: l.Build,
		Alone: w.q.db.Engine() == database.SQLite,
		Archive: func(ctx context.Context) (archive io.ReadCloser, err error) {
			err = outlast(ctx, func() (err error) {
				archive, err = w.q.OpenArchive(ctx, l.Build.Archive)
				return err
			})
			return archive, err
		},
		Keep: func(ctx context.Context, from io.Reader) (string, error) {
			sum, _, err := w.q.PutArchive(ctx, from)
			return sum, err
		},
		Claim: func(ctx context.Context, digest string) error {
			return outlast(ctx, func() error { return l.Claim(ctx, digest) })
		},
		Claimed: func(ctx context.Context) (digest string, found bool, err error) {
			err = outlast(ctx, func() (err error) {
				digest, found, err = l.Claimed(ctx)
				return err
			})
			return digest, found, err
		},
	}
}
