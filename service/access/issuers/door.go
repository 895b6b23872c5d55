package issuers

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"ampoule/address"
	"ampoule/faults"
)

const (
	// maxAnswer bounds what an issuer answers, in bytes, and patience how long it may take.
	maxAnswer = 1 << 20
	patience  = 10 * time.Second
	// pause is how long the same is not asked for again, and after a failure.
	pause        = 10 * time.Second
	failurePause = 3 * time.Second
)

// AwayError says that an issuer could not be asked. What it has signed may be good.
type AwayError struct {
	// Issuer is its name in the access file.
	Issuer string
	Err    error
}

func (e *AwayError) Error() string {
	return fmt.Sprintf("issuer %s cannot be asked: %s", e.Issuer, address.Redact(e.Err.Error()))
}

// Unwrap returns the cause.
func (e *AwayError) Unwrap() error { return e.Err }

// Kind says whose fault it is.
func (*AwayError) Kind() faults.Kind { return faults.Remote }

// Hint says what to do.
func (*AwayError) Hint() string {
	return "try again later; tokens of the service's own count all the time"
}

// Status is that of an answer of HTTP.
func (*AwayError) Status() int { return http.StatusServiceUnavailable }

// RetryAfter is how long to wait.
func (*AwayError) RetryAfter() time.Duration { return failurePause }

// errAskedLately says that an issuer's keys are fresh.
var errAskedLately = errors.New("it was asked a moment ago")

// door is the only way to an issuer: to its own host and those that the access file names, without
// redirects, within limits, and not again and again. A token that nobody has signed makes this
// service ask, and must not make it ask often.
type door struct {
	issuer string
	secure bool
	hosts  []string
	next   http.RoundTripper
	now    func() time.Time

	mu    sync.Mutex
	asked map[string]asking
}

// asking is how the last request for something ended.
type asking struct {
	at  time.Time
	err error
}

// Proxy gives the proxy of a URL; nil where it is reached directly.
type Proxy func(to *url.URL) (*url.URL, error)

// newDoor makes the way to an issuer. The authorities are certificates in PEM that are believed
// beside the system's; empty for none.
func newDoor(i Issuer, authorities string, proxy Proxy) (*door, error) {
	u, err := url.Parse(i.URL)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		TLSHandshakeTimeout: patience, ResponseHeaderTimeout: patience,
		IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: maxAnswer, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if proxy != nil {
		transport.Proxy = func(r *http.Request) (*url.URL, error) { return proxy(r.URL) }
	}
	if authorities != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM([]byte(authorities)) {
			return nil, faults.New(faults.Input, "it is a file in PEM", "%s has no certificate for issuer %s", i.CA, i.Name)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	return &door{
		issuer: i.Name, secure: u.Scheme == "https", hosts: append([]string{u.Host}, i.Hosts...), next: transport, now: time.Now, asked: map[string]asking{},
	}, nil
}

// client asks through the door.
func (d *door) client() *http.Client {
	return &http.Client{Transport: d, Timeout: patience, CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		return fmt.Errorf("it sends its callers on to %s, and redirects are not followed", req.URL.Host)
	}}
}

// allows refuses other hosts than those of the access file.
func (d *door) allows(u *url.URL) error {
	switch {
	case d.secure && u.Scheme != "https":
		return fmt.Errorf("it names an address in plain http: %s", u.Host)
	case !slices.Contains(d.hosts, u.Host):
		return fmt.Errorf("it names an address at another host, %s, which the access file does not name under hosts", u.Host)
	}
	return nil
}

// RoundTrip implements http.RoundTripper.
func (d *door) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := d.allows(r.URL); err != nil {
		return nil, &AwayError{d.issuer, err}
	}
	if r.Method != http.MethodGet {
		return d.carry(r)
	}
	what := r.URL.String()
	if err := d.again(what); err != nil {
		return nil, err
	}
	resp, err := d.carry(r)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = &AwayError{d.issuer, fmt.Errorf("it answers %s with %s", r.URL.Path, resp.Status)}
	}
	d.mu.Lock()
	d.asked[what] = asking{d.now(), err}
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// again refuses to ask for what was asked for a moment ago.
func (d *door) again(what string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	last, ok := d.asked[what]
	switch since := d.now().Sub(last.at); {
	case !ok:
	case last.err != nil && since < failurePause:
		return last.err
	case last.err == nil && since < pause:
		return errAskedLately
	}
	return nil
}

// carry sends a request and takes the answer whole.
func (d *door) carry(r *http.Request) (*http.Response, error) {
	resp, err := d.next.RoundTrip(r)
	if err != nil {
		return nil, &AwayError{d.issuer, err}
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(data) > maxAnswer {
		err = errors.New("its answer is larger than such an answer is")
	}
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, &AwayError{d.issuer, err}
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(data)), int64(len(data))
	return resp, nil
}
