// Package explain says what the messages mean with which Python, the dynamic loader and
// pip fail over wheels that do not fit: what went wrong, how to find the file, and what
// keeps it from happening again.
package explain

import (
	"cmp"
	"regexp"
	"strings"

	"ampoule/audit"
)

// Explanation is what a message means.
type Explanation struct {
	// Message is the part of the text that was understood.
	Message string `json:"message"`
	// Means says what happened, in a few sentences.
	Means string `json:"means"`
	// Find are the steps that lead to the file at fault.
	Find []Step `json:"find"`
	// Prevents says what keeps it from happening again.
	Prevents string `json:"prevents"`
	// Checks are the audit's checks that would tell it, by name.
	Checks []string `json:"checks"`
}

// Step is one thing to do: a command, and what it shows; or, without a command, what to
// look at.
type Step struct {
	// Run is a command for a shell.
	Run string `json:"run,omitempty"`
	// Says is what the command shows, or what to do where there is none.
	Says string `json:"says,omitempty"`
}

// Text explains what a text, such as a traceback, says that is known; of several such
// things the one that tells most. It returns false when there is none.
func Text(text string) (Explanation, bool) {
	text = plain(text)
	for _, k := range kinds {
		at := k.pattern.FindStringSubmatchIndex(text)
		if at == nil {
			continue
		}
		e := k.explain(values{k.pattern, text, at})
		line := lineAround(text, at[0])
		if e.Message = strings.TrimSpace(line); len(line) > maxMessage {
			e.Message = text[at[0]:at[1]]
		}
		e.Message = audit.Printable(e.Message)
		if len(e.Checks) > 0 {
			site := cmp.Or(siteOf(line), siteOf(text), "PREFIX-OR-VENV")
			e.Find = append([]Step{{Run: "ampoule audit " + quote(site)}}, e.Find...)
		}
		return e, true
	}
	return Explanation{}, false
}

// kind is one sort of message. The first whose pattern is in the text counts: special
// ones come before general ones.
type kind struct {
	pattern *regexp.Regexp
	explain func(values) Explanation
}

// always is the explanation of a kind whose messages all mean the same.
func always(e Explanation) func(values) Explanation {
	return func(values) Explanation { return e }
}

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
			return audit.Printable(v.text[from:to])
		}
	}
	return ""
}

var (
	escapes = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")
	// Behind File and Error, as tracebacks have them, paths may have spaces.
	inSite    = regexp.MustCompile(`(?:File "|Error: )(/[^":\n]*?/(?:site|dist)-packages)/|(/[^\s"':]*?/(?:site|dist)-packages)/`)
	safeWords = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)
)

// plain is a text without a terminal's control sequences, with plain quotation marks.
func plain(text string) string {
	return strings.NewReplacer("‘", "'", "’", "'", "`", "'", "\r", "").Replace(escapes.ReplaceAllString(text, ""))
}

// siteOf is the directory of distributions that a text's paths lead into, the last one;
// empty when there is none.
func siteOf(text string) string {
	all := inSite.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return ""
	}
	last := all[len(all)-1]
	return cmp.Or(last[1], last[2])
}

func quote(s string) string {
	if safeWords.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// maxMessage bounds how long a line may be that is repeated as a whole, in bytes.
const maxMessage = 400

// lineAround is the line that a place in a text is in.
func lineAround(text string, at int) string {
	start := strings.LastIndexByte(text[:at], '\n') + 1
	line, _, _ := strings.Cut(text[start:], "\n")
	return line
}
