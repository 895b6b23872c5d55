package channel

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ociregistry "github.com/google/go-containerregistry/pkg/registry"

	"ampoule/artifact"
	"ampoule/faults"
	"ampoule/registry"
	"ampoule/registry/embedded"
	"ampoule/registry/internal/registrytest"
	"ampoule/registry/server"
	"ampoule/registry/tokens"
	"ampoule/store"
)

// movable is a registry as most are.
func movable() http.Handler { return ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0))) }

// served is what `ampoule registry serve` answers to who may push.
func served(t *testing.T) http.Handler {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	own := embedded.Open(st.Dir(store.Registry))
	t.Cleanup(func() { _ = errors.Join(own.Close(), st.Close()) })
	book := tokens.Open(st)
	scope, err := tokens.ParseScope("push:team/*")
	if err != nil {
		t.Fatal(err)
	}
	_, secret, err := book.Create("promoter", []tokens.Scope{scope}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return registrytest.As(server.New(own, book, server.Config{Listen: "127.0.0.1:0"}), secret)
}

// host is a registry that several machines reach.
type host struct {
	*scene
	address string
	handler http.Handler
}

// host has the artifacts of a scene in another registry.
func (s *scene) host(h http.Handler) *host {
	s.t.Helper()
	web := httptest.NewServer(h)
	s.t.Cleanup(web.Close)
	at := &host{s, strings.TrimPrefix(web.URL, "http://") + "/team", h}
	for _, digest := range []string{s.a, s.b, s.c} {
		_, err := registry.Copy(s.t.Context(), s.reg, "web@"+digest, at.registry(), "web@"+digest)
		s.must(err)
	}
	return at
}

// registry is the host's, as one machine reaches it.
func (h *host) registry() *registry.Registry {
	h.t.Helper()
	r, err := registry.Open(h.address)
	h.must(err)
	return r
}

// machine is one that writes a channel there by a key, and remembers what it has seen.
func (h *host) machine(channel, key string, m *memory) *Writer {
	h.t.Helper()
	reg := h.registry()
	repo, err := reg.Repository("web")
	h.must(err)
	c, err := Open(repo, channel, h.root, m, func() time.Time { return h.now })
	h.must(err)
	w, err := NewWriter(c, reg, h.judge, h.key(key))
	h.must(err)
	return w
}

// named is what a tag of web names there.
func (h *host) named(tag string) string {
	h.t.Helper()
	repo, err := h.registry().Repository("web")
	h.must(err)
	digest, err := repo.Named(h.t.Context(), tag)
	h.must(err)
	return digest
}

// writable are registries that a channel can be written in.
func writable(t *testing.T) map[string]http.Handler {
	t.Helper()
	return map[string]http.Handler{
		"ampoule registry serve": served(t),
		"immutable tags, 409":    &registrytest.Immutable{Next: movable(), Status: http.StatusConflict},
		"immutable tags, 412":    &registrytest.Immutable{Next: movable(), Status: http.StatusPreconditionFailed},
	}
}

// A channel is written in another registry, from two machines, and read by a third one.
func TestWrittenElsewhere(t *testing.T) {
	t.Parallel()
	for name, h := range writable(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			ctx := t.Context()
			at := s.host(h)
			one, two := at.machine("prod", "promote-1", &memory{}), at.machine("prod", "promote-2", &memory{})
			reader := at.machine("prod", "promote-1", &memory{}).channel
			empty, err := reader.Read(ctx)
			s.must(err)
			heads := map[string]bool{}
			head := func(fresh bool) {
				t.Helper()
				named, err := reader.Head(ctx)
				s.must(err)
				if heads[named] == fresh {
					t.Errorf("the head is %q after %v", named, heads)
				}
				heads[named] = true
			}
			head(true)
			if changed, err := reader.Changed(ctx, empty); changed || err != nil {
				t.Errorf("an empty channel has changed: %v", err)
			}
			_, err = one.Promote(ctx, Promotion{Digest: s.a})
			s.must(err)
			if changed, err := reader.Changed(ctx, empty); !changed || err != nil {
				t.Errorf("a new channel has not changed: %v", err)
			}
			head(true)
			_, err = two.Promote(ctx, Promotion{Digest: s.b})
			s.must(err)
			head(true)
			l, err := one.Rollback(ctx, "", "it leaks")
			s.must(err)
			read, err := reader.Read(ctx)
			s.must(err)
			if diff := cmp.Diff(l.State, read.State); diff != "" || read.Digest != s.a || len(read.Entries) != 3 {
				t.Errorf("%d entries (-want +got):\n%s", len(read.Entries), diff)
			}
			if changed, err := reader.Changed(ctx, read); changed || err != nil {
				t.Errorf("it has changed: %v", err)
			}
			head(true)
			head(false)
			if at.named(artifact.ChannelHoldTag("prod", s.a)) != s.a || at.named(artifact.ChannelHoldTag("prod", s.b)) != s.b {
				t.Error("what it has accepted is not held")
			}
			way, err := reader.Way(ctx, false)
			s.must(err)
			if want := map[registry.Way]string{registry.Conditional: s.a, registry.CreateOnly: ""}[way]; at.named("prod") != want {
				t.Errorf("%s: the tag of its name is %q", way, at.named("prod"))
			}
		})
	}
}

// Of two promotions at the same moment, from two machines, one wins. The other is told, and
// nothing of it is done.
func TestTwoMachinesAtOnce(t *testing.T) {
	t.Parallel()
	for name, h := range writable(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			at := s.host(h)
			first := at.machine("prod", "promote-1", &memory{})
			_, err := first.Promote(t.Context(), Promotion{Digest: s.a})
			s.must(err)
			writers := []*Writer{first, at.machine("prod", "promote-2", &memory{})}
			logs := make([]*Log, len(writers))
			for i, w := range writers {
				logs[i], err = w.channel.Read(t.Context())
				s.must(err)
			}
			var group sync.WaitGroup
			errs := make([]error, len(writers))
			for i, w := range writers {
				group.Go(func() {
					_, errs[i] = w.append(t.Context(), logs[i], Entry{Action: Promote, Digest: []string{s.b, s.c}[i]})
				})
			}
			group.Wait()
			var moved *registry.MovedError
			won := 0
			if errs[0] != nil {
				won = 1
			}
			if errs[won] != nil || !errors.As(errs[1-won], &moved) || faults.Of(errs[1-won]) != faults.Refused {
				t.Fatalf("%v, %v", errs[0], errs[1])
			}
			l, err := at.machine("prod", "promote-1", &memory{}).channel.Read(t.Context())
			s.must(err)
			if want := []string{s.b, s.c}[won]; l.Digest != want || len(l.Entries) != 2 {
				t.Errorf("it names %s after %d entries, and %s has won", l.Digest, len(l.Entries), want)
			}
			if tag := at.named("prod"); tag != "" && tag != l.Digest {
				t.Errorf("the tag names %s", tag)
			}
		})
	}
}

// A number that is missing was taken away, and a shorter log beside a longer one does not count
// for it.
func TestNumberedLogs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do   func(s *scene, at *host, l *Log)
		told string
	}{
		"a gap":              {func(_ *scene, at *host, _ *Log) { at.remove("channel-prod.000002") }, "its tag channel-prod.000002 is gone, and later ones are there"},
		"the first one gone": {func(_ *scene, at *host, _ *Log) { at.remove("channel-prod.000001") }, "its tag channel-prod.000001 is gone"},
		"another log beside it": {func(s *scene, at *host, _ *Log) {
			at.put("channel-prod", s.add(nil, "promote-2", func(e *Entry) { e.Digest = s.c }))
		}, "there are two logs"},
		"an old log beside it": {func(_ *scene, at *host, l *Log) { at.put("channel-prod", l.Entries[:1]) }, ""},
		"a newer log beside it": {func(s *scene, at *host, l *Log) {
			at.put("channel-prod", s.add(l.Entries, "promote-1", func(e *Entry) { e.Digest = s.b }))
		}, ""},
		"a number that lies":      {func(_ *scene, at *host, l *Log) { at.put("channel-prod.000004", l.Entries) }, "the tag channel-prod.000004 leads to 3 entries"},
		"a number that leads far": {func(_ *scene, at *host, l *Log) { at.put("channel-prod.000099", l.Entries) }, "its tag channel-prod.000004 is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			inner := movable()
			at := s.host(&registrytest.Immutable{Next: inner, Status: http.StatusConflict})
			at.handler = inner
			w := at.machine("prod", "promote-1", &memory{})
			var l *Log
			var err error
			for _, digest := range []string{s.a, s.b, s.c} {
				l, err = w.Promote(t.Context(), Promotion{Digest: digest})
				s.must(err)
			}
			c.do(s, at, l)
			read, err := at.machine("prod", "promote-1", &memory{}).channel.Read(t.Context())
			if c.told != "" {
				refused(t, err, c.told)
				return
			}
			s.must(err)
			if len(read.Entries) < 3 {
				t.Errorf("it has %d entries", len(read.Entries))
			}
		})
	}
}

// remove takes a tag away behind the registry's back.
func (h *host) remove(tag string) {
	h.t.Helper()
	answer := httptest.NewRecorder()
	h.handler.ServeHTTP(answer, httptest.NewRequestWithContext(h.t.Context(), http.MethodDelete, "/v2/team/web/manifests/"+tag, nil))
	if answer.Code != http.StatusAccepted {
		h.t.Fatalf("removing %s: %d %s", tag, answer.Code, answer.Body)
	}
}

// put writes a log under a tag, whatever is there.
func (h *host) put(tag string, entries []Signed) {
	h.t.Helper()
	repo, err := h.registry().Repository("web")
	h.must(err)
	h.must(repo.Put(h.t.Context(), tag, artifact.ChannelType, nil, pack(entries)))
}

// How a registry is written is found out once a day, or when it is asked for.
func TestWayIsRemembered(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	inner := movable()
	counting := &counted{next: &registrytest.Immutable{Next: inner, Status: http.StatusConflict}}
	at := s.host(counting)
	m := &memory{}
	ask := func(anew bool, want registry.Way, writes bool) {
		t.Helper()
		before := counting.writes()
		way, err := at.machine("prod", "promote-1", m).channel.Way(t.Context(), anew)
		if err != nil || way != want || (counting.writes() > before) != writes {
			t.Errorf("%s, %v, %d writes", way, err, counting.writes()-before)
		}
	}
	ask(false, registry.CreateOnly, true)
	ask(false, registry.CreateOnly, false)
	counting.set(inner)
	ask(false, registry.CreateOnly, false)
	ask(true, registry.Unguarded, true)
	_, err := at.machine("prod", "promote-1", m).Promote(t.Context(), Promotion{Digest: s.a})
	var none *registry.UnconditionalError
	if !errors.As(err, &none) {
		t.Errorf("%v", err)
	}
	s.now = s.now.Add(day)
	counting.set(&registrytest.Refusing{Next: inner, Status: http.StatusForbidden})
	if _, err := at.machine("prod", "promote-1", m).channel.Way(t.Context(), false); faults.Of(err) != faults.Remote {
		t.Errorf("%v", err)
	}
	m.fail = errors.New("broken")
	if _, err := at.machine("prod", "promote-1", m).channel.Way(t.Context(), false); !errors.Is(err, m.fail) {
		t.Errorf("%v", err)
	}
}

// counted counts the writes of manifests.
type counted struct {
	mu   sync.Mutex
	next http.Handler
	n    int
}

func (c *counted) writes() int { c.mu.Lock(); defer c.mu.Unlock(); return c.n }

func (c *counted) set(next http.Handler) { c.mu.Lock(); defer c.mu.Unlock(); c.next = next }

// ServeHTTP implements [http.Handler].
func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
		c.n++
	}
	next := c.next
	c.mu.Unlock()
	next.ServeHTTP(w, r)
}

// shifted is a registry whose clock is set elsewhere.
type shifted struct {
	http.Handler
	by time.Duration
}

// ServeHTTP implements [http.Handler].
func (s shifted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", time.Now().Add(s.by).UTC().Format(http.TimeFormat))
	s.Handler.ServeHTTP(w, r)
}

// Clocks that are a day apart: nothing is written that would be wrong by a day.
func TestClocksOfMachines(t *testing.T) {
	t.Parallel()
	inner := served(t)
	s := newScene(t)
	s.host(inner)
	for _, test := range []struct {
		by   time.Duration
		want string
	}{
		{-day, "24h0m0s ahead of that of the registry"},
		{day, "24h0m0s behind that of the registry"},
		{skew / 2, ""}, // it writes the entry that the others did not
	} {
		want := test.want
		at := s.empty(shifted{inner, test.by})
		_, err := at.machine("prod", "promote-1", &memory{}).Promote(t.Context(), Promotion{Digest: s.a})
		if want == "" {
			s.must(err)
			continue
		}
		if faults.Of(err) != faults.Machine || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}
