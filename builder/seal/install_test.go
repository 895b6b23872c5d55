package seal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/buildlog"
	"ampoule/builder/layers"
	"ampoule/builder/once"
	"ampoule/builder/progress/progresstest"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/builder/sandbox/sandboxtest"
	"ampoule/builder/unpack"
	"ampoule/builder/unpack/unpacktest"
	"ampoule/store"
	"ampoule/tree"
)

const (
	python = "/opt/ampoule/bin/python3.13"
	prefix = "opt/ampoule"
	magic  = "\xf3\x0d\r\n"
)

// scene is a stage whose sandboxes are fake, with wheels to install.
type scene struct {
	*Stage
	runner *fake.Runner
	in     Interpreter
	wheels []Wheel
	events *progresstest.Recorder
}

// newScene has two wheels, b and a, whose distributions have a module of their names.
func newScene(t *testing.T, handler fake.Handler) *scene {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := fake.New(handler)
	s := &scene{Stage: &Stage{Store: st, Runner: r, Images: r, Jobs: 3, Logs: t.TempDir()}, runner: r, events: progresstest.New()}
	s.in = s.interpreter(t, "")
	s.add(t, "b-1-py3-none-any.whl", unpacktest.Text("b.py", "name = 'b'\n"))
	s.add(t, "a-1-py3-none-any.whl", unpacktest.Text("a.py", "name = 'a'\n"), unpacktest.Text("a.txt", "a"))
	return s
}

// interpreter is one whose os module has some text.
func (s *scene) interpreter(t *testing.T, text string) Interpreter {
	t.Helper()
	layer, err := layers.Save(t.Context(), s.Store, newTree(t,
		tree.FileEntry(lib+"os.py", 0o644, []byte(text)), tree.FileEntry("include/python3.13/Python.h", 0o644, nil),
		tree.FileEntry(lib+"__pycache__/os.cpython-313.pyc", 0o644, compiled313(text))), prefix)
	if err != nil {
		t.Fatal(err)
	}
	base := sandboxtest.TarLayer(t, nil, nil)
	return Interpreter{
		Image: sandbox.Image{Config: sandboxtest.Config(), Layers: []sandbox.Layer{base, layer}}, Layer: layer, Python: python, Prefix: prefix,
	}
}

// add adds a wheel to those that are installed.
func (s *scene) add(t *testing.T, file string, members ...unpacktest.Member) {
	t.Helper()
	sum, _, err := s.Store.Put(t.Context(), strings.NewReader(string(unpacktest.Wheel(t, file, members...))))
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(file, "-")
	s.wheels = append(s.wheels, Wheel{Name: name, Version: "1", File: file, SHA256: sum})
}

// told lists the events since the last call.
func (s *scene) told() []string {
	var told []string
	for _, e := range s.events.Events() {
		told = append(told, fmt.Sprintf("%s %s %s %t", e.Kind, e.Stage, e.Task, e.Reused))
	}
	return told
}

func (s *scene) install(t *testing.T) ([]sandbox.Layer, error) {
	t.Helper()
	return s.Install(s.events.Context(t.Context()), s.in, s.wheels)
}

// compiled313 is what stands for bytecode of a source.
func compiled313(source string) []byte {
	return slices.Concat([]byte(magic+hashed), sourceHash([]byte(magic), []byte(source), 1), []byte("code"))
}

const treeDir = "ampoule-build/tree/"

// finishing is a handler that does what finish_wheel.py does.
func finishing(_ context.Context, s *fake.Sandbox, step sandbox.Step) error {
	fmt.Fprintln(step.Stdout, "finishing")
	for _, e := range s.Files().Sub(strings.TrimSuffix(treeDir, "/")).Entries() {
		if e.Kind != tree.File || path.Ext(e.Path) != ".py" {
			continue
		}
		data, err := e.ReadAll()
		if err == nil {
			err = s.Write(tree.FileEntry(treeDir+cachedName(e.Path), 0o644, compiled313(string(data))))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func cachedName(source string) string { return bytecode{suffix: ".cpython-313.pyc"}.of(source) }

// read opens what a layer has below the prefix.
func (s *scene) read(t *testing.T, layer sandbox.Layer) *tree.Tree {
	t.Helper()
	got, closer, err := layers.Read(s.Store, strings.TrimPrefix(layer.DiffID, "sha256:"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closer.Close() })
	return got.Sub(prefix)
}

func TestInstall(t *testing.T) {
	t.Parallel()
	s := newScene(t, finishing)
	made, err := s.install(t)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"b", "a"} {
		info := site + name + "-1.dist-info/"
		want := []string{site + "__pycache__/" + name + ".cpython-313.pyc", info + "INSTALLER", info + "METADATA", info + "RECORD", info + "REQUESTED", info + "WHEEL", site + name + ".py"}
		if name == "a" {
			want = append(want, site+"a.txt")
		}
		if diff := cmp.Diff(want, paths(s.read(t, made[i]))); diff != "" {
			t.Errorf("layer %d (-want +got):\n%s", i, diff)
		}
	}
	boxes := s.runner.Sandboxes()
	if len(boxes) != 2 {
		t.Fatalf("%d sandboxes", len(boxes))
	}
	for _, box := range boxes {
		if !box.Closed() || box.Online || box.Spec.Profile != sandbox.Unprivileged {
			t.Errorf("sandbox %+v", box)
		}
		steps := box.Steps()
		if len(steps) != 1 || steps[0].Dir != sandbox.WorkDir {
			t.Fatalf("steps %+v", steps)
		}
		args := []string{python, "-I", "-S", "-B", "/ampoule-build/finish_wheel.py", "/opt/ampoule", "1"}
		if diff := cmp.Diff([][]string{args, sandbox.Env()}, [][]string{steps[0].Args, steps[0].Env}); diff != "" {
			t.Errorf("the step (-want +got):\n%s", diff)
		}
	}
	data, err := os.ReadFile(filepath.Join(s.Logs, "install.log"))
	if string(data) != "finishing\nfinishing\n" || err != nil {
		t.Errorf("log %q, %v", data, err)
	}
}

// A sandbox has the sources of one wheel, the interpreter, and nothing of another wheel.
func TestSandboxOfOneWheel(t *testing.T) {
	t.Parallel()
	s := newScene(t, finishing)
	if _, err := s.install(t); err != nil {
		t.Fatal(err)
	}
	for _, box := range s.runner.Sandboxes() {
		name := strings.TrimPrefix(box.Spec.Name, "install-")
		var given []string
		for _, p := range paths(box.Files().Sub("ampoule-build")) {
			if !strings.Contains(p, "__pycache__") {
				given = append(given, p)
			}
		}
		want := []string{"ampoule_relocate.py", "finish_wheel.py", "job.json", "tree/" + site + name + ".py"}
		if diff := cmp.Diff(want, given); diff != "" {
			t.Errorf("%s has (-want +got):\n%s", box.Spec.Name, diff)
		}
	}
}

func TestInstallIsReused(t *testing.T) {
	t.Parallel()
	s := newScene(t, finishing)
	first, err := s.install(t)
	if err != nil {
		t.Fatal(err)
	}
	// Neither decides what is installed.
	s.Jobs, s.wheels[0].Key = 8, "other"
	second, err := s.install(t)
	if err != nil || second[0].DiffID != first[0].DiffID || second[1].DiffID != first[1].DiffID || len(s.runner.Sandboxes()) != 2 {
		t.Errorf("the second time: %v, %v, %d sandboxes", second, err, len(s.runner.Sandboxes()))
	}
	want := []string{
		"started seal installing 2 wheels false", "done seal installing 2 wheels false",
		"started seal installing 2 wheels false", "done seal installing 2 wheels true",
	}
	if diff := cmp.Diff(want, s.told()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if err := os.Remove(s.Store.Path(strings.TrimPrefix(first[0].DiffID, "sha256:"))); err != nil {
		t.Fatal(err)
	}
	// Only what was missing is installed again.
	third, err := s.install(t)
	if boxes := s.runner.Sandboxes(); err != nil || third[0].DiffID != first[0].DiffID || len(boxes) != 3 || boxes[2].Spec.Name != "install-b" {
		t.Fatalf("after its content went away: %v, %v, %d sandboxes", third, err, len(boxes))
	}
}

// Each influence on what a wheel installs is in its key.
func TestInstallKey(t *testing.T) {
	t.Parallel()
	layer := func(id string) sandbox.Layer { return sandbox.Layer{DiffID: id} }
	base := func() (Interpreter, Wheel) {
		return Interpreter{
			Image: sandbox.Image{Layers: []sandbox.Layer{layer("tools"), layer("python")}}, Layer: layer("python"), Python: python, Prefix: prefix,
		}, Wheel{Name: "a", Version: "1", File: "a-1-py3-none-any.whl", SHA256: "0"}
	}
	in, w := base()
	key := in.key(w, scripts())
	for name, change := range map[string]func(*Interpreter, *Wheel){
		"the toolchain, which has patchelf": func(i *Interpreter, _ *Wheel) { i.Image.Layers[0] = layer("other") },
		"the interpreter in the image":      func(i *Interpreter, _ *Wheel) { i.Image.Layers[1] = layer("other") },
		"the interpreter":                   func(i *Interpreter, _ *Wheel) { i.Layer = layer("other") },
		"where its program is":              func(i *Interpreter, _ *Wheel) { i.Python = "/other/bin/python3.13" },
		"the prefix":                        func(i *Interpreter, _ *Wheel) { i.Prefix = "opt/other" },
		"the wheel":                         func(_ *Interpreter, w *Wheel) { w.SHA256 = "1" },
		"the wheel's name":                  func(_ *Interpreter, w *Wheel) { w.File = "b-1-py3-none-any.whl" },
	} {
		in, w := base()
		if change(&in, &w); in.key(w, scripts()) == key {
			t.Errorf("%s is not in the key", name)
		}
	}
	in, w = base()
	if w.Key, w.Sdist = "1", "2"; in.key(w, scripts()) != key {
		t.Error("what a wheel was made of is in the key, beside the wheel")
	}
	if in.key(w, []string{"other"}) == key {
		t.Error("the scripts of the sandbox are not in the key")
	}
	for _, script := range []string{string(finishScript), relocateModule(t)} {
		if !slices.Contains(scripts(), script) {
			t.Error("a script of the sandbox is not in the key")
		}
	}
}

// relocateModule is the module's hash, as read from what the sandbox gets.
func relocateModule(t *testing.T) string {
	t.Helper()
	s := newScene(t, finishing)
	if _, err := s.install(t); err != nil {
		t.Fatal(err)
	}
	e, ok := s.runner.Sandboxes()[0].Files().Lookup("ampoule-build/ampoule_relocate.py")
	if !ok {
		t.Fatal("the sandbox has no ampoule_relocate.py")
	}
	return e.SHA256
}

// TestInstallAnew: whatever decides a layer has it made anew.
func TestInstallAnew(t *testing.T) {
	t.Parallel()
	s := newScene(t, finishing)
	s.wheels = s.wheels[:1]
	for i, change := range []func(){
		func() {},
		func() { s.in.Image = s.in.Image.With(s.in.Image.Layers[0]) },
		func() { s.in.Python = "/opt/ampoule/bin/python3.14" },
		func() { s.in = s.interpreter(t, "another") },
		func() { s.wheels = nil; s.add(t, "b-1-py3-none-any.whl", unpacktest.Text("b.py", "name = 'other'\n")) },
	} {
		change()
		if _, err := s.install(t); err != nil {
			t.Fatal(err)
		}
		if n := len(s.runner.Sandboxes()); n != i+1 {
			t.Errorf("after change %d there were %d sandboxes", i, n)
		}
	}
	if made, err := s.Install(t.Context(), s.in, nil); err != nil || len(made) != 0 {
		t.Errorf("no wheels: %v, %v", made, err)
	}
}

func TestInstallFails(t *testing.T) {
	t.Parallel()
	exit := &sandbox.ExitError{Args: []string{"python"}, Code: 1}
	for name, c := range map[string]struct {
		prepare func(*scene)
		want    string
	}{
		"compiler": {func(*scene) {}, "\n    the compiler ended with -11, at: b.py"},
		"wheel":    {func(s *scene) { s.wheels = s.wheels[1:]; s.wheels[0].SHA256 = strings.Repeat("0", 64) }, "reading wheel a-1-py3-none-any.whl"},
		"image":    {func(s *scene) { s.in.Image.Layers = nil }, "loading image"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, func(_ context.Context, _ *fake.Sandbox, step sandbox.Step) error {
				fmt.Fprintln(step.Stderr, "the compiler ended with -11, at: b.py")
				return exit
			})
			c.prepare(s)
			_, err := s.install(t)
			var failed *buildlog.StepError
			if !errors.As(err, &failed) || !strings.Contains(err.Error(), c.want) || name == "compiler" && (!errors.Is(err, exit) || !strings.Contains(err.Error(), "-1-py3-none-any.whl")) {
				t.Fatalf("error %v", err)
			}
			if failed.What != "the tree" || failed.Hint() != "the whole log is "+filepath.Join(s.Logs, "install.log") {
				t.Errorf("%q, hint %q", failed.What, failed.Hint())
			}
			if slices.ContainsFunc(s.runner.Sandboxes(), func(sb *fake.Sandbox) bool { return !sb.Closed() }) {
				t.Error("a sandbox is still open")
			}
			told := s.told()
			if last := told[len(told)-1]; !strings.HasPrefix(last, "failed seal") {
				t.Errorf("the last event is %q", last)
			}
			n := len(s.runner.Sandboxes())
			if _, err := s.install(t); err == nil || name == "compiler" && len(s.runner.Sandboxes()) == n {
				t.Errorf("the failure is remembered: %v", err)
			}
		})
	}
}

// A wheel that is refused is an error of its own kind, with no log's end behind it, and the
// other wheel's result is its own.
func TestInstallRefuses(t *testing.T) {
	t.Parallel()
	for name, members := range map[string][]unpacktest.Member{
		"entry point":     {unpacktest.Text("INFO/entry_points.txt", "[console_scripts]\n../lib/python3.13/site-packages/a.py = evil:main\n")},
		"content":         {{Name: "evil.txt", Text: "evil", Listed: "good"}},
		"script, content": {{Name: "DATA/scripts/x", Text: "#!python\nevil", Listed: "#!python\ngood"}},
		"source, content": {{Name: "evil.py", Text: "evil", Listed: "good"}},
		"interpreter":     {unpacktest.Text("DATA/scripts/python3", "")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, finishing)
			s.Jobs = 1
			s.add(t, "evil-1-py3-none-any.whl", members...)
			_, err := s.install(t)
			var refused *unpack.RefusedError
			var step *buildlog.StepError
			if !errors.As(err, &refused) || errors.As(err, &step) || refused.Wheel != "evil-1-py3-none-any.whl" || refused.Member == "" {
				t.Fatalf("error %v", err)
			}
			if _, found, err := once.Look[string](t.Context(), s.Store, installKind, s.in.key(s.wheels[2], scripts())); found || err != nil {
				t.Errorf("what was refused is remembered: %v", err)
			}
			s.wheels = s.wheels[:2]
			if _, err := s.install(t); err != nil {
				t.Errorf("the other wheels, which are sound: %v", err)
			}
		})
	}
}

// What a sandbox gives back counts only as far as it was asked for.
func TestFinishTakesNothingElse(t *testing.T) {
	t.Parallel()
	cache := treeDir + site + "__pycache__/"
	other := compiled313("another source")
	for name, c := range map[string]struct {
		entries []tree.Entry
		want    string
	}{
		"another file":          {[]tree.Entry{tree.FileEntry(treeDir+site+"evil.py", 0o644, nil)}, "evil.py, which nobody asked for"},
		"a file elsewhere":      {[]tree.Entry{tree.FileEntry(treeDir+"bin/sh", 0o755, nil)}, "bin/sh, which nobody asked for"},
		"bytecode of no source": {[]tree.Entry{tree.FileEntry(cache+"evil.cpython-313.pyc", 0o644, other)}, "evil.cpython-313.pyc, which nobody asked for"},
		"bytecode of another":   {[]tree.Entry{tree.FileEntry(cache+"b.cpython-312.pyc", 0o644, other)}, "b.cpython-312.pyc, which nobody asked for"},
		"a link":                {[]tree.Entry{link(cache+"b.cpython-313.pyc", "/etc/passwd")}, "which nobody asked for"},
		"a source as a link":    {[]tree.Entry{link(treeDir+site+"b.py", "/etc/passwd")}, "which nobody asked for"},
		"of another source":     {[]tree.Entry{tree.FileEntry(cache+"b.cpython-313.pyc", 0o644, other)}, "is not bytecode of its source"},
		"of another magic":      {[]tree.Entry{tree.FileEntry(cache+"b.cpython-313.pyc", 0o644, slices.Concat([]byte("\x00\x00\r\n"), compiled313("name = 'b'\n")[4:]))}, "is not bytecode of its source"},
		"that is compared":      {[]tree.Entry{tree.FileEntry(cache+"b.cpython-313.pyc", 0o644, slices.Concat([]byte(magic+"\x03\x00\x00\x00"), compiled313("name = 'b'\n")[8:]))}, "is not bytecode of its source"},
		"cut":                   {[]tree.Entry{tree.FileEntry(cache+"b.cpython-313.pyc", 0o644, []byte(magic))}, "is not bytecode of its source"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, func(_ context.Context, s *fake.Sandbox, _ sandbox.Step) error { return s.Write(c.entries...) })
			s.wheels = s.wheels[:1]
			if _, err := s.install(t); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
		})
	}
	// A source that was changed in there counts as the wheel has it, and one without
	// bytecode is one that the compiler does not know.
	s := newScene(t, func(_ context.Context, s *fake.Sandbox, _ sandbox.Step) error {
		return s.Write(tree.FileEntry(treeDir+site+"b.py", 0o755, []byte("evil")))
	})
	s.wheels = s.wheels[:1]
	made, err := s.install(t)
	if err != nil {
		t.Fatal(err)
	}
	e, _ := s.read(t, made[0]).Lookup(site + "b.py")
	if data, err := e.ReadAll(); string(data) != "name = 'b'\n" || err != nil {
		t.Errorf("the source is %q, %v", data, err)
	}
}
