package lint

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
)

//go:embed policies.txt
var policiesText string

// Policy is what a platform tag promises (PEP 600, PEP 656).
type Policy struct {
	// Name is without the machine: manylinux_2_17. Aliases are its names of before PEP 600.
	Name    string
	Aliases []string
}

// policySet is the policies of one libc, the one for the oldest systems first. Each has all
// that those before it have.
type policySet struct {
	policies []Policy
	// from is the first policy that a machine has.
	from map[string]int
	// libraries, versions and symbols say which policy is the first to have a library by its
	// soname, a symbol version by machine, and the symbol of a library that may be used:
	// others are private, or newer than their version says.
	libraries map[string]int
	versions  map[string]map[string]int
	symbols   map[string]map[string]int
}

// never is beyond every policy.
func (s *policySet) never() int { return len(s.policies) }

// tags are the tags of a policy for a machine, its own name first; past the last policy it
// is the one that promises nothing.
func (s *policySet) tags(policy int, machine string) []string {
	if policy >= s.never() {
		return []string{"linux_" + machine}
	}
	p := s.policies[policy]
	tags := []string{p.Name + "_" + machine}
	for _, alias := range p.Aliases {
		tags = append(tags, alias+"_"+machine)
	}
	return tags
}

// library is the first policy that has a library.
func (s *policySet) library(soname string) int { return first(s.libraries, soname, s.never()) }

// version is the first policy whose systems have a symbol version; it is no matter of
// policies, and ok is false, where the family of the version is of none of their libraries.
func (s *policySet) version(machine, name string) (policy int, ok bool) {
	if policy, ok := s.versions[machine][name]; ok {
		return policy, true
	}
	family, _, _ := strings.Cut(name, "_")
	return s.never(), families[family]
}

// symbol is the first policy under which a symbol of a library may be used.
func (s *policySet) symbol(soname, name string) int { return first(s.symbols[soname], name, 0) }

func first(m map[string]int, key string, otherwise int) int {
	if i, ok := m[key]; ok {
		return i
	}
	return otherwise
}

// families are the families of symbol versions that policies speak of: those of glibc,
// libgcc_s, libstdc++, libatomic and zlib.
var families = map[string]bool{"CXXABI": true, "GCC": true, "GLIBC": true, "GLIBCXX": true, "LIBATOMIC": true, "ZLIB": true}

// Libc is the C library that code is for.
type Libc string

// The C libraries that there are policies for.
const (
	Glibc Libc = "glibc"
	Musl  Libc = "musl"
)

// policies are those of each C library.
var policies = sync.OnceValue(func() map[Libc]*policySet {
	sets := map[Libc]*policySet{}
	var s *policySet
	for line := range strings.Lines(policiesText) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] == "#" {
			continue
		}
		if words[0] == "libc" {
			s = &policySet{from: map[string]int{}, libraries: map[string]int{}, versions: map[string]map[string]int{}, symbols: map[string]map[string]int{}}
			sets[Libc(words[1])] = s
			continue
		}
		s.line(words)
	}
	return sets
})

// line adds a line of policies.txt, which is about the last policy named.
func (s *policySet) line(words []string) {
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
		s.policies = append(s.policies, Policy{Name: words[1], Aliases: words[2:]})
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

// claim is a platform tag taken apart.
type claim struct {
	tag, machine string
	libc         Libc
	// version is that of the libc: 2.17 for manylinux2014.
	major, minor int
}

// claims are the platform tags of a name that policies are about.
func (x *exam) claims() []claim {
	var claims []claim
	for _, t := range x.tags {
		c, ok := parseClaim(t.Platform)
		if ok && !slices.Contains(claims, c) {
			claims = append(claims, c)
		}
	}
	return claims
}

func parseClaim(tag string) (claim, bool) {
	c := claim{tag: tag, libc: Glibc}
	for _, p := range policies()[Glibc].policies {
		for _, alias := range p.Aliases {
			if machine, ok := strings.CutPrefix(tag, alias+"_"); ok {
				c.machine = machine
				_, err := fmt.Sscanf(p.Name, "manylinux_%d_%d", &c.major, &c.minor)
				return c, err == nil
			}
		}
	}
	kind, rest, _ := strings.Cut(tag, "_")
	switch kind {
	case "musllinux":
		c.libc = Musl
	case "manylinux":
	default:
		return c, false
	}
	n, err := fmt.Sscanf(rest, "%d_%d_%s", &c.major, &c.minor, &c.machine)
	return c, err == nil && n == 3
}

// atLeast is the version of the libc that a policy promises.
func (p Policy) atLeast() (major, minor int) {
	_, rest, _ := strings.Cut(p.Name, "_")
	if _, err := fmt.Sscanf(rest, "%d_%d", &major, &minor); err != nil {
		return 0, 0
	}
	return major, minor
}
