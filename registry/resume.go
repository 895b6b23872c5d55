package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// resumeTries is how often a blob is asked for again without having got further.
const resumeTries = 4

// resumeWait is how long the first of these waits; each next one waits twice as long.
const resumeWait = 250 * time.Millisecond

// resuming is a transport that goes on with a blob whose transfer breaks, from the byte that came
// last (RFC 9110, "Range Requests"). The blob's digest tells whether all of it is one. A server
// that knows no ranges leaves the error as it is.
type resuming struct {
	next http.RoundTripper
	wait time.Duration
}

// RoundTrip implements http.RoundTripper.
func (r resuming) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(req)
	if err != nil || !isBlob(req) || resp.StatusCode != http.StatusOK || resp.ContentLength <= 0 || req.Header.Get("Range") != "" ||
		resp.Uncompressed || resp.Header.Get("Accept-Ranges") == "none" {
		return resp, err
	}
	resp.Body = &resumed{ReadCloser: resp.Body, resuming: r, req: req, size: resp.ContentLength, tag: resp.Header.Get("ETag")}
	return resp, nil
}

// isBlob reports whether a request is for a blob, there or where a redirect leads.
func isBlob(req *http.Request) bool {
	for ; req != nil; req = req.Response.Request {
		if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/sha256:") {
			return true
		}
		if req.Response == nil {
			return false
		}
	}
	return false
}

// resumed is the body of a blob.
type resumed struct {
	io.ReadCloser
	resuming
	req *http.Request
	// at is how much has come of size bytes; tag is the server's name for the content.
	at, size int64
	tag      string
	tries    int
}

// Read implements [io.Reader].
func (r *resumed) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.at += int64(n)
	if n > 0 {
		r.tries = 0
	}
	switch {
	case err == nil, errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, new(*SilentError)), r.req.Context().Err() != nil:
		return n, err
	case r.at >= r.size:
		return n, err
	}
	if again := r.again(); again != nil {
		return n, errors.Join(err, again)
	}
	return n, nil
}

// again asks for the rest.
func (r *resumed) again() (err error) {
	for ; r.tries < resumeTries; r.tries++ {
		select {
		case <-time.After(r.wait << r.tries):
		case <-r.req.Context().Done():
			return context.Cause(r.req.Context())
		}
		req := r.req.Clone(r.req.Context())
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", r.at))
		if r.tag != "" && !strings.HasPrefix(r.tag, "W/") {
			req.Header.Set("If-Range", r.tag)
		}
		var resp *http.Response
		if resp, err = r.next.RoundTrip(req); err != nil { //nolint:bodyclose // it takes the place of the first one
			continue
		}
		want := fmt.Sprintf("bytes %d-%d/%d", r.at, r.size-1, r.size)
		if got := resp.Header.Get("Content-Range"); resp.StatusCode != http.StatusPartialContent || got != want {
			return errors.Join(fmt.Errorf("asking for %s: status %d, %q", want, resp.StatusCode, got), resp.Body.Close())
		}
		_ = r.Close()
		r.ReadCloser = resp.Body
		r.tries++
		return nil
	}
	return err
}
