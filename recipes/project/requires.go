package project

import (
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/packaging"
	"ampoule/recipes"
)

// Required is one thing that a project's metadata requires.
type Required struct {
	recipes.Position
	// Text is a requirement (PEP 508). It is empty where there is no such form.
	Text string
	// Says is what stands there.
	Says string
}

// Named is a name that a project gives to some of its requirements: an extra, or a
// group of dependencies.
type Named struct {
	recipes.Position
	Name string
}

// Metadata is what a project states of itself in pyproject.toml, setup.cfg, setup.py or a
// Pipfile, the first of these that states it.
type Metadata struct {
	// Name is as it is written.
	Name string
	// From is the file that Requires come from; empty where there is none.
	From     string
	Requires []Required
	Extras   []Named
	// Groups are requirements that are no part of what is installed (PEP 735, Poetry, PDM,
	// uv, Pipenv).
	Groups []Named
	// Direct are requirements that come from a workspace, a path or a repository, and
	// not from an index: where that is said, with the distribution's normalised name.
	Direct []Named
	// Computed are values that nobody knows without running the project's code.
	Computed []Named
	// Code is where the project says that it is a distribution itself; nil where it does not.
	Code *recipes.Position
}

// Metadata reads what the project states of itself.
func (r *Repository) Metadata() Metadata {
	var m Metadata
	if t, ok := r.read("pyproject.toml", maxFile); ok {
		r.pyproject(t, &m)
	}
	if t, ok := r.read("setup.cfg", maxFile); ok {
		setupCfg(t, &m)
	}
	if t, ok := r.read("setup.py", maxFile); ok {
		setupPy(t, &m)
	}
	if t, ok := r.read("Pipfile", maxFile); ok {
		r.pipfilePackages(t, &m)
	}
	return m
}

// requires takes a file's requirements, unless another file has stated some.
func (m *Metadata) requires(file string, all []Required) {
	if m.From == "" && len(all) > 0 {
		m.From, m.Requires = file, all
	}
}

func (m *Metadata) named(name string) {
	if m.Name == "" {
		m.Name = name
	}
}

func (m *Metadata) code(at recipes.Position) {
	if m.Code == nil {
		m.Code = &at
	}
}

// pyproject reads PEP 621, PEP 735, and the tables of Poetry, PDM and uv.
func (r *Repository) pyproject(t text, m *Metadata) {
	values, err := tomlValues(t.body, func(path string) bool {
		return strings.HasPrefix(path, "project.") || strings.HasPrefix(path, "dependency-groups.") ||
			strings.HasPrefix(path, "tool.poetry.") || strings.HasPrefix(path, "tool.pdm.dev-dependencies.") ||
			strings.HasPrefix(path, "tool.uv.") || strings.HasPrefix(path, "build-system.")
	})
	if err != nil {
		r.notTOML(t, err)
	}
	var standard []Required
	poetry := newTables(t)
	distribution, backend, virtual := false, recipes.Position{}, false
	for _, v := range values {
		at := t.at(v.line, v.column)
		name, rest, _ := strings.Cut(v.path, ".")
		switch {
		case v.path == "project.name", v.path == "tool.poetry.name":
			m.named(v.text)
			distribution = true
		case v.path == "project.dependencies":
			standard = append(standard, Required{at, v.text, v.text})
		case v.path == "project.dynamic" && v.text == "dependencies":
			m.Computed = append(m.Computed, Named{at, "dependencies"})
		case strings.HasPrefix(rest, "optional-dependencies."):
			m.Extras = addNamed(m.Extras, at, strings.TrimPrefix(rest, "optional-dependencies."))
		case strings.HasPrefix(v.path, "tool.poetry.extras."):
			m.Extras = addNamed(m.Extras, at, strings.TrimPrefix(v.path, "tool.poetry.extras."))
		case strings.HasPrefix(v.path, "tool.uv.sources."):
			if dist, key, _ := strings.Cut(strings.TrimPrefix(v.path, "tool.uv.sources."), "."); directSources[key] {
				m.Direct = addNamed(m.Direct, at, packaging.NormalName(dist))
			}
		case name == "dependency-groups":
			group, _, _ := strings.Cut(rest, ".")
			m.Groups = addNamed(m.Groups, at, group)
		case strings.HasPrefix(v.path, "tool.pdm.dev-dependencies."):
			m.Groups = addNamed(m.Groups, at, strings.TrimPrefix(v.path, "tool.pdm.dev-dependencies."))
		case v.path == "tool.uv.dev-dependencies", strings.HasPrefix(v.path, "tool.poetry.dev-dependencies."):
			m.Groups = addNamed(m.Groups, at, "dev")
		case strings.HasPrefix(v.path, "tool.poetry.group."):
			group, _, _ := strings.Cut(strings.TrimPrefix(v.path, "tool.poetry.group."), ".")
			m.Groups = addNamed(m.Groups, at, group)
		case strings.HasPrefix(v.path, "tool.poetry.dependencies."):
			poetry.add(strings.TrimPrefix(v.path, "tool.poetry.dependencies."), v)
		case v.path == "build-system.build-backend":
			backend = at
		case v.path == "tool.poetry.package-mode", v.path == "tool.uv.package":
			virtual = v.text == "false"
		}
	}
	if distribution && backend.Line > 0 && !virtual {
		m.code(backend)
	}
	m.requires(t.name, standard)
	poetry.drop("python")
	m.requires(t.name, poetry.requirements())
}

// directSources are the keys of tool.uv.sources that lead away from an index.
var directSources = map[string]bool{"workspace": true, "path": true, "git": true, "url": true}

// addNamed notes a name once, where it stands first.
func addNamed(all []Named, at recipes.Position, name string) []Named {
	if slices.ContainsFunc(all, func(n Named) bool { return n.Name == name }) {
		return all
	}
	return append(all, Named{at, name})
}

// setupCfg reads setuptools' declarative metadata.
func setupCfg(t text, m *Metadata) {
	var all []Required
	for _, v := range iniValues(t.body) {
		at := t.at(v.line, v.column)
		key := strings.ReplaceAll(v.key, "-", "_")
		switch {
		case v.section == "metadata" && key == "name":
			m.named(v.text)
			m.code(at)
		case v.section == "options" && key == "install_requires":
			for _, part := range v.parts {
				at := t.at(part.line, part.column)
				if strings.HasPrefix(part.text, "file:") {
					m.Computed = append(m.Computed, Named{at, "install_requires"})
					continue
				}
				all = append(all, Required{at, part.text, part.text})
			}
		case v.section == "options.extras_require":
			m.Extras = addNamed(m.Extras, at, key)
		}
	}
	m.requires(t.name, all)
}

// setupPy reads what a setup.py has as literals.
func setupPy(t text, m *Metadata) {
	found := scanSetup(t.body)
	if !found.called {
		return
	}
	m.named(found.name)
	line, column := place(t.body, max(0, strings.Index(t.body, "setup(")))
	m.code(t.at(line, column))
	var all []Required
	for _, v := range found.requires {
		for part := range strings.Lines(v.text) {
			part = strings.TrimSpace(part)
			if part != "" {
				all = append(all, Required{t.at(v.line, v.column), part, part})
			}
		}
	}
	for _, v := range found.extras {
		m.Extras = addNamed(m.Extras, t.at(v.line, v.column), v.text)
	}
	for _, v := range found.computed {
		if v.text != "name" && v.text != "python_requires" {
			m.Computed = append(m.Computed, Named{t.at(v.line, v.column), v.text})
		}
	}
	m.requires(t.name, all)
}

// pipfilePackages reads what a Pipfile lists.
func (r *Repository) pipfilePackages(t text, m *Metadata) {
	values, err := tomlValues(t.body, func(path string) bool {
		return strings.HasPrefix(path, "packages.") || strings.HasPrefix(path, "dev-packages.")
	})
	if err != nil {
		r.notTOML(t, err)
	}
	listed := newTables(t)
	for _, v := range values {
		if path, ok := strings.CutPrefix(v.path, "packages."); ok {
			listed.add(path, v)
			continue
		}
		m.Groups = addNamed(m.Groups, t.at(v.line, v.column), "dev")
	}
	m.requires(t.name, listed.requirements())
}

// tables are requirements that have a key for each distribution, as Poetry and Pipenv
// write them: flask = "^3.0", flask = {version = "^3.0", extras = ["async"]}.
type tables struct {
	text  text
	names []string
	of    map[string]*table
}

type table struct {
	at       recipes.Position
	version  string
	markers  string
	extras   []string
	direct   string
	versions int
}

func newTables(t text) *tables { return &tables{text: t, of: map[string]*table{}} }

func (l *tables) add(path string, v tomlValue) {
	name, key, _ := strings.Cut(path, ".")
	entry, ok := l.of[name]
	if !ok {
		entry = &table{at: l.text.at(v.line, v.column)}
		l.of[name] = entry
		l.names = append(l.names, name)
	}
	switch key {
	case "", "version":
		entry.version = v.text
		entry.versions++
	case "extras":
		entry.extras = append(entry.extras, v.text)
	case "markers":
		entry.markers = v.text
	case "git", "path", "url", "file", "source":
		entry.direct = key + " " + v.text
	case "python", "platform", "sys_platform":
		entry.direct = key + " " + v.text
	}
}

func (l *tables) drop(name string) {
	l.names = slices.DeleteFunc(l.names, func(n string) bool { return n == name })
}

// requirements says each in the form of PEP 508, where it has one.
func (l *tables) requirements() []Required {
	var all []Required
	for _, name := range l.names {
		entry := l.of[name]
		says := name + " = " + strings.TrimSpace(entry.version+" "+entry.direct)
		one := Required{entry.at, "", says}
		if spec, ok := versionsOf(entry.version); ok && entry.direct == "" && entry.versions <= 1 {
			one.Text = name
			if len(entry.extras) > 0 {
				one.Text += "[" + strings.Join(entry.extras, ",") + "]"
			}
			one.Text += spec
			if entry.markers != "" {
				one.Text += " ; " + entry.markers
			}
		}
		all = append(all, one)
	}
	return all
}

var caret = regexp.MustCompile(`^(\^|~)\s*v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?[0-9A-Za-z.]*$`)

// versionsOf says a constraint of Poetry, or of Pipenv, in specifiers (PEP 440).
func versionsOf(text string) (string, bool) {
	var all []string
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		m := caret.FindStringSubmatch(part)
		switch {
		case part == "*", part == "":
		case strings.Contains(part, "|"):
			return "", false
		case m != nil:
			all = append(all, ">="+strings.TrimLeft(part, "^~ "), "<"+above(m[1], m[2:]))
		case part[0] >= '0' && part[0] <= '9':
			all = append(all, "=="+part)
		default:
			all = append(all, strings.ReplaceAll(part, " ", ""))
		}
	}
	return strings.Join(all, ","), true
}

// above is the first version that a caret or a tilde leaves out: of ^1.2.3 it is 2, of
// ^0.2.3 it is 0.3, of ~1.2.3 it is 1.3.
func above(operator string, parts []string) string {
	parts = strings.Split(join(parts...), ".")
	i := 0
	if operator == "~" {
		i = min(1, len(parts)-1)
	} else {
		for i < len(parts)-1 && strings.Trim(parts[i], "0") == "" {
			i++
		}
	}
	return strings.Join(append(slices.Clone(parts[:i]), next(parts[i])), ".")
}

// RequirementFiles lists requirements files of the directory, and of requirements and
// reqs below it, in pip's form, by name. .in files without their .txt are among them.
func (r *Repository) RequirementFiles() []string {
	var found []string
	for _, way := range []string{"", "requirements", "reqs"} {
		for _, name := range r.list(way) {
			stem, isText := strings.CutSuffix(name, ".txt")
			bare, isIn := strings.CutSuffix(name, ".in")
			full := strings.TrimPrefix(below(way, name), "/")
			switch {
			case way == "" && !strings.Contains(strings.ToLower(name), "req"):
			case isText && r.has(full):
				_ = stem
				found = append(found, full)
			case isIn && r.has(full) && !r.has(below(way, bare+".txt")) && !strings.HasPrefix(name, "MANIFEST"):
				found = append(found, full)
			}
		}
	}
	return found
}

// OwnCode lists the lines of a requirements file that install the project itself, and
// whether they are all that stands there.
func (r *Repository) OwnCode(name string) (at []recipes.Position, alone bool) {
	t, ok := r.read(name, maxFile)
	if !ok {
		return nil, false
	}
	alone = true
	for line, words := range lines(t.body) {
		last := words[len(words)-1].text
		own := last == "." || strings.HasPrefix(last, ".[") || last == "-e." || last == "./"
		if own && (len(words) == 1 || words[0].text == "-e" || words[0].text == "--editable") {
			at = append(at, t.at(line, words[0].column))
		} else {
			alone = false
		}
	}
	return at, alone && len(at) > 0
}

// Suite is the Debian suite that an image of the Dockerfile, or an argument, names last: bookworm of
// python:3.13-slim-bookworm. It is empty where none does.
func (d Dockerfile) Suite() string {
	suite := ""
	for _, in := range d.instructions {
		if in.name != "FROM" && in.name != "ARG" {
			continue
		}
		for _, w := range in.words {
			if m := suiteTag.FindStringSubmatch(w.text); m != nil {
				suite = m[1]
			}
		}
	}
	return suite
}

// Alpine gives where an image without glibc is named; ok is false where there is none.
func (d Dockerfile) Alpine() (at recipes.Position, ok bool) {
	for _, in := range d.instructions {
		for _, w := range in.words {
			if in.name == "FROM" && strings.Contains(w.text, "alpine") {
				return d.at(w.line, w.column), true
			}
		}
	}
	return recipes.Position{}, false
}

var suiteTag = regexp.MustCompile(`[:-](bullseye|bookworm|trixie)\b`)

// Included lists the requirements files that one includes, itself first.
func (r *Repository) Included(name string) []string {
	var all []string
	queue := []string{name}
	for len(queue) > 0 && len(all) < maxEntries {
		next := queue[0]
		queue = queue[1:]
		if next == "" || slices.Contains(all, next) {
			continue
		}
		t, ok := r.read(next, maxFile)
		if !ok {
			continue
		}
		all = append(all, next)
		for _, words := range lines(t.body) {
			if m := includes.FindStringSubmatch(words[0].text); m != nil {
				file := m[1]
				if file == "" && len(words) > 1 {
					file = words[1].text
				}
				queue = append(queue, path.Join(path.Dir(next), file))
			}
		}
	}
	return all
}

var includes = regexp.MustCompile(`^(?:-r|--requirement=?)(.*)$`)

// Names lists the distributions that a requirements file names, with those that it
// includes, by normalised name.
func (r *Repository) Names(file string) []string {
	var all []string
	for _, name := range r.Included(file) {
		t, _ := r.read(name, maxFile)
		for _, words := range lines(t.body) {
			if required := packaging.RequiredName(words[0].text); required != "" {
				all = append(all, required)
			}
		}
	}
	return all
}

// Locked lists the distributions that a lock file of another tool pins, by normalised name.
func (r *Repository) Locked(file string) []string {
	t, ok := r.read(file, maxLock)
	if !ok {
		return nil
	}
	var all []string
	if file == pipfileLock {
		var lock struct {
			Default map[string]json.RawMessage `json:"default"`
		}
		if err := json.Unmarshal([]byte(t.body), &lock); err != nil {
			r.tell(t.at(0, 0), "this is not JSON: "+err.Error(), "")
		}
		for name := range lock.Default {
			all = append(all, packaging.NormalName(name))
		}
		return sorted(all)
	}
	values, err := tomlValues(t.body, func(path string) bool { return path == "package.name" || path == "packages.name" })
	if err != nil {
		r.notTOML(t, err)
	}
	for _, v := range values {
		all = append(all, packaging.NormalName(v.text))
	}
	return all
}
