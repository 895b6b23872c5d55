package trials

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/machine"
	"ampoule/bench/internal/recorded"
	"ampoule/packaging"
)

// audit is what the measured program said of an environment.
type audit struct {
	code     int
	took     time.Duration
	findings []finding
}

// finding is what a verdict needs of a finding in an audit's JSON form.
type finding struct {
	Check        string
	Severity     string
	File         string
	Distribution string
}

// Severities of findings, as the JSON form has them.
const (
	refuse    = "refuse"
	undecided = "undecided"
	warn      = "warn"
)

// audited asks the measured program about a subject. Every exit code is an answer if there is
// a report with it, and so is one that says that there is nothing to judge.
func (t *Trials) audited(ctx context.Context, s subject, m *machine.Machine) (audit, error) {
	run, err := t.Ampoule.Run(ctx, "audit", s.at(), "--root", m.Root(), "--output", "json")
	var failure *drive.FailureError
	if err != nil && !errors.As(err, &failure) {
		return audit{}, err
	}
	told := audit{took: run.Wall}
	if failure != nil {
		told.code = failure.Code
	}
	if run.Out == "" && failure != nil {
		told.findings = []finding{{Check: fmt.Sprintf("(code %d)", failure.Code), Severity: refuse, File: t.scrub(failure.Message)}}
		return told, nil
	}
	var report struct {
		Units []struct{ Findings []finding }
	}
	if err := json.Unmarshal([]byte(run.Out), &report); err != nil {
		return told, fmt.Errorf("reading what ampoule audit printed: %w", err)
	}
	for _, unit := range report.Units {
		told.findings = append(told.findings, unit.Findings...)
	}
	return told, nil
}

// rank orders words by how bad they are.
func rank(word string) int { return slices.Index([]string{works, loads, fails}, word) }

// failing tells what does not work: of a whole subject extension modules and programs, of a
// broken one whatever worked better when it was whole.
func failing(s subject, had, now *observation) (names []string) {
	for name, one := range now.Told {
		before, known := had.Told[name]
		bad := one.Word == fails && (strings.HasPrefix(name, "bin/") || isNative(now, name))
		if s.breakage != nil {
			bad = known && rank(one.Word) > rank(before.Word) || !known && one.Word == fails
		}
		if bad {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func isNative(o *observation, name string) bool {
	return slices.ContainsFunc(o.Things, func(t thing) bool { return t.Name == name && t.Kind == native })
}

// maxFailing is how many failures of an environment are recorded by name.
const maxFailing = 12

// describe writes down what works.
func describe(r *recorded.Verdict, s subject, had, now *observation) {
	for _, thing := range now.Things {
		switch thing.Kind {
		case native:
			r.Modules++
		case "package":
			r.Packages++
		}
	}
	r.Programs = len(now.Programs)
	names := failing(s, had, now)
	r.FailingCount = len(names)
	for _, name := range names[:min(len(names), maxFailing)] {
		r.Failing = append(r.Failing, name+": "+short(now.Told[name].Why))
	}
	r.Wheels = wheels(now)
	if s.breakage == nil {
		return
	}
	lost := map[string]bool{}
	for _, thing := range now.Things {
		if slices.Contains(names, thing.Name) {
			lost[thing.Dist] = true
		}
	}
	// Of a broken environment the other wheels are those of the whole one.
	r.Wheels = slices.DeleteFunc(r.Wheels, func(w recorded.Wheel) bool { return !lost[w.Name] })
}

// maxWhy is how many characters of a reason are recorded.
const maxWhy = 160

var spaces = regexp.MustCompile(`\s+`)

func short(why string) string {
	text := []rune(spaces.ReplaceAllString(why, " "))
	if len(text) > maxWhy {
		text = append(text[:maxWhy], '…')
	}
	return string(text)
}

// wheels are the distributions with extension modules, and how many of those do not work.
func wheels(o *observation) []recorded.Wheel {
	found := map[string]*recorded.Wheel{}
	for _, thing := range o.Things {
		if thing.Kind != native || thing.Dist == "" {
			continue
		}
		w := found[thing.Dist]
		if w == nil {
			w = &recorded.Wheel{Name: thing.Dist}
			if tags := o.Tags[thing.Dist]; len(tags) > 0 {
				w.Tag = tags[0]
			}
			found[thing.Dist] = w
		}
		w.Modules++
		if one := o.Told[thing.Name]; one.Word == fails {
			w.Failing++
			w.Reason = cmp.Or(w.Reason, short(thing.Name+": "+one.Why))
		}
	}
	var list []recorded.Wheel
	for _, w := range found {
		list = append(list, *w)
	}
	slices.SortFunc(list, func(x, y recorded.Wheel) int { return cmp.Compare(x.Name, y.Name) })
	return list
}

// judge writes down what the audit says, of a broken subject what it said not of the whole one.
func judge(r *recorded.Verdict, s subject, told audit, before recorded.Verdict) {
	warned := map[string]int{}
	for _, f := range told.findings {
		line := f.Check + " " + place(s, f.File)
		switch f.Severity {
		case refuse:
			r.Refused = append(r.Refused, line)
		case undecided:
			r.Undecided = append(r.Undecided, line)
		case warn:
			warned[f.Check]++
		}
	}
	for check, n := range warned {
		if n <= before.Warned[check] {
			delete(warned, check)
		}
	}
	r.Warned = warned
	r.Refused, r.Undecided = fresh(r.Refused, before.Refused), fresh(r.Undecided, before.Undecided)
	for i := range r.Wheels {
		w := &r.Wheels[i]
		w.Refused, w.Undecided = about(told.findings, w.Name, refuse), about(told.findings, w.Name, undecided)
	}
}

// place names a file of an environment by where it is in the environment.
func place(s subject, file string) string {
	return strings.TrimPrefix(strings.Replace(file, s.at()+"/", "", 1), "/")
}

// fresh leaves out doubles and what is old.
func fresh(lines, old []string) []string {
	slices.Sort(lines)
	return slices.DeleteFunc(slices.Compact(lines), func(line string) bool { return slices.Contains(old, line) })
}

// about lists the checks that say something of that severity about a distribution.
func about(findings []finding, dist, severity string) []string {
	var checks []string
	for _, f := range findings {
		if f.Severity == severity && normalDist(f.Distribution) == dist {
			checks = append(checks, f.Check)
		}
	}
	return fresh(checks, nil)
}

// normalDist normalises the name in "NAME VERSION", as environments.py does.
func normalDist(dist string) string {
	name, version, _ := strings.Cut(dist, " ")
	return packaging.NormalName(name) + " " + version
}

// codeRefused is the exit code of an audit that refuses something.
const codeRefused = 4
