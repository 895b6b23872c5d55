package registry_test

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	ociregistry "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/tree"
)

// server is another registry that can be stopped and started again at its address, and
// that passes each request by a fault first.
type server struct {
	t       *testing.T
	address string
	content http.Handler
	// fault answers a request itself, or leaves it to the registry by returning false.
	fault func(http.ResponseWriter, *http.Request) bool

	mu       sync.Mutex
	serves   *http.Server
	restarts sync.WaitGroup
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, address: "127.0.0.1:0", content: ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0)))}
	s.start()
	t.Cleanup(func() {
		s.restarts.Wait()
		s.stop()
	})
	return s
}

func (s *server) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		s.t.Error(err)
		return
	}
	s.address = l.Addr().String()
	s.serves = &http.Server{Handler: s}
	go s.serves.Serve(l) //nolint:errcheck // it ends when the test closes it
}

func (s *server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serves.Close()
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if s.fault == nil || !s.fault(w, req) {
		s.content.ServeHTTP(w, req)
	}
}

// open opens the registry with a client that waits less.
func (s *server) open(t *testing.T) *registry.Registry {
	t.Helper()
	r, err := registry.Open(s.address + "/team")
	if err != nil {
		t.Fatal(err)
	}
	registry.Hurry(t, r, time.Second)
	return r
}

// cut ends the connection of a request after the first bytes of its body.
func cut(w http.ResponseWriter, req *http.Request) bool {
	io.CopyN(io.Discard, req.Body, 100) //nolint:errcheck // what was read is dropped
	if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
		conn.Close()
	}
	return true
}

// status answers every request that writes.
func status(code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method == http.MethodGet || req.Method == http.MethodHead {
			return false
		}
		w.WriteHeader(code)
		return true
	}
}

// once has only one request meet a fault, the one with that number.
func once(number int, fault func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	var n atomic.Int64
	return func(w http.ResponseWriter, req *http.Request) bool {
		return n.Add(1) == int64(number) && fault(w, req)
	}
}

// undisturbed is the digest that the artifact has.
func undisturbed(t *testing.T, a registry.Packed) string {
	t.Helper()
	done, err := newServer(t).open(t).Publish(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return done.Digest
}

// After a fault that ends a publication nothing can be found, and the next one gives the
// digest that an undisturbed one gives.
func TestPublishingFails(t *testing.T) {
	t.Parallel()
	is := func(code int) func(error) bool {
		return func(err error) bool {
			var status *transport.Error
			return errors.As(err, &status) && status.StatusCode == code
		}
	}
	for name, c := range map[string]struct {
		fault func(http.ResponseWriter, *http.Request) bool
		is    func(error) bool
		hint  string
	}{
		"denies":           {status(http.StatusForbidden), is(http.StatusForbidden), "docker login"},
		"fails":            {status(http.StatusServiceUnavailable), is(http.StatusServiceUnavailable), "the fault is the registry's"},
		"limits":           {status(http.StatusTooManyRequests), is(http.StatusTooManyRequests), "limits the rate"},
		"its disk is full": {status(http.StatusInsufficientStorage), is(http.StatusInsufficientStorage), "the fault is the registry's"},
		"is cut each time": {
			func(w http.ResponseWriter, req *http.Request) bool {
				return req.Method == http.MethodPatch && cut(w, req)
			},
			func(err error) bool {
				return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
			}, "",
		},
		"hangs": {
			func(_ http.ResponseWriter, req *http.Request) bool {
				if req.Method != http.MethodPut {
					return false
				}
				io.Copy(io.Discard, req.Body) //nolint:errcheck // then a lost connection is noticed
				<-req.Context().Done()
				return true
			},
			func(err error) bool {
				var silent *registry.SilentError
				return errors.As(err, &silent)
			}, "hangs",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			a, _ := sample(t, key("1"), "x")
			s.fault = c.fault
			_, err := s.open(t).Publish(t.Context(), a)
			var remote *registry.RemoteError
			if !errors.As(err, &remote) || !c.is(err) || !strings.Contains(remote.Hint(), c.hint) {
				t.Fatalf("got %v (%#v), hint %q", err, err, remote.Hint())
			}
			if want := name != "denies"; faults.Passes(err) != want {
				t.Errorf("it may pass: %t, want %t", !want, want)
			}
			whole := &server{t: t, address: "127.0.0.1:0", content: s.content}
			whole.start()
			defer whole.stop()
			whole.unharmed(t, a)
		})
	}
}

// unharmed wants nothing to be published, and publishing to give the undisturbed digest.
func (s *server) unharmed(t *testing.T, a registry.Packed) {
	t.Helper()
	if _, found, err := s.open(t).FindKey(t.Context(), a.Name, a.Key, artifact.Beside{}); found || err != nil {
		t.Errorf("after the fault it is found: %t, %v", found, err)
	}
	done, err := s.open(t).Publish(t.Context(), a)
	if want := undisturbed(t, a); err != nil || done.Digest != want {
		t.Errorf("published %s, %v; undisturbed %s", done.Digest, err, want)
	}
}

// A registry that is not there is told at once: it may be a wrong address.
func TestPublishingRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.stop()
	a, _ := sample(t, key("1"), "x")
	_, err := s.open(t).Publish(t.Context(), a)
	var remote *registry.RemoteError
	if !errors.As(err, &remote) || !errors.Is(err, syscall.ECONNREFUSED) || remote.Hint() == "" || !faults.Passes(err) {
		t.Fatalf("got %v", err)
	}
	s.start()
	s.unharmed(t, a)
}

// Faults that pass are waited for, at whichever request they come.
func TestPublishingGoesOn(t *testing.T) {
	t.Parallel()
	a, _ := sample(t, key("1"), "x")
	want := undisturbed(t, a)
	for name, fault := range map[string]func(*server, http.ResponseWriter, *http.Request) bool{
		"busy for once": func(_ *server, w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		},
		"limits for once": func(_ *server, w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		},
		"cut for once": func(_ *server, w http.ResponseWriter, req *http.Request) bool { return cut(w, req) },
		"slow for once": func(*server, http.ResponseWriter, *http.Request) bool {
			time.Sleep(200 * time.Millisecond)
			return false
		},
		"restarts for once": func(s *server, w http.ResponseWriter, req *http.Request) bool {
			s.stop()
			s.restarts.Go(func() {
				time.Sleep(100 * time.Millisecond)
				s.start()
			})
			return cut(w, req)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// That it refuses the first one may mean that the address is wrong.
			for number := 2; ; number++ {
				s := newServer(t)
				var met atomic.Bool
				s.fault = once(number, func(w http.ResponseWriter, req *http.Request) bool {
					met.Store(true)
					return fault(s, w, req)
				})
				done, err := s.open(t).Publish(t.Context(), a)
				if err != nil || done.Digest != want {
					t.Errorf("at request %d: published %s, %v; undisturbed %s", number, done.Digest, err, want)
				}
				if !met.Load() {
					return
				}
			}
		})
	}
}

// What fails for one of many layers is told once, and the others do not wait for it.
func TestPublishingFailsAtOnce(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.fault = status(http.StatusServiceUnavailable)
	a, _ := sample(t, key("1"), "x")
	for i := range 120 {
		file := tree.FileEntry("file", 0o644, []byte(strconv.Itoa(i)))
		content, err := tree.New([]tree.Entry{file})
		if err != nil {
			t.Fatal(err)
		}
		a.Images[0].Layers = append(a.Images[0].Layers, packed(t, "more", content, artifact.Prefix))
	}
	begun := time.Now()
	if _, err := s.open(t).Publish(t.Context(), a); err == nil {
		t.Error("it was published")
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %s to fail", took)
	}
}

// Only silence ends an exchange: not that it takes long.
func TestSlowIsNotSilent(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	a, _ := sample(t, key("1"), "x")
	big := make([]byte, 64<<20) // more than sockets hold
	a.Referrers[0].Files = append(a.Referrers[0].Files, artifact.BytesFile("big", "text/plain", big))
	const steps = 40
	s.fault = func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method == http.MethodPatch && req.ContentLength == int64(len(big)) {
			req.Body = io.NopCloser(slowly{req.Body, int64(len(big) / steps)})
		}
		return false
	}
	r, err := registry.Open(s.address + "/team")
	if err != nil {
		t.Fatal(err)
	}
	// A busy machine is slow, too.
	registry.Hurry(t, r, 3*time.Second)
	begun := time.Now()
	_, err = r.Publish(t.Context(), a)
	if took := time.Since(begun); err != nil || took < steps*pause {
		t.Errorf("after %s: %v", took, err)
	}
}

const pause = 100 * time.Millisecond

// slowly reads pieces, each after a while.
type slowly struct {
	io.Reader
	piece int64
}

func (s slowly) Read(b []byte) (int, error) {
	time.Sleep(pause)
	return s.Reader.Read(b[:min(int64(len(b)), s.piece)])
}
