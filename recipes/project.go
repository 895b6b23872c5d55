package recipes

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"

	"ampoule/packaging"
)

// Where the version of first-party code comes from.
const (
	// VersionStatic: it is written in pyproject.toml (PEP 621).
	VersionStatic = "static"
	// VersionTags: the build backend asks the tags of the repository. It is told one in
	// a variable, since there is no repository where it builds.
	VersionTags = "tags"
	// VersionBackend: the build backend finds it in the code.
	VersionBackend = "backend"
)

// Project is what a directory of first-party code says of itself, as far as can be read
// without running anything of it.
type Project struct {
	// Dir is as the recipe names it.
	Dir string
	// Name is normalised (PEP 503); empty where only its build backend knows it.
	Name string
	// Static is set where its dependencies are written down (PEP 621).
	Static bool
	// Requires are its dependencies, as metadata states them (Requires-Dist); none where
	// only its build backend knows them.
	Requires []string
	// Extras are those that the recipe wants of it.
	Extras []string
	// Version is where its version comes from, such as [VersionStatic], and VersionVariable
	// the variable that tells its build backend the one that tags give.
	Version, VersionVariable string
	// BuildRequires are what its build is declared to take (PEP 518).
	BuildRequires []string
	// At is where its pyproject.toml begins to speak of it.
	At Position
	// written are texts of Requires as they stand in pyproject.toml, where they differ.
	written map[string]string
}

// maxProjectFile bounds a pyproject.toml and a setup.cfg, in bytes.
const maxProjectFile = 4 << 20

// taggers are build requirements by which a version comes from tags, with the variable that
// tells them one; of those with none, none can be told.
var taggers = map[string]string{
	"setuptools-scm": "SETUPTOOLS_SCM_PRETEND_VERSION", "hatch-vcs": "SETUPTOOLS_SCM_PRETEND_VERSION", "flit-scm": "SETUPTOOLS_SCM_PRETEND_VERSION",
	"pbr": "PBR_VERSION", "poetry-dynamic-versioning": "POETRY_DYNAMIC_VERSIONING_BYPASS", "uv-dynamic-versioning": "UV_DYNAMIC_VERSIONING_BYPASS",
	"dunamai": "", "setuptools-git-versioning": "", "versioneer": "", "versioneer-518": "", "versioningit": "", "vcversioner": "",
}

// pdmVariable is the variable of pdm-backend, which asks tags where its own table says so.
const pdmVariable = "PDM_BUILD_SCM_VERSION"

// projectTables are as much of a pyproject.toml as is read (PEP 518, PEP 621, uv's documentation,
// "Dependency sources").
type projectTables struct {
	BuildSystem *struct {
		Requires *[]string `toml:"requires"`
	} `toml:"build-system"`
	Project *struct {
		Name         string              `toml:"name"`
		Version      string              `toml:"version"`
		Dynamic      []string            `toml:"dynamic"`
		Dependencies []string            `toml:"dependencies"`
		Optional     map[string][]string `toml:"optional-dependencies"`
	} `toml:"project"`
	Tool map[string]any `toml:"tool"`
}

// projects reads what the source directories of the recipe's app say of themselves.
func (r *requirementsReader) projects() {
	app := r.recipe.App
	if app == nil {
		return
	}
	var docs []projectFile
	for i, dir := range app.Dirs() {
		at := []string{"app", "source"}
		if i > 0 {
			at = []string{"app", "members", strconv.Itoa(slices.Index(app.Members, dir))}
		}
		f := projectFile{reader: r, project: Project{Dir: dir, Version: VersionBackend}, named: r.recipe.At(at...)}
		if i == 0 {
			f.project.Extras = set(app.Extras)
		}
		if f.read() {
			docs = append(docs, f)
		}
	}
	var own []string
	for _, f := range docs {
		own = append(own, f.project.Name)
	}
	for _, f := range docs {
		f.checkSources(own)
		r.set.Projects = append(r.set.Projects, f.project)
		r.set.Requirements = append(r.set.Requirements, f.requirements(own)...)
	}
}

// projectFile is a pyproject.toml on its way to a [Project].
type projectFile struct {
	reader  *requirementsReader
	project Project
	// named is where the recipe names the directory.
	named Position
	doc   projectTables
	// text is the file's; file is how faults name it.
	text, file string
}

func (f *projectFile) add(at Position, what, hint string) { f.reader.add(at, what, hint) }

// read reads the project's files. It returns false if there is no project.
func (f *projectFile) read() bool {
	dir := filepath.Join(filepath.Dir(f.reader.recipe.File()), filepath.FromSlash(f.project.Dir))
	root, err := os.OpenRoot(dir)
	if err != nil {
		f.add(f.named, f.project.Dir+" is no directory that can be read", "app.source and app.members name directories, relative to the recipe's")
		return false
	}
	defer func() { _ = root.Close() }()
	f.file = filepath.Join(dir, "pyproject.toml")
	f.project.At = Position{File: f.file}
	text, err := projectText(root, "pyproject.toml")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f.readLegacy(root)
	case err != nil:
		f.add(f.project.At, err.Error(), "")
		return false
	}
	f.text = string(text)
	if err := toml.Unmarshal(text, &f.doc); err != nil {
		f.add(f.tomlPosition(err), "it is not as a pyproject.toml is: "+err.Error(), "")
		return false
	}
	f.describe(root)
	return true
}

// projectText reads a file of a project.
func projectText(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is no regular file", name))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxProjectFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxProjectFile:
		return nil, fmt.Errorf("it has more than %d bytes", maxProjectFile)
	case !utf8.Valid(data):
		return nil, errors.New("it is not UTF-8 text")
	}
	return data, nil
}

// tomlPosition is where a file's TOML is wrong.
func (f *projectFile) tomlPosition(err error) Position {
	var wrong *toml.DecodeError
	at := f.project.At
	if errors.As(err, &wrong) {
		at.Line, at.Column = wrong.Position()
	}
	return at
}

// readLegacy reads a project without a pyproject.toml, which setuptools builds.
func (f *projectFile) readLegacy(root *os.Root) bool {
	if _, err := root.Lstat("setup.py"); err != nil {
		f.add(f.named, f.project.Dir+" has neither pyproject.toml nor setup.py", "app.source and app.members name directories that can be built: see PEP 517")
		return false
	}
	f.file = filepath.Join(filepath.Dir(f.file), "setup.py")
	f.project.At = Position{File: f.file}
	f.project.Name = configuredName(root)
	return true
}

var (
	metadataSection = regexp.MustCompile(`(?ms)^\[metadata\]\s*$(.*?)(?:^\[|\z)`)
	configuredField = regexp.MustCompile(`(?m)^name\s*[=:]\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*$`)
)

// configuredName is the name in a project's setup.cfg; empty where that says none.
func configuredName(root *os.Root) string {
	text, err := projectText(root, "setup.cfg")
	if err != nil {
		return ""
	}
	section := metadataSection.FindStringSubmatch(string(text))
	if section == nil {
		return ""
	}
	name := configuredField.FindStringSubmatch(section[1])
	if name == nil {
		return ""
	}
	return packaging.NormalName(name[1])
}

// describe says what the project is, as its pyproject.toml has it.
func (f *projectFile) describe(root *os.Root) {
	p, doc := &f.project, f.doc
	switch {
	case doc.BuildSystem == nil:
	case doc.BuildSystem.Requires == nil:
		f.add(p.At, "build-system has no requires", "it lists what building takes, [] if that is nothing: see PEP 518")
	default:
		p.BuildRequires = *doc.BuildSystem.Requires
	}
	poetry := table(doc.Tool, "poetry")
	switch {
	case doc.Project != nil:
		p.Name = doc.Project.Name
		p.At = f.place(doc.Project.Name)
	case text(poetry, "name") != "":
		p.Name = text(poetry, "name")
		p.At = f.place(p.Name)
	default:
		p.Name = configuredName(root)
	}
	if p.Name != "" && !packaging.IsName(p.Name) {
		f.add(p.At, fmt.Sprintf("%q is no name of a distribution", shorten(p.Name)), "letters and digits, with -, _ or . between them")
	}
	p.Name = packaging.NormalName(p.Name)
	dynamic := func(field string) bool { return doc.Project == nil || slices.Contains(doc.Project.Dynamic, field) }
	p.Static = !dynamic("dependencies") && (len(p.Extras) == 0 || !dynamic("optional-dependencies"))
	if p.Static {
		f.stated()
	}
	f.versionRule(dynamic("version") && text(poetry, "version") == "")
}

// versionRule says where the version comes from, and refuses tags that nobody could tell.
func (f *projectFile) versionRule(dynamic bool) {
	if !dynamic {
		// poetry-dynamic-versioning replaces the version that is written.
		if table(f.doc.Tool, "poetry-dynamic-versioning")["enable"] != true {
			f.project.Version = VersionStatic
			return
		}
	}
	for _, text := range f.project.BuildRequires {
		name := packaging.RequiredName(text)
		variable, tags := taggers[packaging.NormalName(name)]
		if !tags {
			continue
		}
		f.project.Version, f.project.VersionVariable = VersionTags, variable
		if variable == "" {
			f.add(f.place(text), name+" takes the version from a repository, which a build does not have, and nothing else tells it one",
				"write the version into pyproject.toml, or let setuptools-scm or hatch-vcs find it: these are told what the tags say")
		}
		return
	}
	if text(table(table(f.doc.Tool, "pdm"), "version"), "source") == "scm" {
		f.project.Version, f.project.VersionVariable = VersionTags, pdmVariable
	}
}

// table is a table in another one; nil where there is none.
func table(in map[string]any, key string) map[string]any {
	found, _ := in[key].(map[string]any)
	return found
}

// text is a text in a table; empty where there is none.
func text(in map[string]any, key string) string {
	found, _ := in[key].(string)
	return found
}

// place is where a text stands in the project's file; the file where it stands nowhere in
// that spelling.
func (f *projectFile) place(quoted string) Position {
	at := Position{File: f.file}
	for number, line := range strings.Split(f.text, "\n") {
		for _, quote := range []string{`"`, `'`} {
			if i := strings.Index(line, quote+quoted+quote); i >= 0 {
				at.Line, at.Column = number+1, utf8.RuneCountInString(line[:i])+1
				return at
			}
		}
	}
	return at
}

// UnknownExtras tells of extras that the recipe wants of its app, and that this does not have:
// nobody would miss what they bring. Known are those that it has, and of names it.
func (r *Recipe) UnknownExtras(known []string, of string) Faults {
	var normal []string
	for _, extra := range known {
		normal = append(normal, packaging.NormalName(extra))
	}
	slices.Sort(normal)
	var faults Faults
	for i, extra := range r.App.Extras {
		if slices.Contains(normal, extra) {
			continue
		}
		hint := "it has none"
		if len(normal) > 0 {
			hint = suggestion(extra, normal, "its extras")
		}
		faults = append(faults, r.Fault(fmt.Sprintf("%s has no extra %s", of, extra), hint, "app", "extras", strconv.Itoa(i)))
	}
	return faults
}

// stated takes the dependencies as metadata states them: an optional one asks for its extra.
func (f *projectFile) stated() {
	p := &f.project
	if len(p.Extras) > 0 {
		for _, fault := range f.reader.recipe.UnknownExtras(slices.Collect(maps.Keys(f.doc.Project.Optional)), path.Join(p.Dir, "pyproject.toml")) {
			f.add(fault.Position(), fault.What, fault.Hint)
		}
	}
	p.Requires, p.written = slices.Clone(f.doc.Project.Dependencies), map[string]string{}
	for _, extra := range slices.Sorted(maps.Keys(f.doc.Project.Optional)) {
		for _, dependency := range f.doc.Project.Optional[extra] {
			spec, marker, conditional := strings.Cut(dependency, ";")
			wanted := fmt.Sprintf("extra == %q", packaging.NormalName(extra))
			if conditional {
				wanted = "(" + strings.TrimSpace(marker) + ") and " + wanted
			}
			text := strings.TrimSpace(spec) + " ; " + wanted
			p.Requires, p.written[text] = append(p.Requires, text), dependency
		}
	}
}

// requirements are what the project requires beside first-party code, each where it is
// written.
func (f *projectFile) requirements(own []string) []Requirement {
	if !f.project.Static {
		return nil
	}
	var found []Requirement
	for _, d := range f.project.Depends(f.reader.recipe.Python.Version, own) {
		at := f.place(d.written)
		if d.err != nil {
			f.add(at, d.err.what, d.err.hint)
			continue
		}
		d.Project, d.Position = f.project.Dir, at
		found = append(found, d.Requirement)
	}
	return found
}

// Dependency is one that a project states and that applies to it.
type Dependency struct {
	Requirement
	written string
	err     *specError
}

// Err says why a dependency cannot be taken; nil of one that can.
func (d Dependency) Err() error {
	if d.err == nil {
		return nil
	}
	return fmt.Errorf("%s: %s", shorten(d.written), d.err.what)
}

// Depends gives the dependencies that count for a version of CPython on Linux, with the
// project's extras, without their markers. What is first-party code, by its name, is left
// out; so is the project itself, which names extras that belong to others.
func (p Project) Depends(python string, own []string) []Dependency {
	env := packaging.LinuxEnvironment(python, "x86_64")
	extras := slices.Clone(p.Extras)
	var found []Dependency
	for again := true; again; {
		again, found = false, nil
		for _, text := range p.Requires {
			parsed, err := packaging.ParseRequirement(text)
			if err == nil && !parsed.Applies(env, extras) {
				continue
			}
			if err == nil && parsed.Name == p.Name {
				more := slices.DeleteFunc(slices.Clone(parsed.Extras), func(extra string) bool { return slices.Contains(extras, extra) })
				extras, again = append(extras, more...), again || len(more) > 0
				continue
			}
			if d, foreign := dependency(cmp.Or(p.written[text], text), parsed, err, own); foreign {
				found = append(found, d)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b Dependency) int { return strings.Compare(a.Spec, b.Spec) })
	return slices.CompactFunc(found, func(a, b Dependency) bool { return a.Spec == b.Spec && a.err == nil && b.err == nil })
}

// dependency takes one that is written somewhere; foreign is false of first-party code.
func dependency(written string, parsed packaging.Requirement, err error, own []string) (d Dependency, foreign bool) {
	d.written = written
	switch {
	case err != nil:
		d.err = newSpecError(err)
		return d, true
	case slices.Contains(own, parsed.Name) && len(parsed.Extras) > 0:
		d.err = &specError{fmt.Sprintf("%s asks for extras of first-party code", d.written), "require what the extras bring, by name"}
		return d, true
	case slices.Contains(own, parsed.Name):
		return d, false
	case parsed.URL != "":
		lines := ownLines{recipe: &Recipe{}}
		d.err = refuseForeign(d.written)
		if lines.take(d.written, Position{}) {
			d.err = &specError{parsed.Name + " is required from a path", "if it is first-party code, name its directory in the recipe's app.members"}
		}
		return d, true
	}
	parsed.Marker = nil
	d.Requirement, d.err = parseRequirement(parsed.String())
	return d, true
}

// checkSources tells of what uv takes from elsewhere than an index: of what is required, only
// first-party code may.
func (f *projectFile) checkSources(own []string) {
	sources := table(table(f.doc.Tool, "uv"), "sources")
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		normal := packaging.NormalName(name)
		required := slices.ContainsFunc(f.project.Requires, func(text string) bool { return packaging.NormalName(packaging.RequiredName(text)) == normal })
		if slices.Contains(own, normal) || !required {
			continue
		}
		for _, source := range alternatives(sources[name]) {
			f.checkSource(name, source)
		}
	}
}

// alternatives are the sources of one name: one, or some for different markers.
func alternatives(source any) []map[string]any {
	if one, ok := source.(map[string]any); ok {
		return []map[string]any{one}
	}
	var all []map[string]any
	list, _ := source.([]any)
	for _, one := range list {
		if t, ok := one.(map[string]any); ok {
			all = append(all, t)
		}
	}
	return all
}

func (f *projectFile) checkSource(name string, source map[string]any) {
	at := f.key(name)
	member := func(dir string) string {
		app := *f.reader.recipe.App
		app.Members = append(slices.Clip(app.Members), dir)
		return "write into the recipe: app: " + app.flow()
	}
	switch {
	case path.IsAbs(text(source, "path")):
		f.add(at, fmt.Sprintf("tool.uv.sources takes %s from an absolute path", name), "first-party code is in one working tree, beside the recipe")
	case text(source, "path") != "" && isArchive(text(source, "path")):
		f.add(at, fmt.Sprintf("tool.uv.sources takes %s from a file", name), "require it by name and version; what an index has not, put into an index of your own")
	case text(source, "path") != "":
		dir := path.Join(f.project.Dir, text(source, "path"))
		f.add(at, fmt.Sprintf("tool.uv.sources takes %s from %s, which is no member of the recipe's app", name, dir), member(dir))
	case source["workspace"] == true:
		f.add(at, fmt.Sprintf("tool.uv.sources takes %s from the workspace, and no member of the recipe's app is %s", name, name), member("DIRECTORY-OF-"+strings.ToUpper(name)))
	case text(source, "git") != "", text(source, "url") != "":
		f.add(at, fmt.Sprintf("tool.uv.sources takes %s from an address", name), "require it by name and version; what an index has not, put into an index of your own")
	}
}

// key is where a key is written in the project's file.
func (f *projectFile) key(name string) Position {
	at := Position{File: f.file}
	written := regexp.MustCompile(`^\s*"?` + regexp.QuoteMeta(name) + `"?\s*=`)
	for number, line := range strings.Split(f.text, "\n") {
		if written.MatchString(line) && strings.Contains(line, "{") {
			at.Line, at.Column = number+1, strings.Index(line, name)+1
		}
	}
	return at
}
