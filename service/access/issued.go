package access

import (
	"context"
	"errors"
	"net/http"
	"time"

	"ampoule/faults"
	"ampoule/registry/server"
	"ampoule/registry/tokens"
	"ampoule/service/access/issuers"
	"ampoule/service/problem"
)

// Believe has a guard know callers by ID tokens of issuers too, and returns it.
func (g *Guard) Believe(all *issuers.Issuers) *Guard {
	g.issuers = all
	return g
}

// Issuers are those that the guard believes; nil for none.
func (g *Guard) Issuers() *issuers.Issuers { return g.issuers }

// ofIssuer is a caller whom an issuer knows.
func ofIssuer(who issuers.Identity) Caller {
	return Caller{Name: who.Name, ID: who.ID, Issuer: who.Issuer, Subject: who.Subject, Scopes: who.Scopes, Trusted: who.Trusted, Expires: who.Expires}
}

// checkIssued says whose ID token came with a request.
func (g *Guard) checkIssued(r *http.Request, token string) (Caller, error) {
	if err := g.gate.Admit(r); err != nil {
		return Caller{}, err
	}
	who, err := g.issuers.Check(r.Context(), token)
	if err != nil {
		return Caller{}, g.refuse(r, err)
	}
	return ofIssuer(who), nil
}

// Person says who somebody is who has logged in by an issuer.
func (g *Guard) Person(r *http.Request, p issuers.Person) (Caller, error) {
	if !g.Confidential(r) {
		return Caller{}, server.ErrPlain
	}
	if g.issuers == nil {
		return Caller{}, errNone
	}
	who, err := g.issuers.Identify(p)
	if err != nil {
		return Caller{}, g.refuse(r, err)
	}
	c := ofIssuer(who)
	return c, told(r.Context(), c)
}

// refuse tells the log why somebody is not let in, and gives the error its status.
func (g *Guard) refuse(r *http.Request, err error) error {
	var refused *issuers.RefusedError
	var nobody *issuers.NobodyError
	from := g.Client(r)
	switch {
	case errors.As(err, &refused):
		if refused.Forged {
			g.gate.Wrong(r)
		}
		g.tell(from + " was refused: " + err.Error())
		return tokenError{err}
	case errors.As(err, &nobody):
		g.tell(from + " was refused: " + err.Error() + "; " + nobody.Nearest)
		return problem.New(http.StatusForbidden, faults.Refused, "", "%w", err)
	}
	g.tell(err.Error())
	return err
}

// IsOld reports whether an error says that an ID token has counted before.
func IsOld(err error) bool {
	var refused *issuers.RefusedError
	return errors.As(err, &refused) && refused.Old
}

func (g *Guard) tell(message string) {
	if g.warn != nil {
		g.warn(message)
	}
}

// Tokens are those of the service and of issuers, for a registry that is served beside it.
func (g *Guard) Tokens() server.Tokens {
	if g.issuers == nil {
		return g.tokens
	}
	return keyring{g.tokens, g.issuers}
}

// keyring has tokens of both.
type keyring struct {
	server.Tokens
	issuers *issuers.Issuers
}

// Any reports whether somebody is known.
func (keyring) Any() (bool, error) { return true, nil }

// issuerTime bounds how long an issuer is waited for where no request can say.
const issuerTime = 15 * time.Second

// Check gives the token of a secret.
func (k keyring) Check(secret string) (tokens.Token, error) {
	if !issuers.IsToken(secret) {
		return k.Tokens.Check(secret)
	}
	ctx, cancel := context.WithTimeout(context.Background(), issuerTime)
	defer cancel()
	who, err := k.issuers.Check(ctx, secret)
	var refused *issuers.RefusedError
	var nobody *issuers.NobodyError
	switch {
	case errors.As(err, &refused) && refused.Old:
		return tokens.Token{}, tokens.ErrExpired
	case errors.As(err, &refused):
		return tokens.Token{}, tokens.ErrUnknown
	case errors.As(err, &nobody):
		return tokens.Token{}, problem.New(http.StatusForbidden, faults.Refused, "", "%w", err)
	case err != nil:
		return tokens.Token{}, err
	}
	return tokens.Token{ID: who.ID, Name: who.Name, Scopes: who.Scopes, Expires: who.Expires}, nil
}

type watchKey struct{}

// Watched returns a context in which a function is told of each caller that is known; its error refuses
// the caller.
func Watched(ctx context.Context, watch func(Caller) error) context.Context {
	return context.WithValue(ctx, watchKey{}, watch)
}

func told(ctx context.Context, c Caller) error {
	if watch, ok := ctx.Value(watchKey{}).(func(Caller) error); ok {
		return watch(c)
	}
	return nil
}
