package diagnose

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

// rule recognises one kind of sentence.
type rule struct {
	// has is text that every such line holds; looking for it is cheaper than the
	// expression.
	has string
	// expr is compiled when a line holds the text: most runs of the program need none.
	expr func() *regexp.Regexp
	// once says that further lines of the kind tell of alternatives to the first.
	once bool
	// say returns what the sentence says, nil for nothing. It gets what the expression
	// matched.
	say func(s *scan, m []string) []finding
}

// on makes a rule.
func on(has, expr string, say func(s *scan, m []string) []finding) rule {
	return rule{has: has, expr: sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) }), say: say}
}

// one makes a rule whose sentence says one thing.
func one(has, expr string, say func(s *scan, m []string) finding) rule {
	return on(has, expr, func(s *scan, m []string) []finding { return []finding{say(s, m)} })
}

// always makes a rule whose sentence means the same whatever it names.
func always(has, expr string, c Cause) rule {
	return one(has, expr, func(*scan, []string) finding { return finding{Cause: c} })
}

// optional makes what a rule finds optional.
func optional(r rule) rule {
	say := r.say
	r.say = func(s *scan, m []string) []finding {
		findings := say(s, m)
		for i := range findings {
			findings[i].optional = true
		}
		return findings
	}
	return r
}

// once lets a rule speak only once.
func once(r rule) rule {
	r.once = true
	return r
}

// rules are all of them; the first one that has something to say about a line says it.
var rules = slices.Concat(limitRules, rustRules, pythonRules, compileRules, mesonRules, cmakeRules, configureRules, programRules)

// beginnings are the first two bytes of the texts that rules look for, each with the
// numbers of its rules.
var beginnings = func() map[[2]byte][]int {
	found := map[[2]byte][]int{}
	for i, r := range rules {
		pair := [2]byte{r.has[0], r.has[1]}
		found[pair] = append(found[pair], i)
	}
	return found
}()

// begins tells of each pair of bytes, as a number, whether it is one of the beginnings.
var begins = func() *[1 << 16]bool {
	var set [1 << 16]bool
	for pair := range beginnings {
		set[int(pair[0])<<8|int(pair[1])] = true
	}
	return &set
}()

// candidates returns the numbers of the rules whose text a line holds, in their order.
// One pass over the line looks for all of them: almost no line has any.
func candidates(line string) []int {
	var found []int
	for i := 1; i < len(line); i++ {
		if !begins[int(line[i-1])<<8|int(line[i])] {
			continue
		}
		for _, number := range beginnings[[2]byte{line[i-1], line[i]}] {
			if strings.HasPrefix(line[i-1:], rules[number].has) {
				found = append(found, number)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}
