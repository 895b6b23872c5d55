package survey

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"ampoule/audit"
)

// shown is how many blocks of refused files, and how many files that could not be read,
// the text form tells one by one; named is how many more blocks it names.
const shown, named = 10, 30

// TextOptions are what the text form can be told.
type TextOptions struct {
	// Warnings says that warnings are told, too, and not only counted.
	Warnings bool
	// Wrap breaks a paragraph into lines, each with the indent; nil leaves it in one.
	Wrap func(text, indent string) string
}

// paragraph writes sentences, below a line that says what they are about.
func (o TextOptions) paragraph(w io.Writer, text string) {
	const indent = "    "
	if o.Wrap == nil {
		fmt.Fprintf(w, "%s%s\n", indent, text)
		return
	}
	fmt.Fprintln(w, o.Wrap(text, indent))
}

// WriteText writes the report for people: how much was looked at, how much of it is
// refused and by what, the worst files with the evidence, then each check's counts.
// It is bounded; everything stands in the JSON form.
func (r *Report) WriteText(w io.Writer, o TextOptions) error {
	b := bufio.NewWriter(w)
	r.writeSummary(b)
	r.writeBlocks(b, audit.Refuse, o)
	r.writeBlocks(b, audit.Undecided, o)
	if o.Warnings {
		r.writeBlocks(b, audit.Warn, o)
	}
	if err := r.writeChecks(b); err != nil {
		return err
	}
	r.writeUnjudged(b)
	r.writeUnlooked(b)
	r.writeLint(b, o)
	if err := b.Flush(); err != nil {
		return fmt.Errorf("writing report: %w", err)
	}
	return nil
}

// counts are what a report's first lines tell: files that are refused, and findings.
type counts struct{ wheels, sites, objects, refused, undecided, warnings int }

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
		c.refused += len(u.files(audit.Refuse))
		for _, f := range u.Findings {
			switch f.Severity {
			case audit.Refuse: // counted by file
			case audit.Warn:
				c.warnings++
			case audit.Undecided:
				c.undecided++
			}
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
	var lines []string
	if c.refused > 0 {
		lines = append(lines, fmt.Sprintf("REFUSED: %s in %d of %d (%s)", plural(c.refused, "file"), r.Count(audit.Refuse), len(r.Units), strings.Join(r.finding(audit.Refuse), ", ")))
	}
	if len(r.Unread) > 0 {
		lines = append(lines, fmt.Sprintf("NOT PASSED: %s could not be read", plural(len(r.Unread), "file")))
	}
	if faulty := r.LintRefused(); faulty > 0 {
		lines = append(lines, fmt.Sprintf("NOT PASSED: %s with faults that linting found", plural(faulty, "wheel")))
	}
	if c.undecided > 0 {
		lines = append(lines, fmt.Sprintf("UNDECIDED: %s in %d of %d (%s)", plural(c.undecided, nouns[audit.Undecided]), r.Count(audit.Undecided), len(r.Units), strings.Join(r.finding(audit.Undecided), ", ")))
	}
	if len(lines) == 0 {
		lines = []string{"passed"}
		if limits := r.limits(); len(limits) > 0 {
			lines[0] += "; not judged: " + strings.Join(limits, ", ")
		}
	}
	fmt.Fprint(w, strings.Join(lines, "\n"))
	if c.warnings > 0 {
		fmt.Fprintf(w, "; %s, told with --warnings", plural(c.warnings, "warning"))
	}
	fmt.Fprintln(w)
}

// finding tells which checks find something of a severity in how many files, the worst first.
func (r *Report) finding(severity audit.Severity) []string {
	files := map[string]map[string]bool{}
	for _, u := range r.Units {
		for _, f := range u.Findings {
			if f.Severity == severity {
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

// limits tells what was not judged of how many files, but for what only a build can show.
func (r *Report) limits() []string {
	files := map[string]int{}
	for i := range r.Units {
		for _, n := range r.Units[i].missed() {
			if n.Why != audit.WhyNoBuild {
				files[n.Check] += n.Files
			}
		}
	}
	list := slices.Sorted(maps.Keys(files))
	for i, check := range list {
		if n := files[check]; n > 0 {
			list[i] = fmt.Sprintf("%s %d", check, n)
		}
	}
	return list
}

// missed lists what was not judged and matters: of a wheel without native code, the checks
// that were not made are about that.
func (u *Unit) missed() []audit.Unjudged {
	return slices.DeleteFunc(slices.Clone(u.Unjudged), func(n audit.Unjudged) bool {
		return u.Kind == KindWheel && u.Objects == 0 && n.Check != archives
	})
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

func (r *Report) writeChecks(w io.Writer) error {
	sums, undecided := map[string]*audit.CheckResult{}, false
	for _, u := range r.Units {
		for _, c := range u.Checks {
			if sums[c.Name] == nil {
				sums[c.Name] = &audit.CheckResult{}
			}
			sums[c.Name].Examined += c.Examined
			sums[c.Name].Refused += c.Refused
			sums[c.Name].Warned += c.Warned
			sums[c.Name].Undecided += c.Undecided
			undecided = undecided || c.Undecided > 0
		}
	}
	if len(sums) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(cells ...any) {
		if !undecided {
			cells = cells[:len(cells)-1]
		}
		fmt.Fprintln(tw, strings.TrimSuffix(fmt.Sprintf(strings.Repeat("%v\t", len(cells)), cells...), "\t"))
	}
	row("CHECK", "EXAMINED", "REFUSED", "WARNED", "UNDECIDED")
	for _, c := range audit.Checks() {
		if s := sums[c.Name]; s != nil {
			row(c.Name, s.Examined, s.Refused, s.Warned, s.Undecided)
		}
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("writing report: %w", err)
	}
	return nil
}

// writeUnjudged tells which checks were not made, and why.
func (r *Report) writeUnjudged(w io.Writer) {
	checks, files, reasons := map[string][]string{}, map[string]int{}, []string{}
	for i := range r.Units {
		ofUnit := map[string]int{}
		for _, n := range r.Units[i].missed() {
			if checks[n.Why] == nil {
				reasons = append(reasons, n.Why)
			}
			if !slices.Contains(checks[n.Why], n.Check) {
				checks[n.Why] = append(checks[n.Why], n.Check)
			}
			if n.Check != archives {
				ofUnit[n.Why] = max(ofUnit[n.Why], n.Files)
			}
		}
		for why, n := range ofUnit {
			files[why] += n
		}
	}
	slices.Sort(reasons)
	if len(reasons) > 0 {
		fmt.Fprintln(w)
	}
	for i, why := range reasons {
		if i == shown {
			fmt.Fprintf(w, "… and for %s: --output json tells all\n", plural(len(reasons)-shown, "more reason"))
			break
		}
		slices.Sort(checks[why])
		of := ""
		if n := files[why]; n > 0 {
			of = " of " + plural(n, "native file")
		}
		fmt.Fprintf(w, "not judged: %s%s (%s)\n", strings.Join(checks[why], ", "), of, audit.Printable(why))
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
