package survey

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"path"
	"slices"
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
	r := &Report{Schema: Schema, Target: name, Units: []Unit{u}, Unread: []Unread{}, Unlooked: []Unlooked{}}
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
		remedy, command := inOne(u, u.remedies([]audit.Finding{f}))
		parts = append(parts, remedy)
		if command != "" {
			parts = append(parts, command+".")
		}
	}
	parts = append(parts, f.Remedy)
	if f.Needs != "" {
		parts = append(parts, "It depends on "+strings.TrimSuffix(f.Needs, ".")+".")
	}
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), " ")
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

// ReadReport reads a report that [Report.WriteJSON] has written, of a survey that linted as l says.
func ReadReport(data []byte, l Lint) (*Report, error) {
	r := &Report{lint: l}
	return r, json.Unmarshal(data, r)
}

// What the report has of JUnit's XML form.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Name    string       `xml:"name,attr"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Failure *junitFault   `xml:"failure"`
		Error   *junitFault   `xml:"error"`
		Skipped *junitSkipped `xml:"skipped"`
		Out     string        `xml:"system-out,omitempty"`
	}
	junitFault struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	junitSkipped struct {
		Message string `xml:"message,attr"`
	}
)

// faultOf is what lines say, the first of them in short; nil without one.
func faultOf(lines []string) *junitFault {
	if len(lines) == 0 {
		return nil
	}
	return &junitFault{Message: lines[0], Text: strings.Join(lines, "\n")}
}

// add adds a case and counts it. A failure says that something is wrong, an error that it
// could not be decided: CI systems pass neither. What is skipped they pass.
func (s *junitSuite) add(c junitCase) {
	s.Cases = append(s.Cases, c)
	s.Tests++
	switch {
	case c.Failure != nil:
		s.Failures++
	case c.Error != nil:
		s.Errors++
	case c.Skipped != nil:
		s.Skipped++
	}
}

// WriteJUnit writes the report in the form of JUnit's XML reports, as CI systems show
// them: a suite for each wheel or directory, a case for each check.
func (r *Report) WriteJUnit(w io.Writer) error {
	all := junitSuites{Name: "ampoule audit " + audit.Printable(r.Target)}
	for i := range r.Units {
		all.Suites = append(all.Suites, r.junit(&r.Units[i]))
	}
	for _, u := range r.Unread {
		s := junitSuite{Name: audit.Printable(u.Path)}
		s.add(junitCase{Class: audit.Printable(path.Base(u.Path)), Name: "read", Error: faultOf([]string{audit.Printable(u.Why)})})
		all.Suites = append(all.Suites, s)
	}
	for _, u := range r.Unlooked {
		s := junitSuite{Name: audit.Printable(u.Path)}
		s.add(junitCase{Class: audit.Printable(path.Base(u.Path)), Name: "look", Skipped: &junitSkipped{u.text()}})
		all.Suites = append(all.Suites, s)
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

// junit is the suite of one unit. A check that was not made is skipped, unless something is
// undecided for want of it.
func (r *Report) junit(u *Unit) junitSuite {
	s := junitSuite{Name: audit.Printable(u.Path)}
	class := audit.Printable(path.Base(u.Path))
	for _, c := range u.Checks {
		s.add(u.junitCase(class, c.Name))
	}
	for _, n := range u.Unjudged {
		one := u.junitCase(class, n.Check)
		if one.Failure == nil && one.Error == nil {
			one.Skipped = &junitSkipped{n.Why}
		}
		s.add(one)
	}
	for _, l := range r.lintCases(u) {
		one := junitCase{Class: class, Name: l.name, Out: l.text}
		if l.fails {
			one.Failure, one.Out = faultOf([]string{l.text}), ""
		}
		s.add(one)
	}
	return s
}

// junitCase is what one check says of a unit. A case has one fault: what is undecided
// beside what is refused stands in its text.
func (u *Unit) junitCase(class, check string) junitCase {
	lines := map[audit.Severity][]string{}
	for _, f := range u.Findings {
		if f.Check == check {
			lines[f.Severity] = append(lines[f.Severity], strings.TrimPrefix(f.File+": ", ": ")+message(u, f))
		}
	}
	one := junitCase{Class: class, Name: check, Out: strings.Join(lines[audit.Warn], "\n")}
	if refused := lines[audit.Refuse]; len(refused) > 0 {
		one.Failure = faultOf(append(refused, lines[audit.Undecided]...))
	} else {
		one.Error = faultOf(lines[audit.Undecided])
	}
	return one
}
