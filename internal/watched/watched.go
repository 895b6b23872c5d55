// Package watched lets whoever starts a piece of work see what its requests to other servers come
// to, through the context, without those who send them knowing who looks.
package watched

import (
	"context"
	"net/http"
)

type key struct{}

// With returns a context whose requests to mirrors, indexes and registries go through what around
// makes of the transport: each try by itself. It may count, follow and tell, and changes nothing. Of
// a context that is watched already, the later one is outside.
func With(ctx context.Context, around func(http.RoundTripper) http.RoundTripper) context.Context {
	if before := of(ctx); before != nil {
		after := around
		around = func(next http.RoundTripper) http.RoundTripper { return after(before(next)) }
	}
	return context.WithValue(ctx, key{}, around)
}

func of(ctx context.Context) func(http.RoundTripper) http.RoundTripper {
	around, _ := ctx.Value(key{}).(func(http.RoundTripper) http.RoundTripper)
	return around
}

// Transport is a transport whose requests are seen by those who watch their contexts.
type Transport struct{ Next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if around := of(req.Context()); around != nil {
		return around(t.Next).RoundTrip(req)
	}
	return t.Next.RoundTrip(req)
}

// Func is a transport that is a function.
type Func func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f Func) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
