package builder

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
	"ampoule/builder/buildlog"
	"ampoule/builder/cpython"
	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/tree"
)

// failing is a runner in which the steps that name where fail.
func failing(w *world, where string, err error) *fake.Runner {
	return fake.New(func(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
		if strings.Contains(strings.Join(step.Args, " "), where) {
			return err
		}
		return w.step(ctx, s, step)
	})
}

// try runs the recipe's tests in one target, each for at most limit.
func (w *world) try(ctx context.Context, limit time.Duration, commands ...string) ([]audit.TestReport, error) {
	w.t.Helper()
	log, err := buildlog.Open(w.t.TempDir(), "gate")
	if err != nil {
		w.t.Fatal(err)
	}
	defer log.Close()
	base := sandbox.Image{Config: sandbox.Config{Architecture: "amd64"}, Layers: []sandbox.Layer{w.base}}
	t := &target{
		r:    &build{b: w.builder, recipe: w.recipe, lock: w.lock, interpreter: &cpython.Interpreter{}, sandboxes: Sandboxes{Runner: w.runner, Images: w.runner}},
		name: "vm", place: places["vm"], log: log, testTime: limit, base: base,
	}
	for _, c := range commands {
		t.tests = append(t.tests, audit.Test{Kind: audit.KindCommand, Args: strings.Fields(c)})
	}
	sealed, err := tree.New(w.interpreter)
	if err != nil {
		w.t.Fatal(err)
	}
	open := layers.Open(w.st)
	defer open.Close()
	err = t.run(ctx, open, sealed, []audit.Module{{File: "lib/x.so", Name: "x"}})
	return t.reports, err
}

// hangs waits for the end of a step named hang, and does nothing for others.
func hangs(ctx context.Context, step sandbox.Step) error {
	if step.Args[0] == "hang" {
		step.Stdout.Write([]byte("waiting"))
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if step.Args[0] == "fail" {
		return &sandbox.ExitError{Args: step.Args, Code: 7}
	}
	return nil
}

// A test that takes too long has failed; those after it run in a sandbox of their own.
func TestLateTest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.test = hangs
	got, err := w.try(t.Context(), 50*time.Millisecond, "fail", "hang 1", "pass", "hang 2")
	if err != nil {
		t.Fatal(err)
	}
	report := func(code int, output string, args ...string) audit.TestReport {
		return audit.TestReport{Target: "vm", Kind: audit.KindCommand, Args: args, Code: code, Output: output}
	}
	want := []audit.TestReport{
		report(7, "", "fail"), report(124, "waiting\nnot done after 50ms\n", "hang", "1"),
		report(0, "", "pass"), report(124, "waiting\nnot done after 50ms\n", "hang", "2"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
	if n := len(w.runner.Sandboxes()); n != 2 {
		t.Errorf("%d sandboxes were started", n)
	}
	w.checkClosed()
}

// Whoever cancels the build did not wait for a test: that is no failed test.
func TestCancelledTest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.test = hangs
	stop := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(30*time.Millisecond, func() { cancel(stop) })
	got, err := w.try(ctx, time.Minute, "hang", "pass")
	if !errors.Is(err, stop) || len(got) != 0 {
		t.Errorf("got %v with reports %+v", err, got)
	}
	w.checkClosed()
}

func TestLoadTellsNoJSON(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.runner = fake.New(func(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
		if strings.Contains(strings.Join(step.Args, " "), "load.py") {
			_, err := step.Stdout.Write([]byte("Fatal Python error\n"))
			return err
		}
		return w.step(ctx, s, step)
	})
	if _, err := w.try(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "reading what loading modules told") {
		t.Errorf("got %v", err)
	}
	w.checkClosed()
}

func TestLoadReport(t *testing.T) {
	t.Parallel()
	entries := func(paths ...string) *tree.Tree {
		var list []tree.Entry
		for _, p := range paths {
			list = append(list, tree.FileEntry(p, 0o644, nil))
		}
		made, err := tree.New(append(list, tree.Entry{Path: "lib/link.so", Kind: tree.Symlink, Link: "real.so"}))
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	sealed := entries("bin/python3.13", "lib/real.so")
	g := &target{name: "vm", place: "srv/ampoule/current", root: entries("usr/lib/libc.so.6"), runtimes: map[string]bool{"bin/python3.13": true, "lib/real.so": true}}
	got := g.loadReport(loadAnswer{Kind: audit.KindImport, Module: "m", File: "m.so", Error: "no", Mapped: []string{
		"/srv/ampoule/current/bin/python3.13", "/srv/ampoule/current/lib/link.so", "/usr/lib/libc.so.6",
		"/usr/lib/other.so", "/srv/ampoule/current/lib/gone.so", "/srv/ampoule/currently/x.so",
	}}, sealed)
	want := audit.LoadReport{Target: "vm", Kind: audit.KindImport, Module: "m", File: "m.so", Error: "no", Runtimes: 2, Maps: []string{
		"/usr/lib/other.so", "/srv/ampoule/current/lib/gone.so", "/srv/ampoule/currently/x.so",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	var out tail
	for range 3 {
		if n, err := out.Write([]byte(strings.Repeat("a", maxOutput-1) + "b")); n != maxOutput || err != nil {
			t.Fatal(n, err)
		}
	}
	if _, err := out.Write([]byte("end")); err != nil || len(out.String()) != maxOutput || !strings.HasSuffix(out.String(), "abend") {
		t.Errorf("%d bytes, %v", len(out.String()), err)
	}
}

func TestInOrder(t *testing.T) {
	t.Parallel()
	of := func(ids string) []sandbox.Layer {
		var all []sandbox.Layer
		for _, id := range strings.Fields(ids) {
			all = append(all, sandbox.Layer{DiffID: id})
		}
		return all
	}
	for name, c := range map[string]struct{ wanted, last, want string }{
		"nothing was laid":    {"a b c", "", "a b c"},
		"one more":            {"a b c d", "a c d", "a c d b"},
		"one changed":         {"a B c d", "a b c d", "a B c d"},
		"one gone":            {"a c", "a b c", "a c"},
		"others":              {"a b", "c d", "a b"},
		"as it was, reversed": {"a b c", "c b a", "c b a"},
	} {
		got := strings.Join(layers.DiffIDs(sandbox.Image{Layers: inOrder(of(c.wanted), strings.Fields(c.last))}), " ")
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
