package locking

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"ampoule/builder/fetch"
	"ampoule/builder/progress"
	"ampoule/builder/wheels"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/recipes"
)

// early looks at what is required before anything is compiled: whether the index has it,
// and of what is pinned, what it has of it and what its sdist says of cargo. It decides nothing: what it cannot learn, the
// resolution tells later.
type early struct {
	l        *Locker
	recipe   *recipes.Recipe
	place    recipes.Place
	reqs     *recipes.RequirementSet
	previous *recipes.Lock
	python   packaging.CPython
	env      packaging.Environment
}

// checkEarly tells at once of all requirements, of the artifact and of its dependency groups,
// that, as far as can be seen, cannot be locked.
func (l *Locker) checkEarly(ctx context.Context, r *recipes.Recipe, reqs *recipes.RequirementSet, previous *recipes.Lock) (err error) {
	if len(reqs.Requirements)+len(reqs.Groups) == 0 {
		return nil
	}
	task := progress.Start(ctx, progress.StageLock, "what the index has")
	defer func() { task.End(err) }()
	all, err := l.look(ctx, r, reqs, previous)
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(reqs.Groups) {
		found, err := l.look(ctx, r, reqs.Groups[name], previous.With(name))
		if err != nil {
			return err
		}
		all.join(found)
	}
	return all.err(r)
}

// look looks at all of one set of requirements.
func (l *Locker) look(ctx context.Context, r *recipes.Recipe, reqs *recipes.RequirementSet, previous *recipes.Lock) (all obstacles, err error) {
	const machine = "x86_64" // the one platform there is
	e := &early{
		l: l, recipe: r, reqs: reqs, previous: previous, place: recipes.Place{Suite: r.Base.Debian, Python: r.Python.Version},
		python: packaging.CPython{Minor: minorOf(r.Python.Version), Machine: machine},
		env:    packaging.LinuxEnvironment(r.Python.Version, machine),
	}
	found := make([]obstacles, len(reqs.Requirements))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, req := range reqs.Requirements {
		if e.counts(req) {
			group.Go(func() (err error) {
				found[i], err = e.look(ctx, req)
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return obstacles{}, err
	}
	for _, o := range found {
		all.join(o)
	}
	return all, nil
}

// minorOf gives 13 of 3.13.5.
func minorOf(version string) int {
	parts := strings.Split(version, ".")
	minor, _ := strconv.Atoi(parts[min(1, len(parts)-1)])
	return minor
}

// counts reports whether a requirement counts in this place, and is the public index's to
// answer.
func (e *early) counts(req recipes.Requirement) bool {
	if slices.ContainsFunc(e.reqs.Projects, func(p recipes.Project) bool { return p.Name == req.Name }) {
		return false
	}
	parsed, err := packaging.ParseRequirement(req.Spec)
	if err != nil || req.Constraint || !parsed.Applies(e.env, nil) {
		return false
	}
	owner, err := e.l.Fetch.Sources().Owner(req.Name)
	return err == nil && (owner == "" || owner == fetch.PyPI)
}

// obstacles are what is in the way of locking.
type obstacles struct {
	faults recipes.Faults
	// accept are the requirements whose published wheels could be accepted instead.
	accept []recipes.Requirement
}

func (o *obstacles) add(req recipes.Requirement, what, hint string) {
	o.faults = append(o.faults, recipes.Fault{File: req.File, Line: req.Line, Column: req.Column, What: what, Hint: hint})
}

// join adds others, but for those that are known: a group can include the artifact's file.
func (o *obstacles) join(others obstacles) {
	for _, f := range others.faults {
		if !slices.Contains(o.faults, f) {
			o.faults = append(o.faults, f)
		}
	}
	for _, req := range others.accept {
		if !slices.ContainsFunc(o.accept, func(known recipes.Requirement) bool { return known.Name == req.Name && known.Position == req.Position }) {
			o.accept = append(o.accept, req)
		}
	}
}

// err is all of them as one error, with one entry for the recipe at the first of those that
// it answers.
func (o obstacles) err(r *recipes.Recipe) error {
	err := o.faults.Err()
	at := slices.IndexFunc(o.faults, func(f recipes.Fault) bool {
		return slices.ContainsFunc(o.accept, func(req recipes.Requirement) bool { return req.Position == f.Position() })
	})
	if at < 0 {
		return err
	}
	var names []string
	for _, req := range o.accept {
		names = append(names, req.Name)
	}
	o.faults[at].Hint += "\n" + acceptEntry(r, names)
	return err
}

// look tells what is in the way of one requirement.
func (e *early) look(ctx context.Context, req recipes.Requirement) (o obstacles, err error) {
	files, err := e.l.Fetch.Project(ctx, fetch.PyPI, req.Name)
	var none *fetch.NoProjectError
	switch {
	case errors.As(err, &none):
		what, hint := nowhere(req.Name, e.previous, e.reqs)
		o.add(req, what, hint)
		return o, nil
	case err != nil:
		return o, context.Cause(ctx)
	}
	version, ok := pinnedVersion(req)
	if !ok {
		return o, nil
	}
	r := e.release(files, req.Name, version)
	if r.sdist == nil && len(r.pure)+len(r.native) == 0 {
		e.nothing(&o, req, version, files)
		return o, nil
	}
	return e.build(ctx, req, r)
}

// build tells what is in the way of building a pinned release.
func (e *early) build(ctx context.Context, req recipes.Requirement, r release) (o obstacles, err error) {
	e.limits(&o, req, r.version)
	if len(o.faults) > 0 && len(r.native) > 0 {
		o.accept = append(o.accept, req)
	}
	_, accepted := e.recipe.Accepted(req.Name)
	d, err := r.choose(choice{pure: slices.Contains(e.recipe.Pure, req.Name), accepted: accepted})
	if err != nil {
		o.add(req, err.Error(), (&NoSdistError{}).Hint())
		o.accept = append(o.accept, req)
		return o, nil
	}
	if isWheel(d.File) {
		return o, nil
	}
	if err := e.cargo(ctx, d); faults.Of(err) == faults.Input {
		o.add(req, strings.ReplaceAll(err.Error(), "\n", "; "), "choose another version of it, or accept its published wheel")
		if len(r.native) > 0 {
			o.accept = append(o.accept, req)
		}
	}
	return o, context.Cause(ctx)
}

// nothing tells of a version that there is no file of for this place.
func (e *early) nothing(o *obstacles, req recipes.Requirement, version string, files []fetch.IndexFile) {
	wanted, err := packaging.ParseRequirement(req.Spec)
	foreign := func(f fetch.IndexFile) bool {
		return strings.Contains(f.File, "-"+version) && len(versionsOf([]fetch.IndexFile{f}, req.Name)) == 0
	}
	if err != nil || slices.ContainsFunc(files, foreign) {
		return // a file of another form, which the resolver judges
	}
	if others := versionsOf(files, req.Name); !slices.ContainsFunc(others, wanted.Admits) {
		o.add(req, fmt.Sprintf("the index has %s, and no version %s of it", req.Name, version), nearest(others, version))
		return
	}
	fitting := slices.DeleteFunc(slices.Clone(files), func(f fetch.IndexFile) bool {
		name := nameOf(f.File)
		return name.Version != "" && !slices.ContainsFunc(name.Tags(), e.python.Supports)
	})
	others := versionsOf(fitting, req.Name)
	if slices.ContainsFunc(others, wanted.Admits) {
		return // an sdist without a hash
	}
	o.add(req, fmt.Sprintf("%s %s has no sdist, and no wheel for CPython 3.%d on Linux", req.Name, version, e.python.Minor), nearest(others, version))
}

// release gathers the files of a version that could be taken.
func (e *early) release(files []fetch.IndexFile, name, version string) release {
	r := release{name: name, version: version}
	for _, f := range files {
		d := recipes.Dist{Name: name, Version: version, File: f.File, SHA256: f.SHA256}
		if is, ok := packaging.SdistVersion(f.File, name); ok && packaging.SameVersion(is, version) && f.SHA256 != "" {
			r.sdist = &d
		}
		wheel := nameOf(f.File)
		if wheel.Version == "" || !packaging.SameVersion(wheel.Version, version) || !slices.ContainsFunc(wheel.Tags(), e.python.Supports) {
			continue
		}
		if wheels.IsPure(f.File) {
			r.pure = append(r.pure, d)
		} else {
			r.native = append(r.native, d)
		}
	}
	return r
}

// limits tells of overrides that say that a version cannot be built here.
func (e *early) limits(o *obstacles, req recipes.Requirement, version string) {
	for _, limit := range e.recipe.Limits(e.place) {
		if limit.Name != req.Name {
			continue
		}
		if bound, err := packaging.ParseRequirement(limit.Spec); err == nil && !bound.Admits(version) {
			o.add(req, fmt.Sprintf("override %s, revision %s, holds it to %s: %s", limit.Name, limit.Revision, limit.Spec, limit.Why),
				"choose a version that it admits, accept the published wheel under binary.accept, or leave out what Ampoule knows of it: packages: {"+limit.Name+": {overrides: none}}")
		}
	}
}

// cargo reads which crates a new sdist's build takes.
func (e *early) cargo(ctx context.Context, d recipes.Dist) error {
	if was, ok := e.previous.Dist(d.ID()); ok && was.SHA256 == d.SHA256 {
		return nil
	}
	s, _ := e.recipe.Building(d.Name, d.Version, e.place)
	if len(s.Patches) > 0 {
		return nil // they may bring what is missing
	}
	if err := e.l.Fetch.Fetch(ctx, wheels.Items(d)...); err != nil {
		return nil //nolint:nilerr // told when the sdist is needed
	}
	f, err := e.l.Store.Open(d.SHA256)
	if err != nil {
		return err
	}
	defer f.Close()
	build, err := readCargo(ctx, f, d.File, s.Requires...)
	if err != nil {
		return err
	}
	if !build.lacksLock() {
		_, err = build.crates()
		return err
	}
	// cargo chooses them later, among those that an index has.
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	bare, err := readSkeleton(ctx, f, d.File)
	if err != nil {
		return err
	}
	if err := bare.direct(build.manifests); err != nil {
		return wrongSdist(d.File, err)
	}
	return nil
}

// versionsOf lists the versions that an index has files of, oldest first.
func versionsOf(files []fetch.IndexFile, name string) []string {
	parsed := map[string]packaging.Version{}
	for _, f := range files {
		text, ok := packaging.SdistVersion(f.File, name)
		if !ok {
			text = nameOf(f.File).Version
		}
		if v, err := packaging.ParseVersion(text); err == nil {
			parsed[v.String()] = v
		}
	}
	versions := sortedKeys(parsed)
	slices.SortFunc(versions, func(a, b string) int { return parsed[a].Compare(parsed[b]) })
	return versions
}

// nearest names the versions on both sides of one that is not there.
func nearest(versions []string, version string) string {
	v, err := packaging.ParseVersion(version)
	if err != nil || len(versions) == 0 {
		return "choose another version"
	}
	at := slices.IndexFunc(versions, func(other string) bool {
		w, _ := packaging.ParseVersion(other)
		return w.Compare(v) > 0
	})
	if at < 0 {
		at = len(versions)
	}
	return "nearest to it: " + strings.Join(versions[max(0, at-2):min(len(versions), at+2)], ", ")
}
