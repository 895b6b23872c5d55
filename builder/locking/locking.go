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
	"maps"
	"slices"
	"strings"

	"ampoule/builder/buildenv"
	"ampoule/builder/buildlog"
	"ampoule/builder/cpython"
	"ampoule/builder/once"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/wheels"
	"ampoule/packaging"
	"ampoule/recipes"
)

// Options say what may move.
type Options struct {
	// Previous is the lock whose pins are kept where they still satisfy the recipe; may be nil.
	Previous *recipes.Lock
	// Upgrade lets every pin move.
	Upgrade bool
	// UpgradeNames lets the pins of these distributions and Debian packages move.
	UpgradeNames []string
	// App is the recipe's first-party code, in the order of [recipes.App.Dirs].
	App []Code
	// KeepGoing locks what can be locked after the build of a release for the tree cannot,
	// and tells of all such releases in an [*UnlockableError].
	KeepGoing bool
}

// moves reports whether the pin of a name may move.
func (o Options) moves(name string) bool {
	return o.Upgrade || slices.Contains(o.UpgradeNames, name)
}

// Locker makes locks.
type Locker struct {
	buildenv.Resources
	// Prefix is where interpreters are installed, without the leading slash.
	Prefix   string
	Platform string
	// Resolver is what resolution may take of this machine.
	Resolver Online
	// Answers is what apt has answered to other lockers; may be nil.
	Answers *Answers
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
	tellFirstParty(ctx, reqs)
	d := &debianLocker{l: l, recipe: r, lock: lock, opts: opts, log: log}
	defer func() { err = errors.Join(err, d.close()) }()
	// What was begun and is not needed any more need not end.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := l.lockPython(ctx, r, lock, opts); err != nil {
		return nil, err
	}
	if err := l.checkEarly(ctx, r, reqs, opts.Previous); err != nil {
		return nil, err
	}
	if err := d.run(ctx); err != nil {
		return nil, err
	}
	// Before anything is compiled with an update of the compiler.
	if err := buildenv.CheckProfile(ctx, l.Resources, buildenv.Spec{Recipe: r, Lock: lock, Prefix: l.Prefix, Platform: l.Platform}); err != nil {
		return nil, err
	}
	if len(reqs.Requirements)+len(reqs.Groups) > 0 || r.App != nil {
		d.foresee(ctx)
		p := &distLocker{l: l, recipe: r, reqs: reqs, lock: lock, opts: opts, log: log, debian: d}
		if err := p.run(ctx); err != nil {
			return nil, err
		}
	} else if err := d.libraries(ctx); err != nil {
		return nil, err
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
func unknownPython(r *recipes.Recipe) error {
	version := r.Python.Version
	return recipes.Faults{r.Fault(
		fmt.Sprintf("python.version: the sha256 of the source of CPython %s is not known", version),
		"known nearest to it: "+strings.Join(recipes.NearestPythons(version), ", ")+
			"; for this one, write the sha256 of Python-"+version+".tar.xz, as its release page gives it, into python.sha256", "python", "version")}
}

// lockPython locks CPython's source. Of a release whose configure flags are not known it
// fetches the source, and reads them there.
func (l *Locker) lockPython(ctx context.Context, r *recipes.Recipe, lock *recipes.Lock, opts Options) error {
	version := r.Python.Version
	_, known := recipes.KnownPython(version)
	source, published := recipes.KnownSource(version)
	lock.Python = recipes.LockedPython{Version: version, File: "Python-" + version + ".tar.xz", SHA256: r.Python.SHA256}
	switch previous := opts.Previous.Python; {
	case published && (r.Python.SHA256 == "" || r.Python.SHA256 == source.SHA256):
		lock.Python.File, lock.Python.SHA256 = source.File, source.SHA256
	case r.Python.SHA256 != "":
	case previous.Version == version:
		lock.Python.File, lock.Python.SHA256 = previous.File, previous.SHA256
	default:
		return unknownPython(r)
	}
	if known {
		return nil
	}
	if err := l.Fetch.Fetch(ctx, cpython.Item(lock.Python)); err != nil {
		return err
	}
	configure, err := readConfigure(ctx, l.Store, lock.Python)
	if err != nil {
		return err
	}
	lock.Python.Flags = recipes.ExtractFlags(configure)
	if faults := recipes.CheckFlags(r, lock.Python.Flags); len(faults) > 0 {
		return faults
	}
	return nil
}

// unusedPackages tells of entries under packages for what nothing builds, or nothing
// installs: they would do nothing.
func unusedPackages(r *recipes.Recipe, lock *recipes.Lock) error {
	var faults recipes.Faults
	for _, name := range sortedKeys(r.Packages) {
		if r.Packages[name].OnlyExcludes() {
			continue
		}
		only := r.Packages[name].OnlyDropsOverride()
		built := func(d recipes.Dist) bool { return d.Name == name && (d.Build != nil || only) }
		own := func(a recipes.LockedApp) bool { return a.Name == name }
		inGroup := func(g recipes.LockedGroup) bool { return slices.ContainsFunc(g.Dists, built) }
		if !slices.ContainsFunc(lock.Dists, built) && !slices.ContainsFunc(lock.App, own) &&
			!slices.ContainsFunc(slices.Collect(maps.Values(lock.Groups)), inGroup) {
			faults = append(faults, r.Fault(
				fmt.Sprintf("packages.%s says how %s is built, and nothing builds it", name, name),
				"remove it, or require "+name, "packages", name))
		}
	}
	return append(faults, recipes.UselessExcludes(r, lock)...).Err()
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
	roots map[string]bool
	// pins are the versions that the tree has, by name: as far as the requirements and the
	// previous lock say, until roots are known.
	pins     map[string]string
	resolver *resolver
	house    *wheels.House
	stage    *wheels.Stage
	dists    map[string]recipes.Dist
	// stuck tells of releases for the tree that cannot be locked.
	stuck []error
	// locking holds the sdists whose build requirements are being locked, outermost first.
	locking []string
	// own is the recipe's first-party code.
	own []ownProject
	// crates are those that cargo chose, by the sha256 of the sdist.
	crates map[string]crateChoice
}

func (p *distLocker) run(ctx context.Context) (err error) {
	if err := p.prepare(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.resolver.sb.Close()) }()
	if err := p.lockTree(ctx); err != nil {
		return err
	}
	// A group takes what the artifact's own libraries lack.
	if err := p.debian.libraries(ctx); err != nil {
		return err
	}
	return p.lockGroups(ctx)
}

// lockTree locks what is installed into the tree.
func (p *distLocker) lockTree(ctx context.Context) (err error) {
	if len(p.reqs.Requirements) == 0 && p.recipe.App == nil {
		return nil
	}
	task := progress.Start(ctx, progress.StageLock, "requirements")
	defer func() { task.End(err) }()
	if err := p.lockDists(task.Within(ctx)); err != nil {
		return err
	}
	p.debian.prune()
	p.tell(ctx)
	return nil
}

// lockDists resolves the requirements, and all that building what they take takes.
func (p *distLocker) lockDists(ctx context.Context) error {
	p.pins = p.expectedPins()
	if err := p.recall(ctx); err != nil {
		return err
	}
	if err := p.readApp(ctx); err != nil {
		return err
	}
	if err := p.checkRegistries(); err != nil {
		return err
	}
	releases, err := p.resolve(ctx, p.rootQuery(), nil)
	if err != nil {
		return p.placed(err)
	}
	p.settle(releases)
	if err := p.checkSdists(releases); err != nil {
		return err
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
	if len(p.stuck) > 0 {
		return &UnlockableError{p.stuck}
	}
	p.lock.Requirements = ids
	if err := p.lockApp(ctx); err != nil {
		return err
	}
	for _, id := range sortedKeys(p.dists) {
		p.lock.Dists = append(p.lock.Dists, p.dists[id])
	}
	p.prune()
	return nil
}

// tell says which overrides were applied, and why, and what is built with another version
// than the tree has: as far as the previous lock does not say the same.
func (p *distLocker) tell(ctx context.Context) {
	told := func(format string, args ...any) {
		progress.Send(ctx, progress.Event{Kind: progress.Told, Stage: progress.StageLock, Message: fmt.Sprintf(format, args...)})
	}
	for _, d := range p.lock.Dists {
		if d.Build == nil {
			continue
		}
		var before recipes.BuildSet
		if previous, ok := p.opts.Previous.Dist(d.ID()); ok && previous.Build != nil {
			before = *previous.Build
		}
		for _, o := range d.Build.Overrides {
			if !slices.Contains(before.Overrides, o) {
				told("%s: %s (override %s, revision %s)", d.ID(), o.Why, o.Name, o.Revision)
			}
		}
		for _, id := range d.Build.Dists {
			name, version, _ := strings.Cut(id, "==")
			pin, inTree := p.pins[name]
			if !inTree || pin == version || slices.Contains(before.Dists, id) && slices.Contains(p.opts.Previous.Requirements, name+"=="+pin) {
				continue
			}
			told("%s is built with %s %s, and the tree has %s: %s", d.ID(), name, version, pin, wantedBy(*d.Build, name))
		}
	}
}

// wantedBy says which requirement of a build names a distribution.
func wantedBy(set recipes.BuildSet, name string) string {
	for _, spec := range slices.Concat(set.Requires, set.Added, set.Dynamic) {
		if packaging.NormalName(packaging.RequiredName(spec)) == name {
			return "its build requires " + spec
		}
	}
	return "what it is built with wants that"
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
	for _, a := range p.lock.App {
		use(a.Build.Dists)
	}
	p.lock.Dists = slices.DeleteFunc(p.lock.Dists, func(d recipes.Dist) bool { return !used[d.ID()] })
}

// prepare opens the build environment and starts the container that uv runs in.
func (p *distLocker) prepare(ctx context.Context) error {
	env, err := buildenv.Open(ctx, p.l.Resources, buildenv.Spec{
		Recipe: p.recipe, Lock: p.lock, Dists: p.find, Prefix: p.l.Prefix, Platform: p.l.Platform,
	}, p.log)
	if err != nil {
		return err
	}
	p.dists, p.roots, p.crates = map[string]recipes.Dist{}, map[string]bool{}, map[string]crateChoice{}
	p.stage, p.house = env.Stage, env.House
	base, err := env.Base(ctx, p.lock.Base)
	if err != nil {
		return err
	}
	return p.startResolver(ctx, base, env.Image(), env.Python)
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
	interpreter, err := p.askInterpreter(ctx, full, uv, python)
	if err != nil {
		return err
	}
	bare, err := l.Sandboxes.Images.Load(ctx, base.Config, base.With(uv).Layers...)
	if err != nil {
		return err
	}
	private, err := l.Fetch.Sources().Private(ctx)
	if err != nil {
		return err
	}
	if private {
		p.resolver, err = startSealed(ctx, l.Sandboxes.Runner, bare, l.Fetch.Front(), interpreter, p.log)
		return err
	}
	p.resolver, err = startResolver(ctx, l.Sandboxes.Online, bare, l.Resolver, interpreter, p.log)
	return err
}

// askInterpreter returns what the interpreter at a path in an image says to the resolver, which
// uv holds.
func (p *distLocker) askInterpreter(ctx context.Context, full sandbox.Image, uv sandbox.Layer, python string) ([]byte, error) {
	const what = "the resolver's view of the interpreter"
	l := p.l
	key := resolverKey(full, python, uvWheel.SHA256, tapScript)
	task := progress.Later(ctx, progress.StageLock, what)
	told, reused, err := once.Remembered(ctx, l.Store, task, "resolver-python", key, func(ctx context.Context) ([]byte, error) {
		withPython, err := l.Sandboxes.Images.Load(ctx, full.Config, full.With(uv).Layers...)
		if err != nil {
			return nil, err
		}
		told, err := askInterpreter(ctx, l.Sandboxes.Runner, withPython, python, p.log)
		if err != nil {
			return nil, p.log.Fail(what, err)
		}
		return told, nil
	})
	task.Finish(reused, err)
	return told, err
}
