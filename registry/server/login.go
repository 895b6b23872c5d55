package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"ampoule/registry/internal/protocol"
	"ampoule/registry/tokens"
)

// user is who sends a request.
type user struct {
	token  tokens.Token
	secret string
	// readsAll says that reading needs no scope: nobody needs a token, or reading is public.
	readsAll bool
	// unarmed says that no token was ever made.
	unarmed bool
	// greeted says that somebody without a token knows that reading needs none, or has no way
	// to send one.
	greeted bool
}

func (u user) anonymous() bool { return u.token.ID == "" }

// anonymousToken is what clients that want a bearer token get for reading what is public.
const anonymousToken = "anonymous"

// identify finds who sends a request, and answers where that cannot be said: a secret that is
// wrong is refused, whatever it is sent for.
func (h *Handler) identify(w http.ResponseWriter, r *http.Request) (user, bool) {
	armed, err := h.tokens.Any()
	if err != nil {
		h.warn("the tokens cannot be read: %v", err)
		protocol.Refuse(w, http.StatusInternalServerError, "UNKNOWN", "the tokens cannot be read")
		return user{}, false
	}
	u := user{readsAll: !armed || h.Public, unarmed: !armed}
	secret := secretOf(r)
	if secret == "" || secret == anonymousToken || !armed {
		u.greeted = h.Public && (secret == anonymousToken || !h.confidential(r))
		return u, true
	}
	if !h.confidential(r) {
		protocol.Refuse(w, http.StatusForbidden, "DENIED", "this server takes no token over plain http")
		return user{}, false
	}
	from := h.clientOf(r)
	if wait := h.guesses.wait(from, tokens.IDOf(secret)); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())+1))
		protocol.Refuse(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many wrong tokens came from this address")
		return user{}, false
	}
	t, err := h.tokens.Check(secret)
	switch {
	case err == nil:
		u.token, u.secret = t, secret
		return u, true
	case errors.Is(err, tokens.ErrExpired), errors.Is(err, tokens.ErrRevoked):
		h.warn("%s came with token %s (%s): %v", from, t.ID, t.Name, err)
	case errors.Is(err, tokens.ErrUnknown):
		h.guesses.add(from, tokens.IDOf(secret))
		h.warn("%s came with a token that does not exist", from)
	default:
		h.warn("%v", err)
		protocol.Refuse(w, http.StatusInternalServerError, "UNKNOWN", "the tokens cannot be read")
		return user{}, false
	}
	a, _ := readAct(r)
	h.challenge(w, r, a, err.Error())
	return user{}, false
}

// secretOf is the token of a request: the password of Basic (RFC 7617), whatever the user's
// name is, or that of Bearer (RFC 6750).
func secretOf(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	return ""
}

// confidential reports whether nobody but the two ends can read a request.
func (h *Handler) confidential(r *http.Request) bool {
	if r.TLS != nil || h.Proxied {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.IP.IsLoopback()
}

// clientOf is the address of who sends a request.
func (h *Handler) clientOf(r *http.Request) string {
	if h.Proxied {
		// The last one is what the proxy saw; those before it are its client's words.
		all := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		if ip := net.ParseIP(strings.TrimSpace(all[len(all)-1])); ip != nil {
			return ip.String()
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// tokenPath is where clients get bearer tokens (Docker's "Token Authentication Specification").
const tokenPath = "/v2/token"

// challenge asks for a token. Clients that meet Basic never ask without credentials, so where
// reading is public they are sent to get a bearer token, which anybody gets.
func (h *Handler) challenge(w http.ResponseWriter, r *http.Request, a act, why string) {
	if !h.confidential(r) {
		protocol.Refuse(w, http.StatusForbidden, "DENIED", "this needs a token, and this server takes none over plain http")
		return
	}
	challenge := `Basic realm="ampoule registry"`
	if h.Public {
		challenge = fmt.Sprintf(`Bearer realm="%s://%s%s",service="ampoule registry"`, h.schemeOf(r), r.Host, tokenPath)
		if a.repository != "" {
			challenge += fmt.Sprintf(`,scope="repository:%s:%s"`, a.repository, actions(a.verb))
		}
	}
	w.Header().Set("WWW-Authenticate", challenge)
	protocol.Refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", why)
}

// actions are the verbs of a challenge's scope.
func actions(verb tokens.Verb) string {
	if verb == tokens.Push {
		return "pull,push"
	}
	return string(verb)
}

func (h *Handler) schemeOf(r *http.Request) string {
	if r.TLS != nil || h.Proxied && r.Header.Get("X-Forwarded-Proto") != "http" {
		return "https"
	}
	return "http"
}

// giveToken answers who wants a bearer token: it is the token that it came with. So a token
// that is revoked ends at once, and nothing is kept of who is logged in.
func (h *Handler) giveToken(w http.ResponseWriter, r *http.Request, by user) {
	if r.Method != http.MethodGet {
		protocol.Refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "a token is asked for with GET")
		return
	}
	secret := by.secret
	if by.anonymous() {
		if !h.Public {
			h.challenge(w, r, act{}, "this needs a token")
			return
		}
		secret = anonymousToken
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": secret, "access_token": secret, "expires_in": int((5 * time.Minute).Seconds())})
}

const (
	// guessesAllowed is how many wrong tokens of one name (the part that is no secret) an address
	// may send within guessTime, and floodAllowed how many of all names.
	guessesAllowed = 10
	floodAllowed   = 100
	guessTime      = time.Minute
	// maxGuessers bounds what is remembered.
	maxGuessers = 20000
)

// guesses counts wrong tokens by address and name. Who uses another token of the same address
// is not held up, unless wrong ones flood in.
type guesses struct {
	mu  sync.Mutex
	of  map[guess]tally
	now func() time.Time
}

// guess is an address, and the name of a token; all names if it is empty.
type guess struct{ address, id string }

// tally is how many wrong tokens came since a time.
type tally struct {
	count int
	since time.Time
}

func newGuesses() *guesses { return &guesses{of: map[guess]tally{}, now: time.Now} }

// wait is how long an address has to wait before a token of it is looked at.
func (g *guesses) wait(address, id string) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	wait := g.left(guess{address: address}, floodAllowed)
	if id != "" {
		wait = max(wait, g.left(guess{address, id}, guessesAllowed))
	}
	return wait
}

func (g *guesses) left(of guess, allowed int) time.Duration {
	t := g.of[of]
	if t.count < allowed {
		return 0
	}
	return max(guessTime-g.now().Sub(t.since), 0)
}

// add counts a wrong token.
func (g *guesses) add(address, id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if len(g.of) >= maxGuessers {
		g.forget(now)
	}
	for _, of := range []guess{{address, id}, {address: address}} {
		t := g.of[of]
		if now.Sub(t.since) > guessTime {
			t = tally{since: now}
		}
		t.count++
		g.of[of] = t
		if id == "" {
			return
		}
	}
}

// forget drops what is over; all, where that makes no room.
func (g *guesses) forget(now time.Time) {
	for of, t := range g.of {
		if now.Sub(t.since) > guessTime {
			delete(g.of, of)
		}
	}
	if len(g.of) >= maxGuessers {
		clear(g.of)
	}
}
