package trials

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/recorded"
)

// TestSuite: what fails over the artifact alone is worse, and what is recorded is not run again.
func TestSuite(t *testing.T) {
	t.Parallel()
	trials, calls := faked(t, "FAKE_SUITE=broken")
	trials.Machines = t.TempDir()
	withSource(t, trials.Store)
	if err := trials.Suite(t.Context(), []string{"shared"}); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the raw build's tests were cut short: %v", err)
	}
	trials.Ampoule.Env = append(trials.Ampoule.Env, "FAKE_SUITE=")
	if err := trials.Suite(t.Context(), []string{"shared"}); err != nil {
		t.Fatal(err)
	}
	told, err := os.ReadFile(calls)
	if err != nil || strings.Count(string(told), "cpython_tests.py test_os test.test_asyncio.test_locks") != 2 || strings.Count(string(told), "cpython_tests.py test.test_asyncio.test_locks\n") != 1 ||
		strings.Count(string(told), "./configure") != 1 {
		t.Errorf("what is left is run: %v\n%s", err, told)
	}
	got := map[string]bool{}
	for _, r := range recordedIn[recorded.SuiteTest](t, trials, recorded.SuiteFile) {
		got[r.Name] = r.Passed
		if r.Name == "shared/test_os" {
			if diff := cmp.Diff([]string{"test_os.A.test_b"}, r.Worse()); diff != "" {
				t.Errorf("worse (-want +got):\n%s", diff)
			}
		}
	}
	if diff := cmp.Diff(map[string]bool{"shared/test_os": false, "shared/test.test_asyncio.test_locks": true}, got); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
}

func TestSuiteModes(t *testing.T) {
	t.Parallel()
	trials, _ := faked(t)
	if err := trials.Suite(t.Context(), []string{"musl"}); err == nil || !strings.Contains(err.Error(), "musl") {
		t.Errorf("a mode that there is not: %v", err)
	}
}

// TestSuiteDriver judges what regrtest of CPython prints and reports.
func TestSuiteDriver(t *testing.T) {
	t.Parallel()
	report := filepath.Join(t.TempDir(), "report.xml")
	xml := `<testsuites><testsuite><testcase name="a"/><testcase name="b"><failure>x</failure></testcase><testcase name="c"><error>y</error></testcase>` +
		`<testcase name="d"><skipped> needs root </skipped></testcase></testsuite></testsuites>`
	if err := os.WriteFile(report, []byte(xml), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		code         int
		text, report string
		want         map[string]any
	}{
		"failures":         {2, "FAIL: b (b)\n", report, map[string]any{"result": "failed", "failed": []any{"b", "c"}, "skipped": map[string]any{"needs root": 1.0}}},
		"both":             {2, "FAIL: e (e) (i=1)\n", report, map[string]any{"result": "failed", "failed": []any{"b", "c", "e (i=1)"}, "skipped": map[string]any{"needs root": 1.0}}},
		"subtests":         {2, "FAIL: test_a (test.test_x.A.test_a) (module='m')\nERROR: test_a (test.test_x.A.test_a) [n]\n", "gone", map[string]any{"result": "failed", "failed": []any{"test.test_x.A.test_a (module='m')", "test.test_x.A.test_a [n]"}, "skipped": map[string]any{}}},
		"a crash":          {-11, "starts\nFatal Python error: Segmentation fault\n\n", "gone", map[string]any{"result": "failed", "failed": []any{"Fatal Python error: Segmentation fault"}, "skipped": map[string]any{}}},
		"a whole module":   {4, "0:00:00 [1/1] test_gdb\ntest_gdb skipped -- gdb is not installed\n", "gone", map[string]any{"result": "skipped", "skipped": map[string]any{"gdb is not installed": 1.0}}},
		"a resource":       {4, "test_urllibnet skipped (resource denied)\n", "gone", map[string]any{"result": "skipped", "skipped": map[string]any{"resource denied": 1.0}}},
		"all of it passed": {0, "Result: SUCCESS\n", "gone", map[string]any{"result": "passed", "skipped": map[string]any{}}},
	} {
		script := "import json, sys, cpython_tests; print(json.dumps(cpython_tests.judge(int(sys.argv[1]), sys.argv[2], sys.argv[3])))"
		python := drive.Program{Path: "python3", Dir: "suite", Env: []string{"PYTHONDONTWRITEBYTECODE=1"}}
		run, err := python.Run(t.Context(), "-c", script, strconv.Itoa(c.code), c.text, c.report)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(run.Out), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestSuiteWheel builds the wheel of tests of a tree that seems compiled: it has the packages, and the modules
// that this interpreter lacks.
func TestSuiteWheel(t *testing.T) {
	t.Parallel()
	const script = `
import backend, importlib.machinery, os, sys, tempfile, zipfile
tree, suffix = tempfile.mkdtemp(), importlib.machinery.EXTENSION_SUFFIXES[0]
for name in ("Lib/test/test_a.py", "Lib/test/sub/b.txt", "Lib/idlelib/idle.py", "Lib/idlelib/idle_test/c.py", "Modules/lacking" + suffix, "Modules/_ctypes" + suffix):
    os.makedirs(os.path.dirname(os.path.join(tree, name)), exist_ok=True)
    open(os.path.join(tree, name), "w").close()
os.chmod(os.path.join(tree, "Lib/test/sub/b.txt"), 0o755)
backend.facts = lambda: {"version": "3.13.5"}
backend.compile_source = lambda directory: tree
backend.sysconfig.get_config_var = lambda name: suffix
members = zipfile.ZipFile(os.path.join(tree, backend.build_wheel(tree))).infolist()
print(*(m.filename.replace(suffix, ".so") + "*" * (m.external_attr >> 22 & 1) for m in members if "dist-info" not in m.filename))`
	run, err := (drive.Program{Path: "python3", Dir: "suite", Env: []string{"PYTHONDONTWRITEBYTECODE=1", "TMPDIR=" + t.TempDir()}}).Run(t.Context(), "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(run.Out); got != "idlelib/idle_test/c.py lacking.so test/sub/b.txt* test/test_a.py" {
		t.Errorf("the wheel has %s", got)
	}
}
