// Package explain says what the messages mean with which Python, the dynamic loader and
// pip fail over wheels that do not fit: what went wrong, how to find the file, and what
// keeps it from happening again.
package explain

import (
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
	// Find are the steps, each a sentence or a command, that lead to the file at fault.
	Find []string `json:"find"`
	// Prevents says what keeps it from happening again.
	Prevents string `json:"prevents"`
	// Checks are the audit's checks that would tell it, by name.
	Checks []string `json:"checks"`
}

// Text explains what a text, such as a traceback, says that is known; of several such
// things the one that tells most. It returns false when there is none.
func Text(text string) (Explanation, bool) {
	text = plain(text)
	site := siteOf(text)
	for _, k := range kinds {
		m := k.pattern.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		e := k.explain(values{m, k.pattern.SubexpNames()})
		e.Message = strings.TrimSpace(lineAround(text, m[0]))
		if len(e.Checks) > 0 {
			e.Find = append([]string{"ampoule audit " + quote(site)}, e.Find...)
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

// values are what a pattern found, by name.
type values struct {
	found, names []string
}

func (v values) of(name string) string {
	for i, n := range v.names {
		if n == name && v.found[i] != "" {
			return audit.Printable(v.found[i])
		}
	}
	return ""
}

var (
	escapes   = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")
	inSite    = regexp.MustCompile(`(/[^\s"':]*?/(?:site|dist)-packages)/`)
	safeWords = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)
)

// plain is a text without a terminal's control sequences, with plain quotation marks.
func plain(text string) string {
	return strings.NewReplacer("‘", "'", "’", "'", "`", "'", "\r", "").Replace(escapes.ReplaceAllString(text, ""))
}

// siteOf is the directory of distributions that a text's paths lead into.
func siteOf(text string) string {
	all := inSite.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return "PREFIX-OR-VENV"
	}
	return all[len(all)-1][1]
}

func quote(s string) string {
	if safeWords.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// maxMessage bounds how much of a line is repeated, in bytes.
const maxMessage = 400

func lineAround(text, part string) string {
	at := strings.Index(text, part)
	start := strings.LastIndexByte(text[:at], '\n') + 1
	line, _, _ := strings.Cut(text[start:], "\n")
	if len(line) > maxMessage {
		line = part
	}
	return audit.Printable(line)
}
