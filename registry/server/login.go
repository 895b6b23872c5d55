package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
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
	secret := SecretOf(r)
	if secret == "" || secret == anonymousToken || !armed {
		u.greeted = h.Public && (secret == anonymousToken || !h.Confidential(r))
		return u, true
	}
	t, err := h.Check(r, secret)
	var wait *WaitError
	var status interface{ Status() int }
	switch {
	case err == nil:
		u.token, u.secret = t, secret
		return u, true
	case errors.Is(err, ErrPlain):
		protocol.Refuse(w, http.StatusForbidden, "DENIED", err.Error())
	case errors.As(err, &wait):
		w.Header().Set("Retry-After", strconv.Itoa(int(wait.Wait.Seconds())+1))
		protocol.Refuse(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", err.Error())
	case IsRefused(err):
		a, _ := readAct(r)
		h.challenge(w, r, a, err.Error())
	case errors.As(err, &status):
		protocol.Refuse(w, status.Status(), protocolCode(status.Status()), err.Error())
	default:
		protocol.Refuse(w, http.StatusInternalServerError, "UNKNOWN", "the tokens cannot be read")
	}
	return user{}, false
}

// protocolCode is the protocol's word for a status (distribution-spec, "Error Codes").
func protocolCode(status int) string {
	if status == http.StatusForbidden {
		return "DENIED"
	}
	return "UNAVAILABLE"
}

// tokenPath is where clients get bearer tokens (Docker's "Token Authentication Specification").
const tokenPath = "/v2/token"

// challenge asks for a token. Clients that meet Basic never ask without credentials, so where
// reading is public they are sent to get a bearer token, which anybody gets.
func (h *Handler) challenge(w http.ResponseWriter, r *http.Request, a act, why string) {
	if !h.Confidential(r) {
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
