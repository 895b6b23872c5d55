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
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/buildlog"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/builder/sandbox/sandboxtest"
	"ampoule/store"
	"ampoule/tree"
)

const (
	python = "/opt/ampoule/bin/python3.13"
	prefix = "opt/ampoule"
)

// scene is a stage whose sandboxes are fake, with wheels to install.
type scene struct {
	*Stage
	runner *fake.Runner
	image  sandbox.Image
	wheels []Wheel
	kinds  kinds
}

// kinds keeps what kinds of events there were.
type kinds struct {
	mu   sync.Mutex
	list []string
}

// Observe implements [progress.Observer].
func (k *kinds) Observe(e progress.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = append(k.list, fmt.Sprintf("%s %s %s %t", e.Kind, e.Stage, e.Task, e.Reused))
}

func newScene(t *testing.T, handler fake.Handler) *scene {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := fake.New(handler)
	s := &scene{
		Stage:  &Stage{Store: st, Runner: r, Images: r, Jobs: 3, Logs: t.TempDir()},
		runner: r,
		image:  sandbox.Image{Config: sandboxtest.Config(), Layers: []sandbox.Layer{sandboxtest.TarLayer(t, nil, nil)}},
	}
	for _, name := range []string{"b", "a"} {
		sum, _, err := st.Put(t.Context(), strings.NewReader("wheel "+name))
		if err != nil {
			t.Fatal(err)
		}
		s.wheels = append(s.wheels, Wheel{Name: name, Version: "1", File: name + "-1-py3-none-any.whl", SHA256: sum})
	}
	return s
}

func (s *scene) install(t *testing.T) ([]sandbox.Layer, error) {
	t.Helper()
	return s.Install(progress.With(t.Context(), &s.kinds), s.image, python, prefix, s.wheels)
}

// installer is a handler that leaves a file for each wheel.
func installer(_ context.Context, s *fake.Sandbox, step sandbox.Step) error {
	fmt.Fprintln(step.Stdout, "installing")
	work := strings.TrimPrefix(sandbox.WorkDir, "/")
	for _, e := range s.Files().Sub(work + "/wheels").Entries() {
		if e.Kind != tree.File {
			continue
		}
		data, err := e.ReadAll()
		if err == nil {
			err = s.Write(tree.FileEntry(work+"/trees/"+path.Dir(e.Path)+"/"+site+path.Base(e.Path), 0o644, data))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func TestInstall(t *testing.T) {
	t.Parallel()
	s := newScene(t, installer)
	made, err := s.install(t)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"b", "a"} {
		got, closer, err := layers.Read(s.Store, strings.TrimPrefix(made[i].DiffID, "sha256:"))
		if err != nil {
			t.Fatal(err)
		}
		defer closer.Close()
		want := "opt/ampoule/" + site + name + "-1-py3-none-any.whl"
		if diff := cmp.Diff([]string{want}, paths(got)); diff != "" {
			t.Errorf("layer %d (-want +got):\n%s", i, diff)
		}
		e, _ := got.Lookup(want)
		if data, err := e.ReadAll(); string(data) != "wheel "+name || err != nil {
			t.Errorf("%s has %q, %v", want, data, err)
		}
	}
	boxes := s.runner.Sandboxes()
	if len(boxes) != 1 || !boxes[0].Closed() || boxes[0].Online || boxes[0].Spec.Profile != sandbox.Unprivileged {
		t.Fatalf("sandboxes %+v", boxes)
	}
	steps := boxes[0].Steps()
	if len(steps) != 1 || steps[0].Dir != sandbox.WorkDir {
		t.Fatalf("steps %+v", steps)
	}
	args := []string{python, "-I", "/ampoule-build/install.py", "/opt/ampoule", "3"}
	if diff := cmp.Diff([][]string{args, sandbox.Env()}, [][]string{steps[0].Args, steps[0].Env}); diff != "" {
		t.Errorf("the step (-want +got):\n%s", diff)
	}
	for _, name := range []string{"install.py", "ampoule_relocate.py"} {
		if e, ok := boxes[0].Files().Lookup("ampoule-build/" + name); !ok || e.UID != sandbox.UID || e.Size == 0 {
			t.Errorf("%s: %t, %+v", name, ok, e)
		}
	}
	data, err := os.ReadFile(filepath.Join(s.Logs, "install.log"))
	if string(data) != "installing\n" || err != nil {
		t.Errorf("log %q, %v", data, err)
	}
}

func TestInstallIsReused(t *testing.T) {
	t.Parallel()
	s := newScene(t, installer)
	first, err := s.install(t)
	if err != nil {
		t.Fatal(err)
	}
	// Neither decides what is installed.
	s.Jobs, s.wheels[0].Key = 8, "other"
	second, err := s.install(t)
	if err != nil || second[0].DiffID != first[0].DiffID || second[1].DiffID != first[1].DiffID || len(s.runner.Sandboxes()) != 1 {
		t.Errorf("the second time: %v, %v, %d sandboxes", second, err, len(s.runner.Sandboxes()))
	}
	want := []string{
		"started seal installing 2 wheels false", "done seal installing 2 wheels false",
		"started seal installing 2 wheels false", "done seal installing 2 wheels true",
	}
	if diff := cmp.Diff(want, s.kinds.list); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if err := os.Remove(s.Store.Path(strings.TrimPrefix(first[0].DiffID, "sha256:"))); err != nil {
		t.Fatal(err)
	}
	third, err := s.install(t)
	if err != nil || third[0].DiffID != first[0].DiffID || len(s.runner.Sandboxes()) != 2 {
		t.Fatalf("after its content went away: %v, %v, %d sandboxes", third, err, len(s.runner.Sandboxes()))
	}
	// Only what was missing is installed again.
	if again := s.runner.Sandboxes()[1].Files().Sub("ampoule-build/wheels"); len(paths(again)) != 1 {
		t.Errorf("installed again: %v", paths(again))
	}
}

// TestInstallAnew: whatever decides a layer has it made anew.
func TestInstallAnew(t *testing.T) {
	t.Parallel()
	s := newScene(t, installer)
	python, prefix := python, prefix
	for i, change := range []func(){
		func() {},
		func() { s.wheels[0].File = "c-1-py3-none-any.whl" },
		func() { s.image = s.image.With(s.image.Layers[0]) },
		func() { python = "/opt/other/bin/python3.13" },
		func() { prefix = "opt/other" },
	} {
		change()
		if _, err := s.Install(t.Context(), s.image, python, prefix, s.wheels); err != nil {
			t.Fatal(err)
		}
		if n := len(s.runner.Sandboxes()); n != i+1 {
			t.Errorf("after change %d there were %d sandboxes", i, n)
		}
	}
	n := len(s.runner.Sandboxes())
	if _, err := s.Install(t.Context(), s.image, python, prefix, s.wheels[:1]); err != nil || len(s.runner.Sandboxes()) != n {
		t.Errorf("one wheel less: %v, %d sandboxes more", err, len(s.runner.Sandboxes())-n)
	}
	if made, err := s.Install(t.Context(), s.image, python, prefix, nil); err != nil || len(made) != 0 || len(s.runner.Sandboxes()) != n {
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
		"pip":   {func(*scene) {}, "\n    ERROR: b-1-py3-none-any.whl is not a supported wheel"},
		"wheel": {func(s *scene) { s.wheels[1].SHA256 = strings.Repeat("0", 64) }, "reading wheels/00001/a-1-py3-none-any.whl"},
		"name":  {func(s *scene) { s.wheels[1].File = "../../install.py" }, "collecting wheels"},
		"image": {func(s *scene) { s.image.Layers = nil }, "loading image"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, func(_ context.Context, _ *fake.Sandbox, step sandbox.Step) error {
				fmt.Fprintln(step.Stderr, "ERROR: b-1-py3-none-any.whl is not a supported wheel")
				return exit
			})
			c.prepare(s)
			_, err := s.install(t)
			var failed *buildlog.StepError
			if !errors.As(err, &failed) || !strings.Contains(err.Error(), c.want) || name == "pip" && !errors.Is(err, exit) {
				t.Fatalf("error %v", err)
			}
			if failed.What != "the tree" || failed.Hint() != "the whole log is "+filepath.Join(s.Logs, "install.log") {
				t.Errorf("%q, hint %q", failed.What, failed.Hint())
			}
			if slices.ContainsFunc(s.runner.Sandboxes(), func(sb *fake.Sandbox) bool { return !sb.Closed() }) {
				t.Error("a sandbox is still open")
			}
			if last := s.kinds.list[len(s.kinds.list)-1]; !strings.HasPrefix(last, "failed seal") {
				t.Errorf("the last event is %q", last)
			}
			n := len(s.runner.Sandboxes())
			if _, err := s.install(t); err == nil || name == "pip" && len(s.runner.Sandboxes()) != n+1 {
				t.Errorf("the failure is remembered: %v", err)
			}
		})
	}
}
