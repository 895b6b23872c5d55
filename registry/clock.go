package registry

import (
	"net/http"
	"sync/atomic"
	"time"
)

// clock compares this machine's clock with a registry's, by what that says in its answers
// (RFC 9110, "Date").
type clock struct {
	next http.RoundTripper
	// ahead is how far this machine's is ahead, in nanoseconds.
	ahead atomic.Int64
}

// RoundTrip implements [http.RoundTripper].
func (c *clock) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	// What a cache kept has the time of another request.
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil && resp.Header.Get("Age") == "" {
		c.ahead.Store(int64(time.Since(at)))
	}
	return resp, nil
}

// Ahead is how far this machine's clock is ahead of the registry's, by its last answer: a
// second or two is what answering takes. It is 0 where no answer said it.
func (r *Repository) Ahead() time.Duration {
	if r.at.times == nil {
		return 0
	}
	return time.Duration(r.at.times.ahead.Load())
}
