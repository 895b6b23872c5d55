package audit

import (
	"context"
	"path"
	"strings"
)

func init() {
	register(check{
		name:   "libpython-needed",
		reason: "no extension module needs or carries a libpython, directly or through others",
		run:    checkLibpython,
	})
}

// checkLibpython refuses what would load another libpython into the interpreter,
// or need one that another machine does not have. An extension module has no
// need of one in any link mode (PEP 513), so no exception lets it pass. Programs
// that embed Python, and libraries for them, take an exception; even so they must
// name and reach this tree's own libpython.
func checkLibpython(ctx context.Context, x *exam) (outcome, error) {
	out := outcome{}
	for _, o := range x.parsed() {
		out.examined++
		if x.home.ownsLibpython(o.entry) {
			continue
		}
		if IsLibpython(o.Soname) || IsLibpython(o.entry.Path) {
			out.add(Finding{
				Severity: x.travels(), File: o.entry.Path, Field: "name", Value: printable(path.Base(o.entry.Path) + " " + o.Soname), absolute: true,
				Cause:  "The file is a libpython, but not the interpreter's own.",
				Remedy: "Build the wheel without bundling libpython.",
			})
		}
	}
	for _, r := range x.runs {
		for _, l := range r.loadings {
			if ctx.Err() != nil {
				return out, context.Cause(ctx)
			}
			x.loadingFaults(&out, r, l)
		}
	}
	return out, nil
}

// loadingFaults judges what one object of the tree leads to.
func (x *exam) loadingFaults(out *outcome, r run, l loading) {
	if x.home.ownsLibpython(l.root.entry) {
		return
	}
	extension := l.root.isExtension()
	for _, chain := range poisons(l.root) {
		last := chain[len(chain)-1]
		f := Finding{
			Severity: Refuse, File: l.root.Path, Field: last.field, Value: chainText(chain),
			Targets: []string{r.Name}, absolute: extension,
			Cause:  "The extension module needs " + printable(last.name) + ": it fails to load, or loads a second Python, wherever its own interpreter was built otherwise.",
			Remedy: "Build it without linking libpython: CMake's Development.Module, meson without embed, PYO3_BUILD_EXTENSION_MODULE.",
		}
		right := last.name == x.home.soname() && last.lib != nil && last.lib.inTree && x.home.ownsLibpython(last.lib.entry)
		switch {
		case !extension && !right:
			f.absolute = true
			f.Cause = "The file needs a libpython that is not the interpreter's own (" + x.home.soname() + ")."
			f.Remedy = "Link it with this tree's own libpython, found by an RPATH that begins with $ORIGIN."
		case x.isInterpreter(l.root) && len(chain) == 1:
			continue
		case !extension:
			f.Cause = "The file embeds Python."
			f.Remedy = "Write an exception for it in the recipe, if it must."
		}
		if x.found && !extension {
			f.Severity = Warn
			f.Remedy = "Nothing, if it is a program that runs Python by itself."
		}
		out.add(f)
	}
}

// isInterpreter reports whether an object is the interpreter's executable, under
// any of its names.
func (x *exam) isInterpreter(l *loaded) bool {
	exe, ok := x.Tree.Lookup(x.home.exe)
	return ok && l.inTree && l.entry.SHA256 == exe.SHA256
}

// poisons finds, breadth first, the shortest ways from an object to each
// dependency that is a libpython by name or soname. It looks at nothing beyond one.
func poisons(root *loaded) [][]dependency {
	var found [][]dependency
	seen := map[*loaded]bool{root: true}
	type step struct {
		at    *loaded
		chain []dependency
	}
	for queue := []step{{root, nil}}; len(queue) > 0; queue = queue[1:] {
		s := queue[0]
		for _, d := range s.at.deps {
			chain := append(s.chain[:len(s.chain):len(s.chain)], d)
			if isLibpythonDependency(d) {
				found = append(found, chain)
				continue
			}
			if d.lib != nil && !seen[d.lib] {
				seen[d.lib] = true
				queue = append(queue, step{d.lib, chain})
			}
		}
	}
	return found
}

func isLibpythonDependency(d dependency) bool {
	if IsLibpython(d.name) {
		return true
	}
	return d.lib != nil && !d.lib.host && (IsLibpython(d.lib.Soname) || IsLibpython(d.lib.Path))
}

// chainText tells the way to a library: libfoo.so.1 -> libpython3.13.so.1.0.
func chainText(chain []dependency) string {
	names := make([]string, len(chain))
	for i, d := range chain {
		names[i] = d.name
	}
	return printable(strings.Join(names, " -> "))
}
