package audit

import (
	"context"
	"slices"
	"strings"
)

func init() {
	register(check{
		name:   "second-runtime",
		reason: "nothing but the interpreter holds a Python runtime",
		run:    checkRuntime,
	})
}

// checkRuntime refuses files that would bring a second Python into the process: what
// defines the symbols of one, and modules that hold one and hide it. No exception lets
// a module of that kind pass; programs that embed Python statically may have one.
func checkRuntime(_ context.Context, x *exam) (outcome, error) {
	out := outcome{}
	exe, _ := x.Tree.Lookup(x.home.exe)
	for _, o := range x.parsed() {
		out.examined++
		if o.entry.SHA256 == exe.SHA256 || x.home.ownsLibpython(o.entry) {
			continue
		}
		defined := o.runtime
		if o.IsExecutable() && slices.ContainsFunc(o.Needed, IsLibpython) {
			// The linker copies another library's data into an executable that names it.
			defined = slices.DeleteFunc(slices.Clone(defined), func(name string) bool { return name == typeOfTypes })
		}
		switch {
		case len(defined) > 0:
			out.add(Finding{
				Severity: Refuse, File: o.entry.Path, Field: "DT_SYMTAB", Value: strings.Join(defined, " "), absolute: o.isExtension(),
				Cause:  "The file defines a Python runtime of its own: beside the interpreter's a process has two, whose objects do not know each other.",
				Remedy: "Build it without a static libpython: an extension module links none.",
			})
		case o.hidesRuntime():
			out.add(Finding{
				Severity: Refuse, File: o.entry.Path, Field: "DT_SYMTAB", Value: strings.Join(o.inits, " "), absolute: true,
				Cause:  "The module asks the interpreter for nothing of Python: whatever it calls is a Python that it holds itself.",
				Remedy: "Build it without a static libpython: an extension module links none.",
			})
		}
	}
	return out, nil
}

// hidesRuntime tells whether a module of the kind that must create itself (PyInit_*,
// PEP 489) uses nothing of Python that others define. One with a PyModExport_* function
// alone (PEP 793) returns a table, which takes no call.
func (o *object) hidesRuntime() bool {
	return o.isExtension() &&
		slices.ContainsFunc(o.inits, func(name string) bool { return strings.HasPrefix(name, "PyInit") }) &&
		!o.asks
}
