package audit

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"iter"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/artifact"
	"ampoule/tree"
)

// Startup is a file that takes part in the start of an interpreter: what it says is done
// before the program that somebody wanted to run, in every process.
type Startup struct {
	// File is its path in the tree, Owner the entry's.
	File, Owner string
	Kind        StartupKind
	// Code is the first line of a path configuration file that is code, or the first of
	// its lines; empty for the other kinds.
	Code string
	// Known says that the whole text is of a form whose effect is understood (see
	// [Startups]): it needs no exception.
	Known bool
}

// StartupKind is a way in which a file takes part in the start of an interpreter.
type StartupKind string

// The kinds.
const (
	// StartupPath is a path configuration file of package site (NAME.pth): lines that
	// begin with "import" are executed, others become directories of sys.path, whose
	// sitecustomize then counts. From 3.15 on, NAME.start names functions to call (PEP 829).
	StartupPath StartupKind = "path configuration"
	// StartupCustomize is a module sitecustomize or usercustomize, which package site imports.
	StartupCustomize StartupKind = "customization"
	// StartupShadow is a file that stands before the standard library, or decides where it
	// is: pythonXY.zip, pyvenv.cfg, NAME._pth, pybuilddir.txt, what looks like a standard
	// library below the executable's directory, and whatever a wheel brings into the real
	// one's. These act under -I and -S, too. A standard module's name beside the programs
	// stands first for each program that is a Python script.
	StartupShadow StartupKind = "shadow"
)

// startupCode reports whether package site executes the file's code, and -S keeps it away.
func (k StartupKind) startupCode() bool { return k != StartupShadow }

// Startups lists what takes part in the start of a tree's interpreter and did not come
// with the interpreter, sorted by path. interpreter is as in [Subject].
//
// Two texts are known. setuptools' distutils-precedence.pth adds an import hook of
// setuptools; it counts as known in a distribution of that name alone, and if nobody else
// brings a file of the hook's package. The nspkg.pth files of old setuptools make an empty
// namespace package; they count as known where the name is no module of the standard library and
// the tree has no package or module of that name, whose code they would keep from running.
func Startups(t *tree.Tree, interpreter string) ([]Startup, error) {
	home, err := findInstallation(t, interpreter)
	if err != nil {
		return nil, err
	}
	return startups(t, home)
}

func startups(t *tree.Tree, home installation) ([]Startup, error) {
	var list []Startup
	for _, e := range t.Entries() {
		kind, ok := home.startupKind(e)
		if !ok && home.shadowsPrograms(t, e) {
			kind, ok = StartupShadow, true
		}
		if !ok {
			continue
		}
		s := Startup{File: e.Path, Owner: e.Owner, Kind: kind}
		if kind == StartupPath && e.Kind == tree.File {
			if err := s.read(t, home, e); err != nil {
				return nil, err
			}
		}
		list = append(list, s)
	}
	return list, nil
}

// startupKind reports whether and how an entry takes part in the start of the interpreter.
func (h installation) startupKind(e tree.Entry) (StartupKind, bool) {
	if e.Owner == OwnerInterpreter {
		return "", false
	}
	if name, ok := strings.CutPrefix(e.Path, h.site+"/"); ok {
		return siteStartup(name, e.Kind)
	}
	return StartupShadow, h.shadows(e)
}

var (
	pathConfiguration = regexp.MustCompile(`^[^/]+\.(pth|start)$`)
	customization     = regexp.MustCompile(`(?s)^(site|user)customize(\.[^/]+|/.+)?$`)
)

// siteStartup is startupKind for an entry by its path in site-packages.
func siteStartup(name string, kind tree.Kind) (StartupKind, bool) {
	switch {
	case kind == tree.Dir:
		return "", false
	case pathConfiguration.MatchString(name):
		return StartupPath, true
	case customization.MatchString(name):
		return StartupCustomize, true
	}
	return "", false
}

// shadows reports whether an entry stands before the standard library or decides where it
// is. CPython's Modules/getpath.py (before 3.11 getpath.c) reads these names beside the
// executable, in the directory above, and beside the library; it looks for the library and its
// archive from the executable's own directory upwards. The variables that a start sets
// are the sealed tree's own to say.
func (h installation) shadows(e tree.Entry) bool {
	if e.Kind == tree.Dir {
		return false
	}
	rel := h.relative(e.Path)
	if rel == artifact.VariablesFile && strings.HasPrefix(e.Owner, OwnerWheel) {
		return true
	}
	beside, below := strings.CutPrefix(rel, "bin/")
	if landmark.MatchString(beside) || below && libraryBelow.MatchString(beside) {
		return true
	}
	if !strings.HasPrefix(e.Path, h.lib+"/") || strings.HasPrefix(e.Path, h.site+"/") {
		return false
	}
	// A wheel's bytecode for the source of another has no owner.
	_, cached := sourceOf(e.Path)
	return strings.HasPrefix(e.Owner, OwnerWheel) || cached && e.Owner == ""
}

var (
	landmark     = regexp.MustCompile(`(?s)^(pyvenv\.cfg|pybuilddir\.txt|(lib(64)?/)?[^/]*\._pth|lib(64)?/python\d+t?\.zip(/.*)?)$`)
	libraryBelow = regexp.MustCompile(`^(lib(64)?/python\d|Modules/Setup)`)
)

// relative is a path relative to the directory above the executable's.
func (h installation) relative(p string) string {
	return strings.TrimPrefix(p, path.Dir(path.Dir(h.exe))+"/")
}

// shadowsPrograms reports whether an entry lies beside the programs and has the name of a
// standard module: the directory of a script is the first of its sys.path.
func (h installation) shadowsPrograms(t *tree.Tree, e tree.Entry) bool {
	name, ok := strings.CutPrefix(h.relative(e.Path), "bin/")
	if !ok || e.Kind == tree.Dir || e.Owner == OwnerInterpreter {
		return false
	}
	top, rest, found := strings.Cut(name, "/")
	if !found {
		m := moduleFile.FindStringSubmatch(top)
		if m == nil {
			return false
		}
		top = m[1]
	}
	return (!found || strings.HasPrefix(rest, "__init__.")) && h.inStandardLibrary(t, top)
}

// moduleFile matches the name of a file that import may find.
var moduleFile = regexp.MustCompile(`^([^./]+)(?:\.[^/]+)?\.(?:py|pyc|so)$`)

func isLib(dir string) bool { return dir == "lib/" || dir == "lib64/" }

// maxStartup bounds a path configuration file, in bytes. Real ones have less than 3 KiB.
const maxStartup = 64 << 10

// read takes code and form of a path configuration file.
func (s *Startup) read(t *tree.Tree, home installation, e tree.Entry) error {
	r, err := e.Content.Open()
	if err != nil {
		return fmt.Errorf("opening %s: %w", e.Path, err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxStartup+1))
	if err != nil {
		return fmt.Errorf("reading %s: %w", e.Path, err)
	}
	s.Code = firstCode(data)
	s.Known = len(data) <= maxStartup && home.knownStartup(t, *s, string(data))
	return nil
}

// firstCode is the first line that package site executes, or the first one that is not
// empty. Lines end where str.splitlines has them end.
func firstCode(data []byte) string {
	first := ""
	lines := bufio.NewScanner(bytes.NewReader(lineEnds.ReplaceAll(data, []byte("\n"))))
	lines.Buffer(nil, maxStartup+2)
	for lines.Scan() {
		line := strings.TrimPrefix(lines.Text(), "\ufeff")
		if strings.HasPrefix(line, "import ") || strings.HasPrefix(line, "import\t") {
			return line
		}
		if first == "" && strings.TrimSpace(line) != "" {
			first = line
		}
	}
	return first
}

// lineEnds matches every line boundary of str.splitlines but "\n".
var lineEnds = regexp.MustCompile("\r\n|[\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029]")

// knownStartup reports whether a path configuration file has one of the texts that need no
// exception; see [Startups].
func (h installation) knownStartup(t *tree.Tree, s Startup, text string) bool {
	if strings.TrimSpace(text) == distutilsPrecedence {
		return s.Owner == OwnerWheel+"setuptools" && path.Base(s.File) == "distutils-precedence.pth" && h.ownsHook(t, s)
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	return len(lines) <= maxNamespaces && !slices.ContainsFunc(lines, func(line string) bool {
		name, ok := namespaceOf(line)
		return !ok || h.inStandardLibrary(t, name) || h.hasModule(t, name)
	})
}

// ownsHook reports whether setuptools alone lists its file and all that import could take for
// the package which that imports, in one RECORD.
func (h installation) ownsHook(t *tree.Tree, s Startup) bool {
	lists := map[string][]string{}
	for _, d := range dists(t, h.site) {
		for _, row := range d.rows {
			if p, ok := recorded(h.site, row.Path); ok {
				lists[p] = append(lists[p], d.record)
			}
		}
	}
	own := lists[s.File]
	if len(own) != 1 {
		return false
	}
	for e := range beginning(t, h.site+"/_distutils_hack") {
		of := lists[e.Path]
		if source, ok := sourceOf(e.Path); ok && len(of) == 0 {
			of = lists[source]
		}
		if e.Kind != tree.Dir && (e.Owner != s.Owner || !slices.Equal(of, own)) {
			return false
		}
	}
	return true
}

// hasModule reports whether site-packages has a module of that dotted name, or a package with
// code of its own.
func (h installation) hasModule(t *tree.Tree, name string) bool {
	file := h.site + "/" + strings.ReplaceAll(name, ".", "/")
	for _, prefix := range []string{file + ".", file + "/__init__."} {
		for e := range beginning(t, prefix) {
			if e.Kind != tree.Dir && path.Dir(e.Path) == path.Dir(prefix) && isModule(strings.TrimPrefix(e.Path, prefix)) {
				return true
			}
		}
	}
	return false
}

// isModule reports whether import takes a file for a module by what follows the module's name
// and a dot. That of an extension module has more parts than one.
func isModule(suffix string) bool {
	return suffix == "py" || suffix == "pyc" || suffix == "so" || strings.HasSuffix(suffix, ".so")
}

// beginning are the entries whose path begins with a prefix.
func beginning(t *tree.Tree, prefix string) iter.Seq[tree.Entry] {
	return func(yield func(tree.Entry) bool) {
		at, _ := slices.BinarySearchFunc(t.Entries(), prefix, func(e tree.Entry, p string) int { return strings.Compare(e.Path, p) })
		for _, e := range t.Entries()[at:] {
			if !strings.HasPrefix(e.Path, prefix) || !yield(e) {
				return
			}
		}
	}
}

// maxNamespaces bounds the lines of a namespace package's file: one for each of its levels.
const maxNamespaces = 16

// distutilsPrecedence is what setuptools' distutils-precedence.pth has had since its version 60.
const distutilsPrecedence = `import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, 'local') == 'local'; enabled and __import__('_distutils_hack').add_shim();`

// namespaceLine is a line of the files that setuptools wrote for namespace packages
// (setuptools.namespaces, from version 28 on; later ones ask nothing of Python's version), with
// the package's name in its first place.
var namespaceLine = regexp.MustCompile(`^import sys, types, os;(?:has_mfs = sys\.version_info > \(3, 5\);)?p = os\.path\.join\(sys\._getframe\(1\)\.f_locals\['sitedir'\], \*\((?:'\w+',? ?)+\)\);` +
	`importlib = (?:has_mfs and )?__import__\('importlib\.util'\);(?:has_mfs and )?__import__\('importlib\.machinery'\);` +
	`m = (?:has_mfs and )?sys\.modules\.setdefault\('([\w.]+)', importlib\.util\.module_from_spec\(importlib\.machinery\.PathFinder\.find_spec\('([\w.]+)', \[os\.path\.dirname\(p\)\]\)\)\);` +
	`m = m or sys\.modules\.setdefault\('([\w.]+)', types\.ModuleType\('([\w.]+)'\)\);` +
	`mp = \(m or \[\]\) and m\.__dict__\.setdefault\('__path__',\[\]\);\(p not in mp\) and mp\.append\(p\)` +
	`(?:;m and setattr\(sys\.modules\['([\w.]+)'\], '\w+', m\))?$`)

// namespaceOf returns the package that a line of a namespace package's file makes.
func namespaceOf(line string) (string, bool) {
	m := namespaceLine.FindStringSubmatch(line)
	if m == nil || m[1] != m[2] || m[1] != m[3] || m[1] != m[4] {
		return "", false
	}
	if parent := m[5]; parent != "" && !strings.HasPrefix(m[1], parent+".") {
		return "", false
	}
	return m[1], true
}

// inStandardLibrary reports whether a module of that dotted name would stand in the place of
// one that comes with the interpreter.
func (h installation) inStandardLibrary(t *tree.Tree, name string) bool {
	top, _, _ := strings.Cut(name, ".")
	for _, dir := range []string{h.lib, h.lib + "/lib-dynload"} {
		if _, ok := t.Lookup(dir + "/" + top); ok {
			return true
		}
		for range beginning(t, dir+"/"+top+".") {
			return true
		}
	}
	// A module in the executable is in no file; none of those is a package.
	return slices.Contains(builtinModules, top)
}

// builtinModules are sys.builtin_module_names of CPython 3.9 to 3.14 in the usual
// configurations, without those that begin with an underscore.
var builtinModules = []string{
	"array", "atexit", "binascii", "builtins", "cmath", "errno", "faulthandler", "fcntl", "gc", "grp", "itertools", "marshal", "math",
	"mmap", "posix", "pwd", "pyexpat", "readline", "resource", "select", "spwd", "sys", "syslog", "termios", "time", "unicodedata", "xxsubtype", "zlib",
}
