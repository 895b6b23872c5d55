package api

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"ampoule/faults"
	"ampoule/registry/tokens"
	"ampoule/service/access"
	"ampoule/service/journal"
	"ampoule/service/problem"
)

// need says what a route asks of its callers.
type need struct {
	// public routes take no token.
	public bool
	// verb must be in one of the caller's scopes; the handler asks for the name. Where it is empty,
	// any token that counts will do.
	verb tokens.Verb
}

var (
	public   = need{public: true}
	anyToken = need{}
)

func needs(verb tokens.Verb) need { return need{verb: verb} }

func (n need) String() string {
	switch {
	case n.public:
		return "none"
	case n.verb == "":
		return "any token"
	}
	return string(n.verb)
}

// route is one route of the API.
type route struct {
	method, path string
	need         need
}

const needKey = "need"

// add registers a route. Nothing can be registered without saying what it needs.
func add[I, O any](s *Server, n need, op huma.Operation, handle func(context.Context, access.Caller, *I) (*O, error)) {
	op.Metadata = map[string]any{needKey: n}
	op.Extensions = map[string]any{"x-ampoule-scope": n.String()}
	if !n.public {
		op.Security = []map[string][]string{{securityScheme: {}}}
		op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests)
	}
	s.routes = append(s.routes, route{op.Method, op.Path, n})
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		caller, _ := access.CallerOf(ctx)
		out, err := handle(ctx, caller, in)
		if err = s.conclude(ctx, &op, err); err != nil {
			return nil, s.problem(ctx, err)
		}
		return out, nil
	})
}

// admit lets those in who may use a route.
func (s *Server) admit(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	x := exchangeOf(r.Context())
	x.route = ctx.Operation().Path
	n, said := ctx.Operation().Metadata[needKey].(need)
	if !said {
		// A route that was registered around add.
		s.refuse(w, r, problem.Of(fmt.Errorf("route %s says not what it needs", x.route)))
		return
	}
	if n.public {
		next(ctx)
		return
	}
	caller, err := s.Guard.Identify(r)
	if err == nil && n.verb != "" {
		err = caller.RequireAny(n.verb)
	}
	if err != nil {
		err = s.conclude(r.Context(), ctx.Operation(), err)
		s.refuse(w, r, s.problem(r.Context(), err))
		return
	}
	in := access.With(r.Context(), caller)
	in = journal.With(in, journal.Fields{"caller": caller.Name})
	next(huma.WithContext(ctx, in))
}

// problem makes what a caller is told of an error. What nobody foresaw is told to the log.
func (s *Server) problem(ctx context.Context, err error) *problem.Problem {
	p := problem.Of(translate(ctx, err))
	if x := exchangeOf(ctx); x != nil {
		p.Instance = instancePrefix + x.id
	}
	if p.Kind == faults.Unknown.String() && p.Cause() != nil {
		journal.Of(ctx).WithError(p.Cause()).Error("a request met a fault that nobody foresaw")
	}
	return p
}

const instancePrefix = "urn:ampoule:request:"

// refuse answers with a problem, unless something was answered before.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, p *problem.Problem) {
	if x := exchangeOf(r.Context()); x != nil {
		p.Instance = instancePrefix + x.id
	}
	p.Write(w)
}

var problemsOnce sync.Once

// useProblems has huma tell what is wrong with requests as problems. It has one place for that, for
// the whole program.
func useProblems() {
	problemsOnce.Do(func() {
		huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
			return requestProblem(status, msg, errs)
		}
		huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
			p := requestProblem(status, msg, errs)
			if x := exchangeOf(ctx.Context()); x != nil {
				p.Instance = instancePrefix + x.id
			}
			return p
		}
	})
}

// requestProblem says what is wrong with a request. Values that were sent are not repeated: one of
// them may be a secret.
func requestProblem(status int, msg string, errs []error) *problem.Problem {
	fields := make([]problem.Field, 0, len(errs))
	for _, err := range errs {
		if err == nil {
			continue
		}
		field := problem.Field{What: err.Error()}
		if d, ok := err.(huma.ErrorDetailer); ok { //nolint:errorlint // huma gives them as they are
			detail := d.ErrorDetail()
			field = problem.Field{Location: detail.Location, What: detail.Message}
		}
		fields = append(fields, field)
	}
	return problem.OfRequest(status, msg, fields...)
}
