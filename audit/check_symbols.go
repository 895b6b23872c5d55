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
		run:    checkSymbols,
	})
}

// maxNamed is how many symbols one finding names.
const maxNamed = 8

// checkSymbols binds symbols as ld.so does for a module that is imported: first in what
// the interpreter's process has, then in the module and what it needs (dlopen(3),
// RTLD_LOCAL). What another module happens to have loaded before does not count. A
// library that only ctypes or a program of its own would load may rely on these: it is
// warned about.
func checkSymbols(_ context.Context, x *exam) (outcome, error) {
	out := outcome{}
	for _, r := range x.runs {
		for _, l := range r.loadings {
			scope := scopeOf(l.list)
			for _, lib := range l.list {
				if !lib.inTree || lib.fault != nil {
					continue
				}
				out.examined += len(lib.wants)
				if missing := scope.missing(lib.wants); len(missing) > 0 {
					out.add(x.unbound(r, l, lib, missing))
				}
			}
		}
	}
	return out, nil
}

// scope is where the loader looks for symbols.
type scope struct {
	objects []*object
	// open says that a library is provided by the machine: nobody knows its symbols.
	open bool
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
	if s.open {
		return nil
	}
	var names []string
	for _, w := range wants {
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

func (x *exam) unbound(r run, l loading, lib *loaded, missing []string) Finding {
	f := Finding{
		Severity: Refuse, File: lib.Path, Field: "undefined", Targets: []string{r.Name},
		Value:  printable(strings.Join(missing[:min(len(missing), maxNamed)], " ")),
		Cause:  "Nothing that is loaded with the file defines the symbol: loading it fails, or the call does.",
		Remedy: "Link the file with the library that defines it, and have the wheel carry or the recipe name that library.",
	}
	if more := len(missing) - maxNamed; more > 0 {
		f.Value += fmt.Sprintf(" and %d more", more)
	}
	if slices.ContainsFunc(missing, isPython) {
		f.Cause = "The interpreter does not export the symbol: the file was compiled for another version or build of Python."
		f.Remedy = "Compile it with this interpreter, or take a release that supports it."
	}
	if !l.root.isExtension() && !l.root.IsExecutable() {
		f.Severity = Warn
	}
	return f
}

// isPython tells whether a name belongs to CPython's API, public or not.
func isPython(name string) bool {
	return strings.HasPrefix(name, "Py") || strings.HasPrefix(name, "_Py")
}
