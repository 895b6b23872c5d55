package registry

import (
	"context"
	"net/http"
)

type watchKey struct{}

// Watched returns a context whose requests to other registries go through what around makes of the
// transport: each try by itself. It may count, follow and tell, and changes nothing. Of a context
// that is watched already, the later one is outside.
func Watched(ctx context.Context, around func(http.RoundTripper) http.RoundTripper) context.Context {
	if before := watchOf(ctx); before != nil {
		after := around
		around = func(next http.RoundTripper) http.RoundTripper { return after(before(next)) }
	}
	return context.WithValue(ctx, watchKey{}, around)
}

func watchOf(ctx context.Context) func(http.RoundTripper) http.RoundTripper {
	around, _ := ctx.Value(watchKey{}).(func(http.RoundTripper) http.RoundTripper)
	return around
}

// watched lets whoever watches a request's context see it.
type watched struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (w watched) RoundTrip(req *http.Request) (*http.Response, error) {
	if around := watchOf(req.Context()); around != nil {
		return around(w.next).RoundTrip(req)
	}
	return w.next.RoundTrip(req)
}
