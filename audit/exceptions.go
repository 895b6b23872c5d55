package audit

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"time"
)

// checkExceptions refuses exceptions that could never count.
func checkExceptions(list []Exception) error {
	for _, e := range list {
		if !slices.ContainsFunc(checks, func(c check) bool { return c.name == e.Check }) {
			return fmt.Errorf("%w: exception for the unknown check %q", ErrSubject, e.Check)
		}
		for _, pattern := range e.Files {
			if _, err := path.Match(pattern, ""); err != nil {
				return fmt.Errorf("%w: exception for %s: files %q: %w", ErrSubject, e.Check, pattern, err)
			}
		}
		if e.Until == "" {
			continue
		}
		if _, err := time.Parse(time.DateOnly, e.Until); err != nil {
			return fmt.Errorf("%w: exception for %s: until %q is no date", ErrSubject, e.Check, e.Until)
		}
	}
	return nil
}

// expired reports whether the last day of an exception has passed, in UTC.
func (e Exception) expired(now time.Time) bool {
	return e.Until != "" && now.UTC().Format(time.DateOnly) > e.Until
}

func (e Exception) covers(f Finding) bool {
	if f.absolute || f.Check != e.Check || f.File == "" {
		return false
	}
	return matches(e.Files, f.File)
}

// matches reports whether one of the patterns is of a path.
func matches(patterns []string, file string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := path.Match(pattern, file)
		return err == nil && ok
	})
}

// checkProviders refuses providers that could never count.
func checkProviders(list []Provider) error {
	for _, p := range list {
		for _, pattern := range slices.Concat(p.Libraries, p.Files) {
			if _, err := path.Match(pattern, ""); err != nil {
				return fmt.Errorf("%w: provider %q: %w", ErrSubject, pattern, err)
			}
		}
	}
	return nil
}

// reason is how a finding tells its exception.
func (e Exception) reason() string {
	if e.Until == "" {
		return e.Why
	}
	return e.Why + " (until " + e.Until + ")"
}

// except applies the exceptions to a verdict's findings and tells what became of
// each. One that covers nothing is a warning.
func (x *exam) except(v *Verdict) {
	for _, e := range x.Exceptions {
		result := ExceptionResult{Exception: e, State: ExceptionUsed}
		if e.expired(x.Now) {
			result.State = ExceptionExpired
		} else {
			result.Findings = e.apply(v.Findings)
		}
		if result.State == ExceptionUsed && result.Findings == 0 {
			result.State = ExceptionUnused
		}
		if result.State != ExceptionUsed {
			v.Findings = append(v.Findings, e.told(result.State))
		}
		v.Exceptions = append(v.Exceptions, result)
	}
	slices.SortStableFunc(v.Findings, compareFindings)
}

// apply marks the refused findings that the exception covers and counts them.
func (e Exception) apply(findings []Finding) int {
	n := 0
	for i := range findings {
		if f := &findings[i]; f.Severity == Refuse && e.covers(*f) {
			n++
			if f.Excepted == "" {
				f.Excepted = e.reason()
			}
		}
	}
	return n
}

// told is the warning about an exception that lets nothing pass.
func (e Exception) told(state string) Finding {
	f := Finding{
		Check: e.Check, Severity: Warn, Field: "gate.except", Value: printable(fmt.Sprint(e.Files)),
		Cause:  "The exception lets nothing pass: no finding that may be excepted is in these files.",
		Remedy: "Remove the exception from the recipe, or correct its patterns.",
	}
	if state == ExceptionExpired {
		f.Cause = "The exception ended on " + e.Until + " and does not count."
		f.Remedy = "Remove the exception, or decide anew how long it holds."
	}
	return f
}

// compareFindings orders findings by check, severity (refused first), file, field
// and value.
func compareFindings(a, b Finding) int {
	return cmp.Or(
		cmp.Compare(a.Check, b.Check), cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.File, b.File),
		cmp.Compare(a.Field, b.Field), cmp.Compare(a.Value, b.Value), cmp.Compare(a.Cause, b.Cause),
		slices.Compare(a.Targets, b.Targets),
	)
}

// merge joins findings that differ in their targets only.
func merge(findings []Finding) []Finding {
	var merged []Finding
	slices.SortStableFunc(findings, compareFindings)
	for _, f := range findings {
		if n := len(merged); n > 0 && sameButTargets(merged[n-1], f) {
			for _, t := range f.Targets {
				merged[n-1].Targets = insert(merged[n-1].Targets, t)
			}
			continue
		}
		f.Targets = slices.Clone(f.Targets)
		merged = append(merged, f)
	}
	return merged
}

func sameButTargets(a, b Finding) bool {
	a.Targets, b.Targets = nil, nil
	return compareFindings(a, b) == 0 && a.Remedy == b.Remedy && a.Needs == b.Needs && a.absolute == b.absolute
}
