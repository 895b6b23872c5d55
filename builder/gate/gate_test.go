package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/audit"
	"ampoule/builder/buildlog"
	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/store"
	"ampoule/tree"
)

const memorySite = "lib/python3.13/site-packages/"

// world is a target without Docker in which trees are tried.
type world struct {
	t      *testing.T
	stage  *Stage
	runner *fake.Runner
	base   sandbox.Image
	root   *tree.Tree
	// load says what load.py answers about a module where some distributions are seen; test
	// does one of the recipe's tests.
	load func(seen []string, m audit.Module) []answer
	test func(ctx context.Context, step sandbox.Step) error
}

func newWorld(t *testing.T) *world {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	log, err := buildlog.Open(t.TempDir(), "gate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	root, err := tree.New([]tree.Entry{tree.FileEntry("usr/lib/libc.so.6", 0o644, nil)})
	if err != nil {
		t.Fatal(err)
	}
	base, err := layers.Save(t.Context(), st, root, "")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, root: root, base: sandbox.Image{Layers: []sandbox.Layer{base}}}
	w.test = func(context.Context, sandbox.Step) error { return nil }
	w.load = func(_ []string, m audit.Module) []answer { return []answer{w.passes(m)} }
	w.runner = fake.New(w.step)
	w.stage = &Stage{Store: st, Runner: w.runner, Images: w.runner, Jobs: 2, Log: log}
	return w
}

// passes is the answer about a module that can be imported.
func (w *world) passes(m audit.Module, mapped ...string) answer {
	a := answer{Kind: audit.KindImport, Module: m.Name, File: m.File, OK: true}
	if m.File != "" {
		mapped = append(mapped, m.File)
	}
	for _, file := range append(mapped, "bin/python3.13") {
		a.Mapped = append(a.Mapped, "/"+placeOfVM+"/"+file)
	}
	return a
}

func (w *world) step(ctx context.Context, s *fake.Sandbox, step sandbox.Step) error {
	if !strings.Contains(strings.Join(step.Args, " "), "load.py") {
		return w.test(ctx, step)
	}
	e, _ := s.Files().Lookup(step.Args[4][1:])
	data, err := e.ReadAll()
	if err != nil {
		return err
	}
	var modules []audit.Module
	if err := json.Unmarshal(data, &modules); err != nil {
		return err
	}
	var seen []string
	site := step.Args[slices.IndexFunc(step.Args, func(a string) bool { return path.Base(a) == "load.py" })+1][1:]
	for _, e := range s.Files().Sub(site).Entries() {
		if strings.HasSuffix(site, "site-packages") {
			break // the whole tree
		}
		seen = append(seen, strings.TrimSuffix(e.Path, ".py"))
	}
	for _, m := range modules {
		for _, a := range append(w.load(seen, m), answer{Kind: doneKind, File: m.File}) {
			if a.Kind == "hang" {
				<-ctx.Done()
				return context.Cause(ctx)
			}
			if a.Kind == "die" {
				return &sandbox.ExitError{Args: step.Args, Code: 137}
			}
			line, err := json.Marshal(a)
			if err != nil {
				return err
			}
			if _, err := step.Stdout.Write(append(line, '\n')); err != nil {
				return err
			}
		}
	}
	return nil
}

// owned makes a file of a distribution.
func owned(name, file, text string) tree.Entry {
	e := tree.FileEntry(memorySite+file, 0o644, []byte(text))
	e.Owner = audit.OwnerWheel + name
	return e
}

// python is the interpreter's executable.
func python(text string) tree.Entry {
	e := tree.FileEntry("bin/python3.13", 0o755, []byte(text))
	e.Owner = audit.OwnerInterpreter
	return e
}

// module is the extension module of the distribution a.
var module = audit.Module{File: memorySite + "a/_a.so", Name: "a._a", Packages: []string{"a"}}

// memoryEntries are a, with the module, which requires r; b, c, and carried libraries.
func memoryEntries() []tree.Entry {
	native := tree.FileEntry("lib/libx.so.1", 0o644, []byte("x"))
	idle := tree.FileEntry("lib/libidle.so.1", 0o644, []byte("x"))
	data := tree.FileEntry("share/c/c.cfg", 0o644, []byte("1"))
	program := tree.FileEntry("bin/c", 0o755, []byte("1"))
	native.Owner, idle.Owner, data.Owner, program.Owner = "native", "native", audit.OwnerWheel+"c", audit.OwnerWheel+"c"
	return []tree.Entry{
		python("1"), owned("a", "a/_a.so", "1"), owned("a", "a/__init__.py", "1"), owned("r", "r.py", "1"), owned("b", "b.py", "1"), owned("c", "c.py", "1"),
		native, idle, data, program,
	}
}

// with puts entries in the place of those with the same path.
func with(more ...tree.Entry) []tree.Entry {
	return append(slices.DeleteFunc(memoryEntries(), func(old tree.Entry) bool {
		return slices.ContainsFunc(more, func(e tree.Entry) bool { return e.Path == old.Path })
	}), more...)
}

// subjectOf is what has some files, of which the module is loaded.
func subjectOf(t *testing.T, entries ...tree.Entry) *subject {
	t.Helper()
	made, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	return &subject{
		Subject: Subject{Tree: made, Interpreter: "bin/python3.13"}, modules: []audit.Module{module},
		requires: map[string][]string{"a": {"r"}, "b": {"c"}}, runtimes: map[string]bool{"bin/python3.13": true}, parts: partsOf(made, memorySite),
	}
}

// try tries what it is given in a target.
func (w *world) try(ctx context.Context, s *subject, tests ...audit.Test) (Result, error) {
	w.t.Helper()
	s.Tests = tests
	t := &trial{
		Target: Target{Name: "vm", Place: placeOfVM, Base: w.base, Root: w.root},
		stage:  w.stage, sub: s, places: make(chan struct{}, 1), laid: func() {},
	}
	err := t.run(ctx)
	slices.SortStableFunc(t.result.Tests, func(a, b audit.TestReport) int { return slices.Compare(a.Args, b.Args) })
	return t.result, err
}

func commands(list ...string) []audit.Test {
	tests := make([]audit.Test, len(list))
	for i, c := range list {
		tests[i] = audit.Test{Kind: audit.KindCommand, Args: strings.Fields(c)}
	}
	return tests
}

func (w *world) checkClosed() {
	w.t.Helper()
	for _, s := range w.runner.Sandboxes() {
		if !s.Closed() {
			w.t.Errorf("sandbox %s was left open", s.Spec.Name)
		}
	}
}

// Commands run in their order in one sandbox. One that takes too long has failed; those behind
// it run in the next.
func TestTests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stage.patience = 50 * time.Millisecond
	w.test = func(ctx context.Context, step sandbox.Step) error {
		switch step.Args[0] {
		case "hang":
			io.WriteString(step.Stdout, "waiting")
			<-ctx.Done()
			return context.Cause(ctx)
		case "fail":
			return &sandbox.ExitError{Args: step.Args, Code: 7}
		}
		return nil
	}
	s := subjectOf(t, memoryEntries()...)
	s.modules = nil
	got, err := w.try(t.Context(), s, commands("fail", "hang 1", "hang 2", "pass")...)
	if err != nil {
		t.Fatal(err)
	}
	report := func(code int, output string, args ...string) audit.TestReport {
		return audit.TestReport{Target: "vm", Kind: audit.KindCommand, Args: args, Code: code, Output: output}
	}
	want := []audit.TestReport{
		report(7, "", "fail"), report(124, "waiting\nnot done after 50ms\n", "hang", "1"),
		report(124, "waiting\nnot done after 50ms\n", "hang", "2"), report(0, "", "pass"),
	}
	if diff := cmp.Diff(want, got.Tests); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
	var ran []string
	for _, sb := range w.runner.Sandboxes() {
		var commands []string
		for _, step := range sb.Steps() {
			commands = append(commands, strings.Join(step.Args, " "))
		}
		ran = append(ran, strings.Join(commands, ", "))
	}
	if diff := cmp.Diff([]string{"fail, hang 1", "hang 2", "pass"}, ran); diff != "" {
		t.Errorf("commands by sandbox (-want +got):\n%s", diff)
	}
	w.checkClosed()
}

// What the recipe imports is loaded as its distribution's modules are: where it sees what it
// requires, or in the whole tree. A module that ends the process does not pass by that.
func TestImports(t *testing.T) {
	t.Parallel()
	fails := func(m audit.Module) answer {
		return answer{Kind: audit.KindImport, Module: m.Name, Error: "ImportError: no", Trace: "in r.py"}
	}
	for name, c := range map[string]struct {
		load   func(w *world, seen []string, m audit.Module) answer
		module string
		// code and output are the report's; rounds is what was seen, in each sandbox, the first
		// time and the second.
		code          int
		output        string
		first, second []string
	}{
		"passes":                  {func(w *world, _ []string, m audit.Module) answer { return w.passes(m) }, "a", 0, "", []string{"a r"}, nil},
		"of another distribution": {func(w *world, _ []string, m audit.Module) answer { return w.passes(m) }, "c", 0, "", []string{"c"}, nil},
		"of the interpreter's":    {func(w *world, _ []string, m audit.Module) answer { return w.passes(m) }, "ssl", 0, "", []string{""}, nil},
		"fails":                   {func(_ *world, _ []string, m audit.Module) answer { return fails(m) }, "a", 1, "in r.py", []string{"a r", ""}, []string{"a r", ""}},
		"ends its process": {func(_ *world, _ []string, m audit.Module) answer {
			return answer{Kind: audit.KindImport, Module: m.Name, Ended: true, Error: "the process ended by exit code 0"}
		}, "a", earlyCode, "the process ended by exit code 0", []string{"a r", ""}, []string{"a r", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var rounds []string
			w.load = func(seen []string, m audit.Module) []answer {
				rounds = append(rounds, strings.Join(seen, " "))
				return []answer{c.load(w, seen, m)}
			}
			for _, want := range [][]string{c.first, c.second} {
				rounds = nil
				s := subjectOf(t, memoryEntries()...)
				s.modules = nil
				got, err := w.try(t.Context(), s, audit.Test{Kind: audit.KindImport, Args: []string{c.module}})
				if err != nil || len(got.Tests) != 1 || len(got.Loads) != 0 {
					t.Fatalf("%+v, %v", got, err)
				}
				report := audit.TestReport{Target: "vm", Kind: audit.KindImport, Args: []string{c.module}, Code: c.code, Output: c.output}
				if diff := cmp.Diff(report, got.Tests[0]); diff != "" {
					t.Errorf("report (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(want, rounds); diff != "" {
					t.Errorf("rounds (-want +got):\n%s", diff)
				}
			}
			w.checkClosed()
		})
	}
}

// Whoever cancels the build did not wait for a test: that is no failed test.
func TestCancelledTest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.test = func(ctx context.Context, _ sandbox.Step) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	stop := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(30*time.Millisecond, func() { cancel(stop) })
	s := subjectOf(t, memoryEntries()...)
	s.modules = nil
	got, err := w.try(ctx, s, commands("hang", "pass")...)
	if !errors.Is(err, stop) || len(got.Tests) != 0 {
		t.Errorf("got %v with reports %+v", err, got)
	}
	w.checkClosed()
}

// Startup code that is not accepted is not even there; what is accepted runs in a second
// round.
func TestStartupRounds(t *testing.T) {
	t.Parallel()
	pth := owned("z", "z.pth", "import z")
	for accepted, want := range map[bool][]string{false: {"false false"}, true: {"false false", "true true"}} {
		w := newWorld(t)
		var ran []string
		w.load = func(seen []string, m audit.Module) []answer {
			return []answer{w.passes(m)}
		}
		s := subjectOf(t, with(pth)...)
		s.startups, s.accepted = []audit.Startup{{File: pth.Path, Owner: pth.Owner, Kind: audit.StartupPath}}, accepted
		got, err := w.try(t.Context(), s, commands("pass")...)
		if err != nil {
			t.Fatal(err)
		}
		for _, sb := range w.runner.Sandboxes() {
			_, there := sb.Files().Lookup(placeOfVM + "/" + pth.Path)
			for _, step := range sb.Steps() {
				isLoad := strings.Contains(strings.Join(step.Args, " "), "load.py")
				startup := slices.Contains(step.Args, "startup")
				if isLoad {
					ran = append(ran, fmt.Sprint(there, " ", startup))
				} else if there && !accepted {
					t.Error("a test had the startup code")
				}
			}
		}
		slices.Sort(ran)
		if diff := cmp.Diff(want, ran); diff != "" {
			t.Errorf("accepted %t: loads with the file and with startup (-want +got):\n%s", accepted, diff)
		}
		for _, r := range got.Loads {
			if !r.OK {
				t.Errorf("%+v", r)
			}
		}
		if len(got.Loads) != len(want) || len(got.Tests) != len(want) {
			t.Errorf("accepted %t: reports %+v", accepted, got)
		}
		w.checkClosed()
	}
}

func TestOutcome(t *testing.T) {
	t.Parallel()
	sub := subjectOf(t, with(tree.Entry{Path: "lib/link.so", Kind: tree.Symlink, Link: "libx.so.1", Owner: "native"})...)
	sub.runtimes["lib/libx.so.1"] = true
	w := newWorld(t)
	r := &round{trial: &trial{Target: Target{Name: "vm", Place: placeOfVM, Root: w.root}, sub: sub}}
	got := r.outcome(audit.Module{File: "m.so"}, answer{Kind: audit.KindImport, Module: "m", File: "m.so", Error: "no", Mapped: []string{
		"/srv/ampoule/current/bin/python3.13", "/srv/ampoule/current/lib/link.so", "/usr/lib/libc.so.6",
		"/usr/lib/other.so", "/srv/ampoule/current/lib/gone.so", "/srv/ampoule/currently/x.so", "/srv/ampoule/current/" + module.File,
	}})
	x, _ := sub.Tree.Lookup("lib/libx.so.1")
	want := outcome{
		Report: audit.LoadReport{Target: "vm", Kind: audit.KindImport, Module: "m", File: "m.so", Error: "no", Runtimes: 2, Maps: []string{
			"/usr/lib/other.so", "/srv/ampoule/current/lib/gone.so", "/srv/ampoule/currently/x.so",
		}},
		Libraries: map[string]string{"lib/libx.so.1": x.SHA256}, Mapped: []string{module.File},
	}
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
