package audit

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/tree"
)

func init() {
	register(check{
		name:   "closure",
		reason: "every needed library is in the tree, glibc's own, or the target's",
		needs:  aMachine,
		run:    checkClosure,
	})
}

// checkClosure looks at what every object of the tree needs, in every process
// that loads it, in every target.
func checkClosure(ctx context.Context, x *exam) (outcome, error) {
	out := outcome{examined: len(x.parsed())}
	for _, r := range x.runs {
		for _, l := range r.loadings {
			if ctx.Err() != nil {
				return out, context.Cause(ctx)
			}
			if x.idle(l.root.object) {
				continue
			}
			if f, ok := r.interpreterFault(l.root); ok {
				out.add(f)
			}
			for _, lib := range l.list {
				if !lib.inTree {
					continue
				}
				for _, d := range lib.deps {
					if f, ok := x.dependencyFault(r, lib, d); ok {
						if x.found && !l.root.isExtension() && !l.root.IsExecutable() {
							f.Severity, f.Needs = Warn, "" // a plugin, perhaps of something that is not there
						}
						x.excuse(&f, l.root.object)
						out.add(f)
					}
				}
			}
		}
	}
	for _, o := range x.parsed() {
		if name := carriedGlibc(o); name != "" && !x.found {
			out.add(Finding{
				Severity: Refuse, File: o.entry.Path, Field: "name", Value: printable(name),
				Cause:  "The tree carries a library of glibc, which must come from the same build as the machine's ld.so.",
				Remedy: "Leave the library out of the tree; the target provides it.",
			})
		}
	}
	return out, nil
}

// carriedGlibc returns the name by which a file of the tree stands in for one of
// glibc's libraries; empty when it does not.
func carriedGlibc(o *object) string {
	for _, name := range []string{o.Soname, path.Base(o.entry.Path)} {
		if IsGlibc(name) {
			return name
		}
	}
	return ""
}

// interpreterFault judges PT_INTERP: the kernel opens it by its absolute path.
func (r run) interpreterFault(l *loaded) (Finding, bool) {
	if l.Interp == "" || !l.IsExecutable() {
		return Finding{}, false
	}
	at, ok := r.resolve(l.Interp)
	if ok && at.Kind == tree.File && !at.inTree && path.IsAbs(l.Interp) && IsGlibc(path.Base(l.Interp)) {
		return Finding{}, false
	}
	return Finding{
		Severity: Refuse, File: l.Path, Field: "PT_INTERP", Value: printable(l.Interp), Targets: []string{r.Name},
		Cause:  words(r.found, "The target", "The machine") + " does not have the dynamic loader that the executable asks for.",
		Remedy: words(r.found, "Link it with the toolchain's own dynamic loader.", "Take a build of the program for this system: what is for glibc does not start on musl, nor the other way round."),
	}, true
}

// dependencyFault judges where one dependency leads.
func (x *exam) dependencyFault(r run, by *loaded, d dependency) (Finding, bool) {
	f := Finding{
		Severity: Refuse, File: by.Path, Field: d.field, Value: printable(d.name), Targets: []string{r.Name},
	}
	switch {
	case d.lib == nil && d.field == "DT_AUXILIARY" && x.found:
		return f, false // the loader does without (ld.so(8))
	case d.lib == nil:
		x.missing(&f, by, d)
	case d.lib.brought != "":
		f.Severity = Warn
		f.Cause = "The loader does not find the library for this file. " + d.lib.brought + ": the file loads if that was loaded before."
		f.Remedy = "Import that first; better, build the file with an RPATH that leads to the library."
	case d.lib.host || d.lib.inTree || r.host[d.name]:
		return f, false
	case x.found:
		return f, false // it works here, and is not to work elsewhere
	case strings.Contains(d.name, "/"):
		f.Cause = "The library is needed by a path outside the tree."
		f.Remedy = "Link by soname."
	case IsGlibc(d.name) && slices.Contains(defaultDirs(by.Machine), path.Dir(d.lib.name)):
		return f, false
	default:
		f.Cause = "The library is found in the target at " + printable(d.lib.name) + ", which no other machine has to have."
		f.Remedy = "Carry the library in the tree, or name it in the target's host list if every machine provides it."
	}
	return f, true
}

// missing says of a library that is nowhere what is wrong, and what helps. In a wheel that is
// judged alone another distribution may bring it; nothing but that is excused so.
func (x *exam) missing(f *Finding, by *loaded, d dependency) {
	f.Cause = "The library is missing: " + printable(d.fault) + "."
	if !x.found {
		f.Remedy = "Carry the library in the tree, or name it in the target's host list if the machine provides it."
		return
	}
	f.Remedy = x.remedyFor(by, d.name)
	if d.needs != "" {
		f.Severity, f.Needs = Undecided, d.needs
		return
	}
	own, ok := strings.CutPrefix(by.entry.Owner, OwnerWheel)
	if _, _, system := SystemPackageOf(d.name); !x.alone || !ok || system && wheelOf(d.name) == "" || isNobodys(d.name) {
		return
	}
	if others := x.applying(own); len(others) > 0 {
		f.Severity = Undecided
		f.Cause += " One of the distributions that it requires may have it."
		f.Needs = listed(others) + ", which it requires: audit the environment in which they are installed together, or a directory with the wheels of all of them"
	}
}

// grafted matches the names that auditwheel gives to the libraries that it puts into a wheel.
var grafted = regexp.MustCompile(`-[0-9a-f]{8}\.(so\b|[\w.-]+\.so\b)`)

// isNobodys reports whether no other distribution brings a library: glibc's, a Python's runtime,
// and what a wheel has of its own.
func isNobodys(name string) bool {
	return IsGlibc(name) || IsLibpython(name) || grafted.MatchString(name)
}

// maxListed is how many distributions one finding names.
const maxListed = 6

func listed(names []string) string {
	if more := len(names) - maxListed; more > 0 {
		return printable(strings.Join(names[:maxListed], ", ")) + fmt.Sprintf(" and %d more", more)
	}
	return printable(strings.Join(names, ", "))
}

// remedyFor says how somebody who has found a file gets a library that it lacks.
func (x *exam) remedyFor(by *loaded, name string) string {
	switch {
	case IsLibpython(name):
		return "Take a release that is built without linking libpython, or build it so: no extension module needs one (PEP 513)."
	case grafted.MatchString(name):
		return "It is a library of the wheel itself: install it again if it is gone from there; a wheel that never had it is broken, take another release."
	}
	if dist := wheelOf(name); dist != "" {
		return "Install " + dist + " of the release that the file was built with beside it: its wheel has the library."
	}
	p, exact, ok := SystemPackageOf(name)
	switch {
	case IsGlibc(name):
		return "It is glibc's own: the file is for a system with glibc, and this one has none, or another."
	case ok && exact:
		return "Install the system's package that has it: " + p.String() + "."
	case ok:
		return "It is another version of the library that is in " + p.String() + ": take a release of the wheel that is built for this system's, or build it here."
	}
	if own, isOurs := strings.CutPrefix(by.entry.Owner, OwnerWheel); isOurs {
		for _, other := range x.applying(own) {
			if !x.alone && !slices.ContainsFunc(x.dists(), func(d dist) bool { return d.name == other }) {
				return "Install " + printable(other) + ", which the distribution requires and which is not there; or take another release."
			}
		}
	}
	return "Install what has the library on this system (apt-file search, dnf provides, apk search), take another release of the wheel, or build it here: auditwheel repair puts libraries into a wheel."
}
