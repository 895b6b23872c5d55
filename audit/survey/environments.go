package survey

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/audit"
	"ampoule/tree"
)

// told is how the report calls what was found.
func (f found) told() string {
	if f.of != "" && !f.linked {
		return show(f.of)
	}
	return show(f.path)
}

// prefix is that of the environment or the interpreter which a directory of distributions is
// installed in; empty for what is in none.
func (f found) prefix() string {
	if f.kind != KindSite || f.linked {
		return ""
	}
	site := f.path
	if f.of != "" {
		site = f.of
	}
	if m := siteOf.FindStringSubmatch(site); m != nil && !isUsers(m[1]) {
		return path.Clean(m[1])
	}
	return ""
}

// isUsers reports whether a prefix is the one of what "pip install --user" installs (PEP 370).
func isUsers(prefix string) bool { return path.Base(prefix) == ".local" }

// interpreterOf finds the interpreter that imports from a directory: that of the virtual
// environment or the prefix that it is in.
func interpreterOf(files Files, site string) interpreter {
	m := siteOf.FindStringSubmatch(site)
	if m == nil {
		return interpreter{}
	}
	candidates, other := candidatesFor(files, m[1], "python"+m[2]), ""
	for _, candidate := range candidates {
		e, ok := audit.Follow(files, "/"+candidate)
		switch {
		case !ok || !isInterpreter(e):
		case !isOfVersion(e, m[2]):
			other = candidate
		default:
			return interpreter{files: files, exe: flagged(files, e)}
		}
	}
	if other != "" {
		return interpreter{why: "its interpreter is gone: " + show(other) + " is one of another version"}
	}
	return interpreter{why: "its interpreter is gone: there is none at " + show(candidates[len(candidates)-1])}
}

// candidatesFor are the paths at which the interpreter of a prefix may be, whose name is
// pythonX.Y.
func candidatesFor(files Files, prefix, name string) []string {
	candidates := []string{path.Join(prefix, "bin", name)}
	if release, threaded := strings.CutSuffix(name, "t"); threaded {
		// A debug build without a GIL has the standard library of a release build.
		candidates = append(candidates, path.Join(prefix, "bin", release+"td"), path.Join(prefix, "bin", release))
	}
	home, isVenv := venvHome(files, prefix)
	switch {
	case isVenv:
		candidates = append(candidates, path.Join(prefix, "bin/python3"), path.Join(prefix, "bin/python"), path.Join(home, name))
	case prefix == "usr/local":
		// Debian's Python imports from there, too.
		candidates = append(candidates, "usr/bin/"+name)
	case isUsers(prefix):
		candidates = append(candidates, "usr/local/bin/"+name, "usr/bin/"+name)
	}
	return candidates
}

// executable matches the name of an interpreter's executable.
var executable = regexp.MustCompile(`^python(\d+\.\d+)[a-z]*$`)

// isOfVersion reports whether an executable is of the version that a directory of distributions
// is for, X.Y, X.Yt or X.
func isOfVersion(exe tree.Entry, version string) bool {
	m := executable.FindStringSubmatch(path.Base(exe.Path))
	return m == nil || !strings.Contains(version, ".") || m[1] == strings.TrimRight(version, "t")
}

// grafted notes the directories of distributions that a prefix has through links into other
// prefixes: they are judged with this one's interpreter, too.
func (s *search) grafted(prefix string, names []string) {
	if isVenv(s.files, prefix) && !s.hasSites(prefix) {
		s.leave(show(prefix), whyBare)
	}
	if !slices.Contains(names, "bin") {
		return
	}
	for _, lib := range []string{"lib", "lib64"} {
		if !slices.Contains(names, lib) {
			continue
		}
		at, ok := audit.Follow(s.files, "/"+path.Join(prefix, lib))
		if !ok || at.Kind != tree.Dir {
			continue
		}
		versions, err := s.files.List(at.Path)
		if err != nil {
			continue // the search tells it
		}
		for _, version := range versions {
			if isLibrary.MatchString(version) {
				s.graft(prefix, path.Join(prefix, lib, version))
			}
		}
	}
}

// hasSites reports whether an environment has a directory of distributions, Windows' among them.
func (s *search) hasSites(prefix string) bool {
	for _, lib := range []string{"lib", "lib64", "Lib"} {
		at, ok := audit.Follow(s.files, show(path.Join(prefix, lib)))
		if !ok || at.Kind != tree.Dir {
			continue
		}
		names, err := s.files.List(at.Path)
		if err != nil || slices.Contains(names, "site-packages") {
			return true // what cannot be listed is told when it is searched
		}
		for _, name := range names {
			if e, ok := audit.Follow(s.files, show(path.Join(at.Path, name, "site-packages"))); ok && e.Kind == tree.Dir {
				return true
			}
		}
	}
	return false
}

var isLibrary = regexp.MustCompile(`^python\d+(\.\d+t?)?$`)

// graft notes the directories of distributions of a library, as far as links lead to them.
func (s *search) graft(prefix, library string) {
	for _, name := range []string{"site-packages", "dist-packages"} {
		logical := path.Join(library, name)
		at, ok := audit.Follow(s.files, "/"+logical)
		if !ok || at.Kind != tree.Dir || prefix == "" || strings.HasPrefix(at.Path, prefix+"/") {
			continue
		}
		s.unit(found{kind: KindSite, path: at.Path, of: logical})
	}
}
