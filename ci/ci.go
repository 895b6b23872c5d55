// Package ci is a pipeline's step: it says what a step does with an artifact, writes for the
// system that the step runs on in that system's own form, and records what was run.
//
// What programs in the artifact print is foreign text. It reaches the system's log through
// a [Log], where it can neither be taken for a command of the step nor show a secret.
package ci

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"ampoule/faults"
)

// System is the form in which one CI system takes what a step has to say. What it returns
// are whole lines of the step's log; empty where the system has none of a kind.
type System interface {
	// Name is how people choose the system.
	Name() string
	// Begin is the line that opens a part of the log, and End the one that closes it.
	Begin(p Part) string
	End(p Part) string
	// Annotate is a message that the system shows at a line of a file.
	Annotate(a Annotation) string
	// Stop is the line from which on the log has no commands until the line that Resume
	// gives for the same token.
	Stop(token string) string
	Resume(token string) string
	// Disarm says what of foreign text is written in another way.
	Disarm() []Replacement
	// Export gives values to later steps.
	Export(ctx context.Context, values []Value) error
	// Summarize shows Markdown beside the log.
	Summarize(ctx context.Context, markdown string) error
}

// Part is a part of the log that can be folded.
type Part struct {
	// ID is unique in a log: a letter, then letters, digits and "_".
	ID    string
	Title string
	// Unix is the time at which the line is written, in seconds.
	Unix int64
}

// Level says how bad it is what an annotation tells.
type Level string

// The levels.
const (
	Warning Level = "warning"
	Failure Level = "error"
)

// Annotation is a message about a place in a file.
type Annotation struct {
	Level Level
	// File is relative to the root of the checkout; Line and Column count from 1. Each may
	// be unknown, from the last on.
	File         string
	Line, Column int
	Message      string
}

// Value is what later steps are told. Name has small letters and "-" alone.
type Value struct{ Name, Text string }

// Place is what a system's adapter works with.
type Place struct {
	// Environ is the environment of the step, as os.Environ has it.
	Environ []string
	// Run runs a program of the machine, with a text as its input.
	Run func(ctx context.Context, input, program string, args ...string) error
}

// get is the last value of a variable; empty without one.
func (p Place) get(name string) string {
	for _, v := range slices.Backward(p.Environ) {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// systems are all systems, by what makes each of them known. A shell is the last.
var systems = []struct {
	name string
	here func(Place) bool
	open func(Place) System
}{
	{"github", func(p Place) bool { return p.get("GITHUB_ACTIONS") == "true" }, newGitHub},
	{"gitlab", func(p Place) bool { return p.get("GITLAB_CI") == "true" }, newGitLab},
	{"buildkite", func(p Place) bool { return p.get("BUILDKITE") == "true" }, newBuildkite},
	{"jenkins", func(p Place) bool { return p.get("JENKINS_URL") != "" }, newJenkins},
	{Shell, func(Place) bool { return true }, newShell},
}

// Names lists the systems.
func Names() []string {
	var names []string
	for _, s := range systems {
		names = append(names, s.name)
	}
	return names
}

// Open opens the system of a name; if that is empty, the one whose environment this is.
func Open(name string, p Place) (System, error) {
	for _, s := range systems {
		if s.name == name || name == "" && s.here(p) {
			return s.open(p), nil
		}
	}
	return nil, faults.New(faults.Usage, "", "%q is no CI system: want one of %s", name, strings.Join(Names(), ", "))
}

// Shell is the name of no system: of a plain shell.
const Shell = "shell"

// shell is where nobody reads commands out of a log.
type shell struct{}

func newShell(Place) System { return shell{} }

// Name implements [System].
func (shell) Name() string { return Shell }

// Begin implements [System].
func (shell) Begin(p Part) string { return "== " + p.Title }

// End implements [System].
func (shell) End(Part) string { return "" }

// Annotate implements [System].
func (shell) Annotate(Annotation) string { return "" }

// Stop implements [System].
func (shell) Stop(string) string { return "" }

// Resume implements [System].
func (shell) Resume(string) string { return "" }

// Disarm implements [System].
func (shell) Disarm() []Replacement { return nil }

// Export implements [System].
func (shell) Export(context.Context, []Value) error { return nil }

// Summarize implements [System].
func (shell) Summarize(context.Context, string) error { return nil }

// oneLine keeps a title on its line.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}

// Variables is a file that gives values the names that they have in an environment, each in a
// line NAME=VALUE. The key is left out, so that no name looks like that of a secret.
func Variables(values []Value) []byte {
	var b strings.Builder
	for _, v := range values {
		if v.Name == "key" {
			continue
		}
		fmt.Fprintf(&b, "AMPOULE_%s=%s\n", strings.ToUpper(strings.ReplaceAll(v.Name, "-", "_")), oneLine(v.Text))
	}
	return []byte(b.String())
}
