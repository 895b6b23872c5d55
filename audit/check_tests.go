package audit

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
)

func init() {
	register(check{
		name:   "recipe-tests",
		reason: "the recipe's own imports and commands pass in every target",
		needs:  aBuild,
		run:    checkTests,
	})
}

// checkTests demands a report of every test in every target: a test that did not
// run has not passed. Where startup code is accepted, it must pass without that, too.
func checkTests(_ context.Context, x *exam) (outcome, error) {
	out := outcome{}
	list, modes, err := x.startupModes()
	if err != nil {
		return out, err
	}
	for _, target := range x.Targets {
		for _, t := range x.Tests {
			var faults [2]*Finding
			for i, startup := range modes {
				out.examined++
				if f, ok := x.testFault(target.Name, t, startup); ok {
					faults[i] = &f
				}
			}
			if f := x.startupDecides(list, faults, len(modes)); f != nil {
				out.add(*f)
			}
		}
	}
	return out, nil
}

// startupModes says how a tree had to be tried: without startup code, and with it where it
// has some and all of it is accepted.
func (x *exam) startupModes() ([]Startup, []bool, error) {
	list, err := x.startups()
	if err != nil || len(list) == 0 || !StartupAccepted(list, x.Exceptions, x.Now) {
		return list, []bool{false}, err
	}
	return list, []bool{false, true}, nil
}

// startupDecides joins what was found without startup code and with it. What passes only
// with the code is decided by it: a warning where the recipe accepts all of it by name, and
// refused where it has only a known form.
func (x *exam) startupDecides(list []Startup, faults [2]*Finding, tried int) *Finding {
	without, with := faults[0], faults[1]
	switch {
	case without == nil && with == nil:
		return nil
	case without == nil:
		with.Cause += " Without the tree's startup code it passes: " + startupNames(list) + "."
		return with
	case with != nil || tried < 2:
		return without
	}
	without.Cause += " It passes with the tree's startup code alone: " + startupNames(list) + "."
	if slices.ContainsFunc(list, func(s Startup) bool { return !s.excepted(x.Exceptions, x.Now) }) {
		without.Remedy = "Make it pass without, or accept the startup code by name, with a reason and an end: gate.except, check startup."
		return without
	}
	without.Severity, without.Remedy = Warn, "Nothing, if that is what the startup code was accepted for."
	return without
}

// startupNames names some files for a sentence.
func startupNames(list []Startup) string {
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = path.Base(s.File)
	}
	return printable(strings.Join(names, ", "))
}

func (x *exam) testFault(target string, t Test, startup bool) (Finding, bool) {
	f := Finding{
		Severity: Refuse, Field: t.Kind, Value: printable(strings.Join(t.Args, " ")), Targets: []string{target},
		Cause:  "There is no report that the test ran.",
		Remedy: "Run the gate again; this is a fault of whatever ran the tests.",
	}
	i := slices.IndexFunc(x.Reports, func(r TestReport) bool {
		return r.Target == target && r.Kind == t.Kind && r.Startup == startup && slices.Equal(r.Args, t.Args)
	})
	if i < 0 {
		return f, true
	}
	r := x.Reports[i]
	if r.Code == 0 {
		return f, false
	}
	f.Cause = fmt.Sprintf("The test ended with code %d: %s", r.Code, lastLines(r.Output, 3))
	f.Remedy = "Run it again in the refused tree, which ampoule shell opens."
	return f, true
}

// lastLines returns the end of some output on one line.
func lastLines(output string, n int) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	lines = lines[max(0, len(lines)-n):]
	return printable(strings.Join(lines, " | "))
}
