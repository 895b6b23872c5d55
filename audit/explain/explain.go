// Package explain says what the messages mean with which Python, the dynamic loader, pip,
// servers, systemd and container engines fail over programs that do not fit where they
// are: what went wrong, the command that shows or mends it, and what keeps it from
// happening again.
package explain

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"ampoule/audit"
)

// Explanation is what a message means.
type Explanation struct {
	// Message is the part of the text that was understood.
	Message string `json:"message"`
	// Kind names the sort of message; a name keeps its meaning.
	Kind string `json:"kind"`
	// Means says what happened, in a few sentences.
	Means string `json:"means"`
	// Find are the steps that lead to the file at fault, or mend it; the first helps most.
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

// Text explains what a text, such as a traceback or a log, says that is known; of several
// such things the one that tells most. It returns false when there is none. It takes time
// that grows with the text's length alone.
func Text(text string) (Explanation, bool) {
	s := newSource(plain(text))
	for _, k := range compiled() {
		if at := k.find(s); at != nil {
			return k.tell(s.text, at), true
		}
	}
	return Explanation{}, false
}

// tell explains the text at the place where the kind's pattern was found.
func (k *matcher) tell(text string, at []int) Explanation {
	e := k.explain(values{k.regexp, text, at})
	e.Kind = k.id
	line := lineAround(text, at[0])
	e.Message = strings.TrimSpace(line)
	if len(line) > maxMessage {
		e.Message = text[at[0]:min(at[1], at[0]+maxMessage)]
	}
	e.Message = audit.Printable(e.Message)
	site := cmp.Or(siteOf(line), siteOf(text))
	if site == "" && slices.Contains(e.Checks, "environment") {
		site = environmentOf(line)
	}
	if len(e.Checks) > 0 && !slices.Contains(e.Find, audited) {
		at := 0
		if site == "" {
			at = 1
		}
		e.Find = slices.Insert(slices.Clone(e.Find), at, audited)
	}
	for i, step := range e.Find {
		if step == audited {
			e.Find[i].Run = "ampoule audit " + quote(cmp.Or(site, "PREFIX-OR-VENV"))
		}
	}
	if ofMusl.MatchString(line) {
		e.Find = onMusl(e.Find)
	}
	return e
}

// audited is the step that the audit is, of the place that the text names. A kind whose
// faults the audit tells and that does not say where the step stands has it first, or
// second where the text names no place.
var audited = Step{Run: "ampoule audit SITE"}

// inSite finds a path into a directory of distributions. Behind File and Error, as tracebacks
// have them, paths may have spaces.
var inSite = regexp.MustCompile(`(?:File "(/?[^":\n]*?/(?:site|dist)-packages)|Error: (/[^":\n]*?/(?:site|dist)-packages)|([^\s"':(]*?/(?:site|dist)-packages))/`)

// siteOf is the directory of distributions that a text's paths lead into, the last one;
// empty when there is none.
func siteOf(text string) string {
	all := inSite.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return ""
	}
	return audit.Printable(cmp.Or(all[len(all)-1][1:]...))
}

// inBin finds a program of an environment or prefix.
var inBin = regexp.MustCompile(`(/[^\s:"']*)/bin/[^\s/:"']+`)

// What shells say of the interpreter that a script names, zsh and others: it is none of the
// script's own place.
var (
	lostOfZsh  = regexp.MustCompile(`bad interpreter: /\S+`)
	lostOfBash = regexp.MustCompile(`[^\s:]+: bad interpreter`)
)

// environmentOf is the prefix of the first program in a line that is in one of its own, and
// not the system's; empty when there is none.
func environmentOf(line string) string {
	line = lostOfBash.ReplaceAllString(lostOfZsh.ReplaceAllString(line, ""), "")
	for _, m := range inBin.FindAllStringSubmatch(line, -1) {
		if m[1] != "/usr" && m[1] != "/usr/local" {
			return audit.Printable(m[1])
		}
	}
	return ""
}

// maxMessage bounds how long a line may be that is repeated as a whole, in bytes.
const maxMessage = 400

// lineAround is the line that a place in a text is in.
func lineAround(text string, at int) string {
	start := strings.LastIndexByte(text[:at], '\n') + 1
	line, _, _ := strings.Cut(text[start:], "\n")
	return line
}
