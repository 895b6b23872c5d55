package suggest

import (
	"cmp"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"ampoule/packaging"
	"ampoule/recipes"
	"ampoule/recipes/project"
)

// requirements chooses what the recipe requires, and gives its lines: a lock file of
// another tool, then a requirements file, then what the project's metadata lists.
func (s *suggester) requirements() string {
	s.names = map[string]bool{}
	for _, r := range s.metadata.Requires {
		s.names[packaging.RequiredName(r.Text)] = true
	}
	files := s.files()
	locks := slices.DeleteFunc(s.locks(), s.ofSomethingElse)
	s.groups(files, locks)
	switch {
	case len(locks) > 0:
		return s.lockFile(locks, files.main)
	case files.main != "":
		for _, name := range s.repository.Names(files.main) {
			s.names[name] = true
		}
		s.choose("requirements are those of %s", files.main)
		return "requirements: " + recipes.Scalar(files.main)
	case len(s.metadata.Requires) > 0:
		return s.listed()
	}
	s.choose("no requirements were found; the recipe builds the interpreter alone")
	return "# Distributions to install, from a file or a list:\n# requirements: requirements.txt"
}

// locks are the lock files of other tools that recipes can name. The others are told.
func (s *suggester) locks() []string {
	var taken []string
	for _, file := range s.repository.LockFiles() {
		if takes(draft{requirements: "requirements: " + recipes.Scalar(file)}) {
			taken = append(taken, file)
			continue
		}
		s.leave(recipes.Position{File: s.shown(file)}, "the pins of a lock file", "a recipe cannot name it", "export a requirements file from it, and name that: "+exports[file])
	}
	return taken
}

// ofSomethingElse reports whether a lock file is not of the project, and tells it. A Pipfile
// may list tools alone, beside a pyproject.toml that has the project's requirements. The
// other locks are made of pyproject.toml itself.
func (s *suggester) ofSomethingElse(lock string) bool {
	if !strings.HasPrefix(lock, "Pipfile") && !strings.HasPrefix(lock, "pylock") || s.metadata.From != "pyproject.toml" {
		return false
	}
	parsed, err := recipes.ParseRecipe(s.shown("ampoule.yaml"), draft{name: "app", version: s.python, known: true, suite: "bookworm", requirements: "requirements: " + recipes.Scalar(lock)}.text())
	if err != nil {
		return false
	}
	pinned, err := recipes.ReadRequirements(parsed)
	if err != nil {
		return false // told where the recipe is checked
	}
	for _, required := range s.metadata.Requires {
		name := packaging.RequiredName(required.Text)
		if name == "" || strings.Contains(required.Text, ";") || s.isDirect(name) || slices.ContainsFunc(pinned.Requirements, func(r recipes.Requirement) bool { return r.Name == name }) {
			continue
		}
		s.leave(required.Position, required.Text, "the project requires it, and "+lock+" does not pin it: the lock is of something else, and its pins are not taken", "")
		return true
	}
	return false
}

// isDirect reports whether a distribution comes from a workspace, a path or a repository.
func (s *suggester) isDirect(name string) bool {
	return slices.ContainsFunc(s.metadata.Direct, func(n project.Named) bool { return n.Name == name })
}

// exports are the commands that write a requirements file of a lock file.
var exports = map[string]string{
	"uv.lock": "`uv export --no-dev -o requirements.txt`", "poetry.lock": "`poetry export -o requirements.txt`", "pdm.lock": "`pdm export --prod -o requirements.txt`",
	"Pipfile.lock": "`pipenv requirements --hash > requirements.txt`", "pylock.toml": "`uv pip compile pylock.toml -o requirements.txt`",
}

// lockFile requires what a lock file of another tool pins. This is the one place that
// writes how a recipe names such a file.
func (s *suggester) lockFile(locks []string, file string) string {
	chosen := locks[0]
	others := slices.Clone(locks[1:])
	if file != "" {
		others = append(others, file)
	}
	s.choose("requirements are the pins of %s", chosen)
	if len(others) > 0 {
		s.choose("requirements are not taken from %s", strings.Join(others, ", "))
	}
	for _, name := range s.repository.Locked(chosen) {
		s.names[name] = true
	}
	for _, extra := range s.metadata.Extras {
		wanted := recipes.Scalar(chosen) + ", extras: [" + packaging.NormalName(extra.Name) + "]"
		do := "name those that the program needs in the recipe's requirements"
		// That has none itself.
		if chosen != "Pipfile.lock" {
			do = "if the program needs it, write requirements: {file: " + wanted + "}"
		}
		s.leave(extra.Position, "extra "+extra.Name, "which extras are installed is not known", do)
	}
	return "requirements: " + recipes.Scalar(chosen)
}

// listed writes what the project's metadata requires into the recipe.
func (s *suggester) listed() string {
	from := s.metadata.From
	lines := []string{"# Copied from " + from + ": a change there is made here, too.", "requirements:"}
	for _, required := range s.metadata.Requires {
		requirement, err := recipes.ParseRequirement(required.Text)
		if i := slices.IndexFunc(s.metadata.Direct, func(n project.Named) bool { return n.Name == requirement.Name }); err == nil && i >= 0 {
			s.leave(s.metadata.Direct[i].Position, required.Says, "it comes from a workspace, a path or a repository, and not from an index", "put its wheel into an index, and add it to the recipe's requirements")
			continue
		}
		if required.Text == "" || err != nil {
			why := "it has no form with name and version"
			if err != nil && required.Text != "" {
				why = err.Error()
			}
			s.leave(required.Position, required.Says, why, "add it to the recipe's requirements by name and version")
			continue
		}
		lines = append(lines, "  - "+recipes.Scalar(requirement.Spec))
	}
	if len(lines) == 2 {
		lines[1] = "requirements: []"
	}
	s.choose("requirements are those of %s", from)
	for _, extra := range s.metadata.Extras {
		do := "copy what it requires, if the program needs it"
		if s.metadata.Code != nil {
			do = "if the program needs it, write app: {source: ., extras: [" + packaging.NormalName(extra.Name) + "]}"
		}
		s.leave(extra.Position, "extra "+extra.Name, "which extras are installed is not known", do)
	}
	s.isListed = true
	return strings.Join(lines, "\n")
}

// requirementFiles are requirements files by what they are for.
type requirementFiles struct {
	// main is what is installed; empty where none is. others are not.
	main   string
	others []string
	// installed are those that images install.
	installed []string
}

// production are names of what is installed, the likeliest first, without their endings.
var production = []string{
	"requirements", "requirements/production", "requirements/prod", "requirements/main", "requirements/base", "requirements/default", "requirements/requirements",
	"requirements-prod", "requirements-production", "requirements_prod", "reqs/base", "reqs/requirements",
}

// files chooses a requirements file: the one that an image installs, or the likeliest
// name. One that installs the project alone says nothing.
func (s *suggester) files() requirementFiles {
	var f requirementFiles
	var all []string
	for _, name := range s.repository.RequirementFiles() {
		at, alone := s.repository.OwnCode(name)
		if !alone {
			all = append(all, name)
		} else if len(at) > 0 {
			s.leave(at[0], "the project itself", "the file has no other line", "")
		}
	}
	for _, d := range s.dockerfiles {
		for _, installed := range d.Pip() {
			if name, ok := strings.CutPrefix(installed.Name, "-r "); ok {
				if i := slices.IndexFunc(all, func(file string) bool { return sameEnd(file, name) }); i >= 0 {
					f.installed = append(f.installed, all[i])
				}
			}
		}
	}
	f.main = cmp.Or(likeliest(slices.DeleteFunc(slices.Clone(f.installed), isDevelopment)), named(all), likeliest(f.installed))
	included := s.repository.Included(f.main)
	for _, name := range all {
		if name != f.main && !slices.Contains(included, name) {
			f.others = append(f.others, name)
		}
	}
	if f.main == "" && len(f.others) == 1 && !isDevelopment(f.others[0]) && len(s.metadata.Requires) == 0 {
		f.main, f.others = f.others[0], nil
	}
	return f
}

// named is the first file with a name of what is installed in production; empty where none
// has one.
func named(files []string) string {
	for _, stem := range production {
		for _, ending := range []string{".txt", ".in"} {
			if slices.Contains(files, stem+ending) {
				return stem + ending
			}
		}
	}
	return ""
}

// likeliest chooses among files that images install: the one that is named for it, or the
// last one.
func likeliest(installed []string) string {
	if len(installed) == 0 {
		return ""
	}
	return cmp.Or(named(installed), installed[len(installed)-1])
}

// sameEnd reports whether a path in an image, such as /app/requirements/prod.txt or
// /tmp/requirements.txt, is of a file.
func sameEnd(file, inImage string) bool {
	inImage = strings.TrimPrefix(path.Clean("/"+inImage), "/")
	return inImage == file || strings.HasSuffix(inImage, "/"+file)
}

// development are parts of the names of files that are not for production.
var development = []string{"dev", "test", "lint", "doc", "local", "ci", "typing", "mypy", "bench", "format", "debug"}

func isDevelopment(file string) bool {
	name := strings.ToLower(path.Base(file))
	return slices.ContainsFunc(development, func(part string) bool { return strings.Contains(name, part) })
}

// groups takes requirements for tests as dependency groups, and tells of the others that are no
// part of the artifact.
func (s *suggester) groups(files requirementFiles, locks []string) {
	for _, name := range files.others {
		if group := groupOfFile(name); isForTests(group) && s.takeGroup(group, name, recipes.Scalar(name)) {
			continue
		}
		why := "it is not known whether the program needs it"
		switch {
		case isDevelopment(name):
			why = "it looks like a group for development, which is no part of the artifact"
		case slices.Contains(files.installed, name):
			why = "an image installs it too, and a recipe names one file"
		}
		s.leave(recipes.Position{File: s.shown(name)}, "a requirements file", why, "include it in the requirements with -r, if the program needs it")
	}
	for _, g := range s.metadata.Groups {
		if !isForTests(g.Name) || !s.takeTable(g.Name, "groups", locks) {
			s.leave(g.Position, "group "+g.Name, "a group of dependencies is no part of the artifact", "list under dependency-groups what tests need")
		}
	}
	s.metadata.Extras = slices.DeleteFunc(s.metadata.Extras, func(e project.Named) bool {
		return isForTests(e.Name) && s.takeTable(e.Name, "extras", nil)
	})
	for _, c := range s.metadata.Computed {
		if s.metadata.From == "" {
			s.leave(c.Position, c.Name, "only running the project's code tells what it is", "list it in the recipe's requirements")
		}
	}
}

// shown is a file's path as people may open it from where they are.
func (s *suggester) shown(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

// fileWords are what stands in the name of a requirements file beside what it is for.
var fileWords = regexp.MustCompile(`(?i)requirements?|reqs?`)

// groupOfFile is what a requirements file is for, as the name of a group: test of
// requirements-test.txt.
func groupOfFile(name string) string {
	stem := strings.TrimSuffix(path.Base(name), path.Ext(name))
	return packaging.NormalName(strings.Trim(fileWords.ReplaceAllString(stem, ""), "-_."))
}

// isForTests reports whether a group has a name that groups for tests have. Others, such as docs
// and lint, would be locked with each lock, and are told.
func isForTests(group string) bool {
	group = strings.ToLower(group)
	return strings.Contains(group, "test") || group == "dev" || group == "develop" || group == "development"
}

// takeTable takes a group or an extra out of a lock, which has its pins, or else out of
// pyproject.toml. kind is the key of the recipe that names it there.
func (s *suggester) takeTable(name, kind string, locks []string) bool {
	group := packaging.NormalName(name)
	for _, lock := range locks[:min(1, len(locks))] {
		if s.takeGroup(group, lock, "{file: "+recipes.Scalar(lock)+", "+kind+": ["+recipes.Scalar(name)+"]}") {
			return true
		}
	}
	if kind == "groups" {
		return s.takeGroup(group, "pyproject.toml", "pyproject.toml")
	}
	return s.takeGroup(group, "pyproject.toml", "{file: pyproject.toml, "+kind+": ["+recipes.Scalar(group)+"]}")
}

// takeGroup takes a dependency group from a file if none of its name was taken, and everything of
// it can be read.
func (s *suggester) takeGroup(group, file, value string) bool {
	line := group + ": " + value
	known := slices.ContainsFunc(s.taken, func(taken string) bool { return strings.HasPrefix(taken, group+": ") })
	text := draft{name: "app", version: "3.13.5", known: true, suite: "bookworm", requirements: "requirements: []", groups: []string{line}}.text()
	parsed, err := recipes.ParseRecipe(filepath.Join(s.dir, "ampoule.yaml"), text)
	if known || err != nil {
		return false
	}
	if set, err := recipes.ReadRequirements(parsed); err != nil || len(set.Groups[group].Requirements) == 0 {
		return false
	}
	s.taken = append(s.taken, line)
	s.choose("dependency group %s is that of %s", group, file)
	return true
}
