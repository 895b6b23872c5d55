package survey

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
)

// open lists what a report is undecided about: unit, check, what was not judged.
func open(r *Report) []string {
	lines := []string{}
	for _, u := range r.Units {
		for _, f := range u.Findings {
			if f.Severity == audit.Undecided {
				lines = append(lines, strings.Join([]string{u.Path, f.Check, f.Value}, " "))
			}
		}
	}
	return lines
}

// Native code without an interpreter is an open question, and what depends on none is not.
func TestNativeCodeWithoutInterpreter(t *testing.T) {
	t.Parallel()
	const name = "spam-1.0-" + tag + ".whl"
	wheel := func(file string, data []byte) map[string]string {
		return map[string]string{"d/" + name: pack(t, distOf("spam", tag, "", map[string]string{file: string(data)}))}
	}
	program := `void _start(void) { for (;;); }`
	dynamic := []string{"-fPIE", "-pie", "-Wl,--dynamic-linker=/lib64/ld-linux-x86-64.so.2"}
	const checks = "1, not judged by closure, fingerprint, symbols, versions"
	question := []string{"/d/" + name + " symbols " + checks}
	for what, c := range map[string]struct {
		files         map[string]string
		path, against string
		outcome       Outcome
		open          []string
	}{
		"a module":                       {wheel("spam"+suffix, module(t, "")), "/d", "", Undecided, question},
		"a module, against one":          {wheel("spam"+suffix, module(t, "")), "/d", "/usr", Passed, nil},
		"a module that is refused":       {wheel("spam"+suffix, module(t, "libpython3.13.so.1.0")), "/d", "", Refused, nil},
		"a library":                      {wheel("spam.libs/libspam.so", compile(t, "int spam(void) { extern int puts(const char *); return puts(\"\"); }", "-shared", "-fPIC")), "/d", "", Undecided, question},
		"a program":                      {wheel("spam-1.0.data/scripts/spam", compile(t, program, dynamic...)), "/d", "", Undecided, question},
		"a program that needs nothing":   {wheel("spam-1.0.data/scripts/spam", compile(t, program, "-static")), "/d", "", Passed, nil},
		"an object that is not linked":   {wheel("spam/data.o", compile(t, program, "-c")), "/d", "", Passed, nil},
		"Python alone":                   {map[string]string{"d/spam-1.0-py3-none-any.whl": pack(t, distOf("spam", "py3-none-any", "", map[string]string{"spam.py": ""}))}, "/d", "", Passed, nil},
		"what pip --target made":         {under("srv/lib", dist(module(t, ""), tag)), "/srv/lib", "", Undecided, []string{"/srv/lib symbols 1, not judged by conflicts, fingerprint, interpreter, metadata, symbols"}},
		"what pip --target made, Python": {under("srv/lib", distOf("spam", "py3-none-any", "", map[string]string{"spam.py": ""})), "/srv/lib", "", Passed, nil},
		"a module alone":                 {map[string]string{"srv/spam" + suffix: string(module(t, ""))}, "/srv/spam" + suffix, "", Undecided, nil},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r, err := Look(t.Context(), Target{Files: machine(t, c.files), Path: c.path, Against: c.against})
			if err != nil {
				t.Fatal(err)
			}
			if r.Outcome != c.outcome || c.open != nil && !slices.Equal(open(r), c.open) || (len(open(r)) > 0) != (c.outcome == Undecided) {
				t.Errorf("%s: open: %q, refused: %q; want %s, open: %q", r.Outcome, open(r), refused(r), c.outcome, c.open)
			}
		})
	}
}

// pythonHere is the machine's own Python: its executable, the suffix of its modules, and the
// tag of wheels for it.
func pythonHere(t *testing.T) (exe, suffix, tag string) {
	t.Helper()
	const script = `import os, sys, sysconfig
v = "cp%d%d" % sys.version_info[:2]
print(os.path.realpath(sys.executable), sysconfig.get_config_var("EXT_SUFFIX"), v + "-" + v + "-linux_" + os.uname().machine)`
	told, err := exec.CommandContext(t.Context(), "python3", "-c", script).Output()
	if err != nil {
		t.Fatalf("python3: %v", err)
	}
	fields := strings.Fields(string(told))
	return fields[0], fields[1], fields[2]
}

// importable is a module that any CPython 3 imports (PEP 489): its definition is laid out as
// struct PyModuleDef.
const importable = `struct { long head[5]; const char *name, *doc; long size; void *rest[5]; } def = {{1}, "spam"};
extern void *PyModuleDef_Init(void *); void *PyInit_spam(void) { return PyModuleDef_Init(&def); }`

// Two wheels between which an audit without an interpreter has nothing to choose: one of them
// is imported, the other is not. With the interpreter the verdicts are what importing shows.
func TestQuestionsAreOpen(t *testing.T) {
	t.Parallel()
	exe, suffix, tag := pythonHere(t)
	for what, more := range map[string]string{"it asks for what there is": "", "it asks for what another Python has": "extern int PyModule_NoSuchThing(void); int spam(void) { return PyModule_NoSuchThing(); }"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			data := string(compile(t, importable+more, "-shared", "-fPIC", "-Wl,-z,now"))
			dir := t.TempDir()
			file := filepath.Join(dir, "spam-1.0-"+tag+".whl")
			if err := errors.Join(os.WriteFile(file, []byte(pack(t, distOf("spam", tag, "", map[string]string{"spam" + suffix: data}))), 0o644),
				os.WriteFile(filepath.Join(dir, "spam"+suffix), []byte(data), 0o755)); err != nil {
				t.Fatal(err)
			}
			importing := exec.CommandContext(t.Context(), exe, "-c", "import spam")
			importing.Dir = dir
			told, err := importing.CombinedOutput()
			if works := err == nil; works != (more == "") {
				t.Fatalf("importing it: %v\n%s", err, told)
			}
			want := Passed
			if err != nil {
				want = Refused
			}
			for against, want := range map[string]Outcome{"": Undecided, exe: want} {
				r, err := Look(t.Context(), Target{Files: Machine("/"), Path: file, Against: against})
				if err != nil {
					t.Fatal(err)
				}
				if r.Outcome != want {
					t.Errorf("against %q: %s, want %s; refused: %q", against, r.Outcome, want, refused(r))
				}
			}
		})
	}
}

// waiting is a report of wheels that wait for an interpreter, beside one that does not.
func waiting(wheels int) *Report {
	r := &Report{Target: "/d", Units: []Unit{{Kind: KindWheel, Path: "/d/pure-1.whl", Checks: []audit.CheckResult{{Name: "record", Examined: 1}}}}}
	for i := range wheels {
		u := Unit{Kind: KindWheel, Path: fmt.Sprintf("/d/w%d-1.whl", i), Objects: 2, Checks: []audit.CheckResult{{Name: "record", Examined: 1}}}
		for _, check := range []string{"closure", "symbols"} {
			u.Unjudged = append(u.Unjudged, audit.Unjudged{Check: check, Why: "the interpreter is not known", Files: 2, Needs: "the interpreter: --against names it"})
		}
		u.await(2)
		r.Units = append(r.Units, u)
	}
	r.decide()
	return r
}

// What is undecided has its place in every form, and is none that reads as a pass.
func TestFormsOfUndecided(t *testing.T) {
	t.Parallel()
	r := waiting(3)
	var text, whole, sarif, junit bytes.Buffer
	if err := errors.Join(r.WriteText(&text, TextOptions{}), r.WriteJSON(&whole), r.WriteSARIF(&sarif, "1"), r.WriteJUnit(&junit)); err != nil {
		t.Fatal(err)
	}
	const want = `/d: 4 wheels, 6 native files
judged against no interpreter: --against names one
UNDECIDED: 3 open questions in 3 of 4 (symbols 3)

undecided: w0-1.whl
  and 2 more files like it
  in /d/w0-1.whl
  symbols: native files 2, not judged by closure, symbols
    Native code fits some interpreters and machines only. Whether this does is open: the interpreter is not known.
    Audit it against the interpreter that is to import it, or where it is installed.
  what decides it
    The interpreter: --against names it.

told in full: 1 of 3 open questions; --output json tells all

CHECK   EXAMINED  REFUSED  WARNED
record  4         0        0

not judged: closure, symbols of 6 native files (the interpreter is not known)
`
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("the text form (-want +got):\n%s", diff)
	}
	var told Report
	if err := json.Unmarshal(whole.Bytes(), &told); err != nil || told.Outcome != Undecided || told.Passed || told.Units[1].Findings[0].Needs == "" || told.Units[1].Unjudged[0].Needs == "" {
		t.Errorf("JSON: %v\n%s", err, &whole)
	}
	for form, wants := range map[*bytes.Buffer][]string{
		&sarif: {`"kind": "open",
          "level": "none"`, "It depends on the interpreter: --against names it."},
		&junit: {`<testsuite name="/d/w0-1.whl" tests="3" failures="0" errors="1" skipped="1">`, `<testcase classname="w0-1.whl" name="symbols">
      <error message="Native code`, `<testsuite name="/d/pure-1.whl" tests="1" failures="0" errors="0" skipped="0">`},
	} {
		for _, want := range wants {
			if !strings.Contains(form.String(), want) {
				t.Errorf("lacks %q:\n%s", want, form)
			}
		}
	}
}

// Beside what is refused the question is told, too: by name in the text, and in a fault's
// text, which a case has one of.
func TestUndecidedBesideRefused(t *testing.T) {
	t.Parallel()
	finding := func(s audit.Severity, file, needs string) audit.Finding {
		return audit.Finding{Check: "closure", Severity: s, File: file, Cause: "Missing.", Remedy: "Give it.", Needs: needs}
	}
	u := Unit{Kind: KindSite, Path: "/v", Findings: []audit.Finding{finding(audit.Refuse, "/v/a.so", ""), finding(audit.Undecided, "/v/b.so", "a driver: --root has it"), finding(audit.Warn, "/v/c.so", "")}}
	result := audit.CheckResult{Name: "closure", Examined: 3}
	for _, f := range u.Findings {
		result.Count(f)
	}
	u.Checks = []audit.CheckResult{result}
	r := &Report{Target: "/v", Units: []Unit{u}}
	r.decide()
	var text, junit bytes.Buffer
	if err := errors.Join(r.WriteText(&text, TextOptions{}), r.WriteJUnit(&junit)); err != nil {
		t.Fatal(err)
	}
	for form, wants := range map[*bytes.Buffer][]string{
		&text:  {"REFUSED: 1 file in 1 of 1 (closure 1)\nUNDECIDED: 1 open question in 1 of 1 (closure 1); 1 warning", "\nundecided: /v/b.so\n", "  what decides it\n    A driver: --root has it.\n", "CHECK    EXAMINED  REFUSED  WARNED  UNDECIDED\nclosure  3         1        1       1\n"},
		&junit: {`tests="1" failures="1" errors="0"`, "/v/b.so: Missing. Give it. It depends on a driver: --root has it.</failure>", "<system-out>/v/c.so: Missing. Give it.</system-out>"},
	} {
		for _, want := range wants {
			if !strings.Contains(form.String(), want) {
				t.Errorf("lacks %q:\n%s", want, form)
			}
		}
	}
}
