package audit

import (
	"path"
	"strings"

	"ampoule/tree"
)

// eggs is what the distributions in a directory own that keep no RECORD: those that
// distutils or "setup.py install" installed. An .egg-link owns nothing there.
type eggs struct {
	// files are those that an installed-files.txt lists, which pip wrote.
	files map[string]bool
	// tops are the top-level names of the others: top_level.txt lists modules and packages
	// (setuptools, "The Internal Structure of Python Eggs"), and an .egg has all below itself.
	tops map[string]bool
	// silent says that one of them has no list, as distutils' .egg-info files: it may own anything.
	silent bool
}

// maxList bounds a list of files or modules, in bytes.
const maxList = 8 << 20

func eggsOf(t *tree.Tree, site string) eggs {
	all := eggs{files: map[string]bool{}, tops: map[string]bool{}}
	for _, e := range t.Entries() {
		if path.Dir(e.Path) != site {
			continue
		}
		switch path.Ext(e.Path) {
		case ".egg":
			all.tops[path.Base(e.Path)] = true
		case ".egg-info":
			all.add(t, e.Path)
		}
	}
	return all
}

// add notes what an .egg-info owns.
func (g *eggs) add(t *tree.Tree, info string) {
	if files, ok := listIn(t, info+"/installed-files.txt"); ok {
		for _, file := range files {
			g.files[path.Join(info, file)] = true
		}
		return
	}
	names, ok := listIn(t, info+"/top_level.txt")
	for _, name := range names {
		top, _, _ := strings.Cut(name, "/")
		g.tops[top] = true
	}
	g.silent = g.silent || !ok
}

// listIn reads the lines of a small file.
func listIn(t *tree.Tree, p string) ([]string, bool) {
	e, ok := t.Lookup(p)
	if !ok || e.Kind != tree.File || e.Size > maxList {
		return nil, false
	}
	data, err := e.ReadAll()
	if err != nil {
		return nil, false
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines, true
}

// mayOwn reports whether one of them may have brought a file below the directory.
func (g *eggs) mayOwn(site, file string) bool {
	top, _, _ := strings.Cut(strings.TrimPrefix(file, site+"/"), "/")
	module, _, _ := strings.Cut(top, ".")
	return g.silent || g.files[file] || g.tops[top] || g.tops[module]
}
