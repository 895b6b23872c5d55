package audit

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
)

// VerdictSchema is the version of the verdict's JSON form.
const VerdictSchema = "ampoule.verdict/v1"

// Severity says what a finding does to the verdict.
type Severity string

// The severities.
const (
	// Refuse keeps a tree from being published.
	Refuse Severity = "refuse"
	// Warn is told, and nothing else.
	Warn Severity = "warn"
	// Undecided depends on something that was not given, which [Finding].Needs names. The
	// gate is given everything, and refuses it.
	Undecided Severity = "undecided"
)

// Finding is one thing that a check found, with its evidence.
type Finding struct {
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	// File is the path in the tree or wheel; empty when no file is at fault.
	File string `json:"file,omitempty"`
	// Distribution is the one that File belongs to, NAME VERSION, where files are judged as
	// they are found; empty when it is not known.
	Distribution string `json:"distribution,omitempty"`
	// Field names what in the file was read: "DT_NEEDED", "sha256", "offset 4096".
	Field string `json:"field,omitempty"`
	// Value is what stands there, shortened, unprintable bytes escaped.
	Value string `json:"value,omitempty"`
	// Cause says in one sentence what is wrong, Remedy what to do.
	Cause  string `json:"cause"`
	Remedy string `json:"remedy"`
	// Needs says of what is undecided what it depends on, and how to give it; else empty. A
	// gate that refuses it keeps that.
	Needs string `json:"needs,omitempty"`
	// Targets are the names of the targets where it is so; empty when it does not
	// depend on a target.
	Targets []string `json:"targets,omitempty"`
	// Excepted is the reason of the exception that lets it pass; empty without one.
	Excepted string `json:"excepted,omitempty"`

	// absolute findings take no exception.
	absolute bool
}

// Verdict is the gate's result. Its JSON form is deterministic: fields in this
// order, lists sorted.
type Verdict struct {
	Schema string `json:"schema"`
	// Passed is true when nothing is refused but what an exception covers.
	Passed bool `json:"passed"`
	// Group is the dependency group that the artifact was judged with; empty for the
	// artifact alone.
	Group string `json:"group,omitempty"`
	// Tree is the judged tree's hash.
	Tree string `json:"tree"`
	// Time is when it was judged, in RFC 3339.
	Time       string            `json:"time"`
	Targets    []VerdictTarget   `json:"targets"`
	Checks     []CheckResult     `json:"checks"`
	Findings   []Finding         `json:"findings"`
	Exceptions []ExceptionResult `json:"exceptions"`
	// Providers are the recipe's: what they provide counts as loaded before.
	Providers []Provider `json:"providers,omitempty"`
	// Binary are the foreign binary wheels in the tree, each accepted in the recipe.
	Binary []BinaryWheel `json:"binary,omitempty"`
}

// BinaryWheel is a wheel with native code that was not built here.
type BinaryWheel struct {
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
	// Why is the acceptance's reason, Until its last day as YYYY-MM-DD.
	Why   string `json:"why"`
	Until string `json:"until"`
}

// VerdictTarget is a target as the verdict tells it.
type VerdictTarget struct {
	Name string `json:"name"`
	// Root is the hash of its root file system.
	Root  string   `json:"root"`
	Glibc string   `json:"glibc,omitempty"`
	CPU   string   `json:"cpu,omitempty"`
	Host  []string `json:"host,omitempty"`
}

// CheckResult counts what one check did.
type CheckResult struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
	// Examined counts what was looked at: files, libraries, reports.
	Examined int `json:"examined"`
	Refused  int `json:"refused"`
	Warned   int `json:"warned"`
	Excepted int `json:"excepted"`
	// Undecided is 0 in a verdict.
	Undecided int `json:"undecided,omitempty"`
}

// Count adds a finding to the counts.
func (r *CheckResult) Count(f Finding) {
	switch {
	case f.Excepted != "":
		r.Excepted++
	case f.Severity == Warn:
		r.Warned++
	case f.Severity == Undecided:
		r.Undecided++
	default:
		r.Refused++
	}
}

// The states of an exception.
const (
	ExceptionUsed    = "used"
	ExceptionUnused  = "unused"
	ExceptionExpired = "expired"
)

// ExceptionResult says what became of an exception.
type ExceptionResult struct {
	Exception
	// State is [ExceptionUsed], [ExceptionUnused] or [ExceptionExpired].
	State string `json:"state"`
	// Findings counts the findings that it lets pass.
	Findings int `json:"findings"`
}

// count fills in the counts of each check and decides.
func (v *Verdict) count() {
	results := make(map[string]*CheckResult, len(v.Checks))
	for i := range v.Checks {
		results[v.Checks[i].Name] = &v.Checks[i]
	}
	v.Passed = true
	for _, f := range v.Findings {
		results[f.Check].Count(f)
		v.Passed = v.Passed && (f.Excepted != "" || f.Severity == Warn)
	}
}

// WriteText writes the verdict for people: a line for each check with its
// counts, a few lines for each finding, and the decision.
func (v Verdict) WriteText(w io.Writer) error {
	b := bufio.NewWriter(w)
	tw := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "CHECK\tEXAMINED\tREFUSED\tWARNED\tEXCEPTED")
	for _, c := range v.Checks {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\n", c.Name, c.Examined, c.Refused, c.Warned, c.Excepted)
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("writing verdict: %w", err)
	}
	for _, f := range v.Findings {
		f.writeText(b)
	}
	for _, w := range v.Binary {
		fmt.Fprintf(b, "\nforeign binary wheel: %s\n  accepted until %s: %s\n", printable(w.File), w.Until, printable(w.Why))
	}
	for _, p := range v.Providers {
		fmt.Fprintf(b, "\nloaded before %s: %s\n  %s\n", printable(strings.Join(p.Files, ", ")), printable(strings.Join(p.Libraries, ", ")), printable(p.Why))
	}
	decision := "refused"
	if v.Passed {
		decision = "passed"
	}
	if v.Group != "" {
		decision += " with group " + printable(v.Group)
	}
	fmt.Fprintf(b, "\n%s: %s\n", decision, v.Tree)
	if err := b.Flush(); err != nil {
		return fmt.Errorf("writing verdict: %w", err)
	}
	return nil
}

func (f Finding) writeText(w io.Writer) {
	word := string(f.Severity)
	if f.Excepted != "" {
		word = "excepted"
	}
	fmt.Fprintf(w, "\n%s %s", word, f.Check)
	if f.File != "" {
		fmt.Fprintf(w, ": %s", printable(f.File))
	}
	if len(f.Targets) > 0 {
		fmt.Fprintf(w, " [%s]", strings.Join(f.Targets, ", "))
	}
	fmt.Fprintln(w)
	if f.Field != "" {
		fmt.Fprintf(w, "  %s: %s\n", f.Field, f.Value)
	}
	fmt.Fprintf(w, "  %s\n  %s\n", f.Cause, f.Remedy)
	if f.Needs != "" {
		fmt.Fprintf(w, "  it depends on %s\n", f.Needs)
	}
	if f.Excepted != "" {
		fmt.Fprintf(w, "  excepted: %s\n", printable(f.Excepted))
	}
}

// Printable makes foreign text safe to show: shortened, every character that is not
// printable escaped.
func Printable(s string) string { return printable(s) }

// maxValue bounds the evidence that a finding shows, in bytes.
const maxValue = 400

// printable makes foreign text safe to show: shortened, every character that is
// not printable escaped.
func printable(s string) string {
	cut := len(s) > maxValue
	if cut {
		s = s[:maxValue]
	}
	s = escaped(s)
	if cut {
		s += "…"
	}
	return s
}

// escaped escapes every character that is not printable.
func escaped(s string) string {
	unsafe := func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }
	if strings.IndexFunc(s, unsafe) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unsafe(r) {
			fmt.Fprintf(&b, "\\u%04x", r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
