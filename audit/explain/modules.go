package explain

import (
	"cmp"
	"fmt"
	"regexp"
)

// standardModules are the modules of the standard library that CPython leaves out when the
// library that they need is not there while it is built, and the Debian package of that.
var standardModules = map[string]string{
	"_ssl": "libssl-dev", "_hashlib": "libssl-dev", "_ctypes": "libffi-dev", "_bz2": "libbz2-dev", "_lzma": "liblzma-dev",
	"zlib": "zlib1g-dev", "_sqlite3": "libsqlite3-dev", "readline": "libreadline-dev", "_curses": "libncurses-dev",
	"_curses_panel": "libncurses-dev", "_dbm": "libgdbm-compat-dev", "_gdbm": "libgdbm-dev", "_tkinter": "tk-dev",
	"_uuid": "uuid-dev", "_zstd": "libzstd-dev", "_decimal": "libmpdec-dev", "_crypt": "libcrypt-dev", "nis": "libnsl-dev",
}

// moduleKinds are what an interpreter or pip says of modules that it does not find, or not as they should be.
var moduleKinds = []kind{
	{regexp.MustCompile(`dynamic module does not define (?:module export|init) function \(?(?P<init>\w+)`), func(v values) Explanation {
		return Explanation{
			Means:    "The file that Python found for the module does not export " + v.of("init") + ": it was renamed, is a library and no module, or was made for Python 2.",
			Find:     []Step{run("nm -D --defined-only PATH-OF-THE-MODULE | grep PyInit", "the name that it was compiled for")},
			Prevents: sealed,
			Checks:   []string{"tags", "record"},
		}
	}},
	// pybind11, in its two wordings, and Cython.
	{regexp.MustCompile(`module was compiled for (?:Python|version) (?P<pybind>\d+\.\d+)|compile ?time (?:Python )?version (?P<cython>\d+\.\d+) of module '`), func(v values) Explanation {
		return Explanation{
			Means: fmt.Sprintf("The module was compiled for Python %s, and another version found its file: the file's name does not say for which Python it is (spam.so), it was renamed, or PYTHONPATH leads into another Python's directories.", v.of("pybind", "cython")),
			Find: []Step{
				run("python3 -c 'import sys; print(sys.version, *sys.path)'; env | grep ^PYTHON", "which Python it is, and where it looks"),
				run("find DIR -name '*.so' -path '*MODULE*'", "the module's file, for how it is named"),
			},
			Prevents: sealed,
			Checks:   []string{"tags"},
		}
	}},
	{regexp.MustCompile(`No module named '?encodings'?|init_fs_encoding|Could not find platform independent libraries`), always(Explanation{
		Means:    "The interpreter does not find its standard library: PYTHONHOME points elsewhere, or the executable was copied without its lib directory.",
		Find:     []Step{run("env | grep ^PYTHON", "variables that mislead it"), run("python3 -I -c 'import sys; print(sys.prefix, sys.path)'", "whether it starts without them")},
		Prevents: "An artifact is one tree, which finds itself from any directory; ampoule install tells of variables that would mislead it.",
	})},
	{regexp.MustCompile(`No module named '?(?P<module>_ssl|_hashlib|_ctypes|_bz2|_lzma|zlib|_sqlite3|readline|_curses(?:_panel)?|_dbm|_gdbm|_tkinter|_uuid|_zstd|_decimal|_crypt|nis)'?\b|Can't connect to HTTPS URL because the SSL module is not available|(?P<zlib>zlib) not available|requires the \(missing\) (?P<missing>zlib|bz2|lzma) module`), func(v values) Explanation {
		module := cmp.Or(v.of("module", "zlib", "missing"), "_ssl")
		if standardModules[module] == "" {
			module = "_" + module
		}
		return Explanation{
			Means:    "The interpreter was built without " + module + ": CPython leaves a module out, without an error, when the library that it needs is not there while it is compiled (Debian's " + standardModules[module] + ").",
			Find:     []Step{run("python3 -c 'import sysconfig; print(sysconfig.get_config_var(\"CONFIG_ARGS\"))'", "which interpreter it is, and how it was built"), look("Install " + standardModules[module] + " and build the interpreter again.")},
			Prevents: "Ampoule's build fails when a module of the standard library is missing, unless the recipe says that it may be.",
		}
	}},
	{regexp.MustCompile(`(?P<wheel>\S+\.whl)'? is not a supported wheel on this platform`), func(v values) Explanation {
		return Explanation{
			Means:    "The tags in the name of " + v.of("wheel") + " are not among those of this interpreter: another version, another ABI (t is free-threaded, d debug), or another platform.",
			Find:     []Step{run("pip debug --verbose", "the tags that this interpreter takes")},
			Prevents: sealed,
			Checks:   []string{"tags"},
		}
	}},
	{regexp.MustCompile(`cannot import name '(?P<name>_\w+)' from (?:partially initialized module )?'(?P<module>[\w.]+)'|No module named '(?P<dotted>[\w.]+\._\w+)'`), func(v values) Explanation {
		name := cmp.Or(v.of("dotted"), v.of("module")+"."+v.of("name"))
		return Explanation{
			Means:    "The package is there and its private module " + name + " is not, for this interpreter. If that is a native one, it was compiled for another version (its file's name ends otherwise), or its build left it out without an error; if not, another version of the package is installed than what imports it wants.",
			Find:     []Step{run("python3 -c 'import importlib.machinery as m; print(m.EXTENSION_SUFFIXES)'", "how the names of the .so files in the package must end")},
			Prevents: sealed,
			Checks:   []string{"tags", "record"},
		}
	}},
}
