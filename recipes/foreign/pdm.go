package foreign

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"ampoule/packaging"
)

// pdmVersion are the forms of pdm.lock that are known.
var pdmVersion = regexp.MustCompile(`^4\.[0-5](\.[0-9]+)?$`)

// pdmLock is a pdm.lock.
type pdmLock struct {
	Packages []pdmPackage `toml:"package"`
	Metadata struct {
		Groups      []string `toml:"groups"`
		Strategy    []string `toml:"strategy"`
		Version     string   `toml:"lock_version"`
		ContentHash string   `toml:"content_hash"`
		Targets     []struct {
			Python string `toml:"requires_python"`
		} `toml:"targets"`
		// Files are those of each package, as "NAME VERSION", before 4.3.
		Files map[string][]fileHash `toml:"files"`
	} `toml:"metadata"`
}

type pdmPackage struct {
	Name         string     `toml:"name"`
	Version      string     `toml:"version"`
	Extras       []string   `toml:"extras"`
	Groups       []string   `toml:"groups"`
	Marker       string     `toml:"marker"`
	Dependencies []string   `toml:"dependencies"`
	Files        []fileHash `toml:"files"`
	Git          string     `toml:"git"`
	Hg           string     `toml:"hg"`
	Svn          string     `toml:"svn"`
	Bzr          string     `toml:"bzr"`
	URL          string     `toml:"url"`
	Path         string     `toml:"path"`
	Editable     bool       `toml:"editable"`
}

// pdmReader reads a pdm.lock.
type pdmReader struct {
	*reader
	lock   *pdmLock
	doc    *document
	chosen map[int]bool
}

func (r *reader) pdm(data []byte) error {
	p := &pdmReader{reader: r, lock: &pdmLock{}, chosen: map[int]bool{}}
	var form struct {
		Metadata struct {
			Version string `toml:"lock_version"`
		} `toml:"metadata"`
	}
	doc, ok := r.toml(r.file, data, &form)
	if !ok {
		return nil
	}
	p.doc = doc
	if !pdmVersion.MatchString(form.Metadata.Version) {
		r.unknownFormat(p.doc.find("metadata", "lock_version"), "lock_version", fmt.Sprintf("%q", form.Metadata.Version), "lock_version 4.0 to 4.5")
		return nil
	}
	if _, ok := r.toml(r.file, data, p.lock); !ok {
		return nil
	}
	if !p.checkTargets() {
		return nil
	}
	project, ok, err := p.readProject()
	if !ok || err != nil {
		return err
	}
	if slices.Contains(p.lock.Metadata.Strategy, "inherit_metadata") {
		p.chooseByGroup()
	} else {
		p.chooseByDependencies(project)
	}
	p.take()
	return nil
}

// checkTargets checks for which versions of Python the lock is; older forms do not say it.
func (p *pdmReader) checkTargets() bool {
	targets := p.lock.Metadata.Targets
	if len(targets) == 0 {
		return true
	}
	version, err := packaging.ParseVersion(p.query.Python)
	if err != nil {
		return true
	}
	var texts []string
	for _, t := range targets {
		s, err := packaging.ParseSpecifiers(t.Python)
		if err == nil && s.Contains(version) {
			return true
		}
		texts = append(texts, t.Python)
	}
	p.otherPython(p.doc.find("metadata", "targets", "0"), strings.Join(texts, " or "))
	return false
}

// readProject reads the pyproject.toml beside the lock, which has a hash of it.
func (p *pdmReader) readProject() (project *project, ok bool, err error) {
	file := p.beside("pyproject.toml")
	if project, err = p.project(file); err != nil {
		return nil, false, err
	}
	if len(p.faults) > 0 {
		return nil, false, nil
	}
	algorithm, digits, _ := strings.Cut(p.lock.Metadata.ContentHash, ":")
	at := p.doc.find("metadata", "content_hash")
	switch {
	case project == nil:
	case algorithm != "sha256":
		p.add(at, p.again(), "the content_hash %q is no sha256", shorten(p.lock.Metadata.ContentHash))
	case !slices.Contains(pdmContentHashes(project.whole), digits):
		p.stale(at, file, "its content_hash is of other requirements")
	}
	if p.query.Package != "" {
		p.add(p.start(), "remove `package`", "pdm.lock has no workspace with packages of its own")
	}
	for _, extra := range p.query.Extras {
		p.checkLocked("extra", extra)
	}
	for _, group := range p.groups() {
		p.checkLocked("group", group)
	}
	return project, len(p.faults) == 0, nil
}

// checkLocked tells of a group that is not in the lock: a lock can have some of them alone.
func (p *pdmReader) checkLocked(what, name string) {
	if !slices.ContainsFunc(p.lock.Metadata.Groups, func(g string) bool { return packaging.NormalName(g) == packaging.NormalName(name) }) {
		p.unknown(p.doc.find("metadata", "groups"), what, name, slices.Clone(p.lock.Metadata.Groups))
	}
}

// wants reports whether a group of the lock is asked for. PDM takes extras for groups.
func (p *pdmReader) wants(group string) bool {
	return group == "default" || p.wantsGroup(group) || slices.Contains(p.query.Extras, packaging.NormalName(group))
}

// chooseByGroup chooses the packages that say themselves that they are in a group.
func (p *pdmReader) chooseByGroup() {
	for i, one := range p.lock.Packages {
		if slices.ContainsFunc(one.Groups, p.wants) && p.holds(p.doc.item("package", i), one.Marker, nil, nil) {
			p.chosen[i] = true
		}
	}
}

// chooseByDependencies follows the project's requirements through the lock.
func (p *pdmReader) chooseByDependencies(project *project) {
	if project == nil {
		p.add(p.start(), "keep pyproject.toml beside it, or lock with the strategy inherit_metadata", "%s does not say which packages are the project's own requirements", p.file)
		return
	}
	next := slices.Clone(project.Project.Dependencies)
	for name, texts := range project.Project.Optional {
		if p.wants(name) {
			next = append(next, texts...)
		}
	}
	for name, texts := range project.Tool.PDM.Dev {
		if p.wants(name) {
			next = append(next, texts...)
		}
	}
	for _, group := range p.groups() {
		next = append(next, project.group(group)...)
	}
	at := Place{project.file, 1, 1}
	for _, text := range next {
		p.follow(at, text)
	}
}

// follow chooses the package that a requirement means, and all that it depends on. A
// distribution with extras has an entry of its own beside the plain one.
func (p *pdmReader) follow(at Place, text string) {
	q, err := packaging.ParseRequirement(text)
	if err != nil {
		p.add(at, p.again(), "%v", err)
		return
	}
	if !q.Applies(p.env, nil) {
		return
	}
	var found []int
	for i, one := range p.lock.Packages {
		if packaging.NormalName(one.Name) == q.Name && slices.Equal(normalNames(one.Extras), q.Extras) && (q.URL != "" || q.Admits(one.Version)) {
			found = append(found, i)
		}
	}
	switch len(found) {
	case 0:
		p.add(at, p.again(), "%s is required and is not in the lock", q)
		return
	case 1:
	default:
		p.add(p.doc.item("package", found[1]), p.again(), "%s is locked as %s and %s, and nothing says which is for Python %s on linux/amd64",
			q.Name, p.lock.Packages[found[0]].Version, p.lock.Packages[found[1]].Version, p.query.Python)
		return
	}
	if p.chosen[found[0]] {
		return
	}
	p.chosen[found[0]] = true
	for _, dependency := range p.lock.Packages[found[0]].Dependencies {
		p.follow(p.doc.item("package", found[0]), dependency)
	}
}

func normalNames(names []string) []string {
	var all []string
	for _, name := range names {
		all = append(all, packaging.NormalName(name))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// take chooses the packages that were reached.
func (p *pdmReader) take() {
	for _, i := range slices.Sorted(maps.Keys(p.chosen)) {
		one := p.lock.Packages[i]
		at := p.doc.item("package", i)
		switch {
		case one.Path == "." || one.Path == "./":
			p.leaveOut(Package{Name: one.Name, Version: one.Version, Place: at})
			continue
		case one.Git+one.Hg+one.Svn+one.Bzr != "":
			p.refuse(at, one.Name, "a repository", hintRelease)
			continue
		case one.URL != "":
			p.refuse(at, one.Name, "a URL", hintRelease)
			continue
		case one.Path != "":
			p.refuse(at, one.Name, "the path "+shorten(one.Path), hintRelease)
			continue
		}
		files := one.Files
		if files == nil {
			files = p.lock.Metadata.Files[one.Name+" "+one.Version]
		}
		p.choose(Package{Name: one.Name, Version: one.Version, Hashes: hashesOf(files), Place: at})
	}
}
