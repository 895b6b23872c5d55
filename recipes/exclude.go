package recipes

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// anyDirectories is the part of a pattern of packages.NAME.exclude that stands for any number
// of directories.
const anyDirectories = "**"

// MatchExclude reports whether a pattern of packages.NAME.exclude matches a path or a
// directory that it is in. One that [ReadRecipe] would refuse matches nothing.
func MatchExclude(pattern, p string) bool {
	return matchParts(strings.Split(pattern, "/"), strings.Split(p, "/"))
}

// matchParts matches the parts of a path, or the first of them, which are a directory's.
func matchParts(pattern, parts []string) bool {
	switch {
	case len(pattern) == 0:
		return true
	case pattern[0] == anyDirectories:
		// At the end it is all that a directory has, and not the directory: a file has nothing.
		if len(pattern) == 1 {
			return len(parts) > 0
		}
		return slices.ContainsFunc(tails(parts), func(rest []string) bool { return matchParts(pattern[1:], rest) })
	case len(parts) == 0:
		return false
	}
	ok, err := path.Match(pattern[0], parts[0])
	return err == nil && ok && matchParts(pattern[1:], parts[1:])
}

// tails are the ends of a list, the list itself first.
func tails(parts []string) [][]string {
	all := make([][]string, len(parts))
	for i := range parts {
		all[i] = parts[i:]
	}
	return all
}

func isExcludePattern(text string) bool {
	if !isGlob(text) || path.Clean(text) != text || text == "." || !lineOfText.MatchString(text) {
		return false
	}
	return !slices.ContainsFunc(strings.Split(text, "/"), func(part string) bool {
		return part != anyDirectories && strings.Contains(part, anyDirectories)
	})
}

func hintExclude(text string) string {
	switch {
	case strings.Contains(text, "site-packages/"):
		_, below, _ := strings.Cut(text, "site-packages/")
		return "write it without the directory: " + below
	case path.IsAbs(text) || strings.Contains(text, ".."):
		return "write the path below site-packages, such as tests/**, or the one in the tree of a program, such as bin/tool"
	case strings.Contains(text, anyDirectories):
		return "** stands for whole directories, as in tests/** and **/tests"
	case strings.HasSuffix(text, "/"):
		return "write " + strings.TrimRight(text, "/")
	}
	return ""
}

// UselessExcludes tells of patterns for distributions that are not installed: nothing would
// be left out, and nobody told.
func UselessExcludes(r *Recipe, l *Lock) Faults {
	var faults Faults
	for _, name := range slices.Sorted(maps.Keys(r.Packages)) {
		if len(r.Packages[name].Exclude) > 0 && !l.installs(name) {
			faults = append(faults, r.Fault("packages."+name+" leaves files of "+name+" out, which is not installed", "remove it, or require "+name, "packages", name, "exclude"))
		}
	}
	return faults
}

// installs reports whether a distribution is installed into the tree, or laid over it.
func (l *Lock) installs(name string) bool {
	named := func(id string) bool { return strings.HasPrefix(id, name+"==") }
	return slices.ContainsFunc(l.Requirements, named) ||
		slices.ContainsFunc(l.App, func(a LockedApp) bool { return a.Name == name }) ||
		slices.ContainsFunc(slices.Collect(maps.Values(l.Groups)), func(g LockedGroup) bool { return slices.ContainsFunc(g.Requirements, named) })
}
