package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ampoule/builder/progress"
	"ampoule/config"
	"ampoule/store"
	"ampoule/system"
)

// partialKind is the kind of the store's records of what a partial file is part of.
const partialKind = "fetch-partial"

// partial tells what a partial file is part of, so that a later run can ask its
// server for the rest of the same bytes (RFC 9110, 13.1.5).
type partial struct {
	// Address is the sha256 of the address, which may hold credentials.
	Address string `json:"address"`
	// Validator is a strong ETag, or Last-Modified; empty when there was neither.
	Validator string `json:"validator"`
}

// smallBody is the size in bytes up to which no partial is recorded: asking for such a
// body again costs no more than recording what it is.
const smallBody = 1 << 20

// download fetches one item into its partial file.
type download struct {
	fetcher *Fetcher
	item    Item
	w       *store.Writer
	meter   meter
	// resumed says that the partial file began before the present answer.
	resumed bool
	// suspected says that at the present address a wrong beginning was dropped.
	suspected bool
}

// fromMirrors tries what keeps inputs, then every address of every mirror, until one
// gives the item.
func (d *download) fromMirrors(ctx context.Context) error {
	done, attempts, err := d.fromKept(ctx)
	if done || err != nil {
		return err
	}
	places, err := d.fetcher.places(ctx, d.item)
	if err != nil && len(attempts) > 0 && !fatal(ctx, err) {
		return d.verdict(append(attempts, Attempt{"source " + d.item.Source, err}))
	}
	if err != nil {
		return err
	}
	for _, place := range places {
		addresses, err := place.find(ctx)
		if err != nil {
			if fatal(ctx, err) {
				return err
			}
			attempts = append(attempts, Attempt{place.mirror.redacted(), err})
			continue
		}
		for _, address := range addresses {
			err := d.fromAddress(ctx, address)
			if err == nil || fatal(ctx, err) {
				return err
			}
			attempts = append(attempts, Attempt{address.redacted(), err})
		}
	}
	return d.verdict(attempts)
}

// fatal says that no other address can help.
func fatal(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, store.ErrNoSpace) || errors.Is(err, errLocal)
}

// errLocal marks faults of this machine.
var errLocal = errors.New("this machine's fault")

// local marks a fault of this machine.
func local(err error) error {
	if err == nil {
		return nil
	}
	return localError{err}
}

type localError struct{ err error }

func (e localError) Error() string { return e.err.Error() }

func (e localError) Unwrap() []error { return []error{e.err, errLocal} }

func (d *download) verdict(attempts []Attempt) error {
	for _, a := range attempts {
		if !errors.Is(a.Err, errNotThere) {
			return &RemoteError{What: d.item.String(), Attempts: attempts}
		}
	}
	if len(attempts) == 0 && d.item.Source != Profiles {
		return &RemoteError{What: d.item.String()}
	}
	return &NotFoundError{Item: d.item, Attempts: attempts}
}

func (d *download) fromAddress(ctx context.Context, address mirror) error {
	if address.isDir() {
		return d.fromFile(address.dir)
	}
	d.suspected = false
	best := d.w.Size()
	return d.fetcher.persist(ctx, func() (int64, error) {
		err := d.once(ctx, address)
		gained := d.w.Size() - best
		best = max(best, d.w.Size())
		return gained, err
	})
}

// fromFile copies a file. What a partial file had is dropped: copying is cheap.
func (d *download) fromFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|system.NonBlock, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return errNotThere
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("it is no file but %s", info.Mode().Type())
	}
	if err := d.restart(); err != nil {
		return err
	}
	if err := d.copy(f, info.Size()); err != nil {
		return err
	}
	return d.check(path)
}

// once asks a URL once, for the rest of what the partial file has.
func (d *download) once(ctx context.Context, address mirror) error {
	if d.item.Size > 0 && d.w.Size() >= d.item.Size || d.w.Size() > d.limit() {
		if d.w.Sum() == d.item.SHA256 {
			return nil
		}
		if err := d.restart(); err != nil {
			return err
		}
	}
	header, err := d.header(address)
	if err != nil {
		return err
	}
	answer, err := d.fetcher.get(ctx, address, header)
	if err != nil {
		return err
	}
	defer answer.Close()
	total, whole, err := d.begin(answer)
	if err != nil || whole {
		return err
	}
	if err := d.remember(address, answer.Header, total); err != nil {
		return err
	}
	if err := d.copy(answer, total); err != nil {
		return d.interrupted(ctx, err)
	}
	if total >= 0 && d.w.Size() < total {
		return &retryableError{err: errTruncated}
	}
	return d.check(address.redacted())
}

func (d *download) interrupted(ctx context.Context, err error) error {
	var wrong *HashError
	if errors.Is(err, errLocal) || errors.Is(err, store.ErrNoSpace) || errors.As(err, &wrong) {
		return err
	}
	return classify(ctx, err)
}

// header asks for the bytes as they are, and for the rest only where there is a
// partial file. Of the server that sent the beginning it asks for the same file; of others
// it asks without a condition, since the hash will tell.
func (d *download) header(address mirror) (http.Header, error) {
	header := http.Header{"Accept-Encoding": {"identity"}}
	if d.w.Size() == 0 {
		return header, nil
	}
	header.Set("Range", "bytes="+strconv.FormatInt(d.w.Size(), 10)+"-")
	var known partial
	ok, err := d.fetcher.store.Lookup(partialKind, d.item.SHA256, &known)
	if err != nil {
		return nil, local(err)
	}
	if ok && known.Address == addressSum(address) && known.Validator != "" {
		header.Set("If-Range", known.Validator)
	}
	return header, nil
}

// begin makes the partial file fit the answer. It gives the whole item's size, -1 when
// that is not told, and says when the partial file is the whole item already.
func (d *download) begin(answer *answered) (total int64, whole bool, err error) {
	start, total, ok := contentRange(answer.Header)
	switch answer.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable:
		if d.w.Size() > 0 && d.w.Sum() == d.item.SHA256 {
			return 0, true, nil
		}
		return 0, false, d.again(&StatusError{Code: answer.StatusCode, Status: answer.Status})
	case http.StatusPartialContent:
		if !ok || start != d.w.Size() {
			return 0, false, d.again(errors.New("the server sends another range than asked for"))
		}
		d.resumed = start > 0
	default:
		total = answer.ContentLength
		if err := d.restart(); err != nil {
			return 0, false, err
		}
	}
	if want := d.item.Size; want > 0 && total >= 0 && total != want {
		return 0, false, &HashError{Want: d.item.SHA256, Size: total, Limit: want}
	}
	return total, false, nil
}

// again drops the partial file. Where there was one the same address is asked again.
func (d *download) again(reason error) error {
	if d.w.Size() == 0 {
		return reason
	}
	if err := d.restart(); err != nil {
		return err
	}
	return &retryableError{err: reason}
}

func (d *download) restart() error {
	d.resumed = false
	return local(d.w.Reset())
}

// remember records what the partial file will be part of.
func (d *download) remember(address mirror, header http.Header, total int64) error {
	if total >= 0 && total <= smallBody {
		return nil
	}
	validator := header.Get("ETag")
	if validator == "" || strings.HasPrefix(validator, "W/") {
		validator = header.Get("Last-Modified")
	}
	return local(d.fetcher.store.Record(partialKind, d.item.SHA256, partial{addressSum(address), validator}))
}

func addressSum(address mirror) string {
	sum := sha256.Sum256([]byte(address.url.String()))
	return hex.EncodeToString(sum[:])
}

// limit is the item's size in bytes, or the largest that it may have.
func (d *download) limit() int64 {
	if d.item.Size > 0 {
		return d.item.Size
	}
	if kind, _ := d.fetcher.config.Sources.Kind(d.item.Source); kind == config.Registry {
		return d.fetcher.limits.crate
	}
	return d.fetcher.limits.content
}

// copy appends to the partial file, up to the item's size.
func (d *download) copy(r io.Reader, total int64) error {
	limit := d.limit()
	d.meter.total = max(total, d.item.Size, 0)
	buffer := make([]byte, 128<<10)
	for {
		n, err := r.Read(buffer)
		if d.w.Size()+int64(n) > limit {
			size := d.w.Size() + int64(n)
			return errors.Join(d.restart(), &HashError{Want: d.item.SHA256, Size: size, Limit: limit})
		}
		if _, err := d.w.Write(buffer[:n]); err != nil {
			return local(err)
		}
		d.meter.at(d.w.Size())
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// check compares what came. When an older beginning may be to blame, the same
// address is asked again for all of it.
func (d *download) check(address string) error {
	got := d.w.Sum()
	if got == d.item.SHA256 {
		return nil
	}
	suspect := d.resumed && !d.suspected
	wrong := &HashError{Address: address, Want: d.item.SHA256, Got: got, Size: d.w.Size(), Limit: d.item.Size}
	if err := d.restart(); err != nil {
		return err
	}
	if suspect {
		d.suspected = true
		return &retryableError{err: wrong}
	}
	return wrong
}

// meter passes progress on, not more often than it makes sense to show.
type meter struct {
	task  *progress.Task
	every time.Duration
	total int64
	last  time.Time
}

func (m *meter) at(done int64) {
	now := time.Now()
	if now.Sub(m.last) < m.every && done != m.total {
		return
	}
	m.last = now
	m.task.Advance(done, m.total, progress.Bytes)
}
