package suggest

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"ampoule/recipes"
	"ampoule/recipes/project"
)

// dockerfile takes over what images install.
func (s *suggester) dockerfile(r *draft) {
	r.suite = "bookworm"
	for _, d := range s.dockerfiles {
		if suite := d.Suite(); suite != "" && suite != r.suite {
			r.suite = suite
			s.choose("the base is Debian %s, as in %s", suite, d.Name())
		}
		if at, ok := d.Alpine(); ok {
			s.leave(at, "an image of Alpine", "Ampoule builds for glibc, and its bases are of Debian", "find the packages' Debian names where it installs any")
		}
		for _, p := range d.Debian() {
			s.debian(r, p.Position, p.Name)
		}
		for _, p := range d.Pip() {
			s.pip(p.Position, p.Name)
		}
	}
	r.toolchain = compact(r.toolchain)
	s.runtimeLibraries(r)
}

// runtimeLibraries writes the libraries that an image installs, which the program may load
// by name, or tells of them. This is the one place that knows how a recipe says so.
func (s *suggester) runtimeLibraries(r *draft) {
	slices.SortStableFunc(r.libraries, func(a, b project.Installed) int { return strings.Compare(a.Name, b.Name) })
	r.libraries = slices.CompactFunc(r.libraries, func(a, b project.Installed) bool { return a.Name == b.Name })
	if len(r.libraries) == 0 {
		return
	}
	var names []string
	for _, l := range r.libraries {
		names = append(names, l.Name)
	}
	loaded := []string{"# Libraries of the image, which the program may load by name:", "libraries: [" + strings.Join(names, ", ") + "]"}
	if takes(draft{loaded: loaded}) {
		r.loaded = loaded
		s.choose("runtime.libraries has %s", strings.Join(names, ", "))
		return
	}
	for _, l := range r.libraries {
		s.leave(l.Position, l.Name, "libraries that a wheel links are carried into the tree, and those that a program loads by name are not",
			"install it in the image that stands on the artifact, if the program loads it")
	}
}

// compact sorts texts, each once.
func compact(all []string) []string {
	slices.Sort(all)
	return slices.Compact(all)
}

// always are packages that the default toolchain has, or that building in it does not
// need.
var always = map[string]bool{
	"build-essential": true, "gcc": true, "g++": true, "make": true, "binutils": true, "libc6-dev": true, "pkg-config": true, "pkgconf": true,
	"python3": true, "python3-dev": true, "python3-pip": true, "python3-venv": true, "python3-setuptools": true, "python3-wheel": true, "python-dev": true,
	"patch": true, "xz-utils": true, "ca-certificates": true, "apt-utils": true, "apt-transport-https": true,
	"patchelf": true, "tzdata": true, "tzdata-legacy": true, "ncurses-base": true, "ncurses-term": true,
	"libbz2-dev": true, "liblzma-dev": true, "zlib1g-dev": true, "libffi-dev": true, "libsqlite3-dev": true, "libssl-dev": true, "libreadline-dev": true,
	"libncurses-dev": true, "libncurses5-dev": true, "libncursesw5-dev": true, "uuid-dev": true, "libgdbm-dev": true, "libgdbm-compat-dev": true,
	// The standard modules link these, so that the tree carries them.
	"libbz2-1.0": true, "liblzma5": true, "zlib1g": true, "libffi7": true, "libffi8": true, "libsqlite3-0": true, "libssl1.1": true, "libssl3": true, "libssl3t64": true,
	"libreadline8": true, "libreadline8t64": true, "libncursesw6": true, "libtinfo6": true, "libuuid1": true, "libc6": true, "libgcc-s1": true, "libstdc++6": true,
}

// sameHeaders are packages that bring the same headers: one of a row does for the others.
var sameHeaders = [][]string{
	{"default-libmysqlclient-dev", "libmariadb-dev", "libmariadb-dev-compat", "libmysqlclient-dev", "libmariadbclient-dev"},
	{"libldap2-dev", "libldap-dev"},
	{"libjpeg-dev", "libjpeg62-turbo-dev", "libjpeg8-dev"},
	{"libcurl4-openssl-dev", "libcurl4-gnutls-dev", "libcurl-dev"},
	{"libpng-dev", "libpng12-dev"},
	{"libtiff-dev", "libtiff5-dev"},
	{"libxslt1-dev", "libxslt-dev"},
	{"libfreetype-dev", "libfreetype6-dev"},
}

// brings reports whether a list has a package, or one with the same headers.
func brings(list []string, name string) bool {
	i := slices.IndexFunc(sameHeaders, func(row []string) bool { return slices.Contains(row, name) })
	return slices.Contains(list, name) || i >= 0 && slices.ContainsFunc(sameHeaders[i], func(same string) bool { return slices.Contains(list, same) })
}

// debian puts one package where it belongs: what is compiled against goes to the
// toolchain, unless building the distribution that wants it brings it anyway.
func (s *suggester) debian(r *draft, at recipes.Position, name string) {
	switch {
	case always[name]:
	case strings.HasSuffix(name, "-dev"):
		if by := s.broughtBy(name, r); by != "" {
			s.choose("%s comes with what Ampoule knows of building %s", name, by)
			return
		}
		r.toolchain = append(r.toolchain, name)
		s.choose("toolchain.packages has %s", name)
	case isLibrary(name):
		r.libraries = append(r.libraries, project.Installed{Position: at, Name: name})
	case strings.HasPrefix(name, "lib"):
		s.leave(at, name, "it has no library that a program loads by name", "install it in the image that stands on the artifact, if the program reads it")
	default:
		s.leave(at, name, "a program of Debian is no part of the artifact", "install it in the image that stands on the artifact, if the program calls it")
	}
}

// isLibrary reports whether a package has shared libraries, by its name (Debian policy,
// 8.1: lib, the library's name, and the version of its ABI).
func isLibrary(name string) bool {
	return strings.HasPrefix(name, "lib") && !notLibrary.MatchString(name)
}

// notLibrary finds the ends of names of packages that come with a library: programs, data,
// and what another library loads from a directory of its own.
var notLibrary = regexp.MustCompile(`-(?:bin|utils?|tools|common|data|doc|dbg|perl|java|modules|modules-.*|plugins?|plugins?-.*)$`)

// broughtBy is a required distribution whose override has the package already.
func (s *suggester) broughtBy(name string, r *draft) string {
	overrides := recipes.ShippedOverrides()
	for _, dist := range slices.Sorted(maps.Keys(s.names)) {
		o, ok := overrides[dist]
		if !ok {
			continue
		}
		for _, rule := range o.Rules {
			if brings(rule.Build, name) && (len(rule.Suites) == 0 || slices.Contains(rule.Suites, r.suite)) {
				return dist
			}
		}
	}
	return ""
}

// installers are distributions that only install others.
var installers = []string{"pip", "setuptools", "wheel", "uv", "poetry", "pipenv", "pdm", "virtualenv", "pip-tools"}

// pip tells of what images install beside the requirements.
func (s *suggester) pip(at recipes.Position, what string) {
	name, isFile := strings.CutPrefix(what, "-r ")
	switch requirement, err := recipes.ParseRequirement(what); {
	case isFile:
		if !slices.ContainsFunc(s.repository.RequirementFiles(), func(file string) bool { return sameEnd(file, name) }) {
			s.leave(at, "pip install -r "+name, "there is no such file here", "name it in the recipe's requirements, if it is another one's name")
		}
	case err == nil && (slices.Contains(installers, requirement.Name) || s.requires(requirement.Name)):
	case err == nil:
		s.leave(at, "pip install "+requirement.Spec, "it is not among the requirements", "add it there, with the version that is meant")
	case strings.HasPrefix(what, "-e ") || strings.HasPrefix(what, ".") || strings.HasPrefix(what, "/"):
		// The project itself, which is told where it says so.
	default:
		s.leave(at, "pip install "+what, "it is no requirement by name", "require it by name and version")
	}
}

// started tells how the program is started elsewhere.
func (s *suggester) started() {
	for _, d := range s.dockerfiles {
		if c, ok := d.Command(); ok {
			s.leave(c.Position, c.Text, "the recipe does not start the program", "start it in the image that stands on the artifact, or with `ampoule run`")
		}
	}
	for _, c := range s.repository.Procfile() {
		s.leave(c.Position, c.Text, "the recipe does not start the program", "start it in the image that stands on the artifact, or with `ampoule run`")
	}
}

// saysAll reports whether a recipe with the project's own code needs no copy of what that requires:
// it is read where it stands.
func (s *suggester) saysAll(r draft) bool {
	r.requirements = ""
	parsed, err := recipes.ParseRecipe(filepath.Join(s.dir, "ampoule.yaml"), r.text())
	if err != nil {
		return false
	}
	set, err := recipes.ReadRequirements(parsed)
	return err == nil && len(set.Projects) == 1 && set.Projects[0].Static
}

// ownCode writes the project's own code into the recipe, or tells of it. This is the one
// place that knows how a recipe names it.
func (s *suggester) ownCode(r *draft) {
	if s.metadata.Code == nil {
		return
	}
	app := []string{"# The project itself.", "app: {source: .}"}
	if takes(draft{app: app}) {
		r.app = app
		s.choose("the project itself is a part of the artifact")
		if s.isListed && s.saysAll(*r) {
			r.requirements = ""
			r.app[0] = "# The project itself, and what its " + s.metadata.From + " requires."
		}
		return
	}
	s.leave(*s.metadata.Code, "the project itself", "its own code is not in the artifact, only what it requires", "lay it on the artifact, or put its wheel into an index and require it")
}
