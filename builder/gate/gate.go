// Package gate judges a sealed tree: it tries the tree in runtime targets, where it loads the
// extension modules and runs the recipe's tests, and has package audit judge what that
// showed, with what can be read of the tree. It is given values, and knows nothing of the
// build that made them.
//
// What is tried may be hostile, and nothing of it testifies for anything else:
//
//   - The interpreter is started with -I and -S, so that no code of the tree runs before the
//     gate's own: neither .pth files nor sitecustomize. Startup code that the recipe accepts runs
//     in a second round, and whatever passes must pass without it, too.
//   - Each distribution's modules are loaded in a sandbox in which nothing has run but what it
//     requires. The recipe's commands, which may build on one another, run in another one, in
//     their order. Imports that decide warnings alone share a sandbox.
//   - A distribution is shown nothing of others but what it requires, so that what is
//     remembered of a load was decided by files that are part of the record's key alone.
//   - Processes are started, timed and ended from here. An answer counts for the module that was
//     asked about, once; what ends without one has failed.
package gate

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ampoule/audit"
	"ampoule/builder/buildlog"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/stub"
	"ampoule/store"
	"ampoule/tree"
)

// patience is how long one test, or one attempt to load a module, may take.
const patience = 10 * time.Minute

// Stage tries trees. Its fields are set once, before the first call.
type Stage struct {
	Store  *store.Store
	Runner sandbox.Runner
	Images sandbox.Images
	// Jobs is how many sandboxes run at once.
	Jobs int
	// Log gets what tests and the interpreter print.
	Log *buildlog.Log
	// Laid is called once, when a tree that is tried is laid on all its targets: what follows is
	// mostly waiting for sandboxes. It may be nil.
	Laid func()

	// patience is how long one attempt may take; 0 is the constant of that name.
	patience time.Duration
}

// Subject is what is tried.
type Subject struct {
	// Tree is the sealed tree, Interpreter the executable's path in it.
	Tree        *tree.Tree
	Interpreter string
	// Tests are the recipe's; commands run in this order.
	Tests []audit.Test
	// Exceptions are the recipe's: with Now, they decide which startup code is accepted.
	Exceptions []audit.Exception
	Now        time.Time
}

// Target is a runtime target.
type Target struct {
	// Name is its name in the recipe, Place the directory that has the tree there, without
	// the leading slash.
	Name, Place string
	Base        sandbox.Image
	// Root is the base's file system.
	Root *tree.Tree
	// Host are the sonames of libraries that the target's machines provide.
	Host []string
	// Glibc is the oldest glibc that the tree must run with there, CPU the lowest x86-64
	// level; empty when nothing is claimed.
	Glibc, CPU string
}

// Result is what trying a tree in one target showed.
type Result struct {
	Loads []audit.LoadReport
	Tests []audit.TestReport
}

// subject is a Subject with what all targets need of it.
type subject struct {
	Subject
	modules  []audit.Module
	tops     []audit.TopLevel
	requires map[string][]string
	// startups take part in the start of the interpreter; accepted says that all of them may.
	startups []audit.Startup
	accepted bool
	// runtimes are the files of the tree that define a Python runtime.
	runtimes map[string]bool
	parts    parts
}

func newSubject(s Subject) (*subject, error) {
	sub := &subject{Subject: s}
	var err error
	if sub.modules, err = audit.Loadable(s.Tree, s.Interpreter); err != nil {
		return nil, err
	}
	if sub.tops, err = audit.TopLevels(s.Tree, s.Interpreter); err != nil {
		return nil, err
	}
	if sub.requires, err = audit.Requires(s.Tree, s.Interpreter); err != nil {
		return nil, err
	}
	if sub.startups, err = audit.Startups(s.Tree, s.Interpreter); err != nil {
		return nil, err
	}
	sub.accepted = len(sub.startups) > 0 && audit.StartupAccepted(sub.startups, s.Exceptions, s.Now)
	if sub.runtimes, err = audit.Runtimes(s.Tree); err != nil {
		return nil, err
	}
	sub.parts = partsOf(s.Tree, SitePackages(s.Tree, path.Base(s.Interpreter)))
	return sub, nil
}

// SitePackages is where a tree has its distributions, with a slash at its end; python is the
// interpreter's name, such as python3.13. The standard library of a
// free-threaded build has a t in its name (PEP 703).
func SitePackages(t *tree.Tree, python string) string {
	lib := "lib/" + python
	if _, ok := t.Lookup(lib + "t"); ok {
		lib += "t"
	}
	return lib + "/site-packages/"
}

// starting are the files that take part in the start of the interpreter.
func (s *subject) starting() map[string]bool {
	files := make(map[string]bool, len(s.startups))
	for _, f := range s.startups {
		files[f.File] = true
	}
	return files
}

// Try tries a tree in all targets at once, and gives the results in their order.
func (s *Stage) Try(ctx context.Context, what Subject, targets []Target) ([]Result, error) {
	sub, err := newSubject(what)
	if err != nil {
		return nil, err
	}
	places := make(chan struct{}, 2*max(1, s.Jobs))
	var laying sync.WaitGroup
	laying.Add(len(targets))
	group, trying := errgroup.WithContext(ctx)
	if s.Laid != nil {
		group.Go(func() error {
			laying.Wait()
			s.Laid()
			return nil
		})
	}
	results := make([]Result, len(targets))
	for i, target := range targets {
		group.Go(func() error {
			t := &trial{stage: s, sub: sub, Target: target, places: places, laid: sync.OnceFunc(laying.Done)}
			defer t.laid()
			err := t.run(trying)
			results[i] = t.result
			return s.Log.Fail("the gate of target "+target.Name, err)
		})
	}
	return results, group.Wait()
}

// trial is a tree while it is tried in one target.
type trial struct {
	Target
	stage *Stage
	sub   *subject
	// places bounds the sandboxes that run at once, in all targets.
	places chan struct{}
	// laid is called when the tree is on the target's base.
	laid func()
	// closing are sandboxes that are being removed.
	closing errgroup.Group
	// host is the layer with what stands for the machine's libraries, if it has any.
	host []sandbox.Layer

	mu     sync.Mutex
	result Result
	task   *progress.Task
	// done of all sandboxes' work has ended.
	done, all int64
}

// round is a part of a trial: without startup code, or with it.
type round struct {
	*trial
	startup bool
	image   sandbox.ID
}

// left are the files of the tree that are left out: without startup code, what has some.
func (r *round) left() map[string]bool {
	if r.startup {
		return nil
	}
	return r.sub.starting()
}

// what is the tree as it is tried.
func (r *round) what() *tree.Tree {
	left := r.left()
	if len(left) == 0 {
		return r.sub.Tree
	}
	return r.sub.Tree.Select(func(e tree.Entry) bool { return !left[e.Path] })
}

// run lays the tree on the base, and loads and tests it there in fresh sandboxes. Where
// startup code is accepted, all is done a second time, with that code.
func (t *trial) run(ctx context.Context) (err error) {
	t.task = progress.Start(ctx, progress.StageGate, "target "+t.Name)
	defer func() { t.task.End(err) }()
	if t.host, err = t.stage.hostLayer(ctx, t.sub.Tree, t.Host); err != nil {
		return err
	}
	modes := []bool{false}
	if t.sub.accepted {
		modes = append(modes, true)
	}
	rounds := make([]*round, len(modes))
	for i, startup := range modes {
		r := &round{trial: t, startup: startup}
		if r.image, err = t.image(ctx, r.what()); err != nil {
			return err
		}
		rounds[i] = r
	}
	t.laid()
	group, trying := errgroup.WithContext(ctx)
	for _, r := range rounds {
		for _, chain := range chains(r.jobs()) {
			t.begin(trying, group, func() error { return r.loadAll(trying, chain) })
		}
		if commands := t.sub.commands(); len(commands) > 0 {
			t.begin(trying, group, func() error { return r.test(trying, commands) })
		}
	}
	err = group.Wait()
	if closed := t.closing.Wait(); err == nil {
		err = closed
	}
	t.result.sort()
	return err
}

// sort gives the reports an order that is not that in which they came.
func (r *Result) sort() {
	slices.SortFunc(r.Loads, func(a, b audit.LoadReport) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File), cmp.Compare(a.Module, b.Module), cmp.Compare(a.Kind, b.Kind),
			slices.Compare(a.Behind, b.Behind), compareBool(a.Startup, b.Startup), compareBool(a.Own, b.Own),
		)
	})
	slices.SortFunc(r.Tests, func(a, b audit.TestReport) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), slices.Compare(a.Args, b.Args), compareBool(a.Startup, b.Startup))
	})
}

// compareBool puts false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// begin does some work when there is a place for its sandbox.
func (t *trial) begin(ctx context.Context, group *errgroup.Group, work func() error) {
	t.mu.Lock()
	t.all++
	t.mu.Unlock()
	group.Go(func() error {
		select {
		case t.places <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		defer func() { <-t.places }()
		err := work()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.done++
		t.task.Advance(t.done, t.all, progress.Items)
		return err
	})
}

// commands are the recipe's tests that run a command; what others import is among the
// modules of its owner.
func (s *subject) commands() []audit.Test {
	return slices.DeleteFunc(slices.Clone(s.Tests), func(t audit.Test) bool { return t.Kind == audit.KindImport })
}

// owned shares the modules out to the distributions that brought them, and with them those
// that the recipe's tests import. The top-level ones of one distribution are one process's.
func (t *trial) owned() map[string][]audit.Module {
	modules := map[string][]audit.Module{}
	for _, m := range t.sub.modules {
		e, _ := t.sub.Tree.Lookup(m.File)
		modules[e.Owner] = append(modules[e.Owner], m)
	}
	for _, test := range t.sub.Tests {
		if test.Kind == audit.KindImport {
			owner := t.sub.parts.owner(test.Args[0])
			modules[owner] = append(modules[owner], audit.Module{Name: test.Args[0]})
		}
	}
	own := map[string][]audit.TopLevel{}
	for _, top := range t.sub.tops {
		own[audit.OwnerWheel+top.Dist] = append(own[audit.OwnerWheel+top.Dist], top)
	}
	for owner, list := range own {
		modules[owner] = append(modules[owner], ownOf(list))
	}
	return modules
}

// python is the interpreter's path in the target.
func (t *trial) python() string { return path.Join("/", t.Place, t.sub.Interpreter) }

// site is where the target has the tree's distributions.
func (t *trial) site() string { return path.Join("/", t.Place, t.sub.parts.site) }

// late is how long one attempt may take.
func (t *trial) late() time.Duration { return cmp.Or(t.stage.patience, patience) }

// image lays a tree on the base, in a few layers. Which of them is laid
// first makes no difference: no two have a file in common. Those that the last image of
// this kind had are laid as they were laid there, so that the engine, which knows a layer
// by all that is below it, need not unpack them again.
func (t *trial) image(ctx context.Context, what *tree.Tree) (sandbox.ID, error) {
	st := t.stage.Store
	wanted, err := layers.SaveParts(ctx, st, progress.StageGate, layers.SplitCoarsely(what), t.Place)
	if err != nil {
		return "", err
	}
	key := layers.Key(orderKind, 2, map[string]any{"place": t.Place, "base": layers.DiffIDs(t.Base), "interpreter": t.sub.parts.of[audit.OwnerInterpreter]})
	var last []string
	if _, err := st.Lookup(orderKind, key, &last); err != nil {
		return "", err
	}
	image := t.Base.With(inOrder(wanted, last)...)
	id, err := t.stage.Images.Load(ctx, sandbox.Config{Architecture: "amd64"}, image.With(t.host...).Layers...)
	if err != nil {
		return "", err
	}
	return id, st.Record(orderKind, key, layers.DiffIDs(image)[len(t.Base.Layers):])
}

// librariesDir is where Debian's loader looks for libraries without being told (ld.so(8)).
const librariesDir = "usr/lib/x86_64-linux-gnu"

// hostLayer has libraries in the place of those that the target's machines provide: what
// needs them can be loaded with them, though nothing of theirs can be called.
func (s *Stage) hostLayer(ctx context.Context, what *tree.Tree, host []string) ([]sandbox.Layer, error) {
	wanted, err := audit.HostSymbols(what, host)
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
	layer, err := layers.Save(ctx, s.Store, libraries, librariesDir)
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

// start starts a sandbox with the tree and nothing else.
func (r *round) start(ctx context.Context) (sandbox.Sandbox, error) {
	return r.stage.Runner.Start(ctx, sandbox.Spec{Image: r.image, Name: "gate-" + r.Name})
}

// environ is all that is in the environment: what every user of a machine has. Some
// modules cannot be imported where there is no home.
func environ(directories ...string) []string {
	return []string{"PATH=" + strings.Join(append(directories, "/usr/bin", "/bin"), ":"), "HOME=/tmp", "LANG=C.UTF-8"}
}
