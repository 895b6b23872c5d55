package project

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"ampoule/packaging"
)

// Wanted are the versions of CPython that a text asks for.
type Wanted struct {
	// Text is what stands there.
	Text string
	// Pinned is a full version, such as 3.13.5; empty where the text names more than one.
	Pinned string
	// any are lists of specifiers (PEP 440). A version must be within one of them.
	any []packaging.Specifiers
}

// Admits reports whether a full version is one of those that are wanted.
func (w Wanted) Admits(version string) bool {
	v, err := packaging.ParseVersion(version)
	return err == nil && slices.ContainsFunc(w.any, func(s packaging.Specifiers) bool { return s.Contains(v) })
}

// Floors are the lowest versions that the text names, such as 3.12 of ">=3.12,<3.13".
func (w Wanted) Floors() []string {
	var all []string
	for _, list := range w.any {
		for _, s := range list {
			if s.Operator == ">=" || s.Operator == "==" || s.Operator == "~=" {
				all = append(all, strings.TrimSuffix(s.Version, ".*"))
			}
		}
	}
	return all
}

var (
	fullVersion   = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(?:(?:a|b|rc)[0-9]+)?$`)
	seriesVersion = regexp.MustCompile(`^[0-9]+(?:\.[0-9]+)?$`)
)

// byNumber reads 3.13.5, 3.13 and 3, and 3.13.x, 3.13.* and 3.x, which mean a series.
func byNumber(text string) (Wanted, bool) {
	w := Wanted{Text: text}
	plain := strings.TrimSuffix(strings.TrimSuffix(text, ".x"), ".*")
	switch {
	case plain == text && fullVersion.MatchString(text):
		w.Pinned = text
		w.any = []packaging.Specifiers{{{Operator: "==", Version: text}}}
	case seriesVersion.MatchString(plain):
		w.any = []packaging.Specifiers{{{Operator: "==", Version: plain + ".*"}}}
	default:
		return Wanted{}, false
	}
	return w, true
}

// byName reads how version managers name a Python: 3.13.5, 3.13-dev, 3.13t,
// cpython-3.13.5-linux-x86_64-gnu, cpython@3.13, python3.13, 3.13.5/envs/web (a virtual
// environment of pyenv). Another implementation admits no version of CPython.
func byName(text string) (Wanted, bool) {
	if otherPython.MatchString(text) {
		return Wanted{Text: text}, true
	}
	m := managedPython.FindStringSubmatch(text)
	if m == nil {
		return Wanted{}, false
	}
	w, ok := byNumber(m[1])
	w.Text = text
	return w, ok
}

var (
	otherPython   = regexp.MustCompile(`(?i)^(?:pypy|graalpy|graalpython|jython|ironpython|stackless|micropython|pyston|cinder|miniconda|anaconda|miniforge|mambaforge|activepython|nogil)\d?[0-9.@-]?`)
	managedPython = regexp.MustCompile(`^(?:c?python[-@]?|py)?([0-9]+(?:\.(?:[0-9]+(?:(?:a|b|rc)[0-9]+)?|x|\*))*)(?:-dev|t|\+freethreaded)?(?:/envs/[^/]+|-(?:linux|macos|windows)[a-z0-9_-]*)?$`)
)

// byRange reads specifiers as PEP 440 has them.
func byRange(text string) (Wanted, bool) {
	s, err := packaging.ParseSpecifiers(text)
	if err != nil || len(s) == 0 {
		return Wanted{}, false
	}
	w := Wanted{Text: text, any: []packaging.Specifiers{s}}
	if len(s) == 1 && s[0].Operator == "==" && fullVersion.MatchString(s[0].Version) {
		w.Pinned = s[0].Version
	}
	return w, true
}

// byConstraint reads constraints of Poetry, and of GitHub's actions, which take those of
// npm: ^3.9, ~3.11, 3.11.*, *, ">=3.9 <4", and several with || between them.
func byConstraint(text string) (Wanted, bool) {
	w := Wanted{Text: text}
	if len(text) > maxConstraint {
		return Wanted{}, false
	}
	for part := range strings.SplitSeq(strings.ReplaceAll(text, "||", "|"), "|") {
		list := packaging.Specifiers{}
		for _, one := range constraint.FindAllString(part, -1) {
			s, ok := specifiersOf(one)
			if !ok {
				return Wanted{}, false
			}
			list = append(list, s...)
		}
		if rest := strings.Trim(constraint.ReplaceAllString(part, ""), " ,\t"); rest != "" || strings.TrimSpace(part) == "" {
			return Wanted{}, false
		}
		w.any = append(w.any, list)
	}
	if n, ok := byNumber(strings.TrimSpace(strings.TrimLeft(text, "="))); ok {
		w.Pinned = n.Pinned
	}
	return w, true
}

const maxConstraint = 512

var (
	constraint     = regexp.MustCompile(`(?:\^|~=|~|===|==|!=|>=|<=|>|<|=)?\s*v?(?:[0-9]+(?:\.[0-9A-Za-z]+)*(?:\.\*)?|\*)`)
	constraintForm = regexp.MustCompile(`^(\^|~=|~|===|==|!=|>=|<=|>|<|=|)\s*v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?((?:a|b|rc)[0-9]+)?(\.\*|\.x)?$`)
)

// specifiersOf says one constraint in the words of PEP 440.
func specifiersOf(one string) (packaging.Specifiers, bool) {
	if strings.TrimSpace(one) == "*" {
		return nil, true
	}
	m := constraintForm.FindStringSubmatch(strings.TrimSpace(one))
	if m == nil {
		return nil, false
	}
	operator, major, minor, patch, pre, star := m[1], m[2], m[3], m[4], m[5], m[6]
	version := join(major, minor, patch) + pre
	from := packaging.Specifier{Operator: ">=", Version: version}
	switch {
	case operator == "^":
		return packaging.Specifiers{from, {Operator: "<", Version: next(major)}}, true
	case operator == "~" && minor == "":
		return packaging.Specifiers{from, {Operator: "<", Version: next(major)}}, true
	case operator == "~":
		return packaging.Specifiers{from, {Operator: "<", Version: major + "." + next(minor)}}, true
	case operator == "", operator == "=":
		if star != "" || patch == "" {
			return packaging.Specifiers{{Operator: "==", Version: version + ".*"}}, true
		}
		return packaging.Specifiers{{Operator: "==", Version: version}}, true
	}
	if star != "" && (operator == "==" || operator == "!=") {
		version += ".*"
	}
	s, err := packaging.ParseSpecifiers(operator + version)
	return s, err == nil
}

// join puts the parts of a version together, up to the first empty one.
func join(parts ...string) string {
	if i := slices.Index(parts, ""); i >= 0 {
		parts = parts[:i]
	}
	return strings.Join(parts, ".")
}

// next is the number after one in decimal digits.
func next(number string) string {
	var n int
	if _, err := fmt.Sscan(number, &n); err != nil {
		return number
	}
	return fmt.Sprint(n + 1)
}
