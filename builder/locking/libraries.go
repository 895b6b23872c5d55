package locking

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"ampoule/builder/locking/apt"
	"ampoule/builder/progress"
	"ampoule/recipes"
)

// librariesPart is the part of the recipe that names what is loaded by name.
const librariesPart = "runtime.libraries"

// libraries locks the Debian packages whose libraries are loaded by name, on top of the
// toolchain: the tree takes their files out of what everything is built in. It comes after
// the distributions, since overrides of these name such packages, too.
func (d *debianLocker) libraries(ctx context.Context) error {
	wanted, applied := d.recipe.RuntimeLibraries(installedDists(d.lock), placeOf(d.lock))
	if len(wanted) == 0 {
		d.prune()
		return nil
	}
	locked := &recipes.LockedLibraries{Names: wanted, Overrides: applied}
	debs, err := d.add(ctx, d.lock.Base.Suite, d.installed, d.previousLibraries(d.opts.Previous.Libraries, locked), wanted)
	if err != nil {
		return d.libraryFault(err, applied)
	}
	locked.Packages = names(debs)
	d.lock.Libraries = locked
	d.prune()
	tellLibraries(ctx, applied)
	return nil
}

// tellLibraries tells which overrides name libraries, and why.
func tellLibraries(ctx context.Context, applied []recipes.Applied) {
	for _, a := range applied {
		progress.Send(ctx, progress.Event{
			Kind: progress.Told, Stage: progress.StageLock,
			Message: fmt.Sprintf("%s: %s (override %s, revision %s)", a.Name, a.Why, a.Name, a.Revision),
		})
	}
}

// checkLibraries tells of packages that the suite does not have, before anything is compiled
// for them. Those that the last lock has need no look.
func (d *debianLocker) checkLibraries(ctx context.Context) error {
	wanted := d.recipe.Runtime.Libraries
	if previous := d.opts.Previous.Libraries; previous != nil && d.opts.Previous.Base.Suite == d.lock.Base.Suite {
		wanted = slices.DeleteFunc(slices.Clone(wanted), func(name string) bool { return slices.Contains(previous.Names, name) })
	}
	if len(wanted) == 0 {
		return nil
	}
	_, err := d.resolve(ctx, d.lock.Base.Suite, d.installed, pins{}, wanted)
	return d.libraryFault(err, nil)
}

// previousLibraries returns the pins of the packages that the last lock had, as previous says, for
// the same names.
func (d *debianLocker) previousLibraries(previous, now *recipes.LockedLibraries) pins {
	if previous == nil {
		return pins{}
	}
	kept := d.previousPins(d.lock.Base.Suite, previous.Packages, librariesPart)
	kept.whole = kept.whole && slices.Equal(previous.Names, now.Names)
	return kept
}

// libraryFault says where in the recipe a package stands that the suite does not have.
// One that an override names stands nowhere: the hint leaves that out.
func (d *debianLocker) libraryFault(err error, applied []recipes.Applied) error {
	var unknown *apt.UnknownError
	if !errors.As(err, &unknown) {
		return err
	}
	if i := slices.Index(d.recipe.Runtime.Libraries, unknown.Name); i >= 0 {
		return recipes.Faults{d.recipe.Fault(unknown.Error(), unknown.Hint(), "runtime", "libraries", fmt.Sprint(i))}
	}
	hint := unknown.Hint()
	for _, a := range applied {
		hint += fmt.Sprintf("; packages: {%s: {overrides: none}} leaves out what Ampoule knows of %s", a.Name, a.Name)
	}
	return recipes.Faults{d.recipe.Fault(unknown.Error(), hint, "runtime")}
}

// installedDists are the distributions of a lock's tree.
func installedDists(l *recipes.Lock) []recipes.Dist {
	var installed []recipes.Dist
	for _, id := range l.Requirements {
		if d, ok := l.Dist(id); ok {
			installed = append(installed, d)
		}
	}
	return installed
}
