package audit

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/net/idna"

	"ampoule/tree"
)

// namedModule is a file by whose name import would take it for a module.
type namedModule struct {
	entry tree.Entry
	// name is the module's dotted name: that of its package for an __init__.
	name string
	// stem is the file's name up to its first dot, suffix the rest of it.
	stem, suffix string
	// tagged says that the name tells which Python it is for: spam.cpython-313-…so.
	tagged bool
}

// taggedSuffix matches the suffixes that name a CPython, of Linux (EXT_SUFFIX), and
// anySuffix those and the others by which import finds extension modules.
var (
	taggedSuffix = regexp.MustCompile(`^\.cpython-3\d+[a-z]*(-[a-z0-9_]+-linux-[a-z0-9_]+)?\.so$`)
	anySuffix    = regexp.MustCompile(`^(\.cpython-3\d+[a-z]*(-[a-z0-9_]+-linux-[a-z0-9_]+)?|\.abi3t?(-[a-z0-9_]+-linux-[a-z0-9_]+)?)?\.so$`)
)

// NamedAsModule reports whether the name of a file is one by which some CPython on Linux
// looks for extension modules.
func NamedAsModule(base string) bool {
	stem, rest, ok := strings.Cut(base, ".")
	return ok && stem != "" && anySuffix.MatchString("."+rest)
}

// nativeModule tells which module import takes a file for by its name and its place; it
// looks at nothing in it.
func (x *exam) nativeModule(e tree.Entry) (namedModule, bool) {
	m, ok := x.moduleAt(e)
	if !ok {
		return m, false
	}
	m.tagged = taggedSuffix.MatchString(m.suffix)
	if suffixes := x.suffixes(); len(suffixes) > 0 {
		return m, slices.Contains(suffixes, m.suffix)
	}
	return m, anySuffix.MatchString(m.suffix)
}

// moduleAt names the module of a file in a place from which modules are imported. Any
// directory with a fitting name is a package (PEP 420).
func (x *exam) moduleAt(e tree.Entry) (namedModule, bool) {
	if e.Kind != tree.File {
		return namedModule{}, false
	}
	for _, dir := range []string{x.home.site, x.home.lib + "/lib-dynload", x.home.lib} {
		rest, ok := strings.CutPrefix(e.Path, dir+"/")
		if !ok || dir == "" {
			continue
		}
		parts := strings.Split(rest, "/")
		stem, suffix, ok := strings.Cut(parts[len(parts)-1], ".")
		parts[len(parts)-1] = stem
		if !ok || slices.ContainsFunc(parts, func(p string) bool { return !isIdentifier(p) }) {
			return namedModule{}, false
		}
		if stem == "__init__" && len(parts) > 1 {
			parts = parts[:len(parts)-1]
		}
		return namedModule{entry: e, name: strings.Join(parts, "."), stem: stem, suffix: "." + suffix}, true
	}
	return namedModule{}, false
}

// isIdentifier reports whether a text is an identifier of Python (PEP 3131), so that a
// statement can import it.
func isIdentifier(s string) bool {
	for i, r := range s {
		if r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.In(r, unicode.Nd, unicode.Mn, unicode.Mc, unicode.Pc)) {
			return false
		}
	}
	return s != ""
}

// inits are the names of the functions of which import calls the one that a module has: its
// last name behind PyInit_, or in Punycode behind PyInitU_ where it is not ASCII (PEP 489);
// of Python 3.15 on also PyModExport_ (PEP 793).
func (m namedModule) inits(minor int) []string {
	last := m.name[strings.LastIndexByte(m.name, '.')+1:]
	hook := "_" + last
	if strings.ContainsFunc(last, func(r rune) bool { return r > unicode.MaxASCII }) {
		encoded, err := punycode(last)
		if err != nil {
			return nil
		}
		hook = "U_" + strings.ReplaceAll(encoded, "-", "_")
	}
	names := []string{"PyInit" + hook}
	if minor == 0 || minor >= firstExports {
		names = append(names, "PyModExport"+hook)
	}
	return names
}

// firstExports is the minor version of Python 3 that calls PyModExport functions.
const firstExports = 15

// punycode encodes a name as Python's codec of that name does (RFC 3492).
func punycode(name string) (string, error) {
	encoded, err := idna.Punycode.ToASCII(name)
	return strings.TrimPrefix(encoded, "xn--"), err
}

// shadowed names what import finds before a file of the same module: a package of the name,
// or a file with a more special suffix; empty where it finds the file.
func (x *exam) shadowed(m namedModule) string {
	dir := path.Dir(m.entry.Path)
	suffixes := x.suffixes()
	before := suffixes[:max(0, slices.Index(suffixes, m.suffix))]
	for _, suffix := range before {
		if p := path.Join(dir, m.stem+suffix); x.hasFile(p) {
			return p
		}
	}
	if m.stem == "__init__" {
		return ""
	}
	for _, suffix := range append(suffixes[:len(suffixes):len(suffixes)], ".py", ".pyc") {
		if p := path.Join(dir, m.stem, "__init__"+suffix); x.hasFile(p) {
			return p
		}
	}
	return ""
}

func (x *exam) hasFile(p string) bool {
	e, ok := x.Tree.Lookup(p)
	return ok && e.Kind != tree.Dir
}
