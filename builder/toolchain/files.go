package toolchain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ampoule/builder/toolchain/debian"
	"ampoule/tree"
)

// Installed is a Debian package of a root file system with its files.
type Installed struct {
	Name string
	// Wanted says that it was asked for by name: it is no dependency alone.
	Wanted bool
	// Files are its paths without the leading slash, directories among them, as dpkg
	// lists them.
	Files []string
}

// FilesOf lists packages that are installed in a root file system and those that they depend
// on (Debian Policy, 7.2), sorted by name. A dependency that each Debian has, because it is
// essential or required, is left out with all that it alone depends on, and so is glibc.
func FilesOf(root *tree.Tree, names []string) ([]Installed, error) {
	stanzas, err := DpkgStatus(root)
	if err != nil {
		return nil, err
	}
	having := providers(stanzas)
	found := map[string]Installed{}
	queue := slices.Clone(names)
	for at := 0; at < len(queue); at++ {
		name, wanted := queue[at], at < len(names)
		if wanted && len(having[name]) == 0 {
			return nil, fmt.Errorf("listing the files of %s: it is not installed", name)
		}
		for _, s := range having[name] {
			if _, done := found[s.Get("Package")]; done || !wanted && everywhere(s) {
				continue
			}
			files, err := listOf(root, s)
			if err != nil {
				return nil, err
			}
			found[s.Get("Package")] = Installed{Name: s.Get("Package"), Wanted: wanted, Files: files}
			queue = append(queue, relations(s.Get("Pre-Depends"))...)
			queue = append(queue, relations(s.Get("Depends"))...)
		}
	}
	all := make([]Installed, 0, len(found))
	for _, i := range found {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b Installed) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// providers are the installed packages by name, and by the virtual ones that they provide.
func providers(stanzas []debian.Stanza) map[string][]debian.Stanza {
	having := map[string][]debian.Stanza{}
	for _, s := range stanzas {
		for _, name := range append([]string{s.Get("Package")}, relations(s.Get("Provides"))...) {
			having[name] = append(having[name], s)
		}
	}
	return having
}

// everywhere reports whether a package is part of each Debian, or glibc's.
func everywhere(s debian.Stanza) bool {
	return s.Get("Essential") == "yes" || s.Get("Priority") == "required" || s.Get("Source") == "glibc" || s.Get("Package") == "libc6"
}

// listOf reads dpkg's list of a package's files. Where several architectures may be
// installed side by side, its name has the package's.
func listOf(root *tree.Tree, s debian.Stanza) ([]string, error) {
	data, err := readFile(root, listName(root, s))
	if err != nil {
		return nil, err
	}
	var files []string
	for line := range strings.Lines(string(data)) {
		if p := strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "/"); p != "" && p != "." {
			files = append(files, p)
		}
	}
	return files, nil
}

// listName is where dpkg has that list.
func listName(root *tree.Tree, s debian.Stanza) string {
	name, arch := s.Get("Package"), s.Get("Architecture")
	at := "var/lib/dpkg/info/" + name + ".list"
	if _, ok := root.Resolve(at); !ok {
		at = "var/lib/dpkg/info/" + name + ":" + arch + ".list"
	}
	return at
}
