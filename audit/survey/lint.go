package survey

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"ampoule/audit"
	"ampoule/audit/lint"
)

// Lint says what of package lint is asked for.
type Lint struct {
	// On says that wheels are linted. Nothing of that is refused, unless Refuse says that
	// faults are; advice never is.
	On, Refuse bool
	// Ignore are rules that are left out.
	Ignore []string
}

// lint lints a wheel that is open, if that is asked for.
func (v *survey) lint(w *audit.WheelFile) (*lint.Report, error) {
	members := w.Members()
	if !v.Lint.On || len(members) == 0 {
		return nil, nil // a file that is no sound zip has a finding
	}
	r, err := lint.Check(lint.Wheel{Name: w.Name, Files: members})
	if err != nil {
		return nil, err
	}
	r.Without(v.Lint.Ignore)
	return r, nil
}

// LintRefused counts the wheels with faults, if they were asked to be refused.
func (r *Report) LintRefused() int {
	if !r.lint.Refuse {
		return 0
	}
	faults, _, _ := r.lintCounts()
	return faults
}

// lintCounts counts the wheels with faults, those with advice alone, and all that were linted.
func (r *Report) lintCounts() (faults, advice, all int) {
	for i := range r.Units {
		l := r.Units[i].Lint
		switch {
		case l == nil:
			continue
		case l.Faults() > 0:
			faults++
		case len(l.Notes) > 0:
			advice++
		}
		all++
	}
	return faults, advice, all
}

// lintRule is the name of a rule among those of checks.
func lintRule(rule string) string { return "lint/" + rule }

// writeLint tells what linting found: the wheels with most faults in full, others in a line.
func (r *Report) writeLint(w io.Writer, o TextOptions) {
	if !r.lint.On {
		return
	}
	faults, advice, all := r.lintCounts()
	fmt.Fprintf(w, "\nlint: %s: %d with faults, %d with advice alone\n", plural(all, "wheel"), faults, advice)
	if others := len(r.Units) - all; others > 0 {
		fmt.Fprintf(w, "lint looks at wheels: it says nothing of %d others that were judged\n", others)
	}
	units := r.linted()
	for i, u := range units {
		switch {
		case i < shown:
			u.writeLint(w, o)
		case i < shown+named:
			if i == shown {
				fmt.Fprintln(w)
			}
			fmt.Fprintf(w, "lint: %s: %s\n", u.wheelName(), u.lintLine())
		}
	}
	if more := len(units) - shown - named; more > 0 {
		fmt.Fprintf(w, "… and of %s: --output json tells all\n", plural(more, "more wheel"))
	}
}

// linted are the units that were linted, those with most faults and notes first.
func (r *Report) linted() []*Unit {
	var units []*Unit
	for i := range r.Units {
		if r.Units[i].Lint != nil {
			units = append(units, &r.Units[i])
		}
	}
	slices.SortStableFunc(units, func(a, b *Unit) int {
		return cmp.Or(cmp.Compare(b.Lint.Faults(), a.Lint.Faults()), cmp.Compare(len(b.Lint.Notes), len(a.Lint.Notes)))
	})
	return units
}

// wheelName is the file's name; in caches that of the wheel.
func (u *Unit) wheelName() string {
	name := path.Base(u.Path)
	if !wheelFile.MatchString(name) {
		name = cmp.Or(u.Wheel, name)
	}
	return audit.Printable(name)
}

// lintLine tells the platform, and the names of the rules that have something to say.
func (u *Unit) lintLine() string {
	var parts []string
	if p := u.Lint.Platform; p != nil && len(p.Satisfies) > 0 {
		parts = append(parts, p.Satisfies[0])
	}
	rules := make([]string, len(u.Lint.Notes))
	for i, n := range u.Lint.Notes {
		rules[i] = n.Rule
	}
	if len(rules) > 0 {
		parts = append(parts, strings.Join(rules, ", "))
	}
	return cmp.Or(strings.Join(parts, "; "), "nothing to say")
}

// writeLint tells of one wheel in full.
func (u *Unit) writeLint(w io.Writer, o TextOptions) {
	fmt.Fprintf(w, "\nlint: %s\n", u.wheelName())
	if p := u.Lint.Platform; p != nil {
		writePlatform(w, p)
	}
	writeStable(w, u.Lint.Modules)
	for _, n := range u.Lint.Notes {
		fmt.Fprintf(w, "  %s: %s%s\n", n.Level, n.Rule, someFiles(n.Files))
		o.paragraph(w, audit.Printable(n.Text))
		o.paragraph(w, n.Remedy)
	}
}

// someFiles names the first files, and counts the others.
func someFiles(files []string) string {
	const some = 3
	var b strings.Builder
	for i, f := range files[:min(len(files), some)] {
		b.WriteString([]string{": ", ", "}[min(i, 1)] + audit.Printable(f))
	}
	if more := len(files) - some; more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	return b.String()
}

// writePlatform tells on which systems the code runs, and what keeps it from older ones.
func writePlatform(w io.Writer, p *lint.Platform) {
	if len(p.Satisfies) == 0 {
		fmt.Fprintf(w, "  platform: not judged%s\n", someFiles(p.Unjudged))
		return
	}
	fmt.Fprintf(w, "  platform: %s", p.Satisfies[0])
	if len(p.Satisfies) > 1 {
		fmt.Fprintf(w, " (%s)", strings.Join(p.Satisfies[1:], ", "))
	}
	if len(p.Claims) > 0 {
		fmt.Fprintf(w, "; tagged %s", audit.Printable(strings.Join(p.Claims, ", ")))
	}
	fmt.Fprintln(w)
	writeLimits(w, p.Limits)
	if len(p.Unjudged) > 0 {
		fmt.Fprintf(w, "    not judged, for another machine or C library%s\n", someFiles(p.Unjudged))
	}
}

// writeLimits tells what keeps a wheel from an older platform: what admits nothing better in
// full, the rest as a count.
func writeLimits(w io.Writer, limits []lint.Limit) {
	const some = 6
	if len(limits) == 0 {
		return
	}
	type thing struct{ library, name string }
	var things []thing
	files := map[thing][]string{}
	for _, l := range limits {
		if l.Admits != limits[0].Admits {
			break
		}
		t := thing{l.Library, l.Name}
		if l.Library == l.Name {
			t.library = string(l.Kind)
		}
		if files[t] == nil {
			things = append(things, t)
		}
		files[t] = append(files[t], l.File)
	}
	fmt.Fprintln(w, "    kept from older systems by")
	for _, t := range things[:min(len(things), some)] {
		fmt.Fprintf(w, "      %s%s\n", audit.Printable(strings.TrimSpace(t.library+" "+t.name)), someFiles(files[t]))
	}
	if more := len(things) - some; more > 0 {
		fmt.Fprintf(w, "      and %d more\n", more)
	}
}

// writeStable tells of modules of the stable ABI what they claim and what they ask for.
func writeStable(w io.Writer, modules []lint.Module) {
	const some = 3
	var claiming []lint.Module
	for _, m := range modules {
		if m.Claims != "" {
			claiming = append(claiming, m)
		}
	}
	for _, m := range claiming[:min(len(claiming), some)] {
		asks := "asks for that of Python " + m.Lowest
		if m.Lowest == "" {
			asks = fmt.Sprintf("asks for %s that no Python's has", plural(len(m.Beyond), "symbol"))
		}
		fmt.Fprintf(w, "  stable ABI: %s %s, claims %s\n", audit.Printable(m.File), asks, m.Claims)
	}
	if more := len(claiming) - some; more > 0 {
		fmt.Fprintf(w, "  stable ABI: and %s\n", plural(more, "more module"))
	}
}

// lintRules are the rules as SARIF has them, if wheels were linted.
func (r *Report) lintRules() []sarifRule {
	if !r.lint.On {
		return nil
	}
	var rules []sarifRule
	for _, rule := range lint.Rules() {
		rules = append(rules, sarifRule{lintRule(rule.Name), sarifText{rule.Reason}})
	}
	return rules
}

// lintResults are what SARIF has of a wheel's notes: advice is a note, a fault a warning or,
// where faults are refused, an error.
func (r *Report) lintResults(u *Unit, seen map[string]int) []sarifResult {
	if u.Lint == nil {
		return nil
	}
	var results []sarifResult
	for _, n := range u.Lint.Notes {
		f := audit.Finding{Check: lintRule(n.Rule), Severity: audit.Warn, Cause: n.Text, Remedy: n.Remedy, Value: strings.Join(n.Files, " ")}
		if len(n.Files) > 0 {
			f.File = n.Files[0]
		}
		one := r.sarifResult(u, f, seen)
		one.Message.Text = audit.Printable(n.Text) + someFiles(n.Files) + " " + n.Remedy
		switch {
		case n.Level == lint.Advice:
			one.Level = "note"
		case r.lint.Refuse:
			one.Level = "error"
		}
		results = append(results, one)
	}
	return results
}

// lintCases are what JUnit's form has of a wheel's notes: a case for each rule, which fails
// where faults are refused.
func (r *Report) lintCases(u *Unit) []lintCase {
	if u.Lint == nil {
		return nil
	}
	var cases []lintCase
	for _, rule := range lint.Rules() {
		if slices.Contains(r.lint.Ignore, rule.Name) {
			continue
		}
		one := lintCase{name: lintRule(rule.Name)}
		for _, n := range u.Lint.Notes {
			if n.Rule == rule.Name {
				one.text = audit.Printable(n.Text) + someFiles(n.Files) + " " + n.Remedy
				one.fails = r.lint.Refuse && n.Level == lint.Fault
			}
		}
		cases = append(cases, one)
	}
	return cases
}

// lintCase is a rule as a case of a test: what it says, and whether that fails.
type lintCase struct {
	name, text string
	fails      bool
}
