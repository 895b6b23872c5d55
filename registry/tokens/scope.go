package tokens

import (
	"slices"
	"strings"

	"ampoule/artifact"
	"ampoule/faults"
)

// Verb is what may be done: with a repository of a registry, or with the builds, artifacts and
// channels of a name through a service.
type Verb string

// The verbs of a registry. Who may push may pull, since clients look before they send.
const (
	Pull   Verb = "pull"
	Push   Verb = "push"
	Delete Verb = "delete"
)

// The verbs of a service. Each of them lets read, and Admin lets build too. Promote and Approve are
// of channels, and nothing else contains them.
const (
	Read    Verb = "read"
	Build   Verb = "build"
	Promote Verb = "promote"
	Approve Verb = "approve"
	Admin   Verb = "admin"
)

// Verbs lists all verbs.
func Verbs() []Verb { return []Verb{Pull, Push, Delete, Read, Build, Promote, Approve, Admin} }

// ofChannels reports whether a verb is about channels.
func (v Verb) ofChannels() bool { return v == Promote || v == Approve }

// Scope is something that may be done with repositories, or with recipes of the same names, that
// match a pattern.
type Scope struct {
	Verb Verb
	// Pattern is a repository's name in which * stands for any text, slashes included.
	Pattern string
	// Channel is the pattern of the channels that the verb is for; empty is any, and what verbs
	// have that are not of channels.
	Channel string
}

// arrows stand between the names and the channels of a scope, the usual one first.
var arrows = []string{"→", "->"}

// ParseScope reads VERB:PATTERN, such as push:team/*, and VERB:PATTERN→CHANNEL, such as
// promote:team/*→prod.
func ParseScope(text string) (Scope, error) {
	verb, pattern, ok := strings.Cut(text, ":")
	s := Scope{Verb: Verb(verb), Pattern: pattern}
	wrong := func(hint string) (Scope, error) {
		return Scope{}, faults.New(faults.Usage, hint, "%q is no scope", text)
	}
	for _, arrow := range arrows {
		if names, channel, found := strings.Cut(pattern, arrow); found {
			if !s.Verb.ofChannels() || !artifact.IsChannel(strings.ReplaceAll(channel, "*", "a")) {
				return wrong("only promote and approve are for channels: write promote:PATTERN→CHANNEL")
			}
			s.Pattern, s.Channel = names, channel
			break
		}
	}
	// A name with something in the place of each * is a repository's.
	if !ok || !slices.Contains(Verbs(), s.Verb) || !artifact.IsRepository(strings.ReplaceAll(s.Pattern, "*", "a")) {
		return wrong("write VERB:PATTERN; for a registry the verbs are pull, push and delete, for a service read, build, promote, approve and admin; in a pattern, * stands for any text")
	}
	return s, nil
}

func (s Scope) String() string {
	text := string(s.Verb) + ":" + s.Pattern
	if s.Channel != "" {
		text += arrows[0] + s.Channel
	}
	return text
}

// MarshalText implements encoding.TextMarshaler.
func (s Scope) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Scope) UnmarshalText(text []byte) (err error) {
	*s, err = ParseScope(string(text))
	return err
}

// Covers reports whether a verb of a service is allowed for a name; the channel is that of Promote
// and Approve.
func (s Scope) Covers(verb Verb, name, channel string) bool {
	return s.Contains(verb) && Match(s.Pattern, name) && (!verb.ofChannels() || s.Channel == "" || Match(s.Channel, channel))
}

// Contains reports whether who may do the scope's verb may do another one of a service.
func (s Scope) Contains(verb Verb) bool {
	switch s.Verb {
	case Admin:
		return verb == Admin || verb == Build || verb == Read
	case Read, Build, Promote, Approve:
		return verb == s.Verb || verb == Read
	case Pull, Push, Delete:
	}
	return false
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
