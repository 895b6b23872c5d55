package foreign

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"ampoule/packaging"
)

// poetryVersions are the forms of poetry.lock that are known. Since 2.1, packages say
// themselves in which groups they are, and under which marker.
var poetryVersions = []string{"1.0", "1.1", "2.0", "2.1"}

// poetryLock is a poetry.lock.
type poetryLock struct {
	Packages []poetryPackage     `toml:"package"`
	Extras   map[string][]string `toml:"extras"`
	Metadata struct {
		Version     string `toml:"lock-version"`
		Python      string `toml:"python-versions"`
		ContentHash string `toml:"content-hash"`
		// Files are those of each package, before 2.0; before 1.0 there are hashes alone.
		Files  map[string][]fileHash `toml:"files"`
		Hashes map[string][]string   `toml:"hashes"`
	} `toml:"metadata"`
}

type poetryPackage struct {
	Name     string     `toml:"name"`
	Version  string     `toml:"version"`
	Optional bool       `toml:"optional"`
	Python   string     `toml:"python-versions"`
	Groups   []string   `toml:"groups"`
	Files    []fileHash `toml:"files"`
	// Markers is a marker, or one for each group.
	Markers any `toml:"markers"`
	// Dependencies are constraints by name: a text, a table, or a list of both.
	Dependencies map[string]any      `toml:"dependencies"`
	Extras       map[string][]string `toml:"extras"`
	Source       struct {
		Type      string `toml:"type"`
		URL       string `toml:"url"`
		Reference string `toml:"reference"`
	} `toml:"source"`
}

// fileHash is a file of a package with its hash.
type fileHash struct {
	File string `toml:"file"`
	URL  string `toml:"url"`
	Hash string `toml:"hash"`
}

// poetryReader reads a poetry.lock.
type poetryReader struct {
	*reader
	lock    *poetryLock
	doc     *document
	project *project
	byName  map[string][]int
	chosen  map[int]bool
	seen    map[string]bool
}

func (r *reader) poetry(data []byte) error {
	p := &poetryReader{reader: r, lock: &poetryLock{}, byName: map[string][]int{}, chosen: map[int]bool{}, seen: map[string]bool{}}
	var form struct {
		Metadata struct {
			Version string `toml:"lock-version"`
		} `toml:"metadata"`
	}
	doc, ok := r.toml(r.file, data, &form)
	if !ok {
		return nil
	}
	p.doc = doc
	if !slices.Contains(poetryVersions, form.Metadata.Version) {
		r.unknownFormat(p.doc.find("metadata", "lock-version"), "lock-version", fmt.Sprintf("%q", form.Metadata.Version), "lock-version 1.0, 1.1, 2.0 or 2.1")
		return nil
	}
	if _, ok := r.toml(r.file, data, p.lock); !ok {
		return nil
	}
	for i, one := range p.lock.Packages {
		name := packaging.NormalName(one.Name)
		p.byName[name] = append(p.byName[name], i)
	}
	p.checkPython()
	if ok, err := p.readProject(); !ok || err != nil {
		return err
	}
	if form.Metadata.Version == "2.1" {
		p.chooseByGroup()
	} else {
		p.chooseByDependencies()
	}
	p.take()
	return nil
}

// checkPython checks for which versions of Python the lock is.
func (p *poetryReader) checkPython() {
	at := p.doc.find("metadata", "python-versions")
	switch allows, err := poetryConstraint(p.lock.Metadata.Python); {
	case err != nil:
		p.add(at, p.again(), "%v", err)
	case !allows(p.query.Python):
		p.otherPython(at, p.lock.Metadata.Python)
	}
}

// readProject reads the pyproject.toml beside the lock: it says what main requirements and
// groups are, and the lock has a hash of it.
func (p *poetryReader) readProject() (ok bool, err error) {
	file := p.beside("pyproject.toml")
	if p.project, err = p.reader.project(file); err != nil {
		return false, err
	}
	if p.project == nil {
		if len(p.faults) == 0 {
			p.add(p.start(), "keep pyproject.toml beside the lock: it says which packages are the project's own requirements", "%s stands without %s", path.Base(p.file), file)
		}
		return false, nil
	}
	if !slices.Contains(poetryContentHashes(p.project.whole), p.lock.Metadata.ContentHash) {
		p.stale(p.doc.find("metadata", "content-hash"), file, "its content-hash is of other requirements")
		return false, nil
	}
	return p.checkQuery(), nil
}

// checkQuery tells of extras and groups that there are not.
func (p *poetryReader) checkQuery() bool {
	before := len(p.faults)
	if p.query.Package != "" {
		p.add(p.start(), "remove `package`", "%s has no workspace with packages of its own", path.Base(p.file))
	}
	extras := normalKeys(p.lock.Extras)
	for _, extra := range p.query.Extras {
		if !slices.Contains(extras, extra) {
			p.unknown(p.start(), "extra", extra, extras)
		}
	}
	groups := slices.Concat(normalKeys(p.project.Tool.Poetry.Groups), normalKeys(p.project.Groups))
	if p.project.Tool.Poetry.Dev != nil {
		groups = append(groups, "dev")
	}
	for _, group := range p.groups() {
		if !slices.Contains(groups, packaging.NormalName(group)) {
			p.unknown(p.start(), "group", group, groups)
		}
	}
	return len(p.faults) == before
}

func normalKeys[V any](m map[string]V) []string {
	var keys []string
	for key := range m {
		keys = append(keys, packaging.NormalName(key))
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// chooseByGroup chooses the packages that say themselves that they are in a group.
func (p *poetryReader) chooseByGroup() {
	for i, one := range p.lock.Packages {
		at := p.doc.item("package", i)
		isIn := func(g string) bool {
			return (g == "main" || p.wantsGroup(g)) && p.holds(at, p.markerFor(at, one, g), p.query.Extras, nil)
		}
		if slices.ContainsFunc(one.Groups, isIn) {
			p.chosen[i] = true
		}
	}
}

// markerFor gives a package's marker in one of its groups.
func (p *poetryReader) markerFor(at Place, one poetryPackage, group string) string {
	switch m := one.Markers.(type) {
	case nil:
	case string:
		return m
	case map[string]any:
		if text, ok := m[group].(string); ok || m[group] == nil {
			return text
		}
		p.add(at, p.again(), "the markers of %s are no texts", one.Name)
	default:
		p.add(at, p.again(), "the markers of %s are no texts", one.Name)
	}
	return ""
}

// poetryEdge is a dependency under one condition.
type poetryEdge struct {
	name, constraint, python, platform, marker string
	extras                                     []string
	optional                                   bool
	// foreign is set where it is no release that is wanted.
	foreign bool
}

// chooseByDependencies follows the project's requirements through the lock.
func (p *poetryReader) chooseByDependencies() {
	table := p.project.Tool.Poetry
	tables := []map[string]any{table.Dependencies}
	for name, group := range table.Groups {
		if p.wantsGroup(name) {
			tables = append(tables, group.Dependencies)
		}
	}
	if p.wantsGroup("dev") {
		tables = append(tables, table.Dev)
	}
	wanted := map[string]bool{}
	for extra, names := range table.Extras {
		for _, name := range names {
			if slices.Contains(p.query.Extras, packaging.NormalName(extra)) {
				wanted[packaging.NormalName(packaging.RequiredName(name))] = true
			}
		}
	}
	at := Place{File: p.project.file, Line: 1, Column: 1}
	for _, dependencies := range tables {
		for _, e := range p.edges(at, dependencies) {
			if e.name == "python" || e.optional && !wanted[e.name] {
				continue
			}
			p.follow(at, "the project", e, p.query.Extras)
		}
	}
}

// edges reads a table of dependencies.
func (p *poetryReader) edges(at Place, table map[string]any) []poetryEdge {
	var edges []poetryEdge
	for _, name := range slices.Sorted(maps.Keys(table)) {
		items, isList := table[name].([]any)
		if !isList {
			items = []any{table[name]}
		}
		for _, item := range items {
			e := poetryEdge{name: packaging.NormalName(name)}
			switch item := item.(type) {
			case string:
				e.constraint = item
			case map[string]any:
				e.fill(item)
			default:
				p.add(at, p.again(), "the dependency %s is neither text nor a table", shorten(name))
				continue
			}
			edges = append(edges, e)
		}
	}
	return edges
}

func (e *poetryEdge) fill(table map[string]any) {
	text := func(key string) string {
		value, _ := table[key].(string)
		return value
	}
	e.constraint, e.python, e.platform, e.marker = text("version"), text("python"), text("platform"), text("markers")
	e.optional, _ = table["optional"].(bool)
	extras, _ := table["extras"].([]any)
	for _, extra := range extras {
		if name, ok := extra.(string); ok {
			e.extras = append(e.extras, packaging.NormalName(name))
		}
	}
	for _, key := range []string{"git", "url", "path", "file"} {
		e.foreign = e.foreign || table[key] != nil
	}
}

// applies reports whether a dependency counts here, for a package with some extras.
func (p *poetryReader) applies(at Place, e poetryEdge, extras []string) bool {
	if e.platform != "" && e.platform != "linux" {
		return false
	}
	if allows, err := poetryConstraint(e.python); err != nil || !allows(p.query.Python) {
		if err != nil {
			p.add(at, p.again(), "%v", err)
		}
		return false
	}
	return p.holds(at, e.marker, extras, nil)
}

// follow chooses the package that a dependency leads to, and all that it depends on.
func (p *poetryReader) follow(at Place, from string, e poetryEdge, extras []string) {
	if !p.applies(at, e, extras) {
		return
	}
	found := p.matching(at, e)
	switch len(found) {
	case 0:
		p.add(at, p.again(), "%s depends on %s %s, which is not in the lock", from, e.name, e.constraint)
		return
	case 1:
	default:
		p.add(p.doc.item("package", found[1]), p.again(), "%s is locked as %s and %s, and nothing says which is for Python %s on linux/amd64",
			e.name, p.lock.Packages[found[0]].Version, p.lock.Packages[found[1]].Version, p.query.Python)
		return
	}
	i := found[0]
	slices.Sort(e.extras)
	key := fmt.Sprint(i, e.extras)
	if p.seen[key] {
		return
	}
	p.seen[key], p.chosen[i] = true, true
	one, at := p.lock.Packages[i], p.doc.item("package", i)
	for _, next := range p.edges(at, one.Dependencies) {
		if next.optional && !p.isAsked(one, next, e.extras) {
			continue
		}
		p.follow(at, one.Name, next, e.extras)
	}
}

// isAsked reports whether one of the extras asks for an optional dependency. Its marker
// says so; in older locks only the package's list of extras does.
func (p *poetryReader) isAsked(one poetryPackage, e poetryEdge, extras []string) bool {
	if m, err := packaging.ParseLockMarker(e.marker); err == nil && m.AsksForExtra() {
		return true
	}
	for extra, names := range one.Extras {
		if slices.Contains(extras, packaging.NormalName(extra)) && slices.ContainsFunc(names, func(text string) bool {
			return packaging.NormalName(packaging.RequiredName(text)) == e.name
		}) {
			return true
		}
	}
	return false
}

// matching gives the packages that a dependency can mean.
func (p *poetryReader) matching(at Place, e poetryEdge) []int {
	found := slices.Clone(p.byName[e.name])
	allows, err := poetryConstraint(e.constraint)
	if err != nil {
		p.add(at, p.again(), "%v", err)
		return found[:min(len(found), 1)]
	}
	if len(found) > 1 && !e.foreign {
		found = slices.DeleteFunc(found, func(i int) bool { return !allows(p.lock.Packages[i].Version) })
	}
	if len(found) > 1 {
		found = slices.DeleteFunc(found, func(i int) bool {
			allows, err := poetryConstraint(p.lock.Packages[i].Python)
			return err == nil && !allows(p.query.Python)
		})
	}
	return found
}

// take chooses the packages that were reached.
func (p *poetryReader) take() {
	for _, i := range slices.Sorted(maps.Keys(p.chosen)) {
		one := p.lock.Packages[i]
		at := p.doc.item("package", i)
		switch one.Source.Type {
		case "", "legacy":
		case "git":
			p.refuse(at, one.Name, "a git repository", hintRelease)
			continue
		case "url":
			p.refuse(at, one.Name, "a URL", hintRelease)
			continue
		case "file", "directory":
			p.refuse(at, one.Name, "the "+one.Source.Type+" "+shorten(one.Source.URL), hintRelease)
			continue
		default:
			p.add(at, p.again(), "%s has the source %q, which is not known", one.Name, shorten(one.Source.Type))
			continue
		}
		files := one.Files
		if files == nil {
			files = p.lock.Metadata.Files[one.Name]
		}
		for _, digits := range p.lock.Metadata.Hashes[one.Name] {
			files = append(files, fileHash{Hash: digits})
		}
		p.choose(Package{Name: one.Name, Version: one.Version, Hashes: hashesOf(files), Registry: one.Source.URL, Place: at})
	}
}

// hashesOf gives the hashes of files; one without an algorithm is a sha256.
func hashesOf(files []fileHash) []string {
	var hashes []string
	for _, f := range files {
		switch {
		case f.Hash == "":
		case strings.Contains(f.Hash, ":"):
			hashes = append(hashes, f.Hash)
		default:
			hashes = append(hashes, "sha256:"+f.Hash)
		}
	}
	return hashes
}
