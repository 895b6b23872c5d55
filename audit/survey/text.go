package survey

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"text/tabwriter"

	"ampoule/audit"
)

// shown is how many refused findings, and how many files that could not be read, the
// text form tells one by one.
const shown = 10

// WriteText writes the report for people: how much was looked at and how much of it is
// refused, the worst findings with their evidence, then each check's counts. Everything
// stands in the JSON form. Warnings are counted only, unless they are wanted.
func (r *Report) WriteText(w io.Writer, warnings bool) error {
	b := bufio.NewWriter(w)
	r.writeSummary(b)
	r.writeFindings(b, audit.Refuse)
	if warnings {
		r.writeFindings(b, audit.Warn)
	}
	if err := r.writeChecks(b); err != nil {
		return err
	}
	r.writeUnjudged(b)
	r.writeDecision(b)
	if err := b.Flush(); err != nil {
		return fmt.Errorf("writing report: %w", err)
	}
	return nil
}

// counts are what a report's first line tells.
type counts struct{ wheels, sites, objects, refusedUnits, refusedFiles, warnings int }

func (r *Report) counts() counts {
	var c counts
	for i := range r.Units {
		u := &r.Units[i]
		if u.Kind == KindWheel {
			c.wheels++
		} else {
			c.sites++
		}
		c.objects += u.Objects
		files := map[string]bool{}
		for _, f := range u.Findings {
			if f.Severity == audit.Refuse {
				files[f.File] = true
			} else {
				c.warnings++
			}
		}
		c.refusedFiles += len(files)
		if len(files) > 0 {
			c.refusedUnits++
		}
	}
	return c
}

func (r *Report) writeSummary(w io.Writer) {
	c := r.counts()
	var parts []string
	for _, p := range []string{plural(c.wheels, "wheel"), plural(c.sites, "directory of distributions"), plural(c.objects, "native file")} {
		if !strings.HasPrefix(p, "0 ") {
			parts = append(parts, p)
		}
	}
	fmt.Fprintf(w, "%s: %s\n", audit.Printable(r.Target), cmp.Or(strings.Join(parts, ", "), "nothing that could be read"))
	for _, line := range r.interpreters() {
		fmt.Fprintf(w, "judged against %s\n", line)
	}
}

// interpreters tells the interpreters that units were judged against, each once.
func (r *Report) interpreters() []string {
	var lines []string
	for _, u := range r.Units {
		if u.Interpreter == nil && u.Objects == 0 {
			continue // it has nothing that an interpreter matters for
		}
		line := "no interpreter: --against names one"
		if i := u.Interpreter; i != nil {
			line = fmt.Sprintf("%s: Python %s%s", audit.Printable(i.File), i.Version, i.Flags)
			switch i.Link {
			case audit.LinkStatic:
				line += ", its runtime in the executable"
			case audit.LinkShared:
				line += ", its runtime in " + audit.Printable(i.Libpython)
			}
		}
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

// badness orders checks by how sure they are that nothing works, the worst first.
var badness = []string{"libpython-needed", "second-runtime", "parse", "symbols", "closure", "versions", "isa", "tags", "record"}

func rank(check string) int {
	if i := slices.Index(badness, check); i >= 0 {
		return i
	}
	return len(badness)
}

type located struct {
	unit *Unit
	audit.Finding
}

func (r *Report) writeFindings(w io.Writer, severity audit.Severity) {
	var list []located
	for i := range r.Units {
		for _, f := range r.Units[i].Findings {
			if f.Severity == severity {
				list = append(list, located{&r.Units[i], f})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b located) int { return cmp.Compare(rank(a.Check), rank(b.Check)) })
	for i, f := range list {
		if i == shown && severity == audit.Refuse {
			fmt.Fprintf(w, "\n… and %d more: --output json tells all\n", len(list)-shown)
			return
		}
		f.write(w)
	}
}

func (f located) write(w io.Writer) {
	fmt.Fprintf(w, "\n%s %s: %s\n", f.Severity, f.Check, audit.Printable(f.where()))
	if f.unit.Kind == KindWheel {
		name := f.unit.Path
		if f.unit.Wheel != "" {
			name += " (" + f.unit.Wheel + ")"
		}
		fmt.Fprintf(w, "  in: %s\n", audit.Printable(name))
	}
	if f.Field != "" {
		fmt.Fprintf(w, "  %s: %s\n", f.Field, f.Value)
	}
	fmt.Fprintf(w, "  %s\n", f.Cause)
	if f.Severity == audit.Refuse && f.unit.Remedy != "" {
		fmt.Fprintf(w, "  %s\n", f.unit.Remedy)
	}
	fmt.Fprintf(w, "  %s\n", f.Remedy)
}

// where is the file, or the unit where no file is at fault.
func (f located) where() string {
	return cmp.Or(f.File, path.Base(cmp.Or(f.unit.Wheel, f.unit.Path)))
}

func (r *Report) writeChecks(w io.Writer) error {
	sums := map[string]*audit.CheckResult{}
	for _, u := range r.Units {
		for _, c := range u.Checks {
			if sums[c.Name] == nil {
				sums[c.Name] = &audit.CheckResult{}
			}
			sums[c.Name].Examined += c.Examined
			sums[c.Name].Refused += c.Refused
			sums[c.Name].Warned += c.Warned
		}
	}
	if len(sums) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "CHECK\tEXAMINED\tREFUSED\tWARNED")
	for _, c := range audit.Checks() {
		if s := sums[c.Name]; s != nil {
			fmt.Fprintf(tw, "%s\t%d\t%d\t%d\n", c.Name, s.Examined, s.Refused, s.Warned)
		}
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("writing report: %w", err)
	}
	return nil
}

// writeUnjudged tells which checks were not made, and why.
func (r *Report) writeUnjudged(w io.Writer) {
	checks, reasons := map[string][]string{}, []string{}
	for _, u := range r.Units {
		if u.Kind == KindWheel && u.Objects == 0 {
			continue // what was not judged is about native code
		}
		for _, n := range u.Unjudged {
			if checks[n.Why] == nil {
				reasons = append(reasons, n.Why)
			}
			if !slices.Contains(checks[n.Why], n.Check) {
				checks[n.Why] = append(checks[n.Why], n.Check)
			}
		}
	}
	slices.Sort(reasons)
	if len(reasons) > 0 {
		fmt.Fprintln(w)
	}
	for _, why := range reasons {
		slices.Sort(checks[why])
		fmt.Fprintf(w, "not judged: %s (%s)\n", strings.Join(checks[why], ", "), audit.Printable(why))
	}
	for i, u := range r.Unread {
		if i == shown {
			fmt.Fprintf(w, "… and %d more that could not be read\n", len(r.Unread)-shown)
			break
		}
		fmt.Fprintf(w, "could not be read: %s (%s)\n", audit.Printable(u.Path), audit.Printable(u.Why))
	}
}

func (r *Report) writeDecision(w io.Writer) {
	c := r.counts()
	fmt.Fprintln(w)
	switch {
	case c.refusedUnits > 0:
		fmt.Fprintf(w, "refused: %s in %d of %d", plural(c.refusedFiles, "file"), c.refusedUnits, len(r.Units))
	case !r.Passed:
		fmt.Fprintf(w, "not passed: %s could not be read", plural(len(r.Unread), "file"))
	default:
		fmt.Fprint(w, "passed")
	}
	if c.warnings > 0 {
		fmt.Fprintf(w, "; %s: --warnings tells them", plural(c.warnings, "warning"))
	}
	fmt.Fprintln(w)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if before, after, ok := strings.Cut(what, " of "); ok {
		return fmt.Sprintf("%d %s of %s", n, strings.Replace(before+"s", "ys", "ies", 1), after)
	}
	return fmt.Sprintf("%d %ss", n, what)
}
