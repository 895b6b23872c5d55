package diagnose

import (
	"path"
	"strings"
)

// compileRules are the sentences of compilers and linkers about what they read.
var compileRules = []rule{
	// GCC, and clang in its own words.
	one("No such file or directory", `fatal error: ["<]?([^\s":<>]+)[">]?: No such file or directory`, header),
	one("No such file or directory", `:\d+: error: ([^\s:]+\.h(?:pp|xx)?): No such file or directory`, header),
	one("file not found", `fatal error: '([^']+)' file not found`, header),
	one("could not be found", `headers or library files could not be found for (\w+)`, func(s *scan, m []string) finding {
		return finding{Cause: Cause{What: "the library " + m[1] + " is missing", Build: s.holdingCMake(m[1])}}
	}),
	// What the sources assume of Python, of numpy and of the compiler.
	misfit("PyThreadState", `PyThreadState.* has no member named`),
	misfit("PyFrameObject", `(?:incomplete (?:typedef|type)|has no member) .*PyFrameObject|PyFrameObject.* has no member`),
	misfit("_PyLong_AsByteArray", `too few arguments to function .*_PyLong_AsByteArray`),
	misfit("PyLongObject", `PyLongObject.* has no member named`),
	misfit("PyCodeObject", `PyCodeObject.* has no member named`),
	always("PyArray_Descr", `PyArray_Descr.* has no member named`, Cause{
		What: "the C sources do not fit numpy 2", Requires: []string{"numpy<2"},
	}),
	one(" [-W", `error: .*\[-W(?:error=)?(incompatible-pointer-types|implicit-function-declaration|int-conversion|implicit-int)\b`, strict),
	// GNU ld and gold, lld, mold, rustc.
	one("cannot find -l", `cannot find -l:?([\w.+-]+)`, library),
	one("cannot find lib", `cannot find (lib[\w.+-]+\.(?:so|a))\b`, library),
	one("unable to find library -l", `unable to find library -l([\w.+-]+)`, library),
	one("library not found: ", `library not found: ([\w.+-]+)`, library),
	one("could not find native static library", "could not find native static library `([\\w.+-]+)`", library),
	one("cannot open shared object file", `(lib[\w.+-]+\.so)[\d.]*: cannot open shared object file`, library),
	one("Unable to find libclang", `Unable to find (libclang)`, library),
	// Sdists that look for their libraries themselves.
	on("libxslt", `(?i)development packages? .*libxml2 and libxslt|libxml2 and libxslt development packages`, libxml),
	on("xmlCheckVersion", `Could not find function xmlCheckVersion`, libxml),
	one("Unable to load dependency HDF5", `Unable to load dependency (HDF5)`, library),
	one(" headers", `[Dd]id not find (\w+)(?: version \S+)? headers`, func(s *scan, m []string) finding {
		return finding{Cause: Cause{What: "the headers of " + m[1] + " are missing", Build: s.holdingPkgConfig(m[1])}}
	}),
	one("Could not find directory of OpenSSL", `Could not find directory of OpenSSL installation`, func(s *scan, _ []string) finding {
		return s.pkgConfig("openssl")
	}),
}

// pythonHeaders are headers that come with Python distributions, by their first
// directory or whole name.
var pythonHeaders = map[string]string{
	"numpy": "numpy", "pybind11": "pybind11", "nanobind": "nanobind", "greenlet": "greenlet", "mpi4py": "mpi4py",
	"torch": "torch", "ATen": "torch", "pycairo.h": "pycairo", "py3cairo.h": "pycairo", "xtensor-python": "xtensor-python",
}

// ownHeaders are those that the interpreter brings itself.
var ownHeaders = map[string]bool{"Python.h": true, "pyconfig.h": true, "structmember.h": true, "patchlevel.h": true, "frameobject.h": true}

// removedHeaders are those that newer versions of CPython do not have any more.
var removedHeaders = map[string]string{
	"longintrepr.h": "3.11", "code.h": "3.11", "eval.h": "3.12", "pyfpe.h": "3.11", "parsetok.h": "3.10", "node.h": "3.10",
	"graminit.h": "3.10", "symtable.h": "3.10", "asdl.h": "3.10", "ast.h": "3.10", "Python-ast.h": "3.10", "pyctype.h": "",
}

// header says that a header is missing.
func header(s *scan, m []string) finding {
	name := m[1]
	c := Cause{What: "the header " + name + " is missing"}
	first, _, _ := strings.Cut(name, "/")
	switch since := removedHeaders[name]; {
	case isSource(name):
		c.What = "the source file " + name + " is missing"
		c.Advice = "the sdist does not hold it; if Cython makes it, add cython to requires"
	case ownHeaders[name]:
		c.Advice = "it comes with the interpreter, never from Debian: the build looks elsewhere; give it the paths of sysconfig by env"
	case since != "":
		c.Advice = "CPython has it no more since " + since + ": take a newer version, or an older Python; if Cython wrote the file, a newer Cython helps"
	case pythonHeaders[first] != "":
		c.Requires = []string{pythonHeaders[first]}
	default:
		c.Build = s.holdingHeader(name)
		if c.Build == nil {
			c.Advice = "if it is a system library's, add the package that holds it to build; if it is the project's own, the sdist lacks it"
		}
	}
	return finding{Cause: c}
}

// misfit makes a rule for C sources that know the insides of another version of Python.
func misfit(has, expr string) rule {
	return always(has, expr, Cause{
		What:   "the C sources do not fit this version of Python",
		Advice: "take a newer version of the distribution, or an older Python; if Cython wrote them, having it write them again helps",
	})
}

// strict says that the compiler refuses what older ones only warned of.
func strict(_ *scan, m []string) finding {
	return finding{Cause: Cause{
		What:   "the compiler refuses what older ones let pass (" + m[1] + ")",
		Advice: "take a newer version of the distribution, or say CFLAGS: -Wno-error=" + m[1] + " in env",
	}}
}

// isSource reports whether a file is compiled rather than included.
func isSource(name string) bool {
	switch path.Ext(name) {
	case ".c", ".cc", ".cpp", ".cxx", ".C", ".f", ".f90", ".F90", ".pyx", ".s", ".S", ".asm":
		return true
	}
	return false
}

// library says that a library is missing. It takes -lNAME's NAME and names of files.
func library(s *scan, m []string) finding {
	name := strings.TrimSuffix(strings.TrimSuffix(m[1], ".a"), ".so")
	name = strings.TrimPrefix(name, "lib")
	c := Cause{What: "the library " + name + " is missing"}
	if strings.HasPrefix(name, "python") {
		c.Advice = "extensions must not link libpython; an embedding program needs --enable-shared in python.configure"
		return finding{Cause: c}
	}
	c.Build = s.holdingLibrary(name)
	if c.Build == nil {
		c.Build = s.holdingPkgConfig(name)
	}
	return finding{Cause: c}
}

// libxml says that both of lxml's libraries are missing.
func libxml(s *scan, _ []string) []finding {
	return []finding{s.pkgConfig("libxml-2.0"), s.pkgConfig("libxslt")}
}
