package builder

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"ampoule/builder/wheels"
	"ampoule/packaging"
	"ampoule/recipes"
)

// Adopted is a published wheel with native code that the recipe accepts in place of its
// own, and what is known of building it from source.
type Adopted struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	File    string `json:"file"`
	// Until is the last day of its acceptance, as YYYY-MM-DD in UTC, and Why its reason.
	Until string `json:"until"`
	Why   string `json:"why"`
	// Known is what Ampoule and the recipe add to its build: Debian packages, build
	// requirements, patches and the like.
	Known []string `json:"known"`
	// Blocks are what is in the way of building this version, or is not known of it.
	Blocks []string `json:"blocks"`
}

// ID is the wheel's release: NAME==VERSION.
func (a Adopted) ID() string { return a.Name + "==" + a.Version }

// AdoptedWheels lists the published wheels with native code that a lock takes because the
// recipe accepts them, sorted by name. Nothing is looked up: what only an index or an
// sdist says, such as whether there is an sdist, is among what is not known.
func AdoptedWheels(r *recipes.Recipe, l *recipes.Lock) []Adopted {
	at := recipes.Place{Suite: l.Base.Suite, Python: l.Python.Version}
	// What is accepted is held by no limit: those of builds are asked for without acceptances.
	built := *r
	built.Binary = recipes.Binary{}
	var all []Adopted
	for _, d := range l.Dists {
		accepted, ok := r.Accepted(d.Name)
		if !ok || !d.IsWheel() || wheels.IsPure(d.File) || r.BuildWheel(d.Name, at) == recipes.BuildTool && !slices.Contains(l.Requirements, d.ID()) {
			continue
		}
		a := Adopted{Name: d.Name, Version: d.Version, File: d.File, Until: accepted.Until, Why: accepted.Why, Known: []string{}, Blocks: []string{}}
		settings, rules := r.Building(d.Name, d.Version, at)
		a.Known = append(a.Known, knownOf(settings)...)
		for _, limit := range built.Limits(at) {
			if limit.Name == d.Name && !within(limit.Spec, d.Version) {
				a.Blocks = append(a.Blocks, fmt.Sprintf("it is known to be built as %s: %s", limit.Spec, limit.Why))
			}
		}
		if len(rules) == 0 && len(a.Known) == 0 {
			a.Blocks = append(a.Blocks, "nothing is known of its build: which Debian packages it needs, only trying tells")
		}
		a.Blocks = append(a.Blocks, "the lock does not say whether the index has an sdist of it")
		all = append(all, a)
	}
	return all
}

// within reports whether a version meets a constraint, NAME<2.
func within(spec, version string) bool {
	required, err := packaging.ParseRequirement(spec)
	return err == nil && required.Admits(version)
}

// knownOf says what is added to a build, a text for each kind.
func knownOf(s recipes.Settings) []string {
	var all []string
	add := func(what string, names []string) {
		if len(names) > 0 {
			all = append(all, what+" "+strings.Join(names, ", "))
		}
	}
	add("Debian packages", s.Build)
	add("build requirements", s.Requires)
	add("patches", s.Patches)
	add("crates", s.Crates)
	add("environment", slices.Sorted(maps.Keys(s.Env)))
	add("config settings", slices.Sorted(maps.Keys(s.ConfigSettings)))
	return all
}
