package recipes

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// groupNames are the names of distributions that the dependency groups of a lock have, and
// those that the artifact has: in its tree, as its first-party code, or to build either.
type groupNames struct{ own, groups map[string]bool }

func namesOfGroups(l *Lock) groupNames {
	n := groupNames{map[string]bool{}, map[string]bool{}}
	for _, d := range l.Dists {
		n.own[d.Name] = true
	}
	for _, a := range l.App {
		n.own[a.Name] = true
	}
	for _, g := range l.Groups {
		for _, d := range g.Dists {
			n.groups[d.Name] = true
		}
	}
	return n
}

// alone reports whether groups alone have a distribution.
func (n groupNames) alone(name string) bool { return n.groups[name] && !n.own[name] }

// matchAlone reports whether a pattern of names matches some of groups, and none of the artifact.
func (n groupNames) matchAlone(pattern string) bool {
	matches := func(names map[string]bool) bool {
		for name := range names {
			if ok, _ := path.Match(pattern, name); ok {
				return true
			}
		}
		return false
	}
	return matches(n.groups) && !matches(n.own)
}

// withoutGroups gives the recipe and the lock without what dependency groups alone need: the
// groups' sections, and the recipe's packages, pure and binary.accept as far as they are about
// distributions that only groups have. Without groups, both stay as they are.
func withoutGroups(r *Recipe, l *Lock) (*Recipe, *Lock) {
	if len(l.Groups) == 0 {
		return r, l
	}
	names := namesOfGroups(l)
	own, lock := *r, l.Alone()
	own.Packages = maps.Clone(r.Packages)
	maps.DeleteFunc(own.Packages, func(name string, _ Packages) bool { return names.alone(name) })
	own.Pure = slices.DeleteFunc(slices.Clone(r.Pure), names.alone)
	var accepted []int
	own.Binary.Accept, accepted = acceptedAlone(r.Binary.Accept, func(pattern string) bool { return !names.matchAlone(pattern) })
	lock.Answers.Recipe = nil
	for _, line := range l.Answers.Recipe {
		if line, ok := names.answer(line, accepted); ok {
			lock.Answers.Recipe = append(lock.Answers.Recipe, line)
		}
	}
	return &own, lock
}

// acceptedAlone gives the acceptances with those of their patterns that are wanted, and their
// places in the list that they are from.
func acceptedAlone(all []Acceptance, wanted func(pattern string) bool) (some []Acceptance, places []int) {
	for i, a := range all {
		a.Match = slices.DeleteFunc(slices.Clone(a.Match), func(pattern string) bool { return !wanted(pattern) })
		if len(a.Match) > 0 {
			some, places = append(some, a), append(places, i)
		}
	}
	return some, places
}

// acceptedInGroup are the recipe's acceptances as far as they are about distributions that
// groups alone have, and this group is one of these.
func acceptedInGroup(r *Recipe, l *Lock, group string) []Acceptance {
	all, names := namesOfGroups(l), namesOfGroups(&Lock{Groups: map[string]LockedGroup{group: l.Groups[group]}})
	some, _ := acceptedAlone(r.Binary.Accept, func(pattern string) bool { return all.matchAlone(pattern) && names.matchAlone(pattern) })
	return some
}

// answer gives a line of [Answers.Recipe] as it would be without what groups alone need; ok is
// false where it would not be. Accepted are the places of the acceptances that stay.
func (n groupNames) answer(line string, accepted []int) (answer string, ok bool) {
	key, value, _ := strings.Cut(line, ": ")
	parts := strings.Split(key, ".")
	switch {
	case parts[0] == "packages" && len(parts) > 1:
		return line, !n.alone(parts[1])
	case key == "pure":
		return line, !n.alone(value)
	case strings.HasPrefix(key, "binary.accept.") && len(parts) == 4:
		place, err := strconv.Atoi(parts[2])
		at := slices.Index(accepted, place)
		if err != nil || at < 0 || n.matchAlone(value) {
			return "", false
		}
		return fmt.Sprintf("binary.accept.%d.%s: %s", at, parts[3], value), true
	}
	return line, true
}

// with is what both take.
func (l *LockedLibraries) with(more *LockedLibraries) *LockedLibraries {
	switch {
	case more == nil:
		return l
	case l == nil:
		return more
	}
	return &LockedLibraries{
		Names: set(slices.Concat(l.Names, more.Names)), Packages: set(slices.Concat(l.Packages, more.Packages)),
		Overrides: slices.Concat(l.Overrides, more.Overrides),
	}
}
