package explain

import (
	"cmp"
	"path"
	"strings"
)

// packingKinds are what programs say that were packed into one file, and what PyInstaller
// says while it packs.
var packingKinds = []kind{
	{"frozen-program", cause, `(?:Failed to load Python shared library|Error loading Python lib|Failed to load Python DLL) '(?P<lib>[^']+)'(?:[^\n]*(?P<stack>cannot enable executable stack)|[^\n]*(?P<unmapped>failed to map segment)|: (?:dlopen: )?(?P<missing>[^\s:/]+\.so[\w.]*): cannot open shared object file)?`, frozenProgram},
	{"appimage-start", cause, `APPRUN_ERROR: (?P<why>[^\n]+)`, told(Explanation{
		Means:    "The AppImage's own starter (AppRun) could not run the program: {why}. That of appimage-builder writes the loader into /tmp and runs the program by it, which a /tmp that is mounted noexec forbids; TMPDIR does not move it, and neither does --appimage-extract.",
		Find:     []Step{run("findmnt -T /tmp; ls -ld /tmp", "whether the options of its file system have noexec"), run("mount -o remount,exec /tmp", "as root, for a proof: where that may not be, the program has to come in another form (a wheel, an archive)")},
		Prevents: "An artifact runs from the directory that it is installed in, and writes no programs into /tmp.",
	})},
	{"packing-library", general, `Can not find (?P<lib>\S+) in path \S+ \(needed by (?P<file>[^)\n]+)\)|Library not found: could not resolve '(?P<unresolved>[^'\n]+)', dependency of '(?P<by>[^'\n]+)'`, packingLibrary},
}

// frozenProgram is about a program of PyInstaller's that does not load its Python, by the
// loader's reason.
func frozenProgram(v values) Explanation {
	lib := v.of("lib")
	temporary := path.Dir(path.Dir(lib))
	e := Explanation{
		Means:    "A program that PyInstaller packed unpacks itself into a directory of its own (" + lib + ") and cannot load its Python from there: ",
		Prevents: ownBase,
	}
	elsewhere := run("TMPDIR=/var/tmp PROGRAM", "unpacks it into another directory, of a file system without noexec")
	switch missing := v.of("missing"); {
	case v.of("stack") != "":
		e.Means += "that libpython is marked as one that needs an executable stack, which dlopen refuses since glibc 2.41, and hardened kernels always. The build of Python that was packed is at fault, and not this machine."
		e.Find = []Step{
			run("readelf -lW $(python3 -c 'import sysconfig as s; print(s.get_config_var(\"LIBDIR\"))')/"+quote(path.Base(lib))+" | grep GNU_STACK", "where it is packed: RWE is the mark. Pack with another release of that Python, or take the mark away: patchelf --clear-execstack"),
			run("GLIBC_TUNABLES=glibc.rtld.execstack=2 PROGRAM", "runs it as it is, with builds of glibc that know the variable"),
		}
	case v.of("unmapped") != "":
		e.Means += "the file system of " + temporary + " is mounted noexec, or SELinux or AppArmor forbids it to run code from there."
		e.Find = []Step{run("findmnt -T "+quote(temporary), "whether the options of its file system have noexec"), elsewhere}
		e.Prevents = "An artifact runs from the directory that it is installed in, and unpacks nothing into /tmp."
	case missing != "" && missing != path.Base(lib):
		e.Means += "that Python needs " + missing + " of the machine, which does not have it. PyInstaller leaves some libraries of the C library's family to the machine."
		if strings.HasPrefix(missing, "libcrypt.so.1") {
			e.Means += " Fedora, RHEL 9 and Arch have libcrypt.so.2 alone, and the old one in a package of its own, libxcrypt-compat."
		}
		e.Find = append(packageSteps(missing), run("ldconfig -p | grep "+quote(strings.SplitN(missing, ".so", 2)[0]), "the numbers of it that are here"))
	default:
		e.Means += "it was packed on a newer system than this one (a version GLIBC_… is missing), the temporary directory is mounted noexec or was cleaned while it ran, or the file is cut off."
		e.Find = []Step{run("ldd --version; findmnt -T /tmp", "the glibc here, beside the one that the rest of the message asks for; and whether /tmp has noexec"), look("Pack on the oldest system that it has to run on, or give the program another directory: TMPDIR.")}
	}
	return e
}

// packingLibrary is about a library that PyInstaller looks for and does not find.
func packingLibrary(v values) Explanation {
	lib, by := v.of("lib", "unresolved"), v.of("file", "by")
	if strings.HasPrefix(lib, "libc.musl-") {
		return Explanation{
			Means:    "PyInstaller reads the libraries of a program by ldd, and this release of it does not understand musl's (Alpine): " + lib + " is the C library itself. PyInstaller knows musl as of 4.3; what it packs there runs on musl alone.",
			Find:     []Step{run("pyinstaller --version; python3 -m pip install --upgrade pyinstaller", "a release that knows musl"), look("For machines with glibc pack on the oldest of them, in an image with glibc.")},
			Prevents: glibc,
		}
	}
	return Explanation{
		Means:    "PyInstaller does not find " + lib + ", which " + by + " needs, and packs the program without it: it is not installed here, or is in a directory that the loader finds by a variable or by another file's search path alone.",
		Find:     []Step{run("ldd "+quote(cmp.Or(by, "PATH-OF-THE-MODULE"))+" | grep 'not found'", "whether the loader finds it here: LD_LIBRARY_PATH=DIR pyinstaller … lets PyInstaller find it, too"), look("Where the program never uses that module, it is no fault: PyInstaller goes on.")},
		Prevents: testsThere,
	}
}
