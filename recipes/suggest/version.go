package suggest

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"ampoule/packaging"
	"ampoule/recipes"
	"ampoule/recipes/project"
)

// version chooses the known release that is preferred among those that every statement admits. A statement that
// leaves nothing of what those before it admit is told, and passed over: `ampoule lock`
// will name it again. known is false for a release whose source this Ampoule does not
// know.
func (s *suggester) version(statements []project.Statement) (version string, known bool, err error) {
	applying := slices.DeleteFunc(slices.Clone(statements), func(s project.Statement) bool { return !s.Applies })
	// What stands nearer to the recipe is more about it.
	slices.SortStableFunc(applying, func(a, b project.Statement) int { return strings.Count(a.Name, "../") - strings.Count(b.Name, "../") })
	all := candidates(applying)
	left, agreed := all, false
	var beyond [][]project.Statement
	for _, group := range project.Groups(applying) {
		within := admitted(group, left)
		switch {
		case len(within) > 0:
			left, agreed = within, true
		case len(admitted(group, all)) > 0:
			s.disagree(group[0], left)
		case decides(group[0]):
			return "", false, unsupported(group[0])
		default:
			beyond = append(beyond, group)
		}
	}
	if len(beyond) > 0 && !agreed {
		return "", false, unsupported(beyond[0][0])
	}
	if slices.ContainsFunc(beyond, older) {
		left = lowest(left)
	}
	version, known = best(left)
	s.chosenVersion(version, known, applying)
	s.beyond(beyond, version)
	return version, known, nil
}

// admitted are the versions that one statement of a group admits.
func admitted(group []project.Statement, versions []string) []string {
	return slices.DeleteFunc(slices.Clone(versions), func(v string) bool { return !project.Admit(group, v) })
}

// decides reports whether a statement says for which Pythons the project is: its own
// metadata and lock files. The others say with which one it is run somewhere.
func decides(s project.Statement) bool {
	return s.Group == "" && slices.Contains([]string{"pyproject.toml", "setup.cfg", "setup.py", "Pipfile", "uv.lock", "pylock.toml", "poetry.lock", "pdm.lock", "Pipfile.lock"}, path.Base(s.Name))
}

// older reports whether a group, which admits nothing that Ampoule builds, wants something
// older than that.
func older(group []project.Statement) bool {
	return slices.ContainsFunc(group, func(s project.Statement) bool {
		return slices.ContainsFunc(s.Floors(), func(floor string) bool { return compare(floor, "3.11") < 0 })
	})
}

// lowest keeps the versions of the oldest series: what is run with an older Python was
// pinned for that.
func lowest(versions []string) []string {
	series := func(v string) string { return strings.Join(strings.SplitN(v, ".", 3)[:2], ".") }
	first := series(slices.MinFunc(versions, compare))
	return slices.DeleteFunc(slices.Clone(versions), func(v string) bool { return series(v) != first })
}

// beyond excepts the files that want a Python which Ampoule does not build: no recipe
// could agree with them.
func (s *suggester) beyond(groups [][]project.Statement, version string) {
	var entries []string
	for _, group := range groups {
		var files []string
		for _, st := range group {
			files = append(files, recipes.Scalar(st.Name))
		}
		entries = append(entries, fmt.Sprintf("    - {files: [%s], why: %s}", strings.Join(compact(files), ", "),
			recipes.Scalar("it wants Python "+oneLine(group[0].Text)+", which Ampoule does not build")))
	}
	if len(entries) == 0 {
		return
	}
	lines := append([]string{"  # Files that want a Python which Ampoule does not build. Test with this one there, too, and", "  # remove their line.", "  except:"}, entries...)
	do := "test with Python " + version + " there, and remove the exception"
	if takes(draft{except: lines}) {
		s.except = lines
	} else {
		do = "let it want " + version
	}
	for _, group := range groups {
		s.leave(group[0].Position, group[0].Says, fmt.Sprintf("it wants Python %s, which Ampoule does not build; the recipe has %s", group[0].Text, version), do)
	}
}

// candidates are the releases among which one is chosen: the known ones, those that a
// file pins, and the first ones that a file lets in.
func candidates(statements []project.Statement) []string {
	all := recipes.PreferredPythons()
	for _, s := range statements {
		for _, floor := range s.Floors() {
			for range 2 - strings.Count(floor, ".") {
				floor += ".0"
			}
			if recipes.IsPythonVersion(floor) {
				all = append(all, floor)
			}
		}
	}
	for minor := 11; minor <= newestSeries; minor++ {
		all = append(all, fmt.Sprintf("3.%d.0", minor))
	}
	return all
}

// newestSeries bounds the series of CPython that are thought of where none is known.
const newestSeries = 19

// best is the release that is preferred among the known ones, or else the oldest of the
// others: whoever says >=3.12 has tried that.
func best(left []string) (version string, known bool) {
	preferred := recipes.PreferredPythons()
	if i := slices.IndexFunc(preferred, func(v string) bool { return slices.Contains(left, v) }); i >= 0 {
		return preferred[i], true
	}
	return slices.MinFunc(left, compare), false
}

func compare(a, b string) int {
	v, _ := packaging.ParseVersion(a)
	w, _ := packaging.ParseVersion(b)
	return v.Compare(w)
}

// unsupported says that no release that Ampoule builds is wanted.
func unsupported(s project.Statement) error {
	return recipes.Faults{{
		File: s.File, Line: s.Line, Column: s.Column,
		What: fmt.Sprintf("%s wants Python %s; Ampoule builds CPython 3.11 and later", filepath.Base(s.Name), s.Text),
		Hint: "let it want a later one, or write a recipe without `ampoule init`",
	}}
}

// disagree tells of a statement that excludes what the others want.
func (s *suggester) disagree(other project.Statement, left []string) {
	version, _ := best(left)
	s.leave(other.Position, other.Says, fmt.Sprintf("it wants Python %s, and other files want another one: the recipe has %s", other.Text, version),
		"make them agree before `ampoule lock`, which refuses this; python.except lets a file want another Python")
}

// chosenVersion says where the version comes from.
func (s *suggester) chosenVersion(version string, known bool, statements []project.Statement) {
	if len(statements) == 0 {
		s.choose("no file says which Python is wanted; the recipe has %s, the newest known", version)
	}
	told := map[string]bool{}
	for _, st := range statements {
		if st.Pinned == version || told[st.Name] || !st.Admits(version) {
			continue
		}
		told[st.Name] = true
		s.choose("%s wants Python %s; the recipe has %s", st.Name, st.Text, version)
	}
	newest := recipes.NewestPython(version)
	_, has := recipes.KnownPython(version)
	switch _, served := recipes.KnownPython(newest); {
	case known && !has:
		s.choose("Debian does not have the source of Python %s, which takes a mirror of the source cpython", version)
	case known && !served:
		s.choose("Debian has the source of Python %s; %s is newer, and takes a mirror of the source cpython", version, newest)
	}
	if !known {
		s.leave(recipes.Position{}, "python.version "+version, "this Ampoule knows no release that the files want, so that its archive's sha256 is missing",
			"write the release that you run there, and the sha256 of its Python-VERSION.tar.xz as python.sha256")
	}
}
