package explain

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"ampoule/audit"
)

// aPath is what tells a file from the words before a colon, such as an exception's name.
const aPath = `[^\s:]*(?:/|\.so)[^\s:]*`

// symbolKinds are what a loader says of symbols and versions that no library has (glibc:
// elf/dl-version.c, elf/dl-lookup.c; musl: ldso/dynlink.c).
var symbolKinds = []kind{
	{regexp.MustCompile(`(?:(?P<library>` + aPath + `): )?version '(?:(?P<version>[^'\s]+)' not found \(required by (?P<file>[^)\n]+)\)|(?P<bare>[A-Z]\w*_[\w.]+)' not found)`), missingVersion},
	{regexp.MustCompile(`(?:(?P<file>` + aPath + `): )?symbol (?P<symbol>[^\s,]+),? version (?P<version>\S+) not defined in file (?P<library>\S+) with link time reference`), lostSymbol},
	{regexp.MustCompile(`(?:(?P<file>` + aPath + `): )?undefined symbol: (?P<symbol>[^\s,:;()'"]+)`), undefined},
	{regexp.MustCompile(`Error relocating (?P<file>[^\n:]+): (?P<symbol>[^\s:]+): symbol not found`), func(v values) Explanation {
		if onlyGlibc.MatchString(v.of("symbol")) {
			return forGlibc(v.of("file"), v.of("symbol"))
		}
		return undefined(v)
	}},
}

// onlyGlibc are names that compilers and headers write into files for glibc and that musl
// does not have: fortified functions, C23's scanners, finite mathematics, functions for
// large files (musl had them until 1.2.4), and glibc's own.
var onlyGlibc = regexp.MustCompile(`^(?:__\w+_chk|__isoc23_\w+|__\w+_finite|` +
	`(?:fcntl|creat|f?open(?:at)?|[fl]?stat|l?seek|fseeko|ftello|mmap|preadv?|pwritev?|readdir|scandir|sendfile|f?truncate|f?statv?fs|[gs]etrlimit)64|` +
	`__register_atfork|__cxa_thread_atexit_impl|__strdup|mallinfo2?|malloc_trim|gnu_get_libc_version|backtrace(?:_symbols\w*)?)$`)

// whoAsks is the step that looks at the file that asks for a symbol.
func whoAsks(file string) Step {
	if file == "" {
		return look("The file whose path stands before the symbol is the one that asks.")
	}
	return run("readelf -d "+quote(file)+" | grep -E 'NEEDED|R(UN)?PATH'", "which libraries the file that asks names, and where it looks first")
}

func missingVersion(v values) Explanation {
	file, version := cmp.Or(v.of("file"), "A file"), v.of("version", "bare")
	means := file + " was compiled on a newer system than this one: it needs " + version + ", which the library here does not have."
	prevents, shows := ownBase, run("ldd --version", "the glibc of this machine")
	switch {
	case version == "GLIBC_PRIVATE":
		means = file + " needs " + version + ", the part of glibc that its own libraries use among themselves: two releases of glibc are mixed, such as a libc.so.6 that was copied along with a tree."
		shows = otherCopies
	case strings.HasPrefix(version, "GLIBC_"):
		means += " glibc cannot be carried along: the file has to be compiled on an older base, or run on a newer one."
	case begins(version, "GLIBCXX_", "CXXABI_", "GCC_"):
		means += " That library is of GCC's runtime, and may be carried along in the version that the file was compiled with; a newer one serves older files, too."
		shows = otherCopies
	default:
		means = fmt.Sprintf("%s needs %s of %s, and the library that was found by that name does not have it: it is another release than the one that the file was compiled with, or a build of it without such versions.", file, version, cmp.Or(v.of("library"), "a library"))
		prevents, shows = ownLibraries, otherCopies
	}
	return Explanation{
		Means:    means,
		Find:     []Step{run("objdump -T "+quote(cmp.Or(v.of("file"), "PATH-OF-THE-FILE"))+" | grep -F "+quote(version), "the symbols that want the version"), shows},
		Prevents: prevents,
		Checks:   []string{"versions"},
	}
}

const ownLibraries = "Ampoule compiles every wheel against the libraries that it carries in the tree, and its gate binds every symbol and version."

// otherCopies is the step that shows which of several libraries of one name is taken.
var otherCopies = run("env | grep ^LD_; LD_DEBUG=libs python3 -c 'import MODULE' 2>&1 | grep trying", "where each library is looked for: the last place is the one that it was taken from")

func lostSymbol(v values) Explanation {
	return Explanation{
		Means: fmt.Sprintf("%s wants %s in the version %s from %s. The library that was loaded by that name knows the version and not the symbol: it is an older release, or built otherwise, than the one that the file was linked with. "+
			"Often a copy of another environment, or of LD_LIBRARY_PATH, comes first.", cmp.Or(v.of("file"), "A file"), v.of("symbol"), v.of("version"), v.of("library")),
		Find:     []Step{whoAsks(v.of("file")), otherCopies},
		Prevents: ownLibraries,
		Checks:   []string{"symbols", "versions"},
	}
}

// undefined tells whose symbol it is that nothing has.
func undefined(v values) Explanation {
	symbol := v.of("symbol")
	if audit.IsPythonAPI(symbol) {
		return undefinedPython(v.of("file"), symbol)
	}
	means := "A file asks for " + symbol + ", which none of the loaded libraries has: it was linked without the library that does, or another version of that library is found here than where it was compiled."
	if strings.HasPrefix(symbol, "_Z") {
		means += " It is a C++ name (c++filt " + symbol + "): libstdc++'s two ABIs, or another release of a C++ library, are the usual cause."
	}
	return Explanation{
		Means:    means,
		Find:     []Step{whoAsks(v.of("file")), otherCopies},
		Prevents: ownLibraries,
		Checks:   []string{"symbols", "closure"},
	}
}

// onlyPython2 is what Python 3 took away.
var onlyPython2 = regexp.MustCompile(`^(?:PyString|PyInt|PyClass|PyInstance|PyCObject)_|^Py_InitModule|^_Py_ZeroStruct$|^PyUnicodeUCS`)

func undefinedPython(file, symbol string) Explanation {
	means := "An extension module asks for " + symbol + ", which this interpreter does not export: the module was compiled for another version of Python, a debug or free-threaded build, or against private API that is gone."
	switch minor, stable := audit.StableSince(symbol); {
	case strings.HasPrefix(symbol, "PyUnicodeUCS"):
		means = "The module was compiled for a Python 2 with another width of Unicode (" + symbol + ")."
	case onlyPython2.MatchString(symbol):
		means = "The module was compiled for Python 2: no Python 3 exports " + symbol + "."
	case stable && minor > 2:
		means = fmt.Sprintf("An extension module asks for %s, which every Python as of 3.%d exports: this interpreter is older, or a program embeds Python and loaded its libpython with RTLD_LOCAL, so that modules do not see it.", symbol, minor)
	case stable:
		means = "An extension module asks for " + symbol + ", which every Python 3 exports. Either Python 2 imports it, or a program embeds Python and loaded its libpython with RTLD_LOCAL, so that modules do not see it."
	}
	return Explanation{
		Means: means,
		Find: []Step{whoAsks(file),
			run("nm -D --defined-only $(readlink -f $(command -v python3)) | grep -w "+quote(symbol), "whether the interpreter exports it; one with a shared libpython has it there"),
		},
		Prevents: sealed,
		Checks:   []string{"symbols", "tags", "abi3"},
	}
}
