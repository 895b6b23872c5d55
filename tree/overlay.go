package tree

import (
	"maps"
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
	// gone are the paths that are removed with all below, emptied the directories of which
	// all below is.
	gone, emptied := map[string]bool{}, map[string]bool{}
	for _, e := range t.Entries() {
		dir, base := path.Split(e.Path)
		switch name, found := strings.CutPrefix(base, Whiteout); {
		case base == opaque:
			emptied[path.Clean(dir)] = true
		case found:
			gone[dir+name] = true
		default:
			if old, ok := merged[e.Path]; ok && old.Kind == Dir && e.Kind != Dir {
				gone[e.Path] = true
			}
		}
	}
	if len(gone)+len(emptied) > 0 {
		maps.DeleteFunc(merged, func(p string, _ Entry) bool {
			for at := p; ; at = path.Dir(at) {
				if gone[at] || at != p && emptied[at] {
					return true
				}
				if at == "." {
					return false
				}
			}
		})
	}
	for _, e := range t.Entries() {
		if !strings.HasPrefix(path.Base(e.Path), Whiteout) {
			merged[e.Path] = e
		}
	}
}
