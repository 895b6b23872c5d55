package server

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"ampoule/faults"
	"ampoule/registry/internal/protocol"
	"ampoule/registry/tokens"
)

// Gate finds out whose token a request brings, and from where it comes. Wrong tokens are counted:
// whoever guesses has to wait. Its methods may be called from several goroutines.
type Gate struct {
	tokens  Tokens
	proxied bool
	tell    func(message string)
	guesses *guesses
}

// NewGate makes a gate. Proxied says that a proxy that speaks TLS is believed, as [Config] has it;
// warn is told, without secrets, of tokens that are refused, and may be nil.
func NewGate(who Tokens, proxied bool, warn func(message string)) *Gate {
	return &Gate{who, proxied, warn, newGuesses()}
}

// ErrPlain says that a token came in plain http over a network.
var ErrPlain = faults.New(faults.Refused, "use https", "this server takes no token over plain http")

// WaitError says that too many wrong tokens came from an address.
type WaitError struct {
	// Wait is how long no token of it is looked at.
	Wait time.Duration
}

func (*WaitError) Error() string { return "too many wrong tokens came from this address" }

// Kind says whose fault it is.
func (*WaitError) Kind() faults.Kind { return faults.Refused }

// Status is that of an answer of HTTP.
func (*WaitError) Status() int { return http.StatusTooManyRequests }

// RetryAfter is how long to wait.
func (e *WaitError) RetryAfter() time.Duration { return e.Wait }

// IsRefused reports whether an error says that a token does not count, and not that nothing is known
// of it.
func IsRefused(err error) bool {
	return errors.Is(err, tokens.ErrUnknown) || errors.Is(err, tokens.ErrExpired) || errors.Is(err, tokens.ErrRevoked)
}

// Check gives the token of a secret that came with a request. Errors are [ErrPlain], [*WaitError],
// those that [IsRefused] knows, or say that the tokens cannot be read.
func (g *Gate) Check(r *http.Request, secret string) (tokens.Token, error) {
	if err := g.admit(r, tokens.IDOf(secret)); err != nil {
		return tokens.Token{}, err
	}
	from := g.Client(r)
	t, err := g.tokens.Check(secret)
	switch {
	case err == nil:
	case errors.Is(err, tokens.ErrExpired), errors.Is(err, tokens.ErrRevoked):
		g.warn("%s came with token %s (%s): %v", from, t.ID, t.Name, err)
	case errors.Is(err, tokens.ErrUnknown):
		g.guesses.add(from, tokens.IDOf(secret))
		g.warn("%s came with a token that does not exist", from)
	default:
		g.warn("%v", err)
	}
	return t, err
}

// Admit refuses to look at what came with a request, whoever else knows its sender: with [ErrPlain],
// or a [*WaitError] while too much came from its address that was wrong.
func (g *Gate) Admit(r *http.Request) error { return g.admit(r, "") }

// Wrong counts something that came with a request and was wrong.
func (g *Gate) Wrong(r *http.Request) { g.guesses.add(g.Client(r), "") }

func (g *Gate) admit(r *http.Request, id string) error {
	if !g.Confidential(r) {
		return ErrPlain
	}
	if wait := g.guesses.wait(g.Client(r), id); wait > 0 {
		return &WaitError{wait}
	}
	return nil
}

func (g *Gate) warn(format string, args ...any) {
	if g.tell != nil {
		g.tell(fmt.Sprintf(format, args...))
	}
}

// SecretOf is the token of a request: the password of Basic (RFC 7617), whatever the user's
// name is, or that of Bearer (RFC 6750).
func SecretOf(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	return ""
}

// Confidential reports whether nobody but the two ends can read a request.
func (g *Gate) Confidential(r *http.Request) bool {
	if r.TLS != nil || g.proxied {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.IP.IsLoopback()
}

// Client is the address of who sends a request.
func (g *Gate) Client(r *http.Request) string {
	if g.proxied {
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

// Hosts are the names that a server answers to, beside the address that a request came to and those
// of loopback: a web page that has its own name lead here is not answered.
type Hosts = protocol.Hosts

// NewHosts takes names and addresses, with or without a port.
func NewHosts(addresses ...string) Hosts { return protocol.NewHosts(addresses...) }

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
