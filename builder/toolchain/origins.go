package toolchain

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"ampoule/builder/toolchain/debian"
	"ampoule/tree"
)

// Origin is an installed Debian package and the source package that it was built from.
type Origin struct{ Name, Version, Arch, Source, SourceVersion string }

// Origins lists the packages that are installed in a root file system, sorted by name. One
// without dpkg's status, which is no Debian, has none.
func Origins(root *tree.Tree) ([]Origin, error) {
	if !isDebian(root) {
		return nil, nil
	}
	stanzas, err := installed(root)
	if err != nil {
		return nil, err
	}
	list := make([]Origin, len(stanzas))
	for i, s := range stanzas {
		list[i] = originOf(s)
	}
	slices.SortFunc(list, func(a, b Origin) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch)) })
	return list, nil
}

// OriginsOfFiles names the package that each file of a root file system is of, by dpkg's
// lists. What a package's scripts have made is in none.
func OriginsOfFiles(root *tree.Tree) (map[string]Origin, error) {
	if !isDebian(root) {
		return nil, nil
	}
	stanzas, err := installed(root)
	if err != nil {
		return nil, err
	}
	found := map[string]Origin{}
	// dpkg has files below the directories that were links when they were packed: /lib.
	dirs := map[string]string{}
	for _, s := range stanzas {
		if _, ok := root.Resolve(listName(root, s)); !ok {
			continue // small images leave the lists out
		}
		files, err := listOf(root, s)
		if err != nil {
			return nil, err
		}
		origin := originOf(s)
		for _, file := range files {
			dir, base := path.Split(file)
			dir = strings.TrimSuffix(dir, "/")
			led, known := dirs[dir]
			if !known {
				led = dir
				if e, ok := root.Resolve(dir); ok && dir != "" {
					led = e.Path
				}
				dirs[dir] = led
			}
			found[path.Join(led, base)] = origin
		}
	}
	return found, nil
}

// installed lists the packages that are installed. Others may be in whatever state: images of
// others are what they are.
func installed(root *tree.Tree) ([]debian.Stanza, error) {
	data, err := readFile(root, statusFile)
	if err != nil {
		return nil, err
	}
	var list []debian.Stanza
	err = debian.Stanzas(bytes.NewReader(data), func(s debian.Stanza) error {
		if strings.HasSuffix(s.Get("Status"), " ok installed") {
			list = append(list, s)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", statusFile, err)
	}
	return list, nil
}

func isDebian(root *tree.Tree) bool {
	e, ok := root.Resolve(statusFile)
	return ok && e.Kind == tree.File
}

// originOf reads the source package: the field Source, which has a version only where it is
// not the package's (Debian Policy, 5.6.1).
func originOf(s debian.Stanza) Origin {
	o := Origin{Name: s.Get("Package"), Version: s.Get("Version"), Arch: s.Get("Architecture")}
	name, version, _ := strings.Cut(s.Get("Source"), " ")
	o.Source = cmp.Or(name, o.Name)
	o.SourceVersion = cmp.Or(strings.Trim(version, "() "), o.Version)
	return o
}
