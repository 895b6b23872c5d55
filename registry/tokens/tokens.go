// Package tokens keeps who may read and write a registry, and who may use a service: tokens with
// scopes, in the records of a store. A token's secret is shown once, when it is made; a record has its hash.
package tokens

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"ampoule/faults"
)

// Kind is the kind of the records that tokens are.
const Kind = "registry-token"

const (
	// prefix begins each token, so that whoever finds one sees what it is of.
	prefix = "ampoule"
	// idLength is how many characters of a token name it. The others, 130 random bits, are
	// its secret.
	idLength = 10
)

// Errors of [Book.Check]. None says more than its name.
var (
	ErrUnknown = faults.New(faults.Refused, "", "no such token")
	ErrExpired = faults.New(faults.Refused, "", "the token has expired")
	ErrRevoked = faults.New(faults.Refused, "", "the token is revoked")
)

// Token is what is known of a token. Its secret is not.
type Token struct {
	// ID stands in the token itself, Name is given by whoever made it.
	ID     string  `json:"id"`
	Name   string  `json:"name"`
	Scopes []Scope `json:"scopes"`
	// Hash is the sha256 of the token in hexadecimal. The secret is random and long: a slow
	// hash would add nothing.
	Hash    string    `json:"hash"`
	Created time.Time `json:"created"`
	// Expires and Revoked are zero for never.
	Expires time.Time `json:"expires,omitzero"`
	Revoked time.Time `json:"revoked,omitzero"`
}

// Allows reports whether the token may do something with a repository.
func (t Token) Allows(verb Verb, repository string) bool {
	return slices.ContainsFunc(t.Scopes, func(s Scope) bool { return s.covers(verb, repository) })
}

// Records is a store, as far as tokens need one.
type Records interface {
	RecordDurably(kind, key string, v any) error
	Lookup(kind, key string, v any) (bool, error)
	Records(kind string, visit func(key string, value json.RawMessage) error) error
}

// Book holds the tokens of a store. It remembers nothing itself: what another process makes or
// revokes counts at once.
type Book struct {
	records Records
	now     func() time.Time
}

// Open returns the tokens in a store's records.
func Open(records Records) *Book { return &Book{records, time.Now} }

// nameForm is how tokens may be named: what stands in a line of a list.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// Create makes a token and returns what to give to its user: the text that is shown once. A
// zero expiry is never. Of two tokens that count, none has the other's name.
func (b *Book) Create(name string, scopes []Scope, expires time.Time) (t Token, secret string, err error) {
	if !nameForm.MatchString(name) {
		return Token{}, "", faults.New(faults.Usage, "letters, digits, dots, @, _ and -, at most 64", "%q is no name for a token", name)
	}
	if len(scopes) == 0 {
		return Token{}, "", faults.New(faults.Usage, "give a scope, such as pull:*, push:team/* or build:team/*", "the token %s has no scope", name)
	}
	all, err := b.List()
	if err != nil {
		return Token{}, "", err
	}
	if slices.ContainsFunc(all, func(t Token) bool { return t.Name == name && t.Revoked.IsZero() }) {
		return Token{}, "", faults.New(faults.Usage, "give another name, or revoke that one: ampoule token revoke "+name, "there is a token %s already", name)
	}
	id := strings.ToLower(rand.Text()[:idLength])
	secret = strings.Join([]string{prefix, id, rand.Text()}, "_")
	t = Token{ID: id, Name: name, Scopes: scopes, Hash: hash(secret), Created: b.now().UTC().Truncate(time.Second), Expires: expires.UTC().Truncate(time.Second)}
	if expires.IsZero() {
		t.Expires = time.Time{}
	}
	return t, secret, b.records.RecordDurably(Kind, id, t)
}

// List gives all tokens that were ever made, the oldest first.
func (b *Book) List() ([]Token, error) {
	var all []Token
	err := b.records.Records(Kind, func(_ string, value json.RawMessage) error {
		var t Token
		if err := json.Unmarshal(value, &t); err != nil {
			return err
		}
		all = append(all, t)
		return nil
	})
	slices.SortFunc(all, func(a, b Token) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all, err
}

// Revoke ends a token, named by its name or ID. Who uses it is refused from the next request on.
func (b *Book) Revoke(named string) (Token, error) {
	all, err := b.List()
	if err != nil {
		return Token{}, err
	}
	i := slices.IndexFunc(all, func(t Token) bool { return t.Revoked.IsZero() && (t.Name == named || t.ID == named) })
	if i < 0 {
		return Token{}, faults.New(faults.NotFound, "ampoule token list shows them", "no token %s counts", named)
	}
	t := all[i]
	t.Revoked = b.now().UTC().Truncate(time.Second)
	return t, b.records.RecordDurably(Kind, t.ID, t)
}

// errEnough ends a visit.
var errEnough = errors.New("enough")

// Any reports whether a token was ever made: one that is revoked or has expired counts, too, so
// that revoking the last one opens nothing.
func (b *Book) Any() (bool, error) {
	err := b.records.Records(Kind, func(string, json.RawMessage) error { return errEnough })
	if errors.Is(err, errEnough) {
		return true, nil
	}
	return false, err
}

// IDOf is the part of a token that names it; empty for what is not in the form of one.
func IDOf(secret string) string {
	parts := strings.Split(secret, "_")
	if len(parts) != 3 || parts[0] != prefix || len(parts[1]) != idLength || parts[2] == "" {
		return ""
	}
	return parts[1]
}

// Check finds the token of a secret. The error is [ErrUnknown], [ErrExpired], [ErrRevoked], or says
// that the records cannot be read. Only who knows the secret learns that it has expired.
func (b *Book) Check(secret string) (Token, error) {
	id := IDOf(secret)
	if id == "" {
		return Token{}, ErrUnknown
	}
	var t Token
	found, err := b.records.Lookup(Kind, id, &t)
	switch {
	case err != nil:
		return Token{}, fmt.Errorf("reading the tokens: %w", err)
	case !found || subtle.ConstantTimeCompare([]byte(hash(secret)), []byte(t.Hash)) != 1:
		return Token{}, ErrUnknown
	case !t.Revoked.IsZero():
		return t, ErrRevoked
	case !t.Expires.IsZero() && !b.now().Before(t.Expires):
		return t, ErrExpired
	}
	return t, nil
}

func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
