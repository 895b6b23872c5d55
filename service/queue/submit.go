package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/trail"
)

// submitting is one submission within its transaction.
type submitting struct {
	q       *Queue
	tx      database.Tx
	caller  builds.Caller
	s       builds.Submission
	retryOf string
}

// races is how often the build of the same may end or begin between two looks.
const races = 5

// errRaces says that they did all the time.
var errRaces = errors.New("builds of the same begin and end too fast")

func (s *submitting) run(ctx context.Context) (builds.Accepted, error) {
	// The row is locked: of one caller's submissions one is counted after the other.
	_, err := s.tx.Exec(ctx, "INSERT INTO callers (name, seen) VALUES ($1, {now}) ON CONFLICT (name) DO UPDATE SET seen = {now}", s.caller.Name)
	if err != nil {
		return builds.Accepted{}, err
	}
	if answer, found, err := s.repeated(ctx); found || err != nil {
		return answer, err
	}
	if answer, found, err := s.published(ctx); found || err != nil {
		return answer, err
	}
	for range races {
		if answer, found, err := s.join(ctx); found || err != nil {
			return answer, err
		}
		if answer, made, err := s.insert(ctx); made || err != nil {
			return answer, err
		}
	}
	return builds.Accepted{}, errRaces
}

// repeated finds what the same idempotency key was answered with.
func (s *submitting) repeated(ctx context.Context) (builds.Accepted, bool, error) {
	if s.s.IdempotencyKey == "" {
		return builds.Accepted{}, false, nil
	}
	var id, hash string
	found, err := database.Get(ctx, s.tx, "SELECT build, request_hash FROM submissions WHERE caller = $1 AND idempotency_key = $2",
		[]any{s.caller.Name, s.s.IdempotencyKey}, &id, &hash)
	if err != nil || !found {
		return builds.Accepted{}, false, err
	}
	if hash != s.s.RequestHash {
		return builds.Accepted{}, false, &builds.IdempotencyError{Key: s.s.IdempotencyKey, Build: id}
	}
	r, err := readRow(ctx, s.tx, id, "")
	if err != nil {
		return builds.Accepted{}, false, err
	}
	return builds.Accepted{Build: r.Build, Repeated: true}, true, nil
}

// published answers with the build that published the key. What an untrusted build published
// is no answer for a trusted caller: it is built again, and compared.
func (s *submitting) published(ctx context.Context) (builds.Accepted, bool, error) {
	if s.s.Kind != builds.KindBuild || s.s.Force || len(s.s.Groups) > 0 {
		return builds.Accepted{}, false, nil
	}
	p, found, err := published(ctx, s.tx, s.s.Key)
	if err != nil || !found || !p.tagged {
		return builds.Accepted{}, false, err
	}
	if s.caller.Trusted && !p.trusted {
		s.s.Force = true
		return builds.Accepted{}, false, nil
	}
	r, err := readRow(ctx, s.tx, p.Build, "")
	var gone *builds.NotFoundError
	if errors.As(err, &gone) {
		return builds.Accepted{}, false, nil
	}
	if err != nil {
		return builds.Accepted{}, false, err
	}
	r.State, r.Result = builds.Done, &builds.Result{Digest: p.Digest, Reused: true}
	return builds.Accepted{Build: r.Build, Published: true}, true, s.note(ctx, r.ID)
}

// sameAs is what makes two submissions one build. A trusted caller follows no untrusted build.
func (s *submitting) sameAs() string {
	return hashOf(struct {
		Kind           builds.Kind
		Key, Platform  string
		Labels, Groups []string
		Options        *builds.LockOptions
		Force, Trusted bool
	}{s.s.Kind, s.s.Key, s.s.Platform, s.s.Labels, s.s.Groups, s.s.Options, s.s.Force, s.caller.Trusted})
}

// join finds a build of the same that has not ended.
func (s *submitting) join(ctx context.Context) (builds.Accepted, bool, error) {
	r, err := scanRow(s.tx.QueryRow(ctx, "SELECT "+columns+" FROM builds WHERE same_as = $1 AND state IN ("+active+") AND cancelling = '' {lock}", s.sameAs()))
	if isNoRow(err) {
		return builds.Accepted{}, false, nil
	}
	if err != nil {
		return builds.Accepted{}, false, err
	}
	r.Followers++
	if s.s.Priority > r.Priority {
		r.Priority = s.s.Priority
		if r.turn, err = s.turn(ctx, r.Priority); err != nil {
			return builds.Accepted{}, false, err
		}
	}
	if err := s.q.save(ctx, s.tx, &r, &builds.Event{What: builds.Joined, From: r.State, Who: s.caller.Name}); err != nil {
		return builds.Accepted{}, false, err
	}
	return builds.Accepted{Build: r.Build, Joined: true}, true, s.note(ctx, r.ID)
}

// insert makes the build. It does not, without an error, where another one of the same was
// faster.
func (s *submitting) insert(ctx context.Context) (builds.Accepted, bool, error) {
	if err := s.checkQuota(ctx); err != nil {
		return builds.Accepted{}, false, err
	}
	id, err := s.freeID(ctx)
	if err != nil {
		return builds.Accepted{}, false, err
	}
	options, err := encode(&asked{s.s.Options, s.s.Groups})
	if err != nil {
		return builds.Accepted{}, false, err
	}
	turn, err := s.turn(ctx, s.s.Priority)
	if err != nil {
		return builds.Accepted{}, false, err
	}
	n, err := s.tx.Exec(ctx, `INSERT INTO builds (id, kind, state, recipe, build_key, same_as, platform, labels, priority, forced, trusted, options,
			caller, followers, archive, retry_of, time_limit, turn, trace, created, available)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 1, $14, $15, $16, $17, $18, {now}, {now}) ON CONFLICT DO NOTHING`,
		id, s.s.Kind, builds.Queued, s.s.Recipe, s.s.Key, s.sameAs(), s.s.Platform, strings.Join(s.s.Labels, ","), s.s.Priority, s.s.Force, s.caller.Trusted, options,
		s.caller.Name, s.s.Archive, s.retryOf, s.s.Limit.Microseconds(), turn, traceOf(ctx))
	if err != nil || n == 0 {
		return builds.Accepted{}, false, err
	}
	for _, l := range s.s.Labels {
		if _, err := s.tx.Exec(ctx, "INSERT INTO build_labels (build, label) VALUES ($1, $2)", id, l); err != nil {
			return builds.Accepted{}, false, err
		}
	}
	r, err := lockRow(ctx, s.tx, id)
	if err != nil {
		return builds.Accepted{}, false, err
	}
	if err := s.q.save(ctx, s.tx, r, &builds.Event{What: builds.Submitted, Who: s.caller.Name}); err != nil {
		return builds.Accepted{}, false, err
	}
	if err := s.q.enqueue(ctx, s.tx, r); err != nil {
		return builds.Accepted{}, false, err
	}
	return builds.Accepted{Build: r.Build}, true, s.note(ctx, id)
}

// freeID is the ID of the new build. The one of an idempotency key may be of a build that has
// outlived its submission.
func (s *submitting) freeID(ctx context.Context) (string, error) {
	id := newID(s.caller.Name, s.s.IdempotencyKey)
	var one int
	taken, err := database.Get(ctx, s.tx, "SELECT 1 FROM builds WHERE id = $1", []any{id}, &one)
	if taken {
		id = newID("", "")
	}
	return id, err
}

// fullFor is when a caller with too many builds may try again: some build ends in that time.
const fullFor = 30 * time.Second

func (s *submitting) checkQuota(ctx context.Context) error {
	most := orDefault(s.caller.Quota, s.q.config.Quota)
	var used int
	err := s.tx.QueryRow(ctx, "SELECT count(*) FROM builds WHERE caller = $1 AND state IN ("+active+")", s.caller.Name).Scan(&used)
	if err == nil && used >= most {
		err = &builds.QuotaError{Caller: s.caller.Name, Used: used, Most: most, RetryAfter: fullFor}
	}
	return err
}

// note remembers who asked for the build.
func (s *submitting) note(ctx context.Context, build string) error {
	_, err := s.tx.Exec(ctx, `INSERT INTO submissions (id, build, caller, idempotency_key, request_hash, created) VALUES ($1, $2, $3, $4, $5, {now})`,
		newID("", ""), build, s.caller.Name, s.s.IdempotencyKey, s.s.RequestHash)
	if err != nil {
		return fmt.Errorf("noting the submission: %w", err)
	}
	return nil
}

// enqueue has workers told of a queued build when the transaction is committed.
func (q *Queue) enqueue(ctx context.Context, tx database.Tx, r *row) error {
	if err := q.wake.insert(ctx, tx, r.Platform, r.ID); err != nil {
		return fmt.Errorf("queueing build %s: %w", r.ID, err)
	}
	tx.OnCommit(q.hub.queued)
	return nil
}

// Cancel takes back what a caller has submitted. The build goes on while somebody else wants
// it; an administrator ends it for all. One that has ended, or whose digest is published, is a
// [*builds.TransitionError]; one that the caller has not submitted a [*builds.OwnerError].
func (q *Queue) Cancel(ctx context.Context, caller builds.Caller, id string) (builds.Build, error) {
	var b builds.Build
	err := q.db.Write(ctx, func(ctx context.Context, tx database.Tx) error {
		r, err := lockRow(ctx, tx, id)
		if err != nil {
			return err
		}
		if r.State == builds.Cancelled || r.Cancelling {
			b = r.Build
			return nil
		}
		if r.State.Terminal() || r.claimed {
			return &builds.TransitionError{ID: id, From: r.State, To: builds.Cancelled}
		}
		err = q.withdraw(ctx, tx, caller, r)
		b = r.Build
		if err != nil {
			return err
		}
		return trail.Note(ctx, tx, "cancel-build", id, map[string]string{"recipe": r.Recipe})
	})
	if err != nil {
		return builds.Build{}, fmt.Errorf("cancelling build %s: %w", id, err)
	}
	return b, nil
}

func (q *Queue) withdraw(ctx context.Context, tx database.Tx, caller builds.Caller, r *row) error {
	n, err := tx.Exec(ctx, "UPDATE submissions SET withdrawn = {now} WHERE build = $1 AND caller = $2 AND withdrawn IS NULL", r.ID, caller.Name)
	if err != nil {
		return err
	}
	if n == 0 && !caller.Admin {
		return &builds.OwnerError{ID: r.ID, Caller: caller.Name}
	}
	r.Followers = max(0, r.Followers-int(n))
	if r.Followers > 0 && !caller.Admin {
		return q.save(ctx, tx, r, &builds.Event{What: builds.Withdrawn, From: r.State, Who: caller.Name})
	}
	from := r.State
	r.cancelledBy = caller.Name
	if from != builds.Queued {
		return q.save(ctx, tx, r, &builds.Event{What: builds.Cancelling, From: from, Who: caller.Name})
	}
	r.unlease()
	return q.end(ctx, tx, r, builds.Cancelled, &builds.CancelledError{By: caller.Name}, caller.Name)
}

// end moves a build to a terminal state for an error.
func (q *Queue) end(ctx context.Context, tx database.Tx, r *row, to builds.State, cause error, who string) error {
	from := r.State
	if err := r.become(to); err != nil {
		return err
	}
	failure := builds.FailureOf(r.ID, cause)
	r.Failure = &failure
	return q.save(ctx, tx, r, &builds.Event{What: builds.Ended, From: from, Who: who, Message: failure.Message})
}

// Retry submits again what has failed or was cancelled, for a caller.
func (q *Queue) Retry(ctx context.Context, caller builds.Caller, id string) (builds.Accepted, error) {
	b, err := q.Get(ctx, id)
	if err != nil {
		return builds.Accepted{}, err
	}
	if b.State != builds.Failed && b.State != builds.Cancelled {
		return builds.Accepted{}, &builds.TransitionError{ID: id, From: b.State, To: builds.Queued}
	}
	s := builds.Submission{
		Kind: b.Kind, Recipe: b.Recipe, Key: b.Key, Platform: b.Platform, Labels: b.Labels, Priority: b.Priority, Force: b.Force,
		Options: b.Options, Groups: b.Groups, Archive: b.Archive, Limit: min(b.Limit, q.config.Limit),
	}
	s.RequestHash = hashOf(s)
	return q.submit(ctx, caller, s, id)
}
