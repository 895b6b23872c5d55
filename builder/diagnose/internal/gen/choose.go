package main

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"
)

// perName is how many packages one name keeps.
const perName = 3

// crowd is how many headers a package has in a directory that nobody adds to the
// search for the sake of one.
const crowd = 120

// claim says that a package answers to a name, and how well: the lower the better.
type claim struct {
	name  string
	score int
	dir   string // the directory that must be added to the search, if one must
}

// suite collects the claims of one suite, by kind and name: see encode.
type suite struct {
	claims map[string][]claim
	dirs   map[string]map[string]int // directory of headers: how many each package has there
	names  map[string]bool           // every package
	code   map[string]bool           // packages with headers or libraries of their own
}

// choose reads a suite's indexes and returns the likeliest packages of each name.
func choose(indexes []string) (map[string][]string, error) {
	s := &suite{map[string][]claim{}, map[string]map[string]int{}, map[string]bool{}, map[string]bool{}}
	if err := contents(indexes, s.add); err != nil {
		return nil, err
	}
	answers := map[string][]string{}
	for key, claims := range s.claims {
		if packages := s.likeliest(key, claims); len(packages) > 0 {
			answers[key] = packages
		}
	}
	s.addDirectories(answers)
	for key, packages := range chosen {
		delete(answers, key)
		packages = slices.DeleteFunc(slices.Clone(packages), func(name string) bool { return !s.names[name] })
		if len(packages) > 0 {
			answers[key] = packages
		}
	}
	return answers, nil
}

const multiarch = "x86_64-linux-gnu/"

// add takes note of a file that packages hold.
func (s *suite) add(file string, owners []owner) {
	for _, o := range owners {
		s.names[o.name] = true
		if header, ok := strings.CutPrefix(file, "usr/include/"); ok {
			s.code[o.name] = true
			if plausible(o) {
				s.addHeader(strings.TrimPrefix(header, multiarch), o)
			}
			continue
		}
		if plausible(o) {
			s.addBuilt(file, o)
		}
		if name, ok := program(file); ok {
			s.claim("x"+name, o, 0, "")
		}
	}
}

// program returns the name of one of the programs that are asked for.
func program(file string) (string, bool) {
	dir, name := path.Split(strings.TrimPrefix(file, "usr/"))
	return name, (dir == "bin/" || dir == "sbin/") && programs[name]
}

var (
	library = regexp.MustCompile(`^(?:usr/)?lib/(?:x86_64-linux-gnu/)?lib([^/]+)\.so$`)
	pkgConf = regexp.MustCompile(`^usr/(?:lib|share)/(?:x86_64-linux-gnu/)?pkgconfig/([^/]+)\.pc$`)
	cmakeOf = regexp.MustCompile(`^usr/(?:lib|share)/.*?([^/]+?)(?:Config|-config)\.cmake$`)
)

// addBuilt takes note of what linkers, pkg-config and CMake look for.
func (s *suite) addBuilt(file string, o owner) {
	if m := library.FindStringSubmatch(file); m != nil {
		s.code[o.name] = true
		s.claim("l"+m[1], o, 0, "")
	} else if m := pkgConf.FindStringSubmatch(file); m != nil {
		s.claim("p"+m[1], o, 0, "")
	} else if m := cmakeOf.FindStringSubmatch(file); m != nil {
		s.claim("c"+strings.ToLower(m[1]), o, 0, "")
	}
}

// addHeader takes note of a header below a directory that compilers search. Many a
// build adds a directory of that directory to the search (/usr/include/libxml2), so
// the path counts without its first directories too, but less; without two of them
// only where its package is named for what is left.
func (s *suite) addHeader(header string, o owner) {
	whole := path.Dir(header)
	for strip := range 3 {
		dir := path.Dir(header)
		if dir == "." {
			if strip < 2 || related(header, o.name) {
				s.claim("h"+header, o, strip, whole)
			}
			return
		}
		if strip+strings.Count(header, "/") < 3 {
			s.claim("h"+header, o, strip, whole)
		}
		if strip < 2 || related(dir, o.name) {
			s.count(dir, strip, o.name)
		}
		_, header, _ = strings.Cut(header, "/")
	}
}

// related reports whether a package is named for a file, or for a directory.
func related(file, name string) bool {
	file = path.Base(file)
	stem := strings.ToLower(strings.TrimSuffix(file, path.Ext(file)))
	stem = strings.NewReplacer("_c", "", "_", "-").Replace(stem)
	return len(stem) > 1 && strings.Contains(name, stem)
}

// direct is what a header counts for its directory where nothing must be added to the
// search; no package has as many headers in one.
const direct = 1 << 20

// count takes note that a package has a header in a directory. A directory that is
// only found by adding another one to the search counts less.
func (s *suite) count(dir string, strip int, name string) {
	if s.dirs[dir] == nil {
		s.dirs[dir] = map[string]int{}
	}
	s.dirs[dir][name] += []int{direct, 1, 1}[strip]
}

// claim takes note of a package that answers to a name.
func (s *suite) claim(key string, o owner, strip int, dir string) {
	score := 10*strip + oddity(o)
	if related(key[1:], o.name) {
		score -= 5
	}
	for i, c := range s.claims[key] {
		if c.name == o.name {
			s.claims[key][i].score = min(c.score, score)
			return
		}
	}
	s.claims[key] = append(s.claims[key], claim{o.name, score, dir})
}

// variants are builds of a library that few want where there is a plain one.
var variants = regexp.MustCompile(`mpich|openmpi|-nss-|-gnutls-|-serial-|-openmp-|64-|wolfssl|heimdal|iodbc|-gles|-compat|-test`)

// oddity counts against a package what makes it an unlikely answer.
func oddity(o owner) int {
	odd := 0
	if o.section != "libdevel" {
		odd++
	}
	if variants.MatchString(o.name) {
		odd += 3
	}
	return odd
}

// likeliest sorts the packages of a name and keeps the best ones; none where so many
// claim the bare name of a header that each would be a guess.
func (s *suite) likeliest(key string, claims []claim) []string {
	claims = slices.DeleteFunc(claims, func(c claim) bool {
		return key[0] == 'h' && c.score >= 10 && !strings.Contains(key, "/") && s.dirs[c.dir][c.name] > crowd*direct
	})
	if len(claims) == 0 {
		return nil
	}
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	best := claims[0].score
	if key[0] == 'h' && best >= 10 && len(claims) > perName && !related(key[1:], claims[0].name) {
		return nil
	}
	var packages []string
	for _, c := range claims {
		if name := s.meta(c.name); c.score <= best+9 && len(packages) < perName && !slices.Contains(packages, name) {
			packages = append(packages, name)
		}
	}
	return packages
}

var numbered = regexp.MustCompile(`-?\d+(\.\d+)*(-dev)$`)

// meta returns the package without a version in its name that only brings the given
// one in (libboost-dev for libboost1.81-dev), where there is one.
func (s *suite) meta(name string) string {
	if plain := numbered.ReplaceAllString(name, "$2"); plain != name && s.names[plain] && !s.code[plain] {
		return plain
	}
	return name
}

// addDirectories answers for directories of headers, and drops those headers that the
// directory answers for just as well.
func (s *suite) addDirectories(answers map[string][]string) {
	for dir, counts := range s.dirs {
		claims := make([]claim, 0, len(counts))
		for name, count := range counts {
			if related(dir, name) {
				count *= direct
			}
			claims = append(claims, claim{name: name, score: -count})
		}
		slices.SortFunc(claims, func(a, b claim) int {
			return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(a.name, b.name))
		})
		if guess := -claims[0].score < direct && len(claims) > 1; guess {
			continue
		}
		answers["d"+dir] = []string{s.meta(claims[0].name)}
	}
	for key, packages := range answers {
		if dir := path.Dir(key[1:]); key[0] == 'h' && slices.Equal(packages[:1], answers["d"+dir]) {
			delete(answers, key)
		}
	}
	dropImplied(answers)
}

// dropImplied drops the directories for which the one above answers as well.
func dropImplied(answers map[string][]string) {
	var implied []string
	for key, packages := range answers {
		if key[0] != 'd' {
			continue
		}
		if above, ok := answers["d"+path.Dir(key[1:])]; ok && above[0] == packages[0] {
			implied = append(implied, key)
		}
	}
	for _, key := range implied {
		delete(answers, key)
	}
}
