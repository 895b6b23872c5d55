// Package sandboxtest checks that an implementation of [sandbox.Runner] and
// [sandbox.Images] does what their contracts say.
package sandboxtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/sandbox"
)

// patience bounds what has to happen within seconds.
const patience = 20 * time.Second

// Harness is what the suite runs against. The runner runs what the image of
// [Config] and [ProgramLayer] holds, or does what its commands would do:
//
//	probe exit N           ends with exit code N
//	probe echo OUT ERR     writes OUT to stdout and ERR to stderr
//	probe environ          writes its environment, a variable a line
//	probe cat FILE...      writes files to stdout
//	probe pwd              writes its working directory
//	probe write FILE TEXT  makes a file
//	probe id               writes its user and group
//	probe kill N           sends signal N to itself
//	probe sleep            writes "ready" and never ends
//	probe stdin            writes what it reads from stdin to stdout
//	probe isatty           writes which of stdin, stdout and stderr are terminals:
//	                       "true true true"
//	probe terminal N       writes its terminal's size, and the next N others, as
//	                       "ROWS COLUMNS", a size a line
type Harness struct {
	Runner sandbox.Runner
	Images sandbox.Images
}

// suite is a harness with its image loaded.
type suite struct {
	Harness
	image sandbox.ID
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	id, err := h.Images.Load(t.Context(), Config(), ProgramLayer(t))
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{h, id}
	for name, test := range map[string]func(*testing.T){
		"exit codes":          s.testExitCodes,
		"output":              s.testOutput,
		"output writer fails": s.testWriterFails,
		"environment":         s.testEnvironment,
		"directory":           s.testDirectory,
		"users":               s.testUsers,
		"secrets":             s.testSecrets,
		"bad steps":           s.testBadSteps,
		"bad specs":           s.testBadSpecs,
		"cancel":              s.testCancel,
		"cancelled before":    s.testCancelledBefore,
		"close":               s.testClose,
		"concurrent steps":    s.testConcurrentSteps,
		"separate sandboxes":  s.testSeparate,
		"input":               s.testInput,
		"input is not read":   s.testInputNotRead,
		"input fails":         s.testInputFails,
		"cancel input":        s.testCancelInput,
		"terminal":            s.testTerminal,
		"terminal input":      s.testTerminalInput,
		"terminal size":       s.testTerminalSize,
		"files":               s.testFiles,
		"files and steps":     s.testFilesAndSteps,
		"import merges":       s.testImportMerges,
		"import refuses":      s.testImportRefuses,
		"export":              s.testExport,
		"export root":         s.testExportRoot,
		"changes":             s.testChanges,
		"load":                s.testLoad,
		"load layers":         s.testLoadLayers,
		"load refuses":        s.testLoadRefuses,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// start starts a sandbox that ends with the test.
func (s *suite) start(t *testing.T, profile sandbox.Profile) sandbox.Sandbox {
	t.Helper()
	return Start(t, s.Runner, sandbox.Spec{Image: s.image, Name: t.Name(), Profile: profile})
}

// Start starts a sandbox that ends with the test.
func Start(t testing.TB, r sandbox.Runner, spec sandbox.Spec) sandbox.Sandbox {
	t.Helper()
	b, err := r.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// Probe is a step of the program in the test image.
func Probe(args ...string) sandbox.Step {
	return sandbox.Step{Args: append([]string{"probe"}, args...), Env: []string{"PATH=/bin"}}
}

// Output runs a step of the program that must succeed, and returns what it wrote to stdout.
func Output(t testing.TB, b sandbox.Sandbox, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	step := Probe(args...)
	step.Stdout, step.Stderr = &out, &errOut
	if err := b.Exec(t.Context(), step); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), errOut.String())
	}
	return out.String()
}

func (s *suite) testExitCodes(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	for _, test := range []struct {
		args []string
		want int
	}{
		{[]string{"exit", "0"}, 0},
		{[]string{"exit", "1"}, 1},
		{[]string{"exit", "255"}, 255},
		{[]string{"kill", "9"}, 128 + 9},
		{[]string{"kill", "15"}, 128 + 15},
	} {
		step := Probe(test.args...)
		err := b.Exec(t.Context(), step)
		var exit *sandbox.ExitError
		switch {
		case test.want == 0 && err != nil:
			t.Errorf("%v: %v", test.args, err)
		case test.want != 0 && !errors.As(err, &exit):
			t.Errorf("%v: error is %v, not an ExitError", test.args, err)
		case test.want != 0 && (exit.Code != test.want || exit.OutOfMemory || !slices.Equal(exit.Args, step.Args)):
			t.Errorf("%v: got %+v, want code %d", test.args, exit, test.want)
		}
	}
	var exit *sandbox.ExitError
	if err := b.Exec(t.Context(), sandbox.Step{Args: []string{"no-such-command"}}); !errors.As(err, &exit) || exit.Code != 127 {
		t.Errorf("unknown command: got %v, want exit code 127", err)
	}
}

func (s *suite) testOutput(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	var out, errOut, both bytes.Buffer
	step := Probe("echo", "to stdout", "to stderr")
	step.Stdout, step.Stderr = &out, &errOut
	if err := b.Exec(t.Context(), step); err != nil {
		t.Fatal(err)
	}
	if out.String() != "to stdout" || errOut.String() != "to stderr" {
		t.Errorf("got %q and %q", out.String(), errOut.String())
	}
	step.Stdout, step.Stderr = &both, &both
	if err := b.Exec(t.Context(), step); err != nil {
		t.Fatal(err)
	}
	if got := both.String(); got != "to stdoutto stderr" {
		t.Errorf("one writer got %q", got)
	}
	step.Stdout, step.Stderr = nil, nil
	if err := b.Exec(t.Context(), step); err != nil {
		t.Errorf("no writers: %v", err)
	}
}

var errFull = errors.New("the disk is full")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func (s *suite) testWriterFails(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	step := Probe("echo", "text")
	step.Stdout = fullDisk{}
	if err := b.Exec(t.Context(), step); !errors.Is(err, errFull) {
		t.Errorf("got %v, want the writer's error", err)
	}
	if err := b.Exec(t.Context(), Probe("exit", "0")); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("afterwards: got %v, want ErrClosed", err)
	}
}

func (s *suite) testEnvironment(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	for _, env := range [][]string{
		{"PATH=/bin"},
		{"A=1", "B=two words", "C==", "D=", "E=ünï\tcode", "PATH=/bin"},
		{"HOME=/nowhere", "HOSTNAME=x", "PATH=/bin"},
		nil,
	} {
		var out bytes.Buffer
		step := sandbox.Step{Args: []string{"/bin/probe", "environ"}, Env: env, Stdout: &out}
		if err := b.Exec(t.Context(), step); err != nil {
			t.Errorf("%q: %v", env, err)
			continue
		}
		got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(env) == 0 {
			env = []string{""}
		}
		slices.Sort(got)
		if diff := cmp.Diff(env, got); diff != "" {
			t.Errorf("environment (-want +got):\n%s", diff)
		}
	}
}

func (s *suite) testDirectory(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	for dir, want := range map[string]string{"": "/\n", "/": "/\n", "/usr/bin": "/usr/bin\n"} {
		var out bytes.Buffer
		step := Probe("pwd")
		step.Dir, step.Stdout = dir, &out
		if err := b.Exec(t.Context(), step); err != nil || out.String() != want {
			t.Errorf("%q: got %q, %v", dir, out.String(), err)
		}
	}
}

func (s *suite) testUsers(t *testing.T) {
	s.checkUser(t, s.start(t, sandbox.Unprivileged), sandbox.FirstUser, sandbox.ApartUser-1)
	s.checkUser(t, s.start(t, sandbox.InstallPackages), 0, 0)
	b := Start(t, s.Runner, sandbox.Spec{Image: s.image, Name: t.Name(), Guise: sandbox.Guise{Apart: true, Hostname: "elsewhere"}})
	s.checkUser(t, b, sandbox.ApartUser, sandbox.LastUser)
	if got := Output(t, b, "hostname"); got != "elsewhere\n" {
		t.Errorf("another host name: got %q", got)
	}
	spec := sandbox.Spec{Image: s.image, Name: t.Name(), Profile: sandbox.InstallPackages, Guise: sandbox.Guise{Apart: true}}
	if b, err := s.Runner.Start(t.Context(), spec); err == nil {
		t.Errorf("%+v was started: %v", spec, b.Close())
	}
}

// checkUser checks that a sandbox's user and group are the same number, from first to last.
func (s *suite) checkUser(t *testing.T, b sandbox.Sandbox, first, last int) {
	t.Helper()
	var user, group int
	got := Output(t, b, "id")
	if _, err := fmt.Sscanln(got, &user, &group); err != nil || user != group || user < first || user > last {
		t.Errorf("it runs as %q, %v", got, err)
	}
}

func (s *suite) testSecrets(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	want := []string{"A=1", "PROXY=http://user:it's \"a\" $secret\\@host", "Z= two  words "}
	var out bytes.Buffer
	step := Probe("environ")
	step.Secrets, step.Stdout, step.Stderr = want, &out, &out
	if err := b.Exec(t.Context(), step); err != nil {
		t.Fatal(err)
	}
	for _, variable := range append(want, step.Env...) {
		if !strings.Contains("\n"+out.String(), "\n"+variable+"\n") {
			t.Errorf("the environment lacks %q:\n%s", variable, out.String())
		}
	}
	out.Reset()
	step = Probe("stdin")
	step.Secrets, step.Stdin, step.Stdout = want, strings.NewReader("input\n"), &out
	if err := b.Exec(t.Context(), step); err != nil || out.String() != "input\n" {
		t.Errorf("behind secrets, the input is %q, %v", out.String(), err)
	}
}

func (s *suite) testBadSteps(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	for name, step := range map[string]sandbox.Step{
		"no command":        {},
		"variable":          {Args: []string{"/bin/probe", "exit", "0"}, Env: []string{"NAME"}},
		"nameless variable": {Args: []string{"/bin/probe", "exit", "0"}, Env: []string{"=x"}},
		"relative dir":      {Args: []string{"/bin/probe", "exit", "0"}, Dir: "usr"},
		"assignment":        {Args: []string{"a=b"}},
		"secret":            {Args: []string{"/bin/probe", "exit", "0"}, Secrets: []string{"NAME"}},
		"long secret":       {Args: []string{"/bin/probe", "exit", "0"}, Secrets: []string{"NAME=two\nlines"}},
		"terminal's secret": {Args: []string{"/bin/probe", "exit", "0"}, Secrets: []string{"NAME=x"}, Terminal: &sandbox.Terminal{}},
	} {
		err := b.Exec(t.Context(), step)
		var exit *sandbox.ExitError
		if err == nil || errors.As(err, &exit) {
			t.Errorf("%s: got %v, want an error other than ExitError", name, err)
		}
	}
	if err := b.Exec(t.Context(), Probe("exit", "0")); err != nil {
		t.Errorf("a step after bad ones: %v", err)
	}
}

func (s *suite) testBadSpecs(t *testing.T) {
	for name, spec := range map[string]sandbox.Spec{
		"unknown image":   {Image: sandbox.ID("sha256:" + strings.Repeat("0", 64)), Name: t.Name()},
		"unknown profile": {Image: s.image, Name: t.Name(), Profile: 99},
	} {
		if b, err := s.Runner.Start(t.Context(), spec); err == nil {
			t.Errorf("%s: it started", name)
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// notifier tells when it is written to for the first time.
type notifier chan struct{}

func (n notifier) Write(p []byte) (int, error) {
	select {
	case n <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (s *suite) testCancel(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	ready, done := make(notifier, 1), make(chan error, 1)
	step := Probe("sleep")
	step.Stdout = ready
	go func() { done <- b.Exec(ctx, step) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("the step ended: %v", err)
	case <-time.After(patience):
		t.Fatal("the step did not begin")
	}
	cause := errors.New("no longer wanted")
	cancel(cause)
	select {
	case err := <-done:
		if !errors.Is(err, cause) {
			t.Errorf("got %v, want the cause", err)
		}
	case <-time.After(patience):
		t.Fatal("the step did not end")
	}
	if err := b.Exec(t.Context(), Probe("exit", "0")); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("afterwards: got %v, want ErrClosed", err)
	}
}

func (s *suite) testCancelledBefore(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("never wanted")
	cancel(cause)
	if b, err := s.Runner.Start(ctx, sandbox.Spec{Image: s.image, Name: t.Name()}); !errors.Is(err, cause) {
		t.Errorf("starting: got %v, %v, want the cause", b, err)
	}
	b := s.start(t, sandbox.Unprivileged)
	if err := b.Exec(ctx, Probe("exit", "0")); !errors.Is(err, cause) {
		t.Errorf("running: got %v, want the cause", err)
	}
	if err := b.Exec(t.Context(), Probe("exit", "0")); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("afterwards: got %v, want ErrClosed", err)
	}
}

func (s *suite) testClose(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	for range 2 {
		if err := b.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
	if err := b.Exec(t.Context(), Probe("exit", "0")); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("running: got %v, want ErrClosed", err)
	}
	if err := b.Import(t.Context(), "/tmp", bytes.NewReader(Tar(t, nil, nil))); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("importing: got %v, want ErrClosed", err)
	}
	for _, dir := range []string{"/", "/tmp"} {
		if r, err := b.Export(t.Context(), dir); !errors.Is(err, sandbox.ErrClosed) {
			t.Errorf("exporting %s: got %v, %v, want ErrClosed", dir, r, err)
		}
	}
}

func (s *suite) testConcurrentSteps(t *testing.T) {
	b := s.start(t, sandbox.Unprivileged)
	errs := make(chan error, 4)
	for i := range cap(errs) {
		go func() {
			var out bytes.Buffer
			want := strings.Repeat(string(rune('a'+i)), 1000)
			step := Probe("echo", want)
			step.Stdout = &out
			err := b.Exec(t.Context(), step)
			if err == nil && out.String() != want {
				err = errors.New("the output of another step")
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func (s *suite) testSeparate(t *testing.T) {
	first, second := s.start(t, sandbox.Unprivileged), s.start(t, sandbox.Unprivileged)
	Output(t, first, "write", "/tmp/file", "text")
	if err := second.Exec(t.Context(), Probe("cat", "/tmp/file")); err == nil {
		t.Error("a sandbox sees another one's file")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	Output(t, second, "exit", "0")
}
