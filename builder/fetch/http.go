package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"ampoule/config"
	"ampoule/faults"
	"ampoule/internal/watched"
)

// limits are what the downloader bears with. They are values so that tests can
// shorten them.
type limits struct {
	// stall is how long a server may send nothing.
	stall time.Duration
	// tries is how often one address is asked while no try brings anything.
	tries int
	// firstPause and longestPause bound the time between two tries, which doubles.
	firstPause, longestPause time.Duration
	// patience is the longest Retry-After that is waited for.
	patience time.Duration
	// redirects is how many are followed.
	redirects int
	// content is the largest item of unknown size, page the largest index page,
	// in bytes.
	content, page int64
	// crate is the largest crate, registry the largest config.json of a registry, in bytes.
	crate, registry int64
	// gain is how many bytes make a try a success that starts the count of tries again.
	gain int64
}

func defaultLimits() limits {
	return limits{
		stall:        30 * time.Second,
		tries:        6,
		firstPause:   500 * time.Millisecond,
		longestPause: 15 * time.Second,
		patience:     2 * time.Minute,
		redirects:    10,
		content:      8 << 30,
		page:         128 << 20,
		crate:        256 << 20,
		registry:     1 << 20,
		gain:         1 << 20,
	}
}

var (
	errStalled   = errors.New("the server sends nothing any more")
	errRedirects = errors.New("too many redirects")
	errDowngrade = errors.New("refusing a redirect from https to http")
	errTruncated = errors.New("the answer ends too early")
)

func newClient(l limits, network config.Network) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	transport.Proxy = func(r *http.Request) (*url.URL, error) { return network.Proxy(r.URL) }
	transport.MaxIdleConnsPerHost = defaultJobs
	return &http.Client{
		Transport: watched.Transport{Next: transport},
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			if len(via) > l.redirects {
				return errRedirects
			}
			if via[len(via)-1].URL.Scheme == "https" && next.URL.Scheme != "https" {
				return errDowngrade
			}
			// net/http keeps them for subdomains and other ports.
			if !sameOrigin(via[0].URL, next.URL) {
				next.Header.Del("Authorization")
			}
			return nil
		},
	}
}

// answered is an answer whose body ends with an error once it brings nothing for too
// long, and with errTruncated where it is cut off.
type answered struct {
	*http.Response
	watch *watch
}

// Close ends the request.
func (a *answered) Close() {
	a.Body.Close()
	a.watch.stop()
}

// Read reads the body.
func (a *answered) Read(p []byte) (int, error) {
	a.watch.alive()
	n, err := a.Body.Read(p)
	a.watch.rest()
	if err != nil && !errors.Is(err, io.EOF) {
		return n, a.watch.explain(err)
	}
	return n, err
}

// watch ends a request's context when nothing has come for the stall time.
type watch struct {
	//nolint:containedctx // a Read has no context of its own
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	after  time.Duration
}

func newWatch(ctx context.Context, after time.Duration) *watch {
	w := &watch{after: after}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(after, func() { w.cancel(errStalled) })
	return w
}

func (w *watch) alive() { w.timer.Reset(w.after) }

// rest stops the clock while nothing is asked of the server.
func (w *watch) rest() { w.timer.Stop() }

func (w *watch) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// explain gives the reason behind what a request said, without the URL that net/http
// puts into it, which may hold credentials.
func (w *watch) explain(err error) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errTruncated
	}
	var told *url.Error
	if errors.As(err, &told) {
		err = told.Err
	}
	return scrubbedError{err}
}

// get asks an address once. Any answer but success is a *retryableError, an errNotThere, a
// [*StatusError] or a [*CredentialsError].
func (f *Fetcher) get(ctx context.Context, address mirror, header http.Header) (*answered, error) {
	return f.request(ctx, http.MethodGet, address, header)
}

// request is get with another method.
func (f *Fetcher) request(ctx context.Context, method string, address mirror, header http.Header) (*answered, error) {
	w := newWatch(ctx, f.limits.stall)
	request, err := http.NewRequestWithContext(w.ctx, method, address.url.String(), nil) //nolint:contextcheck // the watch's is made of ctx
	if err != nil {
		w.stop()
		return nil, scrubbedError{err}
	}
	request.Header = header.Clone()
	request.Header.Set("User-Agent", "ampoule")
	response, err := f.send(request, address.access) //nolint:bodyclose // whoever is given the answer closes it
	var wants faulty
	if errors.As(err, &wants) {
		w.stop()
		return nil, err
	}
	if err != nil {
		err = w.explain(err)
		w.stop()
		return nil, classify(ctx, err)
	}
	w.rest()
	a := &answered{response, w}
	if err := refused(response); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// faulty is an error that has said whose fault it is: no transport's.
type faulty interface{ Kind() faults.Kind }

// send sends a request, with credentials where there is a way to them.
func (f *Fetcher) send(request *http.Request, with *access) (*http.Response, error) {
	if with == nil {
		return f.client.Do(request)
	}
	return with.ask(request, f.client.Do)
}

// retryableError is a fault that may be gone when the same address is asked again.
type retryableError struct {
	err error
	// after is how long the server asks to wait; 0 when it does not say.
	after time.Duration
}

func (r *retryableError) Error() string { return r.err.Error() }

func (r *retryableError) Unwrap() error { return r.err }

// classify makes a transport's fault retryable, if asking again can help.
func classify(ctx context.Context, err error) error {
	var certificate *tls.CertificateVerificationError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &certificate), errors.Is(err, errRedirects), errors.Is(err, errDowngrade):
		return err
	}
	return &retryableError{err: err}
}

func refused(response *http.Response) error {
	switch code := response.StatusCode; {
	case code == http.StatusOK, code == http.StatusPartialContent, code == http.StatusRequestedRangeNotSatisfiable:
		return nil
	case code == http.StatusNotFound, code == http.StatusGone:
		return fmt.Errorf("HTTP %s: %w", response.Status, errNotThere)
	case !faults.StatusLasts(code):
		return &retryableError{err: &StatusError{Code: code, Status: response.Status}, after: retryAfter(response.Header)}
	default:
		return &StatusError{Code: code, Status: response.Status}
	}
}

// retryAfter reads the header Retry-After, in seconds or as a date (RFC 9110, 10.2.3).
func retryAfter(header http.Header) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if when, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(when))
	}
	return 0
}

// persist calls try until it succeeds, fails for good, or has failed too often
// without gaining anything. A try says how many bytes it gained.
func (f *Fetcher) persist(ctx context.Context, try func() (gained int64, err error)) error {
	for failures := 0; ; {
		gained, err := try()
		var again *retryableError
		if !errors.As(err, &again) {
			return err
		}
		if gained >= f.limits.gain {
			failures = 0
		}
		failures++
		if failures >= f.limits.tries {
			return fmt.Errorf("%w (tried %d times)", again, failures)
		}
		if again.after > f.limits.patience {
			return fmt.Errorf("%w (asks to come back in %s)", again, again.after)
		}
		if err := sleep(ctx, max(again.after, f.pause(failures))); err != nil {
			return err
		}
	}
}

// pause doubles with every failure; half of it is chance, so that several clients
// do not come back at once.
func (f *Fetcher) pause(failures int) time.Duration {
	pause := min(f.limits.firstPause<<(failures-1), f.limits.longestPause)
	return pause/2 + rand.N(pause/2+1) //nolint:gosec // chance is wanted here, not secrecy
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// contentRange reads the header Content-Range (RFC 9110, 14.4). Start is -1 in the
// answer to a range that cannot be satisfied, total is -1 where it is not known.
func contentRange(header http.Header) (start, total int64, ok bool) {
	span, found := strings.CutPrefix(header.Get("Content-Range"), "bytes ")
	span, length, slash := strings.Cut(span, "/")
	if !found || !slash {
		return 0, 0, false
	}
	total, start = -1, -1
	var err error
	if length != "*" {
		if total, err = strconv.ParseInt(length, 10, 64); err != nil || total < 0 {
			return 0, 0, false
		}
	}
	if span != "*" {
		first, _, _ := strings.Cut(span, "-")
		if start, err = strconv.ParseInt(first, 10, 64); err != nil || start < 0 {
			return 0, 0, false
		}
	}
	return start, total, true
}
