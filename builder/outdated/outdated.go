// Package outdated compares locked versions with those that the index has. It resolves nothing:
// a version counts as admitted if every requirement that is known admits it, each looked at by
// itself, with all other releases as they are locked.
package outdated

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"

	"ampoule/builder/fetch"
	"ampoule/builder/lineage"
	"ampoule/packaging"
	"ampoule/recipes"
)

// Index lists the files of projects, as [fetch.Fetcher.Project] does.
type Index interface {
	Project(ctx context.Context, source, name string) ([]fetch.IndexFile, error)
}

// Pin is one locked release of the tree.
type Pin struct {
	Name string `json:"name"`
	// Group is the dependency group that has it; empty is the artifact.
	Group string `json:"group,omitempty"`
	// Direct is set of what a person requires, and not only another release.
	Direct bool `json:"direct"`
	// Locked is the version now. Allowed is the newest that has a file for the recipe's Python
	// and that every known requirement admits, never older than Locked; Newest is the newest of
	// all. Pre-releases count if Locked is one, withdrawn releases (PEP 592) never. Newest is
	// empty if no index has the project.
	Locked  string `json:"locked"`
	Allowed string `json:"allowed"`
	Newest  string `json:"newest,omitempty"`
	// Held are the requirements that do not admit Newest. There are none where Newest has no
	// file for the recipe's Python.
	Held []lineage.Edge `json:"held"`
}

// IsOutdated reports whether there is a newer version.
func (p Pin) IsOutdated() bool {
	return p.Newest != "" && (p.Allowed != p.Locked || p.Newest != p.Locked)
}

// Compare looks at some names of a graph, at several at once. Pins come in the order of the names.
func Compare(ctx context.Context, index Index, r *recipes.Recipe, g *lineage.Graph, names []string) ([]Pin, error) {
	pins := make([]Pin, len(names))
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.SetLimit(8)
	for i, name := range names {
		tasks.Go(func() (err error) {
			pins[i], err = compare(ctx, index, r, g, name)
			return err
		})
	}
	if err := tasks.Wait(); err != nil {
		return nil, err
	}
	return pins, nil
}

func compare(ctx context.Context, index Index, r *recipes.Recipe, g *lineage.Graph, name string) (Pin, error) {
	d, _ := g.Installed(name)
	direct := slices.ContainsFunc(g.Chains(name), func(c lineage.Chain) bool { return len(c.Edges) == 1 && c.Whole })
	p := Pin{Name: name, Direct: direct, Locked: d.Version, Allowed: d.Version, Held: []lineage.Edge{}}
	files, err := index.Project(ctx, fetch.PyPI, name)
	if _, gone := errors.AsType[*fetch.NoProjectError](err); gone {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	locked, err := packaging.ParseVersion(d.Version)
	if err != nil {
		return p, err
	}
	all := releases(files, d, pythonOf(r), func() bool { _, ok := r.Accepted(name); return ok }())
	newest, allowed := locked, locked
	for _, one := range all {
		if one.version.IsPrerelease() && !locked.IsPrerelease() {
			continue
		}
		if one.version.Compare(newest) > 0 {
			newest = one.version
		}
		if one.fits && one.version.Compare(allowed) > 0 && len(g.Refusing(name, one.version.String())) == 0 {
			allowed = one.version
		}
	}
	p.Newest = d.Version
	if newest.Compare(locked) > 0 {
		p.Newest = newest.String()
		p.Held = append(p.Held, g.Refusing(name, p.Newest)...)
	}
	if allowed.Compare(locked) > 0 {
		p.Allowed = allowed.String()
	}
	return p, nil
}

// release is one version of a project; fits is set if it has a file that could be locked.
type release struct {
	version packaging.Version
	fits    bool
}

// python is the recipe's interpreter, as files are chosen for it.
type python struct {
	packaging.CPython
	version packaging.Version
}

func pythonOf(r *recipes.Recipe) python {
	p := python{CPython: packaging.CPython{Machine: "x86_64"}} // the one platform there is
	if v, err := packaging.ParseVersion(r.Python.Version); err == nil {
		p.version = v
		if parts := v.Release(); len(parts) > 1 {
			p.Minor, _ = strconv.Atoi(parts[1])
		}
	}
	return p
}

// releases gathers the versions of a project that were not withdrawn.
func releases(files []fetch.IndexFile, d recipes.Dist, on python, accepted bool) map[string]release {
	found := map[string]release{}
	for _, f := range files {
		text, isSdist := packaging.SdistVersion(f.File, d.Name)
		wheel, err := packaging.ParseWheelName(f.File)
		if err == nil {
			text = wheel.Version
		}
		version, wrong := packaging.ParseVersion(text)
		if f.Yanked || wrong != nil || err != nil && !isSdist {
			continue
		}
		fits := f.SHA256 != "" && on.allows(f.RequiresPython)
		if err == nil {
			// Native code is compiled, from an sdist, where it is not accepted.
			fits = fits && slices.ContainsFunc(wheel.Tags(), on.Supports) && (accepted || isPure(wheel))
		}
		key := version.String()
		found[key] = release{version, fits || found[key].fits}
	}
	return found
}

func isPure(w packaging.WheelName) bool { return w.ABI == "none" && w.Platform == "any" }

// allows reports whether a Requires-Python admits the interpreter. One that is none is left out,
// as installers do.
func (p python) allows(requires string) bool {
	specifiers, err := packaging.ParseSpecifiers(requires)
	return requires == "" || err != nil || specifiers.Contains(p.version)
}
