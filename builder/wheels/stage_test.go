package wheels

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/buildlog"
	"ampoule/builder/sandbox"
	"ampoule/recipes"
	"ampoule/tree"
)

func TestKey(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	l := newLock(t, st)
	base := func() Job {
		return Job{
			Sdist:  l.sdist("a"),
			Image:  sandbox.Image{Layers: []sandbox.Layer{{DiffID: "sha256:1"}, {DiffID: "sha256:2"}}},
			Python: testPython,
			Needs:  []Wheel{{File: "x.whl", SHA256: "11"}, {File: "y.whl", SHA256: "22"}},
		}
	}
	key := base().Key()
	for name, change := range map[string]func(*Job){
		"sdist":           func(j *Job) { j.Sdist.SHA256 = "0" },
		"layer":           func(j *Job) { j.Image.Layers[0].DiffID = "sha256:3" },
		"order of layers": func(j *Job) { slices.Reverse(j.Image.Layers) },
		"layer more":      func(j *Job) { j.Image = j.Image.With(sandbox.Layer{DiffID: "sha256:3"}) },
		"python":          func(j *Job) { j.Python += "t" },
		"sdist's file":    func(j *Job) { j.Sdist.File = "a-1.0.zip" },
		"name":            func(j *Job) { j.Sdist.Name = "other" },
		"version":         func(j *Job) { j.Sdist.Version = "9" },
		"need renamed":    func(j *Job) { j.Needs[0].File = "z.whl" },
		"need changed":    func(j *Job) { j.Needs[0].SHA256 = "33" },
		"need more":       func(j *Job) { j.Needs = append(j.Needs, Wheel{SHA256: "33"}) },
		"need less":       func(j *Job) { j.Needs = j.Needs[:1] },
		"environment":     func(j *Job) { j.Sdist.Build.Env = map[string]string{"A": "b"} },
		"setting":         func(j *Job) { j.Sdist.Build.ConfigSettings = map[string]recipes.Setting{"a": {Text: "b"}} },
		"setting's list":  func(j *Job) { j.Sdist.Build.ConfigSettings = map[string]recipes.Setting{"a": {List: []string{"b"}}} },
		"patch":           func(j *Job) { j.Sdist.Build.Patches = []recipes.Patch{{File: "a.patch", SHA256: "1"}} },
		"Cargo.lock": func(j *Job) {
			j.Sdist.Build.CargoLocks = []recipes.CargoLock{{File: "Cargo.lock", Text: "version = 4\n"}}
		},
		"crate":            func(j *Job) { j.Sdist.Build.Crates = []recipes.Crate{{Name: "a", Version: "1", SHA256: "1"}} },
		"needs run on one": func(j *Job) { j.Needs = []Wheel{{SHA256: "1122"}} },
	} {
		j := base()
		change(&j)
		if j.Key() == key {
			t.Errorf("%s: the key is the same", name)
		}
	}
	for name, change := range map[string]func(*Job){
		"order of needs": func(j *Job) { slices.Reverse(j.Needs) },
		"nothing set": func(j *Job) {
			j.Sdist.Build.Env, j.Sdist.Build.ConfigSettings, j.Sdist.Build.Crates = map[string]string{}, map[string]recipes.Setting{}, []recipes.Crate{}
		},
		"why it is built so": func(j *Job) { j.Sdist.Build.Overrides = []recipes.Applied{{Name: "a"}} },
		"need's key":         func(j *Job) { j.Needs[0].Key = "k" },
		"labels":             func(j *Job) { j.Image.Config.Labels = map[string]string{"a": "b"} },
	} {
		j := base()
		change(&j)
		if j.Key() != key {
			t.Errorf("%s: the key is another one", name)
		}
	}
}

// The same bytes under another name give no wheel of the first one, which would never be
// compared with it: they are built, and refused.
func TestSameSdistUnderAnotherName(t *testing.T) {
	t.Parallel()
	b := newBackend()
	stage, _, image := newStage(t, b)
	job := Job{Sdist: newLock(t, stage.Store).sdist("demo"), Image: image, Python: testPython}
	if _, err := stage.Build(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	b.answer = func(context.Context, string, string) (string, []tree.Entry, error) {
		return `{"wheel": "demo-1.0-py3-none-any.whl"}`, []tree.Entry{tree.FileEntry("demo-1.0-py3-none-any.whl", 0o644, nil)}, nil
	}
	for _, change := range []func(*recipes.Dist){
		func(d *recipes.Dist) { d.Name = "acme-demo" }, func(d *recipes.Dist) { d.Version = "9" },
	} {
		other := job
		change(&other.Sdist)
		_, err := stage.Build(t.Context(), other)
		var identity *IdentityError
		if !errors.As(err, &identity) {
			t.Errorf("%s: %v", other.Sdist.ID(), err)
		}
	}
}

// A Cargo.lock that the lock brings is a patch behind all others.
func TestCargoLockIsAPatch(t *testing.T) {
	t.Parallel()
	b := newBackend()
	stage, r, image := newStage(t, b)
	sdist := newLock(t, stage.Store).sdist("demo")
	lock := recipes.CargoLock{File: "py/Cargo.lock", Text: "version = 4\n"}
	sdist.Build.CargoLocks = []recipes.CargoLock{lock}
	if _, err := stage.Build(t.Context(), Job{Sdist: sdist, Image: image, Python: testPython}); err != nil {
		t.Fatal(err)
	}
	e, ok := r.Sandboxes()[0].Files().Lookup("ampoule-build/patches/cargo-lock-0000.patch")
	if !ok {
		t.Fatal("the build gets no Cargo.lock")
	}
	if data, err := e.ReadAll(); err != nil || string(data) != string(lock.Patch()) {
		t.Errorf("it gets %s, %v", data, err)
	}
}

// Nothing in a sandbox tells the name of a patch, so it is no part of the key.
func TestPatchesAreNumbered(t *testing.T) {
	t.Parallel()
	j := Job{Sdist: recipes.Dist{File: "a-1.tar.gz", Build: &recipes.BuildSet{Patches: []recipes.Patch{{File: "one.patch", SHA256: "1"}, {File: "x/two.patch", SHA256: "2"}}}}}
	want := map[string]string{"sdist/a-1.tar.gz": "", "patches/0000.patch": "1", "patches/0001.patch": "2"}
	if diff := cmp.Diff(want, j.inputs()); diff != "" {
		t.Errorf("inputs (-want +got):\n%s", diff)
	}
}

func TestBuild(t *testing.T) {
	t.Parallel()
	b := newBackend()
	stage, r, image := newStage(t, b)
	l := newLock(t, stage.Store)
	need := l.wheel("setuptools")
	job := Job{Sdist: l.sdist("demo"), Image: image, Python: testPython, Needs: []Wheel{{Dist: need, File: need.File, SHA256: need.SHA256}}}
	w, err := stage.Build(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	if w.File != "demo-1.0-py3-none-any.whl" || w.Key != job.Key() || w.Dist.ID() != "demo==1.0" || w.Debug != nil {
		t.Errorf("built %+v", w)
	}
	data, err := os.ReadFile(stage.Store.Path(w.SHA256))
	if err != nil || string(data) != "wheel of demo-1.0.tar.gz" {
		t.Errorf("the store has %q, %v", data, err)
	}
	again, err := stage.Build(t.Context(), job)
	if err != nil || cmp.Diff(w, again) != "" || b.count("demo-1.0.tar.gz") != 1 {
		t.Errorf("again: %+v, %v after %d builds", again, err, b.count("demo-1.0.tar.gz"))
	}
	if len(r.Sandboxes()) != 1 {
		t.Fatalf("%d sandboxes were started", len(r.Sandboxes()))
	}
	checkClosed(t, r)
	s := r.Sandboxes()[0]
	var inputs []string
	for _, e := range s.Files().Sub("ampoule-build").Entries() {
		if e.Kind == tree.File && !strings.HasPrefix(e.Path, "out/") {
			inputs = append(inputs, e.Path)
		}
	}
	want := []string{"ampoule_relocate.py", "driver.py", "job.json", "needs/setuptools-1.0-py3-none-any.whl", "sdist/demo-1.0.tar.gz"}
	if diff := cmp.Diff(want, inputs); diff != "" {
		t.Errorf("inputs (-want +got):\n%s", diff)
	}
	step := s.Steps()[0]
	if !slices.Contains(step.Env, "MAKEFLAGS=-j3") || !slices.Contains(step.Env, "SOURCE_DATE_EPOCH=1577836800") || step.Dir != sandbox.WorkDir {
		t.Errorf("the step ran with %q in %s", step.Env, step.Dir)
	}
}

// What a backend says and builds is checked before it is believed.
func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		result string
		files  []tree.Entry
		want   string
	}{
		"path":          {`{"wheel": "../demo-1.0-py3-none-any.whl"}`, nil, "is not a wheel's file name"},
		"path inside":   {`{"wheel": "x/demo-1.0-py3-none-any.whl"}`, nil, "is not a wheel's file name"},
		"absolute":      {`{"wheel": "/demo-1.0-py3-none-any.whl"}`, nil, "is not a wheel's file name"},
		"no wheel":      {`{"wheel": "demo-1.0-py3-none-any.zip"}`, nil, "is not a wheel's file name"},
		"nothing":       {`{}`, nil, "is not a wheel's file name"},
		"other name":    {`{"wheel": "other-1.0-py3-none-any.whl"}`, []tree.Entry{tree.FileEntry("other-1.0-py3-none-any.whl", 0o644, nil)}, "built a wheel of other"},
		"other version": {`{"wheel": "demo-2.0-py3-none-any.whl"}`, []tree.Entry{tree.FileEntry("demo-2.0-py3-none-any.whl", 0o644, nil)}, "of version 2.0"},
		"missing":       {`{"wheel": "demo-1.0-py3-none-any.whl"}`, nil, "which is not there"},
		"directory":     {`{"wheel": "demo-1.0-py3-none-any.whl"}`, []tree.Entry{{Path: "demo-1.0-py3-none-any.whl", Kind: tree.Dir, Mode: 0o755}}, "which is not there"},
		"link":          {`{"wheel": "demo-1.0-py3-none-any.whl"}`, []tree.Entry{{Path: "demo-1.0-py3-none-any.whl", Kind: tree.Symlink, Link: "result.json"}}, "which is not there"},
		"no JSON":       {`{`, nil, "reading the build's result"},
		"wrong type":    {`{"wheel": ["demo-1.0-py3-none-any.whl"]}`, nil, "reading the build's result"},
		"too long":      {`{"metadata": "` + strings.Repeat("x", maxResult) + `"}`, nil, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBackend()
			b.answer = func(context.Context, string, string) (string, []tree.Entry, error) { return c.result, c.files, nil }
			stage, r, image := newStage(t, b)
			job := Job{Sdist: newLock(t, stage.Store).sdist("demo"), Image: image, Python: testPython}
			for range 2 { // A refused answer is not remembered.
				_, err := stage.Build(t.Context(), job)
				var fault *BuildError
				if !errors.As(err, &fault) || fault.Dist != "demo==1.0" || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
			}
			if len(r.Sandboxes()) != 2 {
				t.Errorf("%d sandboxes were started", len(r.Sandboxes()))
			}
			checkClosed(t, r)
		})
	}
}

// A build that fails shows the end of its own log and where the whole log is.
func TestBuildFails(t *testing.T) {
	t.Parallel()
	b := newBackend()
	stage, r, image := newStage(t, b)
	stage.Runner = r
	b.answer = func(context.Context, string, string) (string, []tree.Entry, error) {
		return "", nil, &sandbox.ExitError{Args: []string{"driver.py"}, Code: 3}
	}
	_, err := stage.Build(t.Context(), Job{Sdist: newLock(t, stage.Store).sdist("demo"), Image: image, Python: testPython})
	var step *buildlog.StepError
	var exit *sandbox.ExitError
	if !errors.As(err, &step) || !errors.As(err, &exit) || exit.Code != 3 {
		t.Fatalf("got %v", err)
	}
	if step.Log != filepath.Join(stage.Logs, "wheel-demo-1.0.log") || step.What != "demo==1.0" {
		t.Errorf("told %+v", step)
	}
	checkClosed(t, r)
}

func TestAsk(t *testing.T) {
	t.Parallel()
	b := newBackend()
	var modes []string
	b.answer = func(_ context.Context, mode, _ string) (string, []tree.Entry, error) {
		modes = append(modes, mode)
		return told(t, map[string]any{"requires": []string{"cffi>=1"}, "metadata": "Name: demo\n"}), nil, nil
	}
	stage, r, image := newStage(t, b)
	job := Job{Sdist: newLock(t, stage.Store).sdist("demo"), Image: image, Python: testPython}
	for range 2 {
		requires, err := stage.Requires(t.Context(), job)
		if err != nil || !slices.Equal(requires, []string{"cffi>=1"}) {
			t.Errorf("requires %q, %v", requires, err)
		}
		metadata, err := stage.Metadata(t.Context(), job)
		if err != nil || metadata != "Name: demo\n" {
			t.Errorf("metadata %q, %v", metadata, err)
		}
	}
	if diff := cmp.Diff([]string{"requires", "metadata"}, modes); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	checkClosed(t, r)
}

func TestAskFails(t *testing.T) {
	t.Parallel()
	b := newBackend()
	b.answer = func(context.Context, string, string) (string, []tree.Entry, error) {
		return `{"requires": "setuptools"}`, nil, nil
	}
	stage, r, image := newStage(t, b)
	job := Job{Sdist: newLock(t, stage.Store).sdist("demo"), Image: image, Python: testPython}
	if _, err := stage.Requires(t.Context(), job); err == nil || !strings.Contains(err.Error(), "asking the build backend of demo==1.0 for requires") {
		t.Errorf("got %v", err)
	}
	job.Sdist.SHA256 = strings.Repeat("0", 64)
	if _, err := stage.Metadata(t.Context(), job); err == nil {
		t.Error("an sdist that the store does not have was asked")
	}
	checkClosed(t, r)
}
