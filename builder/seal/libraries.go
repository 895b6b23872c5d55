package seal

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/tree"
)

// Package is a Debian package whose libraries the tree's programs load by name, or one that
// such a package depends on.
type Package struct {
	Name string
	// Wanted says that the recipe or an override names it.
	Wanted bool
	// Files are its paths in the file system, without the leading slash.
	Files []string
}

// Libraries are what a tree carries because programs load it by name.
type Libraries struct {
	Packages []Package
	// Root is the file system that the packages are installed in.
	Root *tree.Tree
}

// NoLibraryError says that a package has nothing that a tree could carry.
type NoLibraryError struct {
	Package string
	// Programs are the names of programs that it has.
	Programs []string
}

func (e *NoLibraryError) Error() string {
	what := "the Debian package " + e.Package + " has no shared library, and no data that a library finds from a tree"
	if len(e.Programs) > 0 {
		what += "; it has programs: " + strings.Join(recipes.First(e.Programs), ", ")
	}
	return what
}

// Kind says whose fault it is.
func (*NoLibraryError) Kind() faults.Kind { return faults.Input }

// Hint says what to write instead.
func (e *NoLibraryError) Hint() string {
	if len(e.Programs) > 0 {
		return "programs are no libraries: let the image of runtime.container.base have them, and the machine"
	}
	return "name the package of the library itself: libmagic1, and not libmagic-dev or python3-magic"
}

// knownData is data that a library looks for in one directory of the system and, if a
// variable says so, elsewhere.
type knownData struct {
	// from matches the directory or file in Debian (path.Match), to is its place in the tree.
	from, to string
	// variable leads the library to it. One row of several for a variable has it.
	variable string
	// how is a word of the file [artifact.VariablesFile].
	how string
	// host is the file whose presence says that the machine has such data of its own.
	host string
}

// The words that say how a start sets a variable.
const (
	// ownData sets one that is not set: the data is of the library's own version.
	ownData = "own"
	// firstPlace puts the tree's directory before others that are searched.
	firstPlace = "first"
	// ifMissing sets one that is not set where the machine has no such data: it is the
	// machine's to say.
	ifMissing = "missing"
)

// known is the data that libraries find in a tree. Whatever else a package has they would
// look for at its path in Debian alone.
var known = []knownData{
	{from: "usr/lib/file/magic.mgc", to: "share/misc/magic.mgc", variable: "MAGIC", how: ownData},
	{from: "usr/lib/*/girepository-1.0", to: "lib/girepository-1.0", variable: "GI_TYPELIB_PATH", how: firstPlace},
	{from: "etc/fonts", to: "etc/fonts", variable: "FONTCONFIG_PATH", how: ifMissing, host: "/etc/fonts/fonts.conf"},
	{from: "usr/share/fonts", to: "share/fonts"},
}

// carryNamed puts libraries that are loaded by name into lib/, each under its soname, with
// what is known of their data. What the packages that are asked for by name have beside
// that, and a library may miss, is told.
func carryNamed(t *tree.Tree, named Libraries, host []string) (_ *tree.Tree, told []string, err error) {
	if len(named.Packages) == 0 {
		return t, nil, nil
	}
	c, told, err := collect(named, host)
	if err != nil {
		return nil, nil, err
	}
	if err := c.carryData(); err != nil {
		return nil, nil, err
	}
	var all []tree.Entry
	for name, e := range c.entries {
		have, ok := t.Lookup(name)
		switch {
		case !ok:
			all = append(all, e)
		case e.Kind != tree.Dir && (have.Kind != e.Kind || have.SHA256 != e.SHA256):
			return nil, nil, taken(name, c.data[name], have.Owner)
		}
	}
	t, err = t.With(all...)
	return t, told, err
}

// Check tells of the first package that is asked for by name and has nothing to carry, as a
// [*NoLibraryError].
func (l Libraries) Check() error {
	_, _, err := collect(l, nil)
	return err
}

// collect takes the libraries of all packages.
func collect(named Libraries, host []string) (c *namedCarrier, told []string, err error) {
	c = &namedCarrier{
		root: named.Root, host: host, entries: map[string]tree.Entry{}, data: map[string]string{},
		names: map[string][]string{}, of: map[string]string{},
	}
	for _, p := range named.Packages {
		has, err := c.add(p)
		if err != nil {
			return nil, nil, err
		}
		if p.Wanted && !has {
			return nil, nil, &NoLibraryError{p.Name, programsOf(p)}
		}
		if p.Wanted {
			told = append(told, leftBehind(named.Root, p)...)
		}
	}
	for _, at := range sortedNames(c.names) {
		c.addLibrary(at)
	}
	return c, told, nil
}

// taken says that the tree has another file where a library that is loaded by name, of a
// Debian package, would be.
func taken(at, of, owner string) error {
	return faults.New(faults.Refused, "leave "+of+" out of runtime.libraries, or the distribution out that brings the file: programs that load the library by name get what the tree has there",
		"sealing: %s of the Debian package %s would take the place of a file of %s", at, of, owner)
}

// namedCarrier collects what is carried.
type namedCarrier struct {
	root *tree.Tree
	host []string
	// entries are the tree's, by path; data names the package of each, or of a row of known.
	entries map[string]tree.Entry
	data    map[string]string
	// names are those of each library, by its path in the file system: links to it, and its
	// own. of is the package that brought the last.
	names map[string][]string
	of    map[string]string
}

// loaderDirs are the directories that ld.so searches by itself (ld.so(8)).
var loaderDirs = regexp.MustCompile(`^(usr/)?lib(64)?(/[a-z0-9_]+-linux-gnu)?$`)

// libraryName matches the names of shared libraries.
var libraryName = regexp.MustCompile(`^[^/]+\.so(\.[A-Za-z0-9_.+-]+)?$`)

// add notes the libraries of one package, and which of its data is known. It reports whether
// there was any.
func (c *namedCarrier) add(p Package) (bool, error) {
	has := false
	for _, file := range p.Files {
		if row := knownRow(file); row >= 0 {
			c.data[known[row].to], has = p.Name, true
			continue
		}
		if !loaderDirs.MatchString(path.Dir(file)) || !libraryName.MatchString(path.Base(file)) {
			continue
		}
		e, ok := c.root.Resolve(file)
		if !ok || e.Kind != tree.File {
			continue
		}
		isLibrary, err := startsAsELF(e)
		if err != nil {
			return false, err
		}
		if isLibrary && !audit.IsGlibc(path.Base(file)) {
			c.names[e.Path], c.of[e.Path], has = append(c.names[e.Path], path.Base(file)), p.Name, true
		}
	}
	return has, nil
}

// addLibrary takes a library under the shortest of its names that has a version, as sonames
// have, and lets the other links lead there: what is loaded as libx.so is found where the
// package that has that link is named.
func (c *namedCarrier) addLibrary(at string) {
	names, of := c.names[at], c.of[at]
	soname := path.Base(at)
	for _, name := range names {
		if versioned := strings.Contains(name, ".so."); versioned && (len(name) < len(soname) || !strings.Contains(soname, ".so.")) {
			soname = name
		}
	}
	if audit.IsGlibc(soname) || slices.Contains(c.host, soname) {
		return
	}
	e, _ := c.root.Lookup(at)
	e.Path, e.Owner = "lib/"+soname, OwnerNative
	c.put(of, e)
	for _, name := range names {
		if name != soname && name != path.Base(at) {
			c.put(of, tree.Entry{Path: "lib/" + name, Kind: tree.Symlink, Link: soname, Owner: OwnerNative})
		}
	}
}

// put takes an entry. A link never replaces a library.
func (c *namedCarrier) put(of string, e tree.Entry) {
	if have, ok := c.entries[e.Path]; ok && have.Kind == tree.File {
		return
	}
	c.entries[e.Path], c.data[e.Path] = e, of
}

// knownRow finds the row of known that a file belongs to; -1 without one.
func knownRow(file string) int {
	return slices.IndexFunc(known, func(k knownData) bool {
		for at := file; at != "." && at != "/"; at = path.Dir(at) {
			if ok, _ := path.Match(k.from, at); ok {
				return true
			}
		}
		return false
	})
}

// carryData takes the known data that a package has, as it is in the file system: scripts of
// packages make some of it. Links that would lead elsewhere become what they lead to.
func (c *namedCarrier) carryData() error {
	var variables strings.Builder
	for _, k := range known {
		of, ok := c.data[k.to]
		if !ok {
			continue
		}
		for _, e := range c.root.Entries() {
			rest, ok := below(e.Path, k.from)
			if !ok {
				continue
			}
			if e.Kind == tree.Symlink {
				e, ok = c.linked(e)
			}
			if !ok {
				continue
			}
			e.Path, e.Owner = path.Join(k.to, rest), OwnerNative
			if e.Path == "etc/fonts/fonts.conf" {
				var err error
				if e, err = withOwnFonts(e); err != nil {
					return err
				}
			}
			c.put(of, e)
		}
		if k.variable != "" {
			fmt.Fprintln(&variables, strings.TrimSpace(strings.Join([]string{k.variable, k.how, k.to, k.host}, " ")))
		}
	}
	if variables.Len() > 0 {
		e := tree.FileEntry(artifact.VariablesFile, 0o644, []byte(variables.String()))
		e.Owner = OwnerNative
		c.entries[e.Path] = e
	}
	return nil
}

// linked gives the file that a link leads to.
func (c *namedCarrier) linked(link tree.Entry) (tree.Entry, bool) {
	at := link.Path
	if path.IsAbs(link.Link) {
		at = strings.TrimPrefix(path.Clean(link.Link), "/")
	}
	e, ok := c.root.Resolve(at)
	return e, ok && e.Kind == tree.File
}

// below gives the rest of a path behind what matches a pattern, which may be all of it.
func below(p, pattern string) (string, bool) {
	parts := strings.Split(p, "/")
	n := strings.Count(pattern, "/") + 1
	if len(parts) < n {
		return "", false
	}
	ok, _ := path.Match(pattern, strings.Join(parts[:n], "/"))
	return strings.Join(parts[n:], "/"), ok
}

// withOwnFonts lets fontconfig's settings name the tree's fonts, too, relative to the file
// (fonts-conf(5), "dir").
func withOwnFonts(e tree.Entry) (tree.Entry, error) {
	data, err := e.ReadAll()
	if err != nil {
		return e, err
	}
	return e.Replace(bytes.Replace(data, []byte("<dir>"), []byte(`<dir prefix="relative">../../share/fonts</dir>`+"\n\t<dir>"), 1)), nil
}

func startsAsELF(e tree.Entry) (bool, error) {
	r, err := e.Content.Open()
	if err != nil {
		return false, fmt.Errorf("opening %s: %w", e.Path, err)
	}
	defer r.Close()
	start := make([]byte, min(e.Size, 64))
	if _, err := io.ReadFull(r, start); err != nil {
		return false, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	return audit.IsELF(start), nil
}

// idle matches what no library looks for at run time.
var idle = regexp.MustCompile(`^usr/(share/(doc|man|locale|lintian|bug|info|gir-1\.0|doc-base|pkgconfig|aclocal)|lib/([^/]+/)?(pkgconfig|cmake))(/|$)`)

// leftBehind tells which data of a package stays behind, by its directory.
func leftBehind(root *tree.Tree, p Package) []string {
	dirs := map[string][]string{}
	for _, file := range p.Files {
		e, ok := root.Resolve(file)
		in := strings.HasPrefix(file, "usr/share/") || strings.HasPrefix(file, "usr/lib/")
		if !ok || e.Kind != tree.File || !in || idle.MatchString(file) || knownRow(file) >= 0 {
			continue
		}
		if dir := path.Dir(file); !loaderDirs.MatchString(dir) {
			dirs[dir] = append(dirs[dir], file)
		}
	}
	var told []string
	for _, dir := range sortedNames(dirs) {
		told = append(told, fmt.Sprintf("%s has files in /%s that the tree does not carry: its libraries look for them there alone", p.Name, dir))
	}
	return told
}

// programsOf names the programs of a package.
func programsOf(p Package) []string {
	var names []string
	for _, file := range p.Files {
		if dir := path.Dir(file); path.Base(dir) == "bin" || path.Base(dir) == "sbin" {
			names = append(names, path.Base(file))
		}
	}
	return names
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
