// Package policy has what platform tags of wheels promise: which libraries, symbol versions
// and symbols the systems have that a wheel with such a tag is installed on (PEP 600, PEP 656).
package policy

import (
	_ "embed"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"ampoule/packaging"
)

//go:embed policies.txt
var policiesText string

// Set is the policies of one C library, the one for the oldest systems first. Each has all
// that those before it have. A policy is called by its place among them.
type Set struct {
	// policies are what the policies promise of the C library; Machine is empty.
	policies []packaging.Platform
	// from is the first policy that a machine has.
	from map[string]int
	// libraries, versions and symbols say which policy is the first to have a library by its
	// soname, a symbol version by machine, and the symbol of a library that may be used:
	// others are private, or newer than their version says.
	libraries map[string]int
	versions  map[string]map[string]int
	symbols   map[string]map[string]int
}

// Never is beyond every policy.
func (s *Set) Never() int { return len(s.policies) }

// First is the first policy that a machine has; false where it has none.
func (s *Set) First(machine string) (policy int, ok bool) {
	policy, ok = s.from[machine]
	return policy, ok
}

// AtLeast is the version of the C library that a policy promises.
func (s *Set) AtLeast(policy int) (major, minor int) {
	return s.policies[policy].Major, s.policies[policy].Minor
}

// Tags are the tags of a policy for a machine, its own name first, then its name of before
// PEP 600; past the last policy it is the one that promises nothing.
func (s *Set) Tags(policy int, machine string) []string {
	if policy >= s.Never() {
		return packaging.Platform{Machine: machine}.Tags()
	}
	p := s.policies[policy]
	p.Machine = machine
	return p.Tags()
}

// Library is the first policy that has a library.
func (s *Set) Library(soname string) int { return first(s.libraries, soname, s.Never()) }

// Version is the first policy whose systems have a symbol version; it is no matter of
// policies, and ok is false, where the family of the version is of none of their libraries.
func (s *Set) Version(machine, name string) (policy int, ok bool) {
	if policy, ok := s.versions[machine][name]; ok {
		return policy, true
	}
	family, _, _ := strings.Cut(name, "_")
	return s.Never(), families[family]
}

// Symbol is the first policy under which a symbol of a library may be used.
func (s *Set) Symbol(soname, name string) int { return first(s.symbols[soname], name, 0) }

func first(m map[string]int, key string, otherwise int) int {
	if i, ok := m[key]; ok {
		return i
	}
	return otherwise
}

// Symbols gives the libraries that have symbols which no policy, or not each, admits.
func (s *Set) Symbols() iter.Seq[string] { return maps.Keys(s.symbols) }

// Newest is the newest version, as numbers, that the symbols of a family have on the systems
// of a machine with the given version of the C library, or an older one; nil where none has.
func (s *Set) Newest(machine, family string, major, minor int) []int {
	var newest []int
	for name, policy := range s.versions[machine] {
		text, ok := strings.CutPrefix(name, family+"_")
		promised := []int{s.policies[policy].Major, s.policies[policy].Minor}
		if !ok || slices.Compare(promised, []int{major, minor}) > 0 {
			continue
		}
		if version := Numbers(text); slices.Compare(version, newest) > 0 {
			newest = version
		}
	}
	return newest
}

// Numbers reads a version of glibc or of a family of symbols, such as 3.4.19; nil of one that
// has more than numbers.
func Numbers(version string) []int {
	var list []int
	for part := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil
		}
		list = append(list, n)
	}
	return list
}

// families are the families of symbol versions that policies speak of: those of glibc,
// libgcc_s, libstdc++, libatomic and zlib.
var families = map[string]bool{"CXXABI": true, "GCC": true, "GLIBC": true, "GLIBCXX": true, "LIBATOMIC": true, "ZLIB": true}

// Of is the policies of a C library of Linux.
func Of(libc packaging.Libc) *Set { return sets()[libc] }

var sets = sync.OnceValue(func() map[packaging.Libc]*Set {
	all := map[packaging.Libc]*Set{}
	var s *Set
	for line := range strings.Lines(policiesText) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] == "#" {
			continue
		}
		if words[0] == "libc" {
			s = &Set{from: map[string]int{}, libraries: map[string]int{}, versions: map[string]map[string]int{}, symbols: map[string]map[string]int{}}
			all[packaging.Libc(words[1])] = s
			continue
		}
		s.line(words)
	}
	return all
})

// line adds a line of policies.txt, which is about the last policy named.
func (s *Set) line(words []string) {
	last := len(s.policies) - 1
	set := func(m map[string]map[string]int, key string, names []string, policy int, prefix string) {
		if m[key] == nil {
			m[key] = map[string]int{}
		}
		for _, name := range names {
			m[key][prefix+name] = policy
		}
	}
	switch words[0] {
	case "policy":
		p, ok := packaging.ParsePlatform(words[1] + "_any")
		if !ok {
			panic("policies.txt names the policy " + words[1])
		}
		s.policies = append(s.policies, p)
	case "machine":
		if _, ok := s.from[words[1]]; !ok {
			s.from[words[1]] = last
		}
	case "libraries":
		for _, soname := range words[1:] {
			s.libraries[soname] = last
		}
	case "versions":
		set(s.versions, words[1], words[3:], last, words[2]+"_")
	case "frees":
		set(s.symbols, words[1], words[2:], last, "")
	case "never":
		set(s.symbols, words[1], words[2:], last+1, "")
	}
}
