package packaging

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// maxVersion bounds a version and a list of specifiers, in bytes.
const maxVersion = 1 << 10

// versionForm is the expression of PEP 440, appendix B.
const versionForm = `v?(?:([0-9]+)!)?([0-9]+(?:\.[0-9]+)*)` + // epoch, release
	`(?:[-_.]?(alpha|a|beta|b|preview|pre|c|rc)[-_.]?([0-9]*))?` + // pre-release
	`(?:-([0-9]+)|[-_.]?(post|rev|r)[-_.]?([0-9]*))?` + // post-release
	`(?:[-_.]?(dev)[-_.]?([0-9]*))?` + // development release
	`(?:\+([a-z0-9]+(?:[-_.][a-z0-9]+)*))?` // local version

var versionText = regexp.MustCompile(`(?i)^\s*` + versionForm + `\s*$`)

// number is a decimal number of any size without leading zeros.
type number string

func newNumber(digits string) number {
	digits = strings.TrimLeft(digits, "0")
	if digits == "" {
		return "0"
	}
	return number(digits)
}

func (n number) compare(o number) int {
	return cmp.Or(cmp.Compare(len(n), len(o)), strings.Compare(string(n), string(o)))
}

// Version is a version of a distribution (PEP 440). The zero value is none.
type Version struct {
	text    string
	epoch   number
	release []number
	// pre is a, b or rc, with its number; empty where the version is no pre-release of a
	// release. post and dev are empty where there is none.
	pre       string
	preN      number
	post, dev number
	local     []string
}

// preNames are the spellings of what a pre-release is (PEP 440, "Pre-release spelling").
var preNames = map[string]string{"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}

// ParseVersion reads a version in any of the spellings of PEP 440. The error tells the
// text, shortened.
func ParseVersion(text string) (Version, error) {
	m := versionText.FindStringSubmatch(text)
	if m == nil || len(text) > maxVersion {
		return Version{}, fmt.Errorf("%.100q is no version (PEP 440)", text)
	}
	v := Version{text: strings.TrimSpace(text), epoch: newNumber(m[1])}
	for part := range strings.SplitSeq(m[2], ".") {
		v.release = append(v.release, newNumber(part))
	}
	if name := strings.ToLower(m[3]); name != "" {
		v.pre, v.preN = cmp.Or(preNames[name], name), newNumber(m[4])
	}
	switch {
	case m[5] != "":
		v.post = newNumber(m[5])
	case m[6] != "":
		v.post = newNumber(m[7])
	}
	if m[8] != "" {
		v.dev = newNumber(m[9])
	}
	if m[10] != "" {
		for _, part := range separators.Split(strings.ToLower(m[10]), -1) {
			if isNumber(part) {
				part = string(newNumber(part))
			}
			v.local = append(v.local, part)
		}
	}
	return v, nil
}

// IsVersion reports whether a text is a version (PEP 440).
func IsVersion(text string) bool {
	_, err := ParseVersion(text)
	return err == nil
}

func isNumber(text string) bool { return strings.Trim(text, "0123456789") == "" }

// String gives the version in its normal form (PEP 440, "Normalization").
func (v Version) String() string {
	var b strings.Builder
	if v.epoch != "0" {
		b.WriteString(string(v.epoch) + "!")
	}
	for i, n := range v.release {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(string(n))
	}
	if v.pre != "" {
		b.WriteString(v.pre + string(v.preN))
	}
	if v.post != "" {
		b.WriteString(".post" + string(v.post))
	}
	if v.dev != "" {
		b.WriteString(".dev" + string(v.dev))
	}
	if len(v.local) > 0 {
		b.WriteString("+" + strings.Join(v.local, "."))
	}
	return b.String()
}

// IsPrerelease reports whether the version is an alpha, beta, candidate or development
// release.
func (v Version) IsPrerelease() bool { return v.pre != "" || v.dev != "" }

// HasLocal reports whether the version has a local part, which an index does not serve.
func (v Version) HasLocal() bool { return len(v.local) > 0 }

// Release gives the numbers of the release, such as 3, 13 and 5, as they stand without
// leading zeros.
func (v Version) Release() []string {
	all := make([]string, len(v.release))
	for i, n := range v.release {
		all[i] = string(n)
	}
	return all
}

// Compare orders versions (PEP 440, "Summary of permitted suffixes and relative ordering").
func (v Version) Compare(o Version) int {
	return cmp.Or(v.comparePublic(o), compareLocal(v.local, o.local))
}

// comparePublic compares all but the local parts.
func (v Version) comparePublic(o Version) int {
	return cmp.Or(v.compareRelease(o), v.comparePre(o), compareOptional(v.post, o.post, -1), compareOptional(v.dev, o.dev, 1))
}

// compareRelease compares epochs and releases, where missing numbers are zeros.
func (v Version) compareRelease(o Version) int {
	if c := v.epoch.compare(o.epoch); c != 0 {
		return c
	}
	for i := range max(len(v.release), len(o.release)) {
		if c := at(v.release, i).compare(at(o.release, i)); c != 0 {
			return c
		}
	}
	return 0
}

func at(release []number, i int) number {
	if i < len(release) {
		return release[i]
	}
	return "0"
}

func (v Version) comparePre(o Version) int {
	return cmp.Or(cmp.Compare(v.preRank(), o.preRank()), strings.Compare(v.pre, o.pre), v.preN.compare(o.preN))
}

// preRank puts a development release of a final release before its pre-releases, and
// what is no pre-release behind them.
func (v Version) preRank() int {
	switch {
	case v.pre != "":
		return 0
	case v.post == "" && v.dev != "":
		return -1
	}
	return 1
}

// compareOptional compares numbers of which each may be missing; one that is, stands where
// absent says: before or behind all others.
func compareOptional(a, b number, absent int) int {
	switch {
	case a == "" && b == "":
		return 0
	case a == "":
		return absent
	case b == "":
		return -absent
	}
	return a.compare(b)
}

// compareLocal compares local parts: numbers stand behind words, and more behind less.
func compareLocal(a, b []string) int {
	return slices.CompareFunc(a, b, func(x, y string) int {
		xn, yn := isNumber(x), isNumber(y)
		switch {
		case xn && yn:
			return number(x).compare(number(y))
		case xn:
			return 1
		case yn:
			return -1
		}
		return strings.Compare(x, y)
	})
}

// SameVersion reports whether two spellings are one version. What is no version of PEP 440
// is the same as itself only, whatever its case.
func SameVersion(a, b string) bool {
	v, errA := ParseVersion(a)
	w, errB := ParseVersion(b)
	if errA != nil || errB != nil {
		return errA != nil && errB != nil && strings.EqualFold(strings.TrimSpace(a), strings.TrimSpace(b))
	}
	return v.Compare(w) == 0
}
