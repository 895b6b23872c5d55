package builder

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ampoule/audit"
	"ampoule/builder/buildlog"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/seal"
	"ampoule/builder/wheels"
	"ampoule/tree"
)

//go:embed load.py
var loadScript []byte

const (
	// testTime bounds one of the recipe's tests; lateCode is the exit code that one is
	// told with that takes longer, as timeout(1) has it.
	testTime = 10 * time.Minute
	lateCode = 124
	// maxReport bounds what loading all modules may answer, in bytes.
	maxReport = 256 << 20
	// maxOutput bounds what is kept of a test's output, in bytes.
	maxOutput = 8 << 10
	// gateDir holds the gate's own script in a target.
	gateDir = "/ampoule-gate"
)

// places says where each target has the tree: in two different directories, since
// it must run from any.
var places = map[string]string{"container": Prefix, "vm": "srv/ampoule/current"}

// RefusedError says that the gate refused a tree.
type RefusedError struct{ Verdict audit.Verdict }

func (e *RefusedError) Error() string {
	refused := 0
	for _, f := range e.Verdict.Findings {
		if f.Severity == audit.Refuse && f.Excepted == "" {
			refused++
		}
	}
	if refused == 1 {
		return "the gate refused the tree: 1 finding"
	}
	return fmt.Sprintf("the gate refused the tree: %d findings", refused)
}

// Hint says what an exception takes.
func (e *RefusedError) Hint() string {
	return "each finding says what to do; an exception is written into the recipe under gate.except, with its reason and its end"
}

// gate judges the tree: what can be read of it, and what loading and testing it in
// each runtime target shows.
func (r *build) gate(ctx context.Context, sealed *seal.Sealed) (_ *audit.Verdict, err error) {
	task := progress.Start(ctx, "gate", r.recipe.Name)
	defer func() { task.End(err) }()
	log, err := buildlog.Open(r.logs, "gate")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	task.SetLog(log.Path())
	subject := audit.Subject{
		Tree: sealed.Tree, Prefix: "/" + Prefix, Interpreter: r.interpreterPath(),
		Exceptions: r.exceptions(), Forbidden: forbidden(), Tests: r.tests(), Now: r.b.now(),
	}
	tried, closeAll, err := r.tryTargets(ctx, sealed.Tree, subject.Tests, log)
	defer func() { err = errors.Join(err, closeAll()) }()
	if err != nil {
		return nil, err
	}
	for _, t := range tried {
		subject.Targets = append(subject.Targets, t.description())
		subject.Loads = append(subject.Loads, t.loads...)
		subject.Reports = append(subject.Reports, t.reports...)
	}
	verdict, err := audit.Judge(ctx, subject)
	if err != nil {
		return nil, err
	}
	verdict.Binary = r.binaryWheels()
	if err := r.keep(verdict); err != nil {
		return nil, err
	}
	if !verdict.Passed {
		return &verdict, &RefusedError{verdict}
	}
	return &verdict, nil
}

// tryTargets lays the tree on each runtime target and loads and tests it there, in all
// of them at once. What the targets have read stays open until the function that it
// returns is called.
func (r *build) tryTargets(ctx context.Context, sealed *tree.Tree, tests []audit.Test, log *buildlog.Log) (_ []*target, closeAll func() error, err error) {
	var open []io.Closer
	closeAll = func() error {
		var err error
		for _, c := range open {
			err = errors.Join(err, c.Close())
		}
		return err
	}
	modules, err := audit.Loadable(sealed, r.interpreterPath())
	if err != nil {
		return nil, closeAll, err
	}
	runtimes, err := audit.Runtimes(sealed)
	if err != nil {
		return nil, closeAll, err
	}
	var targets []*target
	for _, name := range slices.Sorted(maps.Keys(r.lock.Targets)) {
		t := &target{r: r, name: name, place: places[name], log: log, tests: tests, testTime: testTime, runtimes: runtimes}
		closer, err := t.prepare(ctx)
		if err != nil {
			return nil, closeAll, err
		}
		open = append(open, closer)
		targets = append(targets, t)
	}
	group, trying := errgroup.WithContext(ctx)
	for _, t := range targets {
		group.Go(func() error { return log.Fail("the gate of target "+t.name, t.run(trying, sealed, modules)) })
	}
	return targets, closeAll, group.Wait()
}

// interpreterPath is the interpreter's path in the tree.
func (r *build) interpreterPath() string {
	return strings.TrimPrefix(r.python(), "/"+Prefix+"/")
}

// binaryWheels are the foreign binary wheels in the tree, as the recipe accepts them.
func (r *build) binaryWheels() []audit.BinaryWheel {
	var foreign []audit.BinaryWheel
	for _, id := range r.lock.Requirements {
		d, _ := r.lock.Dist(id)
		if a, ok := r.recipe.Accepted(d.Name); ok && d.IsWheel() && !wheels.IsPure(d.File) {
			foreign = append(foreign, audit.BinaryWheel{File: d.File, SHA256: d.SHA256, Why: a.Why, Until: a.Until})
		}
	}
	return foreign
}

// keep writes the verdict beside the logs, whatever it says.
func (r *build) keep(verdict audit.Verdict) error {
	data, err := json.MarshalIndent(verdict, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(r.logs, "verdict.json"), append(data, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("keeping the verdict: %w", err)
	}
	return nil
}

func (r *build) exceptions() []audit.Exception {
	exceptions := make([]audit.Exception, len(r.recipe.Gate.Except))
	for i, e := range r.recipe.Gate.Except {
		exceptions[i] = audit.Exception{Check: e.Check, Files: e.Files, Why: e.Why, Until: e.Until}
	}
	return exceptions
}

// forbidden is what no file may hold: where it was built.
func forbidden() []audit.Forbidden {
	return []audit.Forbidden{{Text: sandbox.WorkDir, Reason: "build directory"}}
}

func (r *build) tests() []audit.Test {
	var tests []audit.Test
	for _, module := range r.recipe.Test.Imports {
		tests = append(tests, audit.Test{Kind: audit.KindImport, Args: []string{module}})
	}
	for _, command := range r.recipe.Test.Commands {
		tests = append(tests, audit.Test{Kind: audit.KindCommand, Args: command})
	}
	return tests
}

// target is one runtime target while the tree is tried in it.
type target struct {
	r     *build
	name  string
	place string
	log   *buildlog.Log
	tests []audit.Test
	// testTime bounds one test.
	testTime time.Duration
	// runtimes are the files of the tree that define a Python runtime.
	runtimes map[string]bool

	base    sandbox.Image
	root    *tree.Tree
	loads   []audit.LoadReport
	reports []audit.TestReport
}

// prepare makes the target's base and reads its file system.
func (t *target) prepare(ctx context.Context) (io.Closer, error) {
	var err error
	if t.base, err = t.r.images.Base(ctx, t.r.lock.Targets[t.name]); err != nil {
		return nil, err
	}
	root, closer, err := layers.RootFS(ctx, t.r.b.Store, t.base)
	t.root = root
	return closer, err
}

func (t *target) description() audit.Target {
	d := audit.Target{Name: t.name, Root: t.root}
	if vm := t.r.recipe.Runtime.VM; t.name == "vm" && vm != nil {
		d.Host, d.Glibc, d.CPU = vm.Host, vm.Glibc, vm.CPU
	}
	return d
}

// run lays the tree on the base, in a fresh sandbox without anything else, and
// loads and tests it there.
func (t *target) run(ctx context.Context, sealed *tree.Tree, modules []audit.Module) (err error) {
	task := progress.Start(ctx, "gate", "target "+t.name)
	defer func() { task.End(err) }()
	layer, err := layers.Save(ctx, t.r.b.Store, sealed, t.place)
	if err != nil {
		return err
	}
	image, err := t.r.sandboxes.Images.Load(ctx, sandbox.Config{Architecture: "amd64"}, t.base.With(layer).Layers...)
	if err != nil {
		return err
	}
	start := func() (sandbox.Sandbox, error) {
		return t.r.sandboxes.Runner.Start(ctx, sandbox.Spec{Image: image, Name: "gate-" + t.name})
	}
	sb, err := start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sb.Close()) }()
	if err := t.load(ctx, sb, sealed, modules); err != nil {
		return err
	}
	for i, test := range t.tests {
		task.Advance(int64(i), int64(len(t.tests)), progress.Items)
		late, err := t.test(ctx, sb, test)
		if err != nil {
			return err
		}
		if late && i+1 < len(t.tests) {
			// The sandbox went with the test.
			next, err := start()
			if err != nil {
				return err
			}
			if err := sb.Close(); err != nil {
				return errors.Join(err, next.Close())
			}
			sb = next
		}
	}
	return nil
}

func (t *target) python() string {
	return path.Join("/", t.place, "bin", path.Base(t.r.python()))
}

// loadAnswer is one line of load.py.
type loadAnswer struct {
	Kind, Module, File, Error string
	OK                        bool
	Mapped                    []string
	// Imported are the files of the tree that modules came from, Missed the modules
	// that were looked for and are nowhere.
	Imported, Missed []string
}

// load loads the modules of which nothing is remembered that still holds.
func (t *target) load(ctx context.Context, sb sandbox.Sandbox, sealed *tree.Tree, modules []audit.Module) error {
	memory := t.remember(sealed)
	var wanted []audit.Module
	for _, m := range modules {
		report, ok, err := memory.recall(m)
		switch {
		case err != nil:
			return err
		case ok:
			t.loads = append(t.loads, report)
		default:
			wanted = append(wanted, m)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	answers, err := t.loadAll(ctx, sb, wanted)
	if err != nil {
		return err
	}
	for _, a := range answers {
		report := t.loadReport(a, sealed)
		t.loads = append(t.loads, report)
		if err := memory.note(a, report, wanted); err != nil {
			return err
		}
	}
	return memory.save()
}

// loadAll has modules loaded in the target.
func (t *target) loadAll(ctx context.Context, sb sandbox.Sandbox, modules []audit.Module) ([]loadAnswer, error) {
	wanted, err := json.Marshal(modules)
	if err != nil {
		return nil, err
	}
	files, err := tree.New([]tree.Entry{tree.FileEntry("load.py", 0o644, loadScript), tree.FileEntry("modules.json", 0o644, wanted)})
	if err != nil {
		return nil, err
	}
	if err := sandbox.ImportTree(ctx, sb, gateDir, files); err != nil {
		return nil, err
	}
	step := sandbox.Step{
		Args:   []string{"/bin/sh", "-c", `exec "$1" -I "$2/load.py" "$3" < "$2/modules.json"`, "sh", t.python(), gateDir, path.Join("/", t.place)},
		Env:    []string{"LD_BIND_NOW=1"},
		Stderr: t.log,
	}
	out, err := sandbox.Output(ctx, sb, step, maxReport)
	if err != nil {
		return nil, fmt.Errorf("loading modules: %w", err)
	}
	var answers []loadAnswer
	for line := range bytes.Lines(out) {
		var a loadAnswer
		if err := json.Unmarshal(line, &a); err != nil {
			return nil, fmt.Errorf("reading what loading modules told: %w", err)
		}
		answers = append(answers, a)
	}
	return answers, nil
}

// loadReport judges nothing: it says which mapped files are neither the tree's nor
// the target's, and counts the Python runtimes among them.
func (t *target) loadReport(a loadAnswer, sealed *tree.Tree) audit.LoadReport {
	report := audit.LoadReport{Target: t.name, Kind: a.Kind, Module: a.Module, File: a.File, OK: a.OK, Error: a.Error}
	for _, mapped := range a.Mapped {
		inTree, found := strings.CutPrefix(mapped, path.Join("/", t.place)+"/")
		if found {
			if e, ok := sealed.Resolve(inTree); ok {
				if t.runtimes[e.Path] {
					report.Runtimes++
				}
				continue
			}
		}
		if audit.IsLibpython(path.Base(mapped)) {
			report.Runtimes++
		}
		if _, ok := t.root.Resolve(strings.TrimPrefix(mapped, "/")); !ok {
			report.Maps = append(report.Maps, mapped)
		}
	}
	return report
}

// test runs one of the recipe's tests: an environment with nothing but PATH and HOME.
// One that takes too long has failed, and is late: its sandbox is gone.
func (t *target) test(ctx context.Context, sb sandbox.Sandbox, test audit.Test) (late bool, err error) {
	args := test.Args
	if test.Kind == audit.KindImport {
		args = []string{t.python(), "-I", "-c", "import importlib, sys; importlib.import_module(sys.argv[1])", test.Args[0]}
	}
	tooLong := fmt.Errorf("not done after %s", t.testTime)
	bounded, cancel := context.WithTimeoutCause(ctx, t.testTime, tooLong)
	defer cancel()
	var out tail
	both := io.MultiWriter(&out, t.log)
	err = sb.Exec(bounded, sandbox.Step{
		Args:   args,
		Env:    []string{"PATH=" + path.Join("/", t.place, "bin") + ":/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8"},
		Dir:    "/tmp",
		Stdout: both, Stderr: both,
	})
	report := audit.TestReport{Target: t.name, Kind: test.Kind, Args: test.Args}
	var exit *sandbox.ExitError
	switch {
	case errors.As(err, &exit):
		report.Code = exit.Code
	case errors.Is(err, tooLong):
		late, report.Code = true, lateCode
		fmt.Fprintf(both, "\n%v\n", tooLong)
	case err != nil:
		return false, err
	}
	report.Output = out.String()
	t.reports = append(t.reports, report)
	return late, nil
}

// tail keeps the end of what is written to it.
type tail struct{ data []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if len(t.data) > maxOutput {
		t.data = slices.Clone(t.data[len(t.data)-maxOutput:])
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.data) }
