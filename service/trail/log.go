package trail

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"ampoule/faults"
	"ampoule/service/database"
	"ampoule/service/journal"
)

// Log is the audit log in a database. Its methods may be called from several goroutines.
type Log struct {
	db   *database.DB
	keep time.Duration
	now  func() time.Time

	mu sync.Mutex
	// minute is the one in which refused counts the refusals of each caller.
	minute  int64
	refused map[string]int
}

// Open gives the log of a database. Entries are kept for a time; 0 is for ever.
func Open(db *database.DB, keep time.Duration) *Log {
	return &Log{db: db, keep: keep, now: time.Now, refused: map[string]int{}}
}

// maxRefusals is how many refusals of one caller get an entry in a minute. The service's log has
// them all.
const maxRefusals = 60

// keeps reports whether one more refusal of a caller gets an entry.
func (l *Log) keeps(caller string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if minute := l.now().Unix() / 60; minute != l.minute {
		l.minute = minute
		clear(l.refused)
	}
	l.refused[caller]++
	return l.refused[caller] <= maxRefusals
}

// Conclude writes what came of a request, unless it has an entry already, or nobody is known to have
// sent it.
func (l *Log) Conclude(ctx context.Context, action, target string, cause error) error {
	r := of(ctx)
	e, wanted := r.entry(action, target)
	if !wanted {
		return nil
	}
	e.Result = resultOf(cause)
	if cause != nil {
		e.Message = cause.Error()
	}
	err := l.Write(ctx, e)
	if err == nil {
		r.wrote()
	}
	return err
}

// Write writes an entry by itself.
func (l *Log) Write(ctx context.Context, e Entry) error {
	if e.Result == Refused && !l.keeps(e.Who.ID) {
		return nil
	}
	e.ID = newID()
	// What was done is written, although nobody may wait for the answer any more.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return l.db.Write(ctx, func(ctx context.Context, tx database.Tx) error { return write(ctx, tx, e) })
}

// patience bounds how long the database may take.
const patience = 10 * time.Second

// Begin writes that a request is about to make a change that is not the database's, and returns what
// writes its end. Without an entry no change is made.
func (l *Log) Begin(ctx context.Context, action, target string, details map[string]string) (end func(error) error, err error) {
	Tell(ctx, details)
	r := of(ctx)
	e, wanted := r.entry(action, target)
	if !wanted {
		return func(error) error { return nil }, nil
	}
	e.ID, e.Result = newID(), Begun
	if err := l.db.Write(ctx, func(ctx context.Context, tx database.Tx) error { return write(ctx, tx, e) }); err != nil {
		return nil, err
	}
	r.wrote()
	return func(cause error) error {
		message := ""
		if cause != nil {
			message = bounded(cause.Error())
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		err := l.db.Write(ctx, func(ctx context.Context, tx database.Tx) error {
			_, err := tx.Exec(ctx, "UPDATE trail SET result = $2, message = $3 WHERE id = $1", e.ID, string(resultOf(cause)), message)
			return err
		})
		if err != nil {
			return fmt.Errorf("writing the audit log: %w", err)
		}
		return nil
	}, nil
}

// Filter chooses entries; empty fields choose all.
type Filter struct {
	// Caller is a caller's name or ID.
	Caller string
	Action string
	// Target is about what, or a recipe that the details name.
	Target string
	Result Result
	// Since and Until bound the times, the second one excluded.
	Since, Until time.Time
}

// Page is a part of the log, the newest entry first.
type Page struct {
	Entries []Entry
	// Next continues the list; empty at its end.
	Next string
}

const (
	usualPage = 50
	maxPage   = 500
)

const list = `SELECT id, at, caller, caller_id, issuer, subject, action, target, details, client, request, result, message FROM trail
	WHERE (CAST($1 AS TEXT) = '' OR caller = $1 OR caller_id = $1) AND (CAST($2 AS TEXT) = '' OR action = $2)
		AND (CAST($3 AS TEXT) = '' OR target = $3 OR details LIKE $4 ESCAPE '\') AND (CAST($5 AS TEXT) = '' OR result = $5)
		AND at >= CAST($6 AS BIGINT) AND at < CAST($7 AS BIGINT) AND (at < CAST($8 AS BIGINT) OR at = $8 AND id < $9)
	ORDER BY at DESC, id DESC LIMIT $10`

// endOfTime is later than all entries, in microseconds since 1970.
const endOfTime = 1 << 62

// List returns entries. After is the Next of the page before; limit is at most 500, and 0 is 50.
func (l *Log) List(ctx context.Context, f Filter, after string, limit int) (Page, error) {
	if limit <= 0 {
		limit = usualPage
	}
	limit = min(limit, maxPage)
	since, until := int64(0), int64(endOfTime)
	if !f.Since.IsZero() {
		since = f.Since.UnixMicro()
	}
	if !f.Until.IsZero() {
		until = f.Until.UnixMicro()
	}
	at, id, err := readCursor(after)
	if err != nil {
		return Page{}, err
	}
	named, err := json.Marshal(f.Target)
	if err != nil {
		return Page{}, err
	}
	args := []any{f.Caller, f.Action, f.Target, "%" + escape.Replace(":"+string(named)) + "%", string(f.Result), since, until, at, id, limit + 1}
	page := Page{Entries: []Entry{}}
	err = l.db.Read(ctx, func(ctx context.Context, q database.Querier) error {
		return database.Each(ctx, q, list, args, func(from database.Row) error {
			e, err := scan(from)
			page.Entries = append(page.Entries, e)
			return err
		})
	})
	if err != nil {
		return Page{}, fmt.Errorf("reading the audit log: %w", err)
	}
	if len(page.Entries) > limit {
		page.Entries = page.Entries[:limit]
		last := page.Entries[limit-1]
		page.Next = base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s", last.Time.UnixMicro(), last.ID))
	}
	return page, nil
}

func scan(from database.Row) (Entry, error) {
	var e Entry
	var at int64
	var details string
	err := from.Scan(&e.ID, &at, &e.Name, &e.Who.ID, &e.Issuer, &e.Subject, &e.Action, &e.Target, &details, &e.Client, &e.Request, &e.Result, &e.Message)
	if err == nil {
		err = json.Unmarshal([]byte(details), &e.Details)
	}
	e.Time = database.Time(at)
	return e, err
}

func readCursor(text string) (at int64, id string, err error) {
	if text == "" {
		return endOfTime, "", nil
	}
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		_, err = fmt.Sscanf(string(data), "%d %s", &at, &id)
	}
	if err != nil {
		return 0, "", faults.New(faults.Usage, "take what the answer has as next", "%q is not the end of a page", text)
	}
	return at, id, nil
}

// escape makes a text a part of a LIKE pattern that finds it.
var escape = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

const (
	cleanEvery = time.Hour
	// cleanAtOnce bounds what one transaction removes.
	cleanAtOnce = 1000
)

// Clean removes entries that were kept long enough, and returns how many.
func (l *Log) Clean(ctx context.Context) (int, error) {
	total := 0
	for l.keep > 0 {
		var n int64
		err := l.db.Write(ctx, func(ctx context.Context, tx database.Tx) (err error) {
			n, err = tx.Exec(ctx, "DELETE FROM trail WHERE id IN (SELECT id FROM trail WHERE at < {now} - $1 LIMIT $2)", l.keep.Microseconds(), cleanAtOnce)
			return err
		})
		if err != nil {
			return total, fmt.Errorf("removing old entries of the audit log: %w", err)
		}
		total += int(n)
		if n < cleanAtOnce {
			break
		}
	}
	return total, nil
}

// Maintain removes entries that were kept long enough until the context ends. Several processes may
// do so at once.
func (l *Log) Maintain(ctx context.Context, log *logrus.Entry) {
	if l.keep <= 0 {
		return
	}
	ticker := time.NewTicker(cleanEvery)
	defer ticker.Stop()
	for {
		n, err := l.Clean(ctx)
		if err != nil && ctx.Err() == nil {
			log.WithError(err).Warn("old entries of the audit log stay")
		}
		if n > 0 {
			log.WithFields(journal.Fields{"entries": n}).Info("removed old entries of the audit log")
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
