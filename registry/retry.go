package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"ampoule/faults"
)

// maxSilence is how long another registry may neither take nor send a byte. One that
// stands on an object store is silent for minutes while it puts a large blob together.
const maxSilence = 5 * time.Minute

// localBackoff retries for about 3 s: as long as it takes another process to take
// the store's registry over.
var localBackoff = remote.Backoff{Duration: 50 * time.Millisecond, Factor: 2, Jitter: 0.1, Steps: 7}

// foreignBackoff retries for about 16 s: as long as it takes a registry to restart. The
// client cannot be interrupted between one try and the next.
var foreignBackoff = remote.Backoff{Duration: 2 * time.Second, Factor: 1, Jitter: 0.1, Steps: 9}

// retryLocal also starts an upload anew whose session ended with the process that
// served it.
func retryLocal(err error) bool {
	var status *transport.Error
	if errors.As(err, &status) {
		for _, d := range status.Errors {
			if d.Code == transport.BlobUploadUnknownErrorCode || d.Code == transport.BlobUploadInvalidErrorCode {
				return true
			}
		}
		return false
	}
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// closedTexts are what net/http says of connections that a server has closed, where it
// may not repeat the request itself. It has no names for these errors.
var closedTexts = []string{"server closed idle connection", "http2: server sent GOAWAY", "http2: client connection lost"}

// SilentError says that a registry stopped taking and sending anything.
type SilentError struct {
	Host    string
	Silence time.Duration
}

func (e *SilentError) Error() string {
	return fmt.Sprintf("nothing came from %s, and nothing was taken, for %s", e.Host, e.Silence)
}

// Kind says whose fault it is.
func (*SilentError) Kind() faults.Kind { return faults.Remote }

// Hint says where to look.
func (e *SilentError) Hint() string {
	return "the registry hangs, or what is on the way to it: its log says more"
}

// patient is the transport to another registry. It gives up one that is silent.
type patient struct {
	next    http.RoundTripper
	silence time.Duration
	// answered says that the registry has answered before: then one that refuses
	// connections restarts, and is waited for.
	answered atomic.Bool
}

// retry reports whether an error is worth another try.
func (p *patient) retry(err error) bool {
	var temporary interface{ Temporary() bool }
	var status *transport.Error
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	case errors.As(err, &status) && status.Temporary():
		return true
	case errors.Is(err, syscall.ECONNREFUSED):
		return p.answered.Load()
	case slices.ContainsFunc(closedTexts, func(text string) bool { return strings.Contains(err.Error(), text) }):
		return true
	}
	return retryLocal(err) || errors.As(err, &temporary) && temporary.Temporary()
}

// RoundTrip implements http.RoundTripper.
func (p *patient) RoundTrip(req *http.Request) (*http.Response, error) {
	x := &exchange{silence: p.silence}
	ctx, cancel := context.WithCancelCause(req.Context())
	x.ctx, x.cancel = ctx, cancel
	x.timer = time.AfterFunc(p.silence, func() { cancel(&SilentError{Host: req.URL.Host, Silence: p.silence}) })
	resp, err := p.next.RoundTrip(x.watch(req))
	x.answered.Store(true)
	x.timer.Stop()
	if err != nil {
		err = x.explain(req.Context(), err)
		cancel(nil)
		return nil, err
	}
	p.answered.Store(true)
	resp.Body = &received{ReadCloser: resp.Body, exchange: x, parent: req.Context()}
	return resp, nil
}

// maxPatience is how long a registry may ask to be left alone before the next request.
const maxPatience = time.Minute

// askAgain is how often a request is repeated whose answer is to ask later.
const askAgain = 4

// LaterError says that a registry asks to be left alone for longer than it is waited for.
type LaterError struct {
	Host, Status string
	Wait         time.Duration
}

func (e *LaterError) Error() string {
	return fmt.Sprintf("%s answers %s, and asks to be left alone for %s", e.Host, e.Status, e.Wait.Round(time.Second))
}

// Kind says whose fault it is.
func (*LaterError) Kind() faults.Kind { return faults.Remote }

// After is how long it asks to be left alone.
func (e *LaterError) After() time.Duration { return e.Wait }

// polite leaves a registry alone for as long as it asks for (RFC 9110, "Retry-After"), with
// all requests, and then repeats the one that was answered so, where that is possible.
type polite struct {
	next http.RoundTripper
	// most is the longest wait. What asks for a longer one is a [*LaterError].
	most time.Duration
	// until is when it may be asked again, in nanoseconds since 1970.
	until atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (p *polite) RoundTrip(req *http.Request) (*http.Response, error) {
	for try := 0; ; try++ {
		if err := p.wait(req.Context()); err != nil {
			return nil, err
		}
		resp, err := p.next.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		wait, asked := retryAfter(resp, time.Now())
		switch {
		case !asked:
			return resp, nil
		case wait > p.most:
			_ = resp.Body.Close()
			return nil, &LaterError{Host: req.URL.Host, Status: resp.Status, Wait: wait}
		}
		p.until.Store(time.Now().Add(wait).UnixNano())
		again, err := anew(req)
		if try == askAgain || again == nil || err != nil {
			return resp, err
		}
		_ = resp.Body.Close()
		req = again
	}
}

// wait waits until the registry may be asked again.
func (p *polite) wait(ctx context.Context) error {
	left := time.Until(time.Unix(0, p.until.Load()))
	if left <= 0 {
		return nil
	}
	select {
	case <-time.After(left):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// anew is a request with its body from the start; nil where the body cannot be had again.
func anew(req *http.Request) (*http.Request, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, nil
	}
	if req.GetBody == nil {
		return nil, nil
	}
	again := req.Clone(req.Context())
	var err error
	again.Body, err = req.GetBody()
	return again, err
}

// retryAfter is how long an answer asks to wait: seconds, or until a time.
func retryAfter(resp *http.Response, now time.Time) (time.Duration, bool) {
	value := resp.Header.Get("Retry-After")
	if value == "" || resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0, false
	}
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(value)
	return max(0, at.Sub(now)), err == nil
}

// exchange is one request with its answer.
type exchange struct {
	//nolint:containedctx // the cause of its end is asked for later
	ctx     context.Context
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	silence time.Duration
	// answered says that the answer has begun: what is still sent does not matter then.
	answered atomic.Bool
}

// watch returns the request with bodies that tell when they are read, which may happen
// again from the start.
func (x *exchange) watch(req *http.Request) *http.Request {
	watched := req.Clone(x.ctx)
	if req.Body == nil || req.Body == http.NoBody {
		return watched
	}
	watched.Body = sent{req.Body, x}
	if req.GetBody != nil {
		watched.GetBody = func() (io.ReadCloser, error) {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			return sent{body, x}, nil
		}
	}
	return watched
}

// explain returns what ended an exchange: silence, or its caller. Why the caller did,
// which may be another request's failure, is no error of this one.
func (x *exchange) explain(parent context.Context, err error) error {
	var silent *SilentError
	switch {
	case errors.As(context.Cause(x.ctx), &silent): //nolint:contextcheck // the cause is the exchange's own
		return silent
	case parent.Err() != nil:
		return parent.Err()
	}
	return err
}

// sent is the body of a request. That it is read means that the registry takes it.
type sent struct {
	io.ReadCloser
	*exchange
}

// Read implements [io.Reader].
func (s sent) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	if !s.answered.Load() {
		s.timer.Reset(s.silence)
	}
	return n, err
}

// received is the body of an answer. Only while a reader waits is the registry silent.
type received struct {
	io.ReadCloser
	*exchange
	//nolint:containedctx // a Read has no context of its own
	parent context.Context
}

// Read implements [io.Reader].
func (r *received) Read(b []byte) (int, error) {
	r.timer.Reset(r.silence)
	n, err := r.ReadCloser.Read(b)
	r.timer.Stop()
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, io.EOF) {
		err = r.explain(r.parent, err)
	}
	// Whoever has all of it may not close it.
	r.cancel(nil)
	return n, err
}

// Close implements [io.Closer].
func (r *received) Close() error {
	defer r.cancel(nil)
	r.timer.Stop()
	return r.ReadCloser.Close()
}
