package survey

import (
	"path"
	"regexp"
	"strings"

	"ampoule/tree"
)

// maxLoose bounds the modules outside every directory of distributions that are judged.
const maxLoose = 1000

// moduleOf matches the name of an extension module that says which interpreters import it.
var moduleOf = regexp.MustCompile(`\.(?:cpython-(\d)(\d+)[a-z]*(?:-[\w-]+)?|(abi3))\.so$`)

// besides notes a file outside every directory of distributions that may matter.
func (s *search) besides(e tree.Entry, real string) {
	switch {
	case s.seen.has(real):
	case moduleOf.MatchString(e.Path) && path.Base(path.Dir(real)) != "lib-dynload":
		s.seen.add(real)
		s.loose = append(s.loose, real)
	case packed.MatchString(e.Path):
		s.seen.add(real)
		s.leave(show(e.Path), whyArchive)
	}
}

// place finds the interpreters that import the modules which were built in place, in a source
// tree beside an environment: of those that were found the only one of the module's version.
func (s *search) placeLoose() {
	sites := map[string]string{} // by the interpreter
	for _, f := range s.found {
		if f.kind == KindSite && !f.linked {
			site := f.path
			if f.of != "" {
				site = f.of
			}
			if at := interpreterOf(s.files, site); at.exe != "" && (sites[at.exe] == "" || site < sites[at.exe]) {
				sites[at.exe] = site
			}
		}
	}
	for i, p := range s.loose {
		of := siteFor(p, sites)
		switch {
		case of == "":
			s.leave(show(p), whyLoose)
		case i >= maxLoose:
			s.leave(show(p), whyTooMany)
		default:
			s.unit(found{kind: KindFile, path: p, of: of, linked: true})
		}
	}
}

// siteFor is the directory of distributions of the only interpreter that imports a module.
func siteFor(module string, sites map[string]string) string {
	m := moduleOf.FindStringSubmatch(module)
	only := ""
	for exe, site := range sites {
		version := executable.FindStringSubmatch(path.Base(exe))
		if version == nil || m[3] == "" && version[1] != m[1]+"."+m[2] {
			continue
		}
		if only != "" {
			return ""
		}
		only = site
	}
	return strings.TrimPrefix(only, "/")
}
