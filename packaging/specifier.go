package packaging

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Specifier is one version specifier (PEP 440): an operator and a version, as they stand.
type Specifier struct{ Operator, Version string }

func (s Specifier) String() string { return s.Operator + s.Version }

// Specifiers are version specifiers that must all hold; none hold for every version.
type Specifiers []Specifier

var (
	specifierText = regexp.MustCompile(`^\s*(===|~=|==|!=|<=|>=|<|>)\s*(\S+)\s*$`)
	wildcard      = regexp.MustCompile(`(?i)^v?(?:[0-9]+!)?[0-9]+(?:\.[0-9]+)*\.\*$`)
)

// newSpecifier checks that an operator takes a version (PEP 440, "Version specifiers").
func newSpecifier(operator, version string) (Specifier, bool) {
	s := Specifier{operator, version}
	if operator == "===" {
		return s, version != "" && !strings.ContainsAny(version, ";) \t\r\n\v\f")
	}
	if wildcard.MatchString(version) {
		return s, operator == "==" || operator == "!="
	}
	v, err := ParseVersion(version)
	switch {
	case err != nil:
		return s, false
	case operator == "==", operator == "!=":
		return s, true
	case operator == "~=":
		return s, !v.HasLocal() && len(v.release) > 1
	}
	return s, !v.HasLocal()
}

// ParseSpecifiers reads version specifiers with commas between them, such as ">=1,<3". A
// comma may stand behind the last one.
func ParseSpecifiers(text string) (Specifiers, error) {
	if len(text) > maxVersion {
		return nil, fmt.Errorf("version specifiers of %d bytes", len(text))
	}
	var all Specifiers
	for one := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(one) == "" {
			continue
		}
		m := specifierText.FindStringSubmatch(one)
		if m == nil {
			return nil, fmt.Errorf("%.100q is no version specifier (PEP 440)", one)
		}
		s, ok := newSpecifier(m[1], m[2])
		if !ok {
			return nil, fmt.Errorf("%.100q is no version for %s (PEP 440)", m[2], m[1])
		}
		all = append(all, s)
	}
	return all, nil
}

// String gives the specifiers sorted, each once, with a comma between two.
func (s Specifiers) String() string {
	all := make([]string, len(s))
	for i, one := range s {
		all[i] = one.String()
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ",")
}

// Contains reports whether a version is within all specifiers. Pre-releases are versions
// like any other: whether to look for them is not asked here.
func (s Specifiers) Contains(v Version) bool {
	return !slices.ContainsFunc(s, func(one Specifier) bool { return !one.Contains(v) })
}

// Contains reports whether a version is within the specifier.
func (s Specifier) Contains(v Version) bool {
	if s.Operator == "===" {
		return strings.EqualFold(s.Version, v.text)
	}
	if prefix, ok := strings.CutSuffix(s.Version, ".*"); ok {
		limit, err := ParseVersion(prefix)
		return err == nil && v.startsWith(limit.epoch, limit.release) == (s.Operator == "==")
	}
	limit, err := ParseVersion(s.Version)
	if err != nil {
		return false
	}
	switch s.Operator {
	case "==":
		return v.equals(limit)
	case "!=":
		return !v.equals(limit)
	case "~=":
		return v.Compare(limit) >= 0 && v.startsWith(limit.epoch, limit.release[:len(limit.release)-1])
	case ">=":
		return v.Compare(limit) >= 0
	case "<=":
		return v.comparePublic(limit) <= 0
	case ">":
		return v.isAbove(limit)
	}
	return v.isBelow(limit)
}

// startsWith reports whether the release begins with those numbers ("Prefix matching").
func (v Version) startsWith(epoch number, release []number) bool {
	if v.epoch != epoch {
		return false
	}
	for i, n := range release {
		if at(v.release, i) != n {
			return false
		}
	}
	return true
}

// equals compares as "==" does: a limit without a local part fits each ("Version matching").
func (v Version) equals(limit Version) bool {
	if limit.HasLocal() {
		return v.Compare(limit) == 0
	}
	return v.comparePublic(limit) == 0
}

// isAbove compares as ">" does: post-releases of a limit that is none itself do not count
// as above it ("Exclusive ordered comparison").
func (v Version) isAbove(limit Version) bool {
	if v.comparePublic(limit) <= 0 {
		return false
	}
	if limit.post != "" || limit.dev != "" {
		return true
	}
	return v.compareRelease(limit) != 0 || v.comparePre(limit) != 0
}

// isBelow compares as "<" does: pre-releases of a limit that is none itself do not count
// as below it.
func (v Version) isBelow(limit Version) bool {
	if !limit.IsPrerelease() {
		limit.dev = "0"
	}
	return v.Compare(limit) < 0
}
