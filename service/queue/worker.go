package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"ampoule/service/builds"
	"ampoule/service/database"
)

// Runner makes what a build asks for. The context ends with a cause: whoever cancelled, the
// limit, the end of the lease or of the worker. Events go to the context's feed.
type Runner interface {
	Run(ctx context.Context, job Job) (builds.Result, error)
}

// Job is one build for a [Runner].
type Job struct {
	Build builds.Build
	// Alone says that no other process takes builds.
	Alone bool
	// Archive opens what was submitted.
	Archive func(context.Context) (io.ReadCloser, error)
	// Keep keeps a lock that was made, and returns its sha256 for the result.
	Keep func(context.Context, io.Reader) (sum string, err error)
	// Claim is called when all of the artifact is in the registry but the key's tag, and before
	// that tag: without an error the digest is the key's. See [Lease.Claim].
	Claim func(ctx context.Context, digest string) error
	// Claimed returns the digest that the key has, whose tag the registry may lack.
	Claimed func(context.Context) (digest string, found bool, err error)
}

// WorkerConfig says what a worker is and can do.
type WorkerConfig struct {
	Queue  *Queue
	Runner Runner
	// Name is for people; empty is the host's.
	Name string
	// Version is the program's.
	Version string
	// Platform is os/architecture; Labels are what else it has.
	Platform string
	Labels   []string
	// Slots is how many builds it runs at once; 0 is one.
	Slots int
	// Drain is how long running builds may go on when the worker ends; then they are queued
	// again. 0 queues them at once.
	Drain time.Duration
	// Log is where the worker tells what it does; nil is nowhere.
	Log *logrus.Entry
}

// Worker takes builds and runs them.
type Worker struct {
	config WorkerConfig
	q      *Queue
	id     string
	host   string
	// rest holds back the next lease after this machine could not.
	mu   sync.Mutex
	rest time.Time
}

// NewWorker makes a worker. Its ID is drawn.
func NewWorker(c WorkerConfig) (*Worker, error) {
	if c.Queue == nil || c.Runner == nil || !platformForm.MatchString(c.Platform) {
		return nil, errors.New("making a worker: it needs a queue, a runner, and a platform as os/architecture")
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("making a worker: %w", err)
	}
	c.Name, c.Slots, c.Labels = orDefault(c.Name, host), max(c.Slots, 1), sorted(c.Labels)
	if c.Log == nil {
		c.Log = silent()
	}
	id := newID("", "")
	c.Log = c.Log.WithField("worker", id)
	return &Worker{config: c, q: c.Queue, id: id, host: host}, nil
}

// ID is the worker's, which builds name.
func (w *Worker) ID() string { return w.id }

var (
	// errDrained is the cause when the worker ends before a build does.
	errDrained = errors.New("the worker ends")
	// errPanic says that a build made the program panic.
	errPanic = errors.New("the worker panicked")
)

const (
	// poll is how often an idle worker looks that nobody has woken; spread is added at random.
	poll, spread = time.Second, time.Second
	// aliveFor is how long a worker counts as alive that is not seen.
	aliveFor = time.Minute
	// restFor is how long a worker takes nothing after its machine could not.
	restFor = 10 * time.Second
)

// Run takes builds until the context ends. Then it takes none any more, and returns when those
// that run have ended or were given back: see [WorkerConfig.Drain].
func (w *Worker) Run(ctx context.Context) error {
	if err := w.present(ctx, false); err != nil {
		return err
	}
	idle := make(chan struct{}, 1)
	stop, err := w.q.wake.listen(ctx, []string{w.config.Platform}, func() { signal(idle) })
	if err != nil {
		return fmt.Errorf("listening to the queue: %w", err)
	}
	var around sync.WaitGroup
	around.Go(func() { w.showPresence(ctx) })
	around.Go(func() { w.q.Maintain(ctx, w.config.Log) })

	// Builds outlast the worker's context, by the time to drain.
	building, abandon := context.WithCancelCause(context.WithoutCancel(ctx))
	defer abandon(nil)
	var running sync.WaitGroup
	w.take(ctx, idle, func(l *Lease, done func()) {
		running.Go(func() {
			defer done()
			w.build(building, l)
		})
	})
	w.config.Log.Info("draining")
	timer := time.AfterFunc(w.config.Drain, func() { abandon(errDrained) })
	defer timer.Stop()
	running.Wait()
	around.Wait()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), aliveFor)
	defer cancel()
	return errors.Join(stop(ending), w.leave(ending))
}

// take leases builds while there are free slots, until the context ends.
func (w *Worker) take(ctx context.Context, idle <-chan struct{}, start func(l *Lease, done func())) {
	slots := make(chan struct{}, w.config.Slots)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		l := w.next(ctx, idle)
		if l == nil {
			return
		}
		start(l, func() { <-slots })
	}
}

// next waits for a build; nil when the context has ended.
func (w *Worker) next(ctx context.Context, idle <-chan struct{}) *Lease {
	for ctx.Err() == nil {
		if pause := w.pause(); pause <= 0 {
			// What is leased while the context ends must be known to be leased.
			l, found, err := w.q.Lease(context.WithoutCancel(ctx), w.id, Able{[]string{w.config.Platform}, w.config.Labels})
			if found {
				return l
			}
			if err != nil {
				w.config.Log.WithError(err).Warn("looking for a build")
			}
		}
		timer := time.NewTimer(poll + rand.N(spread)) //nolint:gosec // it spreads work, and guards nothing
		select {
		case <-idle:
		case <-w.q.hub.idle:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return nil
}

// pause is how long the worker still rests.
func (w *Worker) pause() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Until(w.rest)
}

func (w *Worker) takeRest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = time.Now().Add(restFor)
}

// build runs one build and ends it. The lease is kept until the end is written.
func (w *Worker) build(ctx context.Context, l *Lease) {
	b := l.Build
	entry := w.config.Log.WithFields(logrus.Fields{"build": b.ID, "recipe": b.Recipe, "key": b.Key, "caller": b.Caller, "fence": b.Fence})
	entry.Info("lease begins")
	working, end := context.WithCancelCause(ctx)
	defer end(nil)
	kept, release := context.WithCancel(context.WithoutCancel(ctx))
	var keeping sync.WaitGroup
	changed, leave := w.q.hub.watch(b.ID)
	defer leave()
	keeping.Go(func() { w.keep(kept, changed, end, l, entry) })
	defer keeping.Wait()
	defer release()

	t := newTeller(working, w.q, l, entry)
	result, err := w.run(t.context(working), l)
	cause := context.Cause(working)
	if cause == nil && Passes(err) {
		t.tellGivenBack(err)
	}
	t.close() //nolint:contextcheck // it has the build's own
	w.finish(kept, l, entry, func(ctx context.Context) error { return w.conclude(ctx, l, t, result, err, cause) })
}

func (w *Worker) run(ctx context.Context, l *Lease) (result builds.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanic, p, debug.Stack())
		}
	}()
	return w.config.Runner.Run(ctx, w.outlasting(l))
}

// conclude writes how the build ended. Cause is why its context ended, nil if it did not.
func (w *Worker) conclude(ctx context.Context, l *Lease, t *teller, result builds.Result, err, cause error) error {
	var fence *builds.FenceError
	var cancelled *builds.CancelledError
	var limit *builds.LimitError
	switch {
	case err == nil:
		return l.Finish(ctx, result)
	case errors.As(cause, &fence), errors.As(err, &fence):
		return nil // It is another worker's.
	case errors.As(cause, &cancelled), errors.As(err, &cancelled):
		return l.Cancelled(ctx, cancelled)
	case errors.As(cause, &limit):
		return l.Fail(ctx, limit, nil)
	case errors.Is(cause, errDrained):
		return l.Release(ctx)
	case Passes(err):
		if isMachine(err) && !isVersion(err) {
			w.takeRest()
		}
		return l.GiveUp(ctx, t.located(err))
	}
	var kept *builds.Result
	if result.Digest != "" || result.Same != nil {
		kept = &result
	}
	return l.Fail(ctx, t.located(err), kept)
}

const (
	// endTries is how often the end of a build is written to a database that does not answer.
	endTries = 600
	// endPause is the time between.
	endPause = time.Second
)

// finish writes the end of a build. While the database does not answer it tries again: what
// was built is not built anew for that.
func (w *Worker) finish(ctx context.Context, l *Lease, entry *logrus.Entry, end func(context.Context) error) {
	for range endTries {
		err := end(ctx)
		var away *database.UnavailableError
		switch {
		case errors.As(err, &away):
			entry.WithError(err).Warn("writing the end of a build")
			time.Sleep(endPause)
			continue
		case err != nil:
			w.refused(ctx, l, entry, err)
		default:
			entry.Info("lease ends")
		}
		return
	}
	entry.Error("the end of a build is not written: its lease runs out")
}

// refused handles an end that the queue refuses: the lease is over, or the digest is not the
// key's.
func (w *Worker) refused(ctx context.Context, l *Lease, entry *logrus.Entry, err error) {
	entry.WithError(err).Warn("the end of a build is refused")
	var taken *builds.TakenError
	if errors.As(err, &taken) {
		if err := l.Fail(ctx, taken, nil); err != nil {
			entry.WithError(err).Warn("writing the failure of a build")
		}
	}
}

// beats is how many heartbeats fit into a lease.
const beats = 6

// keep prolongs the lease until the context ends, and ends the build's own context when the
// queue says so, of which changed tells. While the database does not answer, the build goes on: what it writes later
// is fenced.
func (w *Worker) keep(ctx context.Context, changed <-chan struct{}, end context.CancelCauseFunc, l *Lease, entry *logrus.Entry) {
	ticker := time.NewTicker(w.q.config.Lease / beats)
	defer ticker.Stop()
	// What was wanted of the build between the lease and the watch is seen at once.
	for err := l.look(ctx); ; {
		var fence *builds.FenceError
		switch {
		case err == nil || ctx.Err() != nil:
		case isOrder(err):
			end(err)
		default:
			entry.WithError(err).Warn("prolonging a lease")
		}
		if errors.As(err, &fence) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			err = l.Heartbeat(ctx)
		case <-changed:
			err = l.look(ctx)
		}
	}
}

// isOrder reports whether the queue wants the build to end.
func isOrder(err error) bool {
	var fence *builds.FenceError
	var cancelled *builds.CancelledError
	var limit *builds.LimitError
	return errors.As(err, &fence) || errors.As(err, &cancelled) || errors.As(err, &limit)
}

// present writes the worker's row.
func (w *Worker) present(ctx context.Context, draining bool) error {
	c := w.config
	err := w.q.db.Write(ctx, func(ctx context.Context, tx database.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO workers (id, name, host, version, platform, labels, slots, draining, begun, seen)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, {now}, {now}) ON CONFLICT (id) DO UPDATE SET seen = {now}, draining = $8`,
			w.id, c.Name, w.host, c.Version, c.Platform, strings.Join(c.Labels, ","), c.Slots, draining)
		return err
	})
	if err != nil {
		return fmt.Errorf("telling of the worker: %w", err)
	}
	return nil
}

// showPresence keeps the worker's row young, and says when it drains.
func (w *Worker) showPresence(ctx context.Context) {
	ticker := time.NewTicker(aliveFor / beats)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := w.present(ctx, false); err != nil && ctx.Err() == nil {
				w.config.Log.WithError(err).Warn("telling of the worker")
			}
		case <-ctx.Done():
			if err := w.present(context.WithoutCancel(ctx), true); err != nil {
				w.config.Log.WithError(err).Warn("telling of the worker's end")
			}
			return
		}
	}
}

// leave removes the worker's row.
func (w *Worker) leave(ctx context.Context) error {
	return w.q.db.Write(ctx, func(ctx context.Context, tx database.Tx) error {
		_, err := tx.Exec(ctx, "DELETE FROM workers WHERE id = $1", w.id)
		return err
	})
}

// Workers lists the workers, by name. Those that ended without a word stay for a day.
func (q *Queue) Workers(ctx context.Context) ([]builds.Worker, error) {
	all := []builds.Worker{}
	err := q.db.Read(ctx, func(ctx context.Context, query database.Querier) error {
		all = all[:0]
		err := database.Each(ctx, query, "SELECT id, name, host, version, platform, labels, slots, draining, begun, seen, {now} FROM workers ORDER BY name, id", nil,
			func(from database.Row) error {
				var w builds.Worker
				var labels string
				var begun, seen, now int64
				err := from.Scan(&w.ID, &w.Name, &w.Host, &w.Version, &w.Platform, &labels, &w.Slots, &w.Draining, &begun, &seen, &now)
				if labels != "" {
					w.Labels = strings.Split(labels, ",")
				}
				w.Begun, w.Seen = database.Time(begun), database.Time(seen)
				w.Alive = database.Time(now).Sub(w.Seen) < aliveFor
				all = append(all, w)
				return err
			})
		if err != nil {
			return err
		}
		return database.Each(ctx, query, "SELECT id, worker FROM builds WHERE state IN ("+running+") ORDER BY started", nil, func(from database.Row) error {
			var id, worker string
			err := from.Scan(&id, &worker)
			for i := range all {
				if all[i].ID == worker {
					all[i].Builds = append(all[i].Builds, id)
				}
			}
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("listing workers: %w", err)
	}
	return all, nil
}
