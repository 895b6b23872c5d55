package queue

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"ampoule/service/builds"
	"ampoule/service/database"
)

// row is a build as the table has it. What changes of it changes here, between [lockRow] and
// [Queue.save], by times that the database has told.
type row struct {
	builds.Build

	// now is the database's time when the row was read, in microseconds.
	now int64
	// token is the secret of the lease; empty without one.
	token string
	// sameAs is what makes two submissions one build.
	sameAs string
	// cancelledBy asked for the end; empty unless somebody did.
	cancelledBy string
	// claimed says that the key's row is written.
	claimed bool
	// lost counts the leases that ended badly.
	lost      int
	seq       int64
	available int64
	// turn orders what is queued within its priority: see [submitting.turn].
	turn int64
}

// columns are read by [scanRow], in this order.
const columns = `id, kind, state, recipe, build_key, same_as, platform, labels, priority, forced, trusted, options,
	caller, followers, archive, retry_of, time_limit, attempt, lost, fence, token, worker, cancelling, claimed, seq,
	created, available, turn, started, ended, heartbeat, lease_until, result, failure, trace, {now}`

// asked is what the column "options" holds: what has no column of its own.
type asked struct {
	Lock   *builds.LockOptions `json:"lock,omitempty"`
	Groups []string            `json:"groups,omitempty"`
}

func scanRow(from database.Row) (row, error) {
	var r row
	var labels, options, result, failure string
	var limit, created int64
	var started, ended, heartbeat, lease sql.NullInt64
	err := from.Scan(&r.ID, &r.Kind, &r.State, &r.Recipe, &r.Key, &r.sameAs, &r.Platform, &labels, &r.Priority, &r.Force, &r.Trusted, &options,
		&r.Caller, &r.Followers, &r.Archive, &r.RetryOf, &limit, &r.Attempt, &r.lost, &r.Fence, &r.token, &r.Worker, &r.cancelledBy, &r.claimed, &r.seq,
		&created, &r.available, &r.turn, &started, &ended, &heartbeat, &lease, &result, &failure, &r.Trace, &r.now)
	if err != nil {
		return row{}, err
	}
	r.Limit = time.Duration(limit) * time.Microsecond
	r.Created, r.Started, r.Ended = database.Time(created), timeOf(started), timeOf(ended)
	r.Heartbeat, r.LeaseUntil = timeOf(heartbeat), timeOf(lease)
	r.Cancelling = r.cancelledBy != "" && !r.State.Terminal()
	if labels != "" {
		r.Labels = strings.Split(labels, ",")
	}
	var a asked
	for _, part := range []struct {
		text string
		into any
	}{{options, &a}, {result, &r.Result}, {failure, &r.Failure}} {
		if part.text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(part.text), part.into); err != nil {
			return row{}, fmt.Errorf("reading build %s: %w", r.ID, err)
		}
	}
	r.Options, r.Groups = a.Lock, a.Groups
	return r, nil
}

func timeOf(micros sql.NullInt64) time.Time {
	if !micros.Valid {
		return time.Time{}
	}
	return database.Time(micros.Int64)
}

func microsOf(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// at is the database's time, as it was when the row was read.
func (r *row) at() time.Time { return database.Time(r.now) }

// become moves the build to another state, if there is a way.
func (r *row) become(to builds.State) error {
	if err := builds.Check(r.State, to); err != nil {
		return &builds.TransitionError{ID: r.ID, From: r.State, To: to}
	}
	r.State = to
	if to.Terminal() {
		r.Ended, r.LeaseUntil = r.at(), time.Time{}
	}
	return nil
}

// unlease takes the build from its worker. What that one writes from now on is refused.
func (r *row) unlease() {
	r.Fence++
	r.token, r.LeaseUntil = "", time.Time{}
}

// lockRow reads a build that nobody else changes until the transaction ends. Without one the
// error is a [*builds.NotFoundError].
func lockRow(ctx context.Context, tx database.Tx, id string) (*row, error) {
	return readRow(ctx, tx, id, " {lock}")
}

func readRow(ctx context.Context, q database.Querier, id, suffix string) (*row, error) {
	r, err := scanRow(q.QueryRow(ctx, "SELECT "+columns+" FROM builds WHERE id = $1"+suffix, id))
	switch {
	case isNoRow(err):
		return nil, &builds.NotFoundError{ID: id}
	case err != nil:
		return nil, fmt.Errorf("reading build %s: %w", id, err)
	}
	return &r, nil
}

// save writes what may change of a row, and tells an event where one is given.
func (q *Queue) save(ctx context.Context, tx database.Tx, r *row, e *builds.Event) error {
	if e != nil {
		r.seq++
	}
	result, err := encode(r.Result)
	if err != nil {
		return err
	}
	failure, err := encode(r.Failure)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE builds SET state = $2, priority = $3, followers = $4, attempt = $5, lost = $6, fence = $7, token = $8, worker = $9,
		cancelling = $10, claimed = $11, seq = $12, available = $13, started = $14, ended = $15, heartbeat = $16, lease_until = $17, result = $18, failure = $19,
		turn = $20 WHERE id = $1`,
		r.ID, r.State, r.Priority, r.Followers, r.Attempt, r.lost, r.Fence, r.token, r.Worker,
		r.cancelledBy, r.claimed, r.seq, r.available, microsOf(r.Started), microsOf(r.Ended), microsOf(r.Heartbeat), microsOf(r.LeaseUntil), result, failure, r.turn)
	if err != nil {
		return fmt.Errorf("writing build %s: %w", r.ID, err)
	}
	r.Cancelling = r.cancelledBy != "" && !r.State.Terminal()
	if e == nil {
		return nil
	}
	return q.tell(ctx, tx, r, *e)
}

// encode writes a pointer as JSON; nil is empty.
func encode[T any](value *T) (string, error) {
	if value == nil {
		return "", nil
	}
	data, err := json.Marshal(value)
	return string(data), err
}

// tell writes an event of a row, and wakes who follows the build when it is committed.
func (q *Queue) tell(ctx context.Context, tx database.Tx, r *row, e builds.Event) error {
	_, err := tx.Exec(ctx, `INSERT INTO events (build, seq, at, what, from_state, state, fence, who, message) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		r.ID, r.seq, r.now, e.What, e.From, r.State, r.Fence, e.Who, e.Message)
	if err != nil {
		return fmt.Errorf("writing the event of build %s: %w", r.ID, err)
	}
	if q.config.Ended != nil && e.What == builds.Ended {
		if err := q.config.Ended(ctx, tx, r.Build); err != nil {
			return err
		}
	}
	q.logEvent(ctx, tx, r, e)
	q.hub.announce(tx, r.ID, e.What)
	return nil
}

// placeholders are $FROM, $FROM+1 … for values, and the values as arguments.
func placeholders[T any](from int, values []T) (string, []any) {
	marks, args := make([]string, len(values)), make([]any, len(values))
	for i, v := range values {
		marks[i], args[i] = fmt.Sprintf("$%d", from+i), v
	}
	return strings.Join(marks, ", "), args
}

// quoted lists states as SQL has them.
func quoted(states []builds.State) string {
	texts := make([]string, len(states))
	for i, s := range states {
		texts[i] = "'" + string(s) + "'"
	}
	return strings.Join(texts, ", ")
}

var (
	// running and active are the states of the same functions of package builds, as SQL.
	running = quoted(builds.Running())
	active  = quoted(builds.Active())
)

// sorted is a sorted copy without repetitions.
func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}
