package audit

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"ampoule/tree"
)

// ErrNoInterpreter is wrapped by errors about trees whose interpreter is missing
// or not the only one.
var ErrNoInterpreter = errors.New("no interpreter")

// installation is where an interpreter has its parts in a tree.
type installation struct {
	// exe is the executable: bin/python3.13t.
	exe string
	// version is 3.13; flags are the ABI flags of the executable's name: "t", "d", "td", "m".
	version, flags string
	// lib is the standard library: lib/python3.13t; site its site-packages. Without a
	// known interpreter lib is empty.
	lib, site string
}

func (h installation) known() bool { return h.lib != "" }

var executableName = regexp.MustCompile(`^python(\d+\.\d+)([a-z]*)$`)

// findInstallation finds the interpreter of a tree; exe may be empty.
func findInstallation(t *tree.Tree, exe string) (installation, error) {
	if exe != "" {
		e, ok := t.Resolve(exe)
		if !ok || e.Kind != tree.File {
			return installation{}, fmt.Errorf("looking for %s in the tree: %w", exe, ErrNoInterpreter)
		}
		return newInstallation(t, e.Path)
	}
	var found tree.Entry
	for _, e := range t.Entries() {
		if e.Kind != tree.File || path.Dir(e.Path) != "bin" || !executableName.MatchString(path.Base(e.Path)) {
			continue
		}
		// A build with ABI flags installs one file under two names; the longer name has the flags.
		if found.Path != "" && found.SHA256 != e.SHA256 {
			return installation{}, fmt.Errorf("%s and %s differ: %w", found.Path, e.Path, ErrNoInterpreter)
		}
		if len(e.Path) > len(found.Path) {
			found = e
		}
	}
	if found.Path == "" {
		return installation{}, fmt.Errorf("looking for bin/pythonX.Y in the tree: %w", ErrNoInterpreter)
	}
	return newInstallation(t, found.Path)
}

func newInstallation(t *tree.Tree, exe string) (installation, error) {
	m := executableName.FindStringSubmatch(path.Base(exe))
	if m == nil {
		return installation{}, fmt.Errorf("%s is not named pythonX.Y: %w", exe, ErrNoInterpreter)
	}
	home := installation{exe: exe, version: m[1], flags: m[2]}
	top := path.Dir(path.Dir(exe))
	home.lib = path.Join(top, "lib", "python"+home.version)
	// A free-threaded build has a standard library of its own (PEP 703).
	if threaded := home.lib + "t"; strings.Contains(home.flags, "t") {
		if _, ok := t.Lookup(threaded); ok {
			home.lib = threaded
		}
	}
	// Fedora's and its like have what is for one machine in lib64.
	if wide := path.Join(top, "lib64", path.Base(home.lib)); !hasSysconfig(t, home.lib) && hasSysconfig(t, wide) {
		home.lib = wide
	}
	home.site = path.Join(home.lib, "site-packages")
	return home, nil
}

// hasSysconfig reports whether a standard library has the file that tells how it was built.
func hasSysconfig(t *tree.Tree, lib string) bool {
	return slices.ContainsFunc(t.Entries(), func(e tree.Entry) bool {
		return path.Dir(e.Path) == lib && strings.HasPrefix(path.Base(e.Path), "_sysconfigdata_")
	})
}

// ownsLibpython reports whether a file is this interpreter's own libpython: the
// library itself, libpython3.so of the stable ABI, or a name of theirs. A wheel's
// file never is.
func (h installation) ownsLibpython(e tree.Entry) bool {
	if e.Owner != "" && e.Owner != OwnerInterpreter || !h.known() {
		return false
	}
	// Debian has it in the directory of its architecture.
	dir, top := path.Dir(e.Path), path.Dir(h.lib)
	if dir != top && (path.Dir(dir) != top || !strings.HasSuffix(dir, "-linux-gnu")) {
		return false
	}
	base := path.Base(e.Path)
	return base == "libpython3.so" || base == h.soname() || strings.HasPrefix(base, "libpython"+h.version+h.flags+".so")
}

// soname is the name that CPython gives its shared library (INSTSONAME).
func (h installation) soname() string { return "libpython" + h.version + h.flags + ".so.1.0" }

// libpython matches every name that a CPython library has or that grafting tools
// give it: libpython3.13.so.1.0, libpython3.7m.so.1.0, libpython3.13td.so.1.0,
// libpython3.so, libpython3-0a1b2c3d.13t.so.1.0.
var libpython = regexp.MustCompile(`^libpython\d+(\.\d+)?[a-z]*([-.].*)?\.so(\.|$)`)

// IsLibpython reports whether a file name, path or soname is that of a CPython library.
func IsLibpython(name string) bool { return libpython.MatchString(path.Base(name)) }

// glibcLibraries are the shared libraries that glibc itself builds. libcrypt is
// not among them: distributions take it from libxcrypt. libnsl.so.1 is, as a
// library that nothing can be linked with any more; libnsl.so.2 is not.
var glibcLibraries = map[string]bool{
	"ld-linux-x86-64.so.2": true, "ld-linux-aarch64.so.1": true,
	"libBrokenLocale.so.1": true, "libanl.so.1": true, "libc.so.6": true,
	"libc_malloc_debug.so.0": true, "libdl.so.2": true, "libm.so.6": true,
	"libmemusage.so": true, "libmvec.so.1": true, "libnsl.so.1": true,
	"libnss_compat.so.2": true, "libnss_db.so.2": true, "libnss_dns.so.2": true,
	"libnss_files.so.2": true, "libnss_hesiod.so.2": true, "libpcprofile.so": true,
	"libpthread.so.0": true, "libresolv.so.2": true, "librt.so.1": true,
	"libthread_db.so.1": true, "libutil.so.1": true,
}

// IsGlibc reports whether glibc itself provides the library of that soname. Such a
// library belongs to the target and is never carried.
func IsGlibc(soname string) bool { return glibcLibraries[soname] }
