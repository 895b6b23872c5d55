package web

import (
	"context"
	"net/http"
	"time"

	"ampoule/faults"
)

// Logins are the issuers by which people log in, beside tokens.
type Logins interface {
	// Ways lists them.
	Ways() []Way
	// Session is how long people stay logged in at most, however they have logged in.
	Session() time.Duration
	// Begin says where a browser goes to log in; it comes back to the address back. What is kept goes
	// to Finish, and is secret.
	Begin(ctx context.Context, way, back string) (to, kept string, err error)
	// Finish has the issuer say who comes back. What it returns of the person is kept in a sealed
	// cookie.
	Finish(ctx context.Context, way, back, kept string, a LoginAnswer) (person string, err error)
	// Person says who somebody is who has logged in with a request, and what they may do now. Somebody
	// who may do nothing any more is an error of kind Refused or NotFound.
	Person(r *http.Request, person string) (Identity, error)
}

// Way is a way to log in.
type Way struct {
	// Name stands in addresses, Title is for people.
	Name, Title string
}

// LoginAnswer is what a browser brings back.
type LoginAnswer struct{ State, Code, Error, Issuer string }

// flowAge is how long somebody may take to log in at an issuer.
const flowAge = 10 * time.Minute

// flowCookie keeps what a browser must know when it comes back. Its request comes from another site, so
// it cannot be strict as the others are.
const flowCookie = "ampoule-login"

// maxCookie bounds what is kept in a cookie, in bytes: browsers drop larger ones.
const maxCookie = 3800

// flow is what the cookie has, sealed.
type flow struct {
	Way   string `json:"w"`
	Next  string `json:"n"`
	Kept  string `json:"k"`
	Until int64  `json:"u"`
}

// session is how long people stay logged in.
func (p *Pages) session() time.Duration {
	if p.Logins == nil {
		return sessionAge
	}
	return p.Logins.Session()
}

// loginBody is what the page for logging in shows.
func (p *Pages) loginBody(next string) LoginPage {
	body := LoginPage{Next: next, Session: p.session()}
	if p.Logins != nil {
		body.Ways = p.Logins.Ways()
	}
	return body
}

var errNoWay = faults.New(faults.NotFound, "", "nobody logs in that way")

// back is where the issuer sends people back to. The server answers to this host.
func (e *exchange) back(way string) string {
	scheme := "http://"
	if e.pages.Secure {
		scheme = "https://"
	}
	return scheme + e.Host + linkPath("login", way) + "/callback"
}

// beginLogin sends somebody to an issuer.
func (p *Pages) beginLogin(e *exchange) error {
	if p.Logins == nil {
		return errNoWay
	}
	way, next := e.PathValue("way"), local(e.URL.Query().Get("next"))
	to, kept, err := p.Logins.Begin(e.Context(), way, e.back(way))
	if err != nil {
		return p.loginFails(e, next, err)
	}
	value, err := p.sealer.hide(flowCookie, flow{way, next, kept, p.Now().Add(flowAge).Unix()})
	if err != nil {
		return err
	}
	p.setFlow(e.w, value, flowAge)
	e.redirect(to)
	return nil
}

func (p *Pages) setFlow(w http.ResponseWriter, value string, age time.Duration) {
	c := p.newCookie(flowCookie, value, age)
	c.SameSite = http.SameSiteLaxMode
	http.SetCookie(w, c)
}

// finishLogin takes somebody who comes back from an issuer.
func (p *Pages) finishLogin(e *exchange) error {
	if p.Logins == nil {
		return errNoWay
	}
	// The address has the code, which is nobody else's business.
	e.w.Header().Set("Referrer-Policy", "no-referrer")
	var f flow
	if c, err := e.Cookie(p.cookie(flowCookie)); err == nil && !p.sealer.reveal(flowCookie, c.Value, &f) {
		f = flow{}
	}
	p.setFlow(e.w, "", 0)
	way, next := e.PathValue("way"), local(f.Next)
	kept := f.Kept
	if f.Way != way || p.Now().Unix() >= f.Until {
		kept = ""
	}
	q := e.URL.Query()
	person, err := p.Logins.Finish(e.Context(), way, e.back(way), kept, LoginAnswer{q.Get("state"), q.Get("code"), q.Get("error"), q.Get("iss")})
	if err == nil {
		_, err = p.Logins.Person(e.Request, person)
	}
	e.changed("login", err)
	if err != nil {
		return p.loginFails(e, next, err)
	}
	return p.welcome(e, person, next)
}

// welcome keeps somebody logged in and leads on. A redirect would still belong to the other site's
// request, and browsers would send no strict cookie with it; a page that leads on is this site's own.
func (p *Pages) welcome(e *exchange, person, next string) error {
	age := p.session()
	value, err := p.sealer.hide(sessionCookie, sealed{Person: person, Until: p.Now().Add(age).Unix()})
	if err != nil {
		return err
	}
	if len(value) > maxCookie {
		return faults.New(faults.Refused, "write rules that match fewer of the groups", "what the issuer says of you is too much for a session")
	}
	p.setCookie(e.w, sessionCookie, value, age)
	e.w.Header().Set("Refresh", "0; url="+next)
	return e.render(http.StatusOK, "welcome", "", LoginPage{Next: next})
}

// loginFails shows the page for logging in, with why it did not work. The other ways are there.
func (p *Pages) loginFails(e *exchange, next string, err error) error {
	kind := faults.Of(err)
	if kind == faults.Unknown || kind == faults.NotFound {
		return err
	}
	problem := problemOf(err)
	if kind == faults.Refused {
		problem.Title = "You are not logged in"
	}
	return e.renderWith(problem.Status, "login", view{Problem: &problem, Body: p.loginBody(next)})
}

// identity asks who has logged in.
func (e *exchange) identity() (Identity, error) {
	p := e.pages
	if e.person == "" {
		return p.Access.Identify(e.Request, e.token)
	}
	if p.Logins == nil {
		return Identity{}, ErrUnknown
	}
	who, err := p.Logins.Person(e.Request, e.person)
	if kind := faults.Of(err); err != nil && (kind == faults.NotFound || kind == faults.Refused && problemOf(err).Status == http.StatusForbidden) {
		return Identity{}, ErrUnknown
	}
	return who, err
}

// changed tells the service what came of a change that somebody asked for.
func (e *exchange) changed(action string, err error) {
	if e.pages.Changed != nil {
		e.pages.Changed(e.Context(), action, e.URL.Path, err)
	}
}
