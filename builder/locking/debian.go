package locking

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"ampoule/builder/buildlog"
	"ampoule/builder/fetch"
	"ampoule/builder/layers"
	"ampoule/builder/locking/apt"
	"ampoule/builder/memo"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/toolchain"
	"ampoule/builder/toolchain/debian"
	"ampoule/faults"
	"ampoule/recipes"
)

// debianLocker locks bases, the toolchain and extra packages.
type debianLocker struct {
	l      *Locker
	recipe *recipes.Recipe
	lock   *recipes.Lock
	opts   Options
	log    *buildlog.Log
	// dir is apt's; remove takes it away.
	dir    string
	remove func() error
	// installed is what the toolchain has, the base included.
	installed installed
	// resolvers are opened when they are needed, or will be, by suite.
	resolvers map[string]*memo.Value[*apt.Resolver]
	// opening ends when nothing is being opened ahead of its need.
	opening sync.WaitGroup
	// bases are those that are locked already, by suite: a suite gives one.
	bases map[string]lockedBase
	// debs collects every locked package, by suite and name.
	debs map[string]map[string]recipes.Deb
}

// installed is what is installed somewhere.
type installed struct {
	// key names it.
	key string
	// list lists it. It is asked only when something must be resolved on top of that: it may take
	// apt's package lists, which are downloaded.
	list func(context.Context) ([]debian.Stanza, error)
}

// nothing is installed where a base begins.
var nothing = installed{list: func(context.Context) ([]debian.Stanza, error) { return nil, nil }}

func (d *debianLocker) run(ctx context.Context) (err error) {
	task := progress.Start(ctx, progress.StageLock, "Debian packages")
	defer func() { task.End(err) }()
	d.resolvers, d.debs, d.bases = map[string]*memo.Value[*apt.Resolver]{}, map[string]map[string]recipes.Deb{}, map[string]lockedBase{}
	if d.dir, d.remove, err = d.l.aptDir(); err != nil {
		return err
	}
	if err := d.base(ctx); err != nil {
		return err
	}
	if err := d.checkLibraries(ctx); err != nil {
		return err
	}
	if err := d.targets(ctx); err != nil {
		return err
	}
	d.write()
	return nil
}

// aptDir makes the directory for apt's roots. Where this process is root, apt-get is another
// user, who cannot enter the store.
func (l *Locker) aptDir() (string, func() error, error) {
	if os.Geteuid() != 0 {
		return l.Store.TempDir()
	}
	dir, err := os.MkdirTemp("", "ampoule-apt-")
	if err != nil {
		return "", nil, fmt.Errorf("making apt's directory: %w", err)
	}
	remove := func() error { return os.RemoveAll(dir) }
	if err := os.Chmod(dir, 0o711); err != nil {
		return "", nil, errors.Join(err, remove())
	}
	return dir, remove, nil
}

// close removes what apt left.
func (d *debianLocker) close() error {
	d.opening.Wait()
	if d.remove == nil {
		return nil
	}
	return d.remove()
}

// write puts the packages that are locked so far into the lock.
func (d *debianLocker) write() {
	d.lock.Debian = map[string]recipes.Suite{}
	for suite, debs := range d.debs {
		for _, name := range sortedKeys(debs) {
			d.lock.Debian[suite] = append(d.lock.Debian[suite], debs[name])
		}
	}
}

// prune leaves out packages that only an earlier round of resolution needed.
func (d *debianLocker) prune() {
	own := map[string]map[string]bool{}
	use := func(suite string, names []string) {
		for _, name := range names {
			if own[suite] == nil {
				own[suite] = map[string]bool{}
			}
			own[suite][name] = true
		}
	}
	for _, base := range append(values(d.lock.Targets), d.lock.Base) {
		use(base.Suite, base.Packages)
	}
	use(d.lock.Base.Suite, d.lock.Toolchain)
	if d.lock.Libraries != nil {
		use(d.lock.Base.Suite, d.lock.Libraries.Packages)
	}
	for _, dist := range d.lock.Dists {
		if dist.Build != nil {
			use(d.lock.Base.Suite, dist.Build.Packages)
		}
	}
	for _, app := range d.lock.App {
		if app.Build != nil {
			use(d.lock.Base.Suite, app.Build.Packages)
		}
	}
	for suite, debs := range d.debs {
		maps.DeleteFunc(debs, func(name string, _ recipes.Deb) bool { return !own[suite][name] })
	}
	d.write()
}

// base locks the base and the toolchain on it.
func (d *debianLocker) base(ctx context.Context) error {
	base, below, err := d.lockBase(ctx, d.recipe.Base)
	if err != nil {
		return d.at(err, "base")
	}
	d.lock.Base = base
	previous := d.opts.Previous
	want := slices.Concat(toolchain.Packages(d.recipe.Python, base.Suite), d.recipe.Toolchain.Packages)
	tools, err := d.add(ctx, base.Suite, below, d.previousPins(base.Suite, previous.Toolchain, toolchainPart), want)
	if err != nil {
		return d.atTool(err, base.Suite)
	}
	d.lock.Toolchain = names(tools)
	d.installed = d.with(base.Suite, below, tools)
	return nil
}

// extras locks the packages that are added to the toolchain for one sdist, with
// their closure. What is set says what else than the recipe wants them.
func (d *debianLocker) extras(ctx context.Context, name string, want []string, set recipes.BuildSet) ([]string, error) {
	if len(want) == 0 {
		return nil, nil
	}
	debs, err := d.add(ctx, d.lock.Base.Suite, d.installed, d.previousExtras(name, set), want)
	if err != nil {
		return nil, d.at(err, "packages", name)
	}
	d.write()
	return names(debs), nil
}

// previousExtras returns the pins of what an sdist's own packages were. They answer the
// overrides, too, and whether it is built with cargo: a newer version may be.
func (d *debianLocker) previousExtras(name string, set recipes.BuildSet) pins {
	var previous recipes.BuildSet
	for _, dist := range d.opts.Previous.Dists {
		if dist.Name == name && dist.Build != nil {
			previous = *dist.Build
		}
	}
	kept := d.previousPins(d.lock.Base.Suite, previous.Packages, "packages."+name+".")
	sameRust := usesCargo(previous) == usesCargo(set) && (len(previous.CargoLocks) > 0) == (len(set.CargoLocks) > 0)
	kept.whole = kept.whole && sameRust && slices.Equal(previous.Overrides, set.Overrides)
	return kept
}

// targets locks the base of each runtime target.
func (d *debianLocker) targets(ctx context.Context) error {
	d.lock.Targets = map[string]recipes.LockedBase{}
	if c := d.recipe.Runtime.Container; c != nil {
		base, _, err := d.lockBase(ctx, c.Base)
		if err != nil {
			return d.at(err, "runtime", "container", "base")
		}
		d.lock.Targets["container"] = base
	}
	if vm := d.recipe.Runtime.VM; vm != nil {
		suite, ok := recipes.SuiteWithGlibc(vm.Glibc)
		if !ok {
			return fmt.Errorf("locking the target vm: no suite has glibc %s", vm.Glibc)
		}
		base, _, err := d.lockBase(ctx, recipes.Base{Debian: suite})
		if err != nil {
			return d.at(err, "runtime", "vm", "glibc")
		}
		d.lock.Targets["vm"] = base
	}
	return nil
}

// lockBase locks one base and returns what is installed in it.
func (d *debianLocker) lockBase(ctx context.Context, base recipes.Base) (recipes.LockedBase, installed, error) {
	if base.Image != "" {
		return d.imageBase(ctx, base.Image)
	}
	if made, ok := d.bases[base.Debian]; ok {
		return made.LockedBase, made.installed, nil
	}
	var previous []string
	for _, old := range append([]recipes.LockedBase{d.opts.Previous.Base}, values(d.opts.Previous.Targets)...) {
		if old.Suite == base.Debian && old.Image == "" {
			previous = old.Packages
			break
		}
	}
	debs, err := d.add(ctx, base.Debian, nothing, d.previousPins(base.Debian, previous, ""), nil)
	if err != nil {
		return recipes.LockedBase{}, nothing, err
	}
	made := lockedBase{recipes.LockedBase{Suite: base.Debian, Packages: names(debs)}, d.with(base.Debian, nothing, debs)}
	d.bases[base.Debian] = made
	return made.LockedBase, made.installed, nil
}

// lockedBase is a base that is made of packages.
type lockedBase struct {
	recipes.LockedBase
	installed installed
}

// imageBase reads what an image by digest has installed.
func (d *debianLocker) imageBase(ctx context.Context, ref string) (_ recipes.LockedBase, _ installed, err error) {
	pulled, config, err := d.l.Bases.PullBase(ctx, ref, d.l.Platform)
	if err != nil {
		return recipes.LockedBase{}, nothing, err
	}
	root, closer, err := layers.RootFS(ctx, d.l.Store, sandbox.Image{Config: config, Layers: pulled})
	if err != nil {
		return recipes.LockedBase{}, nothing, err
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	suite, err := toolchain.Suite(root)
	if err != nil {
		return recipes.LockedBase{}, nothing, err
	}
	status, err := toolchain.DpkgStatus(root)
	list := func(context.Context) ([]debian.Stanza, error) { return status, nil }
	return recipes.LockedBase{Image: ref, Suite: suite}, installed{ref + " " + d.l.Platform, list}, err
}

// toolchainPart is the part of the recipe that the toolchain's packages answer.
const toolchainPart = "toolchain.packages"

// pins are packages of the previous lock that stay.
type pins struct {
	debs []recipes.Deb
	// whole says that they answer what is wanted now, and nothing is to resolve.
	whole bool
	// moved are the names of pins that were let go: they are wanted anew.
	moved []string
}

// previousPins returns the previous lock's packages of those names, as far as they fit what
// they are laid on now. They answer the whole of a part of the recipe when neither
// that part nor what is below it changed; a base, which has no part and nothing
// below it, always.
func (d *debianLocker) previousPins(suite string, names []string, part string) pins {
	if d.opts.Upgrade || len(names) == 0 {
		return pins{}
	}
	previous := d.opts.Previous
	debs, err := previous.Debs(suite, names)
	var moved []string
	debs = slices.DeleteFunc(debs, func(deb recipes.Deb) bool {
		if d.opts.moves(deb.Name) {
			moved = append(moved, deb.Name)
		}
		return d.opts.moves(deb.Name)
	})
	switch {
	case err != nil:
		return pins{}
	case part == "":
		return pins{debs: debs, whole: len(moved) == 0, moved: moved}
	case !d.sameBase():
		return pins{}
	}
	same := slices.Equal(answers(d.lock.Answers, part), answers(previous.Answers, part))
	if part != toolchainPart && !slices.Equal(d.lock.Toolchain, previous.Toolchain) {
		same = false
		debs = slices.DeleteFunc(debs, func(deb recipes.Deb) bool { return slices.Contains(d.lock.Toolchain, deb.Name) })
	}
	return pins{debs: debs, whole: same && len(moved) == 0, moved: moved}
}

// sameBase reports whether the base is what it was when the previous lock was made.
func (d *debianLocker) sameBase() bool {
	was, is := d.opts.Previous.Base, d.lock.Base
	if was.Image != is.Image || was.Suite != is.Suite || !slices.Equal(was.Packages, is.Packages) {
		return false
	}
	debs, err := d.opts.Previous.Debs(was.Suite, was.Packages)
	return err == nil && !slices.ContainsFunc(debs, func(deb recipes.Deb) bool { return d.debs[was.Suite][deb.Name] != deb })
}

// answers returns the lines that decide a part of the recipe: its own, and Python's
// version, its compiler and BOLT, which decide what the toolchain has by default.
func answers(a recipes.Answers, part string) []string {
	var lines []string
	for _, line := range a.Recipe {
		if slices.ContainsFunc([]string{part, "python.version", "python.compiler", "python.bolt"}, func(start string) bool { return strings.HasPrefix(line, start) }) {
			lines = append(lines, line)
		}
	}
	return lines
}

// add locks the packages that want takes on top of what is installed: the pins that
// stay, and what they lack.
func (d *debianLocker) add(ctx context.Context, suite string, below installed, kept pins, want []string) ([]recipes.Deb, error) {
	debs := kept.debs
	if !kept.whole {
		var err error
		if debs, err = d.resolve(ctx, suite, below, kept, want); err != nil {
			return nil, err
		}
	}
	for _, deb := range debs {
		if d.debs[suite] == nil {
			d.debs[suite] = map[string]recipes.Deb{}
		}
		if other, ok := d.debs[suite][deb.Name]; ok && other != deb {
			return nil, twoVersions(suite, deb.Name, other.Version, deb.Version)
		}
		d.debs[suite][deb.Name] = deb
	}
	return debs, nil
}

// twoVersions says that two parts of a recipe take one Debian package in two versions.
func twoVersions(suite, name, one, other string) error {
	return faults.New(faults.Input, "ampoule lock --upgrade", "locking %s packages: %s would be needed in versions %s and %s; a lock has one", suite, name, one, other)
}

// resolve finds what is to be laid on what is installed below: the pins, and what they lack of
// what is wanted. It asks apt, unless that has answered the same before.
func (d *debianLocker) resolve(ctx context.Context, suite string, below installed, kept pins, want []string) ([]recipes.Deb, error) {
	return d.l.Answers.get(ctx, suite, question(suite, below, kept, want), func() ([]recipes.Deb, error) {
		return d.ask(ctx, suite, below, kept, want)
	})
}

// ask asks apt.
func (d *debianLocker) ask(ctx context.Context, suite string, below installed, kept pins, want []string) ([]recipes.Deb, error) {
	resolver, err := d.resolver(ctx, suite)
	if err != nil {
		return nil, err
	}
	lower, err := below.list(ctx)
	if err != nil {
		return nil, err
	}
	stanzas, err := resolver.Stanzas(ctx, kept.debs, debFiles{d.l})
	if err != nil {
		return nil, err
	}
	more, err := resolver.Resolve(ctx, slices.Concat(lower, stanzas), slices.Concat(want, kept.moved))
	var change *apt.ChangeError
	if errors.As(err, &change) && len(kept.moved) > 0 {
		// What was let go takes others along: all of this part moves.
		progress.Send(ctx, progress.Event{Kind: progress.Told, Stage: progress.StageLock, Message: "upgrading what depends on " + strings.Join(kept.moved, ", ") + " too"})
		return resolver.Resolve(ctx, lower, want)
	}
	return slices.Concat(kept.debs, more), err
}

// with tells what is installed once debs are, too.
func (d *debianLocker) with(suite string, below installed, debs []recipes.Deb) installed {
	var all []debian.Stanza
	list := func(ctx context.Context) ([]debian.Stanza, error) {
		if all != nil {
			return all, nil
		}
		resolver, err := d.resolver(ctx, suite)
		if err != nil {
			return nil, err
		}
		lower, err := below.list(ctx)
		if err != nil {
			return nil, err
		}
		more, err := resolver.Stanzas(ctx, debs, debFiles{d.l})
		if err != nil {
			return nil, err
		}
		all = slices.Concat(lower, more)
		return all, nil
	}
	return installed{question(suite, below, pins{debs: debs}, nil), list}
}

// resolver opens a suite's resolver, or waits for who does.
func (d *debianLocker) resolver(ctx context.Context, suite string) (*apt.Resolver, error) {
	return d.opened(suite).Get(ctx, func() (*apt.Resolver, error) { return d.openResolver(ctx, suite) })
}

// opened is a suite's resolver, once somebody has opened it.
func (d *debianLocker) opened(suite string) *memo.Value[*apt.Resolver] {
	if d.resolvers[suite] == nil {
		d.resolvers[suite] = memo.New[*apt.Resolver]()
	}
	return d.resolvers[suite]
}

// foresee begins to open the resolver of the base's suite if the recipe names a package
// for a wheel that the last lock does not have: by the time when the wheels are resolved,
// the package lists are there.
func (d *debianLocker) foresee(ctx context.Context) {
	suite := d.lock.Base.Suite
	var named []string
	for _, p := range d.recipe.Packages {
		named = append(named, p.Build...)
	}
	// What another recipe has asked before is likely to answer this one, too.
	if d.l.Answers.has(suite) || !d.isNew(suite, named) {
		return
	}
	opened := d.opened(suite)
	d.opening.Go(func() {
		// Whoever needs it tries again, and tells what fails.
		_, _ = opened.Get(ctx, func() (*apt.Resolver, error) { return d.openResolver(ctx, suite) })
	})
}

// isNew reports whether the last lock lacks one of some packages.
func (d *debianLocker) isNew(suite string, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return !slices.ContainsFunc(d.opts.Previous.Debian[suite], func(deb recipes.Deb) bool { return deb.Name == name })
	})
}

func (d *debianLocker) openResolver(ctx context.Context, suite string) (*apt.Resolver, error) {
	served, err := d.l.Fetch.Sources().Debian(ctx)
	if err != nil {
		return nil, err
	}
	mirrors := apt.Mirrors{Without: d.l.Fetch.Sources().Without(fetch.Debian), Network: d.l.Fetch.Sources().Network()}
	for _, m := range served {
		if m.Security {
			mirrors.Security = append(mirrors.Security, m.URL)
		} else {
			mirrors.Archive = append(mirrors.Archive, m.URL)
		}
	}
	return apt.Open(ctx, filepath.Join(d.dir, suite), suite, mirrors)
}

// at adds where in the recipe a package is written to an error about its name.
func (d *debianLocker) at(err error, path ...string) error {
	var unknown *apt.UnknownError
	if !errors.As(err, &unknown) {
		return err
	}
	return recipes.Faults{d.recipe.Fault(unknown.Error(), unknown.Hint(), path...)}
}

// atTool does so for a package of the toolchain, which may be the compiler's.
func (d *debianLocker) atTool(err error, suite string) error {
	unknown, is := errors.AsType[*apt.UnknownError](err)
	if is && slices.Contains(toolchain.Compiler(d.recipe.Python, suite), unknown.Name) {
		return d.at(err, "python", "compiler")
	}
	return d.at(err, "toolchain", "packages")
}

// debFiles opens locked packages out of the store, fetching them if it must.
type debFiles struct{ l *Locker }

// OpenDeb implements [apt.Debs].
func (f debFiles) OpenDeb(ctx context.Context, deb recipes.Deb) (io.ReadCloser, error) {
	if err := f.l.Fetch.Fetch(ctx, toolchain.Item(deb)); err != nil {
		return nil, err
	}
	return f.l.Store.Open(deb.SHA256)
}

func names(debs []recipes.Deb) []string {
	out := make([]string, len(debs))
	for i, deb := range debs {
		out[i] = deb.Name
	}
	slices.Sort(out)
	return out
}

func values(m map[string]recipes.LockedBase) []recipes.LockedBase {
	var out []recipes.LockedBase
	for _, key := range sortedKeys(m) {
		out = append(out, m[key])
	}
	return out
}
