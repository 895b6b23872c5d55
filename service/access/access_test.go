package access

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/registry/tokens"
	"ampoule/service/problem"
	"ampoule/store"
)

func book(t *testing.T) *tokens.Book {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return tokens.Open(st)
}

func scope(t *testing.T, text string) tokens.Scope {
	t.Helper()
	s, err := tokens.ParseScope(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// from is a request that came over the loopback, or over a network in plain http.
func from(t *testing.T, loopback bool, header string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	ip := net.IPv4(192, 0, 2, 1)
	if loopback {
		ip = net.IPv4(127, 0, 0, 1)
	}
	if header != "" {
		r.Header.Set("Authorization", header)
	}
	return r.WithContext(contextWithLocal(r, &net.TCPAddr{IP: ip, Port: 1}))
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	b := book(t)
	_, secret, err := b.Create("ci", []tokens.Scope{scope(t, "build:team/*")}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	_, gone, err := b.Create("gone", []tokens.Scope{scope(t, "build:team/*")}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Revoke("gone"); err != nil {
		t.Fatal(err)
	}
	g := NewGuard(b, false, nil)
	for name, test := range map[string]struct {
		header   string
		loopback bool
		status   int
	}{
		"no token":               {"", true, http.StatusUnauthorized},
		"another scheme":         {"Digest x", true, http.StatusUnauthorized},
		"a wrong token":          {"Bearer ampoule_abcdefghij_x", true, http.StatusUnauthorized},
		"a revoked one":          {"Bearer " + gone, true, http.StatusUnauthorized},
		"a token over a network": {"Bearer " + secret, false, http.StatusForbidden},
		"a token":                {"Bearer " + secret, true, 0},
	} {
		caller, err := g.Identify(from(t, test.loopback, test.header))
		if test.status == 0 {
			if err != nil || caller.Name != "ci" || !caller.May(tokens.Build, "team/web", "") || caller.May(tokens.Build, "web", "") {
				t.Errorf("%s: %+v, %v", name, caller, err)
			}
			continue
		}
		if p := problem.Of(err); err == nil || p.Status != test.status || faults.Of(err) != faults.Refused {
			t.Errorf("%s: %v has status %d", name, err, p.Status)
		}
	}
}

// Who guesses tokens has to wait, and a token that counts is refused too while wrong ones flood in.
func TestGuessing(t *testing.T) {
	t.Parallel()
	g := NewGuard(book(t), false, nil)
	var err error
	for range 200 {
		_, err = g.Identify(from(t, true, "Bearer ampoule_abcdefghij_x"))
	}
	if p := problem.Of(err); p.Status != http.StatusTooManyRequests || p.RetryAfter == 0 {
		t.Errorf("%+v", p)
	}
}

func TestRequire(t *testing.T) {
	t.Parallel()
	c := Caller{Name: "ci", Scopes: []tokens.Scope{scope(t, "build:team/*"), scope(t, "promote:team/*→ci")}}
	for _, test := range []struct {
		verb          tokens.Verb
		name, channel string
		status        int
	}{
		{tokens.Read, "team/web", "", 0},
		{tokens.Build, "team/web", "", 0},
		{tokens.Promote, "team/web", "ci", 0},
		{tokens.Promote, "team/web", "prod", http.StatusForbidden},
		{tokens.Approve, "team/web", "ci", http.StatusForbidden},
		{tokens.Admin, "team/web", "", http.StatusForbidden},
		{tokens.Read, "web", "", http.StatusNotFound},
		{tokens.Build, "web", "", http.StatusNotFound},
		{tokens.Promote, "web", "ci", http.StatusNotFound},
	} {
		err := c.Require(test.verb, test.name, test.channel)
		if got := problem.Of(err).Status; err == nil && test.status != 0 || err != nil && got != test.status {
			t.Errorf("%s %s %s: %v has status %d", test.verb, test.name, test.channel, err, got)
		}
	}
	if err := c.RequireAny(tokens.Approve); problem.Of(err).Status != http.StatusForbidden || c.RequireAny(tokens.Build) != nil {
		t.Errorf("%v", err)
	}
}

func contextWithLocal(r *http.Request, local net.Addr) context.Context {
	return context.WithValue(r.Context(), http.LocalAddrContextKey, local)
}
