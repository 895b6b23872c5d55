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

// Compilers lists the packages of a recipe's compiler in a lock's toolchain, and that of its BOLT, as NAME=VERSION. Other
// compilers that the toolchain has compile nothing of the interpreter.
func Compilers(p recipes.Python, l *recipes.Lock) []string {
	tools := slices.DeleteFunc(slices.Clone(l.Debian[l.Base.Suite]), func(deb recipes.Deb) bool { return !slices.Contains(l.Toolchain, deb.Name) })
	used := driverOf(p.Compiler)
	if used.version == "" {
		used.version = suiteVersion(used.name, tools)
	}
	var found []string
	for _, deb := range tools {
		compiles := compilerPackage.MatchString(deb.Name) && used.packages(deb.Name)
		arranges := p.Bolt() && deb.Name == "bolt-"+p.BoltVersion()
		if compiles || arranges {
			found = append(found, deb.Name+"="+deb.Version)
		}
	}
	return found
}

// majorVersion matches a Debian package's version: an epoch, and the first number of what follows.
var majorVersion = regexp.MustCompile(`^(?:[0-9]+:)?([0-9]+)`)

// suiteVersion is the version of the compiler that a suite has without one in its name: the package gcc 4:14.2.0-1
// brings gcc-14. It is empty if there is no such package.
func suiteVersion(name string, tools []recipes.Deb) string {
	for _, deb := range tools {
		if m := majorVersion.FindStringSubmatch(deb.Version); deb.Name == name && m != nil {
			return m[1]
		}
	}
	return ""
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
