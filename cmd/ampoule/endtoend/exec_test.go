//go:build docker

package endtoend

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// coded runs a command, and returns its output, its other output and its exit code.
func coded(t *testing.T, stdin, name string, args ...string) (out, errs string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), buildTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return strings.TrimSpace(stdout.String()), stderr.String(), cmd.ProcessState.ExitCode()
}

// imageOf is the image that an artifact was loaded as.
func imageOf(t *testing.T, a artifact) string {
	t.Helper()
	ampoule(t, "run", a.ref, "--", "-c", "")
	return run(t, "docker", "images", "--quiet", "--filter", "label=dev.ampoule.recipe="+a.recipe.Name)
}

// TestImageStartsAnything runs an image as people run those of python:slim.
func TestImageStartsAnything(t *testing.T) {
	beside(t)
	a := build(t, "testdata/exec")
	image := imageOf(t, a)
	docker := func(args ...string) (string, string, int) {
		return coded(t, "print(6 * 7)", "docker", append([]string{"run", "--rm", "--interactive", "--network=none"}, args...)...)
	}
	const who = `import getpass, os; print(os.getppid(), os.getuid(), getpass.getuser(), os.environ["HOME"], os.environ.get("PYTHONPATH"), os.environ.get("PYTHONHOME"))`
	for name, c := range map[string]struct {
		args      []string
		out, errs string
		code      int
	}{
		"the command":     {[]string{image}, "42", "", 0},
		"a program":       {[]string{image, "gunicorn", "--version"}, "gunicorn (version 23.0.0)", "", 0},
		"a shell":         {[]string{"--ulimit=nofile=256:4096", image, "sh", "-c", "ulimit -Sn; exit 5"}, "4096", "", 5},
		"a signal":        {[]string{image, "sh", "-c", "kill -TERM $$"}, "", "", 128 + 15},
		"missing program": {[]string{image, "nope"}, "", "nope: not found in /opt/ampoule/bin", 127},
		"an option":       {[]string{image, "-c", "1"}, "", "-c: not a program", 127},
		"environment":     {[]string{"-e", "PYTHONPATH=/srv", "-e", "PYTHONHOME=/x", image, "python3", "-c", who}, "1 65532 nonroot /tmp /srv None", "removed from the environment: PYTHONHOME", 0},
		"without it":      {[]string{"--user=0", "--entrypoint=python3", image, "-c", "import os; print(os.getpid(), os.getuid())"}, "1 0", "", 0},
	} {
		out, errs, code := docker(c.args...)
		if out != c.out || !strings.Contains(errs, c.errs) || c.errs == "" && errs != "" || code != c.code {
			t.Errorf("%s: %q, %q, code %d", name, out, errs, code)
		}
	}

	built := strings.ToLower(a.recipe.Name + "-derived")
	context := t.TempDir()
	for name, text := range map[string]string{
		"Dockerfile": "FROM " + image + "\nENV PYTHONUNBUFFERED=1 PYTHONPATH=/srv\nWORKDIR /srv\nUSER root\nRUN echo root > /who\nRUN python3 -c 'import gunicorn'\nUSER nobody\nCOPY app.py .\nCMD [\"gunicorn\", \"--check-config\", \"app:app\"]\n",
		"app.py":     "def app(environ, start): pass\nprint('loaded', open('/who').read().strip())\n",
	} {
		if err := os.WriteFile(filepath.Join(context, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "env", "DOCKER_BUILDKIT=0", "docker", "build", "--quiet", "--tag", built, context)
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "--force", built).Run() })
	if out, errs, code := docker(built); out != "loaded root" || errs != "" || code != 0 {
		t.Errorf("CMD of a Dockerfile: %q, %q, code %d", out, errs, code)
	}
	checkStops(t, built)
}

// checkStops expects a server, as process 1 has it, to end at docker stop.
func checkStops(t *testing.T, image string) {
	t.Helper()
	id := run(t, "docker", "run", "--detach", "--network=none", image, "gunicorn", "--workers=2", "app:app")
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "--force", id).Run() })
	for until := time.Now().Add(30 * time.Second); strings.Count(run(t, "docker", "logs", id), "Booting worker") < 2; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("it does not start: %s", run(t, "docker", "logs", id))
		}
	}
	begun := time.Now()
	run(t, "docker", "stop", "--time=20", id)
	if code := run(t, "docker", "inspect", "--format={{.State.ExitCode}}", id); code != "0" || time.Since(begun) > 15*time.Second {
		t.Errorf("it ends with code %s after %s", code, time.Since(begun))
	}
}

// asking is a program that waits for a line, and then tells which release it imports from:
// itself, after a fork, and in a new process.
const asking = `import os, subprocess, sys
print("ready", flush=True)
sys.stdin.readline()
def told():
    import gunicorn
    print(gunicorn.__version__, flush=True)
if os.fork() == 0:
    told()
    os._exit(0)
os.wait()
told()
subprocess.run([sys.executable, "-c", "import gunicorn; print(gunicorn.__version__)"], check=True)
`

// TestProcessKeepsItsRelease installs another release while programs run.
func TestProcessKeepsItsRelease(t *testing.T) {
	beside(t)
	now, next := build(t, "testdata/exec"), build(t, "testdata/exec", "requirements.txt", "older.txt")
	root := filepath.Join(t.TempDir(), "root")
	ampoule(t, "install", now.ref, "--root", root)
	bin := filepath.Join(root, "current", "bin")
	venv, copies, links := filepath.Join(t.TempDir(), "venv"), filepath.Join(t.TempDir(), "copies"), filepath.Join(t.TempDir(), "links")
	run(t, filepath.Join(bin, "python3"), "-m", "venv", "--system-site-packages", "--without-pip", venv)
	run(t, filepath.Join(bin, "python3"), "-m", "venv", "--system-site-packages", "--without-pip", "--copies", copies)
	if err := os.Symlink(bin, links); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(bin, "gunicorn")
	checks := filepath.Join(t.TempDir(), "config.py")
	if err := os.WriteFile(checks, []byte(asking), 0o644); err != nil {
		t.Fatal(err)
	}
	started := map[string][]string{
		"current":          {filepath.Join(bin, "python3"), "-c", asking},
		"a linked bin":     {filepath.Join(links, "python3"), "-c", asking},
		"an environment":   {filepath.Join(venv, "bin", "python3"), "-c", asking},
		"one of copies":    {filepath.Join(copies, "bin", "python3"), "-c", asking},
		"ampoule exec":     {program, "exec", "--root", root, "--", "python3", "-c", asking},
		"ampoule-exec":     {filepath.Join(bin, "ampoule-exec"), "--init", "--", "python3", "-c", asking},
		"a console script": {script, "--check-config", "--config", checks, "x:y"},
	}
	running := map[string]*conversation{}
	for name, args := range started {
		running[name] = converse(t, args)
	}
	ampoule(t, "install", next.ref, "--root", root)
	for name, c := range running {
		said := c.answer(t)
		want := "23.0.0 23.0.0 23.0.0"
		switch name {
		case "an environment", "one of copies":
			// What an environment starts anew finds its home again, by the link.
			want = "23.0.0 23.0.0 22.0.0"
		case "a console script":
			words := strings.Fields(said)
			said = strings.Join(words[:min(3, len(words))], " ")
		}
		if said != want {
			t.Errorf("%s imports %s, want %s", name, said, want)
		}
	}
	for name, args := range started {
		if name == "a console script" {
			continue
		}
		if said := converse(t, args).answer(t); said != "22.0.0 22.0.0 22.0.0" {
			t.Errorf("%s, after the switch, imports %s", name, said)
		}
	}
}

// conversation is a program that said that it is ready.
type conversation struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func converse(t *testing.T, args []string) *conversation {
	t.Helper()
	c := &conversation{cmd: exec.CommandContext(t.Context(), args[0], args[1:]...)}
	in, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	c.in, c.out = in, bufio.NewReader(out)
	if line, err := c.out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("%s says %q, %v", args, line, err)
	}
	return c
}

// answer lets the program go on, and returns what it says.
func (c *conversation) answer(t *testing.T) string {
	t.Helper()
	fmt.Fprintln(c.in)
	said, err := io.ReadAll(c.out)
	if err != nil {
		t.Error(err)
	}
	// gunicorn ends with an error: there is no application.
	_ = c.cmd.Wait()
	return strings.Join(strings.Fields(string(said)), " ")
}

// TestRefusedTreeIsOpened opens what the gate refused, and runs the test that failed there.
func TestRefusedTreeIsOpened(t *testing.T) {
	beside(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/exec")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "ampoule.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("refused-%d", time.Now().UnixNano())
	data = []byte(strings.NewReplacer("name: exec", "name: "+name, "imports: [gunicorn]", "commands: [[python3, -c, import gunicorn, eventlet]]").Replace(string(data)))
	data = bytes.Replace(data, []byte("import gunicorn, eventlet"), []byte(`"import gunicorn, eventlet"`), 1)
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	ampoule(t, "-f", file, "lock")
	verb := func(args ...string) (string, string, int) {
		return coded(t, "", program, append([]string{"--store", filepath.Join(cache, "store"), "--progress", "plain", "-f", file}, args...)...)
	}
	_, errs, code := verb("build")
	if code != 4 || !strings.Contains(errs, "`ampoule shell` opens the refused tree in target container") {
		t.Fatalf("code %d: %s", code, last(errs, 3000))
	}
	out, errs, code := verb("shell", "--", "python3", "-c", "import gunicorn, sys; print(gunicorn.__version__, sys.prefix); import eventlet")
	if code != 8 || out != "23.0.0 /opt/ampoule" || !strings.Contains(errs, "opened: the refused tree of "+name) || !strings.Contains(errs, "No module named 'eventlet'") {
		t.Errorf("code %d: %q, %s", code, out, last(errs, 3000))
	}
}
