// Package hosts keeps what hosts report to a service, in its database: the last report of each host,
// channel and root as the host has signed it, and those that said something new.
//
// Who can write the database can take reports away. What is there counts as long as the host's key
// does: each report is verified when it comes, and when it is read.
package hosts

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"ampoule/agent/reports"
	"ampoule/faults"
	"ampoule/service/database"
)

// Limits.
const (
	// skew is how far a host's clock may be ahead of this process's: a report of tomorrow would be
	// the last one until then.
	skew = 10 * time.Minute
	// maxRoots bounds how many channels and roots a host reports of.
	maxRoots = 64
	// maxHistory bounds how many reports of a host, channel and root are kept that said something new.
	maxHistory = 100
	// silence is how long after its last report a host counts as silent: agents report each hour, unless
	// told otherwise.
	silence = 3 * time.Hour
)

// Reported is a report that a host has sent.
type Reported struct {
	reports.Report
	// Received is when it came, by the database's clock. Silent says that it is long ago.
	Received time.Time
	Silent   bool
	// Refused says why it does not count any more; empty where it does.
	Refused string
}

// Book keeps reports. Its fields are set before it is used.
type Book struct {
	DB *database.DB
	// Keys are the hosts whose reports count, as they are now.
	Keys func(ctx context.Context) (reports.Keys, error)
	// FellBack is told, in the transaction of a report, that a host has gone back from a digest;
	// optional.
	FellBack func(ctx context.Context, tx database.Tx, r reports.Report) error
	// Now is this process's clock; nil is time.Now.
	Now func() time.Time

	mu sync.Mutex
	// read are the reports that were verified, by the hash of their bytes.
	read map[[sha256.Size]byte]verified
}

// verified is a report that a key has signed.
type verified struct {
	report reports.Report
	key    string
}

// OlderError says that a report came after one that is newer.
type OlderError struct{ Host, Has, Got string }

func (e *OlderError) Error() string {
	return fmt.Sprintf("host %s has reported at %s, and this report is of %s", e.Host, e.Has, e.Got)
}

// Kind says whose turn it is.
func (*OlderError) Kind() faults.Kind { return faults.Refused }

// Status is that of an answer.
func (*OlderError) Status() int { return http.StatusConflict }

// Parse reads a report that the key of its host has signed. One that does not count is an error of
// kind Refused.
func (b *Book) Parse(ctx context.Context, body []byte) (reports.Report, error) {
	known, err := b.Keys(ctx)
	if err != nil {
		return reports.Report{}, err
	}
	r, err := b.verify(known, body)
	if err != nil {
		return r, faults.New(faults.Refused, "`ampoule agent enroll` adds a host to those whose reports count", "%w", err)
	}
	if saidOf(r) > b.now().Add(skew).UTC().Format(time.RFC3339) {
		return r, faults.New(faults.Refused, "set the clock of the host", "the report is of %s: the clock of host %s is ahead", r.Time, r.Host)
	}
	return r, nil
}

// saidOf is when a report was written, in a form whose order is that of its text.
func saidOf(r reports.Report) string {
	at, _ := time.Parse(time.RFC3339, r.Time) // a report has a time
	return at.UTC().Format(time.RFC3339)
}

func (b *Book) now() time.Time {
	if b.Now != nil {
		return b.Now()
	}
	return time.Now()
}

// verify reads a report. The same bytes under the same key are verified once.
func (b *Book) verify(known reports.Keys, body []byte) (reports.Report, error) {
	sum := sha256.Sum256(body)
	b.mu.Lock()
	before, seen := b.read[sum]
	b.mu.Unlock()
	if key, ok := known[before.report.Host]; seen && ok && key.ID() == before.key {
		return before.report, nil
	}
	r, err := known.Parse(body)
	if err != nil {
		return r, err
	}
	const most = 10_000
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.read == nil || len(b.read) >= most {
		b.read = map[[sha256.Size]byte]verified{}
	}
	b.read[sum] = verified{r, known[r.Host].ID()}
	return r, nil
}

// Put keeps a report that [Book.Parse] has read. Changed says that it says something else than the one
// before. The same one again changes nothing, and an older one is an [*OlderError].
func (b *Book) Put(ctx context.Context, r reports.Report, body []byte) (changed bool, err error) {
	err = b.DB.Write(ctx, func(ctx context.Context, tx database.Tx) error {
		changed = false
		before, err := b.last(ctx, tx, r)
		if err != nil {
			return err
		}
		if before != nil && before.body == string(body) {
			return nil
		}
		if said := saidOf(r); before != nil && (said < before.said || said == before.said && int64(r.Count) <= before.count) {
			return &OlderError{r.Host, before.said, r.Time}
		}
		changed = before == nil || saysElse(before.report, r)
		return b.put(ctx, tx, r, body, before, changed)
	})
	return changed, err
}

// row is the last report.
type row struct {
	said, body string
	count      int64
	report     reports.Report
}

// last reads the row that a report will take the place of, and locks it; nil where there is none.
func (b *Book) last(ctx context.Context, tx database.Tx, r reports.Report) (*row, error) {
	var before row
	found, err := database.Get(ctx, tx, "SELECT said, count, body FROM host_reports WHERE host = $1 AND channel = $2 AND root = $3 {lock}",
		[]any{r.Host, r.Channel, r.Root}, &before.said, &before.count, &before.body)
	if err != nil || !found {
		return nil, err
	}
	// It was verified when it came; what it says now decides nothing but whether something changed.
	before.report, err = reports.Unverified([]byte(before.body))
	return &before, err
}

// saysElse reports whether a report says something else than the one before.
func saysElse(a, b reports.Report) bool {
	return a.State != b.State || a.Digest != b.Digest || a.Wanted != b.Wanted || a.Why != b.Why || !maps.Equal(a.Failed, b.Failed)
}

// put writes a report in the place of the one before.
func (b *Book) put(ctx context.Context, tx database.Tx, r reports.Report, body []byte, before *row, changed bool) error {
	if before == nil {
		var n int
		if err := tx.QueryRow(ctx, "SELECT count(*) FROM host_reports WHERE host = $1", r.Host).Scan(&n); err != nil {
			return err
		}
		if n >= maxRoots {
			return faults.New(faults.Refused, "remove the reports of roots that are gone", "host %s reports of more than %d channels and roots", r.Host, maxRoots)
		}
	}
	// Of two first reports at once one wins.
	n, err := tx.Exec(ctx, `INSERT INTO host_reports (host, channel, root, said, count, received, body) VALUES ($1, $2, $3, $4, $5, {now}, $6)
		ON CONFLICT (host, channel, root) DO UPDATE SET said = excluded.said, count = excluded.count, received = excluded.received, body = excluded.body
		WHERE host_reports.said < excluded.said OR host_reports.said = excluded.said AND host_reports.count < excluded.count`,
		r.Host, r.Channel, r.Root, saidOf(r), r.Count, string(body))
	if err != nil || n == 0 || !changed {
		return err
	}
	if err := b.note(ctx, tx, r, body); err != nil {
		return err
	}
	if b.FellBack == nil || !fellBack(before, r) {
		return nil
	}
	return b.FellBack(ctx, tx, r)
}

// fellBack reports whether a host has gone back since the report before.
func fellBack(before *row, r reports.Report) bool {
	if r.State != reports.FellBack {
		return false
	}
	return before == nil || before.report.State != reports.FellBack || !maps.Equal(before.report.Failed, r.Failed)
}

// note keeps what changed, and forgets what is too old.
func (b *Book) note(ctx context.Context, tx database.Tx, r reports.Report, body []byte) error {
	var seq int64
	err := tx.QueryRow(ctx, "SELECT COALESCE(max(seq), 0) + 1 FROM host_history WHERE host = $1 AND channel = $2 AND root = $3", r.Host, r.Channel, r.Root).Scan(&seq)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "INSERT INTO host_history (host, channel, root, seq, received, body) VALUES ($1, $2, $3, $4, {now}, $5)",
		r.Host, r.Channel, r.Root, seq, string(body))
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "DELETE FROM host_history WHERE host = $1 AND channel = $2 AND root = $3 AND seq <= $4", r.Host, r.Channel, r.Root, seq-maxHistory)
	return err
}

// List gives the last reports, by host, channel and root.
func (b *Book) List(ctx context.Context) ([]Reported, error) {
	return b.all(ctx, "SELECT host, received, {now}, body FROM host_reports ORDER BY host, channel, root")
}

// Host gives the last reports of one host, and what it has reported that was new, the newest first. A
// host that has reported nothing is an error of kind NotFound.
func (b *Book) Host(ctx context.Context, name string) (roots, history []Reported, err error) {
	roots, err = b.all(ctx, "SELECT host, received, {now}, body FROM host_reports WHERE host = $1 ORDER BY channel, root", name)
	if err == nil && len(roots) == 0 {
		err = faults.New(faults.NotFound, "", "host %.80q has reported nothing", name)
	}
	if err != nil {
		return nil, nil, err
	}
	history, err = b.all(ctx, "SELECT host, received, {now}, body FROM host_history WHERE host = $1 ORDER BY received DESC, seq DESC, channel, root", name)
	return roots, history, err
}

// all reads reports. One that does not count any more says why, and nothing else.
func (b *Book) all(ctx context.Context, query string, args ...any) ([]Reported, error) {
	known, err := b.Keys(ctx)
	if err != nil {
		return nil, err
	}
	var list []Reported
	err = b.DB.Read(ctx, func(ctx context.Context, q database.Querier) error {
		list = nil
		return database.Each(ctx, q, query, args, func(from database.Row) error {
			var host, body string
			var received, now int64
			if err := from.Scan(&host, &received, &now, &body); err != nil {
				return err
			}
			at := database.Time(received)
			one := Reported{Received: at, Silent: database.Time(now).Sub(at) > silence}
			counts, refused := b.verify(known, []byte(body))
			one.Report = counts
			if refused != nil {
				one.Report, one.Refused = reports.Report{Host: host}, refused.Error()
				if said, err := reports.Unverified([]byte(body)); err == nil {
					one.Channel, one.Root, one.Time = said.Channel, said.Root, said.Time
				}
			}
			list = append(list, one)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading reports: %w", err)
	}
	return list, nil
}

// Forget removes what a host has reported: one that is gone. A host that has reported nothing is an
// error of kind NotFound.
func (b *Book) Forget(ctx context.Context, name string) error {
	return b.DB.Write(ctx, func(ctx context.Context, tx database.Tx) error {
		n, err := tx.Exec(ctx, "DELETE FROM host_reports WHERE host = $1", name)
		if err == nil && n == 0 {
			err = faults.New(faults.NotFound, "", "host %.80q has reported nothing", name)
		}
		_, also := tx.Exec(ctx, "DELETE FROM host_history WHERE host = $1", name)
		return errors.Join(err, also)
	})
}

// Counting are the reports of a list that count.
func Counting(all []Reported) []reports.Report {
	list := make([]reports.Report, 0, len(all))
	for _, r := range all {
		if r.Refused == "" {
			list = append(list, r.Report)
		}
	}
	return slices.Clip(list)
}
