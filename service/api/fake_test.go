package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ampoule/recipes"
	"ampoule/recipes/catalogue"
	"ampoule/registry/tokens"
	"ampoule/service/access"
	"ampoule/service/builds"
	"ampoule/service/journal"
	"ampoule/service/logs"
	"ampoule/service/submission"
	"ampoule/service/wire"
	"ampoule/store"
)

// memory is a queue that builds nothing.
type memory struct {
	mu        sync.Mutex
	archives  map[string][]byte
	builds    []builds.Build
	published map[string]builds.Publication
	submitted map[string]builds.Submission
	logs      map[logs.Stream][]byte
	ended     bool
	// chunk is how much of a log is given at a time.
	chunk   int
	changed chan struct{}
	fail    error
}

func newMemory() *memory {
	return &memory{
		archives: map[string][]byte{}, published: map[string]builds.Publication{}, submitted: map[string]builds.Submission{},
		logs: map[logs.Stream][]byte{}, chunk: 7, changed: make(chan struct{}),
	}
}

// change does something under the lock, and wakes who follows.
func (m *memory) change(do func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	do()
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *memory) Submit(_ context.Context, c builds.Caller, s builds.Submission) (builds.Accepted, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return builds.Accepted{}, m.fail
	}
	if before, ok := m.submitted[s.IdempotencyKey]; ok && s.IdempotencyKey != "" && before.Archive != s.Archive {
		return builds.Accepted{}, &builds.IdempotencyError{Key: s.IdempotencyKey, Build: "b1"}
	}
	m.submitted[s.IdempotencyKey] = s
	for _, b := range m.builds {
		if b.Key == s.Key && b.Kind == s.Kind && !b.State.Terminal() {
			return builds.Accepted{Build: b, Joined: true}, nil
		}
	}
	b := builds.Build{
		ID: fmt.Sprintf("b%d", len(m.builds)+1), Kind: s.Kind, State: builds.Queued, Recipe: s.Recipe, Key: s.Key, Platform: s.Platform, Labels: s.Labels,
		Priority: s.Priority, Force: s.Force, Options: s.Options, Groups: s.Groups, Caller: c.Name, Trusted: c.Trusted, Archive: s.Archive, Limit: s.Limit,
	}
	m.builds = append(m.builds, b)
	return builds.Accepted{Build: b}, nil
}

func (m *memory) Get(_ context.Context, id string) (builds.Build, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.builds {
		if b.ID == id {
			return b, nil
		}
	}
	return builds.Build{}, &builds.NotFoundError{ID: id}
}

func (m *memory) List(_ context.Context, f builds.Filter, _ string, limit int) (builds.Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var page builds.Page
	for _, b := range slices.Backward(m.builds) {
		if (f.Recipe == "" || f.Recipe == b.Recipe) && (len(f.States) == 0 || slices.Contains(f.States, b.State)) && len(page.Builds) < limit {
			page.Builds = append(page.Builds, b)
		}
	}
	return page, nil
}

func (m *memory) Cancel(ctx context.Context, _ builds.Caller, id string) (builds.Build, error) {
	b, err := m.Get(ctx, id)
	if err == nil && b.State.Terminal() {
		err = &builds.TransitionError{ID: id, From: b.State, To: builds.Cancelled}
	}
	return b, err
}

func (m *memory) Retry(ctx context.Context, _ builds.Caller, id string) (builds.Accepted, error) {
	b, err := m.Get(ctx, id)
	return builds.Accepted{Build: b}, err
}

func (m *memory) Published(_ context.Context, key string) (builds.Publication, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.published[key]
	return p, ok, nil
}

func (m *memory) Events(context.Context, string, int64, int) ([]builds.Event, error) {
	return []builds.Event{{Build: "b1", Seq: 1, What: builds.Submitted, State: builds.Queued}}, nil
}

func (m *memory) Follow(ctx context.Context, id string, after int64) iter.Seq2[builds.Event, error] {
	return func(yield func(builds.Event, error) bool) {
		for seq := after + 1; seq <= 3; seq++ {
			if !yield(builds.Event{Build: id, Seq: seq, State: builds.Queued}, nil) {
				return
			}
		}
	}
}

func (m *memory) ReadLog(_ context.Context, _ string, s logs.Stream, offset int64, limit int) (logs.Chunk, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.logs[s]
	if offset > int64(len(all)) {
		return logs.Chunk{}, &logs.OffsetError{Offset: offset, Size: int64(len(all))}
	}
	data := all[offset:min(int64(len(all)), offset+int64(limit))]
	next := offset + int64(len(data))
	return logs.Chunk{Offset: offset, Data: data, Next: next, End: m.ended && next == int64(len(all))}, nil
}

func (m *memory) FollowLog(ctx context.Context, id string, s logs.Stream, offset int64) iter.Seq2[logs.Chunk, error] {
	return func(yield func(logs.Chunk, error) bool) {
		for {
			m.mu.Lock()
			changed := m.changed
			m.mu.Unlock()
			chunk, err := m.ReadLog(ctx, id, s, offset, m.chunk)
			if err != nil || len(chunk.Data) > 0 {
				if !yield(chunk, err) || err != nil {
					return
				}
				offset = chunk.Next
			}
			if chunk.End {
				return
			}
			if len(chunk.Data) > 0 {
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (m *memory) PutArchive(_ context.Context, from io.Reader) (string, int64, error) {
	data, err := io.ReadAll(from)
	if err != nil {
		return "", 0, err
	}
	sum := sha256.Sum256(data)
	name := hex.EncodeToString(sum[:])
	m.mu.Lock()
	defer m.mu.Unlock()
	m.archives[name] = data
	return name, int64(len(data)), nil
}

func (m *memory) OpenArchive(_ context.Context, sum string) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.archives[sum]
	if !ok {
		return nil, fmt.Errorf("no archive %s", sum)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (m *memory) Workers(context.Context) ([]builds.Worker, error) { return nil, nil }

func (m *memory) Stats(context.Context) (builds.Stats, error) { return builds.Stats{}, nil }

// rig is a server over a queue in memory, with tokens.
type rig struct {
	t      *testing.T
	queue  *memory
	book   *tokens.Book
	server *Server
	http   *httptest.Server
	log    *buffer
}

// buffer is what several goroutines write to.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	dir := t.TempDir()
	st, err := store.Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, queue: newMemory(), book: tokens.Open(st), log: &buffer{}}
	closing, closeAll := context.WithCancel(t.Context())
	c := Config{
		Queue: r.queue, Guard: access.NewGuard(r.book, false, nil), Book: r.book, Temp: dir, Closing: closing,
		Reference: func(name, digest string) string { return name + "@" + digest }, Version: wire.Version{Version: "v1", API: "v1"},
	}
	if change != nil {
		change(&c)
	}
	r.server = New(c)
	l, err := journal.New(r.log, "json")
	if err != nil {
		t.Fatal(err)
	}
	r.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.server.ServeHTTP(w, req.WithContext(journal.In(req.Context(), l)))
	}))
	t.Cleanup(func() {
		closeAll()
		r.http.Close()
		_ = st.Close()
	})
	return r
}

// token makes one with scopes.
func (r *rig) token(name string, texts ...string) string {
	r.t.Helper()
	var scopes []tokens.Scope
	for _, text := range texts {
		s, err := tokens.ParseScope(text)
		if err != nil {
			r.t.Fatal(err)
		}
		scopes = append(scopes, s)
	}
	_, secret, err := r.book.Create(name, scopes, time.Time{})
	if err != nil {
		r.t.Fatal(err)
	}
	return secret
}

// do sends a request, with headers as NAME: VALUE.
func (r *rig) do(method, path, secret string, body io.Reader, headers ...string) (*http.Response, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.http.URL+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	if secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := r.http.Client().Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, string(data)
}

const asGzip = "Content-Type: application/gzip"

// quickstart is the archive of a recipe of the catalogue, without its lock if that is left out.
func quickstart(t *testing.T, withoutLock bool) []byte {
	t.Helper()
	return packed(t, "quickstart", withoutLock)
}

// packed is an archive of a recipe of the catalogue, in whose text something is replaced by something else.
func packed(t *testing.T, name string, withoutLock bool, replace ...string) []byte {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	files, err := catalogue.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "ampoule.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.NewReplacer(replace...).Replace(string(text))), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := recipes.ReadRecipe(file)
	if err != nil {
		t.Fatal(err)
	}
	set, err := recipes.ReadRequirements(r)
	if err != nil {
		t.Fatal(err)
	}
	a, err := submission.Pack(submission.Input{Recipe: r, Requirements: set, WithoutLock: withoutLock})
	if err != nil {
		t.Fatal(err)
	}
	return a.Data
}
