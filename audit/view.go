package audit

import (
	"path"
	"strings"

	"ampoule/tree"
)

// Root is a file system that is looked into file by file, such as a machine's own.
// A [tree.Tree] is one.
type Root interface {
	// Lookup finds the entry at a path without a leading slash, not following links. Its
	// SHA256 may be empty.
	Lookup(p string) (tree.Entry, bool)
}

// view is a root file system with the tree mounted at its prefix, or, without one, laid
// over it.
type view struct {
	tree *tree.Tree
	root Root
	// prefix is where the tree is, without the leading slash.
	prefix string
}

// place is a file in a view.
type place struct {
	tree.Entry
	// inTree reports whether Path is in the tree or in the root file system.
	inTree bool
}

// maxLinks bounds the links followed, as Linux does (ELOOP at 40).
const maxLinks = 40

// resolve finds the file that an absolute path leads to, following links as the
// kernel does.
func (v view) resolve(abs string) (place, bool) {
	done, rest := "", strings.Split(abs, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = strings.TrimPrefix(path.Dir("/"+done), "/")
			continue
		}
		next := path.Join(done, part)
		p, ok := v.lookup(next)
		if !ok || len(rest) > 0 && p.Kind == tree.File {
			return place{}, false
		}
		if p.Kind != tree.Symlink {
			done = next
			continue
		}
		links++
		if links > maxLinks {
			return place{}, false
		}
		if path.IsAbs(p.Link) {
			done = ""
		}
		rest = append(strings.Split(p.Link, "/"), rest...)
	}
	return v.lookup(done)
}

// lookup finds an entry without following links; p has no leading slash.
func (v view) lookup(p string) (place, bool) {
	if p == "" || p == v.prefix || strings.HasPrefix(v.prefix, p+"/") {
		return place{Entry: tree.Entry{Path: p, Kind: tree.Dir}}, true
	}
	if v.prefix == "" {
		if e, ok := v.tree.Lookup(p); ok {
			return place{e, true}, true
		}
	} else if rel, ok := strings.CutPrefix(p, v.prefix+"/"); ok {
		e, ok := v.tree.Lookup(rel)
		return place{e, true}, ok
	}
	e, ok := v.root.Lookup(p)
	return place{e, false}, ok
}

// abs is the absolute path of a file of the tree.
func (v view) abs(treePath string) string { return path.Join("/", v.prefix, treePath) }
