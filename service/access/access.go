// Package access says who asks a service, and what they may do.
//
// A caller is known by a token of the service, or by what an issuer says of them. Scopes name verbs,
// names of recipes by patterns, and channels. Nothing is allowed to those who bring none.
package access

import (
	"context"
	"net/http"
	"slices"
	"time"

	"ampoule/faults"
	"ampoule/registry/server"
	"ampoule/registry/tokens"
	"ampoule/service/access/issuers"
	"ampoule/service/problem"
)

// Caller is who asks.
type Caller struct {
	// Name is the token's, ID the part of it that is no secret. Who is known by an issuer has a name
	// that begins with the issuer's and a colon.
	Name, ID string
	// Issuer and Subject are the issuer's URL and what it calls the caller; empty for a token of the
	// service.
	Issuer, Subject string
	Scopes          []tokens.Scope
	// Trusted callers' builds may write caches and be promoted.
	Trusted bool
	// Expires is when the token counts no more; zero is never.
	Expires time.Time
}

// May reports whether the caller may do something with what has a name; the channel is that of
// [tokens.Promote] and [tokens.Approve].
func (c Caller) May(verb tokens.Verb, name, channel string) bool {
	return slices.ContainsFunc(c.Scopes, func(s tokens.Scope) bool { return s.Covers(verb, name, channel) })
}

// MayAny reports whether there are names with which the caller may do something.
func (c Caller) MayAny(verb tokens.Verb) bool {
	return slices.ContainsFunc(c.Scopes, func(s tokens.Scope) bool { return s.Contains(verb) })
}

// Require refuses what the caller may not do. What they may not even read is not found: that it is
// there is none of their business.
func (c Caller) Require(verb tokens.Verb, name, channel string) error {
	switch {
	case c.May(verb, name, channel):
		return nil
	case verb == tokens.Read || !c.May(tokens.Read, name, channel):
		return problem.New(http.StatusNotFound, faults.NotFound, "whoami says what the token is for", "there is no %s that token %s may read", name, c.Name)
	}
	what := string(verb) + " " + name
	if channel != "" {
		what += " to " + channel
	}
	return problem.New(http.StatusForbidden, faults.Refused, "a token with the scope "+tokens.Scope{Verb: verb, Pattern: name, Channel: channel}.String()+" may",
		"token %s may not %s", c.Name, what)
}

// RequireAny refuses callers who may do something with no name at all.
func (c Caller) RequireAny(verb tokens.Verb) error {
	if c.MayAny(verb) {
		return nil
	}
	return problem.New(http.StatusForbidden, faults.Refused, "a token with a scope such as "+string(verb)+":* may", "token %s may %s nothing", c.Name, verb)
}

// RequireAll refuses callers who may do something with some names alone.
func (c Caller) RequireAll(verb tokens.Verb) error {
	if slices.ContainsFunc(c.Scopes, func(s tokens.Scope) bool { return s.Contains(verb) && s.Pattern == "*" }) {
		return nil
	}
	return problem.New(http.StatusForbidden, faults.Refused, "a token with the scope "+string(verb)+":* may", "token %s may not %s all", c.Name, verb)
}

type callerKey struct{}

// With returns a context of what a caller asks for.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf is who asks; false where nobody had to say it.
func CallerOf(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

// Guard finds out who asks.
type Guard struct {
	gate    *server.Gate
	tokens  server.Tokens
	warn    func(message string)
	issuers *issuers.Issuers
}

// NewGuard makes a guard over tokens. Proxied says that a proxy that speaks TLS is before the server
// and is believed; warn is told, without secrets, of tokens that are refused, and may be nil.
func NewGuard(who server.Tokens, proxied bool, warn func(message string)) *Guard {
	return &Guard{gate: server.NewGate(who, proxied, warn), tokens: who, warn: warn}
}

// challenge is what a request without a token that counts is answered with (RFC 6750, 3).
const challenge = `Bearer realm="ampoule"`

// tokenError says that a request needs a token, or another one.
type tokenError struct{ error }

// Unwrap returns the error, which has the kind.
func (e tokenError) Unwrap() error { return e.error }

// Status is that of the answer.
func (tokenError) Status() int { return http.StatusUnauthorized }

// Challenge is the header WWW-Authenticate of the answer.
func (tokenError) Challenge() string { return challenge }

// errNone says that a request has no token.
var errNone = tokenError{faults.New(faults.Refused, "send one in the header Authorization: Bearer TOKEN; `ampoule token create` makes one", "this needs a token")}

// Identify says who sends a request.
func (g *Guard) Identify(r *http.Request) (Caller, error) {
	secret := server.SecretOf(r)
	if secret == "" {
		return Caller{}, errNone
	}
	return g.Check(r, secret)
}

// Check says whose secret came with a request. Errors have the status of the answer.
func (g *Guard) Check(r *http.Request, secret string) (Caller, error) {
	c, err := g.find(r, secret)
	if err == nil {
		err = told(r.Context(), c)
	}
	return c, err
}

func (g *Guard) find(r *http.Request, secret string) (Caller, error) {
	if g.issuers != nil && issuers.IsToken(secret) {
		return g.checkIssued(r, secret)
	}
	t, err := g.gate.Check(r, secret)
	switch {
	case err == nil:
		return Caller{Name: t.Name, ID: t.ID, Scopes: t.Scopes, Trusted: true, Expires: t.Expires}, nil
	case server.IsRefused(err):
		return Caller{}, tokenError{err}
	}
	return Caller{}, err
}

// Confidential reports whether nobody but the two ends can read a request.
func (g *Guard) Confidential(r *http.Request) bool { return g.gate.Confidential(r) }

// Client is the address of who sends a request.
func (g *Guard) Client(r *http.Request) string { return g.gate.Client(r) }
