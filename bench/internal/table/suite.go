package table

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ampoule/bench/internal/recorded"
	"ampoule/bench/internal/trials"
)

// writeSuite tells what CPython's own tests say of artifacts.
func writeSuite(b *strings.Builder, tests []recorded.SuiteTest) {
	if len(tests) == 0 {
		return
	}
	b.WriteString(`
## CPython's own tests

` + "`make suite`" + ` lays the tests of CPython over a published artifact of each link mode, as a dependency group, and runs them with
every resource that needs no network. It runs the same tests over the same source compiled as it comes, with the same
compiler, in a container that differs in the interpreter alone. A module that fails runs once more, alone, and what it
says then counts. *Worse* is what fails over the artifact alone; [0123](decisions/0123-tests-in-one-container.md) says why.
`)
	both := slices.DeleteFunc(slices.Clone(tests), func(t recorded.SuiteTest) bool { return t.Ours == nil || t.Raw == nil })
	if half := len(tests) - len(both); half > 0 {
		fmt.Fprintf(b, "It is under way: %d modules have run over one of the two so far.\n", half)
	}
	if len(both) == 0 {
		return
	}
	b.WriteString(`
| mode | modules | passed | skipped whole | tests that fail in both | worse | tests skipped, artifact / raw | day |
|---|--:|--:|--:|--:|---|---|---|
`)
	for _, mode := range trials.SuiteModes() {
		of := slices.DeleteFunc(slices.Clone(both), func(t recorded.SuiteTest) bool { return !strings.HasPrefix(t.Name, mode+"/") })
		if len(of) > 0 {
			writeMode(b, mode, of)
		}
	}
	writeReasons(b, both)
}

func writeMode(b *strings.Builder, mode string, tests []recorded.SuiteTest) {
	results := map[string]int{}
	both, ours, raw := 0, 0, 0
	var worse []string
	when := ""
	for _, t := range tests {
		results[t.Ours.Result]++
		both += len(t.Ours.Failed) - len(t.Worse())
		ours, raw = ours+count(t.Ours.Skipped), raw+count(t.Raw.Skipped)
		for _, name := range t.Worse() {
			worse = append(worse, code(name))
		}
		when = max(when, t.When)
	}
	row(b, code(mode), fmt.Sprint(len(tests)), fmt.Sprint(results[recorded.SuitePassed]), fmt.Sprint(results[recorded.SuiteSkipped]), fmt.Sprint(both),
		cmp.Or(strings.Join(worse, ", "), "nothing"), fmt.Sprintf("%d / %d", ours, raw), when)
}

// count adds up how many were skipped for all reasons.
func count(skipped map[string]int) int {
	n := 0
	for _, one := range skipped {
		n += one
	}
	return n
}

// mostReasons is how many reasons are told.
const mostReasons = 25

// writeReasons tells why tests were skipped over artifacts, the most frequent reasons first.
func writeReasons(b *strings.Builder, tests []recorded.SuiteTest) {
	ours, raw := map[string]int{}, map[string]int{}
	for _, t := range tests {
		for reason, n := range t.Ours.Skipped {
			ours[reason] += n
		}
		for reason, n := range t.Raw.Skipped {
			raw[reason] += n
		}
	}
	if len(ours) == 0 {
		return
	}
	reasons := slices.SortedFunc(maps.Keys(ours), func(x, y string) int { return cmp.Or(ours[y]-ours[x], cmp.Compare(x, y)) })
	shown := reasons[:min(len(reasons), mostReasons)]
	rest := 0
	for _, reason := range reasons[len(shown):] {
		rest += ours[reason]
	}
	fmt.Fprintf(b, "\nWhy tests were skipped, in all modes together. %d more were skipped for %d other reasons, which `docs/measured/%s` has.\n\n| reason | artifact | raw |\n|---|--:|--:|\n",
		rest, len(reasons)-len(shown), recorded.SuiteFile)
	for _, reason := range shown {
		row(b, reason, fmt.Sprint(ours[reason]), fmt.Sprint(raw[reason]))
	}
}
