package explain

import (
	"regexp"
	"strings"
)

const (
	sealed     = "Ampoule builds interpreter and wheels together under one digest, and its gate refuses a tree that has such a file."
	ownBase    = "Build on a base that is not newer than the oldest machine: base and runtime targets stand in the recipe, and the gate compares every required version with each target."
	findModule = "the file that is named first in the message is the one that asks; ampoule audit tells its distribution's RECORD and what else is wrong with it"
)

// standardModules are the modules of the standard library that CPython leaves out when the
// library that they need is not there while it is built, and the Debian package of that.
var standardModules = map[string]string{
	"_ssl": "libssl-dev", "_hashlib": "libssl-dev", "_ctypes": "libffi-dev", "_bz2": "libbz2-dev", "_lzma": "liblzma-dev",
	"zlib": "zlib1g-dev", "_sqlite3": "libsqlite3-dev", "readline": "libreadline-dev", "_curses": "libncurses-dev",
	"_curses_panel": "libncurses-dev", "_dbm": "libgdbm-compat-dev", "_gdbm": "libgdbm-dev", "_tkinter": "tk-dev",
	"_uuid": "uuid-dev", "_zstd": "libzstd-dev", "_decimal": "libmpdec-dev", "_crypt": "libcrypt-dev", "nis": "libnsl-dev",
}

var kinds = []kind{
	{regexp.MustCompile(`(?P<program>\S*python\S*): error while loading shared libraries: (?P<lib>libpython[\w.]*\.so[\w.]*)`), func(v values) Explanation {
		return Explanation{
			Means:    "The interpreter's own executable was built with --enable-shared: its runtime is in " + v.of("lib") + ", which is not where the loader looks. It was moved, or copied without its lib directory, or a wheel directory was taken for it.",
			Find:     []string{"ldd " + quote(v.of("program")), "readelf -d " + quote(v.of("program")) + " | grep -E 'NEEDED|R(UN)?PATH'"},
			Prevents: "Ampoule's interpreters are relocatable: configured with --enable-shared, the executable finds libpython beside itself, and by default it needs none.",
			Checks:   []string{"closure", "libpython-needed"},
		}
	}},
	{regexp.MustCompile(`(?P<lib>libpython[\w.]*\.so[\w.]*): cannot open shared object file`), func(v values) Explanation {
		return Explanation{
			Means: "A poisoned wheel: an extension module is linked to " + v.of("lib") + ". It was compiled by an interpreter that has a shared libpython, or by a build that links one by itself, and is now imported by an interpreter that has its runtime in the executable, or another version's library. " +
				"pip's cache hands such a wheel on to every interpreter of the same version and platform: its key does not say how the interpreter is linked.",
			Find: []string{
				"ampoule audit ~/.cache/pip, on the machine where it was installed: the wheel may be in its cache",
				"without Ampoule: find DIR -name '*.so*' -exec sh -c 'readelf -d \"$1\" | grep -q \"NEEDED.*libpython\" && echo \"$1\"' sh {} \\;",
			},
			Prevents: sealed + " No extension module needs a libpython, however the interpreter is linked (PEP 513).",
			Checks:   []string{"libpython-needed"},
		}
	}},
	{regexp.MustCompile(`version '(?P<version>(?:GLIBC|GLIBCXX|CXXABI|GCC|OPENSSL|ZLIB|LIBFFI)[\w.]*)' not found \(required by (?P<file>[^)]+)\)`), func(v values) Explanation {
		means := v.of("file") + " was compiled on a newer system than this one: it needs " + v.of("version") + ", which the library here does not have."
		if strings.HasPrefix(v.of("version"), "GLIBC_") {
			means += " glibc cannot be carried along: the file has to be compiled on an older base, or run on a newer one."
		} else {
			means += " That library may be carried along in the version that it was compiled with."
		}
		return Explanation{
			Means:    means,
			Find:     []string{"objdump -T " + quote(v.of("file")) + " | grep " + v.of("version"), "ldd --version, for the glibc of this machine"},
			Prevents: ownBase,
			Checks:   []string{"versions"},
		}
	}},
	{regexp.MustCompile(`undefined symbol: (?P<symbol>_?Py\w+)`), func(v values) Explanation {
		means := "An extension module asks for " + v.of("symbol") + ", which this interpreter does not export: the module was compiled for another version of Python, a debug or free-threaded build, or against private API that is gone."
		switch {
		case strings.HasPrefix(v.of("symbol"), "PyUnicodeUCS"):
			means = "The module was compiled for a Python 2 with another width of Unicode (" + v.of("symbol") + ")."
		case v.of("symbol") == "_Py_NoneStruct" || strings.HasPrefix(v.of("symbol"), "PyExc_") || v.of("symbol") == "PyObject_SetAttrString":
			means += " Every Python exports this one: where a program embeds Python, its libpython was loaded with RTLD_LOCAL, so that modules do not see it."
		}
		return Explanation{
			Means:    means,
			Find:     []string{findModule, "nm -D --defined-only $(readlink -f $(command -v python3)) | grep -w " + v.of("symbol") + ", for whether the interpreter has it"},
			Prevents: sealed,
			Checks:   []string{"symbols", "tags", "abi3"},
		}
	}},
	{regexp.MustCompile(`(?:undefined symbol|symbol lookup error)[^\n]*?: (?P<symbol>[\w.@$]+)`), func(v values) Explanation {
		means := "A file asks for " + v.of("symbol") + ", which none of the loaded libraries has: it was linked without the library that does, or another version of that library is found here than where it was compiled."
		if strings.HasPrefix(v.of("symbol"), "_Z") {
			means += " It is a C++ name (c++filt " + v.of("symbol") + "): libstdc++'s two ABIs, or another release of a C++ library, are the usual cause."
		}
		return Explanation{
			Means:    means,
			Find:     []string{findModule, "LD_DEBUG=libs,bindings with the failing import, for which library was taken"},
			Prevents: "Ampoule compiles every wheel against the libraries that it carries in the tree, and its gate binds every symbol.",
			Checks:   []string{"symbols", "closure"},
		}
	}},
	{regexp.MustCompile(`wrong ELF class: (?P<class>ELFCLASS\d+)|cannot open shared object file: (?P<exec>Exec format error)|(?P<format>[Ee]xec format error)`), func(v values) Explanation {
		return Explanation{
			Means:    "The file is for another kind of machine than the interpreter: 32 bits for 64, or another processor. It came from a cache, or a copied environment, of such a machine.",
			Find:     []string{"file PATH-OF-THE-MODULE; python3 -c 'import platform; print(platform.machine(), platform.architecture())'"},
			Prevents: "An artifact's digest is for one platform; installing it elsewhere is refused.",
			Checks:   []string{"isa", "tags"},
		}
	}},
	{regexp.MustCompile(`invalid ELF header|file too short|ELF load command \S+ not properly aligned|ELF file's phentsize not the expected size`), func(values) Explanation {
		return Explanation{
			Means:    "The module's file is no sound ELF file: cut off while it was copied or downloaded, a pointer of Git LFS, or made for another system (macOS, Windows).",
			Find:     []string{"file PATH-OF-THE-MODULE; head -c 100 PATH-OF-THE-MODULE"},
			Prevents: "Ampoule installs from a digest and verifies every file: ampoule verify DIR.",
			Checks:   []string{"parse", "record"},
		}
	}},
	{regexp.MustCompile(`cannot enable executable stack as shared object requires`), func(values) Explanation {
		return Explanation{
			Means:    "The file wants an executable stack, which dlopen refuses since glibc 2.41, and hardened kernels always. An assembler source without a section .note.GNU-stack is the usual cause.",
			Find:     []string{"readelf -lW PATH-OF-THE-MODULE | grep GNU_STACK, which shows RWE"},
			Prevents: "The gate refuses such files.",
			Checks:   []string{"hardening"},
		}
	}},
	{regexp.MustCompile(`cannot allocate memory in static TLS block`), func(values) Explanation {
		return Explanation{
			Means:    "A library that keeps thread-local data in the static block (an allocator, OpenMP, jemalloc, tcmalloc) was loaded too late: the block was full. The order of imports, not the wheel's interpreter, decides.",
			Find:     []string{"the library that is named first in the message", "import what needs it first, or raise the block: GLIBC_TUNABLES=glibc.rtld.optional_static_tls=16384"},
			Prevents: "The recipe's tests import what the application imports, in its order, in each runtime target.",
		}
	}},
	{regexp.MustCompile(`dynamic module does not define (?:module export|init) function \(?(?P<init>\w+)`), func(v values) Explanation {
		return Explanation{
			Means:    "The file that Python found for the module does not export " + v.of("init") + ": it was renamed, is a library and no module, or was made for Python 2.",
			Find:     []string{"nm -D --defined-only PATH-OF-THE-MODULE | grep PyInit"},
			Prevents: sealed,
			Checks:   []string{"tags", "record"},
		}
	}},
	{regexp.MustCompile(`(?i)illegal instruction|SIGILL|exit(?:ed)? (?:with )?(?:code|status) 132\b|signal 4\b`), func(values) Explanation {
		return Explanation{
			Means:    "The process ran an instruction that this processor does not have: something was compiled for the processor of its build machine (-march=native), or for a higher level of x86-64 than this one has.",
			Find:     []string{"/lib64/ld-linux-x86-64.so.2 --help | grep supported, for the levels of this machine", "gdb -batch -ex run -ex bt --args python3 …, for the library that the instruction is in"},
			Prevents: "runtime.vm.cpu in the recipe names the lowest level; the gate refuses files that say they need more, and -march=native in what compiled them.",
			Checks:   []string{"isa"},
		}
	}},
	{regexp.MustCompile(`(?:numpy\.(?:ndarray|dtype|ufunc) size changed|module compiled against (?:ABI|API) version|compiled using NumPy 1\.x)`), func(values) Explanation {
		return Explanation{
			Means:    "The module was compiled against another numpy than the one that is installed: numpy's ABI changes with its major versions, and modules run with the one they were compiled against or later ones of its range.",
			Find:     []string{"pip list | grep -i numpy, beside what the module's release says it wants"},
			Prevents: "Ampoule's lock pins build requirements, numpy among them, and a wheel's key covers them: another numpy compiles it anew.",
		}
	}},
	{regexp.MustCompile(`No module named '?encodings'?|init_fs_encoding|Could not find platform independent libraries`), func(values) Explanation {
		return Explanation{
			Means:    "The interpreter does not find its standard library: PYTHONHOME points elsewhere, or the executable was copied without its lib directory.",
			Find:     []string{"env | grep ^PYTHON", "python3 -I -c 'import sys; print(sys.prefix, sys.path)'"},
			Prevents: "An artifact is one tree, which finds itself from any directory; ampoule install tells of variables that would mislead it.",
		}
	}},
	{regexp.MustCompile(`No module named '?(?P<module>_ssl|_hashlib|_ctypes|_bz2|_lzma|zlib|_sqlite3|readline|_curses(?:_panel)?|_dbm|_gdbm|_tkinter|_uuid|_zstd|_decimal|_crypt|nis)'?\b|Can't connect to HTTPS URL because the (?P<ssl>SSL) module is not available`), func(v values) Explanation {
		module := v.of("module")
		if module == "" {
			module = "_ssl"
		}
		return Explanation{
			Means:    "The interpreter was built without " + module + ": CPython leaves a module out, without an error, when the library that it needs is not there while it is compiled (Debian's " + standardModules[module] + ").",
			Find:     []string{"python3 -c 'import sysconfig; print(sysconfig.get_config_var(\"CONFIG_ARGS\"))'", "install " + standardModules[module] + " and build the interpreter again"},
			Prevents: "Ampoule's build fails when a module of the standard library is missing, unless the recipe says that it may be.",
		}
	}},
	{regexp.MustCompile(`CERTIFICATE_VERIFY_FAILED[^\n]*unable to get local issuer certificate`), func(values) Explanation {
		return Explanation{
			Means:    "The machine or image has no certificates where this interpreter's OpenSSL looks for them, or not the ones of the server's issuer.",
			Find:     []string{"python3 -c 'import ssl; print(ssl.get_default_verify_paths())'", "env | grep ^SSL_CERT"},
			Prevents: "Install ca-certificates in the runtime image, or set SSL_CERT_FILE.",
		}
	}},
	{regexp.MustCompile(`(?P<wheel>\S+\.whl)'? is not a supported wheel on this platform`), func(v values) Explanation {
		return Explanation{
			Means:    "The tags in the name of " + v.of("wheel") + " are not among those of this interpreter: another version, another ABI (t is free-threaded, d debug), or another platform.",
			Find:     []string{"pip debug --verbose, for the tags that this interpreter takes"},
			Prevents: sealed,
			Checks:   []string{"tags"},
		}
	}},
	{regexp.MustCompile(`(?P<lib>[\w.+-]+\.so[\w.]*): cannot open shared object file: (?P<why>No such file or directory|Permission denied)`), func(v values) Explanation {
		means := v.of("lib") + " is needed and is nowhere where the loader looks: the wheel was compiled on a machine that has it, and does not carry it."
		if v.of("why") == "Permission denied" {
			means = v.of("lib") + " is there, and this user may not read it, or it is on a file system that is mounted noexec."
		}
		return Explanation{
			Means:    means,
			Find:     []string{"ldd PATH-OF-THE-MODULE | grep 'not found'", "apt-file search " + v.of("lib") + ", for the package that has it"},
			Prevents: "Ampoule carries every library that a wheel needs in the tree, and its gate resolves each one as the loader does in each runtime target.",
			Checks:   []string{"closure"},
		}
	}},
	{regexp.MustCompile(`cannot import name '(?P<name>_\w+)' from (?:partially initialized module )?'(?P<module>[\w.]+)'|No module named '(?P<dotted>[\w.]+\._\w+)'`), func(v values) Explanation {
		name := v.of("dotted")
		if name == "" {
			name = v.of("module") + "." + v.of("name")
		}
		return Explanation{
			Means:    "The package is there and its private module " + name + " is not, for this interpreter. If that is a native one, it was compiled for another version (its file's name ends otherwise), or its build left it out without an error; if not, another version of the package is installed than what imports it wants.",
			Find:     []string{"python3 -c 'import importlib.machinery as m; print(m.EXTENSION_SUFFIXES)', beside the names of the .so files in the package"},
			Prevents: sealed,
			Checks:   []string{"tags", "record"},
		}
	}},
	{regexp.MustCompile(`(?i)segmentation fault|SIGSEGV|exit(?:ed)? (?:with )?(?:code|status) 139\b|signal 11\b`), func(values) Explanation {
		return Explanation{
			Means:    "The process used memory that is not its own. Of the causes that lie in wheels, two Python runtimes in one process, and a module compiled for another build of Python, are the most common; a fault of the program itself is, too.",
			Find:     []string{"python3 -X faulthandler …, for the line of Python that it happened in", "grep -E 'libpython|\\.so' /proc/PID/maps, for two runtimes"},
			Prevents: "The gate loads each module in a process of its own and looks for one Python runtime in its memory map.",
			Checks:   []string{"second-runtime", "libpython-needed", "symbols"},
		}
	}},
}
