package explain

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ampoule/audit"
)

// aPath is what tells a file from the words before a colon, such as an exception's name.
const aPath = `[^\s:]*(?:/|\.so)[^\s:]*`

// symbolKinds are what a loader says of symbols and versions that no library has (glibc:
// elf/dl-version.c, elf/dl-lookup.c; musl: ldso/dynlink.c).
var symbolKinds = []kind{
	{"missing-version", cause, `(?:(?P<library>` + aPath + `): )?version '(?:(?P<version>[^'\s]+)' not found \(required by (?P<file>[^)\n]+)\)|(?P<bare>[A-Z]\w*_[\w.]+)' not found)`, missingVersion},
	{"missing-version", cause, `(?:(?P<library>` + aPath + `): )?version (?P<version>[A-Z]\w*_[\w.]+) not found \(required by (?P<file>[^)\n]+)\)(?P<bare>)`, missingVersion},
	{"lost-symbol", cause, `(?:(?P<file>` + aPath + `): )?symbol (?P<symbol>[^\s,]+),? version (?P<version>\S+) not defined in file (?P<library>\S+) with link time reference`, lostSymbol},
	{"ldd-output", cause, `undefined symbol: (?P<symbol>_?Py[A-Z_]\w*)\s+\((?P<file>[^)\n]+\.so[\w.]*)\)|(?m:^\s*Error relocating (?P<musl>[^\n:]+\.so[\w.]*): (?P<name>_?Py[A-Z_]\w*): symbol not found)`, lddOutput},
	{"undefined-symbol", cause, `(?:(?P<file>` + aPath + `): )?undefined symbol: (?P<symbol>[^\s,:;()'"]+)(?:, version (?P<version>[\w.]+))?`, undefined},
	{"undefined-symbol", cause, `Error relocating (?P<file>[^\n:]+): (?P<symbol>[^\s:]+): symbol not found`, func(v values) Explanation {
		switch symbol := v.of("symbol"); {
		case forGlibcOnly.MatchString(symbol):
			return forGlibc(v.of("file"), symbol)
		case onlyGlibc.MatchString(symbol):
			return symbolOfGlibc(v.of("file"), v.of("symbol"))
		default:
			if since, ok := newInMusl[symbol]; ok {
				return newerMusl(v.of("file"), symbol, since)
			}
		}
		return undefined(v)
	}},
	{"cffi-symbol", cause, `cffi library '(?P<lib>[^'\n]+)' has no function, constant or global variable named '(?P<name>\w+)'|'?(?P<old>_\w+)'? has no function, constant or global variable named '(?P<oldname>\w+)'`, told(Explanation{
		Means:    "The native module {lib,old} is of another release than the Python files that use it, which ask it for {name,oldname}: two installations of one distribution are mixed (the system's dist-packages, ~/.local and an environment), or an update was not whole.",
		Find:     []Step{run("python3 -c 'import sys; print(*sys.path, sep=\"\\n\")'; find / -name {lib,old}'*' 2>/dev/null", "which copies there are, and which one comes first"), run("python3 -m pip install --force-reinstall --no-cache-dir cryptography cffi", "for cryptography: one whole release of it")},
		Prevents: lockedSet,
	})},
	{"mixed-modules", cause, `has no attribute '__(?:reduce|setstate)_cython__'|(?P<module>[\w.]+) does not export expected C (?:function|variable) (?P<name>\w+)|C function (?P<sig>[\w.]+) has wrong signature`, mixedModules},
	{"pybind-twice", cause, `generic_type: (?:type|cannot initialize type) "(?P<type>[^"\n]+)"[^\n]{0,30}already (?P<state>registered|defined)`, pybindTwice},
	{"nanobind-twice", notice, `nanobind: type '(?P<type>[^'\n]+)' was already registered|nanobind[^\n]{0,80}refusing to add duplicate key`, told(Explanation{
		Means:    "Two modules that were made with nanobind bind a C++ type of one name, {type|the same one}, in one process, and nanobind kept the first: what the second module gives out are objects of the first one's type, or fail. Modules of one nanobind ABI share their types, unless each has a domain of its own.",
		Find:     []Step{look("Give the modules' targets different domains (nanobind_add_module(… NB_DOMAIN name)), or let one of them import the other and take the type from there."), run("python3 -v -c 'import MODULE' 2>&1 | grep -E '\\.so' | sort | uniq | tail", "the native modules that are loaded: which two bind it")},
		Prevents: ownLibraries,
	})},
	{"no-version-information", notice, `(?P<library>[^\s:]+): no version information available \(required by (?P<file>[^)\n]+)\)`, told(Explanation{
		Means:    "{file} was linked with a {library} that has versions of symbols, and the one that is found has none: it is another build of that library, such as conda's, MATLAB's or one in LD_LIBRARY_PATH. It works as long as the symbols mean the same.",
		Find:     []Step{run("echo \"$LD_LIBRARY_PATH\"; ldd {file} | grep \"$(basename {library})\"", "which directory it is taken from")},
		Prevents: ownLibraries,
	})},
}

// lddOutput is about Python's symbols in what ldd says of an extension module, which musl's
// ldd and glibc's ldd -r try to bind without an interpreter. A symbol that not every Python
// has may be a fault all the same.
func lddOutput(v values) Explanation {
	file, symbol := v.of("file", "musl"), v.of("symbol", "name")
	_, changes := lifetimes()[symbol]
	if changes || onlyPython2.MatchString(symbol) || onlyOtherBuilds[symbol] != "" {
		return undefinedPython(file, symbol)
	}
	return Explanation{
		Means: "This is what ldd says of an extension module, and no fault by itself: " + symbol + " is the interpreter's own, which ldd does not load. Only what is said of libraries (\"not found\") and of names that are not Python's is a fault.",
		Find: []Step{
			run("python3 -c "+quote("import "+importName(file)), "whether the interpreter takes the module: its message counts"),
			audited,
			run("ldd "+quote(file)+" 2>&1 | grep -v -E '(: |symbol: )_?Py[A-Z_]'", "the rest of what ldd says"),
		},
		Prevents: "The gate loads every module with the interpreter of its tree, in each runtime target.",
		Checks:   []string{"load"},
	}
}

// importName is the name that a module is imported by, as far as its path tells.
func importName(file string) string {
	_, inside, ok := strings.Cut(file, "-packages/")
	if !ok {
		inside = path.Base(file)
	}
	dir, base := path.Split(inside)
	base, _, _ = strings.Cut(base, ".")
	if name := strings.ReplaceAll(dir+base, "/", "."); moduleName.MatchString(name) {
		return name
	}
	return "MODULE"
}

var moduleName = regexp.MustCompile(`^[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*$`)

// distributionAt is the name of the distribution that a path in site-packages belongs to, as
// far as it is known.
func distributionAt(file string) string {
	if _, inside, ok := strings.Cut(file, "-packages/"); ok {
		if top, _, _ := strings.Cut(importName("-packages/"+inside), "."); top != "MODULE" {
			return distributionOf(top)
		}
	}
	return "NAME"
}

// mixedModules is about two modules of Cython's, of which one exports what the other imports.
func mixedModules(v values) Explanation {
	module, dist := v.of("module"), "numpy"
	e := Explanation{
		Means: "Two modules that Cython made, " + cmp.Or(module, "of one package or of two") + ", are of different releases, and one asks the other for " + cmp.Or(v.of("name", "sig"), "a function") + " that it does not have so: an update that was not whole, two installations that are mixed (conda and pip, dist-packages and ~/.local), or a package that was compiled against another release.",
		Find: []Step{
			run("python3 -m pip install --force-reinstall --no-cache-dir NAME", "the distribution that the traceback's last line is of, whole; with a fitting scipy for scikit-learn"),
		},
		Prevents: lockedSet,
	}
	if module != "" {
		top, _, _ := strings.Cut(module, ".")
		dist = distributionOf(top)
	}
	list := run("python3 -m pip list | grep -i -E "+quote(strings.TrimPrefix(dist+"|", "numpy|")+"numpy|scipy|scikit|pandas|h5py|gevent|greenlet|cython")+"; python3 -c 'import sys; print(*sys.path, sep=\"\\n\")'", "the releases, and the directories that are mixed")
	e.Find = append([]Step{list}, e.Find...)
	if module != "" {
		if strings.Contains(module, "._") {
			e.Means += " The module is a private one, which its own package alone uses: files of two releases of " + dist + " are mixed, most likely."
			e.Find = []Step{run("python3 -m pip uninstall -y "+quote(dist)+" && python3 -m pip install --no-cache-dir "+quote(dist), "one whole release of it: a second uninstall tells whether another copy was left"), list}
			return e
		}
		e.Means += " " + dist + " is most likely older than what asks it, which knows a later release."
		e.Find = append([]Step{run("python3 -m pip install --upgrade "+quote(dist), "the older side; where it is the newest already, an older release of what asks, or what asks compiled anew")}, e.Find...)
	}
	return e
}

// forGlibcOnly are names that headers of glibc, and of no musl, write into what is compiled
// with them.
var forGlibcOnly = regexp.MustCompile(`^(?:__\w+_chk|__isoc23_\w+|__\w+_finite|fcntl64)$`)

// onlyGlibc are names that compilers and headers write into files for glibc and that musl
// does not have: fortified functions, C23's scanners, finite mathematics, functions for
// large files (musl had them until 1.2.4), and glibc's own.
var onlyGlibc = regexp.MustCompile(`^(?:__\w+_chk|__isoc23_\w+|__\w+_finite|` +
	`(?:fcntl|creat|f?open(?:at)?|[fl]?stat|l?seek|fseeko|ftello|mmap|preadv?|pwritev?|readdir|scandir|sendfile|f?truncate|f?statv?fs|[gs]etrlimit)64|` +
	`__register_atfork|__cxa_thread_atexit_impl|__strdup|mallinfo2?|malloc_trim|gnu_get_libc_version|backtrace(?:_symbols\w*)?|__libc_\w+|__res_init|qsort_r|getcontext|makecontext|swapcontext|setcontext|initstate_r|random_r|strtoll_l)$`)

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
		means = file + " needs " + version + ", the part of glibc that its own libraries use among themselves: two releases of glibc are mixed, such as a libc.so.6 that was copied along with a tree, or a snap's or AppImage's library in LD_LIBRARY_PATH."
		shows = otherCopies
	case version == "GLIBC_ABI_DT_RELR":
		means = file + " was linked with packed relocations (-z pack-relative-relocs), which glibc knows as of 2.36: this one is older. glibc cannot be carried along: the file has to be linked without, or run on a newer base."
	case strings.HasPrefix(version, "GLIBC_"):
		means += " glibc cannot be carried along: the file has to be compiled on an older base, or run on a newer one."
	case begins(version, "GLIBCXX_", "CXXABI_", "GCC_"):
		means += " That library is of GCC's runtime, and may be carried along in the version that the file was compiled with; a newer one serves older files, too. Often a newer one is here, and an older copy (conda's, or one of LD_LIBRARY_PATH) comes before it."
		shows = run("strings "+quote(cmp.Or(v.of("library"), "PATH-OF-THE-LIBRARY"))+" | grep -E '^(GLIBCXX|CXXABI|GCC)_[0-9]' | sort -V | tail -n 3; find / -name "+quote(path.Base(cmp.Or(v.of("library"), "libstdc++.so.6")))+" 2>/dev/null", "the newest version that this library has, and other copies: conda's libstdcxx-ng, or a newer GCC's runtime, has to come first (LD_LIBRARY_PATH)")
	default:
		means = fmt.Sprintf("%s needs %s of %s, and the library that was found by that name does not have it: it is another release than the one that the file was compiled with, or a build of it without such versions.", file, version, cmp.Or(v.of("library"), "a library"))
		prevents, shows = ownLibraries, otherCopies
	}
	return Explanation{
		Means:    means,
		Find:     []Step{shows, run("objdump -T "+quote(cmp.Or(v.of("file"), "PATH-OF-THE-FILE"))+" | grep -F "+quote(version), "the symbols that want the version"), audited},
		Prevents: prevents,
		Checks:   []string{"versions", "platform"},
	}
}

// otherCopies is the step that shows which of several libraries of one name is taken.
var otherCopies = run("env | grep ^LD_; LD_DEBUG=libs python3 -c 'import MODULE' 2>&1 | grep trying", "where each library is looked for: the last place is the one that it was taken from")

func lostSymbol(v values) Explanation {
	means := fmt.Sprintf("%s wants %s in the version %s from %s. The library that was loaded by that name knows the version and not the symbol: it is an older release, or built otherwise, than the one that the file was linked with. "+
		"Often a copy of another environment, or of LD_LIBRARY_PATH, comes first.", cmp.Or(v.of("file"), "A file"), v.of("symbol"), v.of("version"), v.of("library"))
	find := []Step{otherCopies, whoAsks(v.of("file")), audited}
	if says, advice, ok := symbolOwner(v.of("symbol")); ok {
		means, find = means+" "+says, append([]Step{advice}, find...)
	}
	if inConda(v.of("file")) {
		means, find = means+mixedChannels, append(slices.Clone(channels), find...)
	}
	return Explanation{Means: means, Find: find, Prevents: ownLibraries, Checks: []string{"symbols", "versions"}}
}

// ofConda is a path into an installation or environment of conda's.
var ofConda = regexp.MustCompile(`/(?:\.?(?:mini|ana)?conda\d?|(?:mini|mamba)forge\d?|micromamba)/`)

// inConda reports whether a file is a library of conda's own, and of no wheel.
func inConda(file string) bool {
	file = path.Clean(file)
	return ofConda.MatchString(file) && !strings.Contains(file, "-packages/")
}

const mixedChannels = " The file is conda's: packages of two channels, or of two builds, are mixed, most likely."

// channels are the steps for an environment whose packages do not go together.
var channels = []Step{
	run("conda list --show-channel-urls | awk '{print $NF}' | sort | uniq -c", "the channels that the packages are of: with defaults and conda-forge both, libraries of two builds are mixed"),
	run("conda create -n NEW --override-channels -c conda-forge --strict-channel-priority PACKAGES", "a new environment with all of them from one channel"),
}

// undefined tells whose symbol it is that nothing has.
func undefined(v values) Explanation {
	symbol, file := v.of("symbol"), v.of("file")
	means := "A file asks for " + symbol + ", which none of the loaded libraries has: it was linked without the library that does, or another version of that library is found here than where it was compiled."
	if audit.IsPythonAPI(symbol) && !strings.HasPrefix(symbol, "PySide") {
		return undefinedPython(file, symbol)
	}
	e := Explanation{Find: []Step{whoAsks(file), otherCopies, audited}, Prevents: ownLibraries, Checks: []string{"symbols", "closure"}}
	if strings.HasPrefix(v.maybe("version"), "GLIBC_") {
		means += " It is glibc's own (" + v.maybe("version") + "): two releases of glibc are mixed, such as a library of a newer or older system that was copied along, or comes first by LD_LIBRARY_PATH."
		e.Find = append([]Step{otherCopies}, e.Find...)
	} else if says, advice, ok := symbolOwner(symbol); ok {
		means += " " + says
		e.Find = append([]Step{advice}, e.Find...)
	} else if dist := distributionAt(file); dist != "NAME" && !strings.HasPrefix(symbol, "_Z") {
		means += " Or it is the package's own: C of an older release that a newer compiler took otherwise (an inline function without a symbol), or files of two releases."
		e.Find = slices.Insert(e.Find, 1, run("python3 -m pip install --upgrade --force-reinstall --no-cache-dir "+quote(dist), "one whole, newer release of it, and none from pip's cache"))
	}
	if inConda(file) {
		means += mixedChannels
		e.Find = append(slices.Clone(channels), e.Find...)
	}
	if strings.HasPrefix(symbol, "_Z") {
		means += " It is a C++ name (c++filt " + symbol + "): libstdc++'s two ABIs, or another release of a C++ library, are the usual cause."
	}
	e.Means = means
	return e
}

// onlyPython2 is what Python 3 took away.
var onlyPython2 = regexp.MustCompile(`^(?:PyString|PyInt|PyClass|PyInstance|PyCObject)_|^Py_InitModule|^_Py_ZeroStruct$|^PyUnicodeUCS`)

// onlyOtherBuilds are what builds of one sort export: debug ones (or, before 3.8, modules that
// were compiled for such), and free-threaded ones.
var onlyOtherBuilds = map[string]string{
	"_Py_RefTotal": "a debug build (Py_DEBUG)", "_Py_NegativeRefcount": "a debug build (Py_DEBUG)", "_Py_INCREF_IncRefTotal": "a debug build (Py_DEBUG)", "_Py_DECREF_DecRefTotal": "a debug build (Py_DEBUG)",
	"Py_InitModule4_64": "a Python 2 of 64 bits", "PyModule_Create2TraceRefs": "a build with Py_TRACE_REFS", "_Py_MergeZeroLocalRefcount": "a free-threaded build", "_Py_DecRefShared": "a free-threaded build",
	"_Py_DecRefSharedDebug": "a free-threaded debug build", "PyUnstable_Module_SetGIL": "a free-threaded build",
}

func undefinedPython(file, symbol string) Explanation {
	means := "An extension module asks for " + symbol + ", which this interpreter does not export: the module was compiled for another version of Python, a debug or free-threaded build, or against private API that is gone."
	minor, stable := audit.StableSince(symbol)
	life, known := lifetimes()[symbol]
	other := onlyOtherBuilds[symbol]
	switch {
	case strings.HasPrefix(symbol, "PyUnicodeUCS"):
		means = "The module was compiled for a Python 2 with another width of Unicode (" + symbol + ") than the one that imports it: it has to be compiled anew with this Python."
	case strings.HasPrefix(symbol, "PyFPE_"):
		means = "An extension module asks for " + symbol + ", which this interpreter does not export: the module was compiled by another build of Python. The name is of fpectl, which up to Python 3.6 some builds have (configure --with-fpectl, such as conda's) and others have not; 3.7 and 3.8 export the name for such modules' sake. The wheel came from another build by pip's cache or a copy, or was made by one."
	case other != "":
		means = "The module was compiled for " + other + ": no other one exports " + symbol + ", and this interpreter is of another sort."
	case onlyPython2.MatchString(symbol):
		means = "The module was compiled for Python 2: no Python 3 exports " + symbol + "."
	case stable && minor > 2:
		means = fmt.Sprintf("An extension module asks for %s, which every Python as of 3.%d exports: this interpreter is older, or a program embeds Python and loaded its libpython with RTLD_LOCAL, so that modules do not see it.", symbol, minor)
	case stable:
		means = "An extension module asks for " + symbol + ", which every Python 3 exports. Either Python 2 imports it, or a program embeds Python and loaded its libpython with RTLD_LOCAL, so that modules do not see it."
	case known:
		means = fmt.Sprintf("An extension module asks for %s, which this interpreter does not export: %s. The module was compiled for such a version, and its file's name, or a copied environment, let another one find it; or its release uses API of CPython that this version does not have.", symbol, life)
	}
	find := []Step{
		run("python3 -c 'import sys, sysconfig; print(sys.version, sysconfig.get_config_var(\"SOABI\"))'; ls "+quote(cmp.Or(file, "PATH-OF-THE-MODULE")), "the interpreter that imports it, beside the version in the file's name"),
		audited,
		run("nm -D --defined-only $(readlink -f $(command -v python3)) | grep -w "+quote(symbol), "whether the interpreter exports it; one with a shared libpython has it there"),
		whoAsks(file),
	}
	if stable {
		find = append(find, look("A program that embeds Python, or a plug-in of one: dlopen(\"libpython3.X.so.1.0\", RTLD_NOW | RTLD_GLOBAL) before Py_Initialize() lets modules see it; they are linked to no libpython themselves."))
	}
	dist := quote(distributionAt(file))
	anew := run("python3 -m pip install --force-reinstall --no-cache-dir --no-binary "+dist+" "+dist, "compiles it anew for this Python; without --no-cache-dir pip takes the same file from its cache again")
	switch {
	case strings.HasPrefix(symbol, "PyUnicodeUCS"):
		anew.Run = strings.Replace(anew.Run, "python3", "python2", 1)
		find = []Step{anew, run("python2 -c 'import sys; print(sys.version, sys.maxunicode)'", "65535 is a build with UCS2, 1114111 one with UCS4"), audited, whoAsks(file)}
	case strings.HasPrefix(symbol, "PyFPE_"):
		find = append([]Step{anew}, find...)
	case strings.Contains(file, "/lib-dynload/"):
		means = "The standard library's own module " + path.Base(file) + " asks for " + symbol + ", which the interpreter that loads it does not export: the two are of different builds. An environment whose interpreter is a copy (virtualenv's of before 20) stays at the old release when the system's Python is updated, while its standard library is the new one; PYTHONHOME, or a directory that was written over, does the same."
		find = append([]Step{run("python3 -m venv --clear VENV && VENV/bin/python -m pip install -r requirements.txt", "makes the environment anew, with the interpreter of today (pipx reinstall-all for pipx' own)")}, find...)
	case known && !life.has(namedFor(file)):
		means = fmt.Sprintf("An extension module asks for %s, which this interpreter does not export: %s. The file is named for Python 3.%d, which it was compiled for: its source, or the C that Cython wrote for it, is of a release that is older than this Python and uses what it took away.", symbol, life, namedFor(file))
		find = append([]Step{run("python3 -m pip install --upgrade "+dist, "a release that knows this Python; or an older Python")}, find...)
	}
	return Explanation{Means: means, Find: find, Prevents: sealed, Checks: []string{"symbols", "tags", "abi3"}}
}

// taggedFor is the version of Python 3 that an extension module's name is of.
var taggedFor = regexp.MustCompile(`\.cpython-3(\d+)`)

// namedFor is the minor version of Python 3 in an extension module's name, 0 when it has none.
func namedFor(file string) int {
	m := taggedFor.FindStringSubmatch(file)
	if m == nil {
		return 0
	}
	minor, _ := strconv.Atoi(m[1])
	return minor
}

// pybindTwice is about a type that pybind11 is to bind again: in another module, or under a
// name that is taken.
func pybindTwice(v values) Explanation {
	name := v.of("type")
	loaded := run("python3 -v -c 'import MODULE' 2>&1 | grep -E '\\.so' | sort | uniq | tail", "the native modules that are loaded, by their paths")
	if v.of("state") == "defined" {
		return Explanation{
			Means:    "The module's own code binds " + name + " into a scope that has that name already: it binds it twice, gives two things one name, or its function runs a second time on one module. It is a fault of the source, and of no installation.",
			Find:     []Step{run("grep -rn "+quote(`"`+name+`"`)+" --include='*.c*' --include='*.h*' .", "where the source gives the name: one binding of it has to stay"), loaded},
			Prevents: testsThere,
		}
	}
	return Explanation{
		Means:    "pybind11 registers the C++ type " + name + " a second time in one process: two modules bind the same type, the module is there under two names or is imported by two paths, or two distributions bring it. pybind11's types are one for all modules of its ABI.",
		Find:     []Step{loaded, look("Where two modules bind one type of a library: py::module_local() at the class keeps it to its module, or one module imports the other.")},
		Prevents: ownLibraries,
	}
}
