package builder

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ampoule/audit"
	"ampoule/builder/buildlog"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/stub"
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

	base sandbox.Image
	// root is the base's file system.
	root *tree.Tree
	// host is the layer with what stands for the machine's libraries, if it has any.
	host    []sandbox.Layer
	loads   []audit.LoadReport
	reports []audit.TestReport
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
func (t *target) run(ctx context.Context, open *layers.Opened, sealed *tree.Tree, modules []audit.Module) (err error) {
	task := progress.Start(ctx, "gate", "target "+t.name)
	defer func() { task.End(err) }()
	var image sandbox.ID
	both, loading := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		image, err = t.image(loading, sealed)
		return err
	})
	both.Go(func() (err error) {
		t.root, err = open.RootFS(loading, t.base)
		return err
	})
	if err := both.Wait(); err != nil {
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

// image lays the tree on the base, in a few layers. Which of them is laid
// first makes no difference: no two have a file in common. Those that the last image of
// this kind had are laid as they were laid there, so that the engine, which knows a layer
// by all that is below it, need not unpack them again.
func (t *target) image(ctx context.Context, sealed *tree.Tree) (sandbox.ID, error) {
	st := t.r.b.Store
	parts, err := layers.SaveParts(ctx, st, layers.SplitCoarsely(sealed), t.place)
	if err != nil {
		return "", err
	}
	wanted := make([]sandbox.Layer, len(parts))
	for i, part := range parts {
		wanted[i] = part.Layer
	}
	key := layers.Key(orderKind, 1, map[string]any{"place": t.place, "base": layers.DiffIDs(t.base), "interpreter": t.r.interpreter.Layer.DiffID})
	var last []string
	if _, err := st.Lookup(orderKind, key, &last); err != nil {
		return "", err
	}
	image := t.base.With(inOrder(wanted, last)...)
	if t.host, err = t.hostLayer(ctx, sealed); err != nil {
		return "", err
	}
	id, err := t.r.sandboxes.Images.Load(ctx, sandbox.Config{Architecture: "amd64"}, image.With(t.host...).Layers...)
	if err != nil {
		return "", err
	}
	return id, st.Record(orderKind, key, layers.DiffIDs(image)[len(t.base.Layers):])
}

// librariesDir is where Debian's loader looks for libraries without being told (ld.so(8)).
const librariesDir = "usr/lib/x86_64-linux-gnu"

// hostLayer has libraries in the place of those that the target's machines provide: what
// needs them can be loaded with them, though nothing of theirs can be called.
func (t *target) hostLayer(ctx context.Context, sealed *tree.Tree) ([]sandbox.Layer, error) {
	wanted, err := audit.HostSymbols(sealed, t.description().Host)
	if err != nil || len(wanted) == 0 {
		return nil, err
	}
	var files []tree.Entry
	for soname, symbols := range wanted {
		files = append(files, tree.FileEntry(soname, 0o644, stub.Library(soname, symbols)))
	}
	libraries, err := tree.New(files)
	if err != nil {
		return nil, err
	}
	layer, err := layers.Save(ctx, t.r.b.Store, libraries, librariesDir)
	return []sandbox.Layer{layer}, err
}

// orderKind is the store's kind of records that say in which order a target's image had
// its layers.
const orderKind = "gate-order"

// inOrder puts the layers first that begin another order, as far as that has no others.
func inOrder(wanted []sandbox.Layer, order []string) []sandbox.Layer {
	var first []sandbox.Layer
	rest := slices.Clone(wanted)
	for _, id := range order {
		i := slices.IndexFunc(rest, func(l sandbox.Layer) bool { return l.DiffID == id })
		if i < 0 {
			break
		}
		first = append(first, rest[i])
		rest = slices.Delete(rest, i, i+1)
	}
	return append(first, rest...)
}

func (t *target) python() string {
	return path.Join("/", t.place, "bin", path.Base(t.r.python()))
}

// loadAnswer is one line of load.py.
type loadAnswer struct {
	Kind, Module, File, Error string
	// Behind are the modules that were imported before it.
	Behind []string
	OK     bool
	Mapped []string
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
		Env:    append(t.environ(), "LD_BIND_NOW=1"),
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
	report := audit.LoadReport{Target: t.name, Kind: a.Kind, Module: a.Module, File: a.File, Behind: a.Behind, OK: a.OK, Error: a.Error}
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

// environ is all that is in the environment: what every user of a machine has. Some
// modules cannot be imported where there is no home.
func (t *target) environ() []string {
	return []string{"PATH=" + path.Join("/", t.place, "bin") + ":/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8"}
}

// test runs one of the recipe's tests. One that takes too long has failed, and is late:
// its sandbox is gone.
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
		Env:    t.environ(),
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
