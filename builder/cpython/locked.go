package cpython

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/builder/fetch"
	"ampoule/recipes"
)

// Item says where the downloader finds the source of a locked CPython.
func Item(p recipes.LockedPython) fetch.Item {
	return fetch.Item{Source: fetch.CPython, Name: "cpython", Version: p.Version, File: p.File, SHA256: p.SHA256}
}

// ProfileItem says where the downloader finds the training profile that a recipe names; false
// if it names none.
func ProfileItem(p recipes.Python) (fetch.Item, bool) {
	sum, named := strings.CutPrefix(p.Profile, "sha256:")
	return fetch.Item{
		Source: fetch.Profiles, Name: "python", Version: p.Version, SHA256: sum,
		File: fmt.Sprintf("python-%s-%.12s.profile.tar", p.Version, sum),
	}, named
}

// compilerPackage matches the Debian packages whose versions decide what a profile fits.
var compilerPackage = regexp.MustCompile(`^(gcc|g\+\+|cpp|clang|llvm)-[0-9]+$`)

// Compilers lists the packages of a recipe's compiler in a lock's toolchain, and that of its BOLT, as NAME=VERSION.
func Compilers(p recipes.Python, l *recipes.Lock) []string {
	used := driverOf(p.Compiler)
	var found []string
	for _, deb := range l.Debian[l.Base.Suite] {
		compiles := compilerPackage.MatchString(deb.Name) && used.packages(deb.Name)
		arranges := p.Bolt() && deb.Name == "bolt-"+p.BoltVersion()
		if (compiles || arranges) && slices.Contains(l.Toolchain, deb.Name) {
			found = append(found, deb.Name+"="+deb.Version)
		}
	}
	return found
}

// Flags returns the configure flags that a locked CPython knows.
func Flags(p recipes.LockedPython) []string {
	if release, ok := recipes.KnownPython(p.Version); ok {
		return release.Flags
	}
	return p.Flags
}

// Path returns the path of an interpreter below a prefix: /opt/ampoule/bin/python3.13.
func Path(prefix, version string) string {
	return path.Join("/", prefix, "bin", "python"+MinorVersion(version))
}
