package audit

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"ampoule/packaging"
	"ampoule/tree"
)

// dist is an installed distribution.
type dist struct {
	// name is normalised (PEP 503).
	name string
	// info is its .dist-info directory, record its RECORD, as paths in the tree.
	info, record string
	rows         []packaging.RecordRow
	// fault says why RECORD could not be read; then there are no rows.
	fault error
}

// distsOf reads them when they are first asked for.
func distsOf(t *tree.Tree, site string) func() []dist {
	return sync.OnceValue(func() []dist { return dists(t, site) })
}

// dists reads every RECORD of a site-packages directory, sorted by path.
func dists(t *tree.Tree, site string) []dist {
	var list []dist
	for _, e := range t.Entries() {
		if e.Kind != tree.Dir || path.Dir(e.Path) != site {
			continue
		}
		name, _, ok := packaging.ParseInfoDir(path.Base(e.Path))
		if !ok || strings.HasPrefix(name, leftover) {
			continue
		}
		d := dist{name: packaging.NormalName(name), info: e.Path, record: e.Path + "/RECORD"}
		d.rows, d.fault = readRecord(t, d.record)
		list = append(list, d)
	}
	return list
}

// leftover begins the names of what pip has put aside while it upgrades; what an interrupted
// upgrade has left there counts for nothing (pip's "Ignoring invalid distribution").
const leftover = "~"

// isLeftover reports whether a file that was found is in such a directory.
func (x *exam) isLeftover(file string) bool {
	return x.found && strings.HasPrefix(file, x.home.site+"/"+leftover)
}

func readRecord(t *tree.Tree, name string) ([]packaging.RecordRow, error) {
	e, ok := t.Lookup(name)
	if !ok || e.Kind != tree.File {
		return nil, fmt.Errorf("there is no %s", name)
	}
	if e.Size > packaging.MaxRecord {
		return nil, fmt.Errorf("%s has %d bytes", name, e.Size)
	}
	data, err := e.ReadAll()
	if err != nil {
		return nil, err
	}
	return packaging.ParseRecord(data)
}

// recorded finds where a RECORD's row leads in the tree. It returns false for an
// absolute path and one that leaves the tree.
func recorded(site, row string) (string, bool) {
	if path.IsAbs(row) {
		return "", false
	}
	p := path.Join(site, row)
	return p, tree.CheckPath(p) == nil
}

// RecordedOutside lists the paths of files that the distributions in a site-packages
// directory list and have elsewhere: programs, data.
func RecordedOutside(t *tree.Tree, site string) []string {
	var outside []string
	for _, d := range dists(t, site) {
		for _, row := range d.rows {
			if p, ok := recorded(site, row.Path); ok && !strings.HasPrefix(p, site+"/") {
				outside = append(outside, p)
			}
		}
	}
	slices.Sort(outside)
	return slices.Compact(outside)
}

// cached matches what Python caches of a source file: NAME.cpython-313.opt-1.pyc (PEP 3147, PEP 488).
var cached = regexp.MustCompile(`^(.+?)\.[a-z]+-\d+[a-z]*(\.opt-[0-9a-zA-Z]+)?\.pyc$`)

// sourceOf returns the source that a cached file is of.
func sourceOf(p string) (string, bool) {
	dir, base := path.Split(p)
	m := cached.FindStringSubmatch(base)
	if m == nil || path.Base(dir) != "__pycache__" {
		return "", false
	}
	return path.Join(path.Dir(path.Clean(dir)), m[1]+".py"), true
}

// Module is an extension module that the check load wants loaded.
type Module struct {
	// File is its path in the tree.
	File string
	// Name is its dotted name; empty when it has none that import could use: then
	// dlopen alone loads it.
	Name string
	// Packages are the other top-level modules of its distribution: importing them
	// shows whether the distribution itself works. Empty for the interpreter's own modules.
	Packages []string
	// Behind are the top-level modules of the distributions in the tree that require
	// its distribution: some want to be imported by those alone (psycopg_c).
	Behind []string
}

// Loadable lists the extension modules of a tree, sorted by file. For each of
// them, in every target, the check load wants a [LoadReport] of the import of
// Name; where that fails, one of its import with those of Behind imported before it that the
// failure names, if it names any, one of a dlopen of File, and one of the import of
// each of Packages, whose File is empty. interpreter is as in [Subject].
func Loadable(t *tree.Tree, interpreter string) ([]Module, error) {
	home, err := findInstallation(t, interpreter)
	if err != nil {
		return nil, err
	}
	objects, err := readTree(t)
	if err != nil {
		return nil, err
	}
	return modules(t, home, extensions(objects, home)), nil
}

func modules(t *tree.Tree, home installation, extensions []*object) []Module {
	packages, owner, behind := map[string][]string{}, map[string]string{}, map[string][]string{}
	for _, d := range dists(t, home.site) {
		tops := topLevel(t, home.site, d)
		for _, row := range d.rows {
			if p, ok := recorded(home.site, row.Path); ok {
				packages[p], owner[p] = tops, d.name
			}
		}
		for _, name := range requires(t, d) {
			behind[name] = append(behind[name], tops...)
		}
	}
	list := make([]Module, 0, len(extensions))
	for _, o := range extensions {
		m := Module{File: o.entry.Path, Name: moduleName(home, o.entry.Path), Behind: behind[owner[o.entry.Path]]}
		for _, top := range packages[m.File] {
			if top != m.Name {
				m.Packages = append(m.Packages, top)
			}
		}
		list = append(list, m)
	}
	return list
}

// Requires lists, for each distribution of a tree, the other distributions that it
// requires under whatever marker and extra, by normalised names (PEP 503). interpreter is
// as in [Subject].
func Requires(t *tree.Tree, interpreter string) (map[string][]string, error) {
	home, err := findInstallation(t, interpreter)
	if err != nil {
		return nil, err
	}
	all := map[string][]string{}
	for _, d := range dists(t, home.site) {
		all[d.name] = requires(t, d)
	}
	return all, nil
}

// requires lists the other distributions that a distribution requires, under whatever
// marker and extra, by their normalised names. Of METADATA that cannot be read, it lists none.
func requires(t *tree.Tree, d dist) []string {
	var names []string
	for _, requirement := range requirementLines(t, d) {
		name := packaging.RequiredName(requirement)
		if name != "" && name != d.name && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// moduleName is the dotted name by which import finds an extension module's
// file, of an __init__ that of its package; empty when a part is no ASCII identifier or
// sys.path does not lead to it.
func moduleName(home installation, file string) string {
	for _, dir := range []string{home.site, home.lib + "/lib-dynload", home.lib} {
		rest, ok := strings.CutPrefix(file, dir+"/")
		if !ok {
			continue
		}
		parts := strings.Split(rest, "/")
		last := len(parts) - 1
		parts[last], _, _ = strings.Cut(parts[last], ".")
		for _, p := range parts {
			if !identifier.MatchString(p) {
				return ""
			}
		}
		if parts[last] == "__init__" && last > 0 {
			parts = parts[:last]
		}
		return strings.Join(parts, ".")
	}
	return ""
}

// topLevel lists a distribution's importable top-level modules: packages with an
// __init__, single files and extension modules, sorted.
func topLevel(t *tree.Tree, site string, d dist) []string {
	var names []string
	for _, row := range d.rows {
		p, ok := recorded(site, row.Path)
		rel, below := strings.CutPrefix(p, site+"/")
		if !ok || !below {
			continue
		}
		if _, ok := t.Lookup(p); !ok {
			continue
		}
		dir, base := path.Split(rel)
		stem, suffix, _ := strings.Cut(base, ".")
		module := suffix == "py" || strings.HasSuffix(suffix, "so")
		switch {
		case module && dir == "":
			names = append(names, stem)
		case module && stem == "__init__" && strings.Count(dir, "/") == 1:
			names = append(names, strings.TrimSuffix(dir, "/"))
		}
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !identifier.MatchString(n) })
	slices.Sort(names)
	return slices.Compact(names)
}
