package audit

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
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
// RTLD_LOCAL). What another module has loaded before counts if a [Provider] says so. A
// library that only ctypes or a program of its own would load may rely on these: it is
// warned about.
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
				if missing := scope.missing(lib.wants); len(missing) > 0 {
					out.add(unbound(r, l, lib, missing, api))
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

// missing lists the symbols that nothing in the scope defines, sorted. What is missing
// with its whole version is left to the check versions.
func (s scope) missing(wants []want) []string {
	var names []string
	for _, w := range wants {
		if s.open && !s.api.knows(w.Value()) {
			continue
		}
		if name := hashName(w.Value()); slices.ContainsFunc(s.objects, func(o *object) bool { return o.gives.has(name) }) {
			continue
		}
		version := w.version.Value()
		if version == "" || slices.ContainsFunc(s.objects, func(o *object) bool { return slices.Contains(o.Defines, version) }) {
			names = append(names, w.Value())
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func unbound(r run, l loading, lib *loaded, missing []string, api pythonAPI) Finding {
	f := Finding{
		Severity: Refuse, File: lib.Path, Field: "undefined", Targets: []string{r.Name},
		Value: printable(strings.Join(missing[:min(len(missing), maxNamed)], " ")),
		Cause: "Nothing that is loaded with the file defines the symbol: loading it fails, or the call does.",
		Remedy: words(r.found, "Link the file with the library that defines it, and have the wheel carry or the recipe name that library.",
			"Take another release, or compile it here: it was linked with other libraries, or other versions of them, than it finds."),
	}
	if more := len(missing) - maxNamed; more > 0 {
		f.Value += fmt.Sprintf(" and %d more", more)
	}
	if slices.ContainsFunc(missing, api.has) {
		f.Cause = "The interpreter does not export the symbol: the file was compiled for another version or build of Python."
		f.Remedy = "Compile it with this interpreter, or take a release that supports it."
	}
	if !l.root.isExtension() && !l.root.IsExecutable() {
		f.Severity = Warn
	}
	return f
}

// isPython tells whether a name may belong to CPython's API, public or not.
func isPython(name string) bool {
	return strings.HasPrefix(name, "Py") || strings.HasPrefix(name, "_Py")
}

// pythonAPI are the beginnings, up to the first underscore within, that names of CPython's
// API have: PyList of PyList_New; and those names themselves. Libraries of others have names with Py, too (PySide).
type pythonAPI map[string]bool

func (a pythonAPI) has(name string) bool { return isPython(name) && a[family(name)] }

// knows tells whether a name is of the API for certain.
func (a pythonAPI) knows(name string) bool { return isPython(name) && a[name] }

func family(name string) string {
	rest := strings.TrimPrefix(name, "_")
	before, _, _ := strings.Cut(rest, "_")
	return before
}
