package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ampoule/config"
	"ampoule/store"
)

// absent are clients of a machine that has none.
type absent struct{}

func (absent) index(context.Context) (string, error) { return "", errors.New("no pip") }

func (absent) archives(context.Context) (answer, error) { return answer{}, errors.New("no apt") }

func (absent) registry(context.Context) (template, index string, err error) {
	return "", "", errors.New("no cargo")
}

func openStore(t *testing.T) *store.Store {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// impatient makes a Fetcher that waits for nothing long.
func impatient(st *store.Store, sources map[string]Source) *Fetcher {
	f := New(st, Config{Sources: sources})
	f.clients = absent{}
	f.limits.firstPause, f.limits.longestPause = time.Millisecond, 4*time.Millisecond
	f.limits.stall = 5 * time.Second
	f.client = newClient(f.limits, config.Network{})
	return f
}

func fromDebian(t *testing.T, mirrors ...string) *Fetcher {
	t.Helper()
	return impatient(openStore(t), map[string]Source{Debian: {Mirrors: mirrors}})
}

// noise is content that no compression and no chance repeats.
func noise(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(r.Uint32())
	}
	return content
}

func deb(content []byte) Item {
	sum := sha256.Sum256(content)
	return Item{Source: Debian, Name: "zlib1g", Version: "1:1.2.13", File: "pool/main/z/zlib/zlib1g_1.2.13_amd64.deb", SHA256: hex.EncodeToString(sum[:])}
}

// server counts requests and keeps their headers.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
}

// serve answers the n-th request, from 0, with the n-th handler, and every later one
// with the last.
func serve(t *testing.T, handlers ...http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		n := min(len(s.requests), len(handlers)-1)
		s.requests = append(s.requests, r)
		s.mu.Unlock()
		handlers[n](w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) seen() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*http.Request{}, s.requests...)
}

// whole serves content, ranges included, with a strong ETag.
func whole(content []byte) http.HandlerFunc {
	sum := sha256.Sum256(content)
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(content)))
	}
}

// cut announces the content and breaks off after a part of it.
func cut(content []byte, after int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		sum := sha256.Sum256(content)
		w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
		w.Write(content[:after])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(code) }
}

// hang sends a part of the content and then nothing, until the client goes.
func hang(content []byte, after int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content[:after])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
}

func checkStored(t *testing.T, f *Fetcher, item Item, content []byte) {
	t.Helper()
	file, err := f.Open(item)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got, err := io.ReadAll(file)
	if err != nil || string(got) != string(content) {
		t.Errorf("stored %d bytes, %v; want the %d bytes served", len(got), err, len(content))
	}
	if left, _ := filepath.Glob(filepath.Join(f.store.Dir(store.Tmp), "partial-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func checkFault(t *testing.T, err, want error) {
	t.Helper()
	var (
		missing *NotFoundError
		remote  *RemoteError
		hint    interface{ Hint() string }
	)
	if want == nil {
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	if errors.As(err, &missing) != errors.As(want, &missing) || errors.As(err, &remote) != errors.As(want, &remote) {
		t.Fatalf("got %v, want a %T", err, want)
	}
	if !errors.As(err, &hint) || hint.Hint() == "" {
		t.Errorf("%v has no hint", err)
	}
}

// The proxies of the configuration are used, and none of the process's environment.
func TestProxyOfTheConfiguration(t *testing.T) {
	t.Parallel()
	content := noise(77, 1000)
	proxy := serve(t, whole(content))
	st := openStore(t)
	f := New(st, Config{
		Sources: config.Sources{Debian: {Mirrors: []string{"http://mirror.invalid/debian"}}},
		Network: config.Network{Proxies: []string{"http_proxy=" + proxy.URL}},
	})
	if err := f.Fetch(t.Context(), deb(content)); err != nil {
		t.Error(err)
	}
	if len(proxy.seen()) == 0 {
		t.Error("the proxy was not asked")
	}
}
