package audit

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"ampoule/audit/elf"
)

func init() {
	register(check{
		name:   "symbols",
		reason: "every symbol that a file cannot do without is defined where the loader looks",
		needs:  anInterpreter,
		run:    checkSymbols,
	})
}

// maxNamed is how many symbols one finding names.
const maxNamed = 8

// checkSymbols binds symbols as ld.so does for a module that is imported: first in what
// the interpreter's process has, then in the module and what it needs (dlopen(3),
// RTLD_LOCAL), all at once, calls too: import and ctypes ask for that (RTLD_NOW). What
// another module has loaded before counts if a [Provider] says so. A library that only
// ctypes or a program of its own would load may rely on these: it is warned about.
func checkSymbols(ctx context.Context, x *exam) (outcome, error) {
	out := outcome{}
	api := x.pythonAPI()
	x.idleProviders(&out)
	for _, r := range x.runs {
		for _, l := range r.loadings {
			if ctx.Err() != nil {
				return out, context.Cause(ctx)
			}
			if x.idle(l.root.object) {
				continue
			}
			scope := scopeOf(l.list)
			scope.api = api
			for _, lib := range l.provided {
				scope.objects = append(scope.objects, lib.object)
			}
			for _, lib := range l.list {
				if !lib.inTree || lib.fault != nil {
					continue
				}
				out.examined += len(lib.wants)
				f, ok, err := x.unbound(r, l, lib, scope)
				if err != nil {
					return out, err
				}
				if ok {
					out.add(f)
				}
			}
		}
	}
	return out, nil
}

// idleProviders warns about what provides nothing, and about patterns of no file that
// import or dlopen would be asked for: a library that others need is in their processes.
func (x *exam) idleProviders(out *outcome) {
	opened := map[string]bool{}
	for _, r := range x.runs {
		for _, l := range r.loadings {
			if !l.root.IsExecutable() {
				opened[l.root.Path] = true
			}
		}
	}
	for _, p := range x.Providers {
		for _, pattern := range p.Libraries {
			if !matchesAny(pattern, maps.Keys(x.objects)) {
				out.add(idlePattern("libraries", pattern))
			}
		}
		for _, pattern := range p.Files {
			if !matchesAny(pattern, maps.Keys(opened)) {
				out.add(idlePattern("files", pattern))
			}
		}
	}
}

func idlePattern(field, pattern string) Finding {
	return Finding{
		Severity: Warn, Field: "gate.providers." + field, Value: printable(pattern),
		Cause:  "The pattern is of no library of the tree, or of no file that is loaded by itself.",
		Remedy: "Name the module that import loads, not the libraries that it needs; or remove the pattern from the recipe.",
	}
}

func matchesAny(pattern string, files iter.Seq[string]) bool {
	for file := range files {
		if matches([]string{pattern}, file) {
			return true
		}
	}
	return false
}

// scope is where the loader looks for symbols.
type scope struct {
	objects []*object
	// open says that a library is provided by the machine: nobody knows its symbols, but
	// that it has none of Python's.
	open bool
	api  pythonAPI
}

func scopeOf(list []*loaded) scope {
	var s scope
	for _, l := range list {
		switch {
		case l.host || l.fault != nil:
			s.open = true
		default:
			s.objects = append(s.objects, l.object)
		}
		for _, d := range l.deps {
			// closure tells that it is missing; what it defines would be missing, too.
			s.open = s.open || d.lib == nil
		}
	}
	return s
}

// missing lists the symbols that nothing in the scope defines in the version that is asked
// for. What is missing with its whole version is left to the check versions.
func (s scope) missing(wants []want) []want {
	var list []want
	for _, w := range wants {
		if s.open && !s.api.knows(w.Value()) {
			continue
		}
		if slices.ContainsFunc(s.objects, func(o *object) bool { return o.binds(w) }) {
			continue
		}
		version := w.version.Value()
		if version == "" || slices.ContainsFunc(s.objects, func(o *object) bool { return slices.Contains(o.Defines, version) }) {
			list = append(list, w)
		}
	}
	return list
}

// unbound judges what a file asks for and nobody defines. What no relocation names the loader
// does not look for; a program's calls, and those of what it needs, it leaves until they are
// made, unless the file says otherwise (ld.so(8), LD_BIND_NOW).
func (x *exam) unbound(r run, l loading, lib *loaded, s scope) (Finding, bool, error) {
	missing := s.missing(lib.wants)
	if len(missing) == 0 {
		return Finding{}, false, nil
	}
	refs, err := lib.references()
	if err != nil {
		return Finding{}, false, err
	}
	lazy := l.root.IsExecutable() && !lib.BindNow && lib.Flags&elf.FlagNow == 0 && lib.Flags1&elf.Flag1Now == 0
	var names, calls []string
	python := false
	for _, w := range missing {
		call, used := refs.Names[w.Value()]
		switch {
		case !used:
			continue
		case lazy && call:
			calls = append(calls, w.String())
		default:
			names = append(names, w.String())
		}
		python = python || s.api.has(w.Value()) || IsPythonAPI(w.Value())
	}
	f := Finding{
		Severity: Refuse, File: lib.Path, Field: "undefined", Targets: []string{r.Name},
		Cause:  "Nothing that is loaded with the file defines the symbol: loading it fails.",
		Remedy: "Link the file with the library that defines it, and have the wheel carry or the recipe name that library.",
	}
	if len(names) == 0 {
		names = calls
		f.Cause = "Nothing that is loaded with the program defines the symbol: it starts, and ends where it calls that."
		if x.found {
			f.Severity = Warn
		}
	}
	f.Value = namedSymbols(names)
	if python {
		f.Cause = "The interpreter does not export the symbol: the file was compiled for another version or build of Python."
		f.Remedy = "Compile it with this interpreter, or take a release that supports it."
	} else if x.found {
		x.unboundHere(&f, lib, missing)
	}
	if !l.root.isExtension() && !l.root.IsExecutable() {
		f.Severity, f.Needs = Warn, ""
	}
	x.excuse(&f, l.root.object)
	return f, len(names) > 0, nil
}

// namedSymbols lists the first of some symbols and counts the rest.
func namedSymbols(names []string) string {
	slices.Sort(names)
	names = slices.Compact(names)
	value := printable(strings.Join(names[:min(len(names), maxNamed)], " "))
	if more := len(names) - maxNamed; more > 0 {
		value += fmt.Sprintf(" and %d more", more)
	}
	return value
}

// unboundHere says what helps whoever has found a file whose symbols are missing, and whether
// the code around it may have them given to it by what is loaded before.
func (x *exam) unboundHere(f *Finding, lib *loaded, missing []want) {
	f.Remedy = "Take another release of the wheel, or build it here, linked with the library that defines the symbol."
	for _, d := range lib.deps {
		if d.lib != nil && d.lib.inTree && d.lib.entry.Owner != lib.entry.Owner && strings.HasPrefix(d.lib.entry.Owner, OwnerWheel) {
			other := strings.TrimPrefix(d.lib.entry.Owner, OwnerWheel)
			f.Cause = "Nothing that is loaded with the file defines the symbol, " + d.lib.label() + " of " + printable(other) + " neither: loading it fails."
			f.Remedy = "Install releases of both that were built for each other: the one of " + printable(other) + " that the file was built with, or a release of the file's distribution for that one that is installed."
		}
	}
	own, ok := strings.CutPrefix(lib.entry.Owner, OwnerWheel)
	if !ok || f.Severity != Refuse {
		return
	}
	for _, dist := range append([]string{own}, x.mentioned(own)...) {
		if x.sharesSymbols(dist) && x.defines(dist, missing) {
			f.Severity = Warn
			f.Cause = "Nothing that the file needs defines the symbol. " + printable(dist) + " has a library that does, and code that loads libraries for all (RTLD_GLOBAL): the file loads behind that."
			f.Remedy = "Import that first."
			return
		}
	}
	if others := x.applying(own); x.alone && len(others) > 0 && x.sharesSymbols(own) {
		f.Severity = Undecided
		f.Cause = "Nothing that the file needs defines the symbol, and code of the distribution loads libraries for all (RTLD_GLOBAL)."
		f.Needs = listed(others) + ", which it requires: audit the environment in which they are installed together, or a directory with the wheels of all of them"
	}
}

// defines reports whether the libraries of a distribution define all of some symbols.
func (x *exam) defines(dist string, wants []want) bool {
	for _, w := range wants {
		if !slices.ContainsFunc(x.parsed(), func(o *object) bool { return o.entry.Owner == OwnerWheel+dist && o.binds(w) }) {
			return false
		}
	}
	return true
}

// isPython reports whether a name may belong to CPython's API, public or not.
func isPython(name string) bool {
	return strings.HasPrefix(name, "Py") || strings.HasPrefix(name, "_Py")
}

// pythonAPI are the beginnings, up to the first underscore within, that names of CPython's
// API have: PyList of PyList_New; and those names themselves. Libraries of others have names with Py, too (PySide).
type pythonAPI map[string]bool

func (a pythonAPI) has(name string) bool { return isPython(name) && a[family(name)] }

// knows reports whether a name is of the API for certain.
func (a pythonAPI) knows(name string) bool { return isPython(name) && a[name] }

func family(name string) string {
	rest := strings.TrimPrefix(name, "_")
	before, _, _ := strings.Cut(rest, "_")
	return before
}
