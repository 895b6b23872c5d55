package registry

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A blob whose transfer breaks is gone on with, from the byte that came last, also behind a
// redirect. Where that is not possible, the error stays.
func TestResume(t *testing.T) {
	t.Parallel()
	blob := make([]byte, 100_000)
	for i := range blob {
		blob[i] = byte(rand.Uint32()) //nolint:gosec // any bytes will do
	}
	const path = "/v2/web/blobs/sha256:aa"
	for name, c := range map[string]struct {
		path string
		// answer answers the request of that number, from 0.
		answer func(w http.ResponseWriter, req *http.Request, number int32)
		whole  bool
		// requests is how many there may be.
		requests int32
	}{
		"nothing breaks":  {path, func(w http.ResponseWriter, req *http.Request, _ int32) { serve(w, req, blob, len(blob), "") }, true, 1},
		"it breaks often": {path, func(w http.ResponseWriter, req *http.Request, _ int32) { serve(w, req, blob, 9_000, `"a"`) }, true, 12},
		"behind a redirect": {path, func(w http.ResponseWriter, req *http.Request, number int32) {
			if strings.Contains(req.URL.Path, "/blobs/") {
				http.Redirect(w, req, "/elsewhere", http.StatusTemporaryRedirect)
				return
			}
			serve(w, req, blob, 30_000, "")
		}, true, 5},
		"the server is away for a while": {path, func(w http.ResponseWriter, req *http.Request, number int32) {
			if number == 1 || number == 2 {
				panic(http.ErrAbortHandler)
			}
			serve(w, req, blob, 60_000, "")
		}, true, 4},
		"it never gets further": {path, func(w http.ResponseWriter, req *http.Request, number int32) {
			if number > 0 {
				panic(http.ErrAbortHandler)
			}
			serve(w, req, blob, 10_000, "")
		}, false, 1 + resumeTries},
		"no ranges": {path, func(w http.ResponseWriter, req *http.Request, number int32) {
			req.Header.Del("Range")
			serve(w, req, blob, 10_000, "")
		}, false, 2},
		"another content": {path, func(w http.ResponseWriter, req *http.Request, number int32) {
			serve(w, req, blob, 10_000, fmt.Sprintf("%q", fmt.Sprint(number)))
		}, false, 2},
		"a manifest": {"/v2/web/manifests/sha256:aa", func(w http.ResponseWriter, req *http.Request, _ int32) { serve(w, req, blob, 10_000, "") }, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { c.answer(w, req, requests.Add(1)-1) }))
			defer server.Close()
			client := http.Client{Transport: resuming{next: &http.Transport{DisableKeepAlives: true}, wait: time.Millisecond}}
			resp, err := client.Get(server.URL + c.path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if (err == nil) != c.whole || c.whole && !bytes.Equal(got, blob) || !bytes.HasPrefix(blob, got) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if n := requests.Load(); n > c.requests {
				t.Errorf("%d requests, want at most %d", n, c.requests)
			}
		})
	}
}

// serve answers as file servers do, and cuts the connection after some bytes.
func serve(w http.ResponseWriter, req *http.Request, blob []byte, most int, tag string) {
	if tag != "" {
		w.Header().Set("ETag", tag)
	}
	http.ServeContent(&cutting{w, most}, req, "", time.Time{}, bytes.NewReader(blob))
}

// cutting is an answer that ends early.
type cutting struct {
	http.ResponseWriter
	left int
}

// Write implements [io.Writer].
func (c *cutting) Write(p []byte) (int, error) {
	if len(p) > c.left {
		_, _ = c.ResponseWriter.Write(p[:c.left])
		if f, ok := c.ResponseWriter.(http.Flusher); ok {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}
