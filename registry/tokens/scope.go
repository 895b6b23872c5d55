package tokens

import (
	"slices"
	"strings"

	"ampoule/artifact"
	"ampoule/faults"
)

// Verb is what may be done with a repository.
type Verb string

// The verbs. Who may push may pull, since clients look before they send.
const (
	Pull   Verb = "pull"
	Push   Verb = "push"
	Delete Verb = "delete"
)

// Verbs lists all verbs.
func Verbs() []Verb { return []Verb{Pull, Push, Delete} }

// Scope is something that may be done with repositories whose names match a pattern.
type Scope struct {
	Verb Verb
	// Pattern is a repository's name in which * stands for any text, slashes included.
	Pattern string
}

// ParseScope reads VERB:PATTERN, such as push:team/*.
func ParseScope(text string) (Scope, error) {
	verb, pattern, ok := strings.Cut(text, ":")
	s := Scope{Verb(verb), pattern}
	// A name with something in the place of each * is a repository's.
	if !ok || !slices.Contains(Verbs(), s.Verb) || !artifact.IsRepository(strings.ReplaceAll(pattern, "*", "a")) {
		return Scope{}, faults.New(faults.Usage, "write pull:PATTERN, push:PATTERN or delete:PATTERN; in a pattern, * stands for any text", "%q is no scope", text)
	}
	return s, nil
}

func (s Scope) String() string { return string(s.Verb) + ":" + s.Pattern }

// MarshalText implements encoding.TextMarshaler.
func (s Scope) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Scope) UnmarshalText(text []byte) (err error) {
	*s, err = ParseScope(string(text))
	return err
}

func (s Scope) covers(verb Verb, repository string) bool {
	return (s.Verb == verb || s.Verb == Push && verb == Pull) && Match(s.Pattern, repository)
}

// Match reports whether a text matches a pattern in which * stands for any text.
func Match(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	first, last := parts[0], parts[len(parts)-1]
	text, ok := strings.CutPrefix(text, first)
	if !ok || !strings.HasSuffix(text, last) {
		return false
	}
	text = text[:len(text)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return true
}
