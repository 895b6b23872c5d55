package recipes

import (
	"strings"

	versions "github.com/aquasecurity/go-pep440-version"
)

// isSpecifiers tells whether a text is one or more version specifiers (PEP 440).
func isSpecifiers(text string) bool {
	_, err := versions.NewSpecifiers(text)
	return err == nil && strings.Trim(text, " ,") != ""
}

// meets tells whether a version is within specifiers that passed [isSpecifiers]; no
// specifiers hold all. Pre-releases are versions like any other, because a lock has
// them only where somebody asked for them.
func meets(version, specifiers string) bool {
	if specifiers == "" {
		return true
	}
	v, err := versions.Parse(version)
	if err != nil {
		return false
	}
	s, err := versions.NewSpecifiers(specifiers, versions.WithPreRelease(true))
	return err == nil && s.Check(v)
}
