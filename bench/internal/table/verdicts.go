package table

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ampoule/bench/internal/corpus"
	"ampoule/bench/internal/recorded"
)

// Verdicts that a subject gets.
const (
	verdictPassed    = "passed"
	verdictUndecided = "undecided"
	verdictRefused   = "refused"
)

var verdictOrder = []string{verdictPassed, verdictUndecided, verdictRefused}

// pair is one wheel for one Python, wherever it was installed.
type pair struct {
	wheel  recorded.Wheel
	python string
	// in is the first environment with this outcome.
	in string
}

func (p pair) verdict() string { return verdictOf(p.wheel.Refused, p.wheel.Undecided) }

func verdictOf(refused, undecided []string) string {
	switch {
	case len(refused) > 0:
		return verdictRefused
	case len(undecided) > 0:
		return verdictUndecided
	default:
		return verdictPassed
	}
}

// wrong says how far the verdict on a wheel is from what importing showed.
func (p pair) wrong() int {
	switch works := p.wheel.Failing == 0; {
	case works && p.verdict() == verdictRefused:
		return 3
	case !works && p.verdict() == verdictPassed:
		return 2
	case p.verdict() == verdictUndecided:
		return 1
	default:
		return 0
	}
}

// pairs lists the wheels of the whole environments, each once for a Python: in several
// environments, the outcome counts that is most wrong.
func pairs(verdicts []recorded.Verdict) []pair {
	found := map[string]pair{}
	for _, v := range verdicts {
		name, python, broken := parts(v.Name)
		if broken != "" {
			continue
		}
		for _, w := range v.Wheels {
			p := pair{wheel: w, python: python, in: name}
			key := strings.Join([]string{w.Name, w.Tag, python}, " ")
			if old, ok := found[key]; !ok || p.wrong() > old.wrong() {
				found[key] = p
			}
		}
	}
	var list []pair
	for _, p := range found {
		list = append(list, p)
	}
	slices.SortFunc(list, func(x, y pair) int {
		return cmp.Or(cmp.Compare(x.wheel.Name, y.wheel.Name), cmp.Compare(x.wheel.Tag, y.wheel.Tag), cmp.Compare(x.python, y.python))
	})
	return list
}

// parts cuts NAME/PYTHON and NAME/PYTHON/BREAKAGE.
func parts(name string) (environment, python, breakage string) {
	environment, rest, _ := strings.Cut(name, "/")
	python, breakage, _ = strings.Cut(rest, "/")
	return environment, python, breakage
}

// writeVerdicts compares what audits say with what importing and starting shows.
func writeVerdicts(b *strings.Builder, verdicts []recorded.Verdict) error {
	if len(verdicts) == 0 {
		return nil
	}
	notes, err := corpus.Notes()
	if err != nil {
		return err
	}
	whole, broken, missing := sorted(verdicts)
	fmt.Fprintf(b, `
## Verdicts and imports

`+"`make verdicts`"+` installs %d environments that people have, from requirement files of public projects
([the list](../bench/internal/corpus/environments), each with its source and what was left out), for CPython 3.9, 3.11 and 3.13 on
a Debian 12 that has these interpreters, the libraries that those need, and nothing else. A third of all was broken behind that, in %d
ways that were [written down](../bench/internal/corpus/breakages) before any check was looked at. Every extension module is imported in a process of its own and every
program is started, without a network and by an account that owns nothing; then `+"`ampoule audit`"+` is asked about the same files.
`, len(whole), len(broken))
	writePairs(b, pairs(verdicts), notes)
	writeWhole(b, whole)
	writeBroken(b, broken, notes)
	for _, v := range missing {
		fmt.Fprintf(b, "\nNot measured: %s, %s\n", code(v.Name), result(v.Outcome))
	}
	return nil
}

// sorted parts the whole environments from the broken ones, and both from those that could not
// be made.
func sorted(verdicts []recorded.Verdict) (whole, broken, missing []recorded.Verdict) {
	for _, v := range verdicts {
		_, _, breakage := parts(v.Name)
		switch {
		case !v.Passed:
			missing = append(missing, v)
		case breakage == "":
			whole = append(whole, v)
		default:
			broken = append(broken, v)
		}
	}
	return whole, broken, missing
}

// writePairs writes the table of wheels and names those that are not where they should be.
func writePairs(b *strings.Builder, all []pair, notes map[string]string) {
	modules := 0
	counts := map[bool]map[string]int{true: {}, false: {}}
	for _, p := range all {
		modules += p.wheel.Modules
		counts[p.wheel.Failing == 0][p.verdict()]++
	}
	fmt.Fprintf(b, `
### Wheels

The rule: **every wheel with native code that the environments installed**, once for each Python: %d, with %d extension modules. A wheel works if
the loader takes each of its modules and import finds it by its name; one whose import fails for want of another package, or because another is to be
imported first, works. One that needs a library which this Debian lacks, such as libGL, does not work on this machine.

`, len(all), modules)
	writeCounts(b, counts)
	b.WriteString("\nWhat is not *works and passed*:\n\n| wheel | Python | in | modules | fail | verdict | why, as the import says | note |\n|---|---|---|--:|--:|---|---|---|\n")
	for _, p := range all {
		if p.wheel.Failing == 0 && p.verdict() == verdictPassed {
			continue
		}
		name, _, _ := strings.Cut(p.wheel.Name, " ")
		row(b, code(p.wheel.Name), p.python, p.in, fmt.Sprint(p.wheel.Modules), fmt.Sprint(p.wheel.Failing), said(p.verdict(), p.wheel.Refused, p.wheel.Undecided), p.wheel.Reason, notes[name])
	}
}

// writeCounts writes what works against what was said.
func writeCounts(b *strings.Builder, counts map[bool]map[string]int) {
	b.WriteString("| | passed | undecided | refused |\n|---|--:|--:|--:|\n")
	for _, works := range []bool{true, false} {
		cells := []string{map[bool]string{true: "works", false: "does not work"}[works]}
		for _, verdict := range verdictOrder {
			cells = append(cells, fmt.Sprint(counts[works][verdict]))
		}
		row(b, cells...)
	}
}

// said is a verdict with the checks behind it.
func said(verdict string, refused, undecided []string) string {
	checks := map[string][]string{verdictRefused: refused, verdictUndecided: undecided}[verdict]
	if len(checks) == 0 {
		return verdict
	}
	return verdict + ": " + strings.Join(names(checks), ", ")
}

// names are the first words of findings, each once.
func names(findings []string) []string {
	var checks []string
	for _, f := range findings {
		check, _, _ := strings.Cut(f, " ")
		checks = append(checks, check)
	}
	slices.Sort(checks)
	return slices.Compact(checks)
}

func writeWhole(b *strings.Builder, whole []recorded.Verdict) {
	counts := map[bool]map[string]int{true: {}, false: {}}
	for _, v := range whole {
		counts[v.FailingCount == 0][verdictOf(v.Refused, v.Undecided)]++
	}
	b.WriteString("\n### Environments as they were installed\n\nOne works if every extension module and every program of it does.\n\n")
	writeCounts(b, counts)
	b.WriteString("\n| environment | Python | what for | modules | programs | fail | verdict | audit | day |\n|---|---|---|--:|--:|--:|---|--:|---|\n")
	for _, v := range whole {
		name, python, _ := parts(v.Name)
		row(b, code(name), python, v.What, fmt.Sprint(v.Modules), fmt.Sprint(v.Programs), fmt.Sprint(v.FailingCount),
			said(verdictOf(v.Refused, v.Undecided), v.Refused, v.Undecided), v.Spelled(duration(v.Seconds)), v.When)
	}
}

// writeBroken tells what came of what was broken: what stopped working, and what the audit says
// that it did not say before.
func writeBroken(b *strings.Builder, broken []recorded.Verdict, notes map[string]string) {
	counts := map[bool]map[string]int{true: {}, false: {}}
	for _, v := range broken {
		counts[v.FailingCount == 0][verdictOf(v.Refused, v.Undecided)]++
	}
	b.WriteString("\n### Environments that were broken\n\nOne works if everything in it works that worked before; some breakages do no harm. The verdict is of what the audit says that it did not say of\nthe whole environment.\n\n")
	writeCounts(b, counts)
	b.WriteString("\n| breakage | environment | what was done | fail | such as | verdict | note |\n|---|---|---|--:|---|---|---|\n")
	for _, v := range broken {
		name, python, breakage := parts(v.Name)
		verdict := verdictOf(v.Refused, v.Undecided)
		text := said(verdict, v.Refused, v.Undecided)
		if verdict == verdictPassed && len(v.Warned) > 0 {
			text += ", warned: " + strings.Join(slices.Sorted(maps.Keys(v.Warned)), ", ")
		}
		example := ""
		if len(v.Failing) > 0 {
			example = v.Failing[0]
		}
		row(b, code(breakage), name+" "+python, v.What, fmt.Sprint(v.FailingCount), example, text, notes[breakage])
	}
}
