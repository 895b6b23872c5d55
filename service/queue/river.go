package queue

import (
	"context"
	"database/sql"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"

	"ampoule/service/database"
)

// waker tells workers of other processes that something is queued. It is River, which a lost
// job harms nothing: see the package's comment.
type waker interface {
	// insert has one worker of the platform told when the transaction is committed.
	insert(ctx context.Context, tx database.Tx, platform, build string) error
	// listen calls nudge for what is queued for any of the platforms, until stop.
	listen(ctx context.Context, platforms []string, nudge func()) (stop func(context.Context) error, err error)
}

// newWaker opens River on the engine's own driver.
func newWaker(db *database.DB) (waker, error) {
	if pool := db.Pool(); pool != nil {
		return newRiver[pgx.Tx](riverpgxv5.New(pool), database.Tx.Postgres, false)
	}
	// One process: it wakes itself, and polls for what it missed.
	return newRiver[*sql.Tx](riversqlite.New(db.Writer()), database.Tx.SQLite, true)
}

// wakeArgs are River's job: nothing but a hint.
type wakeArgs struct {
	Build string `json:"build"`
}

// Kind implements [river.JobArgs].
func (wakeArgs) Kind() string { return "wake" }

const (
	// fetchCooldown is how often a client looks for jobs at most. Every client of a queue is told of each
	// job: a hundred workers would ask fifty times for one build. The first look is at once.
	fetchCooldown = time.Second
	// fetchPoll is how often it looks that nobody has told. Workers look at the table more often.
	fetchPoll = 10 * time.Second
)

// riverRetention is how long River keeps jobs that are over.
const riverRetention = 10 * time.Minute

type riverOf[T any] struct {
	driver   riverdriver.Driver[T]
	own      func(database.Tx) T
	pollOnly bool
	client   *river.Client[T]
}

func newRiver[T any](driver riverdriver.Driver[T], own func(database.Tx) T, pollOnly bool) (*riverOf[T], error) {
	client, err := river.NewClient(driver, &river.Config{Logger: slog.New(slog.DiscardHandler)})
	return &riverOf[T]{driver, own, pollOnly, client}, err
}

// insert implements [waker].
func (r *riverOf[T]) insert(ctx context.Context, tx database.Tx, platform, build string) error {
	_, err := r.client.InsertTx(ctx, r.own(tx), wakeArgs{build}, &river.InsertOpts{Queue: queueName(platform), MaxAttempts: 1})
	return err
}

// queueName is the name of a platform's queue; River takes no slash.
func queueName(platform string) string { return strings.ReplaceAll(platform, "/", "_") }

// nudger is River's worker. It ends at once: a build is no job of River's, whose time-outs and
// rescues do not know leases.
type nudger struct {
	river.WorkerDefaults[wakeArgs]
	nudge func()
}

// Work implements [river.Worker].
func (n *nudger) Work(context.Context, *river.Job[wakeArgs]) error {
	n.nudge()
	return nil
}

// listen implements [waker].
func (r *riverOf[T]) listen(ctx context.Context, platforms []string, nudge func()) (func(context.Context) error, error) {
	workers := river.NewWorkers()
	if err := river.AddWorkerSafely(workers, &nudger{nudge: nudge}); err != nil {
		return nil, err
	}
	queues := map[string]river.QueueConfig{}
	for _, p := range platforms {
		queues[queueName(p)] = river.QueueConfig{MaxWorkers: 1}
	}
	client, err := river.NewClient(r.driver, &river.Config{
		Queues: queues, Workers: workers, PollOnly: r.pollOnly, FetchCooldown: fetchCooldown, FetchPollInterval: fetchPoll, Logger: slog.New(slog.DiscardHandler),
		CompletedJobRetentionPeriod: riverRetention, CancelledJobRetentionPeriod: riverRetention, DiscardedJobRetentionPeriod: riverRetention,
	})
	if err != nil {
		return nil, err
	}
	// Stop ends it, in order; the end of the context would break what is being written.
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return nil, err
	}
	return client.Stop, nil
}
