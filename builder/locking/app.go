package locking

import (
	"context"
	"fmt"
	"slices"

	"ampoule/builder/wheels"
	"ampoule/packaging"
	"ampoule/recipes"
)

// Code is a directory of first-party code.
type Code struct {
	// SHA256 is the hash of its archive in the store, in hex.
	SHA256 string
	// Env are variables that its build backend has beside the recipe's: they are of the
	// code, and not of the lock.
	Env map[string]string
}

// ownProject is a directory of first-party code while it is locked.
type ownProject struct {
	recipes.Project
	code Code
	// specs are what it requires of others (PEP 508), without markers.
	specs []string
}

// dist is the project as a dist. Of one whose name nobody knows yet, the recipe's will do.
func (o ownProject) dist(recipe *recipes.Recipe) recipes.Dist {
	name := o.Name
	if name == "" {
		name = packaging.NormalName(recipe.Name)
	}
	return recipes.OwnDist(name, o.code.SHA256, nil)
}

// readApp says what first-party code requires. A backend is asked where that is not
// written down.
func (p *distLocker) readApp(ctx context.Context) error {
	if len(p.opts.App) != len(p.reqs.Projects) {
		return fmt.Errorf("locking first-party code: %d archives are there of %d projects", len(p.opts.App), len(p.reqs.Projects))
	}
	for i, project := range p.reqs.Projects {
		o := ownProject{Project: project, code: p.opts.App[i]}
		if !o.Static || o.Name == "" {
			if err := p.askOwn(ctx, &o); err != nil {
				return err
			}
		}
		p.own = append(p.own, o)
	}
	names := p.ownNames()
	for i := range p.own {
		for _, d := range p.own[i].Depends(p.recipe.Python.Version, names) {
			if err := d.Err(); err != nil {
				return recipes.Faults{{File: p.own[i].At.File, Line: p.own[i].At.Line, Column: p.own[i].At.Column, What: "its dependency " + err.Error()}}
			}
			p.own[i].specs = append(p.own[i].specs, d.Spec)
		}
	}
	return nil
}

// ownNames are the names of all first-party code.
func (p *distLocker) ownNames() []string {
	names := make([]string, len(p.own))
	for i, o := range p.own {
		names[i] = o.Name
	}
	return names
}

// askOwn has a project's backend say its name, and what it requires.
func (p *distLocker) askOwn(ctx context.Context, o *ownProject) error {
	job, err := p.buildJob(ctx, o.dist(p.recipe))
	if err != nil {
		return err
	}
	text, err := p.stage.Metadata(ctx, p.told(job))
	if err != nil {
		return err
	}
	fields, err := readFields(text)
	if err != nil {
		return fmt.Errorf("reading the metadata of %s: %w", o.Dir, err)
	}
	name := fields["Name"]
	if len(name) != 1 || !packaging.IsName(name[0]) {
		return recipes.Faults{{File: o.At.File, What: fmt.Sprintf("its build backend says no name of a distribution: %q", name)}}
	}
	o.Name = packaging.NormalName(name[0])
	if o.Static {
		return nil
	}
	o.Requires = fields["Requires-Dist"]
	if len(o.Extras) == 0 {
		return nil
	}
	return p.recipe.UnknownExtras(fields["Provides-Extra"], o.Name).Err()
}

// told is a job in which a backend is told what the code has for it.
func (p *distLocker) told(job wheels.Job) wheels.Job {
	for _, c := range p.opts.App {
		if !job.Sdist.Own || c.SHA256 != job.Sdist.SHA256 || len(c.Env) == 0 {
			continue
		}
		job.Sdist = job.Sdist.WithEnv(c.Env)
	}
	return job
}

// ownSpecs are what all first-party code requires of others, sorted.
func (p *distLocker) ownSpecs() []string {
	var specs []string
	for _, o := range p.own {
		specs = append(specs, o.specs...)
	}
	slices.Sort(specs)
	return slices.Compact(specs)
}

// lockApp locks what building first-party code takes.
func (p *distLocker) lockApp(ctx context.Context) error {
	for _, o := range p.own {
		if p.roots[o.Name] {
			return recipes.Faults{{
				File: o.At.File, Line: o.At.Line, Column: o.At.Column,
				What: fmt.Sprintf("%s is the name of first-party code, and of a distribution that is required too", o.Name),
				Hint: "what requires it would get one of both; give the first-party code a name of its own",
			}}
		}
		set, err := p.lockBuild(ctx, o.dist(p.recipe))
		if err != nil {
			return err
		}
		p.lock.App = append(p.lock.App, recipes.LockedApp{
			Source: o.Dir, Name: o.Name, Version: o.Version, Requires: o.specs, Build: &set,
		})
	}
	return nil
}

// previousDists are the dists that built something by the previous lock.
func (p *distLocker) previousDists(sdist recipes.Dist) []string {
	if d, ok := p.opts.Previous.Dist(sdist.ID()); ok && d.Build != nil {
		return d.Build.Dists
	}
	for _, a := range p.opts.Previous.App {
		if sdist.Own && a.Name == sdist.Name && a.Build != nil {
			return a.Build.Dists
		}
	}
	return nil
}

// building says how an sdist is built beside what it declares. Overrides are of what others
// publish: first-party code of one of their names is another thing.
func (p *distLocker) building(sdist recipes.Dist) (recipes.Settings, []recipes.Applied) {
	if sdist.Own {
		return p.recipe.BuildingOwn(sdist.Name), nil
	}
	s, applied := p.recipe.Building(sdist.Name, sdist.Version, p.place())
	for _, limit := range p.recipe.Limits(p.place()) {
		if limit.Name == sdist.Name {
			applied = append(applied, limit.Applied)
		}
	}
	return s, applied
}
