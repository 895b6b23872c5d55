package issuers

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ampoule/recipes"
	"ampoule/registry/tokens"
)

// claims are what an issuer says of somebody, as texts: a list is several of them, a number and a
// truth value are what JSON writes.
type claims map[string][]string

// readClaims reads the payload of a token that was verified. What is no text, number, truth value or
// list of these is left out: no rule can name it.
func readClaims(payload []byte) (claims, error) {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	var raw map[string]any
	if err := d.Decode(&raw); err != nil {
		return nil, err
	}
	all := claims{}
	for name, value := range raw {
		list, ok := value.([]any)
		if !ok {
			list = []any{value}
		}
		for _, one := range list {
			switch v := one.(type) {
			case string:
				all[name] = append(all[name], v)
			case json.Number, bool:
				all[name] = append(all[name], fmt.Sprint(v))
			}
		}
	}
	// An address that nobody has verified is what somebody has typed.
	if all.one("email_verified") != "true" {
		delete(all, "email")
	}
	return all, nil
}

// one is the only value of a claim; empty where there is none, or several.
func (c claims) one(name string) string {
	if values := c[name]; len(values) == 1 {
		return values[0]
	}
	return ""
}

// time is a claim in seconds since 1970 (RFC 7519, 2, NumericDate).
func (c claims) time(name string) (time.Time, bool) {
	seconds, err := json.Number(c.one(name)).Float64()
	const most = 1 << 40
	if err != nil || seconds < 0 || seconds > most {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0).UTC(), true
}

// patterns are those of a claim in a rule.
func patterns(s recipes.Setting) []string {
	if s.List != nil {
		return s.List
	}
	return []string{s.Text}
}

// has reports whether a claim has a value that matches one of the patterns.
func (c claims) has(name string, wanted recipes.Setting) bool {
	return slices.ContainsFunc(c[name], func(value string) bool {
		return slices.ContainsFunc(patterns(wanted), func(p string) bool { return tokens.Match(p, value) })
	})
}

// missing lists the claims of a rule that do not match.
func (r Rule) missing(c claims) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r.Match)) {
		if !c.has(name, r.Match[name]) {
			all = append(all, name)
		}
	}
	return all
}

// issuerOf is what a token says of its issuer, before anything of it is verified: it only chooses
// who is asked. False for what is no JSON web token in its compact form (RFC 7515, 7.1).
func issuerOf(token string) (string, bool) {
	parts := strings.Split(token, ".")
	const compact = 3
	if len(parts) != compact {
		return "", false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var said struct {
		Issuer string `json:"iss"`
	}
	if err != nil || json.Unmarshal(payload, &said) != nil {
		return "", false
	}
	return said.Issuer, true
}
