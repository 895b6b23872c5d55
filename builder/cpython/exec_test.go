package cpython

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The host's gcc, sh, python3 and unshare are requirements of these tests.

// starter compiles the program into bin below a new directory, with the flags that the
// sandbox's compiler gets, and returns bin without any link.
func starter(t *testing.T) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	args := compileExec(root)
	args[len(args)-1] = filepath.Join("exec", "ampoule_exec.c")
	bin := filepath.Join(root, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(args[0], append([]string{"-Werror"}, args[1:]...)...).CombinedOutput(); err != nil {
		t.Fatalf("compiling: %v\n%s", err, out)
	}
	return bin
}

// program writes a shell script.
func program(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// ended is what a run showed.
type ended struct {
	Code     int
	Out, Err string
}

// start runs a command with some variables and nothing else in its environment but a PATH.
func start(t *testing.T, env []string, args ...string) ended {
	t.Helper()
	bounded, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(bounded, args[0], args[1:]...)
	cmd.Env = append([]string{"PATH=/usr/bin:/bin"}, env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return ended{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

func TestExecStatus(t *testing.T) {
	t.Parallel()
	bin := starter(t)
	self := filepath.Join(bin, "ampoule-exec")
	program(t, filepath.Join(bin, "own"), `echo "own $*"`)
	program(t, filepath.Join(bin, "broken"), "")
	if err := os.WriteFile(filepath.Join(bin, "broken"), []byte("#!/nowhere/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "data"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want ended
	}{
		"beside it":            {[]string{"own", "a b", "--init"}, ended{0, "own a b --init\n", ""}},
		"in PATH":              {[]string{"--", "sh", "-c", "exit 7"}, ended{7, "", ""}},
		"path":                 {[]string{"/bin/sh", "-c", "echo $0"}, ended{0, "/bin/sh\n", ""}},
		"init":                 {[]string{"--init", "--", "sh", "-c", "exit 7"}, ended{7, "", ""}},
		"signal":               {[]string{"--init", "sh", "-c", "kill -TERM $$"}, ended{128 + 15, "", ""}},
		"missing":              {[]string{"nope"}, ended{127, "", "ampoule-exec: nope: not found in " + bin + ", nor in PATH\n"}},
		"missing, with init":   {[]string{"--init", "nope"}, ended{127, "", "ampoule-exec: nope: not found in " + bin + ", nor in PATH\n"}},
		"empty":                {[]string{""}, ended{127, "", "ampoule-exec: : not found in " + bin + ", nor in PATH\n"}},
		"not executable":       {[]string{"data"}, ended{126, "", "ampoule-exec: running " + bin + "/data: Permission denied\n"}},
		"no interpreter of it": {[]string{"broken"}, ended{126, "", "ampoule-exec: running " + bin + "/broken: No such file or directory\n"}},
		"directory":            {[]string{"/usr"}, ended{126, "", "ampoule-exec: running /usr: Permission denied\n"}},
		"option for a program": {[]string{"--", "-c", "x"}, ended{127, "", "ampoule-exec: -c: not a program; name one before its options, such as: python3 -c\n"}},
		"nothing":              {[]string{"--"}, ended{125, "", "ampoule-exec: no program is named; usage: ampoule-exec [--init] [--keep-env NAME]... [--] PROGRAM [ARGUMENT...]\n"}},
		"unknown option":       {[]string{"-x"}, ended{125, "", "ampoule-exec: -x: no such option; usage: ampoule-exec [--init] [--keep-env NAME]... [--] PROGRAM [ARGUMENT...]\n"}},
	} {
		if diff := cmp.Diff(c.want, start(t, nil, append([]string{self}, c.args...)...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestExecEnvironment(t *testing.T) {
	t.Parallel()
	bin := starter(t)
	self := filepath.Join(bin, "ampoule-exec")
	given := []string{"PYTHONPATH=/x", "PYTHONUNBUFFERED=1", "PYTHON_\x1bNEW=1", "LD_LIBRARY_PATH=/y", "LD_SDK_KEY=k", "PYTHONHOME=/z", "A=PYTHONPATH"}
	const advice = " (to keep one: --keep-env NAME, or AMPOULE_KEEP_ENV=NAME,NAME)\n"
	for name, c := range map[string]struct {
		options    []string
		more, want string
		told       string
	}{
		"removed":  {nil, "", "A LD_SDK_KEY PATH PYTHONUNBUFFERED", "PYTHONPATH, PYTHON_?NEW, LD_LIBRARY_PATH, PYTHONHOME"},
		"kept":     {[]string{"--keep-env=PYTHONPATH", "--keep-env", "PYTHONHOME"}, "", "A LD_SDK_KEY PATH PYTHONHOME PYTHONPATH PYTHONUNBUFFERED", "PYTHON_?NEW, LD_LIBRARY_PATH"},
		"by value": {nil, "AMPOULE_KEEP_ENV=LD_LIBRARY_PATH,PYTHONPATH", "A AMPOULE_KEEP_ENV LD_LIBRARY_PATH LD_SDK_KEY PATH PYTHONPATH PYTHONUNBUFFERED", "PYTHON_?NEW, PYTHONHOME"},
		// A part of a name is not the name.
		"parts": {[]string{"--keep-env=PYTHON"}, "AMPOULE_KEEP_ENV=PYTHONPATHS,PYTHONHOM", "A AMPOULE_KEEP_ENV LD_SDK_KEY PATH PYTHONUNBUFFERED", "PYTHONPATH, PYTHON_?NEW, LD_LIBRARY_PATH, PYTHONHOME"},
	} {
		env := given
		if c.more != "" {
			env = append([]string{c.more}, given...)
		}
		// dash sets PWD itself and hides names that are none: python3 tells all of them.
		args := append(append([]string{self}, c.options...), "--", "python3", "-I", "-c", "import os; print(*sorted(set(os.environ) - {'LC_CTYPE'}))")
		got := start(t, env, args...)
		if diff := cmp.Diff(ended{0, c.want + "\n", "ampoule-exec: removed from the environment: " + c.told + advice}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got := start(t, []string{"PYTHON" + strings.Repeat("X", 5000) + "=1"}, self, "true"); got.Code != 0 || len(got.Err) > 1000 {
		t.Errorf("a long name: %+v", got)
	}
}

// TestExecLimits has other bounds compiled in, which any machine's hard limit is above.
func TestExecLimits(t *testing.T) {
	t.Parallel()
	text := string(execSource)
	for _, change := range [][2]string{{"NOFILE_LEAST = 65536,", "NOFILE_LEAST = 300,"}, {"NOFILE_MOST = 1048576,", "NOFILE_MOST = 500,"}} {
		if !strings.Contains(text, change[0]) {
			t.Fatalf("the source has no %s", change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	dir := t.TempDir()
	source, self := filepath.Join(dir, "x.c"), filepath.Join(dir, "x")
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-std=gnu11", "-o", self, source).CombinedOutput(); err != nil {
		t.Fatalf("compiling: %v\n%s", err, out)
	}
	for _, c := range []struct{ soft, hard, want string }{
		{"100", "200", "200 200"}, {"100", "900", "300 900"}, {"400", "900", "400 900"}, {"800", "900", "500 900"},
	} {
		got := start(t, nil, "sh", "-c", `ulimit -Sn "$1"; ulimit -Hn "$2"; exec "$3" sh -c 'echo $(ulimit -Sn) $(ulimit -Hn)'`, "sh", c.soft, c.hard, self)
		if diff := cmp.Diff(ended{0, c.want + "\n", ""}, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c, diff)
		}
	}
}

// inherited starts sh with whatever a careless parent leaves: ignored and blocked signals.
const inherited = `import os, resource, signal, sys
for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGHUP, signal.SIGRTMAX):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
soft, hard = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
os.execv(sys.argv[3], sys.argv[3:])
`

func TestExecSignalsAndLimits(t *testing.T) {
	t.Parallel()
	self := filepath.Join(starter(t), "ampoule-exec")
	for _, c := range []struct{ soft, hard, want string }{{"256", "4096", "4096"}, {"4096", "4096", "4096"}} {
		for _, init := range []string{"--", "--init"} {
			got := start(t, nil, "python3", "-I", "-c", inherited, c.soft, c.hard, self, init, "sh", "-c", "ulimit -Sn; grep -E 'Sig(Blk|Ign)' /proc/self/status")
			want := c.want + "\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
			if diff := cmp.Diff(ended{0, want, ""}, got); diff != "" {
				t.Errorf("%+v, %s (-want +got):\n%s", c, init, diff)
			}
		}
	}
}

// TestExecKeepsRelease switches current while a program runs.
func TestExecKeepsRelease(t *testing.T) {
	t.Parallel()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(starter(t), "ampoule-exec")
	for _, release := range []string{"a", "b"} {
		bin := filepath.Join(root, release, "bin")
		if err := os.MkdirAll(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(self, filepath.Join(bin, "ampoule-exec")); err != nil {
			t.Fatal(err)
		}
		program(t, filepath.Join(bin, "which-release"), "echo "+release)
		program(t, filepath.Join(bin, "serve"), `ln -sfn b "$1/current"; which-release; echo "$0 ${PATH%%:*}"`)
	}
	current := filepath.Join(root, "current")
	if err := os.Symlink("a", current); err != nil {
		t.Fatal(err)
	}
	a := filepath.Join(root, "a", "bin")
	got := start(t, []string{"PATH=" + current + "/bin:/usr/bin:/bin"}, filepath.Join(current, "bin", "ampoule-exec"), "serve", root)
	if diff := cmp.Diff(ended{0, "a\n" + a + "/serve " + a + "\n", ""}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// namespace runs the program as process 1, which takes root or a user's own namespaces.
func namespace(args ...string) []string {
	return append([]string{"unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"}, args...)
}

// TestExecIsInit leaves orphans to process 1, and sends it signals.
func TestExecIsInit(t *testing.T) {
	t.Parallel()
	self := filepath.Join(starter(t), "ampoule-exec")
	// The inner shell ends at once, and leaves what ends later.
	const orphans = `for i in 1 2 3 4 5; do sh -c 'sleep 0.1 & exit'; done; sleep 0.4; grep -l "^State:.Z" /proc/[0-9]*/status; echo $$ $PPID; exit 9`
	if diff := cmp.Diff(ended{9, "2 1\n", ""}, start(t, nil, namespace(self, "--", "sh", "-c", orphans)...)); diff != "" {
		t.Errorf("orphans (-want +got):\n%s", diff)
	}
	const trap = `trap 'echo got it; exit 3' TERM; trap 'echo hup' HUP; kill -HUP 1; kill -TERM 1; while :; do sleep 0.05; done`
	if diff := cmp.Diff(ended{3, "hup\ngot it\n", ""}, start(t, nil, namespace(self, "--", "sh", "-c", trap)...)); diff != "" {
		t.Errorf("forwarded to what traps (-want +got):\n%s", diff)
	}
	// The kernel gives process 1 no default dispositions; what it starts has them.
	if diff := cmp.Diff(ended{128 + 15, "", ""}, start(t, nil, namespace(self, "--", "sh", "-c", "kill -TERM 1; sleep 5")...)); diff != "" {
		t.Errorf("forwarded to what does not trap (-want +got):\n%s", diff)
	}
}

// TestExecForwards signals a program that stays as an init without being process 1.
func TestExecForwards(t *testing.T) {
	t.Parallel()
	self := filepath.Join(starter(t), "ampoule-exec")
	cmd := exec.Command(self, "--init", "sh", "-c", `trap 'echo $(( $(ps -o pgid= $$) == $$ )); exit 4' USR1; echo ready; while :; do sleep 0.02; done`)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	var said string
	if _, err := fmt.Fscan(out, &said); err != nil || said != "ready" {
		t.Fatalf("it says %q, %v", said, err)
	}
	if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fscan(out, &said); err != nil || said != "1" {
		t.Errorf("it says %q of its process group, %v", said, err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 4 {
		t.Errorf("it ends with %v", err)
	}
}
