package issuers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"ampoule/faults"
)

const (
	// freshFor is how long an issuer's description and keys count before they are asked for anew: a
	// key that it has withdrawn counts no longer than this. staleFor is how long they count while it
	// cannot be asked.
	freshFor = time.Hour
	staleFor = 24 * time.Hour
	// maxToken bounds a token, in bytes. Those of CI systems have two thousand.
	maxToken = 16 << 10
)

// algorithms are those that tokens may be signed with: by a key that the issuer alone has.
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

// RefusedError says why a token does not count.
type RefusedError struct {
	// Issuer is the issuer's name; empty where it is not known.
	Issuer string
	// Why completes "the token …".
	Why  string
	hint string
	// Forged says that nobody who is known has signed it.
	Forged bool
	// Old says that it has counted before.
	Old bool
}

func (e *RefusedError) Error() string {
	if e.Issuer == "" {
		return "the token " + e.Why
	}
	return fmt.Sprintf("the token of issuer %s %s", e.Issuer, e.Why)
}

// Kind says whose fault it is.
func (*RefusedError) Kind() faults.Kind { return faults.Refused }

// Hint says what to do.
func (e *RefusedError) Hint() string { return e.hint }

// issuer is one that is asked.
type issuer struct {
	Issuer
	secret string
	door   *door
	skew   time.Duration
	now    func() time.Time

	// asking is held while it is asked.
	asking sync.Mutex
	mu     sync.Mutex
	known  *known
}

// known is what an issuer has said of itself.
type known struct {
	provider *oidc.Provider
	keys     oidc.KeySet
	since    time.Time
	// before is what it said before; nil for the first time.
	before *known
}

// learn gives what the issuer says of itself, and asks where that is too old.
func (i *issuer) learn(ctx context.Context) (*known, error) {
	if k := i.remembered(); k != nil && i.now().Sub(k.since) < freshFor {
		return k, nil
	}
	// Whoever comes meanwhile takes what there is, or waits for it.
	if old := i.remembered(); old != nil && !i.asking.TryLock() {
		return old, nil
	} else if old == nil {
		i.asking.Lock()
	}
	defer i.asking.Unlock()
	old := i.remembered()
	if old != nil && i.now().Sub(old.since) < freshFor {
		return old, nil
	}
	asking := oidc.ClientContext(ctx, i.door.client())
	provider, err := oidc.NewProvider(asking, i.URL)
	if err != nil {
		if old != nil && i.now().Sub(old.since) < staleFor {
			return old, nil
		}
		return nil, i.away(err)
	}
	var said struct {
		Keys string `json:"jwks_uri"`
	}
	if err := provider.Claims(&said); err != nil {
		return nil, i.away(err)
	}
	if old != nil {
		old.before = nil
	}
	k := &known{provider: provider, keys: oidc.NewRemoteKeySet(asking, said.Keys), since: i.now(), before: old}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.known = k
	return k, nil
}

func (i *issuer) remembered() *known {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.known
}

// away makes an [*AwayError] of what went wrong when the issuer was asked.
func (i *issuer) away(err error) error {
	var away *AwayError
	if errors.As(err, &away) {
		return away
	}
	return &AwayError{i.Name, err}
}

// keys ask an issuer's keys, and remember what went wrong: go-oidc tells it as a text.
type keys struct {
	of  *known
	err error
}

// VerifySignature implements [oidc.KeySet].
func (k *keys) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := k.of.keys.VerifySignature(ctx, jwt)
	var away *AwayError
	if errors.As(err, &away) && k.of.before != nil {
		if payload, err := k.of.before.keys.VerifySignature(ctx, jwt); err == nil {
			return payload, nil
		}
	}
	k.err = err
	return payload, err
}

// verify says what a token claims that this issuer has signed for an audience.
func (i *issuer) verify(ctx context.Context, token, audience string) (claims, string, error) {
	if len(token) > maxToken {
		return nil, "", i.forged(fmt.Sprintf("is larger than %d bytes", maxToken), "")
	}
	k, err := i.learn(ctx)
	if err != nil {
		return nil, "", err
	}
	asked := &keys{of: k}
	// Audience and times are judged below, where it can be told what is wrong with them.
	verifier := oidc.NewVerifier(i.URL, asked, &oidc.Config{SupportedSigningAlgs: algorithms, SkipClientIDCheck: true, SkipExpiryCheck: true})
	signed, err := verifier.Verify(ctx, token)
	switch {
	case errors.Is(asked.err, errAskedLately):
		return nil, "", i.forged("is signed by none of its keys", fmt.Sprintf("if it has new keys, try again in %s", pause))
	case asked.err != nil && isAway(asked.err):
		return nil, "", i.away(asked.err)
	case err != nil && strings.Contains(err.Error(), "unexpected signature algorithm"):
		return nil, "", i.forged("is signed in a way that this service does not take", "sign by a key that the issuer alone has: RS256 or ES256, not HS256 and not none")
	case err != nil:
		return nil, "", i.forged("is signed by none of its keys, or is no ID token", "")
	}
	all, err := readSigned(signed)
	if err != nil {
		return nil, "", i.forged("has claims that cannot be read", "")
	}
	return all, signed.Nonce, i.judge(all, audience)
}

// isAway reports whether keys could not be had, rather than that none of them has signed.
func isAway(err error) bool {
	var away *AwayError
	return errors.As(err, &away) || strings.HasPrefix(err.Error(), "fetching keys")
}

func readSigned(token *oidc.IDToken) (claims, error) {
	var payload rawMessage
	if err := token.Claims(&payload); err != nil {
		return nil, err
	}
	return readClaims(payload)
}

// rawMessage takes what is decoded as it is.
type rawMessage []byte

// UnmarshalJSON implements json.Unmarshaler.
func (m *rawMessage) UnmarshalJSON(data []byte) error {
	*m = slices.Clone(data)
	return nil
}

func (i *issuer) forged(why, hint string) error {
	return &RefusedError{Issuer: i.Name, Why: why, hint: hint, Forged: true}
}

// judge looks at what a signed token is for, and when it counts (OpenID Connect Core 1.0, 3.1.3.7).
func (i *issuer) judge(c claims, audience string) error {
	now := i.now()
	refused := func(hint, why string, args ...any) error {
		return &RefusedError{Issuer: i.Name, Why: fmt.Sprintf(why, args...), hint: hint}
	}
	clocks := fmt.Sprintf("clocks may differ by %s; by this service's it is %s", i.skew, now.UTC().Format(time.RFC3339))
	if !slices.Contains(c["aud"], audience) {
		return refused("ask the issuer for a token for the audience "+audience, "is for %s, and not for this service", shown(c["aud"]))
	}
	expires, ok := c.time("exp")
	if !ok {
		return refused("", "does not say until when it counts")
	}
	if !now.Add(-i.skew).Before(expires) {
		return &RefusedError{Issuer: i.Name, Why: "has expired at " + expires.Format(time.RFC3339), hint: clocks, Old: true}
	}
	for _, name := range []string{"nbf", "iat"} {
		if from, ok := c.time(name); ok && now.Add(i.skew).Before(from) {
			return refused(clocks, "counts from %s on", from.Format(time.RFC3339))
		}
	}
	if !isSubject(c.one("sub")) {
		return refused("", "names nobody")
	}
	return nil
}

// maxSubject bounds who somebody is (OpenID Connect Core 1.0, 2, sub).
const maxSubject = 255

// isSubject reports whether a text can name somebody in lists and logs.
func isSubject(text string) bool {
	return text != "" && len(text) <= maxSubject && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// shown are audiences as they may be told; they are the caller's own.
func shown(all []string) string {
	const most = 200
	text := strings.Join(all, ", ")
	switch {
	case text == "":
		return "nobody"
	case len(text) > most:
		return text[:most] + "…"
	}
	return text
}
