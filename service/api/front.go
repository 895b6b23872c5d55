package api

import (
	"context"
	"crypto/rand"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"

	"ampoule/faults"
	"ampoule/registry/server"
	"ampoule/service/journal"
	"ampoule/service/problem"
	"ampoule/service/wire"
)

// exchange is one request with its answer, for all who work on it.
type exchange struct {
	// id names it in the log and in the answer.
	id      string
	request *http.Request
	answer  *server.Answer
	// route and caller are known later than the request.
	route  string
	caller callerName
	// closing is closed when the server drains.
	closing <-chan struct{}
}

// Closing gives, of the context of a request, what is closed when the server ends: streams of pages end
// then. Of another context it gives nil.
func Closing(ctx context.Context) <-chan struct{} {
	if x := exchangeOf(ctx); x != nil {
		return x.closing
	}
	return nil
}

type exchangeKey struct{}

// exchangeOf is what a context belongs to; nil outside of any.
func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// idLength is how many characters of 5 random bits name a request.
const idLength = 16

// ServeHTTP implements http.Handler: it is the layer that every request goes through, whoever
// answers it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	answer := server.Watch(w, r)
	x := &exchange{id: strings.ToLower(rand.Text()[:idLength]), answer: answer, closing: s.Closing.Done()}
	ctx := context.WithValue(r.Context(), exchangeKey{}, x)
	if s.Log != nil {
		ctx = journal.In(ctx, s.Log)
	}
	ctx = journal.With(ctx, journal.Fields{"request": x.id})
	if in := trace.SpanContextFromContext(ctx); in.IsSampled() {
		ctx = journal.With(ctx, journal.Fields{"trace": in.TraceID().String()})
	}
	r = r.WithContext(s.watching(ctx, r, x))
	x.request = r
	s.setHeaders(answer.Header(), r, x.id)
	defer func() {
		if met := recover(); met != nil {
			s.recovered(r, answer, met)
		}
		s.note(r, x, time.Since(began))
	}()
	switch wait := s.addresses.take(s.Guard.Client(r)); {
	case !s.Hosts.Allow(r):
		s.refuse(answer, r, problem.OfRequest(http.StatusMisdirectedRequest, "this server does not answer for that host"))
	case wait > 0 && !isHealth(r): // health is asked for by those who restart servers
		s.refuse(answer, r, problem.Of(tooMany(wait)))
	default:
		s.mux.ServeHTTP(answer, r)
	}
}

// recovered answers for a handler that broke.
func (s *Server) recovered(r *http.Request, answer *server.Answer, met any) {
	if met == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
		panic(met)
	}
	journal.Of(r.Context()).WithField("stack", string(debug.Stack())).Errorf("a request broke its handler: %v", met)
	if answer.Begun() {
		panic(http.ErrAbortHandler)
	}
	p := problem.Of(faults.New(faults.Unknown, "", "broken"))
	s.refuse(answer, r, p)
}

// isHealth reports whether a request asks how the server is.
func isHealth(r *http.Request) bool { return r.URL.Path == livePath || r.URL.Path == readyPath }

// isAPI reports whether a path belongs to programs.
func isAPI(path string) bool {
	return path == "/v1" || strings.HasPrefix(path, "/v1/") || path == "/v2" || strings.HasPrefix(path, "/v2/")
}

// setHeaders sets what browsers are told about every answer. Whoever answers with a page may set
// others.
func (s *Server) setHeaders(h http.Header, r *http.Request, id string) {
	h.Set(wire.RequestHeader, id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if r.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// note writes the access log: no query, no header, nothing of a body.
func (s *Server) note(r *http.Request, x *exchange, took time.Duration) {
	if x.route == "" {
		x.route = "other"
	}
	span := trace.SpanFromContext(r.Context())
	span.SetName(r.Method + " " + x.route)
	span.SetAttributes(semconv.HTTPRoute(x.route))
	if s.Observe != nil {
		s.Observe(x.route, r.Method, x.answer.Status(), took)
	}
	e := journal.Of(r.Context()).WithFields(journal.Fields{
		"method": r.Method, "path": short(r.URL.Path), "route": x.route, "status": x.answer.Status(), "sent": x.answer.Sent(),
		"received": max(r.ContentLength, 0), "seconds": took.Seconds(), "client": s.Guard.Client(r), "caller": x.caller.String(), "agent": short(r.UserAgent()),
	})
	if isHealth(r) && x.answer.Status() == http.StatusOK {
		e.Debug("answered")
		return
	}
	e.Info("answered")
}

// short bounds what a client wrote.
func short(text string) string {
	const most = 200
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

// rates are how many requests addresses or callers send: a bucket for each, which fills with time.
type rates struct {
	perSecond float64
	now       func() time.Time
	mu        sync.Mutex
	of        map[string]*bucket
}

// bucket is what a caller may still send.
type bucket struct {
	left float64
	at   time.Time
}

// maxCallers bounds what is remembered.
const maxCallers = 10_000

func newRates(perSecond float64) *rates {
	return &rates{perSecond: perSecond, now: time.Now, of: map[string]*bucket{}}
}

// burst is how many requests may come at once, as a multiple of those per second.
const burst = 2

// take takes one request of a caller, or returns how long it has to wait.
func (r *rates) take(caller string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	b := r.of[caller]
	if b == nil {
		if len(r.of) >= maxCallers {
			r.forget(now)
		}
		b = &bucket{left: r.perSecond * burst, at: now}
		r.of[caller] = b
	}
	b.left = min(r.perSecond*burst, b.left+now.Sub(b.at).Seconds()*r.perSecond)
	b.at = now
	if b.left < 1 {
		return time.Duration((1 - b.left) / r.perSecond * float64(time.Second))
	}
	b.left--
	return 0
}

// forget drops callers whose bucket is full again; all, where that makes no room.
func (r *rates) forget(now time.Time) {
	for caller, b := range r.of {
		if b.left+now.Sub(b.at).Seconds()*r.perSecond >= r.perSecond*burst {
			delete(r.of, caller)
		}
	}
	if len(r.of) >= maxCallers {
		clear(r.of)
	}
}
