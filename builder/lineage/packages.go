package lineage

import (
	"fmt"
	"maps"
	"slices"

	"ampoule/recipes"
)

// Package is a Debian package of a lock, and what takes it.
type Package struct {
	Suite   string `json:"suite"`
	Version string `json:"version"`
	// Takers are parts of the lock, those of groups too; where a person wrote the name, with the
	// place. What they take comes with all that it depends on.
	Takers []Taker `json:"takers"`
}

// Taker is a part of a lock that has a Debian package.
type Taker struct {
	// Part is the base, the toolchain, a runtime target, what is loaded by name, or the build of
	// a distribution.
	Part string `json:"part"`
	// At is where the recipe names the package; nil where it does not.
	At *recipes.Position `json:"at,omitempty"`
}

// Packages says what takes a Debian package: one for each suite that has it, sorted.
func Packages(r *recipes.Recipe, l *recipes.Lock, name string) []Package {
	takers := map[string][]Taker{}
	take := func(suite string, has []string, part string, named []string, path ...string) {
		if !slices.Contains(has, name) {
			return
		}
		t := Taker{Part: part}
		if i := slices.Index(named, name); i >= 0 {
			at := r.At(append(path, fmt.Sprint(i))...)
			t.At = &at
		}
		takers[suite] = append(takers[suite], t)
	}
	base := l.Base.Suite
	take(base, l.Base.Packages, "the base", nil)
	take(base, l.Toolchain, "the toolchain", r.Toolchain.Packages, "toolchain", "packages")
	for _, target := range slices.Sorted(maps.Keys(l.Targets)) {
		take(l.Targets[target].Suite, l.Targets[target].Packages, "the target "+target, nil)
	}
	libraries := func(locked *recipes.LockedLibraries, part string) {
		if locked != nil {
			take(base, slices.Concat(locked.Names, locked.Packages), part, r.Runtime.Libraries, "runtime", "libraries")
		}
	}
	builds := func(of, id string, set *recipes.BuildSet, part string) {
		if set != nil {
			take(base, set.Packages, "the build of "+id+part, r.Packages[of].Build, "packages", of, "build")
		}
	}
	libraries(l.Libraries, "what is loaded by name")
	for _, d := range l.Dists {
		builds(d.Name, d.ID(), d.Build, "")
	}
	for _, app := range l.App {
		builds(app.Name, app.Name, app.Build, "")
	}
	for _, group := range slices.Sorted(maps.Keys(l.Groups)) {
		in := " in the dependency group " + group
		libraries(l.Groups[group].Libraries, "what is loaded by name"+in)
		for _, d := range l.Groups[group].Dists {
			builds(d.Name, d.ID(), d.Build, in)
		}
	}
	var found []Package
	for _, suite := range slices.Sorted(maps.Keys(takers)) {
		found = append(found, Package{Suite: suite, Version: version(l, suite, name), Takers: takers[suite]})
	}
	return found
}

// version is a package's in a suite of a lock, or of a group's section; empty if the base has it.
func version(l *recipes.Lock, suite, name string) string {
	all := slices.Clone(l.Debian[suite])
	for _, group := range l.Groups {
		all = append(all, group.Debian[suite]...)
	}
	for _, deb := range all {
		if deb.Name == name {
			return deb.Version
		}
	}
	return ""
}
