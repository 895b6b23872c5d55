package audit

import (
	"context"
	"path"
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
					if f, ok := r.dependencyFault(lib, d); ok {
						if x.found && !l.root.isExtension() && !l.root.IsExecutable() {
							f.Severity = Warn // a plugin, perhaps of something that is not there
						}
						if other := x.bringer(lib, d); other != "" && !l.root.IsExecutable() {
							f.Severity = Warn
							f.Cause += " " + other + ", which the distribution requires, has one: if that is imported first, it is loaded already."
						}
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

// bringer names the distribution that has a library which ld.so does not find for a file,
// if the file's own distribution requires that one: it may load it before (torchvision
// relies on torch so). Where files are judged for a recipe, that says so ([Provider]).
func (x *exam) bringer(by *loaded, d dependency) string {
	own, ok := strings.CutPrefix(by.entry.Owner, OwnerWheel)
	if !x.found || d.lib != nil || !ok {
		return ""
	}
	first := ""
	for _, o := range x.objects {
		other, ok := strings.CutPrefix(o.entry.Owner, OwnerWheel)
		if ok && o.loads() && o.Soname == d.name && (first == "" || other < first) && slices.Contains(x.alwaysRequired(own), other) {
			first = other
		}
	}
	return first
}

// alwaysRequired lists the distributions that one requires on this interpreter, whatever
// its extras.
func (x *exam) alwaysRequired(name string) []string {
	if names, ok := x.required[name]; ok {
		return names
	}
	var names []string
	env := x.environment()
	for _, d := range x.dists() {
		if d.name != name {
			continue
		}
		full, _ := x.describe(&outcome{}, d)
		for _, r := range full.requires {
			if r.Applies(env, nil) {
				names = append(names, r.Name)
			}
		}
	}
	if x.required == nil {
		x.required = map[string][]string{}
	}
	x.required[name] = names
	return names
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

// fromElsewhere tells whether a file whose wheel is judged alone looks for libraries in
// directories that other distributions may fill, too.
func (r run) fromElsewhere(by *loaded) bool {
	if !r.alone {
		return false
	}
	for l := by; l != nil; l = l.loader {
		for _, search := range []*string{l.RPath, l.RunPath} {
			for _, dir := range (&process{r: r.Resolver}).dirs(l, search) {
				// A directory of its own libraries has the distribution's name: numpy.libs.
				if own := path.Base(path.Clean(dir)); !strings.HasSuffix(own, ".libs") && path.Clean(dir) != path.Dir(l.name) {
					return true
				}
			}
		}
	}
	return false
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
func (r run) dependencyFault(by *loaded, d dependency) (Finding, bool) {
	f := Finding{
		Severity: Refuse, File: by.Path, Field: d.field, Value: printable(d.name), Targets: []string{r.Name},
	}
	switch {
	case d.lib == nil && d.field == "DT_AUXILIARY" && r.found:
		return f, false // the loader does without (ld.so(8))
	case d.lib == nil:
		f.Cause = "The library is missing: " + printable(d.fault) + "."
		if r.fromElsewhere(by) {
			f.Severity = Warn
			f.Cause += " The search path leads into another distribution, which has to bring it."
		}
		f.Remedy = words(r.found, "Carry the library in the tree, or name it in the target's host list if the machine provides it.",
			"Install the library on this machine, or take a release of the distribution that brings it.")
	case d.lib.host || d.lib.inTree || r.host[d.name]:
		return f, false
	case r.found:
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
