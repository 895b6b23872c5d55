// Package client asks a service. What goes wrong there ends here with the same kind of fault, hints
// and places in files as if this program had done the work itself.
package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"ampoule/address"
	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/service/problem"
	"ampoule/service/wire"
)

// Client asks one server. Its methods may be called from several goroutines.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
	// Wait is what is done between tries; tests replace it.
	wait func(ctx context.Context, d time.Duration) error
}

// Options are how a server is asked.
type Options struct {
	// Server is its address, such as https://ampoule.example or http://127.0.0.1:8090.
	Server string
	// Token is what the caller is known by; empty asks without one.
	Token string
	// Agent says which program asks.
	Agent string
	// Transport carries requests; nil is the usual one.
	Transport http.RoundTripper
}

const (
	// tries is how often a request is sent that may be repeated.
	tries = 6
	// firstWait is how long the first pause between two tries is; each next one is twice as long.
	firstWait = 500 * time.Millisecond
	// maxWait bounds a pause, whatever the server asks for.
	maxWait = 2 * time.Minute
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 64 << 20
)

// New makes a client. A token is sent over https alone, or to this machine.
func New(o Options) (*Client, error) {
	base, err := url.Parse(o.Server)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" || base.RawQuery != "" || base.Fragment != "" {
		return nil, faults.New(faults.Usage, "write it as https://ampoule.example", "%q is not the address of a server", address.Redact(o.Server))
	}
	if base.User != nil {
		return nil, faults.New(faults.Usage, "put the token into AMPOULE_TOKEN", "the address of the server has credentials in it")
	}
	if o.Token != "" && base.Scheme == "http" && !isLoopback(base.Hostname()) {
		return nil, faults.New(faults.Usage, "use https", "the token would cross the network to %s in plain http", base.Host)
	}
	if strings.ContainsFunc(o.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, faults.New(faults.Usage, "it is one line, as `ampoule token create` prints it", "the token has characters that no token has")
	}
	base.Path = strings.TrimSuffix(base.Path, "/")
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	return &Client{base: base, token: o.Token, http: &http.Client{Transport: agent{o.Transport, o.Agent}, CheckRedirect: noRedirect}, wait: pause}, nil
}

func isLoopback(host string) bool {
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || net.ParseIP(host).IsLoopback()
}

// noRedirect keeps a token from going elsewhere.
func noRedirect(req *http.Request, _ []*http.Request) error {
	return faults.New(faults.Usage, "name that address", "the server sends its callers on to %s", address.Redact(req.URL.String()))
}

// agent says which program asks.
type agent struct {
	http.RoundTripper
	name string
}

// RoundTrip implements http.RoundTripper.
func (a agent) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.name != "" {
		r = r.Clone(r.Context())
		r.Header.Set("User-Agent", a.name)
	}
	return a.RoundTripper.RoundTrip(r)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// RegistryHost is the host of the server's registry, as references name it: the server's own.
func (c *Client) RegistryHost() (string, error) {
	if c.base.Path != "" {
		return "", faults.New(faults.Usage, "name it with --registry", "the registry of %s is not where its API is: registries have no path before their names", c.base)
	}
	return c.base.Host, nil
}

// String is the server's address.
func (c *Client) String() string { return c.base.String() }

// call is one request.
type call struct {
	method, path string
	query        url.Values
	body         []byte
	header       map[string]string
	// once says that the request must not be sent again.
	once bool
}

// request makes the call's request.
func (c *Client) request(ctx context.Context, k call) (*http.Request, error) {
	at := *c.base
	at.Path += k.path
	at.RawQuery = k.query.Encode()
	req, err := http.NewRequestWithContext(ctx, k.method, at.String(), bytes.NewReader(k.body))
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", c.base, err)
	}
	if len(k.body) == 0 {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for name, value := range k.header {
		req.Header.Set(name, value)
	}
	return req, nil
}

// do sends a call, again if that may help, and returns an answer that is no problem. Its body is the
// caller's to close.
func (c *Client) do(ctx context.Context, k call) (*http.Response, error) {
	delay := firstWait
	for n := 1; ; n++ {
		resp, err := c.try(ctx, k)
		if err == nil {
			return resp, nil
		}
		if ctx.Err() != nil {
			return nil, errors.Join(context.Cause(ctx), err)
		}
		after, again := retryable(err)
		if !again || k.once || n == tries {
			return nil, err
		}
		if err := c.wait(ctx, min(max(delay, after), maxWait)); err != nil {
			return nil, err
		}
		delay *= 2
	}
}

// awayError says that a server could not be asked.
type awayError struct {
	server string
	err    error
}

func (e *awayError) Error() string {
	return fmt.Sprintf("asking %s: %s", e.server, address.Redact(e.err.Error()))
}

// Kind says whose fault it is.
func (*awayError) Kind() faults.Kind { return faults.Remote }

// Hint says what to do.
func (*awayError) Hint() string {
	return "see whether the server runs, and whether --server or AMPOULE_SERVER names it"
}

// Unwrap returns the cause.
func (e *awayError) Unwrap() error { return e.err }

// retryable reports whether the same request may succeed, and how long the server wants to be left
// alone.
func retryable(err error) (time.Duration, bool) {
	var away *awayError
	if errors.As(err, &away) {
		return 0, faults.Of(away.err) != faults.Usage
	}
	var told interface {
		Status() int
		RetryAfter() time.Duration
	}
	if !errors.As(err, &told) {
		return 0, false
	}
	switch told.Status() {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		// A quota is full for long: a caller that waits for it silently seems to hang.
		return told.RetryAfter(), told.RetryAfter() <= maxWait
	}
	return 0, false
}

func (c *Client) try(ctx context.Context, k call) (*http.Response, error) {
	req, err := c.request(ctx, k)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, &awayError{c.base.String(), err}
	}
	if resp.StatusCode < http.StatusMultipleChoices {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, c.problemOf(resp)
}

// problemOf is what a server says went wrong.
func (c *Client) problemOf(resp *http.Response) error {
	var p problem.Problem
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if strings.HasPrefix(resp.Header.Get("Content-Type"), problem.MediaType) && err == nil && json.Unmarshal(data, &p) == nil {
		p.Status = resp.StatusCode
		return p.Err(nil)
	}
	// A proxy, or something that is no Ampoule.
	after, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	p = problem.Problem{
		Status: resp.StatusCode, Kind: faults.Remote.String(), Detail: fmt.Sprintf("%s answers %s", c.base, resp.Status), RetryAfter: after,
		Hints: []string{"see whether this is the address of an Ampoule service, and what is between it and here"},
	}
	return p.Err(nil)
}

// ask sends a call and reads its answer.
func (c *Client) ask(ctx context.Context, k call, answer any) (err error) {
	resp, err := c.do(ctx, k)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(answer); err != nil {
		return &awayError{c.base.String(), fmt.Errorf("reading its answer: %w", err)}
	}
	return nil
}

func (c *Client) get(ctx context.Context, path string, query url.Values, answer any) error {
	return c.ask(ctx, call{method: http.MethodGet, path: path, query: query}, answer)
}

// newKey is the caller's own name for a submission.
func newKey() string { return strings.ToLower(rand.Text()) }

// Build is one build.
func (c *Client) Build(ctx context.Context, id string) (b wire.Build, err error) {
	return b, c.get(ctx, "/v1/builds/"+url.PathEscape(id), nil, &b)
}

// Builds lists builds, the newest first. The query is as the API has it.
func (c *Client) Builds(ctx context.Context, query url.Values) (b wire.Builds, err error) {
	return b, c.get(ctx, "/v1/builds", query, &b)
}

// Cancel withdraws the caller's submission of a build.
func (c *Client) Cancel(ctx context.Context, id string) (b wire.Build, err error) {
	return b, c.ask(ctx, call{method: http.MethodPost, path: "/v1/builds/" + url.PathEscape(id) + "/cancel"}, &b)
}

// Retry submits a build again that failed or was cancelled.
func (c *Client) Retry(ctx context.Context, id string) (s wire.Submitted, err error) {
	return s, c.ask(ctx, call{method: http.MethodPost, path: "/v1/builds/" + url.PathEscape(id) + "/retry", once: true}, &s)
}

// Key looks a key up.
func (c *Client) Key(ctx context.Context, key string) (k wire.Key, err error) {
	return k, c.get(ctx, "/v1/keys/"+url.PathEscape(key), nil, &k)
}

// Artifacts lists what the server's registry has, or what it has of a name.
func (c *Client) Artifacts(ctx context.Context, name string) (a wire.Artifacts, err error) {
	query := url.Values{}
	if name != "" {
		query.Set("name", name)
	}
	return a, c.get(ctx, "/v1/artifacts", query, &a)
}

// WhoAmI says whose token it is.
func (c *Client) WhoAmI(ctx context.Context) (w wire.Who, err error) {
	return w, c.get(ctx, "/v1/whoami", nil, &w)
}

// Version says what the server runs.
func (c *Client) Version(ctx context.Context) (v wire.Version, err error) {
	return v, c.get(ctx, "/v1/version", nil, &v)
}

// Artifact says what the server's registry has of an artifact.
func (c *Client) Artifact(ctx context.Context, name, digest string) (d wire.Description, err error) {
	return d, c.get(ctx, "/v1/artifacts/"+url.PathEscape(digest), url.Values{"name": {name}}, &d)
}

// Bill is an artifact's bill of materials, as it is published.
func (c *Client) Bill(ctx context.Context, name, digest string) ([]byte, error) {
	return c.file(ctx, call{method: http.MethodGet, path: "/v1/artifacts/" + url.PathEscape(digest) + "/sbom", query: url.Values{"name": {name}}})
}

// Diff says how two artifacts differ, each given as a name and a digest, as docs/diff.schema.json has it.
func (c *Client) Diff(ctx context.Context, from, to [2]string) ([]byte, error) {
	q := url.Values{"name": {from[0]}, "from": {from[1]}, "to-name": {to[0]}, "to": {to[1]}}
	return c.file(ctx, call{method: http.MethodGet, path: "/v1/diff", query: q})
}

// Audit has a wheel looked at, and gives the report, as docs/audit.schema.json has it.
func (c *Client) Audit(ctx context.Context, file string, wheel []byte, lint bool) ([]byte, error) {
	q := url.Values{"file": {file}}
	flag(q, "lint", lint)
	return c.file(ctx, call{method: http.MethodPost, path: "/v1/audits", query: q, body: wheel, header: map[string]string{"Content-Type": artifact.WheelType}})
}

// Verdict is the gate's verdict about an artifact, in JSON.
func (c *Client) Verdict(ctx context.Context, name, digest string) ([]byte, error) {
	return c.file(ctx, call{method: http.MethodGet, path: "/v1/artifacts/" + url.PathEscape(digest) + "/verdict", query: url.Values{"name": {name}}})
}

// Lock is the lock that a build of kind lock has made.
func (c *Client) Lock(ctx context.Context, id string) ([]byte, error) {
	return c.file(ctx, call{method: http.MethodGet, path: "/v1/builds/" + url.PathEscape(id) + "/lock"})
}

// file is an answer as it is.
func (c *Client) file(ctx context.Context, k call) (_ []byte, err error) {
	resp, err := c.do(ctx, k)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	return io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
}
