package diagnose

import (
	"regexp"
	"strings"

	"ampoule/packaging"
)

// pythonRules are the sentences of Python, pip, setuptools and build backends.
var pythonRules = []rule{
	one("No module named", `(?:ModuleNotFoundError|ImportError): No module named '?([\w.]+)'?`, module),
	one("BackendUnavailable", `BackendUnavailable: (?:Cannot import )?'([\w.]+)'`, module),
	one("ackend", `Backend '([\w.]+)(?::\w+)?' is not available`, module),
	on("matching distribution", `No matching distribution found for (.+)`, requirement),
	on("satisfies the requirement", `Could not find a version that satisfies the requirement (.+)`, requirement),
	one("unable to detect version", `unable to detect version`, version("SETUPTOOLS_SCM_PRETEND_VERSION")),
	one("Versioning for this project", `Versioning for this project requires either an sdist`, version("PBR_VERSION")),
	always("bdist_wheel", `invalid command 'bdist_wheel'`, Cause{What: "the Python module wheel is missing", Requires: []string{"wheel"}}),
	always("use_2to3", `use_2to3 is invalid`, Cause{What: "setuptools is too new: it has no use_2to3", Requires: []string{"setuptools<58"}}),
	always("has no attribute 'ImpImporter'", `module 'pkgutil' has no attribute 'ImpImporter'`, Cause{
		What: "setuptools is too old for this Python", Requires: []string{"setuptools>=66.1"},
	}),
	always("msvccompiler", `No module named 'distutils\.msvccompiler'`, Cause{
		What: "setuptools is too new: it has no distutils.msvccompiler", Requires: []string{"setuptools<74"},
	}),
	always("project.license", "`project.license` must be valid exactly by one definition", Cause{
		What: "setuptools is too old for the project's license field (PEP 639)", Requires: []string{"setuptools>=77"},
	}),
	one("cannot import name", `cannot import name '(\w+)' from '(?:setuptools|distutils|pkg_resources)`, func(_ *scan, m []string) finding {
		return finding{Cause: Cause{What: "setuptools has no " + m[1], Advice: "an older setuptools may have it: add a limit like setuptools<70 to requires"}}
	}),
	always("ython ", `[Cc]ython (?:is required|must be installed|not found|is not installed)`, noCython),
	always("nstall ", `[Ii]nstall [Cc]ython`, noCython),
	optional(always("Cython.Compiler.Errors", `Cython\.Compiler\.Errors\.CompileError`, Cause{
		What: "Cython refuses the sources", Requires: []string{"cython<3"},
		Advice: "sources written for Cython 0.29 need it",
	})),
}

var noCython = Cause{What: missingModule("Cython"), Requires: []string{"cython"}}

// distributions names those that provide a module under another name, with the limits
// that keep what builds want of them.
var distributions = map[string]string{
	"Cython": "cython", "cython": "cython", "Crypto": "pycryptodome", "OpenSSL": "pyopenssl", "PIL": "pillow",
	"_cffi_backend": "cffi", "attr": "attrs", "bs4": "beautifulsoup4", "dateutil": "python-dateutil", "distutils": "setuptools",
	"expandvars": "expandvars", "flit_core": "flit-core", "flit_scm": "flit-scm", "git": "gitpython", "hatch_vcs": "hatch-vcs",
	"hatch_fancy_pypi_readme": "hatch-fancy-pypi-readme", "jinja2": "jinja2", "mesonbuild": "meson", "mesonpy": "meson-python",
	"oldest_supported_numpy": "oldest-supported-numpy", "pdm": "pdm-backend", "pkg_resources": "setuptools<81", "pkgconfig": "pkgconfig",
	"poetry.core": "poetry-core", "poetry": "poetry", "poetry_dynamic_versioning": "poetry-dynamic-versioning",
	"scikit_build_core": "scikit-build-core", "setuptools_git_versioning": "setuptools-git-versioning", "setuptools_rust": "setuptools-rust",
	"setuptools_scm": "setuptools-scm", "sipbuild": "sip", "skbuild": "scikit-build", "sklearn": "scikit-learn", "yaml": "pyyaml",
	"google.protobuf": "protobuf", "grpc_tools": "grpcio-tools", "pyximport": "cython", "versioningit": "versioningit",
	"vcs_versioning": "vcs-versioning", "py_build_cmake": "py-build-cmake", "usb": "pyusb", "serial": "pyserial", "zmq": "pyzmq",
}

// removed are modules that CPython has no more, with the version that dropped them
// (https://docs.python.org/3/library/removed.html). distutils is not among them:
// setuptools has it.
var removed = map[string]string{
	"asynchat": "3.12", "asyncore": "3.12", "imp": "3.12", "smtpd": "3.12", "formatter": "3.10", "parser": "3.10", "symbol": "3.10",
	"binhex": "3.11", "aifc": "3.13", "audioop": "3.13", "cgi": "3.13", "cgitb": "3.13", "chunk": "3.13", "crypt": "3.13",
	"imghdr": "3.13", "lib2to3": "3.13", "mailcap": "3.13", "msilib": "3.13", "nis": "3.13", "nntplib": "3.13", "ossaudiodev": "3.13",
	"pipes": "3.13", "sndhdr": "3.13", "spwd": "3.13", "sunau": "3.13", "telnetlib": "3.13", "uu": "3.13", "xdrlib": "3.13",
}

// compiled are modules of the standard library that CPython leaves out where the
// library below them is missing when it is built, with the package for it.
var compiled = map[string]string{
	"_bz2": "libbz2-dev", "_ctypes": "libffi-dev", "_curses": "libncurses-dev", "_dbm": "libgdbm-compat-dev", "_gdbm": "libgdbm-dev",
	"_hashlib": "libssl-dev", "_lzma": "liblzma-dev", "_sqlite3": "libsqlite3-dev", "_ssl": "libssl-dev", "_tkinter": "tk-dev",
	"_uuid": "uuid-dev", "readline": "libreadline-dev", "zlib": "zlib1g-dev",
}

func missingModule(name string) string { return "the Python module " + name + " is missing" }

// module says that a Python module is missing.
func module(_ *scan, m []string) finding {
	name := m[1]
	top, _, _ := strings.Cut(name, ".")
	c := Cause{What: missingModule(name)}
	switch {
	case name == "distutils.msvccompiler":
		c.Requires = []string{"setuptools<74"}
	case strings.HasPrefix(name, "numpy.distutils"):
		c.Advice = "numpy has it for Python up to 3.11 only: take a newer version, or an older Python"
	case removed[top] != "":
		c.Advice = "CPython has it no more since " + removed[top] + ": take a newer version, or an older Python"
	case compiled[top] != "":
		c.Advice = "the interpreter was built without it: it wants " + compiled[top] + " in its own toolchain"
	default:
		c.Requires = []string{distributionOf(name)}
	}
	return finding{Cause: c}
}

// distributionOf returns the distribution that provides a module: the one known for
// the longest part of its name, else the one of that name.
func distributionOf(name string) string {
	for part := name; part != ""; {
		if known := distributions[part]; known != "" {
			return known
		}
		part = part[:max(strings.LastIndexByte(part, '.'), 0)]
	}
	top, _, _ := strings.Cut(name, ".")
	return packaging.NormalName(top)
}

// pythonPart answers for names that are asked of pkg-config, Meson or CMake and that a
// Python distribution, or the interpreter, provides.
func pythonPart(name string) (finding, bool) {
	c := Cause{What: name + " is missing"}
	lower := strings.ToLower(name)
	if strings.HasPrefix(lower, "python-3") {
		lower = "python3"
	}
	switch lower {
	case "numpy", "pybind11", "nanobind", "cython", "torch", "pythran", "skbuild":
		c.Requires = []string{distributionOf(lower)}
	case "py3cairo":
		c.Requires = []string{"pycairo"}
	case "pythonextensions", "f2py":
		c.Requires = []string{"scikit-build"}
	case "python", "python2", "python3", "pythonlibs", "pythoninterp", "python3-embed", "python-embed":
		c.Advice = "the build looks for another Python than the recipe's interpreter, or for libpython, which extensions do not need"
	default:
		return finding{}, false
	}
	return finding{Cause: c}, true
}

// requirements are PEP 508 names with extras and version specifiers.
var requirements = regexp.MustCompile(`^[A-Za-z0-9][\w.-]*(?:\[[\w., -]*\])?(?: ?\(?[<>=!~]=?=?[^;()'"]*\)?)?`)

// requirement says that pip was asked for a distribution, and has only what the lock
// holds.
func requirement(_ *scan, m []string) []finding {
	wanted := strings.TrimRight(requirements.FindString(m[1]), " ,.)")
	wanted = withoutSpace(strings.Replace(wanted, "(", "", 1))
	if wanted == "" {
		return nil
	}
	return []finding{{Cause: Cause{What: "the build wants " + wanted + ", which its lock does not hold", Requires: []string{wanted}}}}
}

func withoutSpace(text string) string { return strings.ReplaceAll(text, " ", "") }

// version says that a build asks version control for the version.
func version(variable string) func(*scan, []string) finding {
	return func(*scan, []string) finding {
		return finding{Cause: Cause{
			What:   "the version is not in the sdist, and there is no version control to ask",
			Advice: "give it by env: " + variable + " with the version",
		}}
	}
}
