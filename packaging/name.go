// Package packaging has the rules of Python's packaging: names, versions, version
// specifiers, markers and dependency specifiers, file names and tags of wheels, and the
// files that say what a distribution is. They are as the specifications of PyPA have them and
// the library packaging applies them, which pip and others use.
//
// It reads foreign text: every parser has a bound, and none panics.
package packaging

import (
	"regexp"
	"strings"
)

var (
	// projectName is the form of names of distributions and of extras (PEP 508, "Names").
	projectName = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$`)
	separators  = regexp.MustCompile(`[-_.]+`)
)

// IsName reports whether a text is the name of a distribution or of an extra (PEP 508).
func IsName(text string) bool { return projectName.MatchString(text) }

// NormalName gives a name the one spelling that compares (PEP 503, "Normalized Names").
func NormalName(name string) string {
	return separators.ReplaceAllString(strings.ToLower(name), "-")
}

// RequiredName is the normalised name that a dependency specifier begins with, whatever
// follows it; empty where none does.
func RequiredName(text string) string {
	return NormalName(nameStart.FindString(strings.TrimLeft(text, " \t")))
}
