package sources

import (
	"errors"
	"net/http"

	"ampoule/registry/tokens"
	"ampoule/service/access"
	"ampoule/service/problem"
	"ampoule/service/web"
)

// Checker says whose token came with a request; [*access.Guard] is one.
type Checker interface {
	Check(r *http.Request, secret string) (access.Caller, error)
}

// Access knows people by the service's tokens.
type Access struct{ By Checker }

var verbs = map[web.Scope]tokens.Verb{web.Read: tokens.Read, web.Submit: tokens.Build, web.Promote: tokens.Promote, web.Approve: tokens.Approve, web.Admin: tokens.Admin}

// Identify says who somebody is.
func (a Access) Identify(r *http.Request, token string) (web.Identity, error) {
	if token == "" {
		return web.Identity{}, web.ErrUnknown
	}
	caller, err := a.By.Check(r, token)
	if err != nil {
		return web.Identity{}, refused(err)
	}
	return identity(caller), nil
}

// identity is a caller as the pages know people.
func identity(caller access.Caller) web.Identity {
	return web.Identity{Name: caller.Name, Trusted: caller.Trusted, May: func(scope web.Scope, name, channel string) bool {
		if name == "" {
			return caller.MayAny(verbs[scope])
		}
		return caller.May(verbs[scope], name, channel)
	}}
}

// refused makes of a token that does not count what the pages know as such.
func refused(err error) error {
	if status, ok := asStatus(err); ok && status == http.StatusUnauthorized {
		return web.ErrUnknown
	}
	return err
}

// asStatus is the status that an error has for an answer.
func asStatus(err error) (int, bool) {
	var has interface{ Status() int }
	if errors.As(err, &has) {
		return has.Status(), true
	}
	return 0, false
}

// Identifier says who sends a request; [*access.Guard] is one.
type Identifier interface {
	Identify(r *http.Request) (access.Caller, error)
}

// Guarded serves programs that bring a token by which something may be read.
func Guarded(by Identifier, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := by.Identify(r)
		if err == nil {
			err = caller.RequireAny(tokens.Read)
		}
		if err == nil {
			next.ServeHTTP(w, r)
			return
		}
		p := problem.Of(err)
		if p.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="ampoule"`)
		}
		http.Error(w, p.Detail, p.Status)
	})
}

// Beside serves pages, and what is counted to programs with a token.
func Beside(pages http.Handler, by Identifier, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", pages)
	mux.Handle("GET /metrics", Guarded(by, metrics))
	return mux
}
