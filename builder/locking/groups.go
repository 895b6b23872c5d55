package locking

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ampoule/builder/progress"
	"ampoule/recipes"
)

// lockGroups locks each dependency group over what is locked already, which it does not change.
func (p *distLocker) lockGroups(ctx context.Context) error {
	for _, name := range sortedKeys(p.reqs.Groups) {
		section, err := p.lockGroup(ctx, name)
		if err != nil {
			return err
		}
		if p.lock.Groups == nil {
			p.lock.Groups = map[string]recipes.LockedGroup{}
		}
		p.lock.Groups[name] = section
	}
	return nil
}

// lockGroup locks one group: its own dists are those that the artifact does not have.
func (p *distLocker) lockGroup(ctx context.Context, name string) (section recipes.LockedGroup, err error) {
	task := progress.Start(ctx, progress.StageLock, "group "+name)
	defer func() { task.End(err) }()
	g := p.over(name)
	before := p.debian.opts
	p.debian.opts = g.opts
	// What building the group takes is no part of the lock's own packages.
	defer func() {
		p.debian.opts = before
		p.debian.prune()
	}()
	has := p.packages()
	if err := g.checkRegistries(); err != nil {
		return section, err
	}
	if err := g.recall(ctx); err != nil {
		return section, err
	}
	releases, err := g.resolve(task.Within(ctx), p.groupQuery(name, g), nil)
	if err != nil {
		return section, p.placedInGroup(name, g, err)
	}
	releases = slices.DeleteFunc(releases, func(r release) bool { return p.roots[r.name] })
	for _, r := range releases {
		g.roots[r.name] = true
	}
	if err := errors.Join(g.checkSdists(releases), g.checkYanked(ctx, releases), g.checkHashes(releases), p.checkFiles(g, releases)); err != nil {
		return section, err
	}
	section.Answers = recipes.MakeGroupAnswers(g.reqs)
	if section.Requirements, err = g.add(ctx, releases, false); err != nil {
		return section, err
	}
	if len(g.stuck) > 0 {
		return section, &UnlockableError{g.stuck}
	}
	section.Dists = p.beyond(section.Requirements)
	if section.Libraries, err = p.groupLibraries(ctx, name, section.Requirements); err != nil {
		return section, err
	}
	section.Debian = p.packagesBeyond(section, has)
	g.lock.Dists = section.Dists
	g.tell(ctx)
	return section, nil
}

// over is a locker for a group. What it learns of sdists, and the dists that it adds, all share;
// what it locks into is its own.
func (p *distLocker) over(name string) *distLocker {
	g, lock := *p, *p.lock
	lock.Requirements, lock.Dists = nil, nil
	g.lock, g.reqs, g.locking = &lock, p.reqs.Groups[name], nil
	g.opts.Previous = p.opts.Previous.With(name)
	g.roots = maps.Clone(p.roots)
	return &g
}

// groupQuery asks for what a group requires, where the artifact's versions stand.
func (p *distLocker) groupQuery(name string, g *distLocker) query {
	q := g.rootQuery()
	q.prefer = g.prefer(p.opts.Previous.Groups[name].Requirements)
	q.limits = slices.Concat(q.limits, p.lock.Requirements)
	return q
}

// checkFiles refuses a release of which the artifact is built with another file: a lock has one.
func (p *distLocker) checkFiles(g *distLocker, releases []release) error {
	for _, r := range releases {
		d, err := g.choose(r, false)
		if err != nil {
			return err
		}
		if have, ok := p.lock.Dist(d.ID()); ok && have.SHA256 != d.SHA256 {
			return recipes.Faults{g.faultAt(r.name,
				fmt.Sprintf("%s would be laid over the artifact as %s, and the artifact is built with %s", d.ID(), d.File, have.File),
				"require another version in the group, or accept its published wheel under binary.accept")}
		}
	}
	return nil
}

// faultAt is a fault at the requirement of a name, or at the file of requirements.
func (p *distLocker) faultAt(name, what, hint string) recipes.Fault {
	fault := recipes.Fault{File: p.reqs.File, What: what, Hint: hint}
	for _, req := range p.reqs.Requirements {
		if req.Name == name {
			fault.File, fault.Line, fault.Column = req.File, req.Line, req.Column
		}
	}
	return fault
}

// beyond are some dists and all that building them takes, without what the artifact has. They
// come sorted.
func (p *distLocker) beyond(ids []string) []recipes.Dist {
	found := map[string]recipes.Dist{}
	var use func(ids []string)
	use = func(ids []string) {
		for _, id := range ids {
			_, has := p.lock.Dist(id)
			if _, done := found[id]; has || done {
				continue
			}
			d := p.dists[id]
			found[id] = d
			if d.Build != nil {
				use(d.Build.Dists)
			}
		}
	}
	use(ids)
	var dists []recipes.Dist
	for _, id := range sortedKeys(found) {
		dists = append(dists, found[id])
	}
	return dists
}

// packages are the names of the Debian packages of the base's suite that the lock has.
func (p *distLocker) packages() map[string]bool {
	has := map[string]bool{}
	for _, deb := range p.lock.Debian[p.lock.Base.Suite] {
		has[deb.Name] = true
	}
	return has
}

// packagesBeyond are the Debian packages that a group takes, without those that the lock had.
func (p *distLocker) packagesBeyond(section recipes.LockedGroup, has map[string]bool) map[string]recipes.Suite {
	suite := p.lock.Base.Suite
	wanted := map[string]recipes.Deb{}
	if section.Libraries != nil {
		for _, name := range section.Libraries.Packages {
			if !has[name] {
				wanted[name] = p.debian.debs[suite][name]
			}
		}
	}
	for _, d := range section.Dists {
		if d.Build == nil {
			continue
		}
		for _, name := range d.Build.Packages {
			if !has[name] {
				wanted[name] = p.debian.debs[suite][name]
			}
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	var debs recipes.Suite
	for _, name := range sortedKeys(wanted) {
		debs = append(debs, wanted[name])
	}
	return map[string]recipes.Suite{suite: debs}
}

// placedInGroup adds to a resolution error where the group's and the artifact's requirements
// are written, as far as the explanation is about them.
func (p *distLocker) placedInGroup(name string, g *distLocker, err error) error {
	var r *ResolutionError
	if !errors.As(err, &r) {
		return err
	}
	told, names := strings.ToLower(r.Told), namesIn(r.Told)
	lines := slices.Concat(g.named(names), p.named(names))
	for _, id := range p.lock.Requirements {
		dist, _, _ := strings.Cut(id, "==")
		if strings.Contains(told, id) && !slices.ContainsFunc(p.reqs.Requirements, func(q recipes.Requirement) bool { return q.Name == dist }) {
			lines = append(lines, fmt.Sprintf("%s: the artifact has %s, which its requirements bring", p.recipe.At("requirements"), id))
		}
	}
	var once []string
	for _, line := range lines {
		if !slices.Contains(once, line) {
			once = append(once, line)
		}
	}
	return (&ResolutionError{Told: r.Told, Group: name, Overrides: r.Overrides}).with(once, nil)
}

// groupLibraries locks the Debian packages whose libraries a group's distributions load by name,
// on top of the artifact's own; nil where there are none.
func (p *distLocker) groupLibraries(ctx context.Context, group string, ids []string) (*recipes.LockedLibraries, error) {
	var installed []recipes.Dist
	for _, id := range ids {
		installed = append(installed, p.dists[id])
	}
	wanted, applied := p.recipe.RuntimeLibraries(installed, p.place())
	own := p.recipe.Runtime.Libraries
	var has []string
	if p.lock.Libraries != nil {
		own, has = p.lock.Libraries.Names, p.lock.Libraries.Packages
	}
	wanted = slices.DeleteFunc(wanted, func(name string) bool { return slices.Contains(own, name) })
	if len(wanted) == 0 {
		return nil, nil
	}
	d, suite := p.debian, p.lock.Base.Suite
	var below []recipes.Deb
	for _, name := range has {
		below = append(below, d.debs[suite][name])
	}
	locked := &recipes.LockedLibraries{Names: wanted, Overrides: applied}
	debs, err := d.add(ctx, suite, d.with(suite, d.installed, below), d.previousLibraries(p.opts.Previous.Groups[group].Libraries, locked), wanted)
	if err != nil {
		return nil, d.libraryFault(err, applied)
	}
	locked.Packages = names(debs)
	d.write()
	tellLibraries(ctx, applied)
	return locked, nil
}
