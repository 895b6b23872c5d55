package foreign

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ampoule/packaging"
)

// poetryPart is one condition of a constraint.
var poetryPart = regexp.MustCompile(`^\s*(\^|~=|~|===|==|!=|>=|<=|>|<|=)?\s*v?([0-9A-Za-z](?:[0-9A-Za-z.!+_-]*[0-9A-Za-z])?(?:\.\*)?|\*)\s*[,\s]*`)

// poetryOr stands between alternatives.
var poetryOr = regexp.MustCompile(`\s*\|\|?\s*`)

// poetryConstraint reads a constraint as Poetry spells it: what PEP 440 has, and "^1.2",
// "~1.2", "1.*", "1.2" for exactly this version, and alternatives with "||". Nothing and "*"
// allow all versions.
func poetryConstraint(text string) (allows func(version string) bool, err error) {
	var alternatives []packaging.Specifiers
	for _, part := range poetryOr.Split(strings.TrimSpace(text), -1) {
		one, err := poetryAlternative(part)
		if err != nil {
			return nil, fmt.Errorf("%q is no constraint: %w", shorten(text), err)
		}
		alternatives = append(alternatives, one)
	}
	return func(version string) bool {
		v, err := packaging.ParseVersion(version)
		return err == nil && slices.ContainsFunc(alternatives, func(s packaging.Specifiers) bool { return s.Contains(v) })
	}, nil
}

// poetryAlternative reads conditions that all must hold.
func poetryAlternative(text string) (packaging.Specifiers, error) {
	var all []string
	for rest := strings.TrimSpace(text); rest != ""; {
		m := poetryPart.FindStringSubmatch(rest)
		if m == nil {
			return nil, fmt.Errorf("%q is no condition", shorten(rest))
		}
		rest = rest[len(m[0]):]
		spec, err := poetryCondition(m[1], m[2])
		if err != nil {
			return nil, err
		}
		if spec != "" {
			all = append(all, spec)
		}
	}
	return packaging.ParseSpecifiers(strings.Join(all, ","))
}

// poetryCondition gives one condition as PEP 440 spells it; empty is any version.
func poetryCondition(operator, version string) (string, error) {
	isPrefix := strings.HasSuffix(version, ".*")
	switch {
	case version == "*":
		return "", nil
	case operator == "^":
		return caret(version)
	case operator == "~":
		return tilde(version)
	case operator == "", operator == "=":
		return "==" + version, nil
	case isPrefix && (operator == ">=" || operator == ">" || operator == "<" || operator == "<="):
		return operator + strings.TrimSuffix(version, ".*"), nil
	}
	return operator + version, nil
}

// caret allows what leaves the first number that is not 0 as it is.
func caret(version string) (string, error) {
	numbers, err := releaseOf(version)
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(numbers, func(n int) bool { return n != 0 })
	if at < 0 {
		at = len(numbers) - 1
	}
	return between(version, numbers[:at+1]), nil
}

// tilde allows what leaves the second number as it is, or the first where there is one.
func tilde(version string) (string, error) {
	numbers, err := releaseOf(version)
	if err != nil {
		return "", err
	}
	return between(version, numbers[:min(2, len(numbers))]), nil
}

// between allows versions from one on, up to where the last of the numbers grows.
func between(version string, numbers []int) string {
	end := slices.Clone(numbers)
	end[len(end)-1]++
	texts := make([]string, len(end))
	for i, n := range end {
		texts[i] = strconv.Itoa(n)
	}
	return ">=" + version + ",<" + strings.Join(texts, ".")
}

func releaseOf(version string) ([]int, error) {
	v, err := packaging.ParseVersion(version)
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, text := range v.Release() {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("%q is too large for a version", shorten(text))
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}
