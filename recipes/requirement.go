package recipes

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"ampoule/faults"
	"ampoule/packaging"
)

// Requirement is one requirement or constraint.
type Requirement struct {
	// Name is normalised (PEP 503).
	Name string
	// Spec is the whole requirement in canonical PEP 508 text, without hashes:
	// normalised name, sorted extras, sorted specifiers without spaces, marker with
	// single spaces.
	Spec string
	// Hashes are the acceptable hashes as ALGORITHM:HEX, sorted. When there are any,
	// at least one is a sha256; one of these is to be met.
	Hashes []string
	// Registry is set where a lock says that the distribution comes from another index than
	// most others do: its address without credentials, or its name.
	Registry string
	// Constraint marks a constraint: it limits versions and requires nothing.
	Constraint bool
	// Project is the directory of the first-party code that requires it; empty for what the
	// recipe itself requires.
	Project string
	// Position is where the requirement begins.
	Position
}

// maxRequirement bounds the length of one requirement, in bytes, hashes apart.
const maxRequirement = 4096

// specError tells why a text is no requirement.
type specError struct{ what, hint string }

// ParseRequirement reads a requirement that something other than a requirements file
// has, such as an sdist's own metadata: a name, extras, versions and a marker (PEP
// 508). Addresses, paths, options and variables are no requirements; the error is
// of kind Input.
func ParseRequirement(text string) (Requirement, error) {
	r, err := parseRequirement(text)
	if err != nil {
		return Requirement{}, faults.New(faults.Input, err.hint, "%s", err.what)
	}
	return r, nil
}

// ParseDependency reads a requirement that a distribution's metadata states
// (Requires-Dist): as [ParseRequirement] does, but its marker may name the extra that
// wants it (core metadata specifications, "Provides-Extra").
func ParseDependency(text string) (Requirement, error) {
	r, err := parseSpec(text, true)
	if err != nil {
		return Requirement{}, faults.New(faults.Input, err.hint, "%s", err.what)
	}
	return r, nil
}

// parseRequirement reads a requirement by name, as PEP 508 has it.
func parseRequirement(text string) (Requirement, *specError) { return parseSpec(text, false) }

// parseSpec does it. The variable extra has a value in metadata alone.
func parseSpec(text string, extra bool) (Requirement, *specError) {
	if err := refuseForeign(text); err != nil {
		return Requirement{}, err
	}
	r, err := packaging.ParseRequirement(text)
	if err != nil {
		return Requirement{}, newSpecError(err)
	}
	if r.Marker != nil && r.Marker.AsksForExtra() && !extra {
		return Requirement{}, &specError{`the marker variable "extra" has no value here`, "require NAME[EXTRA] instead"}
	}
	return Requirement{Name: r.Name, Spec: r.String()}, nil
}

func newSpecError(err error) *specError {
	var wrong *packaging.SyntaxError
	if !errors.As(err, &wrong) {
		return &specError{err.Error(), ""}
	}
	if wrong.Variable != "" {
		return &specError{wrong.What, suggestion(wrong.Variable, packaging.MarkerVariables, "the variables")}
	}
	return &specError{wrong.What, wrong.Advice}
}

var urlStart = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)

// refuseForeign refuses what pip takes for a requirement and is not one by name.
func refuseForeign(text string) *specError {
	trimmed := strings.TrimSpace(text)
	name, rest, direct := strings.Cut(trimmed, "@")
	switch {
	case strings.HasPrefix(trimmed, "-"):
		option, _ := cutOption(trimmed)
		what, hint := refusedOption(option)
		return &specError{what, hint}
	case len(text) > maxRequirement:
		return &specError{"a requirement is too long", ""}
	case strings.ContainsFunc(trimmed, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }):
		return &specError{"a requirement has a control character", ""}
	case strings.Contains(trimmed, "${"):
		return &specError{fmt.Sprintf("%q takes a value from the environment", shorten(text)), "write the value: a build depends on nothing outside of its files"}
	case direct && packaging.RequiredName(strings.TrimSpace(name)) != "" && !strings.ContainsAny(name, ";\"'") && strings.TrimSpace(rest) != "":
		return &specError{fmt.Sprintf("%s is required from a URL", strings.TrimSpace(name)), "require it by name and version; what an index has not, put into an index of your own"}
	case urlStart.MatchString(trimmed):
		return &specError{fmt.Sprintf("%q is a URL", shorten(text)), "require the distribution by name and version"}
	case strings.HasPrefix(trimmed, ".") || strings.HasPrefix(trimmed, "/") || strings.HasPrefix(trimmed, "~"):
		return &specError{fmt.Sprintf("%q is a path", shorten(text)), "require the distribution by name and version"}
	case packaging.IsName(trimmed) && (strings.HasSuffix(trimmed, packaging.WheelSuffix) || strings.HasSuffix(trimmed, ".tar.gz") || strings.HasSuffix(trimmed, ".zip")):
		return &specError{fmt.Sprintf("%q is a file", shorten(text)), "require the distribution by name and version"}
	}
	return nil
}

func shorten(text string) string {
	if r := []rune(text); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return text
}
