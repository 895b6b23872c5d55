package audit

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/tree"
)

func init() {
	register(check{
		name:   "dlopen",
		reason: "libraries that the sources of distributions name to load them are in the tree, glibc's own, or the target's",
		needs:  aBuild,
		run:    checkDlopen,
	})
}

// checkDlopen reads the sources of distributions for libraries that they load by a name that
// is written there. That one is missing is a warning: many such calls are optional, and what
// a program needs of them its tests show.
func checkDlopen(ctx context.Context, x *exam) (outcome, error) {
	out := outcome{}
	names := x.libraryNames()
	told := map[string]bool{}
	for e, text := range x.sourcesOf(loadsByName) {
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
		if !slices.ContainsFunc(loadingFunctions, func(f string) bool { return strings.Contains(text, f) }) {
			continue
		}
		for _, call := range libraryCalls(text) {
			out.examined++
			wanted, ok := call.library()
			if key := e.Owner + " " + wanted.shown; ok && !told[key] {
				if f, missing := x.missingLibrary(e, call, wanted, names); missing {
					told[key] = true
					out.add(f)
				}
			}
		}
	}
	return out, nil
}

// testCode matches paths of what only a test suite runs.
var testCode = regexp.MustCompile(`(^|/)(tests?/|test_[^/]*\.py$|conftest\.py$|setup\.py$)`)

// loadsByName reports whether a file may be code of a distribution that programs run.
func loadsByName(e tree.Entry) bool {
	return strings.HasPrefix(e.Owner, OwnerWheel) && !testCode.MatchString(e.Path)
}

// wantedLibrary is what a call looks for.
type wantedLibrary struct {
	// shown is the name for people, pkg the Debian package that has it, if that is known.
	shown, pkg string
	// matches reports whether a file's name is one that serves the call.
	matches func(base string) bool
}

// library says what a call looks for; nothing where every machine with glibc has it.
func (c libraryCall) library() (wantedLibrary, bool) {
	if c.function == "require_version" {
		return c.typelib()
	}
	wanted := wantedLibrary{shown: c.names[0]}
	for _, name := range c.names {
		if IsLibpython(name) || strings.HasPrefix(name, "python3") || slices.ContainsFunc(glibcNames(), func(g string) bool { return serves(g, name) }) {
			return wantedLibrary{}, false
		}
		if p, _, ok := SystemPackageOf(stemOf("lib" + strings.TrimPrefix(name, "lib"))); ok && wanted.pkg == "" {
			wanted.shown, wanted.pkg = name, p.Debian
		}
	}
	wanted.matches = func(base string) bool {
		return slices.ContainsFunc(c.names, func(name string) bool { return serves(base, name) })
	}
	return wanted, true
}

// typelib says which description gi.require_version looks for (its namespace, its version).
// Debian's packages of these are named for both.
func (c libraryCall) typelib() (wantedLibrary, bool) {
	if len(c.names) != 2 {
		return wantedLibrary{}, false
	}
	file := c.names[0] + "-" + c.names[1] + ".typelib"
	return wantedLibrary{
		shown: file, pkg: "gir1.2-" + strings.ToLower(c.names[0]) + "-" + c.names[1],
		matches: func(base string) bool { return base == file },
	}, true
}

// glibcNames lists the names of glibc's own libraries.
func glibcNames() []string {
	names := make([]string, 0, len(glibcLibraries))
	for name := range glibcLibraries {
		names = append(names, name)
	}
	return names
}

// serves reports whether a file is one that a name may mean: the file itself, a version of it,
// or, for a name without ending as find_library takes it, a library with that stem. Wheels
// that bring a library add to its name.
func serves(base, name string) bool {
	if strings.Contains(name, ".so") {
		return base == name
	}
	stem := "lib" + strings.TrimPrefix(name, "lib")
	rest, ok := strings.CutPrefix(base, stem)
	if !ok {
		rest, ok = strings.CutPrefix(base, name)
	}
	return ok && strings.Contains(rest, ".so") && (rest == "" || strings.IndexByte(".-_", rest[0]) >= 0)
}

// libraryNames are the names of files in the tree and, by target, where its loader and its
// introspection look: what calls may find.
func (x *exam) libraryNames() map[string][]string {
	all := map[string][]string{"": nil}
	for _, e := range x.Tree.Entries() {
		if base := path.Base(e.Path); e.Kind != tree.Dir && mayBeLibrary(base) {
			all[""] = append(all[""], base)
		}
	}
	for _, t := range x.Targets {
		all[t.Name] = slices.Clone(t.Host)
		for _, e := range t.Root.Entries() {
			if base := path.Base(e.Path); e.Kind != tree.Dir && mayBeLibrary(base) && searched.MatchString(path.Dir(e.Path)) {
				all[t.Name] = append(all[t.Name], base)
			}
		}
	}
	return all
}

// searched matches the directories that a machine's loader searches, and introspection.
var searched = regexp.MustCompile(`^(usr/)?lib(64)?(/[a-z0-9_]+-linux-gnu)?(/girepository-1\.0)?$`)

func mayBeLibrary(base string) bool {
	return strings.Contains(base, ".so") || strings.HasSuffix(base, ".typelib")
}

// missingLibrary tells of a library that the tree does not have, nor each target.
func (x *exam) missingLibrary(e tree.Entry, call libraryCall, wanted wantedLibrary, names map[string][]string) (Finding, bool) {
	if slices.ContainsFunc(names[""], wanted.matches) {
		return Finding{}, false
	}
	var lacking []string
	for _, t := range x.Targets {
		if !slices.ContainsFunc(names[t.Name], wanted.matches) {
			lacking = append(lacking, t.Name)
		}
	}
	slices.Sort(lacking)
	f := Finding{
		Severity: Warn, File: e.Path, Field: fmt.Sprintf("line %d", call.line), Value: printable(wanted.shown), Targets: lacking,
		Cause:  "The code loads the library by name, and neither the tree nor the target has it.",
		Remedy: "Nothing, if the program does without. Else add the Debian package that has it to runtime.libraries.",
	}
	if wanted.pkg != "" {
		f.Remedy = "Nothing, if the program does without. Else write runtime: {libraries: [" + printable(wanted.pkg) + "]}, which is its package in Debian 12."
	}
	return f, len(lacking) > 0
}
