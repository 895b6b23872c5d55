package audit

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"ampoule/audit/elf"
)

func init() {
	register(check{
		name:   "conflicts",
		reason: "no wheel brings a library whose functions the interpreter's own libraries define, too, and no two bring different files for one place",
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
// vulnerability has to be mended twice. It warns, too, of files that wheels lost because
// others bring different ones for their places.
func checkConflicts(_ context.Context, x *exam) (outcome, error) {
	out := outcome{}
	if x.Built != nil {
		for _, l := range x.Built.LeftOut {
			if len(l.Clashes) > 0 {
				out.examined++
				out.add(l.finding(x.home.site))
			}
		}
	}
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

// String tells in one line what wheels lost because others bring different files.
func (l LeftOut) String() string {
	kept := "none of them"
	if len(l.Kept) > 0 {
		kept = "what " + strings.Join(l.Kept, " and ") + " brings"
	}
	return fmt.Sprintf("%s bring different files for %s, which no module outside of it imports: the tree has %s",
		strings.Join(slices.Concat(l.Dists, l.Kept), " and "), l.Place, kept)
}

// finding tells of what wheels lost because others bring different files.
func (l LeftOut) finding(site string) Finding {
	shown, pattern := l.Clashes, l.Place
	if len(shown) > mostClashes {
		shown = append(slices.Clone(shown[:mostClashes]), fmt.Sprintf("and %d more", len(shown)-mostClashes))
	}
	if l.Clashes[0] != l.Place {
		pattern += "/**"
	}
	return Finding{
		Severity: Warn, File: path.Join(site, l.Place), Field: "RECORD", Value: printable(strings.Join(shown, " ")),
		Cause: l.String() + ". pip and uv keep what they install last.",
		Remedy: fmt.Sprintf("Nothing, if the programs do without. To keep what one brings, leave the others' out: packages: {%s: {exclude: [%q]}}",
			l.Dists[len(l.Dists)-1], pattern),
	}
}

// mostClashes is how many paths a finding of them names.
const mostClashes = 5

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
