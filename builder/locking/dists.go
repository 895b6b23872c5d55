package locking

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ampoule/builder/fetch"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/wheels"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/recipes"
)

// maxRounds bounds how often uv is asked again after it wanted metadata.
const maxRounds = 500

// rootQuery asks for the recipe's requirements, as they were read: the resolver sees no file
// that a person or another tool wrote, and so obeys none.
func (p *distLocker) rootQuery() query {
	var requirements, constraints strings.Builder
	for _, r := range p.reqs.Requirements {
		switch {
		case r.Project != "": // asked for as ownSpecs
		case r.Constraint:
			constraints.WriteString(r.Spec + "\n")
		default:
			requirements.WriteString(r.Spec + "\n")
		}
	}
	q := query{file: "requirements.txt", prefer: p.prefer(p.opts.Previous.Requirements), limits: p.limits()}
	q.files = map[string][]byte{q.file: []byte(requirements.String())}
	if constraints.Len() > 0 {
		requirements.WriteString("-c constraints.txt\n")
		q.files[q.file], q.files["constraints.txt"] = []byte(requirements.String()), []byte(constraints.String())
	}
	q.specs = p.ownSpecs()
	return q
}

// tellFirstParty tells what is left out of the requirements because no index has it, and the
// recipe's app has not.
func tellFirstParty(ctx context.Context, reqs *recipes.RequirementSet) {
	for _, f := range reqs.FirstParty {
		if slices.ContainsFunc(reqs.Projects, func(p recipes.Project) bool { return p.Name == f.Name }) {
			continue
		}
		progress.Send(ctx, progress.Event{
			Kind: progress.Told, Stage: progress.StageLock,
			Message: fmt.Sprintf("%s: %s is code of this repository; only what it requires is locked, unless the recipe has it as app", f.Position, f.Name),
		})
	}
}

// checkRegistries refuses what a lock takes from another index than the rest, unless
// configuration gives the name to a source of its own.
func (p *distLocker) checkRegistries() error {
	var wrong recipes.Faults
	for _, r := range p.reqs.Requirements {
		if r.Registry == "" {
			continue
		}
		owner, err := p.l.Fetch.Sources().Owner(r.Name)
		if err != nil {
			return err
		}
		if owner == "" || owner == fetch.PyPI {
			wrong = append(wrong, recipes.Fault{
				File: r.File, Line: r.Line, Column: r.Column,
				What: fmt.Sprintf("%s comes from another index than the rest, %s, and no source has its name", r.Name, r.Registry),
				Hint: fmt.Sprintf("give the name to a source in config.toml:\n[sources.NAME]\nmirrors = [\"ADDRESS\"]\nnames = [%q]", r.Name),
			})
		}
	}
	return wrong.Err()
}

// expectedPins are the versions that the tree will have as far as they are known before
// it is resolved: what the previous lock has, and over it what requirements pin.
func (p *distLocker) expectedPins() map[string]string {
	pins := p.prefer(p.opts.Previous.Requirements)
	for _, req := range p.reqs.Requirements {
		if version, ok := pinnedVersion(req); ok {
			pins[req.Name] = version
		}
	}
	return pins
}

// pinnedVersion gives the one version that a requirement admits, if it is NAME==VERSION.
func pinnedVersion(req recipes.Requirement) (version string, ok bool) {
	r, err := packaging.ParseRequirement(req.Spec)
	if err != nil || len(r.Specifiers) != 1 || r.Specifiers[0].Operator != "==" || strings.HasSuffix(r.Specifiers[0].Version, ".*") {
		return "", false
	}
	return r.Specifiers[0].Version, true
}

// settle notes what the tree has. Where something was locked that builds with another
// version of it, all builds are locked anew: their backends' answers are remembered.
func (p *distLocker) settle(releases []release) {
	p.pins = map[string]string{}
	for _, r := range releases {
		p.roots[r.name], p.pins[r.name] = true, r.version
	}
	for _, d := range p.dists {
		if pin, inTree := p.pins[d.Name]; inTree && pin != d.Version {
			p.dists = map[string]recipes.Dist{}
			return
		}
	}
}

// preferBuild returns the versions that a build keeps where it may: those of the tree, and
// of the rest those that the previous lock builds with. A lock that built with another
// version than its tree had goes on to do so while the tree has the same.
func (p *distLocker) preferBuild(previous []string) map[string]string {
	was := p.prefer(p.opts.Previous.Requirements)
	versions := p.prefer(previous)
	for name, pin := range p.pins {
		if _, kept := versions[name]; !kept || was[name] != pin {
			versions[name] = pin
		}
	}
	return versions
}

// place is where everything is built.
func (p *distLocker) place() recipes.Place { return placeOf(p.lock) }

// placeOf is where everything of a lock is built.
func placeOf(l *recipes.Lock) recipes.Place {
	return recipes.Place{Suite: l.Base.Suite, Python: l.Python.Version}
}

// limits are the constraints that overrides put on versions.
func (p *distLocker) limits() []string {
	var specs []string
	for _, l := range p.recipe.Limits(p.place()) {
		specs = append(specs, l.Spec)
	}
	return specs
}

// prefer returns the versions of pins that may not move.
func (p *distLocker) prefer(ids []string) map[string]string {
	versions := map[string]string{}
	for _, id := range ids {
		if name, version, ok := strings.Cut(id, "=="); ok && !p.opts.moves(name) {
			versions[name] = version
		}
	}
	return versions
}

// resolve asks uv until it needs no more metadata. The releases come sorted by name.
func (p *distLocker) resolve(ctx context.Context, q query, forSdist *recipes.Dist) ([]release, error) {
	for range maxRounds {
		data, err := p.resolver.resolve(ctx, q)
		var wants *refused
		if errors.As(err, &wants) {
			if err := p.learn(ctx, *wants); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			err = p.overridden(err, forSdist)
			if forSdist != nil {
				return nil, fmt.Errorf("resolving the build requirements of %s: %w", forSdist.ID(), p.missing(ctx, err))
			}
			return nil, p.missing(ctx, err)
		}
		releases, err := p.releases(data)
		if err != nil {
			return nil, err
		}
		return releases, p.checkPins(ctx, q.prefer, releases)
	}
	return nil, fmt.Errorf("resolving requirements: uv still wants metadata after %d rounds", maxRounds)
}

// releases reads a resolution, and names the sources of what is in it.
func (p *distLocker) releases(data []byte) ([]release, error) {
	releases, err := parsePylock(data)
	for i := range releases {
		source, owned := p.source(releases[i].name)
		if owned != nil {
			return nil, owned
		}
		releases[i].from(source)
	}
	return releases, err
}

// source is the source of a distribution as a lock has it: empty for the public index.
func (p *distLocker) source(name string) (string, error) {
	owner, err := p.l.Fetch.Sources().Owner(name)
	if owner == fetch.PyPI {
		owner = ""
	}
	return owner, err
}

// learn computes the metadata of a release in a sealed sandbox, for uv's next round.
func (p *distLocker) learn(ctx context.Context, wants refused) error {
	if p.resolver.knows(wants.name, wants.version) {
		return fmt.Errorf("resolving requirements: uv does not take the metadata of %s==%s that it was given", wants.name, wants.version)
	}
	sdist, err := p.findSdist(ctx, wants.name, wants.version)
	if err != nil {
		return err
	}
	m, err := p.metadataOf(ctx, sdist)
	if err != nil {
		return err
	}
	p.resolver.known = append(p.resolver.known, m)
	return nil
}

// findSdist finds the sdist of a release in the index.
func (p *distLocker) findSdist(ctx context.Context, name, version string) (recipes.Dist, error) {
	name = packaging.NormalName(name)
	files, err := p.l.Fetch.Project(ctx, "pypi", name)
	if err != nil {
		return recipes.Dist{}, err
	}
	for _, f := range files {
		if is, ok := packaging.SdistVersion(f.File, name); ok && packaging.SameVersion(is, version) && f.SHA256 != "" {
			source, err := p.source(name)
			return recipes.Dist{Name: name, Version: version, File: f.File, SHA256: f.SHA256, Source: source}, err
		}
	}
	return recipes.Dist{}, &NoSdistError{name, version}
}

// buildJob returns the job that builds an sdist, with its build requirements' wheels.
func (p *distLocker) buildJob(ctx context.Context, sdist recipes.Dist) (wheels.Job, error) {
	set, err := p.lockBuild(ctx, sdist)
	if err != nil {
		return wheels.Job{}, err
	}
	sdist.Build = &set
	return p.house.Job(ctx, p.find, sdist, set.Dists)
}

// lockBuild locks what building an sdist takes.
func (p *distLocker) lockBuild(ctx context.Context, sdist recipes.Dist) (recipes.BuildSet, error) {
	id := sdist.ID()
	if slices.Contains(p.locking, id) {
		return recipes.BuildSet{}, &wheels.CircleError{Path: append(slices.Clone(p.locking), id)}
	}
	p.locking = append(p.locking, id)
	defer func() { p.locking = p.locking[:len(p.locking)-1] }()
	set, packages, err := p.settings(ctx, sdist)
	if err != nil {
		return recipes.BuildSet{}, err
	}
	if previous, ok := p.previousBuild(sdist, set); ok {
		set.Requires, set.Dynamic, set.Dists = previous.Requires, previous.Dynamic, previous.Dists
		set.Crates, set.CargoLocks = previous.Crates, previous.CargoLocks
		if err := p.lockPackages(ctx, sdist, &set, packages); err != nil {
			return recipes.BuildSet{}, err
		}
		return set, p.keepDists(ctx, set.Dists)
	}
	if err := p.l.Fetch.Fetch(ctx, wheels.Items(sdist)...); err != nil {
		return recipes.BuildSet{}, err
	}
	if err := p.lockCrates(ctx, sdist, &set, packages, set.Added); err != nil {
		return recipes.BuildSet{}, err
	}
	if err := p.lockPackages(ctx, sdist, &set, packages); err != nil {
		return recipes.BuildSet{}, err
	}
	sdist.Build = &set
	if err := p.lockRequires(ctx, sdist, &set); err != nil || usesCargo(set) || !buildRust(set.Dynamic) {
		return set, err
	}
	// Only the backend's answer says that it builds with cargo.
	if err := p.lockCrates(ctx, sdist, &set, packages, set.Dynamic); err != nil {
		return recipes.BuildSet{}, err
	}
	return set, p.lockPackages(ctx, sdist, &set, packages)
}

// lockRequires locks the build requirements of an sdist: those that it declares, and
// those that its backend asks for once these are there.
func (p *distLocker) lockRequires(ctx context.Context, sdist recipes.Dist, set *recipes.BuildSet) error {
	if err := p.l.Fetch.Fetch(ctx, wheels.Items(sdist)...); err != nil {
		return err
	}
	system, err := p.declared(ctx, sdist)
	if err != nil {
		return err
	}
	set.Requires = system.requires
	if err := p.resolveBuild(ctx, sdist, set); err != nil {
		return err
	}
	dynamic, err := p.ask(ctx, sdist, set.Dists, slices.Contains(declarative, system.backend))
	if err != nil {
		return err
	}
	if set.Dynamic, err = canonical(sdist, dynamic, recipes.ParseRequirement); err != nil {
		return err
	}
	slices.Sort(set.Dynamic)
	set.Dynamic = slices.Compact(set.Dynamic)
	if slices.ContainsFunc(set.Dynamic, func(d string) bool { return !slices.Contains(set.Requires, d) }) {
		return p.resolveBuild(ctx, sdist, set)
	}
	return nil
}

// ask asks the backend of an sdist what else it needs. One that runs nothing of the
// project is asked with what need not be built first, so that locking scikit-learn
// compiles no SciPy. A project can have hooks that import the rest: then that is built.
func (p *distLocker) ask(ctx context.Context, sdist recipes.Dist, needs []string, declares bool) ([]string, error) {
	ready := needs
	if declares {
		ready = slices.DeleteFunc(slices.Clone(needs), func(id string) bool { return p.dists[id].Build != nil })
	}
	job, err := p.house.Job(ctx, p.find, sdist, ready)
	if err != nil {
		return nil, err
	}
	dynamic, err := p.stage.Requires(ctx, p.told(job))
	var exit *sandbox.ExitError
	if len(ready) < len(needs) && errors.As(err, &exit) {
		return p.ask(ctx, sdist, needs, false)
	}
	return dynamic, err
}

// canonical reads the requirements that an sdist states. They are foreign text on its
// way to where the network is: whatever is not a requirement by name, such as an
// address that the resolver would ask or an option that it would obey, is refused.
func canonical(sdist recipes.Dist, texts []string, parse func(string) (recipes.Requirement, error)) ([]string, error) {
	specs := make([]string, len(texts))
	for i, text := range texts {
		r, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("reading a requirement of %s: %w", sdist.ID(), err)
		}
		specs[i] = r.Spec
	}
	return specs, nil
}

// resolveBuild resolves one build set.
func (p *distLocker) resolveBuild(ctx context.Context, sdist recipes.Dist, set *recipes.BuildSet) error {
	set.Dists = nil
	all := slices.Concat(set.Requires, set.Added, set.Dynamic)
	if len(all) == 0 {
		return nil
	}
	releases, err := p.resolve(ctx, query{
		files:  map[string][]byte{"build.txt": []byte(strings.Join(all, "\n") + "\n")},
		file:   "build.txt",
		prefer: p.preferBuild(p.previousDists(sdist)),
		limits: p.limits(),
	}, &sdist)
	if err != nil {
		return err
	}
	set.Dists, err = p.add(ctx, releases, true)
	return err
}

func (p *distLocker) find(id string) (recipes.Dist, bool) {
	d, ok := p.dists[id]
	return d, ok
}

// choose picks the one file of a release. What is installed into the tree is chosen
// as that wherever it is needed too.
func (p *distLocker) choose(r release, building bool) (recipes.Dist, error) {
	_, accepted := p.recipe.Accepted(r.name)
	published := ""
	if building && !p.roots[r.name] {
		published = p.recipe.BuildWheel(r.name, p.place())
	}
	return r.choose(choice{
		pure:     published == recipes.PureWheel || slices.Contains(p.recipe.Pure, r.name),
		tool:     published == recipes.BuildTool,
		accepted: accepted,
	})
}

// checkSdists tells of all releases for the tree that there is nothing to build from, at
// the requirements that name them.
func (p *distLocker) checkSdists(releases []release) error {
	var all obstacles
	for _, r := range releases {
		_, err := p.choose(r, false)
		var none *NoSdistError
		if !errors.As(err, &none) {
			continue
		}
		at := recipes.Requirement{Name: r.name, Position: recipes.Position{File: p.reqs.File}}
		if i := slices.IndexFunc(p.reqs.Requirements, func(req recipes.Requirement) bool { return req.Name == r.name }); i >= 0 {
			at = p.reqs.Requirements[i]
		}
		all.add(at, none.Error(), none.Hint())
		if len(r.native) > 0 {
			all.accept = append(all.accept, at)
		}
	}
	return all.err(p.recipe)
}

// add chooses a file of each release and locks what building it takes. The IDs come sorted.
func (p *distLocker) add(ctx context.Context, releases []release, building bool) ([]string, error) {
	var ids []string
	for _, r := range releases {
		d, err := p.choose(r, building)
		if err != nil {
			return nil, err
		}
		ids = append(ids, d.ID())
		if have, done := p.dists[d.ID()]; done && have.File == d.File {
			continue
		}
		if !isWheel(d.File) {
			set, err := p.lockBuild(ctx, d)
			if !building && p.opts.KeepGoing && isOfRelease(err) {
				p.stuck = append(p.stuck, fmt.Errorf("locking %s: %w", d.ID(), err))
				continue
			}
			if err != nil {
				return nil, err
			}
			d.Build = &set
		}
		p.dists[d.ID()] = d
	}
	slices.Sort(ids)
	return ids, nil
}

// UnlockableError tells of all releases that cannot be locked.
type UnlockableError struct {
	// Errs has one for each.
	Errs []error
}

func (e *UnlockableError) Error() string {
	texts := []string{fmt.Sprintf("%d releases cannot be locked:", len(e.Errs))}
	for _, err := range e.Errs {
		texts = append(texts, err.Error())
	}
	return strings.Join(texts, "\n")
}

// Kind says whose fault it is.
func (*UnlockableError) Kind() faults.Kind { return faults.Input }

// Hint says what can be done about each.
func (e *UnlockableError) Hint() string {
	var hints []string
	for _, err := range e.Errs {
		for _, hint := range faults.Hints(err) {
			if !slices.Contains(hints, hint) {
				hints = append(hints, hint)
			}
		}
	}
	return strings.Join(hints, "\n")
}

// isOfRelease reports whether an error says something of one release alone: others can be
// locked all the same.
func isOfRelease(err error) bool {
	return err != nil && slices.Contains([]faults.Kind{faults.Input, faults.Build, faults.NotFound}, faults.Of(err))
}

func isWheel(file string) bool { return strings.HasSuffix(file, packaging.WheelSuffix) }

// checkHashes refuses a chosen file whose hash the requirements do not list.
func (p *distLocker) checkHashes(releases []release) error {
	var faults recipes.Faults
	for _, r := range releases {
		if p.reqs.Relock != "" && !p.reqs.Names(r.name) {
			faults = append(faults, recipes.Fault{
				File: p.reqs.File,
				What: fmt.Sprintf("%s==%s is needed and is not in it", r.name, r.version),
				Hint: "run `" + p.reqs.Relock + "`; what was locked for another platform or Python can lack it",
			})
			continue
		}
		d, err := p.choose(r, false)
		if err != nil {
			return err
		}
		allowed := false
		var at *recipes.Requirement
		for i, req := range p.reqs.Requirements {
			if req.Name == r.name && len(req.Hashes) > 0 {
				at = &p.reqs.Requirements[i]
				allowed = allowed || slices.Contains(req.Hashes, "sha256:"+d.SHA256)
			}
		}
		switch {
		case allowed:
		case at != nil:
			faults = append(faults, recipes.Fault{
				File: at.File, Line: at.Line, Column: at.Column,
				What: fmt.Sprintf("the hash of %s, which this build takes for %s, is not among the hashes given", d.File, d.ID()),
				Hint: "add --hash=sha256:" + d.SHA256,
			})
		case p.reqs.RequireHashes:
			faults = append(faults, recipes.Fault{
				File: p.reqs.File,
				What: d.ID() + " is needed and has no line with hashes, although the others have",
				Hint: fmt.Sprintf("add %s --hash=sha256:%s", d.ID(), d.SHA256),
			})
		}
	}
	if len(faults) > 0 {
		return faults
	}
	return nil
}

// lostPin says that the index does not have a pinned release any more.
func lostPin(name, version, file string) error {
	return faults.New(faults.NotFound, "ampoule lock --upgrade="+name, "%s %s, which the lock pins, cannot be had any more (%s)", name, version, file)
}

// checkPins refuses a resolution in which a pin moved because its file has gone.
func (p *distLocker) checkPins(ctx context.Context, prefer map[string]string, releases []release) error {
	for _, r := range releases {
		version, pinned := prefer[r.name]
		if !pinned {
			continue
		}
		old, ok := p.opts.Previous.Dist(r.name + "==" + version)
		if !ok {
			continue
		}
		if now, err := p.choose(r, !p.roots[r.name]); err == nil && now.SHA256 == old.SHA256 {
			continue
		}
		files, err := p.l.Fetch.Project(ctx, "pypi", r.name)
		if err != nil {
			return err
		}
		there := slices.ContainsFunc(files, func(f fetch.IndexFile) bool { return f.SHA256 == old.SHA256 && !f.Yanked })
		if !there {
			return lostPin(old.Name, old.Version, old.File)
		}
	}
	return nil
}
