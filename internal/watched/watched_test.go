package watched_test

import (
	"context"
	"net/http"
	"testing"

	"ampoule/internal/watched"
)

// Those who watch see each request, the later one outside; nobody else does.
func TestWatched(t *testing.T) {
	t.Parallel()
	seen := ""
	note := func(text string) func(http.RoundTripper) http.RoundTripper {
		return func(next http.RoundTripper) http.RoundTripper {
			return watched.Func(func(req *http.Request) (*http.Response, error) {
				seen += text
				return next.RoundTrip(req)
			})
		}
	}
	server := watched.Transport{Next: watched.Func(func(*http.Request) (*http.Response, error) {
		seen += "."
		return &http.Response{}, nil
	})}
	one := watched.With(t.Context(), note("a"))
	for _, ctx := range []context.Context{t.Context(), one, watched.With(one, note("b"))} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://example.org", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := server.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body != nil {
			resp.Body.Close()
		}
	}
	if seen != ".a.ba." {
		t.Errorf("seen %q", seen)
	}
}
