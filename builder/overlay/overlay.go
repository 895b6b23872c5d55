// Package overlay says what a dependency group lays over an artifact's tree, and refuses one
// that would change or shadow anything there: what runs with a group is the artifact, and
// something beside it.
package overlay

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/faults"
	"ampoule/tree"
)

// Laid is what one distribution of a group installs, relative to the tree's root.
type Laid struct {
	// Name is the distribution's, normalised (PEP 503).
	Name string
	Tree *tree.Tree
}

// Clash is a place where a group would not leave the artifact as it is.
type Clash struct {
	// Path is where, in the tree.
	Path string
	// Group is the group's distribution, Artifact what has the place: a distribution,
	// "the interpreter", or "the artifact".
	Group, Artifact string
	// What is what Group would do there: "change", "shadow", "add to" or "take away".
	What string
}

// String gives the clash in one line.
func (c Clash) String() string {
	return fmt.Sprintf("%s would %s %s of %s", c.Group, c.What, c.Path, c.Artifact)
}

// RefusedError says that a group would change or shadow something of the artifact.
type RefusedError struct {
	// Name is the group's.
	Name    string
	Clashes []Clash
}

// most is how many clashes an error names.
const most = 10

func (e *RefusedError) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "dependency group %s does not leave the artifact as it is:", e.Name)
	for i, c := range e.Clashes {
		if i == most {
			fmt.Fprintf(&text, "\n  and %d more", len(e.Clashes)-most)
			break
		}
		text.WriteString("\n  " + c.String())
	}
	return text.String()
}

// Kind says whose fault it is.
func (*RefusedError) Kind() faults.Kind { return faults.Refused }

// Hint says what can be done.
func (e *RefusedError) Hint() string {
	return "leave the distribution out of dependency-groups." + e.Name + ", or its files (packages.NAME.exclude), or move it into requirements: then it is a part of the artifact, whose digest changes"
}

// Check finds where distributions that are installed over a base tree would change or shadow
// what is there. Site is the directory of distributions in the tree. The clashes come in the
// order of their paths.
func Check(base *tree.Tree, site string, laid []Laid) ([]Clash, error) {
	at := shape{base: base, site: strings.TrimSuffix(site, "/")}
	at.modules = map[string]map[string]tree.Entry{}
	for _, e := range base.Entries() {
		if name, ok := at.moduleOf(e); ok {
			at.note(path.Dir(e.Path), name, e)
		}
	}
	var found []Clash
	for _, l := range laid {
		seen := map[string]bool{}
		for _, e := range l.Tree.Entries() {
			if e.Kind == tree.Dir {
				continue
			}
			c, err := at.clash(l, e)
			if err != nil {
				return nil, err
			}
			// A package is told once, not with each of its files.
			if c != nil && !seen[c.Path] {
				seen[c.Path] = true
				found = append(found, *c)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b Clash) int { return cmp.Compare(a.Path, b.Path) })
	return found, nil
}

// shape is a tree with the modules in each directory below site-packages.
type shape struct {
	base *tree.Tree
	site string
	// modules are the files and directories that import finds in a directory, by the
	// module's name.
	modules map[string]map[string]tree.Entry
}

func (s shape) note(dir, name string, e tree.Entry) {
	if s.modules[dir] == nil {
		s.modules[dir] = map[string]tree.Entry{}
	}
	// A directory wins: it says more than the file of that name beside it.
	if have, ok := s.modules[dir][name]; !ok || have.Kind != tree.Dir {
		s.modules[dir][name] = e
	}
}

// moduleOf returns the name by which import finds an entry below site-packages in its
// directory, if it can.
func (s shape) moduleOf(e tree.Entry) (string, bool) {
	if !strings.HasPrefix(e.Path, s.site+"/") {
		return "", false
	}
	name := path.Base(e.Path)
	if e.Kind == tree.Dir {
		return name, isIdentifier(name) && name != "__pycache__"
	}
	switch path.Ext(name) {
	case ".py", ".pyc", ".so":
		name, _, _ = strings.Cut(name, ".")
		return name, isIdentifier(name)
	}
	return "", false
}

// isIdentifier reports whether a name can be a part of a module's.
func isIdentifier(name string) bool {
	return name != "" && !strings.ContainsAny(name, ".-+ ")
}

// clash finds what one file of a distribution would do to the base; nil for nothing.
func (s shape) clash(l Laid, e tree.Entry) (*Clash, error) {
	if old, ok := s.base.Lookup(e.Path); ok {
		if same(old, e) && !s.inPackage(e.Path) {
			return nil, nil
		}
		if !same(old, e) {
			return &Clash{e.Path, l.Name, s.ownerOf(old), "change"}, nil
		}
	}
	if dir := path.Dir(s.site); strings.HasPrefix(e.Path, dir+"/") && !strings.HasPrefix(e.Path, s.site+"/") {
		return &Clash{e.Path, l.Name, "the interpreter", "add to"}, nil
	}
	if !strings.HasPrefix(e.Path, s.site+"/") {
		return nil, nil
	}
	return s.shadow(l, e)
}

// same reports whether two entries are the same but for who brought them.
func same(a, b tree.Entry) bool {
	return a.Kind == b.Kind && a.SHA256 == b.SHA256 && a.Link == b.Link && (a.Kind == tree.Symlink || a.Mode&0o111 == b.Mode&0o111)
}

// inPackage reports whether a file lies below a package of the base's that is its own.
func (s shape) inPackage(p string) bool {
	for dir := path.Dir(p); strings.HasPrefix(dir, s.site+"/"); dir = path.Dir(dir) {
		if _, regular := s.initOf(dir); regular {
			return true
		}
	}
	return false
}

// initOf returns what makes a directory of the base a regular package.
func (s shape) initOf(dir string) (tree.Entry, bool) {
	e, ok := s.modules[dir]["__init__"]
	return e, ok
}

// shadow walks from site-packages to a file, and finds the first module of the base whose
// place it, or a package above it, would take.
func (s shape) shadow(l Laid, e tree.Entry) (*Clash, error) {
	dir := s.site
	parts := strings.Split(strings.TrimPrefix(e.Path, s.site+"/"), "/")
	for _, part := range parts[:len(parts)-1] {
		old, has := s.modules[dir][part]
		dir = path.Join(dir, part)
		switch {
		case !has:
			return nil, nil
		case old.Kind != tree.Dir:
			return &Clash{old.Path, l.Name, s.ownerOf(old), "shadow"}, nil
		}
		shared, err := s.isShared(l, dir)
		if err != nil {
			return nil, err
		}
		if !shared {
			return &Clash{dir, l.Name, s.ownerOf(old), "add to"}, nil
		}
	}
	name, ok := s.moduleOf(e)
	if old, has := s.modules[dir][name]; ok && has && old.Path != e.Path {
		return &Clash{old.Path, l.Name, s.ownerOf(old), "shadow"}, nil
	}
	return nil, nil
}

// isShared reports whether a package of the base is one that several distributions have a
// part in: a namespace package (PEP 420), which stays one, or an old one, which both bring
// with the same line that makes it one.
func (s shape) isShared(l Laid, dir string) (bool, error) {
	old, regular := s.initOf(dir)
	mine, brings := l.Tree.Lookup(dir + "/__init__.py")
	if !regular {
		return !brings, nil
	}
	if brings && !same(old, mine) {
		return false, nil
	}
	data, err := old.ReadAll()
	if err != nil {
		return false, err
	}
	return bytes.Contains(data, []byte("extend_path")) || bytes.Contains(data, []byte("declare_namespace")), nil
}

// ownerOf names what an entry of the base belongs to; a directory is of the first file in it.
func (s shape) ownerOf(e tree.Entry) string {
	owner := e.Owner
	if e.Kind == tree.Dir {
		at, _ := slices.BinarySearchFunc(s.base.Entries(), e.Path+"/", func(e tree.Entry, p string) int { return strings.Compare(e.Path, p) })
		for _, below := range s.base.Entries()[at:] {
			if !strings.HasPrefix(below.Path, e.Path+"/") {
				break
			}
			if below.Kind != tree.Dir {
				owner = below.Owner
				break
			}
		}
	}
	return named(owner)
}

// named names an owner to a person.
func named(owner string) string {
	if dist, ok := strings.CutPrefix(owner, audit.OwnerWheel); ok {
		return dist
	}
	if owner == audit.OwnerInterpreter {
		return "the interpreter"
	}
	return "the artifact"
}

// Beyond returns what a tree that was sealed with a group has beyond the artifact's, and
// where it is not the artifact's tree with something beside it. The file that tells what a
// tree is made of stays the artifact's.
func Beyond(base, both *tree.Tree) (*tree.Tree, []Clash) {
	var found []Clash
	for _, e := range base.Entries() {
		now, ok := both.Lookup(e.Path)
		switch {
		case e.Path == artifact.RecordFile:
		case !ok:
			found = append(found, Clash{e.Path, "the group", named(e.Owner), "take away"})
		case !same(e, now) || e.Mode != now.Mode:
			found = append(found, Clash{e.Path, groupOwner(now), named(e.Owner), "change"})
		}
	}
	return both.Select(func(e tree.Entry) bool {
		_, has := base.Lookup(e.Path)
		return !has
	}), found
}

// groupOwner names what of a group has changed a file.
func groupOwner(e tree.Entry) string {
	if dist, ok := strings.CutPrefix(e.Owner, audit.OwnerWheel); ok {
		return dist
	}
	return "the group"
}
