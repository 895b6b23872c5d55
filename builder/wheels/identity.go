package wheels

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"ampoule/recipes"
)

// IdentityError says that an sdist built a wheel of something else.
type IdentityError struct {
	// Dist is the sdist, as NAME==VERSION; Built says what its wheel is.
	Dist, Built string
}

func (e *IdentityError) Error() string {
	return fmt.Sprintf("the sdist of %s built a wheel of %s", e.Dist, e.Built)
}

// checkIdentity refuses a wheel that is not of the sdist that was locked.
func checkIdentity(sdist recipes.Dist, wheel string) error {
	stem, isWheel := strings.CutSuffix(wheel, ".whl")
	parts := strings.Split(stem, "-")
	if !isWheel || len(parts) != 5 && len(parts) != 6 {
		return fmt.Errorf("%q is not a wheel's file name (binary distribution format)", wheel)
	}
	if name := recipes.NormalName(parts[0]); name != sdist.Name {
		return &IdentityError{sdist.ID(), name}
	}
	// In a file name "_" stands for "-", and older tools write it for "+".
	for _, meant := range []string{"_", "-", "+"} {
		if SameVersion(strings.ReplaceAll(parts[1], "_", meant), sdist.Version) {
			return nil
		}
	}
	return &IdentityError{sdist.ID(), "version " + parts[1]}
}

// SameVersion says whether two spellings are one version (PEP 440, normalization).
// What is no version of PEP 440 is the same as itself only, whatever its case.
func SameVersion(a, b string) bool { return normalVersion(a) == normalVersion(b) }

// versionForm is the expression of PEP 440, appendix B.
var versionForm = regexp.MustCompile(`^v?(?:(?P<epoch>[0-9]+)!)?(?P<release>[0-9]+(?:\.[0-9]+)*)` +
	`(?:[-_.]?(?P<pre>alpha|a|beta|b|preview|pre|c|rc)[-_.]?(?P<preN>[0-9]*))?` +
	`(?P<post>-(?P<implicitN>[0-9]+)|[-_.]?(?:post|rev|r)[-_.]?(?P<postN>[0-9]*))?` +
	`(?P<dev>[-_.]?dev[-_.]?(?P<devN>[0-9]*))?(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?$`)

// preForms are the normal spellings of what comes before a release.
var preForms = map[string]string{"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}

// normalVersion returns a version's normal form, without the zeros that end its
// release: two versions are equal when these are.
func normalVersion(v string) string {
	v = strings.ToLower(strings.TrimSpace(v))
	m := versionForm.FindStringSubmatch(v)
	if m == nil {
		return v
	}
	part := func(name string) string { return m[versionForm.SubexpIndex(name)] }
	release := strings.Split(part("release"), ".")
	for i, n := range release {
		release[i] = number(n)
	}
	for len(release) > 1 && release[len(release)-1] == "0" {
		release = release[:len(release)-1]
	}
	normal := number(part("epoch")) + "!" + strings.Join(release, ".")
	if pre := part("pre"); pre != "" {
		normal += cmp.Or(preForms[pre], pre) + number(part("preN"))
	}
	if part("post") != "" {
		normal += ".post" + number(part("implicitN")+part("postN"))
	}
	if part("dev") != "" {
		normal += ".dev" + number(part("devN"))
	}
	if local := part("local"); local != "" {
		segments := strings.FieldsFunc(local, func(c rune) bool { return strings.ContainsRune("-_.", c) })
		for i, s := range segments {
			if strings.Trim(s, "0123456789") == "" {
				segments[i] = number(s)
			}
		}
		normal += "+" + strings.Join(segments, ".")
	}
	return normal
}

// number returns digits without leading zeros; none are 0.
func number(digits string) string { return cmp.Or(strings.TrimLeft(digits, "0"), "0") }
