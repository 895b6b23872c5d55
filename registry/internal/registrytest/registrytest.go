// Package registrytest makes registries of other kinds out of one, for tests.
package registrytest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
)

// Immutable is a registry whose tags keep what they name.
type Immutable struct {
	Next http.Handler
	// Status is how it refuses to move a tag. Registries differ: 400, 403, 409 and 412 are in use.
	Status int
	mu     sync.Mutex
}

// ServeHTTP implements [http.Handler].
func (i *Immutable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tag, ok := tagWritten(r)
	if !ok {
		i.Next.ServeHTTP(w, r)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	raw := take(r)
	if now := named(i.Next, r); now != "" && now != digest(raw) {
		refuse(w, i.Status, fmt.Sprintf("tag %s is immutable", tag))
		return
	}
	i.Next.ServeHTTP(w, r)
}

// Hasty is a registry that looks at a condition first and writes later, so that several writers go
// through with the same one.
type Hasty struct {
	Next http.Handler
	// Writers is how many it lets through together.
	Writers int
	once    sync.Once
	meet    *meeting
}

// ServeHTTP implements [http.Handler].
func (h *Hasty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.once.Do(func() { h.meet = &meeting{want: h.Writers, open: make(chan struct{})} })
	match := strings.Trim(r.Header.Get("If-Match"), `"`)
	if _, ok := tagWritten(r); ok && match != "" {
		if named(h.Next, r) != match {
			refuse(w, http.StatusPreconditionFailed, "it names something else")
			return
		}
		h.meet.wait()
	}
	h.Next.ServeHTTP(w, r)
}

// meeting has so many wait for one another.
type meeting struct {
	mu         sync.Mutex
	want, here int
	open       chan struct{}
}

func (m *meeting) wait() {
	m.mu.Lock()
	open := m.open
	m.here++
	if m.here == m.want {
		close(m.open)
		m.here, m.open = 0, make(chan struct{})
	}
	m.mu.Unlock()
	<-open
}

// Refusing is a registry that refuses some writes of tags.
type Refusing struct {
	Next   http.Handler
	Status int
	// When says which; nil is all writes, those behind a digest too.
	When func(r *http.Request) bool
}

// ServeHTTP implements [http.Handler].
func (f *Refusing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	writes := r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
	if writes && (f.When == nil || f.When(r)) {
		refuse(w, f.Status, "no")
		return
	}
	f.Next.ServeHTTP(w, r)
}

// As sends the requests of somebody who has a token.
func As(next http.Handler, secret string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.SetBasicAuth("anybody", secret)
		next.ServeHTTP(w, r)
	})
}

// tagWritten is the tag that a request writes.
func tagWritten(r *http.Request) (string, bool) {
	tag := path.Base(r.URL.Path)
	return tag, r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") && !strings.Contains(tag, ":")
}

// named is the digest that the tag of a request names; empty where there is none.
func named(next http.Handler, r *http.Request) string {
	answer := httptest.NewRecorder()
	next.ServeHTTP(answer, httptest.NewRequestWithContext(r.Context(), http.MethodHead, r.URL.Path, nil))
	if answer.Code != http.StatusOK {
		return ""
	}
	return answer.Header().Get("Docker-Content-Digest")
}

// take reads a request's body, and puts it back.
func take(r *http.Request) []byte {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil
	}
	r.Body = io.NopCloser(bytes.NewReader(raw))
	return raw
}

func digest(raw []byte) string {
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":"DENIED","message":%q}]}`, message)
}
