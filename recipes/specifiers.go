package recipes

import (
	"regexp"

	versions "github.com/aquasecurity/go-pep440-version"
)

// specifierList is the form of version specifiers: an operator before each version,
// a comma between two. The parser of versions takes more, such as "||".
var specifierList = regexp.MustCompile(`^\s*(~=|===?|!=|[<>]=?)\s*[^\s,|<>=~]+\s*(,\s*(~=|===?|!=|[<>]=?)\s*[^\s,|<>=~]+\s*)*$`)

// maxSpecifiers bounds specifiers that others wrote, in bytes.
const maxSpecifiers = 1 << 10

// AreSpecifiers tells whether a foreign text is version specifiers (PEP 440).
func AreSpecifiers(text string) bool { return len(text) <= maxSpecifiers && isSpecifiers(text) }

// isSpecifiers tells whether a text is one or more version specifiers (PEP 440).
func isSpecifiers(text string) bool {
	if !specifierList.MatchString(text) {
		return false
	}
	_, err := versions.NewSpecifiers(text)
	return err == nil
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
