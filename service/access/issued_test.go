package access

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"ampoule/faults"
	"ampoule/registry/server"
	"ampoule/registry/tokens"
	"ampoule/service/access/issuers"
	"ampoule/service/access/issuers/issuertest"
	"ampoule/service/problem"
)

// believing is a guard that believes an issuer, and what it tells its log.
func believing(t *testing.T, p *issuertest.Provider) (*Guard, *[]string) {
	t.Helper()
	s, err := issuers.Parse("access.yaml", fmt.Appendf(nil, "apiVersion: ampoule/v1\nissuers: [{name: ci, url: %q, audience: ampoule, login: {client: pages}}]\nrules: [{issuer: ci, match: {repository_id: 42}, scopes: [\"build:team/*\", \"pull:team/*\"], builds: trusted}]\n", p.URL))
	if err != nil {
		t.Fatal(err)
	}
	all, err := issuers.Open(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	return NewGuard(book(t), false, func(message string) { told = append(told, message) }).Believe(all), &told
}

func TestIssuedTokens(t *testing.T) {
	t.Parallel()
	p := issuertest.New(t)
	g, told := believing(t, p)
	good := p.Token(p.Claims("ampoule", map[string]any{"repository_id": "42"}))
	stranger := p.Token(p.Claims("ampoule", map[string]any{"repository_id": "43"}))
	for name, test := range map[string]struct {
		header   string
		loopback bool
		status   int
	}{
		"good":                   {"Bearer " + good, true, 0},
		"over a network":         {"Bearer " + good, false, http.StatusForbidden},
		"no rule":                {"Bearer " + stranger, true, http.StatusForbidden},
		"for somebody else":      {"Bearer " + p.Token(p.Claims("else", nil)), true, http.StatusUnauthorized},
		"as a token of its own":  {"Bearer ampoule_abcdefghij_x", true, http.StatusUnauthorized},
		"a name that looks like": {"Bearer ci:somebody", true, http.StatusUnauthorized},
	} {
		caller, err := g.Identify(from(t, test.loopback, test.header))
		if test.status == 0 {
			if err != nil || caller.Name != "ci:somebody" || caller.Issuer != p.URL || caller.Subject != "somebody" || !caller.Trusted || !caller.May(tokens.Build, "team/web", "") {
				t.Errorf("%s: %+v, %v", name, caller, err)
			}
			continue
		}
		if got := problem.Of(err); err == nil || got.Status != test.status || faults.Of(err) != faults.Refused {
			t.Errorf("%s: %v has status %d", name, err, got.Status)
		}
	}
	log := strings.Join(*told, "\n")
	if !strings.Contains(log, "rules[0] wants another repository_id") || strings.Contains(log, stranger) || strings.Contains(log, good) {
		t.Errorf("the log: %s", log)
	}
	// Whoever is asked about each caller may refuse one.
	busy := errors.New("busy")
	r := from(t, true, "Bearer "+good)
	var seen Caller
	if _, err := g.Identify(r.WithContext(Watched(r.Context(), func(c Caller) error { seen = c; return busy }))); !errors.Is(err, busy) || seen.Name != "ci:somebody" {
		t.Errorf("%v, %+v", err, seen)
	}
	// A guard that believes nobody takes no such token.
	if _, err := NewGuard(book(t), false, nil).Identify(from(t, true, "Bearer "+good)); problem.Of(err).Status != http.StatusUnauthorized {
		t.Errorf("%v", err)
	}
}

// Tokens that nobody has signed are counted as guesses, and not those that are only too old.
func TestIssuedTokensAreGuessed(t *testing.T) {
	t.Parallel()
	p := issuertest.New(t)
	g, _ := believing(t, p)
	old := p.Token(p.Claims("ampoule", map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}))
	var err error
	for range 150 {
		_, err = g.Identify(from(t, true, "Bearer "+old))
	}
	if problem.Of(err).Status != http.StatusUnauthorized || !IsOld(err) {
		t.Errorf("%v", err)
	}
	forged := p.Forged("none", p.Claims("ampoule", nil))
	for range 150 {
		_, err = g.Identify(from(t, true, "Bearer "+forged))
	}
	if got := problem.Of(err); got.Status != http.StatusTooManyRequests || got.RetryAfter == 0 {
		t.Errorf("%+v", got)
	}
}

func TestPersons(t *testing.T) {
	t.Parallel()
	p := issuertest.New(t)
	g, _ := believing(t, p)
	person := issuers.Person{Issuer: "ci", Claims: map[string][]string{"sub": {"ann"}, "repository_id": {"42"}}}
	if c, err := g.Person(from(t, true, ""), person); err != nil || c.Name != "ci:ann" {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := g.Person(from(t, false, ""), person); !errors.Is(err, server.ErrPlain) {
		t.Errorf("over a network: %v", err)
	}
	person.Claims["repository_id"] = nil
	if _, err := g.Person(from(t, true, ""), person); problem.Of(err).Status != http.StatusForbidden {
		t.Errorf("nobody any more: %v", err)
	}
	if _, err := NewGuard(book(t), false, nil).Person(from(t, true, ""), person); err == nil {
		t.Error("a guard without issuers knows persons")
	}
}

// The registry that is served beside the API takes both kinds of tokens.
func TestKeyring(t *testing.T) {
	t.Parallel()
	p := issuertest.New(t)
	g, _ := believing(t, p)
	all := g.Tokens()
	if armed, err := all.Any(); !armed || err != nil {
		t.Errorf("%t, %v: everybody may read while no token was made", armed, err)
	}
	token, err := all.Check(p.Token(p.Claims("ampoule", map[string]any{"repository_id": "42"})))
	if err != nil || token.Name != "ci:somebody" || !token.Allows(tokens.Pull, "team/web") || token.Allows(tokens.Push, "team/web") || token.Expires.IsZero() {
		t.Errorf("%+v, %v", token, err)
	}
	for name, test := range map[string]struct {
		secret string
		want   error
	}{
		"old":    {p.Token(p.Claims("ampoule", map[string]any{"exp": 1})), tokens.ErrExpired},
		"forged": {p.Forged("none", p.Claims("ampoule", nil)), tokens.ErrUnknown},
		"ours":   {"ampoule_abcdefghij_x", tokens.ErrUnknown},
	} {
		if _, err := all.Check(test.secret); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := all.Check(p.Token(p.Claims("ampoule", nil))); problem.Of(err).Status != http.StatusForbidden {
		t.Errorf("nobody: %v", err)
	}
}
