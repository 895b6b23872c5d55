package gate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"ampoule/audit"
	"ampoule/packaging"
	"ampoule/tree"
)

// parts are a tree's files by the distribution that brought them.
type parts struct {
	tree *tree.Tree
	// site is the directory of distributions, with a slash at its end.
	site string
	// of are the hashes of what each owner has.
	of map[string]string
	// shared is the hash of what else distributions have outside site-packages: any process
	// may read it.
	shared string
	// below are, for site-packages and each directory in it, the owners of the files below
	// it, in what lies in it itself.
	below map[string]owners
	in    map[string][]tree.Entry
	// programs are what distributions have in bin and share/man.
	programs []tree.Entry
}

func partsOf(t *tree.Tree, site string) parts {
	p := parts{tree: t, site: site, of: map[string]string{}, below: map[string]owners{}, in: map[string][]tree.Entry{}}
	lines := map[string][]string{}
	var shared []string
	for _, e := range t.Entries() {
		below := strings.HasPrefix(e.Path, site)
		if below {
			p.in[path.Dir(e.Path)] = append(p.in[path.Dir(e.Path)], e)
		}
		if e.Kind == tree.Dir {
			continue
		}
		// Quoted, so that no name can look like two lines.
		line := fmt.Sprintf("%q %o %s %q", e.Path, e.Mode, e.SHA256, e.Link)
		lines[e.Owner] = append(lines[e.Owner], line)
		switch {
		case below:
			p.note(e)
		case !strings.HasPrefix(e.Owner, audit.OwnerWheel):
		case isProgram(e):
			p.programs = append(p.programs, e)
		default:
			shared = append(shared, line)
		}
	}
	for owner, of := range lines {
		p.of[owner] = hashOf(of)
	}
	p.shared = hashOf(shared)
	return p
}

// isProgram reports whether a file is a program or a manual. No PATH of a load leads to them,
// and those of others are hidden.
func isProgram(e tree.Entry) bool {
	return strings.HasPrefix(e.Path, "bin/") || strings.HasPrefix(e.Path, "share/man/")
}

func hashOf(lines []string) string {
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:])
}

// note notes whose file lies in which directories.
func (p *parts) note(e tree.Entry) {
	for dir := path.Dir(e.Path); len(dir) >= len(p.site)-1; dir = path.Dir(dir) {
		if p.below[dir] == nil {
			p.below[dir] = owners{}
		}
		p.below[dir][e.Owner] = true
	}
}

// everybody are all owners of files in site-packages.
func (p *parts) everybody() owners { return p.below[strings.TrimSuffix(p.site, "/")] }

// from are the entries from a path on, in their order.
func (p *parts) from(prefix string) []tree.Entry {
	at, _ := slices.BinarySearchFunc(p.tree.Entries(), prefix, func(e tree.Entry, p string) int { return strings.Compare(e.Path, p) })
	return p.tree.Entries()[at:]
}

// providers are the owners of a module of that dotted name. "distribution NAME" asks for a
// distribution, and "*" for all of them.
func (p *parts) providers(name string) owners {
	if name == "*" {
		return p.everybody()
	}
	if dist, ok := strings.CutPrefix(name, "distribution "); ok {
		owner := audit.OwnerWheel + packaging.NormalName(dist)
		if _, ok := p.of[owner]; ok {
			return owners{owner: true}
		}
		return nil
	}
	found := owners{}
	file := p.site + strings.ReplaceAll(name, ".", "/")
	maps.Copy(found, p.below[file])
	for _, e := range p.from(file + ".") {
		if !strings.HasPrefix(e.Path, file+".") {
			break
		}
		if e.Kind != tree.Dir && path.Dir(e.Path) == path.Dir(file) {
			found[e.Owner] = true
		}
	}
	return found
}

// owner is the distribution that a module is of, the first one by name where several have a
// part in it, and the interpreter where none has.
func (p *parts) owner(module string) string {
	for _, owner := range slices.Sorted(maps.Keys(p.providers(module))) {
		if strings.HasPrefix(owner, audit.OwnerWheel) {
			return owner
		}
	}
	return audit.OwnerInterpreter
}

// owners is a set of owners.
type owners map[string]bool

// sees reports whether the files of an owner are in a view for these: theirs, those of
// the interpreter, and those of nobody.
func (o owners) sees(owner string) bool {
	return o[owner] || !strings.HasPrefix(owner, audit.OwnerWheel)
}

// all reports whether all of some owners are seen.
func (o owners) all(of owners) bool {
	for owner := range of {
		if !o.sees(owner) {
			return false
		}
	}
	return true
}

// with adds owners with all that they require, whatever the marker and the extra.
func (o owners) with(more owners, s *subject) owners {
	all := maps.Clone(o)
	todo := slices.Collect(maps.Keys(more))
	for len(todo) > 0 {
		owner := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, known := s.parts.of[owner]; all[owner] || !known || !strings.HasPrefix(owner, audit.OwnerWheel) {
			continue
		}
		all[owner] = true
		for _, name := range s.requires[strings.TrimPrefix(owner, audit.OwnerWheel)] {
			todo = append(todo, audit.OwnerWheel+name)
		}
	}
	return all
}

// any reports whether any of some owners is seen.
func (o owners) any(of owners) bool {
	for owner := range of {
		if o.sees(owner) {
			return true
		}
	}
	return false
}

// view is what some owners see of a tree.
type view struct {
	// links stand for site-packages: relative paths, with links into the tree.
	links []tree.Entry
	// hidden cover the rest in the tree itself, for whoever follows a link and looks around
	// there: directories and empty files that none but root may open.
	hidden []tree.Entry
}

// view makes the view of some owners where the tree is at a place, without the files that are
// left out of it there. A directory that they see all of is one link.
func (p *parts) view(o owners, place string, left map[string]bool) *view {
	v := &view{}
	hide := func(e tree.Entry, mode fs.FileMode) {
		if left[e.Path] {
			return
		}
		made := tree.FileEntry(path.Join(place, e.Path), mode, nil)
		if e.Kind == tree.Dir {
			made = tree.Entry{Path: made.Path, Kind: tree.Dir, Mode: mode}
		}
		v.hidden = append(v.hidden, made)
	}
	var lay func(dir string)
	lay = func(dir string) {
		for _, e := range p.in[dir] {
			of := owners{e.Owner: true}
			if e.Kind == tree.Dir {
				of = p.below[e.Path]
			}
			switch {
			case o.all(of):
				v.links = append(v.links, tree.Entry{Path: strings.TrimPrefix(e.Path, p.site), Kind: tree.Symlink, Link: path.Join("/", place, e.Path)})
			case o.any(of):
				lay(e.Path)
			default:
				hide(e, 0)
			}
		}
	}
	top := tree.Entry{Path: strings.TrimSuffix(p.site, "/"), Kind: tree.Dir}
	lay(top.Path)
	// Its names tell of others, too.
	hide(top, 0o711)
	for _, e := range p.programs {
		if !o.sees(e.Owner) {
			hide(e, 0)
		}
	}
	return v
}
