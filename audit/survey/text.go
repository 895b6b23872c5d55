package survey

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"text/tabwriter"

	"ampoule/audit"
)

// shown is how many refused findings, and how many files that could not be read, the
// text form tells one by one.
const shown = 10

// WriteText writes the report for people: how much was looked at, how much of it is
// refused and by what, the worst files with the evidence, then each check's counts.
// Everything stands in the JSON form. Warnings are counted only, unless they are wanted.
func (r *Report) WriteText(w io.Writer, warnings bool) error {
	b := bufio.NewWriter(w)
	r.writeSummary(b)
	r.writeFiles(b, audit.Refuse)
	if warnings {
		r.writeFiles(b, audit.Warn)
	}
	if err := r.writeChecks(b); err != nil {
		return err
	}
	r.writeUnjudged(b)
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
		switch u.Kind {
		case KindWheel:
			c.wheels++
		case KindFile:
		default:
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
	for _, p := range []string{plural(c.wheels, "wheel"), plural(c.sites, "site-packages"), plural(c.objects, "native file")} {
		if !strings.HasPrefix(p, "0 ") {
			parts = append(parts, p)
		}
	}
	fmt.Fprintf(w, "%s: %s\n", audit.Printable(r.Target), cmp.Or(strings.Join(parts, ", "), "nothing that could be read"))
	for _, line := range r.interpreters() {
		fmt.Fprintf(w, "judged against %s\n", line)
	}
	switch {
	case c.refusedUnits > 0:
		fmt.Fprintf(w, "REFUSED: %s in %d of %d (%s)", plural(c.refusedFiles, "file"), c.refusedUnits, len(r.Units), strings.Join(r.refusing(), ", "))
	case !r.Passed:
		fmt.Fprintf(w, "NOT PASSED: %s could not be read", plural(len(r.Unread), "file"))
	default:
		fmt.Fprint(w, "passed")
	}
	if c.warnings > 0 {
		fmt.Fprintf(w, "; %s, told with --warnings", plural(c.warnings, "warning"))
	}
	fmt.Fprintln(w)
}

// refusing tells which checks refuse how many files, the worst first.
func (r *Report) refusing() []string {
	files := map[string]map[string]bool{}
	for _, u := range r.Units {
		for _, f := range u.Findings {
			if f.Severity == audit.Refuse {
				if files[f.Check] == nil {
					files[f.Check] = map[string]bool{}
				}
				files[f.Check][u.Path+"/"+f.File] = true
			}
		}
	}
	checks := slices.SortedFunc(maps.Keys(files), func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b)) })
	for i, check := range checks {
		checks[i] = fmt.Sprintf("%s %d", check, len(files[check]))
	}
	return checks
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

// file is what is wrong with one file of one unit.
type file struct {
	unit     *Unit
	findings []audit.Finding
}

// writeFiles tells the files of which something is of a severity, the worst first.
func (r *Report) writeFiles(w io.Writer, severity audit.Severity) {
	var list []*file
	for i := range r.Units {
		u, byName := &r.Units[i], map[string]*file{}
		for _, f := range u.Findings {
			if f.Severity != severity {
				continue
			}
			if byName[f.File] == nil {
				byName[f.File] = &file{unit: u}
				list = append(list, byName[f.File])
			}
			byName[f.File].findings = append(byName[f.File].findings, f)
		}
	}
	for _, f := range list {
		slices.SortStableFunc(f.findings, func(a, b audit.Finding) int { return cmp.Compare(rank(a.Check), rank(b.Check)) })
	}
	slices.SortStableFunc(list, func(a, b *file) int { return cmp.Compare(rank(a.findings[0].Check), rank(b.findings[0].Check)) })
	for i, f := range list {
		if i == shown && severity == audit.Refuse {
			fmt.Fprintf(w, "\n… and %d more: --output json tells all\n", len(list)-shown)
			return
		}
		f.write(w, severity)
	}
}

func (f *file) write(w io.Writer, severity audit.Severity) {
	first := f.findings[0]
	word := "refused"
	if severity == audit.Warn {
		word = "warning"
	}
	fmt.Fprintf(w, "\n%s: %s\n", word, audit.Printable(cmp.Or(first.File, path.Base(cmp.Or(f.unit.Wheel, f.unit.Path)))))
	if f.unit.Kind == KindWheel {
		name := f.unit.Path
		if f.unit.Wheel != "" {
			name += " (" + f.unit.Wheel + ")"
		}
		fmt.Fprintf(w, "  in %s\n", audit.Printable(name))
	} else if first.Distribution != "" {
		fmt.Fprintf(w, "  of %s\n", first.Distribution)
	}
	for _, found := range f.findings {
		fmt.Fprintf(w, "  %s", found.Check)
		if found.Field != "" {
			fmt.Fprintf(w, ": %s %s", found.Field, found.Value)
		}
		fmt.Fprintf(w, "\n    %s\n", found.Cause)
		if !beyond(found, f.findings) {
			fmt.Fprintf(w, "    %s\n", found.Remedy)
		}
	}
	if severity == audit.Refuse && f.unit.Remedy != "" {
		fmt.Fprintf(w, "  what to do here\n    %s\n", f.unit.Remedy)
	}
}

// beyond tells whether a finding's remedy is no use, since a worse finding is about the
// same thing: a library that is missing and should not be wanted at all.
func beyond(f audit.Finding, all []audit.Finding) bool {
	return slices.ContainsFunc(all, func(worse audit.Finding) bool {
		return rank(worse.Check) < rank(f.Check) && worse.Field == f.Field && worse.Value == f.Value
	})
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

func plural(n int, what string) string {
	if n != 1 && !strings.HasSuffix(what, "s") {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
