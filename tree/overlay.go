package tree

import (
	"path"
	"strings"
)

// Whiteout begins the names of members that remove what is below them in an image (OCI
// image specification, layer.md).
const Whiteout = ".wh."

// opaque is the one that removes all that a directory has below.
const opaque = Whiteout + Whiteout + ".opq"

// Overlay lays the layers of an image over one another, the lowest first, as a container
// engine does: a whiteout removes what is below it.
func Overlay(layers ...*Tree) (*Tree, error) {
	merged := map[string]Entry{}
	for _, t := range layers {
		overlay(merged, t)
	}
	entries := make([]Entry, 0, len(merged))
	for _, e := range merged {
		entries = append(entries, e)
	}
	return New(entries)
}

func overlay(merged map[string]Entry, t *Tree) {
	for _, e := range t.Entries() {
		dir, base := path.Split(e.Path)
		switch name, found := strings.CutPrefix(base, Whiteout); {
		case base == opaque:
			remove(merged, "", dir)
		case found:
			remove(merged, dir+name, dir+name+"/")
		}
	}
	for _, e := range t.Entries() {
		if strings.HasPrefix(path.Base(e.Path), Whiteout) {
			continue
		}
		if old, ok := merged[e.Path]; ok && old.Kind == Dir && e.Kind != Dir {
			remove(merged, e.Path, e.Path+"/")
		}
		merged[e.Path] = e
	}
}

// remove takes out a path and all that begin with below.
func remove(merged map[string]Entry, self, below string) {
	for p := range merged {
		if p == self || strings.HasPrefix(p, below) {
			delete(merged, p)
		}
	}
}
