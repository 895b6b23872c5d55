package locking

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"ampoule/packaging"
	"ampoule/recipes"
)

// placed adds to a resolution error where the recipe's requirements are written.
func (p *distLocker) placed(err error) error {
	var r *ResolutionError
	if !errors.As(err, &r) {
		return err
	}
	return r.with(p.named(namesIn(r.Told)), nil)
}

// overridden adds to a resolution error which overrides take part: by their limits, or by
// what they add to the build requirements of an sdist, which may be nil.
func (p *distLocker) overridden(err error, sdist *recipes.Dist) error {
	var r *ResolutionError
	if !errors.As(err, &r) {
		return err
	}
	named := namesIn(r.Told)
	var lines, names []string
	tell := func(a recipes.Applied, says string) {
		lines = append(lines, fmt.Sprintf("override %s, revision %s: %s: %s", a.Name, a.Revision, says, a.Why))
		names = append(names, a.Name)
	}
	for _, limit := range p.recipe.Limits(p.place()) {
		if named[limit.Name] {
			tell(limit.Applied, limit.Spec)
		}
	}
	if sdist != nil {
		for _, added := range p.recipe.Added(sdist.Name, sdist.Version, p.place()) {
			if named[packaging.NormalName(packaging.RequiredName(added.Spec))] {
				tell(added.Applied, "requires "+added.Spec)
			}
		}
	}
	return r.with(lines, names)
}

// with adds lines to an explanation, and the overrides that take part in it.
func (e *ResolutionError) with(lines, overrides []string) error {
	told := strings.Join(append([]string{e.Told}, lines...), "\n")
	all := slices.Sorted(slices.Values(slices.Concat(e.Overrides, overrides)))
	return &ResolutionError{Told: told, Group: e.Group, Overrides: slices.Compact(all)}
}

// namesIn gives the names, in their normal form, that a text has as whole words.
func namesIn(text string) map[string]bool {
	names := map[string]bool{}
	const punctuation = "-._"
	apart := func(c rune) bool {
		return !strings.ContainsRune(punctuation, c) && !unicode.IsLetter(c) && !unicode.IsDigit(c)
	}
	for _, word := range strings.FieldsFunc(text, apart) {
		names[packaging.NormalName(strings.Trim(word, punctuation))] = true
	}
	return names
}

// named are the requirements whose names an explanation has, with their places.
func (p *distLocker) named(names map[string]bool) []string {
	var lines []string
	for _, req := range p.reqs.Requirements {
		if names[req.Name] {
			lines = append(lines, fmt.Sprintf("%s:%d:%d: %s", req.File, req.Line, req.Column, req.Spec))
		}
	}
	return lines
}
