// Package trail is the service's audit log: who asked for which change, from where, when, and what came
// of it. A change of the database has its entry in the transaction that makes it. An entry is written
// once, and removed when it is older than the service keeps entries.
package trail

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"ampoule/faults"
	"ampoule/service/database"
	"ampoule/service/journal"
)

// Who is who asked.
type Who struct {
	// Name and ID are the caller's. Issuer and Subject are an issuer's URL and its name for the
	// caller; empty for a token of the service.
	Name, ID, Issuer, Subject string
}

// Result is what came of something.
type Result string

// The results.
const (
	// Done is a change that was made.
	Done Result = "done"
	// Refused is one that the caller may not make, or that cannot be made as things are.
	Refused Result = "refused"
	// Failed is one that was tried; something of it may have been done.
	Failed Result = "failed"
	// Begun is one whose end was not written: its process has ended meanwhile, or it goes on.
	Begun Result = "begun"
)

// Results lists all results.
func Results() []Result { return []Result{Done, Refused, Failed, Begun} }

// resultOf is the result that an error is.
func resultOf(err error) Result {
	switch {
	case err == nil:
		return Done
	case faults.Of(err) == faults.Unknown, faults.Of(err) == faults.Remote, faults.Of(err) == faults.Machine, faults.Of(err) == faults.Interrupted:
		return Failed
	}
	return Refused
}

// Entry is one entry of the log. Its time is the database's.
type Entry struct {
	ID   string
	Time time.Time
	Who
	// Action is what was asked for, in a word such as promote; Target what it is about: a build, a
	// channel, a path.
	Action, Target string
	// Details are what else is known of it, such as recipe and digest.
	Details map[string]string
	// Client is the address that it came from, Request the request's name in the service's log.
	Client, Request string
	Result          Result
	// Message is the error's; empty for what was done.
	Message string
}

// Request is what the log knows of one request, for all who work on it.
type Request struct {
	// ID names it in the service's log, Client is the address that it came from.
	ID, Client string

	mu      sync.Mutex
	who     Who
	known   bool
	written bool
	details map[string]string
}

type requestKey struct{}

// In returns a context of what a request asks for.
func In(ctx context.Context, r *Request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

// of is the request of a context; nil for what nobody outside has asked for.
func of(ctx context.Context) *Request {
	r, _ := ctx.Value(requestKey{}).(*Request)
	return r
}

// By says who sends the request.
func (r *Request) By(who Who) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.who, r.known = who, true
}

// Tell adds details to the entry of a context's request.
func Tell(ctx context.Context, details map[string]string) {
	r := of(ctx)
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.details == nil {
		r.details = map[string]string{}
	}
	maps.Copy(r.details, details)
}

// entry begins an entry of the request. It is false where nobody is known to have asked, or where the
// request has its entry.
func (r *Request) entry(action, target string) (Entry, bool) {
	if r == nil {
		return Entry{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return Entry{Who: r.who, Action: action, Target: target, Details: maps.Clone(r.details), Client: r.Client, Request: r.ID}, r.known && !r.written
}

func (r *Request) wrote() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written = true
}

// insert gives an entry the database's time, and one microsecond behind the last entry where that is not earlier: SQLite
// tells milliseconds, and entries are listed by their times. A last one that is far ahead is of a clock that was wrong.
const insert = `INSERT INTO trail (id, at, caller, caller_id, issuer, subject, action, target, details, client, request, result, message)
	SELECT $1, CASE WHEN last.at < clock.now THEN clock.now ELSE last.at + 1 END, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12
	FROM (SELECT {now} AS now) AS clock, (SELECT COALESCE(MAX(at), 0) AS at FROM trail WHERE at < {now} + 1000000) AS last`

// maxText bounds a text of an entry, in bytes: some are a caller's own.
const maxText = 2000

func bounded(text string) string {
	text = journal.Redact(strings.ToValidUTF8(text, "�"))
	text = strings.ReplaceAll(text, "\x00", "�")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// write writes an entry in a transaction.
func write(ctx context.Context, tx database.Tx, e Entry) error {
	details := map[string]string{}
	for name, value := range e.Details {
		if value != "" {
			details[name] = bounded(value)
		}
	}
	text, err := json.Marshal(details)
	if err != nil {
		return fmt.Errorf("writing the audit log: %w", err)
	}
	_, err = tx.Exec(ctx, insert, e.ID, e.Name, e.Who.ID, e.Issuer, e.Subject, e.Action, bounded(e.Target), string(text), e.Client, e.Request, string(e.Result), bounded(e.Message))
	if err != nil {
		return fmt.Errorf("writing the audit log: %w", err)
	}
	return nil
}

func newID() string { return strings.ToLower(rand.Text()) }

// Note writes that a request's change was made, in the change's own transaction. What nobody outside has
// asked for has no entry.
func Note(ctx context.Context, tx database.Tx, action, target string, details map[string]string) error {
	r := of(ctx)
	e, wanted := r.entry(action, target)
	if !wanted {
		return nil
	}
	if e.Details == nil {
		e.Details = map[string]string{}
	}
	maps.Copy(e.Details, details)
	e.ID, e.Result = newID(), Done
	if err := write(ctx, tx, e); err != nil {
		return err
	}
	tx.OnCommit(r.wrote)
	return nil
}
