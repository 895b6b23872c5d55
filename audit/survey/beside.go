package survey

import (
	"archive/zip"
	"context"
	"errors"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/audit"
	"ampoule/audit/wheel"
	"ampoule/packaging"
	"ampoule/tree"
)

// Bounds of what is looked for beside: directories, and wheels that one requires.
const (
	maxBeside   = 100
	maxRequired = 200
)

// beside finds what counts as there for a unit that lacks something: distributions in other
// directories of its interpreter, or wheels in its directory that it requires. It returns false
// where there is nothing that could help.
func (v *survey) beside(ctx context.Context, f found, at interpreter, p *audit.Place, in audit.Inspection) (done func() error, ok bool, err error) {
	done = func() error { return nil }
	missing, requires := lacks(in)
	switch {
	case len(missing) == 0 && !requires:
		return done, false, nil
	case f.kind == KindSite:
		p.Installed, p.Beside = v.installedBeside(v.sitesBeside(f, at), missing)
	case f.kind == KindWheel && len(missing) > 0 && !f.cached:
		p.Beside, done, err = v.wheelsBeside(ctx, f, p, missing)
	}
	return done, len(p.Installed)+len(p.Beside) > 0, err
}

// lacks lists the libraries that an inspection missed, and reports whether it missed distributions.
func lacks(in audit.Inspection) (libraries map[string]bool, distributions bool) {
	libraries = map[string]bool{}
	for _, f := range in.Findings {
		switch {
		case f.Check == "closure" && f.Field == "DT_NEEDED":
			libraries[f.Value] = true
		case f.Check == "metadata" && f.Field == "Requires-Dist":
			distributions = true
		}
	}
	return libraries, distributions
}

// sitesBeside lists the other directories that the interpreter of one imports from.
func (v *survey) sitesBeside(f found, at interpreter) []string {
	own := f.path
	if f.of != "" {
		own = f.of
	}
	candidates := sitesOf(v.Files, own, at)
	for _, other := range v.sites {
		// Paths lead there from the same directory, or everything is judged against one
		// interpreter, or none is known: what "pip install --target" filled is used together.
		linked := other.linked && (other.of == own || other.of == f.of)
		if linked || v.against.exe != "" || at.exe == "" && other.prefix() == "" && f.prefix() == "" {
			candidates = append(candidates, other.path)
		}
	}
	if f.linked {
		candidates = append(candidates, f.of)
	}
	var list []string
	for _, c := range candidates {
		e, ok := audit.Follow(v.Files, show(c))
		if ok && e.Kind == tree.Dir && e.Path != f.path && !slices.Contains(list, e.Path) && len(list) < maxBeside {
			list = append(list, e.Path)
		}
	}
	return list
}

// withSystem matches the line of a pyvenv.cfg by which an environment has what its interpreter's
// own prefix has.
var withSystem = regexp.MustCompile(`(?mi)^\s*include-system-site-packages\s*=\s*true\s*$`)

// sitesOf lists the directories that an interpreter imports distributions from beside one
// (package site; Debian's python3(1)). Not all need be there.
func sitesOf(files Files, own string, at interpreter) []string {
	m := siteOf.FindStringSubmatch(own)
	if m == nil || at.exe == "" || at.files != files {
		return nil
	}
	name := strings.TrimRight(path.Base(at.exe), "dm")
	prefix, base := m[1], path.Dir(path.Dir(at.exe))
	list := sitesIn(prefix, name)
	if config, ok := files.Lookup(path.Join(prefix, "pyvenv.cfg")); ok {
		config, err := hashed(config)
		data := []byte{}
		if err == nil && config.Kind == tree.File && config.Size < maxPth {
			data, _ = config.ReadAll()
		}
		if !withSystem.Match(data) {
			return list
		}
	}
	list = append(list, sitesIn(base, name)...)
	if base == "usr" {
		list = append(list, sitesIn("usr/local", name)...)
	}
	return list
}

// sitesIn are the directories of distributions that a prefix may have.
func sitesIn(prefix, name string) []string {
	var list []string
	for _, lib := range []string{"lib", "lib64"} {
		for _, site := range []string{name + "/site-packages", name + "/dist-packages", "python3/dist-packages"} {
			list = append(list, path.Join(prefix, lib, site))
		}
	}
	return list
}

// eggInfo matches the name of what distutils, or an old setuptools, left of a distribution.
var eggInfo = regexp.MustCompile(`^([^-]+)-([^-]+)(-py[\d.]+)?\.egg-info$`)

// installedBeside lists the distributions in some directories, and those libraries of theirs
// that are missed.
func (v *survey) installedBeside(sites []string, missing map[string]bool) (map[string]string, []tree.Entry) {
	installed := map[string]string{}
	var libraries []tree.Entry
	for _, site := range sites {
		names, err := v.Files.List(site)
		if err != nil {
			continue // the directory's own audit tells it
		}
		for _, entry := range names {
			name, version, ok := packaging.ParseInfoDir(entry)
			if m := eggInfo.FindStringSubmatch(entry); m != nil {
				name, version, ok = m[1], m[2], true
			}
			if !ok {
				continue
			}
			name = packaging.NormalName(name)
			installed[name] = version
			if len(missing) > 0 {
				libraries = append(libraries, v.recordedLibraries(site, entry, name, missing)...)
			}
		}
	}
	return installed, libraries
}

// recordedLibraries are those files of a distribution that have the names of missed libraries.
func (v *survey) recordedLibraries(site, info, name string, missing map[string]bool) []tree.Entry {
	e, ok := v.Files.Lookup(path.Join(site, info, "RECORD"))
	if !ok || e.Kind != tree.File || e.Size > packaging.MaxRecord {
		return nil
	}
	e, err := hashed(e)
	if err != nil {
		return nil
	}
	data, err := e.ReadAll()
	if err != nil {
		return nil
	}
	rows, err := packaging.ParseRecord(data)
	if err != nil {
		return nil
	}
	var list []tree.Entry
	for _, row := range rows {
		if !missing[path.Base(row.Path)] || path.IsAbs(row.Path) {
			continue
		}
		lib, _, err := lookup(v.Files, path.Join(site, row.Path))
		if err != nil || lib.Kind != tree.File {
			continue
		}
		if lib, err = hashed(lib); err == nil {
			lib.Owner = audit.OwnerWheel + name
			list = append(list, lib)
		}
	}
	return list
}

// wheelsBeside opens the wheels in a wheel's directory that have missed libraries and that it
// requires, or that one of those requires.
func (v *survey) wheelsBeside(ctx context.Context, f found, p *audit.Place, missing map[string]bool) (_ []tree.Entry, done func() error, err error) {
	var closers []func() error
	done = func() error {
		var errs []error
		for _, c := range closers {
			errs = append(errs, c())
		}
		return errors.Join(errs...)
	}
	dir := path.Dir(f.path)
	names, err := v.Files.List(dir)
	if err != nil {
		return nil, done, nil // its own audit tells it
	}
	peers := map[string][]string{}
	for _, name := range names {
		if parsed, err := packaging.ParseWheelName(name); err == nil && path.Join(dir, name) != f.path {
			project := packaging.NormalName(parsed.Distribution)
			peers[project] = append(peers[project], path.Join(dir, name))
		}
	}
	var list []tree.Entry
	seen := map[string]bool{}
	for queue := requiredOf(p.Tree, p.Site); len(queue) > 0 && len(seen) < maxRequired; queue = queue[1:] {
		project := queue[0]
		if seen[project] {
			continue
		}
		seen[project] = true
		for _, peer := range peers[project] {
			if ctx.Err() != nil {
				return nil, done, context.Cause(ctx)
			}
			requires, has := v.peer(peer, missing)
			queue = append(queue, requires...)
			if !has {
				continue
			}
			entries, closeWheel, err := v.librariesOf(peer, p.Site, project, missing)
			if err != nil {
				continue // its own audit tells it
			}
			closers, list = append(closers, closeWheel), append(list, entries...)
		}
	}
	return list, done, nil
}

// requiredOf lists the projects that the distribution in a tree names in its metadata.
func requiredOf(t *tree.Tree, site string) []string {
	for _, e := range t.Entries() {
		if e.Kind == tree.File && path.Base(e.Path) == "METADATA" && path.Dir(path.Dir(e.Path)) == site && e.Size <= maxFinder {
			data, err := e.ReadAll()
			if err == nil {
				return requiredIn(data)
			}
		}
	}
	return nil
}

func requiredIn(metadata []byte) []string {
	h, err := packaging.ParseMetadata(metadata)
	if err != nil {
		return nil
	}
	names := map[string]bool{}
	for _, requirement := range h.Values("Requires-Dist") {
		names[packaging.RequiredName(requirement)] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// peer tells what another wheel requires, and whether it has a missed library.
func (v *survey) peer(file string, missing map[string]bool) (requires []string, has bool) {
	e, ok := v.Files.Lookup(file)
	if !ok || e.Kind != tree.File {
		return nil, false
	}
	a, err := openArchive(e, false)
	if err != nil {
		return nil, false
	}
	defer a.Close()
	z, err := wheel.Open(a.section(), a.size, wheel.DefaultLimits)
	if err != nil {
		return nil, false
	}
	for _, m := range z.File {
		has = has || missing[path.Base(m.Name)]
		if path.Base(m.Name) == "METADATA" && strings.HasSuffix(path.Dir(m.Name), ".dist-info") && m.UncompressedSize64 <= maxFinder {
			requires = requiredIn(memberOf(m))
		}
	}
	return requires, has
}

// memberOf is a small member's content; nil where it cannot be read.
func memberOf(m *zip.File) []byte {
	e := tree.Entry{Path: m.Name, Kind: tree.File, Size: int64(m.UncompressedSize64), Content: m}
	e, err := hashed(e)
	if err != nil {
		return nil
	}
	data, err := e.ReadAll()
	if err != nil {
		return nil
	}
	return data
}

// librariesOf unpacks the missed libraries of a wheel.
func (v *survey) librariesOf(file, site, project string, missing map[string]bool) ([]tree.Entry, func() error, error) {
	w, done, err := v.open(found{kind: KindWheel, path: file})
	if err != nil {
		return nil, nil, err
	}
	t, err := w.Installed(site)
	if err != nil {
		return nil, nil, errors.Join(err, done())
	}
	var list []tree.Entry
	for _, e := range t.Entries() {
		if e.Kind == tree.File && missing[path.Base(e.Path)] {
			e.Owner = audit.OwnerWheel + project
			list = append(list, e)
		}
	}
	return list, done, nil
}
