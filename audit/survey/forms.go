package survey

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"path"
	"strings"

	"ampoule/audit"
)

// OfVerdict makes a report of a gate's verdict, in whose forms CI systems and code hosts
// show it; what an exception lets pass is a warning there. The name says what was judged.
func OfVerdict(name string, v audit.Verdict) *Report {
	u := Unit{Kind: KindTree, Path: name, Checks: v.Checks}
	for _, f := range v.Findings {
		if f.Excepted != "" {
			f.Severity, f.Cause = audit.Warn, f.Cause+" Excepted: "+f.Excepted
		}
		u.Findings = append(u.Findings, f)
	}
	u.complete()
	r := &Report{Schema: Schema, Target: name, Units: []Unit{u}, Unread: []Unread{}}
	r.decide()
	return r
}

// message is a finding in a few sentences.
func message(u *Unit, f audit.Finding) string {
	parts := []string{f.Cause}
	if f.Field != "" {
		parts = append(parts, f.Field+": "+f.Value+".")
	}
	if f.Severity == audit.Refuse && u.Remedy != "" {
		remedy, command := u.remedy([]audit.Finding{f})
		parts = append(parts, remedy)
		if command != "" {
			parts = append(parts, command+".")
		}
	}
	return strings.Join(append(parts, f.Remedy), " ")
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("writing report: %w", err)
	}
	return nil
}

// WriteJSON writes the whole report.
func (r *Report) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

// WriteJUnit writes the report in the form of JUnit's XML reports, as CI systems show
// them: a suite for each wheel or directory, a case for each check.
func (r *Report) WriteJUnit(w io.Writer) error {
	type failure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type skipped struct {
		Message string `xml:"message,attr"`
	}
	type testcase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		Failure *failure `xml:"failure"`
		Error   *failure `xml:"error"`
		Skipped *skipped `xml:"skipped"`
		Out     string   `xml:"system-out,omitempty"`
	}
	type suite struct {
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Errors   int        `xml:"errors,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Cases    []testcase `xml:"testcase"`
	}
	type suites struct {
		XMLName xml.Name `xml:"testsuites"`
		Name    string   `xml:"name,attr"`
		Suites  []suite  `xml:"testsuite"`
	}
	all := suites{Name: "ampoule audit " + audit.Printable(r.Target)}
	for i := range r.Units {
		u := &r.Units[i]
		s := suite{Name: audit.Printable(u.Path)}
		class := audit.Printable(path.Base(u.Path))
		for _, c := range u.Checks {
			one := testcase{Class: class, Name: c.Name}
			var refused, warned []string
			for _, f := range u.Findings {
				switch line := f.File + ": " + message(u, f); {
				case f.Check != c.Name:
				case f.Severity == audit.Refuse:
					refused = append(refused, line)
				default:
					warned = append(warned, line)
				}
			}
			if len(refused) > 0 {
				one.Failure = &failure{Message: refused[0], Text: strings.Join(refused, "\n")}
				s.Failures++
			}
			one.Out = strings.Join(warned, "\n")
			s.Cases = append(s.Cases, one)
		}
		for _, n := range u.Unjudged {
			s.Cases = append(s.Cases, testcase{Class: class, Name: n.Check, Skipped: &skipped{n.Why}})
			s.Skipped++
		}
		s.Tests = len(s.Cases)
		all.Suites = append(all.Suites, s)
	}
	for _, u := range r.Unread {
		why := audit.Printable(u.Why)
		all.Suites = append(all.Suites, suite{Name: audit.Printable(u.Path), Tests: 1, Errors: 1, Cases: []testcase{
			{Class: audit.Printable(path.Base(u.Path)), Name: "read", Error: &failure{Message: why, Text: why}},
		}})
	}
	data, err := xml.MarshalIndent(all, "", "  ")
	if err == nil {
		_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, data)
	}
	if err != nil {
		return fmt.Errorf("writing report: %w", err)
	}
	return nil
}
