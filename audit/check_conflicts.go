package audit

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"ampoule/audit/elf"
)

func init() {
	register(check{
		name:   "conflicts",
		reason: "no wheel brings a library whose functions the interpreter's own libraries define, too",
		needs:  anInterpreter | aPlace,
		run:    checkConflicts,
	})
}

// enoughShared is how many symbols two libraries may share by chance: helpers of compilers
// and of the C library are in many.
const enoughShared = 16

// checkConflicts warns of libraries that wheels bring and the interpreter's modules have,
// too, such as an OpenSSL of their own beside that of _ssl: which of the two a module gets
// depends on what was imported first where one of them is loaded for all, and a
// vulnerability has to be mended twice.
func checkConflicts(_ context.Context, x *exam) (outcome, error) {
	out := outcome{}
	var own, brought []*object
	for _, o := range x.parsed() {
		switch {
		case o.IsExecutable() || o.isExtension() || x.home.ownsLibpython(o.entry):
		case strings.HasPrefix(o.entry.Owner, OwnerWheel):
			brought = append(brought, o)
		case x.carriedForInterpreter(o):
			own = append(own, o)
		}
	}
	for _, b := range brought {
		out.examined++
		for _, o := range own {
			if b.gives.shared(o.gives) < enoughShared {
				continue
			}
			shared, err := sharedSymbols(b, o)
			if err != nil {
				return out, err
			}
			if len(shared) < enoughShared {
				continue
			}
			out.add(Finding{
				Severity: Warn, File: b.entry.Path, Field: "DT_SYMTAB", Value: printable(fmt.Sprintf("%d symbols of %s: %s …", len(shared), o.entry.Path, strings.Join(shared[:3], " "))),
				Cause:  "The wheel brings a library that the interpreter has, too: a process may mix the two.",
				Remedy: words(x.found, "Build the wheel here, against the library that the tree carries once.", "Nothing, as long as it works; a wheel that is compiled against the interpreter's library brings none of its own."),
			})
		}
	}
	return out, nil
}

// carriedForInterpreter reports whether one of the interpreter's own modules, or the
// interpreter, loads a library of the tree.
func (x *exam) carriedForInterpreter(lib *object) bool {
	for _, r := range x.runs {
		for _, l := range r.loadings {
			if strings.HasPrefix(l.root.entry.Owner, OwnerWheel) {
				continue
			}
			if slices.ContainsFunc(l.list, func(at *loaded) bool { return at.object == lib }) {
				return true
			}
		}
	}
	return false
}

// sharedSymbols lists what both libraries define, sorted; templates and inline functions
// of C++ are in many and are one for the loader.
func sharedSymbols(a, b *object) ([]string, error) {
	var names []string
	err := eachSymbol(a.entry, func(s elf.Symbol) {
		if s.Exported() && b.gives.has(hashName(s.Name)) && !strings.HasPrefix(s.Name, "_") {
			names = append(names, strings.Clone(s.Name))
		}
	})
	slices.Sort(names)
	return slices.Compact(names), err
}
