package audit

import (
	"context"
	"fmt"
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
// run has not passed.
func checkTests(_ context.Context, x *exam) (outcome, error) {
	out := outcome{}
	for _, target := range x.Targets {
		for _, t := range x.Tests {
			out.examined++
			if f, ok := x.testFault(target.Name, t); ok {
				out.add(f)
			}
		}
	}
	return out, nil
}

func (x *exam) testFault(target string, t Test) (Finding, bool) {
	f := Finding{
		Severity: Refuse, Field: t.Kind, Value: printable(strings.Join(t.Args, " ")), Targets: []string{target},
		Cause:  "There is no report that the test ran.",
		Remedy: "Run the gate again; this is a fault of whatever ran the tests.",
	}
	i := slices.IndexFunc(x.Reports, func(r TestReport) bool {
		return r.Target == target && r.Kind == t.Kind && slices.Equal(r.Args, t.Args)
	})
	if i < 0 {
		return f, true
	}
	r := x.Reports[i]
	if r.Code == 0 {
		return f, false
	}
	f.Cause = fmt.Sprintf("The test ended with code %d: %s", r.Code, lastLines(r.Output, 3))
	f.Remedy = "Run it in the artifact with ampoule run to see more."
	return f, true
}

// lastLines returns the end of some output on one line.
func lastLines(output string, n int) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	lines = lines[max(0, len(lines)-n):]
	return printable(strings.Join(lines, " | "))
}
