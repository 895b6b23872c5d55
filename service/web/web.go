// Package web is the pages of the build service: HTML made on the server, one style sheet and one
// script, all of it in the program. A page asks nobody but the service that it came from.
//
// What is shown was written by others: names, logs, errors. It goes through html/template and
// nowhere else, and the content security policy lets nothing of it run.
package web

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"ampoule/faults"
	"ampoule/service/problem"
)

//go:embed templates static
var files embed.FS

// maxForm bounds the body of a request, in bytes.
const maxForm = 64 << 10

// Config is what the pages are made of.
type Config struct {
	Builds    Builds
	Logs      Logs
	Artifacts Artifacts
	Channels  Channels
	Fleet     Fleet
	Recipes   Recipes
	Access    Access
	// Logins are the ways to log in beside tokens, Trail is the audit log; nil where there is none.
	Logins Logins
	Trail  Trail
	// Changed is told what came of each form that somebody has sent, and of each login; may be nil.
	Changed func(ctx context.Context, action, target string, err error)
	// Key seals sessions, in 32 bytes. Processes that serve one address have the same.
	Key []byte
	// Secure says that people come by TLS: cookies go no other way then.
	Secure bool
	// Registry begins the references that other programs know artifacts by, such as
	// "registry.example/team/"; empty leaves that to OwnRegistry.
	Registry string
	// OwnRegistry says that the registry is served where the pages are: references begin with the
	// host that the visitor has asked.
	OwnRegistry bool
	// Version is that of the program.
	Version string
	// Report is told of errors that nobody foresaw; may be nil.
	Report func(ctx context.Context, err error)
	// Now is the clock; nil is the machine's.
	Now func() time.Time
	// Beat is how often a stream shows that it lives, and asks whether its token still counts; 0 is
	// a quarter of a minute.
	Beat time.Duration
	// Closing gives what is closed when the service stops, of a request's context; may be nil.
	Closing func(ctx context.Context) <-chan struct{}
}

// Pages serve the pages.
type Pages struct {
	Config
	handler   http.Handler
	sealer    sealer
	templates map[string]*template.Template
	// assets has the content of each static file, by its path.
	assets map[string]asset
}

type asset struct {
	data []byte
	kind string
	sum  string
}

// New makes the pages. It reads the templates, and asks nobody.
func New(c Config) (*Pages, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Report == nil {
		c.Report = func(context.Context, error) {}
	}
	if c.Beat == 0 {
		c.Beat = usualBeat
	}
	if c.Closing == nil {
		c.Closing = func(context.Context) <-chan struct{} { return nil }
	}
	p := &Pages{Config: c}
	var err error
	if p.sealer, err = newSealer(c.Key); err != nil {
		return nil, err
	}
	if err := p.readAssets(); err != nil {
		return nil, err
	}
	if p.templates, err = p.readTemplates(); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /static/{name}", p.static)
	for _, r := range p.routes() {
		mux.Handle(r.pattern, p.guard(r))
	}
	mux.Handle("/", p.guard(route{serve: func(*exchange) error {
		return faults.New(faults.NotFound, "", "there is no such page")
	}}))
	p.handler = p.headers(http.NewCrossOriginProtection().Handler(mux))
	return p, nil
}

// ServeHTTP answers a request.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }

// route is one page, or one thing that a form does.
type route struct {
	// pattern is as [http.ServeMux] has it.
	pattern string
	// scope is what somebody must be granted, at least for one name; empty admits everybody.
	scope Scope
	serve func(*exchange) error
}

// action is a route that changes something, in a word: that of a form's address.
func (r route) action() string {
	parts := strings.Split(strings.Trim(strings.TrimPrefix(r.pattern, "POST "), "/"), "/")
	if last := parts[len(parts)-1]; !strings.HasPrefix(last, "{") {
		return last
	}
	return parts[0]
}

// routes lists all that may be asked for.
func (p *Pages) routes() []route {
	return []route{
		{"GET /{$}", "", p.home},
		{"GET /login", "", p.loginPage},
		{"POST /login", "", p.login},
		{"GET /login/{way}", "", p.beginLogin},
		{"GET /login/{way}/callback", "", p.finishLogin},
		{"POST /logout", "", p.logout},
		{"GET /builds", Read, p.buildsPage},
		{"GET /builds/events", Read, p.buildsEvents},
		{"GET /builds/{id}", Read, p.buildPage},
		{"GET /builds/{id}/events", Read, p.buildEvents},
		{"GET /builds/{id}/log", Read, p.logPage},
		{"GET /builds/{id}/log.txt", Read, p.logText},
		{"GET /builds/{id}/log/events", Read, p.logEvents},
		{"POST /builds/{id}/cancel", Submit, p.cancelBuild},
		{"POST /builds/{id}/retry", Submit, p.retryBuild},
		{"GET /artifacts", Read, p.artifactsPage},
		{"GET /artifacts/{ref...}", Read, p.artifactPage},
		{"GET /bills/{ref...}", Read, p.bill},
		{"GET /diff", Read, p.diffPage},
		{"GET /channels", Read, p.channelsPage},
		{"GET /channels/{ref...}", Read, p.channelPage},
		{"POST /promote/{ref...}", Promote, p.move(Promote, p.promote)},
		{"POST /rollback/{ref...}", Promote, p.move(Promote, p.rollback)},
		{"POST /approve/{ref...}", Approve, p.move(Approve, p.approve)},
		{"GET /hosts", Read, p.hostsPage},
		{"GET /recipes", Read, p.recipesPage},
		{"GET /recipes/{name...}", Read, p.recipePage},
		{"GET /workers", Read, p.workersPage},
		{"GET /audit", Admin, p.changesPage},
	}
}

// home leads to the first page.
func (*Pages) home(e *exchange) error {
	e.redirect("/builds")
	return nil
}

// policy lets a page load nothing but the service's own files, and run nothing that stands in it.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// headers sets what every answer has.
func (p *Pages) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		if p.Secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// exchange is one request and its answer.
type exchange struct {
	*http.Request
	pages *Pages
	w     http.ResponseWriter
	who   Identity
	// token is what the visitor has shown, person what an issuer has said; both are empty without a
	// login.
	token, person string
	// refused is why a form could not do what it was for, where its page says so.
	refused error
	// form is what forms must send back.
	form string
	// known says that somebody has been identified.
	known bool
}

// guard finds out who asks, and admits who may.
func (p *Pages) guard(r route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		e := &exchange{Request: req, pages: p, w: w}
		err := p.admit(e, r.scope)
		if err == nil {
			err = r.serve(e)
		}
		if req.Method == http.MethodPost {
			e.changed(r.action(), cmp.Or(err, e.refused)) //nolint:contextcheck // its context is the request's
		}
		if err != nil {
			e.fail(err) //nolint:contextcheck // its context is the request's
		}
	})
}

// errLogin says that somebody must log in first.
var errLogin = faults.New(faults.Refused, "", "log in first")

func (p *Pages) admit(e *exchange, scope Scope) error {
	if e.Method == http.MethodPost {
		e.Body = http.MaxBytesReader(e.w, e.Body, maxForm)
	}
	if err := e.identify(); err != nil {
		return err
	}
	if scope != "" && !e.known {
		return errLogin
	}
	if scope != "" && !e.who.May(scope, "", "") {
		return denied(e.who, scope, "anything")
	}
	if e.Method == http.MethodPost {
		return e.checkForm()
	}
	return nil
}

// denied says that somebody may not do something.
func denied(who Identity, scope Scope, what string) error {
	return faults.New(faults.Refused, fmt.Sprintf("a token with the scope %s for it may", scope), "%s may not %s %s", who.Name, verbs[scope], what)
}

var verbs = map[Scope]string{Read: "read", Submit: "build", Promote: "promote", Approve: "approve", Admin: "administer"}

// may admits who is granted a scope for a name.
func (e *exchange) may(scope Scope, name, channel string) error {
	if e.who.May(scope, name, channel) {
		return nil
	}
	if scope == Read {
		// What may not be read is as if it was not there.
		return faults.New(faults.NotFound, "", "%s: not found", name)
	}
	what := name
	if channel != "" {
		what += ":" + channel
	}
	return denied(e.who, scope, what)
}

// redirect sends somebody to another page of the service.
func (e *exchange) redirect(to string) {
	http.Redirect(e.w, e.Request, to, http.StatusSeeOther)
}

// fail answers with what went wrong.
func (e *exchange) fail(err error) {
	if errors.Is(err, errLogin) && e.Method == http.MethodGet && e.Header.Get("Accept") != "text/event-stream" {
		e.redirect("/login?" + query("next", e.URL.RequestURI()))
		return
	}
	if e.Context().Err() != nil {
		return // nobody is there any more
	}
	e.problem(problemOf(err))
	if faults.Of(err) == faults.Unknown {
		e.pages.Report(e.Context(), fmt.Errorf("answering %s %s: %w", e.Method, e.URL.Path, err))
	}
}

// problem shows what went wrong as a page.
func (e *exchange) problem(p Problem) {
	if err := e.render(p.Status, "problem", "", p); err != nil {
		e.pages.Report(e.Context(), err)
		http.Error(e.w, p.Title, p.Status)
	}
}

// Problem is an error as a page tells it.
type Problem struct {
	Status int
	Title  string
	// Text and Hints are the error's own; empty where nobody foresaw it.
	Text  string
	Hints []string
}

// problemOf tells an error with the status that the API has for it.
func problemOf(err error) Problem {
	kind, api := faults.Of(err), problem.Of(err)
	p := Problem{Status: api.Status, Title: titles[kind], Text: api.Detail, Hints: api.Hints}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		p.Status, p.Title, p.Text = http.StatusRequestEntityTooLarge, "That is too much", fmt.Sprintf("a form may have %d bytes", maxForm)
	case errors.Is(err, errLogin), errors.Is(err, ErrUnknown):
		p.Status = http.StatusUnauthorized
	case kind == faults.Unknown:
		p.Text = "" // it may tell of the machine
	}
	return p
}

var titles = map[faults.Kind]string{
	faults.Unknown:     "Something went wrong here",
	faults.Interrupted: "The service is stopping",
	faults.Usage:       "That cannot be done",
	faults.Input:       "That cannot be read",
	faults.Refused:     "Refused",
	faults.NotFound:    "Not found",
	faults.Machine:     "The machine cannot do it now",
	faults.Remote:      "Something that is needed does not answer",
	faults.Build:       "The build failed",
	faults.Undecided:   "It is undecided",
}

// view is what every template is given.
type view struct {
	Title string
	// Section is the entry of the navigation that is marked.
	Section string
	Who     Identity
	Known   bool
	Form    string
	Now     time.Time
	Version string
	// Audits says that the audit log is there for who looks.
	Audits bool
	// Done says what a form has done.
	Done string
	// Problem says what a form could not do; nil otherwise.
	Problem *Problem
	Body    any
}

// dones are what a page says after a form was sent.
var dones = map[string]string{
	"cancelled": "The build is being cancelled.",
	"retried":   "The recipe was submitted again: this is its new build.",
	"promoted":  "The channel names this digest now.",
	"rolled":    "The channel has gone back.",
	"approved":  "Your approval is recorded.",
	"out":       "You are logged out.",
}

// render answers with a page. Nothing is sent before all of it is made.
func (e *exchange) render(status int, page, section string, body any) error {
	return e.renderWith(status, page, view{Section: section, Body: body})
}

func (e *exchange) renderWith(status int, page string, v view) error {
	v.Who, v.Known, v.Form, v.Now, v.Version = e.who, e.known, e.form, e.pages.Now(), e.pages.Version
	v.Audits = e.known && e.pages.Trail != nil && mayAll(e.who)
	if v.Done == "" && e.Method == http.MethodGet {
		v.Done = dones[e.URL.Query().Get("done")]
	}
	var b bytes.Buffer
	if err := e.pages.templates[page].ExecuteTemplate(&b, "layout", v); err != nil {
		return fmt.Errorf("rendering page %s: %w", page, err)
	}
	e.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	e.w.WriteHeader(status)
	_, _ = e.w.Write(bytes.Map(visible, b.Bytes())) // a visitor who is gone cannot be told so
	return nil
}

// readAssets reads the static files.
func (p *Pages) readAssets() error {
	p.assets = map[string]asset{}
	kinds := map[string]string{"style.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml"}
	for name, kind := range kinds {
		data, err := fs.ReadFile(files, "static/"+name)
		if err != nil {
			return fmt.Errorf("reading static files: %w", err)
		}
		sum := sha256.Sum256(data)
		p.assets[name] = asset{data, kind, hex.EncodeToString(sum[:6])}
	}
	return nil
}

// static serves a file that never changes under its address.
func (p *Pages) static(w http.ResponseWriter, r *http.Request) {
	a, ok := p.assets[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.data))
}
