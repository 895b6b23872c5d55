package survey

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
	"ampoule/audit/lint"
)

// lintTarget has a wheel with a fault, one with advice alone, a sound one in pip's cache of
// downloads, and an environment.
func lintTarget(t *testing.T) Target {
	t.Helper()
	wheel := func(files map[string]string) string { return pack(t, distOf("spam", "py3-none-any", "", files)) }
	return Target{Files: machine(t, together(map[string]string{
		"srv/w/spam-1.0-py3-none-any.whl":  wheel(map[string]string{"spam/__init__.py": "x", "tests/__init__.py": "y"}),
		"srv/x/spam-1.0-py3-none-any.whl":  wheel(map[string]string{"spam/__init__.py": "x", "eggs/__init__.py": "y"}),
		"srv/http-v2/a/b/c/d/e/abcde.body": wheel(map[string]string{"spam/__init__.py": "x"}),
		venv + "/pyvenv.cfg":               "home = /usr/bin\nversion = 3.13.5\n",
		venv + "/bin/python3.13":           "-> /usr/bin/python3.13",
	}, under(site, distOf("spam", "py3-none-any", "", map[string]string{"spam/__init__.py": "x", "tests/__init__.py": "y"})))), Path: "/srv"}
}

func lookAt(t *testing.T, target Target) *Report {
	t.Helper()
	r, err := Look(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLint(t *testing.T) {
	t.Parallel()
	target := lintTarget(t)
	if r := lookAt(t, target); r.Units[0].Lint != nil || r.LintRefused() != 0 {
		t.Errorf("linted without being asked: %+v", r.Units[0].Lint)
	}
	target.Lint = Lint{On: true}
	told := lookAt(t, target)
	rules := map[string]string{}
	for i, u := range told.Units {
		if u.Lint != nil {
			rules[u.Path] = told.Units[i].lintLine()
		}
	}
	want := map[string]string{
		"/srv/w/spam-1.0-py3-none-any.whl":  "common-name, several-toplevels",
		"/srv/x/spam-1.0-py3-none-any.whl":  "several-toplevels",
		"/srv/http-v2/a/b/c/d/e/abcde.body": "nothing to say",
	}
	if diff := cmp.Diff(want, rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if !told.Passed || told.LintRefused() != 0 {
		t.Error("what linting says is refused without being asked")
	}
	target.Lint.Refuse = true
	if r := lookAt(t, target); r.Passed || r.LintRefused() != 1 || r.Count(audit.Refuse) != 0 {
		t.Errorf("passed %t, lint refuses %d, the audit %d", r.Passed, r.LintRefused(), r.Count(audit.Refuse))
	}
	target.Lint.Ignore = []string{"common-name"}
	if r := lookAt(t, target); !r.Passed {
		t.Error("a rule that is left out refuses")
	}
}

func TestLintForms(t *testing.T) {
	t.Parallel()
	target := lintTarget(t)
	target.Lint = Lint{On: true}
	told := lookAt(t, target)
	target.Lint.Refuse = true
	refuses := lookAt(t, target)
	var text, other, sarif, strict, junit, failing bytes.Buffer
	if err := errors.Join(told.WriteText(&text, TextOptions{}), refuses.WriteText(&other, TextOptions{}), told.WriteSARIF(&sarif, "1"),
		refuses.WriteSARIF(&strict, "1"), told.WriteJUnit(&junit), refuses.WriteJUnit(&failing)); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"lint: 3 wheels: 1 with faults, 1 with advice alone\n",
		"lint looks at wheels: it says nothing of 1 others that were judged\n",
		"  fault: common-name: tests/\n", "  advice: several-toplevels: eggs/, spam/\n",
	} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("text lacks %q:\n%s", line, &text)
		}
	}
	if want := "NOT PASSED: 1 wheel with faults that linting found"; !strings.Contains(other.String(), want) {
		t.Errorf("text lacks %q:\n%s", want, &other)
	}
	if diff := cmp.Diff([]string{"lint/common-name warning", "lint/several-toplevels note", "lint/several-toplevels note"}, lintLevels(t, sarif.Bytes())); diff != "" {
		t.Errorf("SARIF (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"lint/common-name error", "lint/several-toplevels note", "lint/several-toplevels note"}, lintLevels(t, strict.Bytes())); diff != "" {
		t.Errorf("SARIF that refuses (-want +got):\n%s", diff)
	}
	if got := lintFailures(t, junit.Bytes()); len(got) > 0 {
		t.Errorf("JUnit fails %v", got)
	}
	if diff := cmp.Diff([]string{"lint/common-name"}, lintFailures(t, failing.Bytes())); diff != "" {
		t.Errorf("JUnit (-want +got):\n%s", diff)
	}
}

// lintLevels are the rules and levels of what SARIF has of linting.
func lintLevels(t *testing.T, data []byte) []string {
	t.Helper()
	var log sarifLog
	if err := json.Unmarshal(data, &log); err != nil {
		t.Fatal(err)
	}
	if got, want := len(log.Runs[0].Tool.Driver.Rules), len(lint.Rules()); got < want {
		t.Errorf("%d rules", got)
	}
	var levels []string
	for _, r := range log.Runs[0].Results {
		if strings.HasPrefix(r.RuleID, "lint/") {
			levels = append(levels, r.RuleID+" "+r.Level)
		}
	}
	return levels
}

// lintFailures are the cases of linting that fail in JUnit's form.
func lintFailures(t *testing.T, data []byte) []string {
	t.Helper()
	var suites struct {
		Suites []struct {
			Cases []struct {
				Name    string    `xml:"name,attr"`
				Failure *struct{} `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(data, &suites); err != nil {
		t.Fatal(err)
	}
	var failed []string
	seen := 0
	for _, s := range suites.Suites {
		for _, c := range s.Cases {
			if !strings.HasPrefix(c.Name, "lint/") {
				continue
			}
			if seen++; c.Failure != nil {
				failed = append(failed, c.Name)
			}
		}
	}
	if seen != 3*len(lint.Rules()) {
		t.Errorf("%d cases of linting", seen)
	}
	return failed
}

// TestLintIsBounded tells of many wheels the worst in full, some in a line, and counts the
// others.
func TestLintIsBounded(t *testing.T) {
	t.Parallel()
	r := &Report{Target: "/w", Passed: true, lint: Lint{On: true}}
	for range shown + named + 5 {
		r.Units = append(r.Units, Unit{Kind: KindWheel, Path: "/w/a-1-py3-none-any.whl", Lint: &lint.Report{
			Platform: &lint.Platform{Satisfies: []string{"manylinux_2_17_x86_64"}}, Notes: []lint.Note{{Rule: "bytecode", Level: lint.Fault, Files: make([]string, 1000)}},
		}})
	}
	var b bytes.Buffer
	if err := r.WriteText(&b, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	full, lines := strings.Count(b.String(), "  fault: bytecode"), strings.Count(b.String(), "manylinux_2_17_x86_64; bytecode\n")
	if full != shown || lines != named || !strings.Contains(b.String(), "… and of 5 more wheels") {
		t.Errorf("%d in full, %d in a line:\n%s", full, lines, &b)
	}
}

// TestLintText tells what keeps a wheel from older systems, and what modules of the stable
// ABI ask for.
func TestLintText(t *testing.T) {
	t.Parallel()
	limit := func(file, library, name, admits string) lint.Limit {
		return lint.Limit{File: file, Kind: lint.LimitVersion, Library: library, Name: name, Admits: admits}
	}
	r := &Report{Target: "/w", Passed: true, lint: Lint{On: true}, Units: []Unit{{Kind: KindWheel, Path: "/w/a-1-cp39-abi3-manylinux_2_28_x86_64.whl", Lint: &lint.Report{
		Platform: &lint.Platform{
			Satisfies: []string{"manylinux_2_17_x86_64", "manylinux2014_x86_64"}, Claims: []string{"manylinux_2_28_x86_64"},
			Limits: []lint.Limit{
				limit("a.so", "libc.so.6", "GLIBC_2.17", "manylinux_2_17_x86_64"), limit("b\x1b.so", "libc.so.6", "GLIBC_2.17", "manylinux_2_17_x86_64"),
				limit("a.so", "libc.so.6", "GLIBC_2.10", "manylinux_2_12_x86_64"),
			},
			Unjudged: []string{"c.so"},
		},
		Modules: []lint.Module{{File: "a.so", Claims: "3.9", Lowest: "3.7"}, {File: "b.so", Claims: "3.9", Beyond: []string{"_PyX"}}, {File: "d.so"}},
	}}}}
	var b bytes.Buffer
	r.writeLint(&b, TextOptions{})
	want := `
lint: 1 wheel: 0 with faults, 0 with advice alone

lint: a-1-cp39-abi3-manylinux_2_28_x86_64.whl
  platform: manylinux_2_17_x86_64 (manylinux2014_x86_64); tagged manylinux_2_28_x86_64
    kept from older systems by
      libc.so.6 GLIBC_2.17: a.so, b\u001b.so
    not judged, for another machine or C library: c.so
  stable ABI: a.so asks for that of Python 3.7, claims 3.9
  stable ABI: b.so asks for 1 symbol that no Python's has, claims 3.9
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	r.Units[0].Lint.Platform.Satisfies = nil
	b.Reset()
	r.writeLint(&b, TextOptions{})
	if line := "  platform: not judged: c.so\n"; !strings.Contains(b.String(), line) {
		t.Errorf("text lacks %q:\n%s", line, &b)
	}
}
