//go:build docker

package endtoend

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
	"syscall"
	"testing"
	"time"
)

// sharedText is what the services of a tree extend. A setting that no build asks for gives
// their wheel a key of its own.
const sharedText = `apiVersion: ampoule/v1
` + quickstartPython + `base: {debian: bookworm}
packages:
  markupsafe: {env: {AMPOULE_TEST: "%d"}}
runtime:
  container: {base: {debian: bookworm}}
`

// servicesTree writes two services that extend one file, and returns their directory and the
// team that their names begin with.
func servicesTree(t *testing.T) (dir, team string) {
	t.Helper()
	dir = t.TempDir()
	nonce := time.Now().UnixNano()
	team = fmt.Sprintf("team-%d", nonce)
	service := func(name, requirements, imports string) string {
		return fmt.Sprintf("apiVersion: ampoule/v1\nextends: ../python.yaml\nname: %s/%s\nrequirements: [%s]\ntest: {imports: [%s]}\n", team, name, requirements, imports)
	}
	for name, text := range map[string]string{
		"python.yaml":       fmt.Sprintf(sharedText, nonce),
		"cart/ampoule.yaml": service("cart", "markupsafe==3.0.2", "markupsafe._speedups"),
		"shop/ampoule.yaml": service("shop", "itsdangerous==2.2.0, markupsafe==3.0.2", "itsdangerous, markupsafe._speedups"),
	} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir, team
}

// in runs the program in a directory, which may fail, with more in its environment.
func in(t *testing.T, dir string, environ []string, args ...string) tried {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append([]string{"--store", filepath.Join(cache, "store"), "--progress", "plain"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), ofCI), environ...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return tried{strings.TrimSpace(out.String()), errs.String(), cmd.ProcessState.ExitCode()}
}

// ofCI reports whether a variable tells the program that it is in a pipeline.
func ofCI(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	return slices.Contains([]string{"GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "JENKINS_URL"}, name)
}

// TestPipeline takes two services of one repository through a pipeline: they are locked and
// built together, and their tests run in what was built.
func TestPipeline(t *testing.T) {
	beside(t)
	dir, team := servicesTree(t)
	refs := buildServices(t, dir, team)
	shop := filepath.Join(dir, "shop")
	t.Run("run", func(t *testing.T) { ciRuns(t, shop, refs["shop"]) })
	t.Run("check", func(t *testing.T) { ciChecks(t, shop, refs["shop"]) })
	t.Run("requirements", func(t *testing.T) { editsRequirements(t, shop) })
}

// buildServices locks and builds both services, which share an interpreter and a wheel: neither
// is made twice. It returns their references.
func buildServices(t *testing.T, dir, team string) map[string]string {
	t.Helper()
	locked := in(t, dir, nil, "lock", "--all")
	if locked.code != 0 || locked.out != "cart/ampoule.lock\nshop/ampoule.lock" {
		t.Fatalf("lock --all: %+v", locked)
	}
	built := in(t, dir, nil, "build", "--all", "--output", "json")
	var services []struct {
		Recipe string
		Result struct {
			Ref    string
			Reused bool
		}
	}
	if err := json.Unmarshal([]byte(built.out), &services); err != nil || built.code != 0 || len(services) != 2 {
		t.Fatalf("build --all: %v, %+v", err, built)
	}
	refs := map[string]string{}
	for _, s := range services {
		name := filepath.Dir(s.Recipe)
		if !strings.HasPrefix(s.Result.Ref, team+"/"+name+"@sha256:") || s.Result.Reused {
			t.Errorf("built %+v", s)
		}
		refs[name] = s.Result.Ref
	}
	told := locked.errs + built.errs
	if n := strings.Count(told, "done  wheel "); n != 1 || strings.Count(told, "ready wheel ") != 1 {
		t.Errorf("%d wheels were compiled for two services:\n%s", n, told)
	}
	if n := strings.Count(told, "done  interpreter "); n > 1 {
		t.Errorf("%d interpreters were compiled for two services", n)
	}
	return refs
}

// asUser is what runs in the artifact: it tells who it is and where, writes a report into the
// workspace, and tries to command the CI system.
const asUser = `import os
open("report.xml", "w").write('<testsuite tests="2" failures="0"><testcase name="a"/><testcase name="b"/></testsuite>')
print(os.getuid(), os.getcwd(), os.environ.get("GREETING"), os.environ.get("HIDDEN"))
print("::error::evil")
`

// ciRuns finds the artifact again, and runs commands in it.
func ciRuns(t *testing.T, dir, ref string) {
	_, digest, _ := strings.Cut(ref, "@")
	found := in(t, dir, nil, "ci", "build", "--export", "ampoule.env")
	if exported, err := os.ReadFile(filepath.Join(dir, "ampoule.env")); err != nil || found.code != 0 || found.out != ref ||
		!strings.Contains(string(exported), "AMPOULE_DIGEST="+digest+"\n") || !strings.Contains(string(exported), "AMPOULE_REUSED=true\n") {
		t.Errorf("ci build: %+v, %v\n%s", found, err, exported)
	}
	if err := os.WriteFile(filepath.Join(dir, "tests.py"), []byte(asUser), 0o644); err != nil {
		t.Fatal(err)
	}
	ran := in(t, dir, []string{"GREETING=hello", "HIDDEN=yes"}, "ci", "run", "-e", "GREETING", "--junit", "report.xml", "--record", "tested.json", "--", "python3", "tests.py")
	if want := fmt.Sprintf("%d %s hello None\n::error::evil", os.Getuid(), dir); ran.code != 0 || ran.out != want {
		t.Errorf("ci run prints %q, want %q: %+v", ran.out, want, ran)
	}
	info, err := os.Stat(filepath.Join(dir, "report.xml"))
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t); int(owner.Uid) != os.Getuid() || int(owner.Gid) != os.Getgid() {
		t.Errorf("the report is %d:%d's", owner.Uid, owner.Gid)
	}
	var record struct {
		Digest  string
		Passed  bool
		Reports []struct{ Tests, Failures int }
	}
	data, err := os.ReadFile(filepath.Join(dir, "tested.json"))
	if err == nil {
		err = json.Unmarshal(data, &record)
	}
	if err != nil || record.Digest != digest || !record.Passed || len(record.Reports) != 1 || record.Reports[0].Tests != 2 {
		t.Errorf("recorded %+v, %v", record, err)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--", "python3", "-c", "raise SystemExit(7)"}, 7, "ended with exit code 7"},
		{[]string{"--", "no-such-program"}, 127, "no-such-program: not found"},
		{[]string{"--junit", "missing.xml", "--", "python3", "-c", ""}, 3, "missing.xml"},
		{nil, 0, ""},
	} {
		if ran := in(t, dir, nil, append([]string{"ci", "run"}, c.args...)...); ran.code != c.code || !strings.Contains(ran.errs, c.says) {
			t.Errorf("ci run %q: code %d, want %d and %q\n%s", c.args, ran.code, c.code, c.says, ran.errs)
		}
	}
	// What a command does to its parent and to process 1 is nothing, and it ends as it says itself.
	const attacks = "import os, signal, subprocess; signal.signal(signal.SIGTERM, signal.SIG_IGN); subprocess.Popen(['sleep', '600']); os.kill(1, 9); os.kill(1, 15); os.kill(-1, 9); print(os.getppid()); raise SystemExit(5)"
	if hostile := in(t, dir, nil, "ci", "run", "--", "python3", "-c", attacks); hostile.code != 5 || hostile.out != "0" {
		t.Errorf("a command that kills what it can: %+v", hostile)
	}
	github := in(t, dir, []string{"GITHUB_ACTIONS=true", "GITHUB_WORKSPACE=" + dir}, "ci", "run", "--", "python3", "tests.py")
	stopped := strings.Index(github.errs, "::stop-commands::")
	if evil := strings.Index(github.errs, "::error::evil"); github.code != 0 || github.out != "" || stopped < 0 || evil < stopped {
		t.Errorf("on GitHub a command of the tests is obeyed: %+v", github)
	}
}

// ciChecks compares what was tested with what is published under the checkout's key.
func ciChecks(t *testing.T, dir, ref string) {
	recipe := filepath.Join(dir, "ampoule.yaml")
	text, err := os.ReadFile(recipe)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.WriteFile(recipe, text, 0o644); err != nil {
			t.Error(err)
		}
	}()
	other := "sha256:" + strings.Repeat("a", 64)
	for _, c := range []struct {
		args   []string
		change [2]string
		code   int
		// out and errs are parts of what is told.
		out, errs string
	}{
		{args: nil, out: ref},
		{args: []string{"--record", "tested.json"}, out: ref},
		{args: []string{"--digest", other}, code: 4, errs: other},
		{args: []string{"--record", "tested.json"}, change: [2]string{"itsdangerous==2.2.0", "itsdangerous==2.1.2"}, code: 3, errs: "itsdangerous"},
	} {
		changed := bytes.ReplaceAll(text, []byte(c.change[0]), []byte(c.change[1]))
		if c.change[0] == "" {
			changed = text
		}
		if err := os.WriteFile(recipe, changed, 0o644); err != nil {
			t.Fatal(err)
		}
		got := in(t, dir, nil, append([]string{"ci", "check"}, c.args...)...)
		if got.code != c.code || !strings.Contains(got.out, c.out) || !strings.Contains(got.errs, c.errs) {
			t.Errorf("ci check %q: %+v, want code %d, %q and %q", c.args, got, c.code, c.out, c.errs)
		}
	}
}

// editsRequirements adds a requirement, and asks what brings what is locked then.
func editsRequirements(t *testing.T, dir string) {
	added := in(t, dir, nil, "add", "jinja2==3.1.6")
	text, err := os.ReadFile(filepath.Join(dir, "ampoule.yaml"))
	if err != nil || added.code != 0 || !strings.Contains(string(text), "jinja2==3.1.6") {
		t.Fatalf("add: %v, %+v\n%s", err, added, text)
	}
	for name, want := range map[string]string{"markupsafe": "jinja2==3.1.6", "jinja2": "ampoule.yaml:", "setuptools": "markupsafe==3.0.2"} {
		if why := in(t, dir, nil, "why", name); why.code != 0 || !strings.Contains(why.out, want) {
			t.Errorf("why %s does not tell %q: %+v", name, want, why)
		}
	}
	if gone := in(t, dir, nil, "why", "flask"); gone.code == 0 {
		t.Errorf("why of what is not there: %+v", gone)
	}
	before, err := os.ReadFile(filepath.Join(dir, "ampoule.lock"))
	if err != nil {
		t.Fatal(err)
	}
	refused := in(t, dir, nil, "add", "markupsafe<2", "jinja2==3.1.6")
	now, err := os.ReadFile(filepath.Join(dir, "ampoule.yaml"))
	if err != nil || refused.code != 3 || !bytes.Equal(now, text) {
		t.Errorf("what cannot be locked is not taken back: %v, %+v\n%s", err, refused, now)
	}
	if lock, err := os.ReadFile(filepath.Join(dir, "ampoule.lock")); err != nil || !bytes.Equal(lock, before) {
		t.Errorf("the lock is another one, %v", err)
	}
}

// TestFailureIsData has a real build fail: that is one JSON value on stdout, and the last line
// of progress as JSON.
func TestFailureIsData(t *testing.T) {
	beside(t)
	f := newFaultWorld(t)
	does := `
    open("a.c", "w").write("#include <libpq-fe.h>\n")
    sys.exit(subprocess.run(["gcc", "-c", "a.c"]).returncode)`
	out, errs, code := f.build(t, "as-data", does, "--output", "json", "--progress", "json")
	lines := strings.Split(strings.TrimSpace(errs), "\n")
	for i, text := range []string{out, lines[len(lines)-1]} {
		var failure struct {
			Schema, Kind, What, Hint string
			Code                     int
		}
		err := json.Unmarshal([]byte(text), &failure)
		if err != nil || failure.Schema != "ampoule.failure/v1" || failure.Kind != "build" || failure.Code != 8 || code != 8 ||
			!strings.Contains(failure.What, "libpq-fe.h") || !strings.Contains(failure.Hint, "libpq-dev") || !strings.Contains(failure.Hint, "wheel-victim-1.0.log") {
			t.Errorf("%d: %v, code %d, %+v\n%s", i, err, code, failure, text)
		}
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("between the events: %s", line)
		}
	}
}
