package recipes

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"

	"ampoule/packaging"
)

// isGroupsFile reports whether a file that a dependency group names has a table of such groups,
// and not requirements: a pyproject.toml.
func isGroupsFile(text string) bool { return localPath(text) && path.Base(text) == "pyproject.toml" }

// groupTables are the tables of a pyproject.toml that name requirements (PEP 735, PEP 621).
type groupTables struct {
	Groups  map[string][]any `toml:"dependency-groups"`
	Project struct {
		Name     string              `toml:"name"`
		Optional map[string][]string `toml:"optional-dependencies"`
	} `toml:"project"`
}

// groupsReader reads groups out of one pyproject.toml.
type groupsReader struct {
	*requirementsReader
	tables groupTables
	// text is the file's, shown how faults name it.
	text, shown string
	// from is where the recipe names the file.
	from Position
	// done are the groups and extras that were read, by their form in messages.
	done map[string]bool
}

// groupsFile reads what a group of the recipe takes of a pyproject.toml: the dependency groups
// and extras that it names there, or else the group of its own name.
func (r *requirementsReader) groupsFile(name string, group Requirements) {
	file := path.Clean(group.File)
	from := r.recipe.At(groupsKey, name, "file")
	r.set.File = file
	data, ok := r.text(file, from)
	if !ok {
		return
	}
	r.set.Files[file] = data
	in := groupsReader{
		requirementsReader: r, text: string(data), from: from, done: map[string]bool{},
		shown: filepath.Join(filepath.Dir(r.recipe.File()), filepath.FromSlash(file)),
	}
	if err := toml.Unmarshal(data, &in.tables); err != nil {
		at := Position{File: in.shown}
		var wrong *toml.DecodeError
		if errors.As(err, &wrong) {
			at.Line, at.Column = wrong.Position()
		}
		r.add(at, "it is not as a pyproject.toml is: "+err.Error(), "")
		return
	}
	groups := group.Groups
	if len(group.Groups)+len(group.Extras) == 0 {
		groups = []string{name}
	}
	for _, wanted := range groups {
		in.group(wanted, from, nil)
	}
	for _, wanted := range group.Extras {
		in.extra(wanted, from, nil)
	}
	r.faults = append(r.faults, r.own.told()...)
}

// keysNamed are the keys of a table whose normal form is that of a name.
func keysNamed[V any](table map[string]V, name string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(table)), func(key string) bool { return packaging.NormalName(key) != packaging.NormalName(name) })
}

// group reads a dependency group; from is where it is named, and path are the groups and extras
// that led here.
func (g groupsReader) group(name string, from Position, path []string) {
	what := "dependency group " + packaging.NormalName(name)
	path, fresh := g.begin(what, from, path)
	keys := keysNamed(g.tables.Groups, name)
	switch {
	case !fresh:
		return
	case len(keys) == 0:
		g.add(from, fmt.Sprintf("%s has no %s", g.shown, what), suggestion(name, slices.Sorted(maps.Keys(g.tables.Groups)), "its groups"))
		return
	case len(keys) > 1:
		g.add(g.place(keys[1]), fmt.Sprintf("%s is the name of two dependency groups: %s", packaging.NormalName(name), strings.Join(keys, ", ")), "names are compared in their normal form (PEP 735)")
		return
	}
	for _, item := range g.tables.Groups[keys[0]] {
		table, _ := item.(map[string]any)
		included, includes := table["include-group"].(string)
		text, isText := item.(string)
		switch {
		case isText:
			g.requirementOf(text, path)
		case includes && len(table) == 1:
			g.group(included, g.place(included), path)
		default:
			g.add(g.place(keys[0]), fmt.Sprintf("%s has an item that is neither a requirement nor {include-group = NAME}", what), "see PEP 735")
		}
	}
}

// extra reads an extra of the project, likewise.
func (g groupsReader) extra(name string, from Position, path []string) {
	what := "extra " + packaging.NormalName(name)
	path, fresh := g.begin(what, from, path)
	keys := keysNamed(g.tables.Project.Optional, name)
	switch {
	case !fresh:
		return
	case len(keys) == 0:
		g.add(from, fmt.Sprintf("%s has no %s", g.shown, what), suggestion(name, slices.Sorted(maps.Keys(g.tables.Project.Optional)), "its extras"))
		return
	}
	for _, text := range g.tables.Project.Optional[keys[0]] {
		g.requirementOf(text, path)
	}
}

// begin notes that something is read. It returns false where it was, and tells of what includes
// itself.
func (g groupsReader) begin(what string, from Position, path []string) (longer []string, ok bool) {
	if slices.Contains(path, what) {
		g.add(from, fmt.Sprintf("%s includes itself: %s", what, strings.Join(append(path, what), " → ")), "remove one of the includes")
		return nil, false
	}
	if g.done[what] {
		return nil, false
	}
	g.done[what] = true
	return append(slices.Clip(path), what), true
}

// requirementOf takes one requirement. What names the project itself stands for its extras: the
// project is no requirement of a group.
func (g groupsReader) requirementOf(text string, path []string) {
	at := g.place(text)
	requirement, err := parseRequirement(text)
	if err != nil {
		if !g.own.take(text, at) {
			g.add(at, err.what, err.hint)
		}
		return
	}
	if own := g.tables.Project.Name; own != "" && requirement.Name == packaging.NormalName(own) {
		parsed, err := packaging.ParseRequirement(text)
		if err != nil {
			return
		}
		for _, extra := range parsed.Extras {
			g.extra(extra, at, path)
		}
		return
	}
	requirement.Position = at
	if wrong := g.requirement(requirement); wrong != nil {
		g.add(at, wrong.what, wrong.hint)
	}
}

// place is where a text stands in the file in quotes, or else its beginning.
func (g groupsReader) place(quoted string) Position {
	at := Position{File: g.shown, Line: 1, Column: 1}
	for number, line := range strings.Split(g.text, "\n") {
		for _, quote := range []string{`"`, `'`} {
			if i := strings.Index(line, quote+quoted+quote); i >= 0 {
				at.Line, at.Column = number+1, utf8.RuneCountInString(line[:i])+1
				return at
			}
		}
	}
	return at
}
