package packaging

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Requirement is a dependency specifier (PEP 508).
type Requirement struct {
	// Name and Extras are normalised; Extras are sorted.
	Name   string
	Extras []string
	// Specifiers are the versions that it admits; URL is the file that it asks for, whatever
	// its version. It has one of both at most.
	Specifiers Specifiers
	URL        string
	// Marker says where it counts; nil is everywhere.
	Marker *Marker
}

// SyntaxError says why a text is no dependency specifier.
type SyntaxError struct {
	What string
	// Advice says what is wanted instead; it may be empty.
	Advice string
	// Variable is set where a marker asks for what is no variable: by its name, as it stands.
	Variable string
}

func (e *SyntaxError) Error() string { return e.What }

// Hint says what is wanted instead; it may be empty.
func (e *SyntaxError) Hint() string { return e.Advice }

// maxRequirement bounds a dependency specifier, in bytes.
const maxRequirement = 16 << 10

// ParseRequirement reads a dependency specifier. The error is a [*SyntaxError].
func ParseRequirement(text string) (Requirement, error) {
	r, err := parseRequirement(text)
	if err != nil {
		return Requirement{}, err
	}
	return r, nil
}

func parseRequirement(text string) (Requirement, *SyntaxError) {
	if len(text) > maxRequirement {
		return Requirement{}, &SyntaxError{What: "a requirement is too long"}
	}
	p := &parser{rest: strings.Trim(text, " \t")}
	name := p.take(nameStart)
	if name == "" {
		return Requirement{}, &SyntaxError{What: fmt.Sprintf("%q is no requirement", shorten(text)), Advice: "a requirement begins with the name of a distribution"}
	}
	r := Requirement{Name: NormalName(name)}
	var err *SyntaxError
	if r.Extras, err = p.extras(); err != nil {
		return Requirement{}, err
	}
	if p.takeByte('@') {
		r.URL, err = p.url()
	} else {
		r.Specifiers, err = p.specifiers()
	}
	if err != nil {
		return Requirement{}, err
	}
	r.Marker, err = p.marker()
	return r, err
}

// String gives the requirement in one spelling: normalised name, sorted extras, sorted
// specifiers without spaces, and a marker with single spaces.
func (r Requirement) String() string {
	text := r.Name
	if len(r.Extras) > 0 {
		text += "[" + strings.Join(r.Extras, ",") + "]"
	}
	if r.URL != "" {
		text += " @ " + r.URL
	}
	text += r.Specifiers.String()
	switch {
	case r.Marker == nil:
		return text
	case r.URL != "":
		return text + " ; " + r.Marker.String()
	}
	return text + "; " + r.Marker.String()
}

// Applies reports whether the requirement counts in an environment, for a distribution
// that was asked for with the given extras, which are normalised.
func (r Requirement) Applies(env Environment, extras []string) bool {
	return r.Marker == nil || r.Marker.Holds(env, extras)
}

// Admits reports whether a version is one that the requirement wants. What is there may be
// a pre-release, whatever is wanted.
func (r Requirement) Admits(version string) bool {
	if len(r.Specifiers) == 0 {
		return true
	}
	v, err := ParseVersion(version)
	return err == nil && r.Specifiers.Contains(v)
}

// parser reads a dependency specifier from left to right; rest is what is left. sets lets
// markers ask for the sets of lock files.
type parser struct {
	rest string
	sets bool
}

var (
	nameStart     = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?`)
	operatorStart = regexp.MustCompile(`^(===|~=|==|!=|<=|>=|<|>)\s*`)
	versionStart  = regexp.MustCompile(`^[^\s,;)]+`)
	urlStart      = regexp.MustCompile(`^\S+`)
)

// take removes what the expression matches at the beginning, and white space after it.
func (p *parser) take(expression *regexp.Regexp) string {
	got := expression.FindString(p.rest)
	p.rest = strings.TrimLeft(p.rest[len(got):], " \t")
	return strings.TrimRight(got, " \t")
}

// takeByte removes c, and white space after it, if it comes next.
func (p *parser) takeByte(c byte) bool {
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = strings.TrimLeft(p.rest[1:], " \t")
	return true
}

func (p *parser) unexpected(wanted string) *SyntaxError {
	if p.rest == "" {
		return &SyntaxError{What: "a requirement ends where " + wanted + " belongs"}
	}
	return &SyntaxError{What: fmt.Sprintf("%q stands where %s belongs", shorten(p.rest), wanted)}
}

func (p *parser) extras() ([]string, *SyntaxError) {
	if !p.takeByte('[') {
		return nil, nil
	}
	var extras []string
	for !p.takeByte(']') {
		if len(extras) > 0 && !p.takeByte(',') {
			return nil, p.unexpected(`"," or "]"`)
		}
		extra := p.take(nameStart)
		if extra == "" {
			return nil, p.unexpected("the name of an extra")
		}
		extras = append(extras, NormalName(extra))
	}
	slices.Sort(extras)
	return slices.Compact(extras), nil
}

// url reads an address. A semicolon can be a part of it; one that begins a marker stands
// after white space.
func (p *parser) url() (string, *SyntaxError) {
	end := len(urlStart.FindString(p.rest))
	if end == 0 {
		return "", p.unexpected("an address")
	}
	url, rest := p.rest[:end], p.rest[end:]
	p.rest = strings.TrimLeft(rest, " \t")
	return url, nil
}

func (p *parser) specifiers() (Specifiers, *SyntaxError) {
	inBrackets := p.takeByte('(')
	var all Specifiers
	for p.rest != "" && p.rest[0] != ';' && p.rest[0] != ')' {
		if len(all) > 0 {
			if !p.takeByte(',') {
				return nil, p.unexpected(`",", ";" or the end`)
			}
			// A comma may stand behind the last one.
			if p.rest == "" || p.rest[0] == ';' || p.rest[0] == ')' {
				break
			}
		}
		one, err := p.specifier()
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	if inBrackets && !p.takeByte(')') {
		return nil, p.unexpected(`")"`)
	}
	return all, nil
}

func (p *parser) specifier() (Specifier, *SyntaxError) {
	operator := p.take(operatorStart)
	if operator == "" {
		err := p.unexpected("one of == != ~= <= >= < > ===")
		if strings.HasPrefix(p.rest, "=") {
			err.Advice = "one version is spelled NAME==VERSION"
		}
		if strings.HasPrefix(p.rest, "--hash") {
			err.Advice = "hashes stand in a requirements file"
		}
		return Specifier{}, err
	}
	version := p.take(versionStart)
	s, ok := newSpecifier(operator, version)
	if !ok {
		return Specifier{}, &SyntaxError{What: fmt.Sprintf("%q is no version for %s", shorten(version), operator), Advice: "PEP 440 says how versions are written"}
	}
	return s, nil
}

func shorten(text string) string {
	if r := []rune(text); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return text
}
