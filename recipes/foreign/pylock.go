package foreign

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"ampoule/packaging"
)

// pylockVersion is the form of pylock.toml that is known (PEP 751).
const pylockVersion = "1.0"

// pylockFile is a pylock.toml.
type pylockFile struct {
	Environments []string        `toml:"environments"`
	Requires     string          `toml:"requires-python"`
	Extras       []string        `toml:"extras"`
	Groups       []string        `toml:"dependency-groups"`
	Default      []string        `toml:"default-groups"`
	Packages     []pylockPackage `toml:"packages"`
}

type pylockPackage struct {
	Name      string           `toml:"name"`
	Version   string           `toml:"version"`
	Marker    string           `toml:"marker"`
	Requires  string           `toml:"requires-python"`
	Index     string           `toml:"index"`
	VCS       map[string]any   `toml:"vcs"`
	Archive   map[string]any   `toml:"archive"`
	Directory *pylockDirectory `toml:"directory"`
	Sdist     *pylockDist      `toml:"sdist"`
	Wheels    []pylockDist     `toml:"wheels"`
}

type pylockDirectory struct {
	Path string `toml:"path"`
}

type pylockDist struct {
	Path   string            `toml:"path"`
	Hashes map[string]string `toml:"hashes"`
}

func (r *reader) pylock(data []byte) {
	var form struct {
		Version string `toml:"lock-version"`
	}
	doc, ok := r.toml(r.file, data, &form)
	if !ok {
		return
	}
	if form.Version != pylockVersion {
		r.unknownFormat(doc.find("lock-version"), "lock-version", fmt.Sprintf("%q", form.Version), "lock-version "+pylockVersion)
		return
	}
	var lock pylockFile
	if _, ok := r.toml(r.file, data, &lock); !ok {
		return
	}
	r.forPython(doc.find("requires-python"), lock.Requires)
	r.checkPylock(doc, &lock)
	if len(r.faults) > 0 {
		return
	}
	groups := normalNames(slices.Concat(lock.Default, r.groups()))
	for i, p := range lock.Packages {
		at := doc.item("packages", i)
		if !r.holds(at, p.Marker, r.query.Extras, groups) {
			continue
		}
		r.pylockPackage(at, p)
	}
}

// checkPylock checks whether the lock is for here, and has what is asked for.
func (r *reader) checkPylock(doc *document, lock *pylockFile) {
	at := doc.find("environments")
	if len(lock.Environments) > 0 && !slices.ContainsFunc(lock.Environments, func(m string) bool { return r.holds(at, m, nil, nil) }) {
		r.add(at, "lock it for Python "+r.query.Python+" on linux/amd64 too", "%s is for other environments: %s", path.Base(r.file), shorten(strings.Join(lock.Environments, " or ")))
	}
	if r.query.Package != "" {
		r.add(r.start(), "remove `package`; each project has a file of its own, such as pylock.NAME.toml", "%s has no workspace with packages of its own", path.Base(r.file))
	}
	for _, extra := range r.query.Extras {
		if !slices.Contains(normalNames(lock.Extras), extra) {
			r.unknown(doc.find("extras"), "extra", extra, lock.Extras)
		}
	}
	for _, group := range r.groups() {
		if !slices.Contains(normalNames(lock.Groups), packaging.NormalName(group)) {
			r.unknown(doc.find("dependency-groups"), "group", group, lock.Groups)
		}
	}
}

// pylockPackage chooses one package, or says why it cannot be had.
func (r *reader) pylockPackage(at Place, p pylockPackage) {
	one := Package{Name: p.Name, Version: p.Version, Registry: p.Index, Place: at}
	files := p.Wheels
	if p.Sdist != nil {
		files = append(slices.Clone(files), *p.Sdist)
	}
	switch {
	case p.Directory != nil && path.Clean(p.Directory.Path) == ".":
		r.leaveOut(one)
		return
	case p.Directory != nil:
		r.refuse(at, p.Name, "the directory "+shorten(p.Directory.Path), hintRelease)
		return
	case p.VCS != nil:
		r.refuse(at, p.Name, "a repository", hintRelease)
		return
	case p.Archive != nil:
		r.refuse(at, p.Name, "a URL", hintRelease)
		return
	case len(files) == 0:
		r.add(at, r.again(), "%s has neither wheels nor an sdist", shorten(p.Name))
		return
	}
	r.forPython(at, p.Requires)
	for _, f := range files {
		for algorithm, digits := range f.Hashes {
			one.Hashes = append(one.Hashes, algorithm+":"+digits)
		}
	}
	r.choose(one)
}
