package audit

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/packaging"
	"ampoule/tree"
)

func init() {
	register(check{
		name:   "metadata",
		reason: "every distribution is the locked one, what it requires is there, and its programs start and call what exists",
		needs:  anInterpreter | aPlace,
		run:    checkMetadata,
	})
}

// described is an installed distribution with what its METADATA says.
type described struct {
	dist
	version  string
	requires []packaging.Requirement
	// extras are those with which others want it.
	extras []string
}

// checkMetadata compares METADATA with the name of its directory (PEP 376) and with the
// lock, looks for what each distribution requires of others here (PEP 508), for what its
// programs call (entry points specification, PyPA), and for what starts them.
func checkMetadata(ctx context.Context, x *exam) (outcome, error) {
	out := outcome{}
	list, sources := map[string]*described{}, map[string]names{}
	var all []string
	for _, d := range x.dists() {
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
		out.examined++
		full, ok := x.describe(&out, d)
		if !ok {
			continue
		}
		if list[d.name] == nil {
			all = append(all, d.name)
		}
		list[d.name] = &full
		x.programs(&out, d, sources)
	}
	slices.Sort(all)
	for name, version := range x.installed {
		if list[name] == nil {
			list[name] = &described{version: version}
		}
	}
	env := x.environment()
	if err := spreadExtras(ctx, list, all, env); err != nil {
		return out, err
	}
	for _, name := range all {
		x.requirements(&out, list[name], list, env)
	}
	x.compareLock(&out, list)
	x.compareCompiled(&out, list)
	if x.prefix == "" { // else the check environment looks at them
		x.starts(&out)
	}
	return out, nil
}

// describe reads a distribution's METADATA.
func (x *exam) describe(out *outcome, d dist) (described, bool) {
	f := Finding{
		Severity: x.travels(), File: d.info + "/METADATA", Field: "header",
		Cause: "What the distribution is cannot be read.", Remedy: "Install the wheel again.",
	}
	e, ok := x.Tree.Lookup(f.File)
	if !ok || e.Kind != tree.File || e.Size > maxMetadata {
		f.Value = "no such file, or too large a one"
		out.add(f)
		return described{}, false
	}
	data, err := e.ReadAll()
	var h packaging.Metadata
	if err == nil {
		h, err = packaging.ParseMetadata(data)
	}
	if err != nil {
		f.Value = printable(err.Error())
		out.add(f)
		return described{}, false
	}
	_, version, _ := packaging.ParseInfoDir(path.Base(d.info))
	if packaging.NormalName(h.Get("Name")) != d.name || strings.ReplaceAll(h.Get("Version"), "-", "_") != version {
		f.Field, f.Value = "Name, Version", printable(h.Get("Name")+" "+h.Get("Version"))
		f.Cause = "METADATA names another distribution or version than its directory."
		out.add(f)
	}
	full := described{dist: d, version: h.Get("Version")}
	requires := h.Values("Requires-Dist")
	for _, text := range requires[:min(len(requires), maxRequires)] {
		r, err := packaging.ParseRequirement(text)
		if err != nil {
			out.add(Finding{
				Severity: Warn, File: f.File, Field: "Requires-Dist", Value: printable(text),
				Cause:  "The requirement cannot be read, so that nobody knows whether it is satisfied.",
				Remedy: "Nothing here; the distribution's next release should say it in the form of PEP 508.",
			})
			continue
		}
		full.requires = append(full.requires, r)
	}
	return full, true
}

// environment is what markers ask for on the tree's interpreter.
func (x *exam) environment() packaging.Environment {
	full, err := readVersion(x.Tree, x.home)
	if err != nil {
		full = x.home.version
	}
	return packaging.LinuxEnvironment(full, x.python().Machine)
}

// spreadExtras notes with which extras distributions are wanted by others, until nothing
// new comes of it.
func spreadExtras(ctx context.Context, list map[string]*described, names []string, env packaging.Environment) error {
	for changed := true; changed; {
		changed = false
		for _, name := range names {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			d := list[name]
			for _, r := range d.requires {
				wanted := list[r.Name]
				if wanted == nil || !r.Applies(env, d.extras) {
					continue
				}
				for _, extra := range r.Extras {
					if len(wanted.extras) < maxExtras && !slices.Contains(wanted.extras, extra) {
						wanted.extras = append(wanted.extras, extra)
						changed = true
					}
				}
			}
		}
	}
	return nil
}

// Bounds that no real distribution comes near: requirements of one, extras of one that
// others want, and programs of one.
const (
	maxRequires = 5000
	maxExtras   = 100
	maxPrograms = 5000
)

// requirements looks for what a distribution requires.
func (x *exam) requirements(out *outcome, d *described, list map[string]*described, env packaging.Environment) {
	for _, r := range d.requires {
		if !r.Applies(env, d.extras) {
			continue
		}
		out.examined++
		f := Finding{
			Severity: x.travels(), File: d.info + "/METADATA", Field: "Requires-Dist", Value: printable(r.Name + r.Specifiers.String()),
			Remedy: words(x.found, "Add it to the requirements and lock again, or write an exception if it is never needed.", "Install a version that it admits; nothing, if what needs it is never used."),
		}
		switch found := list[r.Name]; {
		case found == nil:
			f.Cause = d.name + " requires a distribution that is not there."
		case !r.Admits(found.version):
			f.Cause = fmt.Sprintf("%s requires another version of %s than %s, which is there.", d.name, r.Name, printable(found.version))
		default:
			continue
		}
		out.add(f)
	}
}

// compareLock compares what is installed with what was locked, both ways, where a lock is known.
func (x *exam) compareLock(out *outcome, list map[string]*described) {
	for _, locked := range x.Locked {
		f := Finding{
			Severity: Refuse, File: x.home.site, Field: "lock", Value: printable(locked.Name + " " + locked.Version), absolute: true,
			Cause:  "The locked distribution is not in the tree.",
			Remedy: "This is a fault of whatever made the tree: build again.",
		}
		if found := list[packaging.NormalName(locked.Name)]; found != nil {
			if packaging.SameVersion(found.version, locked.Version) {
				continue
			}
			f.File, f.Cause = found.info+"/METADATA", "The tree has version "+printable(found.version)+" of the distribution."
		}
		out.add(f)
	}
	for _, name := range slices.Sorted(maps.Keys(list)) {
		if d := list[name]; len(x.Locked) > 0 && !x.isLocked(d) {
			out.add(Finding{
				Severity: Refuse, File: d.info, Field: "lock", Value: printable(d.name + " " + d.version), absolute: true,
				Cause:  "No lock names the distribution: a wheel of another one brings it.",
				Remedy: "Leave it out of that wheel: packages.NAME.patches.",
			})
		}
	}
}

// compareCompiled warns of distributions that were compiled with another version of one
// whose C interface they use than runs beside them, if that version refuses them.
func (x *exam) compareCompiled(out *outcome, list map[string]*described) {
	for _, name := range slices.Sorted(maps.Keys(x.CompiledWith)) {
		d := list[name]
		for _, with := range x.CompiledWith[name] {
			runs := list[packaging.NormalName(with.Name)]
			if d == nil || runs == nil || !refusesCompiled(with.Name, with.Version, runs.version) {
				continue
			}
			out.add(Finding{
				Severity: Warn, File: d.info + "/METADATA", Field: "compiled with",
				Value:  printable(with.Name + " " + with.Version + ", and " + runs.version + " runs"),
				Cause:  "The C interface of the one that runs is not the one that was compiled for: modules refuse to be imported, or crash.",
				Remedy: "Lock again with a version for the tree that the build of this one admits, too.",
			})
		}
	}
}

// refusesCompiled reports whether a version of a distribution refuses modules that were
// compiled with another version of it. NumPy 2 refuses those of NumPy 1, and a NumPy those
// of a later one before 1.25, which began to compile for older ones ("For downstream
// package authors", NumPy's documentation). Modules by cffi run with all that are compared
// here: its backend takes those of all since 1.0.
func refusesCompiled(name, compiled, runs string) bool {
	c, err := packaging.ParseVersion(compiled)
	r, errRuns := packaging.ParseVersion(runs)
	if err != nil || errRuns != nil || packaging.NormalName(name) != "numpy" {
		return false
	}
	two, compatible := packaging.Specifiers{{Operator: ">=", Version: "2.0.0rc1"}}, packaging.Specifiers{{Operator: ">=", Version: "1.25"}}
	if two.Contains(c) != two.Contains(r) {
		return two.Contains(r)
	}
	return !compatible.Contains(c) && r.Compare(c) < 0
}

// isLocked reports whether a distribution is locked, or came with the interpreter.
func (x *exam) isLocked(d *described) bool {
	if e, ok := x.Tree.Lookup(d.record); ok && e.Owner == OwnerInterpreter {
		return true
	}
	return slices.ContainsFunc(x.Locked, func(l Locked) bool { return packaging.NormalName(l.Name) == d.name })
}

// maxEntryPoints bounds entry_points.txt, in bytes.
const maxEntryPoints = 1 << 20

// programs looks for what a distribution's programs call.
func (x *exam) programs(out *outcome, d dist, sources map[string]names) {
	e, ok := x.Tree.Lookup(d.info + "/entry_points.txt")
	if !ok || e.Kind != tree.File || e.Size > maxEntryPoints {
		return
	}
	data, err := e.ReadAll()
	if err != nil {
		return // record tells that it is not what RECORD lists
	}
	n := 0
	for point := range packaging.EntryPoints(data) {
		if !point.IsScript() {
			continue
		}
		n++
		if n > maxPrograms {
			return
		}
		out.examined++
		f := Finding{
			Severity: x.travels(), File: e.Path, Field: "program", Value: printable(point.Line),
			Cause:  "The line does not say which function of which module the program calls.",
			Remedy: words(x.found, "Take a release whose programs start, or write an exception if nobody starts this one.", "Take a release whose programs start; nothing, if nobody starts this one."),
		}
		if module, attribute, ok := point.Object(); ok && point.Name != "" {
			f.Cause = x.calls(sources, module, attribute)
			if f.Cause == "" {
				continue
			}
		}
		out.add(f)
	}
}

// names are the identifiers in a module's source; nil when they do not tell which names it
// has, since it makes some up.
type names map[string]bool

var (
	identifiers = regexp.MustCompile(`[A-Za-z_]\w*`)
	imported    = regexp.MustCompile(`import\s*\*`)
)

func namesIn(e tree.Entry) names {
	source, err := e.ReadAll()
	if err != nil || imported.Match(source) {
		return nil
	}
	list := names{}
	for _, name := range identifiers.FindAll(source, -1) {
		list[string(name)] = true
	}
	if list["__getattr__"] || list["globals"] || list["exec"] {
		return nil
	}
	return list
}

// maxIdentifiers bounds those that are remembered of sources.
const maxIdentifiers = 200_000

// remember keeps what is known of a source, and forgets the others if it is too much.
func remember(sources map[string]names, file string, known names) {
	total := len(known)
	for _, list := range sources {
		total += len(list)
	}
	if total > maxIdentifiers {
		clear(sources)
	}
	sources[file] = known
}

// calls says why a program cannot call what it names; empty when nothing speaks against
// it. Nothing is run: what a module imports or makes up is not known.
func (x *exam) calls(sources map[string]names, module, attribute string) string {
	at := x.home.site + "/" + strings.ReplaceAll(module, ".", "/")
	for _, file := range []string{at + ".py", at + "/__init__.py"} {
		e, ok := x.Tree.Resolve(file)
		if !ok || e.Kind != tree.File || e.Size > maxText {
			continue
		}
		known, ok := sources[e.Path]
		if !ok {
			known = namesIn(e)
			remember(sources, e.Path, known)
		}
		name, _, _ := strings.Cut(attribute, ".")
		if known != nil && !known[name] {
			return "The module " + module + " has nothing of the name " + name + "."
		}
		return ""
	}
	if e, ok := x.Tree.Lookup(at); ok && e.Kind == tree.Dir {
		return ""
	}
	for e := range beginning(x.Tree, at+".") {
		if strings.HasSuffix(e.Path, ".so") {
			return ""
		}
	}
	if _, ok := x.Tree.Lookup(x.home.lib + "/" + strings.ReplaceAll(module, ".", "/") + ".py"); ok {
		return ""
	}
	return "There is no module " + module + "."
}

// starts looks at what starts the programs beside the interpreter, or in the environment.
func (x *exam) starts(out *outcome) {
	bin := path.Join(x.home.site, "../../../bin")
	for _, e := range x.Tree.Entries() {
		if e.Kind != tree.File || path.Dir(e.Path) != bin {
			continue
		}
		python := pythonOf(e)
		if python == "" {
			continue
		}
		out.examined++
		if cause := x.startFault(python, bin); cause != "" {
			f := Finding{
				Severity: x.travels(), File: e.Path, Field: "#!", Value: printable(python), Cause: cause,
				Remedy: "Have the wheel's script begin with #!python, which installing it replaces, or write an exception if nobody starts it.",
			}
			if x.found {
				f.Remedy = "Install the distribution again where it is to run: installers write the line. An environment cannot be moved."
			}
			out.add(f)
		}
	}
}

// startFault says why a program does not start under the interpreter that it is installed
// for, wherever it is called from; empty when it does.
func (x *exam) startFault(python, bin string) string {
	switch {
	case !path.IsAbs(python):
		return "The path of the program's interpreter is relative: it starts from one directory only."
	case !x.found:
		return "The program names its interpreter by an absolute path: it does not start where the tree is elsewhere."
	}
	at, ok := x.runs[0].resolve(python)
	if !ok {
		return "The program's interpreter is not there: it does not start."
	}
	// Environments have links to the interpreter or copies of it, some without a version.
	m := executableName.FindStringSubmatch(path.Base(at.Path))
	known := m == nil || m[1] == x.home.version
	if dir := path.Dir(at.Path); known && (dir == bin || dir == path.Dir(x.home.exe)) {
		return ""
	}
	return "The program starts under another interpreter than the one that it is installed for: /" + at.Path + "."
}

// maxHeader is as much of a script as is read for what starts it, in bytes: paths have up to
// 4096 (PATH_MAX).
const maxHeader = 8 << 10

var (
	// startLine is a first line that names a Python (execve(2)); "env python3" names none.
	startLine = regexp.MustCompile(`^#![ \t]*((?:\S*/)?python[\d.]*[a-z]*)\s`)
	// startScript is what installers write where the kernel would not take such a line, for a
	// path that is long or has spaces in it (distlib.scripts). One that looks for what is
	// beside the script begins with a command.
	startScript = regexp.MustCompile(`^#!/bin/sh\n'''exec' (?:"(/[^"\n]+)"|'(/[^'\n]+)'|(/\S+)) `)
)

// pythonOf is the path of the Python that a script names; empty when it names none.
func pythonOf(e tree.Entry) string {
	r, err := e.Content.Open()
	if err != nil {
		return "" // record tells that it is not what RECORD lists
	}
	defer r.Close()
	header, err := io.ReadAll(io.LimitReader(r, maxHeader))
	if err != nil {
		return ""
	}
	if m := startLine.FindSubmatch(header); m != nil {
		return string(m[1])
	}
	if m := startScript.FindSubmatch(header); m != nil {
		return string(slices.Concat(m[1:]...))
	}
	return ""
}
