package cpython

import (
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

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/buildlog"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/progress/progresstest"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/builder/sandbox/sandboxtest"
	"ampoule/store"
	"ampoule/tree"
)

// scene is a stage whose sandboxes are fake.
type scene struct {
	*Stage
	runner *fake.Runner
	spec   Spec
	events *progresstest.Recorder
}

func newScene(t *testing.T, handler fake.Handler) *scene {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	source, _, err := st.Put(t.Context(), strings.NewReader("the archive"))
	if err != nil {
		t.Fatal(err)
	}
	r := fake.New(handler)
	return &scene{
		Stage:  &Stage{Store: st, Runner: r, Images: r, Jobs: 3, Logs: t.TempDir()},
		runner: r, events: progresstest.New(),
		spec: Spec{
			Version: "3.13.5", Source: source, Configure: []string{"--enable-shared", "--with-lto"},
			Prefix:    "opt/ampoule",
			Toolchain: sandbox.Image{Config: sandboxtest.Config(), Layers: []sandbox.Layer{sandboxtest.TarLayer(t, nil, nil)}},
		},
	}
}

func (s *scene) build(t *testing.T) (*Interpreter, error) {
	t.Helper()
	return s.Build(s.events.Context(t.Context()), s.spec)
}

// compiler is a handler that does what a sound build leaves behind.
func compiler(_ context.Context, s *fake.Sandbox, step sandbox.Step) error {
	line := strings.Join(step.Args, " ")
	fmt.Fprintln(step.Stderr, "running", line)
	if !strings.Contains(line, finish) {
		return nil
	}
	fmt.Fprintln(step.Stdout, "listing modules\n"+`{"modules": {"_ssl": "missing", "math": "yes"}}`)
	exe := tree.FileEntry("opt/ampoule/bin/python3.13", 0o755, []byte("ELF"))
	exe.UID = sandbox.UID
	return s.Write(exe, tree.FileEntry(strings.TrimPrefix(debugDir, "/")+"/bin/python3.13.debug", 0o644, []byte("DWARF")))
}

func TestBuild(t *testing.T) {
	t.Parallel()
	s := newScene(t, compiler)
	got, err := s.build(t)
	if err != nil {
		t.Fatal(err)
	}
	boxes := s.runner.Sandboxes()
	if len(boxes) != 1 || !boxes[0].Closed() || boxes[0].Online || boxes[0].Spec.Profile != sandbox.Unprivileged {
		t.Fatalf("sandboxes %+v", boxes)
	}
	var lines []string
	for _, step := range boxes[0].Steps() {
		lines = append(lines, strings.Join(step.Args, " "))
		if step.Dir != source {
			t.Errorf("%q ran in %s", step.Args, step.Dir)
		}
		if diff := cmp.Diff(sandbox.Env("LD_LIBRARY_PATH=/opt/ampoule/lib"), step.Env); diff != "" {
			t.Errorf("environment of %q (-want +got):\n%s", step.Args, diff)
		}
	}
	want := []string{
		"tar --extract --strip-components=1 --file=/ampoule-build/cpython.tar",
		`/bin/sh -c cat "$1" >> "$2" sh /ampoule-build/Lib_ssl.py Lib/ssl.py`,
		`/bin/sh -c cat "$1" >> "$2" sh /ampoule-build/Lib_site.py Lib/site.py`,
		`/bin/sh -c cat "$1" >> "$2" sh /ampoule-build/Lib_venv___init__.py Lib/venv/__init__.py`,
		`/bin/sh -c cat "$1" >> "$2" sh /ampoule-build/Lib_ctypes_util.py Lib/ctypes/util.py`,
		strings.Join(insertGetpath(), " "),
		"./configure --prefix=/opt/ampoule --enable-shared --with-lto",
		"make -j3",
		"make install TEST_MODULES=no",
		strings.Join(compileExec("/opt/ampoule"), " "),
		strings.Join(oneExecutable("/opt/ampoule/bin/python3.13"), " "),
		"/opt/ampoule/bin/python3.13 -I -S /ampoule-build/finish.py /opt/ampoule /ampoule-build/cpython /ampoule-build/debug 3",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if got.Key != Key(s.spec) || got.Modules["_ssl"] != "missing" || got.Modules["math"] != "yes" || len(got.Modules) != 2 {
		t.Errorf("interpreter %+v", got)
	}
	s.expectLayer(t, got.Layer, "opt/ampoule/bin/python3.13", "ELF")
	s.expectLayer(t, got.Debug, "opt/ampoule/bin/python3.13.debug", "DWARF")
	s.expectEvents(t, progress.Event{Kind: progress.Done, Log: "interpreter.log"})
}

// expectLayer expects a layer of one file, owned by root.
func (s *scene) expectLayer(t *testing.T, layer sandbox.Layer, p, text string) {
	t.Helper()
	got, closer, err := layers.Read(s.Store, strings.TrimPrefix(layer.DiffID, "sha256:"))
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	e, ok := got.Lookup(p)
	if !ok || e.UID != 0 || strings.Count(p, "/")+1 != got.Len() {
		t.Fatalf("the layer has %+v", got.Entries())
	}
	if data, err := e.ReadAll(); string(data) != text || err != nil {
		t.Errorf("%s has %q, %v", p, data, err)
	}
}

// expectEvents expects the start of the task and its end.
func (s *scene) expectEvents(t *testing.T, end progress.Event) {
	t.Helper()
	end.Stage, end.Task = progress.StageInterpreter, "CPython 3.13.5"
	start := progress.Event{Kind: progress.Started, Stage: end.Stage, Task: end.Task, Log: "."}
	got := s.events.Events()
	for i := range got {
		got[i].Log = filepath.Base(got[i].Log)
	}
	if diff := cmp.Diff([]progress.Event{start, end}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A build with ABI flags installs its executable under two names.
func TestOneExecutable(t *testing.T) {
	t.Parallel()
	for _, flags := range []string{"", "t", "d", "td"} {
		dir := t.TempDir()
		python, flagged := filepath.Join(dir, "python3.13"), filepath.Join(dir, "python3.13"+flags)
		err := os.WriteFile(flagged, []byte("ELF"), 0o755)
		if flags != "" && err == nil {
			err = os.Link(flagged, python)
		}
		if err := errors.Join(err, os.WriteFile(python+"-config", []byte("ELF"), 0o755)); err != nil {
			t.Fatal(err)
		}
		args := oneExecutable(python)
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("%v: %s", err, out)
		}
		switch to, err := os.Readlink(python); {
		case flags == "" && err == nil:
			t.Error("the only executable is a link")
		case flags != "" && to != filepath.Base(flagged):
			t.Errorf("python3.13 beside %s leads to %q, %v", flagged, to, err)
		}
		if info, err := os.Lstat(flagged); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s: %v, %v", flagged, info, err)
		}
	}
}

// TestInputs looks at what the sandbox has before the first step.
func TestInputs(t *testing.T) {
	t.Parallel()
	var files *tree.Tree
	s := newScene(t, func(ctx context.Context, sb *fake.Sandbox, step sandbox.Step) error {
		if files == nil {
			files = sb.Files()
		}
		return compiler(ctx, sb, step)
	})
	if _, err := s.build(t); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string][]byte{
		archive: []byte("the archive"), finish: finishScript, "/ampoule-build/ampoule_relocate.py": nil,
		"/ampoule-build/Lib_ssl.py": hostSSL, "/ampoule-build/Lib_site.py": hostSite, "/ampoule-build/Lib_venv___init__.py": hostVenv,
	} {
		e, ok := files.Lookup(p[1:])
		if data, err := e.ReadAll(); !ok || err != nil || e.UID != sandbox.UID || want != nil && !bytes.Equal(data, want) {
			t.Errorf("%s: %t, owner %d, %v, %d bytes", p, ok, e.UID, err, len(data))
		}
	}
	for _, p := range []string{source, debugDir, "/ampoule-build/home", "/opt/ampoule"} {
		if e, ok := files.Lookup(p[1:]); !ok || e.Kind != tree.Dir || e.UID != sandbox.UID {
			t.Errorf("%s: %t, %+v", p, ok, e)
		}
	}
}

func TestBuildIsReused(t *testing.T) {
	t.Parallel()
	s := newScene(t, compiler)
	first, err := s.build(t)
	if err != nil {
		t.Fatal(err)
	}
	s.events.Events()
	s.Jobs = 8
	second, err := s.build(t)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(facts(first), facts(second)); diff != "" {
		t.Errorf("the second time (-first +second):\n%s", diff)
	}
	if n := len(s.runner.Sandboxes()); n != 1 {
		t.Errorf("%d sandboxes were started", n)
	}
	s.expectEvents(t, progress.Event{Kind: progress.Done, Reused: true, Log: "."})
	s.expectLayer(t, second.Layer, "opt/ampoule/bin/python3.13", "ELF")
	s.spec.Configure = nil
	if third, err := s.build(t); err != nil || third.Key == first.Key || len(s.runner.Sandboxes()) != 2 {
		t.Errorf("other flags: %+v, %v, %d sandboxes", third, err, len(s.runner.Sandboxes()))
	}
}

// facts are what two interpreters are compared by.
func facts(i *Interpreter) []any { return []any{i.Key, i.Layer.DiffID, i.Debug.DiffID, i.Modules} }

// TestBuildAgain: a record of content that is no more is no result.
func TestBuildAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t, compiler)
	first, err := s.build(t)
	if err != nil {
		t.Fatal(err)
	}
	for i, layer := range []sandbox.Layer{first.Layer, first.Debug} {
		if err := os.Remove(s.Store.Path(strings.TrimPrefix(layer.DiffID, "sha256:"))); err != nil {
			t.Fatal(err)
		}
		again, err := s.build(t)
		if err != nil || len(s.runner.Sandboxes()) != i+2 {
			t.Fatalf("built again: %v, %d sandboxes", err, len(s.runner.Sandboxes()))
		}
		if diff := cmp.Diff(facts(first), facts(again)); diff != "" {
			t.Errorf("built again (-first +second):\n%s", diff)
		}
	}
}

func TestStepFails(t *testing.T) {
	t.Parallel()
	s := newScene(t, func(ctx context.Context, sb *fake.Sandbox, step sandbox.Step) error {
		if step.Args[0] != "make" {
			return compiler(ctx, sb, step)
		}
		for i := range 100 {
			fmt.Fprintf(step.Stdout, "compiling %d\n", i)
		}
		io.WriteString(step.Stderr, "Error: no zlib\n")
		return &sandbox.ExitError{Args: step.Args, Code: 2}
	})
	_, err := s.build(t)
	var failed *buildlog.StepError
	var exit *sandbox.ExitError
	if !errors.As(err, &failed) || !errors.As(err, &exit) || exit.Code != 2 {
		t.Fatalf("error %v", err)
	}
	log := filepath.Join(s.Logs, "interpreter.log")
	if failed.What != "CPython 3.13.5" || failed.Hint() != "the whole log is "+log {
		t.Errorf("%q, hint %q", failed.What, failed.Hint())
	}
	if last := failed.Last[len(failed.Last)-1]; last != "Error: no zlib" || failed.Last[len(failed.Last)-2] != "compiling 99" {
		t.Errorf("last lines %q", failed.Last)
	}
	if !strings.Contains(err.Error(), "running make -j3: exit code 2\n") || !strings.Contains(err.Error(), "\n    Error: no zlib") {
		t.Errorf("Error() = %q", err)
	}
	data, err2 := os.ReadFile(log)
	if err2 != nil || !strings.HasPrefix(string(data), "running tar ") || !strings.Contains(string(data), "\ncompiling 0\n") {
		t.Errorf("the log begins with %.40q, %v", data, err2)
	}
	s.expectAbandoned(t)
	s.expectEvents(t, progress.Event{Kind: progress.Failed, Message: err.Error(), Log: "interpreter.log"})
}

// expectAbandoned expects that the sandbox is gone and nothing is remembered.
func (s *scene) expectAbandoned(t *testing.T) {
	t.Helper()
	for _, sb := range s.runner.Sandboxes() {
		if !sb.Closed() {
			t.Error("the sandbox is still open")
		}
	}
	var rec record
	if found, err := s.Store.Lookup("interpreter", Key(s.spec), &rec); found || err != nil {
		t.Errorf("remembered: %+v, %v", rec, err)
	}
}

func TestBuildFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		told, want string
		prepare    func(*scene)
	}{
		"finish.py tells nothing": {want: "reading what finish.py tells"},
		"no JSON":                 {told: "{}\nKilled", want: "reading what finish.py tells"},
		"odd prefix":              {prepare: func(s *scene) { s.spec.Prefix = "opt/../x" }, want: "making directories"},
		"no source":               {prepare: func(s *scene) { s.spec.Source = strings.Repeat("0", 64) }, want: "reading cpython.tar:"},
		"no image":                {prepare: func(s *scene) { s.spec.Toolchain.Layers = nil }, want: "loading image"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, func(_ context.Context, _ *fake.Sandbox, step sandbox.Step) error {
				if step.Args[len(step.Args)-1] == "3" {
					io.WriteString(step.Stdout, c.told)
				}
				return nil
			})
			if c.prepare != nil {
				c.prepare(s)
			}
			_, err := s.build(t)
			var failed *buildlog.StepError
			if !errors.As(err, &failed) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			s.expectAbandoned(t)
		})
	}
}

func TestBuildIsCancelled(t *testing.T) {
	t.Parallel()
	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	s := newScene(t, func(ctx context.Context, sb *fake.Sandbox, step sandbox.Step) error {
		if step.Args[0] == "make" {
			cancel(stopped)
			<-ctx.Done()
			return ctx.Err()
		}
		return compiler(ctx, sb, step)
	})
	if _, err := s.Build(ctx, s.spec); !errors.Is(err, stopped) {
		t.Errorf("error %v", err)
	}
	s.expectAbandoned(t)
}
