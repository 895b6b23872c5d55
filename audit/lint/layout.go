package lint

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// layoutNotes looks at what is in the wheel, and where.
func (x *exam) layoutNotes() []Note {
	top := x.top()
	return slices.Concat(x.bytecode(), x.duplicates(), x.nothing(), x.unimportable(), top.notes(), x.declaredNotes(top))
}

// note is one about files, if there are any.
func note(rule string, files []string, text, remedy string) []Note {
	if len(files) == 0 {
		return nil
	}
	slices.Sort(files)
	return []Note{{Rule: rule, Text: text, Remedy: remedy, Files: files}}
}

func (x *exam) bytecode() []Note {
	var files []string
	for _, e := range x.files {
		if ext := path.Ext(e.Path); ext == ".pyc" || ext == ".pyo" {
			files = append(files, e.Path)
		}
	}
	return note("bytecode", files, "The wheel has compiled Python files, for whatever Python built it; installers make their own.",
		"Leave them out: build from a clean source directory, and exclude __pycache__ from package data.")
}

// mayRepeat are the contents that many files have for good reason.
var mayRepeat = regexp.MustCompile(`^(# -\*- coding: utf-8 -\*-)?\s*$`)

// duplicates tells of files that are in the wheel more than once.
func (x *exam) duplicates() []Note {
	by := map[string][]string{}
	for _, e := range x.files {
		if dir, _, _ := strings.Cut(e.Path, "/"); e.SHA256 == "" || dir == x.info {
			continue // licences are repeated on purpose (PEP 639)
		}
		if e.Size < 64 {
			if text, err := e.ReadAll(); err == nil && mayRepeat.Match(text) {
				continue
			}
		}
		by[e.SHA256] = append(by[e.SHA256], e.Path)
	}
	var files []string
	groups := 0
	for _, same := range by {
		if len(same) > 1 {
			groups++
			files = append(files, same...)
		}
	}
	return note("duplicates", files, fmt.Sprintf("The wheel has files of the same content under different names: %d for %d contents.", len(files), groups),
		"Look whether a directory is packaged twice (build/, src/), or leave it: wheels cannot hold links.")
}

// nothing tells of wheels that install nothing, or nothing to import.
func (x *exam) nothing() []Note {
	files := 0
	for _, e := range x.files {
		if dir, _, ok := strings.Cut(e.Path, "/"); !ok || dir != x.info {
			files++
		}
	}
	switch {
	case files == 0 && x.requires:
		return nil // it is there for what it requires
	case files == 0:
		return []Note{{Rule: "empty", Text: "There is nothing in the wheel but its metadata, and it requires nothing.", Remedy: "Have its build find the packages: most likely it looks in another directory."}}
	case len(x.library) == 0:
		return []Note{{Rule: "empty-library", Text: "The wheel brings scripts or data and nothing that can be imported.", Remedy: "Nothing, if that is meant; else have its build find the packages."}}
	}
	return nil
}

// moduleFile matches what import looks for: sources and extension modules.
var moduleFile = regexp.MustCompile(`^(.+?)\.(py|so|[-A-Za-z0-9_]+\.so)$`)

// module is the name that a file is imported by, if it is a module. A library whose name only
// looks like one is none.
func (x *exam) module(file string) (string, bool) {
	m := moduleFile.FindStringSubmatch(path.Base(file))
	if m == nil {
		return "", false
	}
	return m[1], m[2] == "py" || x.extensions[file]
}

// unimportable tells of modules below directories that no import statement can name.
func (x *exam) unimportable() []Note {
	var files []string
	for _, file := range slices.Sorted(maps.Keys(x.library)) {
		name, ok := x.module(file)
		if !ok {
			continue
		}
		parts := strings.Split(path.Dir(file), "/")
		if parts[0] == "." {
			parts = nil
		}
		if slices.ContainsFunc(append(parts, name), func(p string) bool { return !isIdentifier(p) }) {
			files = append(files, x.library[file])
		}
	}
	return note("unimportable", files, "Modules are where no import statement can name them: a part of the path is no identifier.",
		"Nothing, if they are templates or scripts; else rename them.")
}

// isIdentifier reports whether a name can stand in an import statement ("Identifiers and
// keywords", The Python Language Reference).
func isIdentifier(name string) bool {
	for i, r := range name {
		if r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r) && !unicode.Is(unicode.Mn, r)) {
			return false
		}
	}
	return name != "" && !keywords[name]
}

var keywords = setOf(`False None True and as assert async await break class continue def del elif else except finally for
	from global if import in is lambda nonlocal not or pass raise return try while with yield`)

func setOf(words string) map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsSeq(words) {
		set[word] = true
	}
	return set
}

// toplevel is what is at the top of the library, by paths there; values are paths in the
// wheel.
type toplevel struct {
	// files are the files, modules those of them that can be imported.
	files   map[string]string
	modules map[string]bool
	// dirs are the directories: whether a module is below, and whether a stub is.
	dirs map[string]*dirAtTop
}

type dirAtTop struct {
	member         string
	modules, stubs bool
}

func (x *exam) top() *toplevel {
	t := &toplevel{files: map[string]string{}, modules: map[string]bool{}, dirs: map[string]*dirAtTop{}}
	for file, member := range x.library {
		dir, rest, ok := strings.Cut(file, "/")
		if !ok {
			t.files[file] = member
			if name, ok := x.module(file); ok {
				t.modules[name] = true
			}
			continue
		}
		if t.dirs[dir] == nil {
			t.dirs[dir] = &dirAtTop{member: strings.TrimSuffix(member, rest)}
		}
		_, isModule := x.module(file)
		t.dirs[dir].modules = t.dirs[dir].modules || isModule
		t.dirs[dir].stubs = t.dirs[dir].stubs || path.Ext(file) == ".pyi"
	}
	return t
}

// common are names that many distributions have brought to the top of the library by
// mistake; whichever is installed last wins.
var common = setOf(`.eggs .nox .tox .venv app build cli data dist doc docs example examples lib scripts src test tests venv`)

// bringsLibraries reports whether a directory at the top is where auditwheel puts the
// libraries that it carries: NAME.libs, or .libs_NAME as it once did.
func bringsLibraries(dir string) bool {
	return strings.HasSuffix(dir, ".libs") || strings.HasPrefix(dir, ".libs")
}

// isStubs reports whether a directory is a package of stubs for another one (PEP 561).
func isStubs(dir string) bool { return strings.HasSuffix(dir, "-stubs") }

func (t *toplevel) notes() []Note {
	var loose, usual, init, bare, several []string
	stubs := false
	for file, member := range t.files {
		stem, isModule := file, moduleFile.MatchString(file)
		if m := moduleFile.FindStringSubmatch(file); m != nil {
			stem = m[1]
		}
		switch {
		case path.Ext(file) == ".pth":
			continue
		case file == "__init__.py":
			init = append(init, member)
		case path.Ext(file) == ".pyi" && t.modules[strings.TrimSuffix(file, ".pyi")]:
			continue // the stub of the module beside it
		case !isModule:
			loose = append(loose, member)
		}
		if common[stem] {
			usual = append(usual, member)
		}
		if isModule && !strings.HasPrefix(file, "_") {
			several = append(several, member)
		}
	}
	for dir, d := range t.dirs {
		if common[dir] {
			usual = append(usual, d.member)
		}
		if bringsLibraries(dir) || isStubs(dir) {
			continue
		}
		if !d.modules {
			bare = append(bare, d.member)
			stubs = stubs || d.stubs
		}
		if !strings.HasPrefix(dir, "_") {
			several = append(several, d.member)
		}
	}
	if len(several) < 2 {
		several = nil
	}
	return slices.Concat(
		note("toplevel-file", loose, "Files that are no modules land in site-packages itself, among those of all other distributions.",
			"Put them into the package, or into .dist-info where licences belong (PEP 639)."),
		note("common-name", usual, "A name at the top of the library is one that other distributions bring, too: the one that is installed last replaces the others' files.",
			"Leave it out of what is packaged, or put it below the package."),
		note("toplevel-init", init, "An __init__.py lands in site-packages itself, where no package is.",
			"Have its build package the directory, not what is in it."),
		note("no-modules", bare, bareText(stubs), "Put data below the package that reads it; name a package of stubs NAME-stubs (PEP 561)."),
		note("several-toplevels", several, "More than one name is at the top of the library.",
			"Nothing, if that is meant; else leave out what was packaged by mistake."),
	)
}

// bareText says what is in directories without modules.
func bareText(stubs bool) string {
	if stubs {
		return "Directories at the top of the library have stubs and no module: type checkers take them for a package that nobody can import."
	}
	return "Directories at the top of the library have no module: nothing can be imported from them."
}

// declaredNotes compares the top of the library with top_level.txt, in which setuptools
// writes what it packages.
func (x *exam) declaredNotes(t *toplevel) []Note {
	if x.declared == nil {
		return nil
	}
	var missing, more []string
	for name := range x.declared {
		stem, _, _ := strings.Cut(strings.ReplaceAll(name, "/", "."), ".")
		if t.dirs[stem] == nil && !t.modules[stem] {
			missing = append(missing, name)
		}
	}
	for name := range t.modules {
		if !x.declared[name] {
			more = append(more, name)
		}
	}
	for dir, d := range t.dirs {
		if d.modules && !x.declared[dir] && !bringsLibraries(dir) {
			more = append(more, dir)
		}
	}
	return slices.Concat(
		note("toplevel-missing", missing, "top_level.txt lists names that the wheel does not bring.", "Have its build find the packages."),
		note("toplevel-undeclared", more, "Names at the top of the library are not in top_level.txt: tools that go by it do not know them.",
			"Leave out what was packaged by mistake, or let setuptools list it."),
	)
}
