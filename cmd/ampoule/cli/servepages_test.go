package cli

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/service/builds"
	"ampoule/service/queue"
)

// TestServePages wants a service to have its pages for people who log in, and its metrics for
// programs with a token.
func TestServePages(t *testing.T) {
	t.Parallel()
	a := startService(t, t.TempDir(), func(context.Context, queue.Job) (builds.Result, error) { return builds.Result{}, nil })
	token := a.makeToken("prometheus", "read:*")
	get := func(path, token string) (int, string) {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, a.url+path, nil)
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		if csp := answer.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
			t.Errorf("%s: policy %q", path, csp)
		}
		return answer.StatusCode, string(body)
	}
	// Whoever is not logged in is led to the login.
	if status, body := get("/builds", ""); status != http.StatusOK || !strings.Contains(body, "Your token") {
		t.Errorf("builds: %d\n%s", status, body)
	}
	if status, _ := get("/metrics", ""); status != http.StatusUnauthorized {
		t.Errorf("metrics without a token: %d", status)
	}
	if status, body := get("/metrics", token); status != http.StatusOK || !strings.Contains(body, "ampoule_database_up 1\n") || !strings.Contains(body, "ampoule_workers 1\n") {
		t.Errorf("metrics: %d\n%s", status, body)
	}
	if _, err := os.Stat(filepath.Join(a.data, "pages-key")); err != nil {
		t.Error(err)
	}
}
