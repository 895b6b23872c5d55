package explain

import (
	"regexp"
	"slices"
	"strings"

	"ampoule/audit"
)

// values are what a pattern found in a text, by the names of its groups.
type values struct {
	pattern *regexp.Regexp
	text    string
	at      []int
}

// of is what the first of the named groups that found something did find.
func (v values) of(names ...string) string {
	for _, name := range names {
		i := 2 * v.pattern.SubexpIndex(name)
		if from, to := v.at[i], v.at[i+1]; from < to {
			from = beforeSpaces(v.text, from, to)
			return audit.Printable(v.text[from:min(to, from+maxMessage)])
		}
	}
	return ""
}

// maybe is what a named group found, empty when the pattern has no such group.
func (v values) maybe(name string) string {
	if v.pattern.SubexpIndex(name) < 0 {
		return ""
	}
	return v.of(name)
}

// beforeSpaces is where a path begins that has spaces, of which a pattern found the last
// part: behind "Error: ", as exceptions have it.
func beforeSpaces(text string, from, to int) int {
	const behind = "Error: "
	if !strings.Contains(text[from:to], "/") {
		return from
	}
	low := max(strings.LastIndexByte(text[:from], '\n')+1, from-maxMessage)
	if i := strings.LastIndex(text[low:from], behind); i >= 0 {
		start := low + i + len(behind)
		if start < from && text[start] == '/' && !strings.Contains(text[start:from], ":") {
			return start
		}
	}
	return from
}

// hole is a place in an explanation that takes what a group of the kind's pattern found:
// {name}, {one,other} for the first of two groups, {name|this} where it may have found
// nothing. The space before a hole that nothing fills goes with it.
var hole = regexp.MustCompile(`( ?)\{([a-z]\w*(?:,\w+)*)(?:\|([^{}]*))?\}`)

// told is the explanation of a kind as it stands, with its holes filled. In commands what
// fills them is quoted for a shell.
func told(e Explanation) func(values) Explanation {
	return func(v values) Explanation {
		out := Explanation{Means: v.fill(e.Means, asItIs), Prevents: v.fill(e.Prevents, asItIs), Checks: e.Checks}
		for _, step := range e.Find {
			out.Find = append(out.Find, Step{Run: v.fill(step.Run, quote), Says: v.fill(step.Says, asItIs)})
		}
		return out
	}
}

func asItIs(s string) string { return s }

func (v values) fill(text string, as func(string) string) string {
	return hole.ReplaceAllStringFunc(text, func(found string) string {
		part := hole.FindStringSubmatch(found)
		if value := v.of(strings.Split(part[2], ",")...); value != "" {
			return part[1] + as(value)
		}
		if part[3] == "" {
			return ""
		}
		return part[1] + part[3]
	})
}

var safeWords = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quote is a word as a shell takes it, and no option of a command.
func quote(s string) string {
	if strings.HasPrefix(s, "-") {
		s = "./" + s
	}
	if safeWords.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// run is a step with a command, and what it shows.
func run(command, shows string) Step { return Step{Run: command, Says: shows} }

// look is a step without a command.
func look(says string) Step { return Step{Says: says} }

// begins reports whether a text has one of some beginnings.
func begins(text string, beginnings ...string) bool {
	return slices.ContainsFunc(beginnings, func(b string) bool { return strings.HasPrefix(text, b) })
}
