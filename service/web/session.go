package web

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ampoule/faults"
)

// ErrUnknown is wrapped by errors about tokens that do not count.
var ErrUnknown = faults.New(faults.Refused, "`ampoule token list` shows which tokens count", "the token does not count here")

// sessionAge is how long a login lasts at most, unless [Logins] say otherwise. That the token still
// counts is asked each time.
const sessionAge = 12 * time.Hour

// Cookies. A name that begins with __Host- is taken by TLS alone, and for no other host.
const (
	sessionCookie = "ampoule-session"
	formCookie    = "ampoule-form"
	hostPrefix    = "__Host-"
	formField     = "form"
)

// sealer keeps tokens in cookies, so that nobody who reads a cookie has a token.
type sealer struct {
	aead cipher.AEAD
	key  []byte
}

func newSealer(key []byte) (sealer, error) {
	if len(key) != keyBytes {
		return sealer{}, fmt.Errorf("sealing sessions: the key has %d bytes, not %d", len(key), keyBytes)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealer{}, err
	}
	aead, err := cipher.NewGCM(block)
	return sealer{aead, key}, err
}

// sealed is what a session's cookie holds: a token, or what an issuer has said of a person.
type sealed struct {
	Token  string `json:"t,omitempty"`
	Person string `json:"p,omitempty"`
	Until  int64  `json:"u"`
}

// hide makes the value of a cookie. It can be opened as that cookie alone.
func (s sealer) hide(cookie string, v any) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce) // it never fails
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nonce, nonce, plain, []byte(cookie))), nil
}

// reveal reads the value of a cookie, and reports whether it is one that was made here.
func (s sealer) reveal(cookie, value string, into any) bool {
	data, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(data) < s.aead.NonceSize() {
		return false
	}
	n := s.aead.NonceSize()
	plain, err := s.aead.Open(nil, data[:n], data[n:], []byte(cookie))
	return err == nil && json.Unmarshal(plain, into) == nil
}

// open gives what a session holds; nothing of one that is foreign, changed or too old.
func (s sealer) open(value string, now time.Time) sealed {
	var in sealed
	if !s.reveal(sessionCookie, value, &in) || now.Unix() >= in.Until {
		return sealed{}
	}
	return in
}

// form is what a form must send: it is bound to the browser, and to who is logged in.
func (s sealer) form(visit string, in sealed) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte("form\x00" + visit + "\x00" + in.Token + "\x00" + in.Person))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// cookie names a cookie as this service has it.
func (p *Pages) cookie(name string) string {
	if p.Secure {
		return hostPrefix + name
	}
	return name
}

func (p *Pages) setCookie(w http.ResponseWriter, name, value string, age time.Duration) {
	http.SetCookie(w, p.newCookie(name, value, age))
}

// newCookie is a cookie of the service for an age; one without an age is taken away.
func (p *Pages) newCookie(name, value string, age time.Duration) *http.Cookie {
	c := &http.Cookie{
		Name: p.cookie(name), Value: value, Path: "/", MaxAge: int(age.Seconds()),
		HttpOnly: true, Secure: p.Secure, SameSite: http.SameSiteStrictMode,
	}
	if age <= 0 {
		c.MaxAge = -1
	}
	return c
}

// identify finds out who asks.
func (e *exchange) identify() error {
	p := e.pages
	if c, err := e.Cookie(p.cookie(sessionCookie)); err == nil {
		in := p.sealer.open(c.Value, p.Now())
		e.token, e.person = in.Token, in.Person
	}
	visit := ""
	if c, err := e.Cookie(p.cookie(formCookie)); err == nil {
		visit = c.Value
	}
	who, err := e.identity()
	switch {
	case err == nil:
		e.who, e.known = who, true
	case errors.Is(err, ErrUnknown):
		e.token, e.person = "", ""
	default:
		return err
	}
	if visit == "" && e.Method == http.MethodGet {
		visit = rand.Text()
		p.setCookie(e.w, formCookie, visit, 365*24*time.Hour)
	}
	if visit != "" {
		e.form = p.sealer.form(visit, sealed{Token: e.token, Person: e.person})
	}
	return nil
}

// checkForm refuses a form that did not come from a page of this browser's.
func (e *exchange) checkForm() error {
	if err := e.ParseForm(); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return err
		}
		return faults.New(faults.Usage, "", "reading the form: %w", err)
	}
	if e.form == "" || !hmac.Equal([]byte(e.form), []byte(e.PostForm.Get(formField))) {
		return faults.New(faults.Refused, "go back, load the page again, and send it once more", "this form is not one that was made for you, or it is too old")
	}
	return nil
}

// LoginPage is what the page for logging in shows.
type LoginPage struct {
	Next string
	// Ways are those beside tokens.
	Ways []Way
	// Session is how long the login lasts at most.
	Session time.Duration
}

// For is the session's length in words.
func (l LoginPage) For() string {
	if l.Session < time.Hour {
		return plural(int(l.Session.Minutes()), "minute", "minutes")
	}
	return plural(int(l.Session.Hours()), "hour", "hours")
}

func (p *Pages) loginPage(e *exchange) error {
	return e.render(http.StatusOK, "login", "", p.loginBody(local(e.URL.Query().Get("next"))))
}

// login takes a token and keeps it in a cookie.
func (p *Pages) login(e *exchange) error {
	next := local(e.PostForm.Get("next"))
	token := strings.TrimSpace(e.PostForm.Get("token"))
	_, err := p.Access.Identify(e.Request, token)
	if err == nil && token == "" {
		err = ErrUnknown
	}
	if errors.Is(err, ErrUnknown) {
		problem := problemOf(ErrUnknown)
		problem.Title = "That token does not count here"
		problem.Text = "It may be mistyped, too old, or revoked."
		return e.renderWith(http.StatusUnauthorized, "login", view{Problem: &problem, Body: p.loginBody(next)})
	}
	if err != nil {
		return err
	}
	age := p.session()
	value, err := p.sealer.hide(sessionCookie, sealed{Token: token, Until: p.Now().Add(age).Unix()})
	if err != nil {
		return err
	}
	p.setCookie(e.w, sessionCookie, value, age)
	e.redirect(next)
	return nil
}

func (p *Pages) logout(e *exchange) error {
	p.setCookie(e.w, sessionCookie, "", 0)
	e.redirect("/login?done=out")
	return nil
}

// local is an address within the service: anything else becomes its first page.
func local(next string) string {
	const first = "/builds"
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return first
	}
	if u.Path == "/login" || strings.HasPrefix(u.Path, "/login/") || strings.HasSuffix(u.Path, "/events") {
		return first
	}
	return next
}

// query is one parameter of an address.
func query(name, value string) string { return url.Values{name: {value}}.Encode() }
