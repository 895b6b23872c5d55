package survey

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
)

// poisonedFile is what the checks find in a module that is linked to libpython.
func poisonedFile(name, distribution string) []audit.Finding {
	f := audit.Finding{
		Severity: audit.Refuse, File: name, Distribution: distribution, Field: "DT_NEEDED", Value: "libpython3.13.so.1.0",
		Check: "libpython-needed", Cause: "It needs libpython.", Remedy: "Do not link it.",
	}
	missing := f
	missing.Check, missing.Cause, missing.Remedy = "closure", "It is missing.", "Carry it."
	return []audit.Finding{missing, f}
}

// unitOf is a unit of so many poisoned files.
func unitOf(kind Kind, path string, files int, distribution string) Unit {
	u := Unit{Kind: kind, Path: path, Objects: files}
	for i := range files {
		u.Findings = append(u.Findings, poisonedFile(fmt.Sprintf("m%02d.so", i), distribution)...)
	}
	u.Remedy, u.Command = inOne(&u, u.remedies(u.Findings))
	return u
}

// No wheel, distribution or file hides the others, and what is left out is counted.
func TestBlocks(t *testing.T) {
	t.Parallel()
	lines := unitOf(KindSite, "/v", 1, "spam 1.0")
	for i := range 409 {
		lines.Findings = append(lines.Findings, audit.Finding{
			Check: "record", Severity: audit.Refuse, File: "/v/ham-2.dist-info/RECORD", Distribution: "ham 2",
			Field: fmt.Sprint("line ", i+1), Value: "ham.py", Cause: "It is not there.", Remedy: "Install it again.",
		})
	}
	crowd := &Report{}
	for i := range shown + named + 2 {
		crowd.Units = append(crowd.Units, unitOf(KindWheel, fmt.Sprintf("/d/w%02d-1.whl", i), 2, ""))
	}
	const poison = `  libpython-needed: DT_NEEDED libpython3.13.so.1.0
    It needs libpython.
    Do not link it.
  closure: DT_NEEDED libpython3.13.so.1.0
    It is missing.
  what to do here
`
	renamed := Unit{Kind: KindWheel, Path: "/d/renamed.whl", Wheel: "spam-1.0-py3-none-any.whl", Findings: []audit.Finding{
		{Check: "record", Severity: audit.Refuse, Field: "name", Value: "renamed.whl", Cause: "It is not named so.", Remedy: "Build it again."},
	}}
	for _, c := range []struct {
		what   string
		report *Report
		want   string
	}{
		{"a wheel of many modules beside another", &Report{Units: []Unit{unitOf(KindWheel, "/d/many-1.whl", 15, ""), unitOf(KindWheel, "/d/one-1.whl", 1, "")}}, `
refused: m00.so
  and 14 more files like it
  in /d/many-1.whl
` + poison + `    Do not install it.

refused: m00.so
  in /d/one-1.whl
` + poison + `    Do not install it.

told in full: 4 of 32 refusals; --output json tells all
`},
		{"a renamed wheel", &Report{Units: []Unit{renamed}}, `
refused: renamed.whl
  in /d/renamed.whl (spam-1.0-py3-none-any.whl)
  record: name renamed.whl
    It is not named so.
    Build it again.
`},
		{"a distribution of many faults beside another", &Report{Units: []Unit{lines}}, `
refused: m00.so
  of spam 1.0
` + poison + `    The same release brings the same file: take another release, or one of another index, or compile this one here.

refused: /v/ham-2.dist-info/RECORD
  of ham 2
  record: line 1 ham.py
  record: line 2 ham.py
  record: line 3 ham.py
    It is not there.
    Install it again.
    and 406 more in this file
  what to do here
    Install it again: its files are no longer those of its wheel.
    $ pip install --force-reinstall --no-deps ham==2

told in full: 5 of 411 refusals; --output json tells all
`},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			var text bytes.Buffer
			c.report.writeBlocks(&text, audit.Refuse, TextOptions{})
			if diff := cmp.Diff(c.want, text.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	var text bytes.Buffer
	crowd.writeBlocks(&text, audit.Refuse, TextOptions{})
	for _, want := range []string{
		"\nrefused, too: m00.so and 1 more file like it in /d/w10-1.whl (libpython-needed, closure)\n", "in /d/w39-1.whl",
		"… and 2 more like these\n\ntold in full: 20 of 168 refusals;",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("of very many wheels it lacks %q:\n%s", want, &text)
		}
	}
}
