package survey

import (
	"encoding/json"
	"path"
	"regexp"
	"strings"

	"ampoule/audit"
	"ampoule/tree"
)

// Bounds of what says where an editable installation is: of a file in bytes, and of the paths
// in it.
const (
	maxFinder   = 4 << 20
	maxLiterals = 20_000
)

var (
	// startsFinder is a line of a .pth file that starts what finds an editable installation's
	// modules; finder matches the names of those of setuptools, editables (hatchling, pdm),
	// meson-python and scikit-build-core.
	startsFinder = regexp.MustCompile(`(?m)^\s*import\s+([A-Za-z_]\w*)`)
	finder       = regexp.MustCompile(`^(__editable__.*|_+editable_.*|_.+_editable(_loader)?)$`)
	// literal matches the string literals of Python source that begin as absolute paths.
	literal = regexp.MustCompile(`'(/(?:[^'\\\n]|\\.)*)'|"(/(?:[^"\\\n]|\\.)*)"`)
	escape  = regexp.MustCompile(`\\(.)`)
)

// editables follows the finders of a directory's editable installations, which say in literals
// where the modules are, and notes the installations that lead nowhere that is looked at.
func (s *search) editables(site string, names []string) {
	var followed []string
	for _, name := range names {
		if !strings.HasSuffix(name, ".pth") {
			continue
		}
		text, _ := s.text(path.Join(site, name), maxPth)
		for _, m := range startsFinder.FindAllStringSubmatch(text, -1) {
			if !finder.MatchString(m[1]) {
				continue
			}
			file := path.Join(site, m[1]+".py")
			to := s.follow(site, file)
			if len(to) == 0 {
				s.leave(show(file), whyEditable)
			}
			followed = append(followed, to...)
		}
	}
	for _, f := range s.found {
		if f.of == site {
			followed = append(followed, f.path)
		}
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".dist-info") {
			continue
		}
		file := path.Join(site, name, "direct_url.json")
		if dir := s.editable(file); dir != "" && !leadsTo(followed, dir) {
			s.leave(show(file), whyEditable)
		}
	}
}

// text is that of a small file; false where there is none, or it is no small one.
func (s *search) text(p string, most int64) (string, bool) {
	e, _, err := lookup(s.files, p)
	if err != nil || e.Kind != tree.File || e.Size > most {
		return "", false
	}
	if e, err = hashed(e); err != nil {
		return "", false
	}
	data, err := e.ReadAll()
	return string(data), err == nil
}

// leadsTo reports whether one of some paths is in a directory, or the other way round.
func leadsTo(paths []string, dir string) bool {
	for _, p := range paths {
		if strings.HasPrefix(p+"/", dir+"/") || strings.HasPrefix(dir+"/", p+"/") {
			return true
		}
	}
	return false
}

// editable is the directory of an editable installation, by its direct_url.json (PEP 610), links
// followed; empty where it is none, or the directory is not there.
func (s *search) editable(file string) string {
	text, _ := s.text(file, maxPth)
	source := audit.EditableSource(text)
	if !path.IsAbs(source) {
		return ""
	}
	e, ok := audit.Follow(s.files, source)
	if !ok {
		return ""
	}
	return e.Path
}

// follow adds what the literals of a finder lead to, and returns the paths that are there.
func (s *search) follow(site, file string) []string {
	text, ok := s.text(file, maxFinder)
	if !ok {
		return nil
	}
	var to []string
	for _, m := range literal.FindAllStringSubmatch(text, maxLiterals) {
		p := escape.ReplaceAllString(m[1]+m[2], "$1")
		to = append(to, s.followTo(site, p)...)
	}
	return to
}

// followTo adds what one path of a finder leads to: a package's directory, a module, or a module
// without its suffix, as setuptools has it.
func (s *search) followTo(site, p string) []string {
	at, ok := audit.Follow(s.files, p)
	switch {
	case !ok:
		return s.modulesNamed(site, p)
	case isKernels(s.files, at.Path) || strings.HasPrefix(site+"/", at.Path+"/") || at.Path == "":
		return nil
	case at.Kind == tree.Dir && s.isMesons(at.Path):
		return s.mesons(site, at.Path)
	case at.Kind == tree.Dir:
		s.link(site, p)
	case strings.HasSuffix(p, ".so"):
		s.linkFile(site, at.Path)
	case path.Base(p) == "__init__.py":
		s.link(site, path.Dir(p))
	case !strings.HasSuffix(p, ".py"):
		return nil // a tool
	}
	return []string{at.Path}
}

// linkFile adds a module that an editable installation has somewhere.
func (s *search) linkFile(site, p string) {
	if !s.seen.has(p) {
		s.seen.add(p)
		s.unit(found{kind: KindFile, path: p, of: site, linked: true})
	}
}

// modulesNamed adds the modules of a name without a suffix.
func (s *search) modulesNamed(site, p string) []string {
	dir, ok := audit.Follow(s.files, path.Dir(p))
	if !ok || dir.Kind != tree.Dir || isKernels(s.files, dir.Path) {
		return nil
	}
	names, err := s.files.List(dir.Path)
	if err != nil {
		return nil
	}
	var to []string
	for _, name := range names {
		if !strings.HasPrefix(name, path.Base(p)+".") {
			continue
		}
		at := path.Join(dir.Path, name)
		switch {
		case strings.HasSuffix(name, ".so"):
			s.linkFile(site, at)
		case !strings.HasSuffix(name, ".py"):
			continue
		}
		to = append(to, at)
	}
	return to
}

// mesonPlan is where a build directory of Meson says what is installed where.
const mesonPlan = "meson-info/intro-install_plan.json"

func (s *search) isMesons(dir string) bool {
	_, ok := s.files.Lookup(path.Join(dir, mesonPlan))
	return ok
}

// mesons adds the modules that a build directory of meson-python has: its loader imports them
// from there.
func (s *search) mesons(site, dir string) []string {
	text, ok := s.text(path.Join(dir, mesonPlan), maxFinder)
	var plan map[string]map[string]struct {
		Destination string `json:"destination"`
	}
	if !ok || json.Unmarshal([]byte(text), &plan) != nil {
		return nil
	}
	to := []string{dir}
	for _, kind := range plan {
		for file, installed := range kind {
			at, ok := audit.Follow(s.files, file)
			if !ok || at.Kind != tree.File || !strings.HasPrefix(installed.Destination, "{py_") {
				continue
			}
			if strings.HasSuffix(file, ".so") {
				s.linkFile(site, at.Path)
			}
			to = append(to, at.Path)
		}
	}
	return to
}
