package builder

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"ampoule/builder/cpython"
	"ampoule/builder/fetch"
	"ampoule/builder/layers"
	"ampoule/builder/seal"
	"ampoule/builder/toolchain"
	"ampoule/builder/wheels"
	"ampoule/recipes"
)

// Plan is what a build will do, as far as the recipe and the lock tell: nothing is
// looked up to make it.
type Plan struct {
	// Key addresses the build.
	Key string
	// Inputs are all the files that it takes.
	Inputs []fetch.Item
	// Compiled are the dists that are compiled unless they are there, as
	// NAME==VERSION, those for building other ones included. First-party code has its name
	// alone.
	Compiled []string
	// Adopted are the published wheels that the recipe accepts; only [PlanBuild] lists them.
	Adopted []Adopted
}

// PlanBuild plans what [Builder.Build] would do for a request, and refuses what it would
// refuse before it begins, with the same errors. First-party code is read by git, in an
// environment as os.Environ has it.
func PlanBuild(ctx context.Context, req Request, environ []string) (Plan, error) {
	if err := req.check(); err != nil {
		return Plan{}, err
	}
	req, err := withWorkspace(ctx, req, environ)
	if err != nil {
		return Plan{}, err
	}
	p := req.plan()
	p.Adopted = AdoptedWheels(req.Recipe, req.Lock)
	return p, nil
}

// MakePlan plans a build. Source is the hash of first-party code; empty without any.
func MakePlan(r *recipes.Recipe, l *recipes.Lock, platform, source string) Plan {
	p := Plan{Key: recipes.Key(r, l, platform, versionOf(r), source), Inputs: []fetch.Item{cpython.Item(l.Python)}}
	if item, named := cpython.ProfileItem(r.Python); named {
		p.Inputs = append(p.Inputs, item)
	}
	for _, debs := range l.Debian {
		for _, deb := range debs {
			p.Inputs = append(p.Inputs, toolchain.Item(deb))
		}
	}
	for _, d := range l.Dists {
		p.Inputs = append(p.Inputs, wheels.Items(d)...)
		if d.Build != nil {
			p.Compiled = append(p.Compiled, d.ID())
		}
	}
	for _, a := range l.App {
		d := a.Dist("")
		p.Inputs, p.Compiled = append(p.Inputs, wheels.Items(d)...), append(p.Compiled, d.ID())
	}
	slices.SortFunc(p.Inputs, cmpItems)
	return p
}

// Version is what of Ampoule itself enters every key: the epoch, and a hash of the
// scripts that it runs in sandboxes and of the stages' formats, whose change needs no
// other epoch.
func Version() string {
	added := layers.Key("builder", Epoch, []string{toolchain.Version(), cpython.Version(), wheels.Version(), seal.Version()})
	return fmt.Sprintf("%d-%.12s", Epoch, added)
}

// versionOf is what of Ampoule itself enters the keys of a recipe.
func versionOf(r *recipes.Recipe) string {
	version := Version()
	if rules := cpython.Rules(r.Python); rules != "" {
		version += fmt.Sprintf("-%.12s", rules)
	}
	return version
}

func cmpItems(a, b fetch.Item) int {
	return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Name, b.Name), cmp.Compare(a.SHA256, b.SHA256))
}
