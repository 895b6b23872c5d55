package gate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"ampoule/audit"
	"ampoule/audit/wheel"
	"ampoule/tree"
)

// parts are a tree's files by the distribution that brought them.
type parts struct {
	tree *tree.Tree
	// site is the directory of distributions, with a slash at its end.
	site string
	// of are the hashes of what each owner has.
	of map[string]string
	// shared is the hash of what distributions have outside site-packages and programs: any
	// process may read it.
	shared string
	// below are, for each directory in site-packages, the owners of the files below it.
	below map[string]map[string]bool
}

func partsOf(t *tree.Tree, site string) parts {
	p := parts{tree: t, site: site, of: map[string]string{}, below: map[string]map[string]bool{}}
	lines := map[string][]string{}
	var shared []string
	for _, e := range t.Entries() {
		if e.Kind == tree.Dir {
			continue
		}
		line := fmt.Sprintf("%s %o %s %s", e.Path, e.Mode, e.SHA256, e.Link)
		lines[e.Owner] = append(lines[e.Owner], line)
		if strings.HasPrefix(e.Path, site) {
			p.note(e)
		} else if isShared(e) {
			shared = append(shared, line)
		}
	}
	for owner, of := range lines {
		p.of[owner] = hashOf(of)
	}
	p.shared = hashOf(shared)
	return p
}

// isShared tells whether a file outside site-packages may decide what another distribution's
// import does. Programs cannot: no PATH of a load leads to them. Nor can manuals.
func isShared(e tree.Entry) bool {
	return strings.HasPrefix(e.Owner, audit.OwnerWheel) && !strings.HasPrefix(e.Path, "bin/") && !strings.HasPrefix(e.Path, "share/man/")
}

func hashOf(lines []string) string {
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:])
}

// note notes whose file lies in which directories.
func (p *parts) note(e tree.Entry) {
	for dir := path.Dir(e.Path); len(dir) >= len(p.site); dir = path.Dir(dir) {
		if p.below[dir] == nil {
			p.below[dir] = map[string]bool{}
		}
		p.below[dir][e.Owner] = true
	}
}

// everybody are all owners of files in site-packages.
func (p *parts) everybody() owners {
	all := owners{}
	for dir, of := range p.below {
		if path.Dir(dir)+"/" == p.site {
			maps.Copy(all, of)
		}
	}
	for _, e := range p.directly() {
		if e.Kind != tree.Dir {
			all[e.Owner] = true
		}
	}
	return all
}

// directly lists what lies in site-packages itself.
func (p *parts) directly() []tree.Entry { return p.in(strings.TrimSuffix(p.site, "/")) }

// in lists what lies in a directory itself.
func (p *parts) in(dir string) []tree.Entry {
	var list []tree.Entry
	for _, e := range p.from(dir + "/") {
		if !strings.HasPrefix(e.Path, dir+"/") {
			break
		}
		if path.Dir(e.Path) == dir {
			list = append(list, e)
		}
	}
	return list
}

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
		owner := audit.OwnerWheel + wheel.Normalize(dist)
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

// owners is a set of owners.
type owners map[string]bool

// sees tells whether the files of an owner are in a view for these: theirs, those of
// the interpreter, and those of nobody.
func (o owners) sees(owner string) bool {
	return o[owner] || !strings.HasPrefix(owner, audit.OwnerWheel)
}

// all tells whether all of some owners are seen.
func (o owners) all(of map[string]bool) bool {
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

// view makes a directory that stands for site-packages and has what some owners see of it,
// as links into the tree at a place. A directory that they see all of is one link.
func (p *parts) view(o owners, place string) (*tree.Tree, error) {
	var links []tree.Entry
	var lay func(dir string)
	lay = func(dir string) {
		for _, e := range p.in(dir) {
			seen := o.sees(e.Owner)
			if e.Kind == tree.Dir {
				seen = o.all(p.below[e.Path])
			}
			switch {
			case seen:
				links = append(links, tree.Entry{Path: strings.TrimPrefix(e.Path, p.site), Kind: tree.Symlink, Link: path.Join("/", place, e.Path)})
			case e.Kind == tree.Dir:
				lay(e.Path)
			}
		}
	}
	lay(strings.TrimSuffix(p.site, "/"))
	return tree.New(links)
}
