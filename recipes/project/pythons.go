package project

import (
	"regexp"
	"slices"
	"strings"

	"ampoule/recipes"
)

// Statement is what one place of a repository says about the version of Python.
type Statement struct {
	// Position is where it stands.
	recipes.Position
	// Name is the file's path from the recipe's directory, with slashes.
	Name string
	// Says is what stands there in the file's own words: FROM python:3.11-slim.
	Says string
	Wanted
	// Group names statements of which one has to agree, such as the jobs of a pipeline:
	// the others may try other versions. A statement without a group stands for itself.
	Group string
	// Applies is set where the tool that reads the file would use it for what stands in
	// the recipe's directory. The others are of something else, perhaps.
	Applies bool
}

// Pythons reads all that the repository says about the version of Python, what decides
// first: the project's own metadata, then what chooses an interpreter, images, lock
// files, and last what tests.
func (r *Repository) Pythons() []Statement {
	var all []Statement
	add := func(s []Statement) { all = append(all, s...) }
	for i, way := range r.above() {
		add(r.metadata(way, i == 0))
	}
	add(r.nearest([]string{".python-version"}, pythonVersion))
	if t, ok := r.read("runtime.txt", maxFile); ok {
		add(r.runtime(t))
	}
	if t, ok := r.read("Pipfile", maxFile); ok {
		add(r.pipfile(t))
	}
	add(r.nearest([]string{".tool-versions"}, toolVersions))
	add(r.nearest([]string{"mise.toml", ".mise.toml", "mise/config.toml", ".mise/config.toml", ".config/mise.toml", ".config/mise/config.toml"}, mise))
	for _, t := range r.Dockerfiles() {
		add(t.pythons())
	}
	for i, way := range r.above() {
		add(r.locks(way, i == 0))
	}
	for _, name := range []string{"tox.ini", "setup.cfg"} {
		if t, ok := r.read(name, maxFile); ok {
			add(r.tox(t))
		}
	}
	add(r.pipelines())
	return all
}

// Groups puts statements together of which one has to agree, in their order.
func Groups(all []Statement) [][]Statement {
	var groups [][]Statement
	at := map[string]int{}
	for _, s := range all {
		i, ok := at[s.Group]
		if !ok || s.Group == "" {
			i = len(groups)
			at[s.Group] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], s)
	}
	return groups
}

// Admit reports whether one statement of a group admits a full version.
func Admit(group []Statement, version string) bool {
	return slices.ContainsFunc(group, func(s Statement) bool { return s.Admits(version) })
}

// nearest reads the first of the files that is found on the way up, as version managers
// do: one nearer hides those above.
func (r *Repository) nearest(names []string, read func(*Repository, text) []Statement) []Statement {
	for _, way := range r.above() {
		for _, name := range names {
			if t, ok := r.read(below(way, name), maxFile); ok {
				return read(r, t)
			}
		}
	}
	return nil
}

// below is a file's path in the directory that a way leads to.
func below(way, name string) string {
	if way == "" {
		return name
	}
	return way + "/" + name
}

// statement makes one that applies.
func (t text) statement(line, column int, says string, w Wanted) Statement {
	return Statement{Position: t.at(line, column), Name: t.name, Says: says, Wanted: w, Applies: true}
}

// group makes statements one group.
func group(name string, all []Statement) []Statement {
	for i := range all {
		all[i].Group = name
	}
	return all
}

// unread tells of a text that should be a version and is not understood.
func (r *Repository) unread(t text, line, column int, what string) {
	r.tell(t.at(line, column), "what it says about Python is not understood: "+shorten(what), "")
}

// pythonVersion reads .python-version, of pyenv and uv: names of versions, one a line or
// several. The first one is what `python` starts; the others are there, too.
func pythonVersion(r *Repository, t text) []Statement {
	var all []Statement
	for line, words := range lines(t.body) {
		for _, word := range words {
			w, ok := byName(word.text)
			if !ok {
				w, ok = byRange(word.text)
			}
			switch {
			case ok:
				all = append(all, t.statement(line, word.column, word.text, w))
			case word.text == "system", strings.HasPrefix(word.text, "#"):
			default:
				r.unread(t, line, word.column, word.text)
			}
		}
	}
	return group(t.name, all)
}

// runtime reads runtime.txt, of Heroku and Cloud Foundry: python-3.13.5, python-3.13.x.
func (r *Repository) runtime(t text) []Statement {
	var all []Statement
	for line, words := range lines(t.body) {
		word := words[0]
		if w, ok := byName(word.text); ok {
			all = append(all, t.statement(line, word.column, word.text, w))
		} else {
			r.unread(t, line, word.column, word.text)
		}
	}
	return all
}

// toolVersions reads .tool-versions, of asdf and mise: `python 3.13.5 3.12.1`.
func toolVersions(r *Repository, t text) []Statement {
	var all []Statement
	for line, words := range lines(t.body) {
		if words[0].text != "python" {
			continue
		}
		for _, word := range words[1:] {
			if w, ok := byName(strings.TrimPrefix(strings.TrimPrefix(word.text, "latest:"), "prefix:")); ok {
				all = append(all, t.statement(line, word.column, "python "+word.text, w))
			} else if word.text != "system" && word.text != "latest" {
				r.unread(t, line, word.column, word.text)
			}
		}
	}
	return group(t.name, all)
}

// mise reads the table [tools] of mise.
func mise(r *Repository, t text) []Statement {
	var all []Statement
	values, err := tomlValues(t.body, func(path string) bool {
		return path == "tools.python" || path == "tools.python.version"
	})
	if err != nil {
		r.notTOML(t, err)
	}
	for _, v := range values {
		if w, ok := byName(strings.TrimPrefix(v.text, "prefix:")); ok {
			all = append(all, t.statement(v.line, v.column, "python "+v.text, w))
		} else if v.text != "system" && v.text != "latest" {
			r.unread(t, v.line, v.column, v.text)
		}
	}
	return group(t.name, all)
}

// pipfile reads what a Pipfile requires of Python.
func (r *Repository) pipfile(t text) []Statement {
	values, err := tomlValues(t.body, func(path string) bool {
		return path == "requires.python_version" || path == "requires.python_full_version"
	})
	if err != nil {
		r.notTOML(t, err)
	}
	var all []Statement
	for _, v := range values {
		key := strings.TrimPrefix(v.path, "requires.")
		if w, ok := byConstraint(v.text); ok {
			all = append(all, t.statement(v.line, v.column, key+" "+v.text, w))
		} else {
			r.unread(t, v.line, v.column, v.text)
		}
	}
	return all
}

// metadata reads what a project's own files state: pyproject.toml, setup.cfg, setup.py.
// Above the recipe, only the root of a workspace of uv states it for what is below.
func (r *Repository) metadata(way string, own bool) []Statement {
	var all []Statement
	if t, ok := r.read(below(way, "pyproject.toml"), maxFile); ok {
		all = append(all, r.requiresPython(t, own)...)
	}
	if !own {
		return all
	}
	if t, ok := r.read("setup.cfg", maxFile); ok {
		for _, v := range iniValues(t.body) {
			if v.section == "options" && (v.key == "python_requires" || v.key == "python-requires") {
				all = append(all, r.specifiers(t, v.line, v.column, "python_requires", v.text)...)
			}
		}
	}
	if t, ok := r.read("setup.py", maxFile); ok {
		for _, v := range scanSetup(t.body).pythons {
			all = append(all, r.specifiers(t, v.line, v.column, "python_requires", v.text)...)
		}
	}
	return all
}

// specifiers reads specifiers that a key gives.
func (r *Repository) specifiers(t text, line, column int, key, spec string) []Statement {
	w, ok := byRange(spec)
	if !ok {
		r.unread(t, line, column, key+" "+spec)
		return nil
	}
	return []Statement{t.statement(line, column, key+" "+spec, w)}
}

// requiresPython reads requires-python (PEP 621) and Poetry's python.
func (r *Repository) requiresPython(t text, own bool) []Statement {
	workspace := false
	values, err := tomlValues(t.body, func(path string) bool {
		workspace = workspace || strings.HasPrefix(path, "tool.uv.workspace.")
		switch path {
		case "project.requires-python", "tool.poetry.dependencies.python", "tool.poetry.dependencies.python.version", "tool.tox.env_list":
			return true
		}
		return false
	})
	if err != nil {
		r.notTOML(t, err)
	}
	var all, tested []Statement
	for _, v := range values {
		switch v.path {
		case "project.requires-python":
			all = append(all, r.specifiers(t, v.line, v.column, "requires-python", v.text)...)
		case "tool.tox.env_list":
			tested = append(tested, t.environments(v.line, v.column, v.text)...)
		default:
			if w, ok := byConstraint(v.text); ok {
				all = append(all, t.statement(v.line, v.column, "python "+v.text, w))
			} else {
				r.unread(t, v.line, v.column, v.text)
			}
		}
	}
	all = append(all, group(t.name, tested)...)
	for i := range all {
		all[i].Applies = own || workspace
	}
	return all
}

// locks reads what lock files say about Python. That of a workspace of uv stands at its
// root; the others are of their own directory.
func (r *Repository) locks(way string, own bool) []Statement {
	var all []Statement
	names := []string{"uv.lock"}
	if own {
		names = r.LockFiles()
	}
	for _, name := range names {
		t, ok := r.read(below(way, name), maxLock)
		if !ok {
			continue
		}
		if name == pipfileLock {
			all = append(all, r.pipfileLock(t)...)
			continue
		}
		values, err := tomlValues(t.body, func(path string) bool { return lockedPythons[path] })
		if err != nil {
			r.notTOML(t, err)
		}
		var targets []Statement
		for _, v := range values {
			w, ok := byConstraint(v.text)
			key := v.path[strings.LastIndexByte(v.path, '.')+1:]
			switch {
			case !ok:
				r.unread(t, v.line, v.column, v.text)
			case strings.HasPrefix(v.path, "metadata.targets."):
				targets = append(targets, t.statement(v.line, v.column, key+" "+v.text, w))
			default:
				all = append(all, t.statement(v.line, v.column, key+" "+v.text, w))
			}
		}
		all = append(all, group(t.name, targets)...)
	}
	return all
}

// lockedPythons are the keys of lock files: of uv and pylock.toml (PEP 751), of Poetry,
// and of PDM, which locks for several targets.
var lockedPythons = map[string]bool{
	"requires-python": true, "metadata.python-versions": true, "metadata.targets.requires_python": true, "metadata.requires_python": true,
}

const pipfileLock = "Pipfile.lock"

var pipfileLocked = regexp.MustCompile(`"(python_(?:full_)?version)"\s*:\s*"([^"\\\n]{1,100})"`)

// pipfileLock reads _meta.requires of a Pipfile.lock, which stands before all packages.
func (r *Repository) pipfileLock(t text) []Statement {
	start := strings.Index(t.body, `"_meta"`)
	if start < 0 {
		return nil
	}
	head, _, _ := strings.Cut(t.body[start:], `"sources"`)
	var all []Statement
	for _, m := range pipfileLocked.FindAllStringSubmatchIndex(head, -1) {
		line, column := place(t.body, start+m[4])
		found := head[m[4]:m[5]]
		if w, ok := byNumber(found); ok {
			all = append(all, t.statement(line, column, head[m[2]:m[3]]+" "+found, w))
		} else {
			r.unread(t, line, column, found)
		}
	}
	return all
}

// LockFiles lists the lock files of other tools in the directory.
func (r *Repository) LockFiles() []string {
	var found []string
	for _, name := range []string{"uv.lock", "pylock.toml", "poetry.lock", "pdm.lock", pipfileLock} {
		if r.has(name) {
			found = append(found, name)
		}
	}
	return found
}
