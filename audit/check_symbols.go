package audit

import (
	"context"
	"fmt"
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
	for _, p := range x.Providers {
		if f, ok := x.idleProvider(p); ok {
			out.add(f)
		}
	}
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

// idleProvider warns about a provider that provides nothing.
func (x *exam) idleProvider(p Provider) (Finding, bool) {
	f := Finding{
		Severity: Warn, Field: "gate.providers",
		Cause:  "The provider provides nothing: no ELF file of the tree has such a path.",
		Remedy: "Remove the provider from the recipe, or correct its patterns.",
	}
	for _, patterns := range [][]string{p.Libraries, p.Files} {
		found := false
		for file := range x.objects {
			found = found || matches(patterns, file)
		}
		if !found {
			f.Value = printable(fmt.Sprint(patterns))
			return f, true
		}
	}
	return f, false
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
		if slices.ContainsFunc(s.objects, func(o *object) bool { return o.gives[w.symbol] }) {
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
		Value:  printable(strings.Join(missing[:min(len(missing), maxNamed)], " ")),
		Cause:  "Nothing that is loaded with the file defines the symbol: loading it fails, or the call does.",
		Remedy: "Link the file with the library that defines it, and have the wheel carry or the recipe name that library.",
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

// pythonAPI takes them from the stable ABI and from what the tree's interpreter exports.
func (x *exam) pythonAPI() pythonAPI {
	api := pythonAPI{}
	for name := range abi3() {
		api[family(name)], api[name] = true, true
	}
	for _, o := range x.objects {
		if !o.holdsRuntime() {
			continue
		}
		for s := range o.gives {
			if name := s.Value(); isPython(name) {
				api[family(name)], api[name] = true, true
			}
		}
	}
	return api
}

func (a pythonAPI) has(name string) bool { return isPython(name) && a[family(name)] }

// knows tells whether a name is of the API for certain.
func (a pythonAPI) knows(name string) bool { return isPython(name) && a[name] }

func family(name string) string {
	rest := strings.TrimPrefix(name, "_")
	before, _, _ := strings.Cut(rest, "_")
	return before
}
