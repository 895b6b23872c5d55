package locking

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ampoule/builder/fetch"
	"ampoule/builder/sandbox"
	"ampoule/builder/wheels"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/recipes"
)

// maxRounds bounds how often uv is asked again after it wanted metadata.
const maxRounds = 500

// rootQuery asks for the recipe's requirements. A list in the recipe becomes a file.
func (p *distLocker) rootQuery() query {
	q := query{files: p.reqs.Files, file: p.reqs.File, prefer: p.prefer(p.opts.Previous.Requirements), limits: p.limits()}
	if p.reqs.File == "" {
		var b strings.Builder
		for _, r := range p.reqs.Requirements {
			b.WriteString(r.Spec + "\n")
		}
		q.file = "requirements.txt"
		q.files = map[string][]byte{q.file: []byte(b.String())}
	}
	return q
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
			if forSdist != nil {
				return nil, fmt.Errorf("resolving the build requirements of %s: %w", forSdist.ID(), err)
			}
			return nil, err
		}
		releases, err := parsePylock(data)
		if err != nil {
			return nil, err
		}
		return releases, p.checkPins(ctx, q.prefer, releases)
	}
	return nil, fmt.Errorf("resolving requirements: uv still wants metadata after %d rounds", maxRounds)
}

// learn computes the metadata of a release in a sealed sandbox, for uv's next round.
func (p *distLocker) learn(ctx context.Context, wants refused) error {
	for _, m := range p.resolver.known {
		if m.Name == wants.name && m.Version == wants.version {
			return fmt.Errorf("resolving requirements: uv does not take the metadata of %s==%s that it was given", wants.name, wants.version)
		}
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
			return recipes.Dist{Name: name, Version: version, File: f.File, SHA256: f.SHA256}, nil
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
	if err := p.l.Fetch.Fetch(ctx, wheels.Items(sdist)...); err != nil {
		return wheels.Job{}, err
	}
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
		set.Requires, set.Dynamic, set.Dists, set.Crates = previous.Requires, previous.Dynamic, previous.Dists, previous.Crates
		if err := p.lockPackages(ctx, sdist, &set, packages); err != nil {
			return recipes.BuildSet{}, err
		}
		return set, p.keepDists(ctx, set.Dists)
	}
	if err := p.l.Fetch.Fetch(ctx, wheels.Items(sdist)...); err != nil {
		return recipes.BuildSet{}, err
	}
	if set.Crates, err = p.crates(ctx, sdist, set.Added); err != nil {
		return recipes.BuildSet{}, err
	}
	if err := p.lockPackages(ctx, sdist, &set, packages); err != nil {
		return recipes.BuildSet{}, err
	}
	sdist.Build = &set
	if err := p.lockRequires(ctx, sdist, &set); err != nil || len(set.Crates) > 0 || !buildRust(set.Dynamic) {
		return set, err
	}
	// Only the backend's answer says that it builds with cargo.
	if set.Crates, err = p.crates(ctx, sdist, set.Dynamic); err != nil {
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
	dynamic, err := p.stage.Requires(ctx, job)
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
	var previous []string
	if d, ok := p.opts.Previous.Dist(sdist.ID()); ok && d.Build != nil {
		previous = d.Build.Dists
	}
	releases, err := p.resolve(ctx, query{
		files:  map[string][]byte{"build.txt": []byte(strings.Join(all, "\n") + "\n")},
		file:   "build.txt",
		prefer: p.prefer(previous),
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
	d, err := r.choose(choice{
		pure:     published == recipes.PureWheel || slices.Contains(p.recipe.Pure, r.name),
		tool:     published == recipes.BuildTool,
		accepted: accepted,
	})
	var none *NoSdistError
	if errors.As(err, &none) && !building {
		for _, req := range p.reqs.Requirements {
			if req.Name == r.name {
				return d, recipes.Faults{recipes.Fault{File: req.File, Line: req.Line, Column: req.Column, What: none.Error(), Hint: none.Hint()}}
			}
		}
	}
	return d, err
}

// add chooses a file of each release and locks what building it takes. The IDs come sorted.
func (p *distLocker) add(ctx context.Context, releases []release, building bool) ([]string, error) {
	var ids []string
	for _, r := range releases {
		if owner, err := p.l.Fetch.Sources().Owner(r.name); err != nil {
			return nil, err
		} else if owner != "" && owner != fetch.PyPI {
			return nil, ownedName(r.name, owner)
		}
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

// ownedName says that resolution took a name from the public index that configuration
// gives to another source alone (dependency confusion).
func ownedName(name, owner string) error {
	return faults.New(faults.Input, "let the index of source "+fetch.PyPI+" be one that serves the names of "+owner+" too, and give it the names",
		"%s belongs to the source %s; locking asks the index of source %s alone", name, owner, fetch.PyPI)
}

func isWheel(file string) bool { return strings.HasSuffix(file, packaging.WheelSuffix) }

// checkHashes refuses a chosen file whose hash the requirements do not list.
func (p *distLocker) checkHashes(releases []release) error {
	var faults recipes.Faults
	for _, r := range releases {
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

// placed adds to a resolution error where the recipe's requirements are written.
func (p *distLocker) placed(err error) error {
	var r *ResolutionError
	if !errors.As(err, &r) {
		return err
	}
	var lines []string
	for _, req := range p.reqs.Requirements {
		if strings.Contains(strings.ToLower(r.Told), req.Name) {
			lines = append(lines, fmt.Sprintf("%s:%d:%d: %s", req.File, req.Line, req.Column, req.Spec))
		}
	}
	for _, limit := range p.recipe.Limits(p.place()) {
		if strings.Contains(strings.ToLower(r.Told), limit.Name) {
			lines = append(lines, fmt.Sprintf("override %s, revision %s: %s: %s", limit.Name, limit.Revision, limit.Spec, limit.Why))
		}
	}
	if len(lines) == 0 {
		return err
	}
	return &ResolutionError{Told: r.Told + "\n" + strings.Join(lines, "\n")}
}
