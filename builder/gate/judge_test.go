package gate

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
	"ampoule/builder/sandbox"
	"ampoule/recipes"
	"ampoule/tree"
)

var judged = time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)

// caseOf is a tree with a file of the distribution a that tells where it was built.
func caseOf(t *testing.T) Case {
	t.Helper()
	made, err := tree.New([]tree.Entry{
		python("1"), owned("a", "a/__init__.py", "where = '"+sandbox.WorkDir+"/a'\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return Case{
		Tree: made, Prefix: "/opt/ampoule", Interpreter: "bin/python3.13", Now: judged,
		Record: &audit.ArtifactRecord{Wheels: []audit.WheelMade{{Name: "a", Version: "1.0"}}},
		Terms:  Terms{Tests: commands("passes", "fails")},
	}
}

// targets has the tree in two places.
func (w *world) targets() []Target {
	var targets []Target
	for _, name := range []string{"container", "vm"} {
		targets = append(targets, Target{Name: name, Place: PlaceOf(name, "opt/ampoule"), Base: w.base, Root: w.root, Glibc: "2.36"})
	}
	return targets
}

// findings are those of a check in a verdict.
func findings(v audit.Verdict, check string) []audit.Finding {
	return slices.DeleteFunc(slices.Clone(v.Findings), func(f audit.Finding) bool { return f.Check != check })
}

// A case is judged by what it says and by what the targets show, without anybody who built it.
func TestJudge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.test = func(_ context.Context, step sandbox.Step) error {
		if step.Args[0] == "fails" && strings.Contains(step.Env[0], placeOfVM) {
			return &sandbox.ExitError{Args: step.Args, Code: 3}
		}
		return nil
	}
	c := caseOf(t)
	got, err := w.stage.Judge(t.Context(), c, w.targets())
	if err != nil {
		t.Fatal(err)
	}
	if got.Passed || got.Tree != c.Tree.Hash() || len(got.Targets) != 2 || got.Targets[1].Name != "vm" || got.Binary != nil {
		t.Errorf("the verdict is %+v", got)
	}
	if tests := findings(got, "recipe-tests"); len(tests) != 1 || !slices.Equal(tests[0].Targets, []string{"vm"}) {
		t.Errorf("of the tests it says %+v", tests)
	}
	if paths := findings(got, "paths"); len(paths) != 1 || paths[0].Severity != audit.Refuse {
		t.Errorf("of the build directory it says %+v", paths)
	}
	if locked := findings(got, "metadata"); len(locked) == 0 {
		t.Error("it does not miss the distribution that the record names")
	}
	// An exception lets one finding pass; what was built elsewhere may tell where.
	c.Exceptions = []audit.Exception{{Check: "recipe-tests", Files: []string{"*"}, Why: "known", Until: "2026-11-20"}}
	wheel := audit.BinaryWheel{File: "a-1.0-cp313-cp313-linux_x86_64.whl", Why: "no sdist", Until: "2027-01-01"}
	c.Accepted = []Accepted{{Dist: "a", Wheel: wheel}}
	if got, err = w.stage.Judge(t.Context(), c, w.targets()); err != nil {
		t.Fatal(err)
	}
	if paths := findings(got, "paths"); len(paths) != 1 || paths[0].Severity != audit.Warn {
		t.Errorf("of an accepted wheel's build directory it says %+v", paths)
	}
	if diff := cmp.Diff([]audit.BinaryWheel{wheel}, got.Binary); diff != "" {
		t.Errorf("accepted (-want +got):\n%s", diff)
	}
	w.checkClosed()
}

func TestTermsOf(t *testing.T) {
	t.Parallel()
	r, err := recipes.ParseRecipe("ampoule.yaml", []byte(`apiVersion: ampoule/v1
name: a
python: {version: 3.13.5}
base: {debian: bookworm}
runtime: {container: {base: {debian: bookworm}}}
gate:
  except: [{check: paths, files: [bin/x], why: y, until: 2030-01-01}]
test: {imports: [a, b], commands: [[python3, -m, a]]}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Terms{
		Exceptions: []audit.Exception{{Check: "paths", Files: []string{"bin/x"}, Why: "y", Until: "2030-01-01"}},
		Tests: []audit.Test{
			{Kind: audit.KindImport, Args: []string{"a"}}, {Kind: audit.KindImport, Args: []string{"b"}},
			{Kind: audit.KindCommand, Args: []string{"python3", "-m", "a"}},
		},
	}
	if diff := cmp.Diff(want, TermsOf(r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCheckWheels(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for name, text := range map[string]string{"a/__init__.py": "x = 1\n", "a-1.0.dist-info/RECORD": "a/__init__.py,sha256=AAAA,6\n"} {
		f, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		f.Write([]byte(text))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	sum, _, err := w.stage.Store.Put(t.Context(), &buf)
	if err != nil {
		t.Fatal(err)
	}
	v, err := CheckWheels(w.stage.Store, []Wheel{{"a-1.0-py3-none-any.whl", sum}}, judged)
	if err != nil || v == nil || v.Passed || len(findings(*v, "record")) == 0 || v.Time != "2026-11-20T00:00:00Z" {
		t.Errorf("a wheel that is not what its RECORD says: %+v, %v", v, err)
	}
	if v, err := CheckWheels(w.stage.Store, nil, judged); v != nil || err != nil {
		t.Errorf("no wheel: %+v, %v", v, err)
	}
	if _, err := CheckWheels(w.stage.Store, []Wheel{{"a.whl", strings.Repeat("0", 64)}}, judged); err == nil {
		t.Error("a wheel that is not there is judged")
	}
}

func TestKeep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	verdict := audit.Verdict{Schema: audit.VerdictSchema, Checks: []audit.CheckResult{{Name: "paths", Examined: 3}}, Findings: []audit.Finding{
		{Check: "paths", Severity: audit.Refuse, File: "bin/x", Cause: "a cause", Remedy: "a remedy"}, {Check: "isa", Severity: audit.Warn, File: "bin/y"},
		{Check: "paths", Severity: audit.Refuse, File: "bin/z", Excepted: "why"},
	}}
	if err := Keep(dir, "web", "7-abc", verdict); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"verdict.json", "verdict.sarif", "verdict.junit.xml"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(data), "bin/x") {
			t.Errorf("%s has %s, %v", name, data, err)
		}
		if name != "verdict.junit.xml" && !json.Valid(data) {
			t.Errorf("%s is no JSON", name)
		}
	}
	if err := Keep(filepath.Join(dir, "none"), "web", "7-abc", verdict); err == nil {
		t.Error("kept where there is no directory")
	}
	refused := &RefusedError{Verdict: verdict}
	if refused.Error() != "the gate refused the tree: 1 finding" || refused.Hint() == "" {
		t.Errorf("the error is %v", refused)
	}
}
