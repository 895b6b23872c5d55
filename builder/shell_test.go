package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/failure"
	"ampoule/builder/fetch"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/builder/sandbox/sandboxtest"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/store"
)

// workshop is a builder over fake sandboxes that have some of the shells.
type workshop struct {
	*Builder
	st     *store.Store
	runner *fake.Runner
	recipe *recipes.Recipe
}

func newWorkshop(t *testing.T, shells ...string) *workshop {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	r := fake.New(func(_ context.Context, _ *fake.Sandbox, step sandbox.Step) error {
		switch {
		case strings.HasSuffix(step.Args[0], "sh") && !slices.Contains(shells, step.Args[0]):
			return &sandbox.ExitError{Args: step.Args, Code: 127}
		case slices.Contains(step.Args, "-c"):
			return nil
		}
		typed, err := io.ReadAll(step.Stdin)
		if err != nil {
			return err
		}
		fmt.Fprintf(step.Stdout, "%s in %s got %s", strings.Join(step.Args, " "), step.Dir, typed)
		return &sandbox.ExitError{Args: step.Args, Code: 3}
	})
	open := func(context.Context) (Sandboxes, error) { return Sandboxes{Runner: r, Images: r}, nil }
	b, err := New(Dependencies{Store: st, Fetch: fetch.New(st, fetch.Config{}), Sandboxes: open, Publisher: &digester{}, Bases: noBases{}})
	if err != nil {
		t.Fatal(err)
	}
	return &workshop{b, st, r, &recipes.Recipe{Name: "web"}}
}

// noBases is a registry that nothing is asked of.
type noBases struct{ Bases }

// fails keeps a failure of a wheel.
func (w *workshop) fails(t *testing.T, name string) {
	t.Helper()
	image := sandbox.Image{Config: sandbox.Config{Architecture: "amd64"}, Layers: []sandbox.Layer{sandboxtest.TarLayer(t, []*tar.Header{{Name: "tmp/"}}, nil)}}
	id, err := w.runner.Load(t.Context(), image.Config, image.Layers...)
	if err != nil {
		t.Fatal(err)
	}
	sb, err := w.runner.Start(t.Context(), sandbox.Spec{Image: id, Name: "failing"})
	if err != nil {
		t.Fatal(err)
	}
	state := failure.State{
		Recipe: "web", Step: name, Title: "wheel " + name + "==1.0", Image: image, Args: []string{"make"},
		Env: []string{"PATH=/bin", "TERM=dumb", "CC=gcc"}, Dir: "/ampoule-build", Time: time.Unix(1, 0).UTC(),
	}
	if err := errors.Join(failure.Keep(t.Context(), w.st, sb, state), sb.Close()); err != nil {
		t.Fatal(err)
	}
}

// lastStep is the last step that ran in the sandbox that was opened last.
func (w *workshop) lastStep(t *testing.T) sandbox.Step {
	t.Helper()
	all := w.runner.Sandboxes()
	last := all[len(all)-1]
	if !last.Closed() {
		t.Error("the sandbox was left open")
	}
	steps := last.Steps()
	return steps[len(steps)-1]
}

func TestShell(t *testing.T) {
	t.Parallel()
	terminal := &sandbox.Terminal{}
	for name, test := range map[string]struct {
		shells []string
		opts   ShellOptions
		want   string
		env    string
		code   int
	}{
		"bash": {
			[]string{"/bin/bash", "/bin/sh"}, ShellOptions{Terminal: terminal, Term: "xterm"},
			"/bin/bash --norc -i in /ampoule-build got keys", "PATH=/bin CC=gcc TERM=xterm", 0,
		},
		"sh":              {[]string{"/bin/sh"}, ShellOptions{Terminal: terminal}, "/bin/sh -i in /ampoule-build got keys", "PATH=/bin TERM=dumb CC=gcc", 0},
		"script":          {[]string{"/bin/sh"}, ShellOptions{Term: "xterm"}, "/bin/sh in /ampoule-build got keys", "PATH=/bin TERM=dumb CC=gcc", 3},
		"command":         {nil, ShellOptions{Command: []string{"make", "x"}}, "make x in /ampoule-build got keys", "PATH=/bin TERM=dumb CC=gcc", 3},
		"at terminal":     {nil, ShellOptions{Command: []string{"top"}, Terminal: terminal, Term: "vt100"}, "top in /ampoule-build got keys", "PATH=/bin CC=gcc TERM=vt100", 3},
		"wheel":           {nil, ShellOptions{Wheel: "Psycopg2", Command: []string{"ls"}}, "ls in /ampoule-build got keys", "PATH=/bin TERM=dumb CC=gcc", 3},
		"wheel's version": {nil, ShellOptions{Wheel: "psycopg2==1.0", Command: []string{"ls"}}, "ls in /ampoule-build got keys", "PATH=/bin TERM=dumb CC=gcc", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorkshop(t, test.shells...)
			w.fails(t, "psycopg2")
			var out bytes.Buffer
			var opened []string
			test.opts.Stdin, test.opts.Stdout = strings.NewReader("keys"), &out
			test.opts.Opened = func(s failure.State) error {
				opened = append(opened, s.Title+out.String())
				return nil
			}
			err := w.Shell(t.Context(), Request{Recipe: w.recipe}, test.opts)
			var exit *sandbox.ExitError
			if test.code == 0 && err != nil || test.code != 0 && (!errors.As(err, &exit) || exit.Code != test.code) {
				t.Errorf("got %v, want code %d", err, test.code)
			}
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"wheel psycopg2==1.0"}, opened); diff != "" {
				t.Errorf("opened (-want +got):\n%s", diff)
			}
			if step := w.lastStep(t); strings.Join(step.Env, " ") != test.env || step.Terminal != test.opts.Terminal {
				t.Errorf("it ran with %q and terminal %v", step.Env, step.Terminal)
			}
		})
	}
}

func TestShellOpensWhatFailedLast(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	for _, name := range []string{"lxml", "psycopg2"} {
		w.fails(t, name)
	}
	for wheel, want := range map[string]string{"": "wheel psycopg2==1.0", "lxml": "wheel lxml==1.0"} {
		err := w.Shell(t.Context(), Request{Recipe: w.recipe}, ShellOptions{Wheel: wheel, Command: []string{"ls"}, Opened: func(s failure.State) error {
			if s.Title != want {
				t.Errorf("%q opened %s", wheel, s.Title)
			}
			return errStop
		}})
		if !errors.Is(err, errStop) {
			t.Errorf("%q: %v", wheel, err)
		}
	}
}

var errStop = errors.New("stop here")

func TestShellWithoutFailure(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	err := w.Shell(t.Context(), Request{Recipe: w.recipe}, ShellOptions{})
	if faults.Of(err) != faults.NotFound || !slices.Equal(faults.Hints(err), []string{"`ampoule shell --wheel NAME` opens the sandbox that NAME is built in"}) {
		t.Errorf("nothing failed: %v", err)
	}
	if err := w.Shell(t.Context(), Request{Recipe: w.recipe}, ShellOptions{Wheel: "lxml"}); !errors.Is(err, ErrNoLock) {
		t.Errorf("a wheel without a lock: %v", err)
	}
	w.fails(t, "lxml")
	if err := w.Shell(t.Context(), Request{Recipe: w.recipe}, ShellOptions{Wheel: "lxml==2.0"}); !errors.Is(err, ErrNoLock) {
		t.Errorf("another version of what failed: %v", err)
	}
	if len(w.runner.Sandboxes()) != 1 {
		t.Error("a sandbox was started for nothing")
	}
	if err := w.Shell(t.Context(), Request{Recipe: w.recipe}, ShellOptions{Wheel: "lxml"}); faults.Of(err) != faults.NotFound || !strings.Contains(strings.Join(faults.Hints(err), ""), "-- COMMAND") {
		t.Errorf("an image without shell: %v", err)
	}
}

// TestShellOfPreparedBuild opens what did not fail.
func TestShellOfPreparedBuild(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	w.fails(t, "lxml")
	asked := 0
	p := func(ctx context.Context) (failure.State, sandbox.Sandbox, error) {
		asked++
		state, _, err := failure.Last(w.st, "web", "lxml")
		if err != nil {
			return state, nil, err
		}
		state.Title, state.Time = "wheel numpy==2.0", time.Time{}
		sb, err := state.Open(ctx, w.st, w.runner, w.runner)
		return state, sb, err
	}
	var opened failure.State
	opts := ShellOptions{Wheel: "numpy", Command: []string{"ls"}, Opened: func(s failure.State) error {
		opened = s
		return nil
	}}
	var exit *sandbox.ExitError
	if err := w.shell(t.Context(), w.recipe, opts, p); !errors.As(err, &exit) || asked != 1 || opened.Title != "wheel numpy==2.0" {
		t.Errorf("asked %d times, opened %q, %v", asked, opened.Title, err)
	}
	opts.Wheel = "lxml"
	if err := w.shell(t.Context(), w.recipe, opts, p); !errors.As(err, &exit) || asked != 1 {
		t.Errorf("a failure that is kept: asked %d times, %v", asked, err)
	}
	w.lastStep(t)
}

func TestSdistNamed(t *testing.T) {
	t.Parallel()
	built := &recipes.BuildSet{}
	l := &recipes.Lock{Dists: []recipes.Dist{
		{Name: "idna", Version: "3.10", File: "idna-3.10-py3-none-any.whl"},
		{Name: "lxml", Version: "6.0", Build: built},
		{Name: "setuptools", Version: "79.0", Build: built},
		{Name: "setuptools", Version: "80.0", Build: built},
	}}
	for _, test := range []struct{ wheel, want, hint string }{
		{"lxml", "lxml==6.0", ""},
		{"LXML==6.0", "lxml==6.0", ""},
		{"setuptools==80.0", "setuptools==80.0", ""},
		{"setuptools", "", "the lock has setuptools==79.0, setuptools==80.0: name one of them"},
		{"lxml==5.0", "", "the lock has sdists of lxml, setuptools"},
		{"numpy", "", "the lock has sdists of lxml, setuptools"},
		{"idna", "", "the lock has it as a wheel, idna-3.10-py3-none-any.whl, which nothing is compiled for"},
	} {
		d, err := sdistNamed(l, test.wheel)
		if test.want != "" && (err != nil || d.ID() != test.want) || test.want == "" && (faults.Of(err) != faults.NotFound || !slices.Equal(faults.Hints(err), []string{test.hint})) {
			t.Errorf("%s is %s, %v", test.wheel, d.ID(), err)
		}
	}
	if _, err := sdistNamed(&recipes.Lock{}, "lxml"); err == nil {
		t.Error("an empty lock has lxml")
	}
}
