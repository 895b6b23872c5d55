// Package locking makes the lock of a recipe: the only code that may choose a
// version.
//
// It has two phases. First base, packages and CPython's source are locked, and the
// interpreter is built, under its own key, so that the build finds it there. Then
// uv resolves the requirements as that interpreter would install them, and each
// sdist's build requirements are resolved in turn, dynamic ones as its own backend
// names them. Code of an sdist runs in sealed sandboxes alone: what uv needs to
// know of it is computed there and handed to uv as data.
package locking

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"ampoule/builder/buildlog"
	"ampoule/builder/cpython"
	"ampoule/builder/fetch"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/toolchain"
	"ampoule/builder/wheels"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/store"
)

// Options say what may move.
type Options struct {
	// Previous is the lock whose pins are kept where they still satisfy the recipe; may be nil.
	Previous *recipes.Lock
	// Upgrade lets every pin move.
	Upgrade bool
	// UpgradeNames lets the pins of these distributions and Debian packages move.
	UpgradeNames []string
}

// moves says whether the pin of a name may move.
func (o Options) moves(name string) bool {
	return o.Upgrade || slices.Contains(o.UpgradeNames, name)
}

// Locker makes locks.
type Locker struct {
	Store  *store.Store
	Fetch  *fetch.Fetcher
	Runner sandbox.Runner
	Images sandbox.Images
	Online sandbox.Online
	Bases  toolchain.Bases
	// Prefix is where interpreters are installed, without the leading slash.
	Prefix   string
	Platform string
	// Resolver is what resolution may take of this machine.
	Resolver Online
	Jobs     int
	// Logs is the directory for the logs.
	Logs string
}

// Lock makes the lock of a recipe.
func (l *Locker) Lock(ctx context.Context, r *recipes.Recipe, reqs *recipes.RequirementSet, opts Options) (_ *recipes.Lock, err error) {
	lock := &recipes.Lock{APIVersion: recipes.APIVersion, Answers: recipes.MakeAnswers(r, reqs)}
	if opts.Previous == nil {
		opts.Previous = &recipes.Lock{}
	}
	log, err := buildlog.Open(l.Logs, "lock")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	d := &debianLocker{l: l, recipe: r, lock: lock, opts: opts, log: log}
	defer func() { err = errors.Join(err, d.close()) }()
	// What was begun and is not needed any more need not end.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := d.run(ctx); err != nil {
		return nil, err
	}
	if err := l.lockPython(ctx, r, lock, opts); err != nil {
		return nil, err
	}
	if len(reqs.Requirements) > 0 {
		d.foresee(ctx)
		p := &distLocker{l: l, recipe: r, reqs: reqs, lock: lock, opts: opts, log: log, debian: d}
		if err := p.run(ctx); err != nil {
			return nil, err
		}
	}
	if err := unusedPackages(r, lock); err != nil {
		return nil, err
	}
	if err := lock.Check(); err != nil {
		return nil, fmt.Errorf("checking the new lock: %w", err)
	}
	return lock, nil
}

// unknownPython says that nobody told the hash of a CPython release.
func unknownPython(version string) error {
	return faults.New(faults.Input, "write the sha256 of Python-"+version+".tar.xz, as its release page gives it, into python.sha256",
		"locking CPython %s: its source archive's sha256 is not known", version)
}

func (l *Locker) lockPython(ctx context.Context, r *recipes.Recipe, lock *recipes.Lock, opts Options) error {
	version := r.Python.Version
	release, known := recipes.KnownPython(version)
	lock.Python = recipes.LockedPython{Version: version, File: "Python-" + version + ".tar.xz", SHA256: r.Python.SHA256}
	switch previous := opts.Previous.Python; {
	case known && (r.Python.SHA256 == "" || r.Python.SHA256 == release.SHA256):
		lock.Python.File, lock.Python.SHA256 = release.File, release.SHA256
	case r.Python.SHA256 != "":
	case previous.Version == version:
		lock.Python.File, lock.Python.SHA256 = previous.File, previous.SHA256
	default:
		return unknownPython(version)
	}
	if known {
		return nil
	}
	if err := l.Fetch.Fetch(ctx, PythonItem(lock.Python)); err != nil {
		return err
	}
	configure, err := readConfigure(l.Store, lock.Python)
	if err != nil {
		return err
	}
	lock.Python.Flags = recipes.ExtractFlags(configure)
	if faults := recipes.CheckFlags(r, lock.Python.Flags); len(faults) > 0 {
		return faults
	}
	return nil
}

// PythonItem returns what is fetched for CPython's source.
func PythonItem(p recipes.LockedPython) fetch.Item {
	return fetch.Item{Source: "cpython", Name: "cpython", Version: p.Version, File: p.File, SHA256: p.SHA256}
}

// Flags returns the configure flags that a locked CPython knows.
func Flags(p recipes.LockedPython) []string {
	if release, ok := recipes.KnownPython(p.Version); ok {
		return release.Flags
	}
	return p.Flags
}

// Interpreter builds the interpreter of a lock, or finds it, and returns the image
// that has it on its toolchain.
func Interpreter(ctx context.Context, stage *cpython.Stage, f wheels.Fetcher, r *recipes.Recipe, lock *recipes.Lock, prefix string, tools sandbox.Image) (*cpython.Interpreter, error) {
	if err := f.Fetch(ctx, PythonItem(lock.Python)); err != nil {
		return nil, err
	}
	built, err := stage.Build(ctx, cpython.Spec{
		Version: lock.Python.Version, Source: lock.Python.SHA256, Configure: r.Python.Configure,
		Knows: Flags(lock.Python), Prefix: prefix, Toolchain: tools,
	})
	if err != nil {
		return nil, err
	}
	return built, built.CheckModules(r.Python.Optional)
}

// PythonPath returns the interpreter's path: /opt/ampoule/bin/python3.13.
func PythonPath(prefix, version string) string {
	return path.Join("/", prefix, "bin", "python"+cpython.MinorVersion(version))
}

// unusedPackages tells of entries under packages for what nothing builds: they would
// do nothing.
func unusedPackages(r *recipes.Recipe, lock *recipes.Lock) error {
	var faults recipes.Faults
	for _, name := range sortedKeys(r.Packages) {
		built := func(d recipes.Dist) bool { return d.Name == name && d.Build != nil }
		if !slices.ContainsFunc(lock.Dists, built) {
			faults = append(faults, r.Fault(
				fmt.Sprintf("packages.%s says how %s is built, and nothing builds it", name, name),
				"remove it, or require "+name, "packages", name))
		}
	}
	return faults.Err()
}

// distLocker locks sdists and wheels.
type distLocker struct {
	l      *Locker
	recipe *recipes.Recipe
	reqs   *recipes.RequirementSet
	lock   *recipes.Lock
	opts   Options
	log    *buildlog.Log
	debian *debianLocker
	// roots are the names of what is installed into the tree, once that is known.
	roots    map[string]bool
	resolver *resolver
	house    *wheels.House
	stage    *wheels.Stage
	dists    map[string]recipes.Dist
	// locking holds the sdists whose build requirements are being locked, outermost first.
	locking []string
}

func (p *distLocker) run(ctx context.Context) (err error) {
	if err := p.prepare(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.resolver.sb.Close()) }()
	task := progress.Start(ctx, "lock", "requirements")
	defer func() { task.End(err) }()
	if err := p.lockDists(ctx); err != nil {
		return err
	}
	p.debian.prune()
	p.tell(ctx)
	return nil
}

// lockDists resolves the requirements, and all that building what they take takes.
func (p *distLocker) lockDists(ctx context.Context) error {
	if err := p.recall(ctx); err != nil {
		return err
	}
	releases, err := p.resolve(ctx, p.rootQuery(), nil)
	if err != nil {
		return p.placed(err)
	}
	for _, r := range releases {
		p.roots[r.name] = true
	}
	if err := p.checkYanked(ctx, releases); err != nil {
		return err
	}
	if err := p.checkHashes(releases); err != nil {
		return err
	}
	ids, err := p.add(ctx, releases, false)
	if err != nil {
		return err
	}
	p.lock.Requirements = ids
	for _, id := range sortedKeys(p.dists) {
		p.lock.Dists = append(p.lock.Dists, p.dists[id])
	}
	p.prune()
	return nil
}

// tell says which overrides were applied, and why.
func (p *distLocker) tell(ctx context.Context) {
	for _, d := range p.lock.Dists {
		if d.Build == nil {
			continue
		}
		for _, o := range d.Build.Overrides {
			progress.Send(ctx, progress.Event{
				Kind: progress.Told, Stage: "lock",
				Message: fmt.Sprintf("%s: %s (override %s, revision %s)", d.ID(), o.Why, o.Name, o.Revision),
			})
		}
	}
}

// prune leaves out dists that only an earlier round of resolution needed.
func (p *distLocker) prune() {
	used := map[string]bool{}
	var use func(ids []string)
	use = func(ids []string) {
		for _, id := range ids {
			if !used[id] {
				used[id] = true
				if d := p.dists[id]; d.Build != nil {
					use(d.Build.Dists)
				}
			}
		}
	}
	use(p.lock.Requirements)
	p.lock.Dists = slices.DeleteFunc(p.lock.Dists, func(d recipes.Dist) bool { return !used[d.ID()] })
}

// prepare builds the interpreter and starts the container that uv runs in.
func (p *distLocker) prepare(ctx context.Context) error {
	l := p.l
	images := &toolchain.Locked{
		Stage: toolchain.New(l.Store, l.Fetch, l.Runner, l.Images),
		Bases: l.Bases, Lock: p.lock, Platform: l.Platform, Log: p.log,
	}
	tools, err := images.Toolchain(ctx)
	if err != nil {
		return err
	}
	stage := &cpython.Stage{Store: l.Store, Runner: l.Runner, Images: l.Images, Jobs: l.Jobs, Logs: l.Logs, Recipe: p.recipe.Name}
	interpreter, err := Interpreter(ctx, stage, l.Fetch, p.recipe, p.lock, l.Prefix, tools)
	if err != nil {
		return err
	}
	p.dists, p.roots = map[string]recipes.Dist{}, map[string]bool{}
	python := PythonPath(l.Prefix, p.lock.Python.Version)
	p.stage = &wheels.Stage{
		Store: l.Store, Runner: l.Runner, Images: l.Images, Jobs: l.Jobs, Logs: l.Logs, Recipe: p.recipe.Name, Suite: p.lock.Base.Suite,
	}
	own := &WheelImages{Locked: images, Tools: tools, Interpreter: interpreter.Layer, Dists: p.find}
	p.house = wheels.NewHouse(p.stage, l.Fetch, python, l.Jobs, own.For)
	base, err := images.Base(ctx, p.lock.Base)
	if err != nil {
		return err
	}
	return p.startResolver(ctx, base, tools.With(interpreter.Layer), python)
}

func (p *distLocker) startResolver(ctx context.Context, base, full sandbox.Image, python string) error {
	l := p.l
	if err := l.Fetch.Fetch(ctx, uvWheel); err != nil {
		return err
	}
	uv, err := uvLayer(ctx, l.Store)
	if err != nil {
		return err
	}
	key := resolverKey(full, python, uvWheel.SHA256, tapScript)
	var interpreter []byte
	known, err := l.Store.Lookup("resolver-python", key, &interpreter)
	if err != nil {
		return err
	}
	if !known {
		withPython, err := l.Images.Load(ctx, full.Config, full.With(uv).Layers...)
		if err != nil {
			return err
		}
		if interpreter, err = askInterpreter(ctx, l.Runner, withPython, python, p.log); err != nil {
			return p.log.Fail("the resolver's view of the interpreter", err)
		}
		if err := l.Store.Record("resolver-python", key, interpreter); err != nil {
			return err
		}
	}
	bare, err := l.Images.Load(ctx, base.Config, base.With(uv).Layers...)
	if err != nil {
		return err
	}
	p.resolver, err = startResolver(ctx, l.Online, bare, l.Resolver, interpreter, p.log)
	return err
}

// WheelImages makes the images that sdists are built in, each once: the toolchain,
// packages, the interpreter on top.
type WheelImages struct {
	Locked      *toolchain.Locked
	Tools       sandbox.Image
	Interpreter sandbox.Layer
	Dists       wheels.Dists

	// made holds each image, by its packages.
	made sync.Map
}

// For returns the image that an sdist is built in. It has the packages of the sdist
// and those of what the build imports: numpy loads its BLAS wherever it is needed.
func (w *WheelImages) For(ctx context.Context, sdist recipes.Dist) (sandbox.Image, error) {
	var packages []string
	if sdist.Build != nil {
		packages = slices.Clone(sdist.Build.Packages)
		for _, id := range sdist.Build.Dists {
			if need, ok := w.Dists(id); ok && need.Build != nil {
				packages = append(packages, need.Build.Packages...)
			}
		}
	}
	slices.Sort(packages)
	packages = slices.Compact(packages)
	made, _ := w.made.LoadOrStore(strings.Join(packages, " "), newShared[sandbox.Image]())
	return made.(*shared[sandbox.Image]).get(ctx, func() (sandbox.Image, error) {
		image, err := w.Locked.WithExtras(ctx, w.Tools, packages)
		return image.With(w.Interpreter), err
	})
}
