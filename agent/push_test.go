package agent

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ampoule/agent/reports"
	"ampoule/registry/trust/keys"
)

// taker is a service that takes reports.
type taker struct {
	mu       sync.Mutex
	statuses []int // of the next answers; 200 then
	got      []reports.Report
	tokens   []string
	known    reports.Keys
	hang     chan struct{} // nil, or until when answers wait
}

func (s *taker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	hang := s.hang
	status := http.StatusOK
	if len(s.statuses) > 0 {
		status, s.statuses = s.statuses[0], s.statuses[1:]
	}
	s.tokens = append(s.tokens, r.Header.Get("Authorization"))
	report, err := s.known.Parse(body)
	if err == nil && status == http.StatusOK && r.URL.Path == "/v1/reports" {
		s.got = append(s.got, report)
	}
	s.mu.Unlock()
	if hang != nil {
		<-hang
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"detail":"said so"}`)
}

func (s *taker) counts() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []int{}
	for _, r := range s.got {
		all = append(all, r.Count)
	}
	return all
}

// pushScene is a pusher and the service that it pushes to.
func pushScene(t *testing.T) (*Service, *taker, *[]string) {
	t.Helper()
	by, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	to := &taker{known: reports.Keys{"web-1": by.Public()}}
	server := httptest.NewServer(to)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, dirName), 0o755), os.WriteFile(filepath.Join(dir, "token"), []byte("secret-1\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var told []string
	s := &Service{URL: server.URL + "/", TokenFile: filepath.Join(dir, "token"), Host: "web-1", By: by, Root: dir}
	s.Tell = func(text string) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, text)
	}
	s.wait = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	return s, to, &told
}

func (s *Service) reported(t *testing.T, count int) {
	t.Helper()
	j := &Journal{Channel: "registry.example/web:prod", Active: "sha256:" + strings.Repeat("a", 64), Reports: count, State: reports.Follows}
	if err := s.Report(t.Context(), j, time.Unix(1700000000+int64(count), 0)); err != nil {
		t.Fatal(err)
	}
}

// settles waits until nothing is left to push.
func (s *Service) settles(t *testing.T) {
	t.Helper()
	for begun := time.Now(); s.next() != nil; time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatal("the report is not pushed")
		}
	}
}

// A service that fails is asked again, with the newest report, by whichever token the file has then.
func TestPush(t *testing.T) {
	t.Parallel()
	s, to, told := pushScene(t)
	to.statuses = []int{http.StatusServiceUnavailable, http.StatusServiceUnavailable, http.StatusUnauthorized}
	s.Begin(t.Context())
	s.reported(t, 1)
	s.settles(t)
	s.End()
	if got := to.counts(); len(got) != 1 || got[0] != 1 || to.tokens[0] != "Bearer secret-1" {
		t.Errorf("%v by %v", got, to.tokens)
	}
	if _, err := os.Stat(s.spoolFile()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the report is still kept: %v", err)
	}
	if all := strings.Join(*told, "\n"); strings.Count(all, "503 Service Unavailable: said so") != 1 || !strings.Contains(all, "401") || !strings.Contains(all, "come to "+s.URL+" again") || strings.Contains(all, "secret") {
		t.Errorf("%s", all)
	}
	s.Begin(t.Context())
	to.mu.Lock()
	to.statuses = []int{http.StatusConflict}
	to.mu.Unlock()
	s.reported(t, 2)
	s.settles(t)
	s.End()
	if s.next() != nil || len(to.counts()) != 1 {
		t.Errorf("an older report is kept")
	}
}

// The agent does not wait for a service that hangs, and what is not pushed is left for the next process.
func TestPushNeverBlocks(t *testing.T) {
	t.Parallel()
	s, to, _ := pushScene(t)
	to.hang = make(chan struct{})
	s.Begin(t.Context())
	began := time.Now()
	for n := 1; n <= 50; n++ {
		s.reported(t, n)
	}
	if took := time.Since(began); took > pushTime/2 {
		t.Errorf("reporting took %s", took)
	}
	// The process ends without a moment for reports.
	s.stop()
	close(to.hang)
	<-s.ended
	later := &Service{URL: s.URL, TokenFile: s.TokenFile, Host: s.Host, By: s.By, Root: s.Root}
	to.mu.Lock()
	to.hang = nil
	to.mu.Unlock()
	later.Begin(t.Context())
	later.settles(t)
	later.End()
	if got := to.counts(); got[len(got)-1] != 50 {
		t.Errorf("%v", got)
	}
	if err := os.Remove(s.TokenFile); err != nil {
		t.Fatal(err)
	}
	if _, err := later.push(t.Context(), []byte("{}")); err == nil || !strings.Contains(err.Error(), "reading the token of") {
		t.Errorf("%v", err)
	}
}
