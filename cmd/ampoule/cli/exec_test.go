package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/artifact"
	"ampoule/builder/docker"
	"ampoule/builder/sandbox"
	"ampoule/faults"
)

// releaseRoot is a root whose current release has some programs.
func releaseRoot(t *testing.T, programs ...string) (root, bin string) {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	name := "sha256-" + sumA
	bin = filepath.Join(root, "releases", name, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("releases/"+name, filepath.Join(root, "current")); err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		if err := os.WriteFile(filepath.Join(bin, p), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root, bin
}

func TestExec(t *testing.T) {
	t.Parallel()
	root, bin := releaseRoot(t, "ampoule-exec")
	s := &Session{Environ: []string{"A=1"}}
	var ran []string
	err := Exec(s, root, ExecOptions{Program: []string{"gunicorn", "--init"}, Keep: []string{"PYTHONPATH", "LD_PRELOAD"}, Init: true},
		func(path string, argv, environ []string) error {
			ran = append(append([]string{path}, argv...), environ...)
			return nil
		})
	self := filepath.Join(bin, "ampoule-exec")
	want := []string{self, self, "--init", "--keep-env=PYTHONPATH", "--keep-env=LD_PRELOAD", "--", "gunicorn", "--init", "A=1"}
	if diff := cmp.Diff(want, ran); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	err = Exec(s, root, ExecOptions{Program: []string{"x"}}, func(string, []string, []string) error { return syscall.ENOEXEC })
	if faults.Of(err) != faults.Machine {
		t.Errorf("what does not run: %v", err)
	}
	old, _ := releaseRoot(t)
	none := func(string, []string, []string) error { t.Error("something is run"); return nil }
	err = Exec(s, old, ExecOptions{Program: []string{"x"}}, none)
	if faults.Of(err) != faults.NotFound || !strings.Contains(err.Error(), "an earlier version of Ampoule built it") || len(faults.Hints(err)) != 1 {
		t.Errorf("a release of before: %v", err)
	}
	if err := Exec(s, t.TempDir(), ExecOptions{Program: []string{"x"}}, none); faults.Of(err) != faults.NotFound {
		t.Errorf("no release: %v", err)
	}
}

func TestExecUsage(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"exec --root /x":             "want a program behind --",
		"exec --root /x gunicorn":    `"gunicorn" stands before --`,
		"exec --root /x a -- b":      `"a" stands before --`,
		"exec -- gunicorn":           "--root is missing",
		"run x -v nowhere -- y":      "--volume nowhere: want SOURCE:TARGET",
		"run x -p 99999999:1 -- y":   "--publish: ",
		"run x --volume a:b -- true": "--volume a:b: want SOURCE:TARGET",
	} {
		s, _, errs := session(t, goodRecipe)
		if code := Main(s, strings.Fields(args)); code != faults.Usage.Code() || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: code %d, %s", args, code, errs)
		}
	}
}

func TestRunOptions(t *testing.T) {
	t.Parallel()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	of := func(entrypoint ...string) artifact.Config { return artifact.Config{Entrypoint: entrypoint} }
	now, before := of("/opt/ampoule/bin/ampoule-exec", "--"), of("/opt/ampoule/bin/python3")
	for name, c := range map[string]struct {
		options RunOptions
		config  artifact.Config
		want    docker.RunOptions
	}{
		"nothing":                   {RunOptions{}, now, docker.RunOptions{}},
		"program":                   {RunOptions{Args: []string{"gunicorn", "-b"}}, now, docker.RunOptions{Args: []string{"gunicorn", "-b"}}},
		"arguments of Python":       {RunOptions{Args: []string{"-c", "1"}}, now, docker.RunOptions{Args: []string{"python3", "-c", "1"}}},
		"image of before":           {RunOptions{Args: []string{"-c", "1"}}, before, docker.RunOptions{Args: []string{"-c", "1"}}},
		"another entry point":       {RunOptions{Args: []string{"-c", "1"}, Entrypoint: "sh", SetEntrypoint: true}, now, docker.RunOptions{Args: []string{"-c", "1"}, Entrypoint: []string{"sh"}}},
		"no entry point":            {RunOptions{Args: []string{"ls"}, SetEntrypoint: true}, now, docker.RunOptions{Args: []string{"ls"}, Entrypoint: []string{""}}},
		"environment":               {RunOptions{Env: []string{"A=b", "HERE", "NOT_HERE"}}, now, docker.RunOptions{Env: []string{"A=b", "HERE=x=y"}}},
		"volumes":                   {RunOptions{Volumes: []string{"./a:/b:ro", "name:/c", "/d:/e"}}, now, docker.RunOptions{Volumes: []string{here + "/a:/b:ro", "name:/c", "/d:/e"}}},
		"what is passed as it is":   {RunOptions{Publish: []string{"8000:80"}, Workdir: "/w", User: "0:0", Network: "none"}, now, docker.RunOptions{Ports: []string{"8000:80"}, Dir: "/w", User: "0:0", Network: "none"}},
		"image without entry point": {RunOptions{Args: []string{"-c"}}, of(), docker.RunOptions{Args: []string{"-c"}}},
	} {
		got, err := c.options.forEngine(c.config, []string{"A=z", "HERE=x=y"})
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

// signalled is an engine whose program ends when it has got some signals, or when it is stopped.
type signalled struct {
	engine
	ends    int
	started chan struct{}
	got     []os.Signal
}

func (e *signalled) Run(ctx context.Context, _ sandbox.ID, o docker.RunOptions) (int, error) {
	for {
		e.started <- struct{}{}
		select {
		case s := <-o.Signals:
			e.got = append(e.got, s)
			if len(e.got) == e.ends {
				return 7, nil
			}
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// TestRunPassesSignals sends this process signals, so no other test runs beside it.
func TestRunPassesSignals(t *testing.T) {
	for name, c := range map[string]struct {
		ends int
		sent []syscall.Signal
		got  []os.Signal
		code int
	}{
		"passed":    {2, []syscall.Signal{syscall.SIGUSR1, syscall.SIGTERM}, []os.Signal{syscall.SIGUSR1, syscall.SIGTERM}, 7},
		"ctrl-c":    {2, []syscall.Signal{syscall.SIGINT, syscall.SIGINT}, []os.Signal{syscall.SIGINT, syscall.SIGINT}, 7},
		"too often": {9, []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGTERM}, []os.Signal{syscall.SIGINT, syscall.SIGTERM}, 130},
	} {
		ctx, stop := interruptible(context.Background(), func(int) { t.Error("the program ends at once") })
		e := &signalled{ends: c.ends, started: make(chan struct{})}
		running, signals, restore := passSignals(ctx)
		done := make(chan error, 1)
		go func() {
			code, err := e.Run(running, "", docker.RunOptions{Signals: signals})
			if err == nil {
				err = &ChildError{Code: code}
			}
			done <- err
		}()
		for _, s := range c.sent {
			<-e.started
			if err := syscall.Kill(os.Getpid(), s); err != nil {
				t.Fatal(err)
			}
		}
		err := <-done
		restore()
		if code := ExitCode(interrupted(ctx, err)); code != c.code || ctx.Err() != nil {
			t.Errorf("%s: code %d, %v; %v", name, code, err, ctx.Err())
		}
		if diff := cmp.Diff(c.got, e.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		stop()
	}
	var out bytes.Buffer
	report(&out, &ChildError{Code: 7})
	if out.Len() > 0 {
		t.Errorf("something is said of the program's own code: %s", &out)
	}
}
