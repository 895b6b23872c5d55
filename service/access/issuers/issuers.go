package issuers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"ampoule/faults"
	"ampoule/registry/tokens"
)

// Identity is somebody whom an issuer knows and a rule admits.
type Identity struct {
	// Name begins with the issuer's, and a colon that no token's name has. ID is derived from the
	// issuer's URL and the subject: who is renamed keeps it.
	Name, ID string
	// Issuer is the URL, Subject what the issuer calls them.
	Issuer, Subject string
	Scopes          []tokens.Scope
	// Trusted callers' builds may write caches and be promoted.
	Trusted bool
	// Expires is when the token counts no more.
	Expires time.Time
}

// NobodyError says that no rule admits somebody whom an issuer knows.
type NobodyError struct {
	// Issuer is the issuer's name, Name what the caller would be called.
	Issuer, Name string
	// Nearest says which claims the rule wants otherwise that has most in common with them. It is
	// for the service's log: who asks is told of no rule.
	Nearest string
}

func (e *NobodyError) Error() string { return fmt.Sprintf("no rule of this service admits %s", e.Name) }

// Kind says whose fault it is.
func (*NobodyError) Kind() faults.Kind { return faults.Refused }

// Hint says what to do.
func (*NobodyError) Hint() string {
	return "the service's log says which claims a rule wants otherwise; a repository that was renamed has another name, and the same repository_id"
}

// Issuers know callers. [Open] makes them. Their methods may be called from several goroutines.
type Issuers struct {
	settings *Settings
	all      []*issuer
}

// Open makes issuers of settings. Nobody is asked before somebody comes. A nil proxy is none.
func Open(s *Settings, proxy Proxy) (*Issuers, error) {
	all := &Issuers{settings: s}
	for _, one := range s.Issuers {
		d, err := newDoor(one, s.authorities[one.Name], proxy)
		if err != nil {
			return nil, err
		}
		all.all = append(all.all, &issuer{Issuer: one, secret: s.secrets[one.Name], door: d, skew: s.Skew, now: time.Now})
	}
	return all, nil
}

// IsToken reports whether a secret has the form of a token of an issuer's, whoever signed it: no token
// of a service has dots.
func IsToken(secret string) bool {
	const compact = 2
	return strings.Count(secret, ".") == compact && strings.HasPrefix(secret, "ey")
}

// Check says whose ID token it is. Errors are [*RefusedError], [*NobodyError] and [*AwayError].
func (s *Issuers) Check(ctx context.Context, token string) (Identity, error) {
	if len(token) > maxToken {
		return Identity{}, &RefusedError{Why: fmt.Sprintf("is larger than %d bytes", maxToken), Forged: true}
	}
	url, ok := issuerOf(token)
	if !ok {
		return Identity{}, &RefusedError{Why: "is no ID token", Forged: true}
	}
	n := slices.IndexFunc(s.all, func(i *issuer) bool { return i.URL == url && i.Audience != "" })
	if n < 0 {
		return Identity{}, &RefusedError{Why: "is of no issuer that this service knows", hint: "an issuer's URL must be the token's iss, to the letter", Forged: true}
	}
	i := s.all[n]
	c, _, err := i.verify(ctx, token, i.Audience)
	if err != nil {
		return Identity{}, err
	}
	who, err := s.identity(i, c)
	who.Expires, _ = c.time("exp")
	return who, err
}

// identity applies the rules to claims that were verified. What any rule that matches allows is allowed.
func (s *Issuers) identity(i *issuer, c claims) (Identity, error) {
	subject := c.one("sub")
	name := subject
	if i.Caller != "" && isSubject(c.one(i.Caller)) {
		name = c.one(i.Caller)
	}
	who := Identity{Name: i.Name + ":" + name, ID: idOf(i.URL, subject), Issuer: i.URL, Subject: subject}
	admitted, nearest, fewest := false, "", 0
	for n, r := range s.settings.Rules {
		if r.Issuer != i.Name {
			continue
		}
		if wrong := r.missing(c); len(wrong) > 0 {
			if nearest == "" || len(wrong) < fewest {
				fewest, nearest = len(wrong), fmt.Sprintf("rules[%d] wants another %s", n, strings.Join(wrong, ", "))
			}
			continue
		}
		admitted = true
		who.Scopes = append(who.Scopes, s.settings.scopes[n]...)
		who.Trusted = who.Trusted || r.Builds == trusted
	}
	if !admitted {
		return Identity{}, &NobodyError{Issuer: i.Name, Name: who.Name, Nearest: nearest}
	}
	return who, nil
}

// idLength is how many hexadecimal digits name somebody.
const idLength = 16

func idOf(issuer, subject string) string {
	sum := sha256.Sum256([]byte(issuer + "\x00" + subject))
	return hex.EncodeToString(sum[:])[:idLength]
}
