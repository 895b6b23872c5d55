// Package queue keeps the service's builds: it takes submissions, hands builds to workers, and
// knows how each ended.
//
// The table "builds" owns everything. A worker has a build while it holds the lease: a time of
// the database's clock, a fence that rises with each lease, and a token. Whatever a worker
// writes names fence and token, in the transaction that writes it; one that has lost its
// lease, and comes back, changes nothing. River carries the news that something is queued from
// process to process, and decides nothing: what it loses, a worker finds when it looks.
package queue

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/singleflight"

	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/logs"
)

// What a configuration that is silent means.
const (
	defaultQuota    = 50
	defaultLimit    = 6 * time.Hour
	defaultLease    = 30 * time.Second
	defaultAttempts = 5
)

// logsDir is the directory of logs in the data directory.
const logsDir = "logs"

// Config says what a queue works with and allows.
type Config struct {
	DB *database.DB
	// Logs is where builds' logs are; nil is a directory beside SQLite, and PostgreSQL itself.
	Logs logs.Store
	// Quota is how many unfinished builds a caller may have, whose own quota is 0.
	Quota int
	// Limit is the longest time of a build.
	Limit time.Duration
	// Lease is how long a worker keeps a build without a sign of life.
	Lease time.Duration
	// Attempts is how often a build may be lost before it fails.
	Attempts int
	// Keep is how long a build that has ended stays, with its log; 0 is for ever.
	Keep time.Duration
	// KeepLogs is how long its logs stay, if not as long as the build; 0 is as long.
	KeepLogs time.Duration
	// Log gives what changes of builds are logged by, of the context in which they change; nil is
	// nowhere.
	Log func(ctx context.Context) *logrus.Entry
	// Temp is a directory for temporary files; empty is the system's.
	Temp string
	// Ended is told, in the transaction that ends it, of each build; optional.
	Ended func(ctx context.Context, tx database.Tx, b builds.Build) error
}

// Queue is what all callers of one process share. Its methods may be called from several
// goroutines.
type Queue struct {
	db     *database.DB
	logs   logs.Store
	config Config
	hub    *hub
	wake   waker
	// reads are parts of logs that are being read.
	reads singleflight.Group
}

// New opens the queue. With SQLite, which has one process, builds that were running are queued
// again: nobody has them any more.
func New(ctx context.Context, c Config) (*Queue, error) {
	c.Quota, c.Attempts = orDefault(c.Quota, defaultQuota), orDefault(c.Attempts, defaultAttempts)
	c.Limit, c.Lease = orDefault(c.Limit, defaultLimit), orDefault(c.Lease, defaultLease)
	if c.Log == nil {
		c.Log = func(context.Context) *logrus.Entry { return silent() }
	}
	if c.Logs == nil {
		c.Logs = logs.Rows{DB: c.DB}
		if c.DB.Engine() == database.SQLite {
			c.Logs = logs.Files{Dir: filepath.Join(c.DB.Dir(), logsDir)}
		}
	}
	wake, err := newWaker(c.DB)
	if err != nil {
		return nil, fmt.Errorf("opening the queue: %w", err)
	}
	q := &Queue{db: c.DB, logs: c.Logs, config: c, wake: wake, hub: newHub(c.DB)} //nolint:contextcheck // it listens until Close
	if c.DB.Engine() == database.SQLite {
		if _, err := q.reap(ctx, true); err != nil {
			return nil, errors.Join(fmt.Errorf("taking back builds: %w", err), q.Close())
		}
	}
	return q, nil
}

// silent is a log that goes nowhere.
func silent() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

// orDefault is a value, or another one where it is zero.
func orDefault[T comparable](value, other T) T {
	var zero T
	if value == zero {
		return other
	}
	return value
}

// Close ends what the queue listens to. The database stays open.
func (q *Queue) Close() error {
	q.hub.close()
	return nil
}

// Submit accepts what a caller asks for; when it returns, that is committed. A key that is
// published is answered with the build that published it. A build of the same that has not
// ended is joined. A submission that is repeated under its IdempotencyKey is answered as
// before; another one under that key is a [*builds.IdempotencyError]. A caller who has too
// many unfinished builds gets a [*builds.QuotaError].
func (q *Queue) Submit(ctx context.Context, caller builds.Caller, s builds.Submission) (builds.Accepted, error) {
	if s.RequestHash == "" {
		s.RequestHash = hashOf(s)
	}
	s, err := q.complete(s)
	if err != nil {
		return builds.Accepted{}, err
	}
	return q.submit(ctx, caller, s, "")
}

func (q *Queue) submit(ctx context.Context, caller builds.Caller, s builds.Submission, retryOf string) (builds.Accepted, error) {
	var answer builds.Accepted
	err := q.db.Write(ctx, func(ctx context.Context, tx database.Tx) (err error) {
		answer, err = (&submitting{q: q, tx: tx, caller: caller, s: s, retryOf: retryOf}).run(ctx)
		if err != nil || answer.Repeated {
			return err
		}
		return recordSubmission(ctx, tx, answer, retryOf)
	})
	if err != nil {
		return builds.Accepted{}, fmt.Errorf("submitting %s: %w", s.Recipe, err)
	}
	tellTrace(ctx, answer)
	return answer, nil
}

var (
	keyForm      = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	sumForm      = regexp.MustCompile(`^[0-9a-f]{64}$`)
	labelForm    = regexp.MustCompile(`^[a-z0-9]([a-z0-9._=-]{0,62}[a-z0-9])?$`)
	platformForm = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$`)
)

// maxLabels, maxIdempotencyKey and maxName bound what a caller may send.
const (
	maxLabels         = 16
	maxIdempotencyKey = 255
	maxName           = 255
)

// complete refuses what no build can have, and fills in what is left out.
func (q *Queue) complete(s builds.Submission) (builds.Submission, error) {
	s.Labels, s.Groups = sorted(s.Labels), sorted(s.Groups)
	if s.Kind == builds.KindLock && s.Key == "" {
		// The same question about the same files is one lock.
		s.Key = "sha256:" + hashOf(struct {
			Archive, Platform string
			Options           *builds.LockOptions
		}{s.Archive, s.Platform, s.Options})
	}
	wrong := func(field, format string, args ...any) error {
		return &builds.SubmissionError{Field: field, Msg: fmt.Sprintf(format, args...)}
	}
	switch {
	case s.Kind != builds.KindBuild && s.Kind != builds.KindLock:
		return s, wrong("kind", "%q is none of build, lock", s.Kind)
	case s.Recipe == "" || len(s.Recipe) > maxName:
		return s, wrong("recipe", "a name of 1 to %d bytes is needed", maxName)
	case !keyForm.MatchString(s.Key):
		return s, wrong("key", "%.80q is not sha256: and 64 hexadecimal digits", s.Key)
	case !sumForm.MatchString(s.Archive):
		return s, wrong("archive", "%.80q is not 64 hexadecimal digits", s.Archive)
	case !platformForm.MatchString(s.Platform):
		return s, wrong("platform", "%.80q is not os/architecture", s.Platform)
	case s.Priority < builds.Low || s.Priority > builds.High:
		return s, wrong("priority", "%d is not within %d and %d", s.Priority, builds.Low, builds.High)
	case s.Limit < 0 || s.Limit > q.config.Limit:
		return s, wrong("limit", "%s is not within 0 and %s", s.Limit, q.config.Limit)
	case len(s.IdempotencyKey) > maxIdempotencyKey:
		return s, wrong("idempotency key", "it has more than %d bytes", maxIdempotencyKey)
	case s.Kind == builds.KindLock && (s.Force || len(s.Groups) > 0):
		return s, wrong("kind", "a lock has neither force nor groups")
	case len(s.Labels) > maxLabels:
		return s, wrong("labels", "there are more than %d", maxLabels)
	}
	for _, l := range s.Labels {
		if !labelForm.MatchString(l) {
			return s, wrong("labels", "%.80q: a label has lower-case letters, digits and . _ = - within", l)
		}
	}
	s.Limit = orDefault(s.Limit, q.config.Limit)
	return s, nil
}

// hashOf is the sha256 of a value's JSON, in hex.
func hashOf(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err) // of values of our own types
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// idLength is how many characters of 5 bits a build's ID has.
const idLength = 20

// newID draws an ID. With an idempotency key it is a function of caller and key: a submission
// that is repeated, because a standby has lost it, has the ID that it had.
func newID(caller, idempotencyKey string) string {
	if idempotencyKey == "" {
		return strings.ToLower(rand.Text()[:idLength])
	}
	sum := sha256.Sum256([]byte(caller + "\x00" + idempotencyKey))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:idLength])
}

// Get returns a build. Without one the error is a [*builds.NotFoundError].
func (q *Queue) Get(ctx context.Context, id string) (builds.Build, error) {
	var found builds.Build
	err := q.db.Read(ctx, func(ctx context.Context, query database.Querier) error {
		r, err := readRow(ctx, query, id, "")
		if err == nil {
			found = r.Build
		}
		return err
	})
	return found, err
}

// Published returns the row of a key: which digest counts for it.
func (q *Queue) Published(ctx context.Context, key string) (builds.Publication, bool, error) {
	var p builds.Publication
	var found bool
	err := q.db.Read(ctx, func(ctx context.Context, query database.Querier) (err error) {
		var row publication
		row, found, err = published(ctx, query, key)
		p, found = row.Publication, found && row.tagged
		return err
	})
	return p, found, err
}

// publication is the row of a key.
type publication struct {
	builds.Publication
	trusted, tagged bool
}

func published(ctx context.Context, q database.Querier, key string) (publication, bool, error) {
	p := publication{Publication: builds.Publication{Key: key}}
	var at int64
	found, err := database.Get(ctx, q, "SELECT recipe, digest, build, trusted, tagged, at FROM publications WHERE build_key = $1",
		[]any{key}, &p.Recipe, &p.Digest, &p.Build, &p.trusted, &p.tagged, &at)
	if err != nil {
		return publication{}, false, fmt.Errorf("reading the publication of %s: %w", key, err)
	}
	p.Time = database.Time(at)
	return p, found, nil
}

func isNoRow(err error) bool { return errors.Is(err, database.ErrNoRows) }
