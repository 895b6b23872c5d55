package recipes

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"ampoule/packaging"
)

// Check tells what is wrong in a lock beyond the form of single values: what it
// refers to and does not have, what nothing refers to, files that are not of the
// dist that they stand for. Locks that were read have passed it.
func (l *Lock) Check() error { return l.check().Err() }

func (l *Lock) check() Faults {
	c := &lockCheck{lock: l}
	c.python()
	c.debian()
	c.dists()
	c.cycles()
	if len(c.faults) == 0 {
		c.groups()
	}
	return c.faults
}

type lockCheck struct {
	lock   *Lock
	faults Faults
}

func (c *lockCheck) add(what string, path ...string) {
	c.faults = append(c.faults, c.lock.At(path...).fault(what, ""))
}

func (c *lockCheck) python() {
	p := c.lock.Python
	if !strings.HasPrefix(p.File, "Python-"+p.Version+".t") {
		c.add(fmt.Sprintf("%s is not the archive of CPython %s", p.File, p.Version), "python", "file")
	}
	if _, known := KnownPython(p.Version); !known && len(p.Flags) == 0 {
		c.add(fmt.Sprintf("the configure flags of CPython %s are not recorded", p.Version), "python")
	}
}

// debian holds every name of a package to one entry of its suite, and every entry
// to a name.
func (c *lockCheck) debian() {
	l := c.lock
	have, wanted := c.debs(), map[[2]string]bool{}
	use := func(suite string, names []string, path ...string) {
		for i, name := range names {
			wanted[[2]string{suite, name}] = true
			if !have[[2]string{suite, name}] {
				c.add(fmt.Sprintf("the lock has no package %s of %s", name, orNone(suite)), child(path, strconv.Itoa(i))...)
			}
		}
	}
	c.base(l.Base, "base")
	use(l.Base.Suite, l.Base.Packages, "base", "packages")
	use(l.Base.Suite, l.Toolchain, "toolchain")
	if l.Libraries != nil {
		use(l.Base.Suite, l.Libraries.Packages, "libraries", "packages")
	}
	for i, d := range l.Dists {
		if d.Build != nil {
			use(l.Base.Suite, d.Build.Packages, "dists", strconv.Itoa(i), "build", "packages")
		}
	}
	for i, a := range l.App {
		if a.Build != nil {
			use(l.Base.Suite, a.Build.Packages, "app", strconv.Itoa(i), "build", "packages")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.Targets)) {
		c.base(l.Targets[name], "targets", name)
		use(l.Targets[name].Suite, l.Targets[name].Packages, "targets", name, "packages")
	}
	for _, suite := range slices.Sorted(maps.Keys(l.Debian)) {
		for i, deb := range l.Debian[suite] {
			if !wanted[[2]string{suite, deb.Name}] {
				c.add(fmt.Sprintf("nothing uses the package %s of %s", deb.Name, suite), "debian", suite, strconv.Itoa(i))
			}
		}
	}
}

// debs gives the packages that the lock has, by suite and name, and tells of
// those that it has twice.
func (c *lockCheck) debs() map[[2]string]bool {
	have := map[[2]string]bool{}
	for _, suite := range slices.Sorted(maps.Keys(c.lock.Debian)) {
		for i, deb := range c.lock.Debian[suite] {
			key := [2]string{suite, deb.Name}
			if have[key] {
				c.add(fmt.Sprintf("%s has %s twice", suite, deb.Name), "debian", suite, strconv.Itoa(i))
			}
			have[key] = true
		}
	}
	return have
}

func orNone(suite string) string {
	if suite == "" {
		return "any suite"
	}
	return suite
}

// base tells of a base that is neither an image nor packages.
func (c *lockCheck) base(b LockedBase, path ...string) {
	if b.Image == "" && (b.Suite == "" || len(b.Packages) == 0) {
		c.add(dotted(path)+" is neither an image nor the packages of a suite", path...)
	}
}

// dists holds every ID to one entry, every entry to an ID, and each entry to itself.
func (c *lockCheck) dists() {
	l := c.lock
	have, used := map[string]bool{}, map[string]bool{}
	for i, d := range l.Dists {
		at := []string{"dists", strconv.Itoa(i)}
		if have[d.ID()] {
			c.add(fmt.Sprintf("%s stands twice in the lock", d.ID()), at...)
		}
		have[d.ID()] = true
		c.dist(d, at)
	}
	use := func(ids []string, path ...string) {
		for i, id := range ids {
			used[id] = true
			if !have[id] {
				c.add(fmt.Sprintf("the lock has no dist %s", id), child(path, strconv.Itoa(i))...)
			}
		}
	}
	use(l.Requirements, "requirements")
	c.distinctNames(l.Requirements, "requirements")
	for i, d := range l.Dists {
		if d.Build != nil {
			use(d.Build.Dists, "dists", strconv.Itoa(i), "build", "dists")
			c.distinctNames(d.Build.Dists, "dists", strconv.Itoa(i), "build", "dists")
		}
	}
	for i, a := range l.App {
		if a.Build != nil {
			use(a.Build.Dists, "app", strconv.Itoa(i), "build", "dists")
			c.distinctNames(a.Build.Dists, "app", strconv.Itoa(i), "build", "dists")
		}
	}
	c.app()
	for i, d := range l.Dists {
		if !used[d.ID()] {
			c.add(fmt.Sprintf("nothing uses the dist %s", d.ID()), "dists", strconv.Itoa(i))
		}
	}
}

// app tells of first-party code that has the name of another distribution in the tree.
func (c *lockCheck) app() {
	seen := map[string]string{}
	for _, id := range c.lock.Requirements {
		name, _, _ := strings.Cut(id, "==")
		seen[name] = id
	}
	for i, a := range c.lock.App {
		if other, twice := seen[a.Name]; twice {
			c.add(fmt.Sprintf("the first-party code in %s is called %s, as is %s", a.Source, a.Name, other), "app", strconv.Itoa(i))
		}
		seen[a.Name] = "that in " + a.Source
	}
}

// distinctNames tells of two versions of one distribution in one environment.
func (c *lockCheck) distinctNames(ids []string, path ...string) {
	seen := map[string]string{}
	for i, id := range ids {
		name, _, _ := strings.Cut(id, "==")
		if other, twice := seen[name]; twice {
			c.add(fmt.Sprintf("%s and %s cannot be installed together", other, id), child(path, strconv.Itoa(i))...)
		}
		seen[name] = id
	}
}

func (c *lockCheck) dist(d Dist, at []string) {
	if !isFileOf(d) {
		c.add(fmt.Sprintf("%s is not a file of %s", d.File, d.Name), at...)
	}
	switch {
	case d.IsWheel() && d.Build != nil:
		c.add(fmt.Sprintf("the wheel %s has build requirements", d.File), at...)
	case !d.IsWheel() && d.Build == nil:
		c.add(fmt.Sprintf("the sdist %s has no build requirements recorded", d.File), at...)
	}
	if d.Build != nil {
		c.cargoLocks(d.Build.CargoLocks, child(child(at, "build"), "cargo-locks"))
	}
}

// cargoLocks tells of a file that would be added twice.
func (c *lockCheck) cargoLocks(locks []CargoLock, at []string) {
	for i, l := range locks {
		if i > 0 && locks[i-1].File >= l.File {
			c.add(fmt.Sprintf("%s stands after %s: the files are sorted, each once", l.File, locks[i-1].File), child(at, strconv.Itoa(i))...)
		}
	}
}

// isFileOf reports whether a dist's file is named for the dist.
func isFileOf(d Dist) bool {
	if d.IsWheel() {
		name, err := packaging.ParseWheelName(d.File)
		return err == nil && packaging.NormalName(name.Distribution) == d.Name
	}
	_, ok := packaging.SdistVersion(d.File, d.Name)
	return ok
}

// cycles tells of sdists that would have to be built before themselves.
func (c *lockCheck) cycles() {
	const visiting, done = 1, 2
	index := map[string]int{}
	for i, d := range c.lock.Dists {
		index[d.ID()] = i
	}
	state := make([]int, len(c.lock.Dists))
	var visit func(i int)
	visit = func(i int) {
		state[i] = visiting
		d := c.lock.Dists[i]
		if d.Build != nil {
			for n, id := range d.Build.Dists {
				next, ok := index[id]
				switch {
				case ok && state[next] == visiting:
					c.add(fmt.Sprintf("building %s takes %s, which takes %s", d.ID(), id, d.ID()), "dists", strconv.Itoa(i), "build", "dists", strconv.Itoa(n))
				case ok && state[next] == 0:
					visit(next)
				}
			}
		}
		state[i] = done
	}
	for i := range state {
		if state[i] == 0 {
			visit(i)
		}
	}
}
