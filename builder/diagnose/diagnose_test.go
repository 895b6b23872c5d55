package diagnose

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tell writes causes as a test compares them: what, then what helps.
func tell(causes []Cause) []string {
	var told []string
	for _, c := range causes {
		line := c.What
		if c.Build != nil {
			line += " | build: " + strings.Join(c.Build, ", ")
		}
		if c.Requires != nil {
			line += " | requires: " + strings.Join(c.Requires, ", ")
		}
		if c.Advice != "" {
			line += " | advice"
		}
		told = append(told, line)
	}
	return told
}

func read(t *testing.T, log, suite string) []Cause {
	t.Helper()
	causes, err := Read(strings.NewReader(log), suite)
	if err != nil {
		t.Fatal(err)
	}
	return causes
}

func TestReadLogs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, log string
		want      []string
	}{
		{name: "psycopg2 without pg_config", log: `
running egg_info
writing psycopg2.egg-info/PKG-INFO

Error: pg_config executable not found.

pg_config is required to build psycopg2 from source.  Please add the directory
containing pg_config to the $PATH or specify the full executable path with the
`, want: []string{"the program pg_config is missing | build: libpq-dev, postgresql-common"}},
		{name: "psycopg2 without header", log: `
building 'psycopg2._psycopg' extension
gcc -pthread -DNDEBUG -g -fwrapv -O3 -Wall -fPIC -I/usr/include/postgresql -c psycopg/psycopgmodule.c -o build/x.o
In file included from psycopg/psycopgmodule.c:28:
./psycopg/psycopg.h:35:10: fatal error: libpq-fe.h: No such file or directory
   35 | #include <libpq-fe.h>
      |          ^~~~~~~~~~~~
compilation terminated.
error: command '/usr/bin/gcc' failed with exit code 1
`, want: []string{"the header libpq-fe.h is missing | build: libpq-dev"}},
		{name: "lxml", log: `
Building lxml version 5.2.1.
Building without Cython.
Error: Please make sure the libxml2 and libxslt development packages are installed.
`, want: []string{"libxml-2.0 is missing (asked of pkg-config) | build: libxml2-dev", "libxslt is missing (asked of pkg-config) | build: libxslt1-dev"}},
		{name: "lxml, older", log: `
ERROR: b'/bin/sh: 1: xslt-config: not found\n'
** make sure the development packages of libxml2 and libxslt are installed **
src/lxml/includes/etree_defs.h:14:31: fatal error: libxml/xmlversion.h: No such file or directory
`, want: []string{
			"the program xslt-config is missing | build: libxslt1-dev",
			"libxml-2.0 is missing (asked of pkg-config) | build: libxml2-dev",
		}},
		{name: "mysqlclient without pkg-config", log: `
/bin/sh: 1: pkg-config: not found
/bin/sh: 1: pkg-config: not found
Trying pkg-config --exists mysqlclient
Command 'pkg-config --exists mysqlclient' returned non-zero exit status 127.
Trying pkg-config --exists mariadb
Command 'pkg-config --exists mariadb' returned non-zero exit status 127.
Exception: Can not find valid pkg-config name.
`, want: []string{
			"the program pkg-config is missing | build: pkgconf, pkg-config",
			"mysqlclient is missing (asked of pkg-config) | build: default-libmysqlclient-dev, libmariadb-dev",
		}},
		{name: "scipy without BLAS", log: `
Program cython found: YES (/env/bin/cython)
Found pkg-config: NO
Run-time dependency openblas found: NO (tried pkgconfig and cmake)
Run-time dependency openblas found: NO (tried pkgconfig)

../scipy/meson.build:159:9: ERROR: Dependency "OpenBLAS" not found, tried pkgconfig and cmake
`, want: []string{
			"the program pkg-config is missing | build: pkgconf, pkg-config",
			"OpenBLAS is missing (asked of pkg-config) | build: libopenblas-dev",
		}},
		{name: "scipy without Fortran", log: `
../meson.build:80:0: ERROR: Unknown compiler(s): [['gfortran'], ['flang'], ['nvfortran'], ['pgfortran'], ['ifort'], ['ifx'], ['g95']]
The following exception(s) were encountered:
Running ` + "`gfortran --version`" + ` gave "[Errno 2] No such file or directory: 'gfortran'"
Running ` + "`flang --version`" + ` gave "[Errno 2] No such file or directory: 'flang'"
`, want: []string{"the program gfortran is missing | build: gfortran"}},
		{name: "pycairo", log: `
../cairo/meson.build:31:12: ERROR: Dependency "cairo" not found, tried pkgconfig and cmake
`, want: []string{"cairo is missing (asked of pkg-config) | build: libcairo2-dev"}},
		{name: "PyGObject", log: `
../meson.build:29:9: ERROR: Dependency lookup for gobject-introspection-1.0 with method 'pkgconfig' failed: Pkg-config for machine host machine not found. Giving up.
`, want: []string{
			"gobject-introspection-1.0 is missing (asked of pkg-config) | build: libgirepository1.0-dev",
		}},
		{name: "Meson finds an old one", log: `
../meson.build:32:14: ERROR: Dependency lookup for glib-2.0 with method 'pkgconfig' failed: Invalid version, need 'glib-2.0' ['>= 2.80.0'] found '2.74.6'.
`, want: []string{"glib-2.0 is too old: the build wants >= 2.80.0, the suite has 2.74.6 | advice"}},
		{name: "Meson programs", log: `
../meson.build:3:0: ERROR: Program 'cython' not found or not executable
../meson.build:9:8: ERROR: Program 'swig' not found or not executable
../meson.build:1:0: ERROR: Meson version is 0.63.3 but project requires >= 1.2.3
`, want: []string{
			"the program cython is missing | requires: cython", "the program swig is missing | build: swig",
			"Meson is not >= 1.2.3 | requires: meson>=1.2.3",
		}},
		{name: "h5py", log: `
Loading library to get build settings and version: libhdf5.so
error: Unable to load dependency HDF5, make sure HDF5 is installed properly
on sys.path: libhdf5.so: cannot open shared object file: No such file or directory
`, want: []string{"the library HDF5 is missing | build: libhdf5-dev"}},
		{name: "pyodbc", log: `
src/pyodbc.h:56:10: fatal error: sql.h: No such file or directory
`, want: []string{"the header sql.h is missing | build: unixodbc-dev, libmailutils-dev"}},
		{name: "python-ldap", log: `
In file included from Modules/LDAPObject.c:3:
Modules/common.h:15:10: fatal error: lber.h: No such file or directory
Modules/common.h:16:10: fatal error: sasl/sasl.h: No such file or directory
`, want: []string{"the header lber.h is missing | build: libldap-dev", "the header sasl/sasl.h is missing | build: libsasl2-dev"}},
		{name: "Pillow", log: `
The headers or library files could not be found for jpeg,
a required dependency when compiling Pillow from source.
`, want: []string{"the library jpeg is missing | build: libjpeg-dev, libjpeg62-turbo-dev"}},
		{name: "linker", log: `
/usr/bin/ld: cannot find -lblas
/usr/bin/ld: cannot find -lz: No such file or directory
/usr/bin/ld: cannot find libsnappy.so: No such file or directory
collect2: error: ld returned 1 exit status
`, want: []string{
			"the library blas is missing | build: libopenblas-dev, libblas-dev", "the library z is missing | build: zlib1g-dev",
			"the library snappy is missing | build: libsnappy-dev",
		}},
		{name: "clang", log: "x.c:1:10: fatal error: 'yaml.h' file not found\n", want: []string{"the header yaml.h is missing | build: libyaml-dev"}},
		{name: "uwsgi and others in a shell", log: `
./configure: line 1234: flex: command not found
make[2]: bison: No such file or directory
WARNING: 'aclocal-1.16' is missing on your system.
/usr/bin/env: ‘perl’: No such file or directory
error: command 'swig' failed: No such file or directory
FileNotFoundError: [Errno 2] No such file or directory: 'cmake'
`, want: []string{
			"the program flex is missing | build: flex, flex-old", "the program bison is missing | build: bison, bison++",
			"the program aclocal is missing | build: automake", "the program perl is missing | build: perl",
			"the program swig is missing | build: swig", "the program cmake is missing | build: cmake",
		}},
		{name: "netCDF4", log: "ValueError: Did not find netCDF version 4 headers.\n", want: []string{
			"the headers of netCDF are missing | build: libnetcdf-dev",
		}},
		{name: "pyproj", log: `
proj executable not found. Please set the PROJ_DIR variable.
`, want: []string{"the program proj is missing | build: proj-bin"}},
		{name: "file missing from the sdist", log: `
FileNotFoundError: [Errno 2] No such file or directory: 'requirements.txt'
`, want: []string{"the file requirements.txt is missing | advice"}},
		{name: "pkg-config", log: `
Package libffi was not found in the pkg-config search path.
Perhaps you should add the directory containing ` + "`libffi.pc'" + `
to the PKG_CONFIG_PATH environment variable
No package 'libffi' found
Package 'dbus-1', required by 'virtual:world', not found
Requested 'libzmq >= 9' but version of libzmq is 4.3.4
`, want: []string{
			"libffi is missing (asked of pkg-config) | build: libffi-dev", "dbus-1 is missing (asked of pkg-config) | build: libdbus-1-dev",
			"libzmq is too old: the build wants >= 9, the suite has 4.3.4 | advice",
		}},
		{name: "CMake", log: `
-- Could NOT find Doxygen (missing: DOXYGEN_EXECUTABLE)
CMake Warning at CMakeLists.txt:20 (find_package):
  By not providing "FindSnappy.cmake" in CMAKE_MODULE_PATH this project has
  asked CMake to find a package configuration file provided by "Snappy", but
CMake Error at /usr/share/cmake-3.25/Modules/FindPackageHandleStandardArgs.cmake:230 (message):
  Could NOT find ZLIB (missing: ZLIB_LIBRARY ZLIB_INCLUDE_DIR)
CMake Error at CMakeLists.txt:22 (find_package):
  By not providing "Findpybind11.cmake" in CMAKE_MODULE_PATH this project has
  asked CMake to find a package configuration file provided by "pybind11", but
CMake Error at CMakeLists.txt:30 (find_package):
  Could not find a package configuration file provided by "Eigen3" with any
CMake Error at CMakeLists.txt:1 (project):
  No CMAKE_Fortran_COMPILER could be found.
`, want: []string{
			"ZLIB is missing (asked of CMake) | build: zlib1g-dev", "pybind11 is missing | requires: pybind11",
			"Eigen3 is missing (asked of CMake) | build: libeigen3-dev", "the program gfortran is missing | build: gfortran",
		}},
		{name: "CMake, only a status", log: `
-- Could NOT find GSL (missing: GSL_INCLUDE_DIR GSL_LIBRARY)
-- Configuring incomplete, errors occurred!
`, want: []string{"GSL is missing (asked of CMake) | build: libgsl-dev"}},
		{name: "CMake's own version", log: `
  CMake 3.26 or higher is required.  You are running version 3.25.1
  Compatibility with CMake < 3.5 has been removed from CMake.
`, want: []string{"CMake 3.25.1 is too old | requires: cmake>=3.26", "CMake is too new for the project | requires: cmake<4 | advice"}},
		{name: "autoconf", log: `
checking for gawk... no
configure: error: zlib.h not found
configure: error: libpcap is required
configure: error: Package requirements (gtk+-3.0) were not met:
configure: error: in ` + "`/build':" + `
`, want: []string{
			"configure stopped: zlib.h not found | build: zlib1g-dev", "configure stopped: libpcap is required | build: libpcap-dev",
			"configure stopped: in `/build': | advice",
		}},
		{name: "Python modules", log: `
    import distutils.core
ModuleNotFoundError: No module named 'distutils'
ModuleNotFoundError: No module named 'pkg_resources'
ModuleNotFoundError: No module named 'Cython'
ModuleNotFoundError: No module named 'numpy'
ModuleNotFoundError: No module named 'skbuild.utils'
ModuleNotFoundError: No module named 'setuptools_scm'
ModuleNotFoundError: No module named 'poetry.core'
ModuleNotFoundError: No module named 'imp'
ModuleNotFoundError: No module named '_ctypes'
`, want: []string{
			"the Python module distutils is missing | requires: setuptools", "the Python module pkg_resources is missing | requires: setuptools<81",
			"the Python module Cython is missing | requires: cython", "the Python module numpy is missing | requires: numpy",
			"the Python module skbuild.utils is missing | requires: scikit-build", "the Python module setuptools_scm is missing | requires: setuptools-scm",
			"the Python module poetry.core is missing | requires: poetry-core", "the Python module imp is missing | advice",
			"the Python module _ctypes is missing | advice",
		}},
		{name: "pip in a build", log: `
ERROR: Could not find a version that satisfies the requirement numpy>=1.21,<2 (from versions: none)
ERROR: No matching distribution found for numpy>=1.21,<2
ERROR: No matching distribution found for cffi>=1.12; platform_python_implementation != "PyPy"
`, want: []string{
			"the build wants numpy>=1.21,<2, which its lock does not hold | requires: numpy>=1.21,<2",
			"the build wants cffi>=1.12, which its lock does not hold | requires: cffi>=1.12",
		}},
		{name: "setuptools", log: `
LookupError: setuptools-scm was unable to detect version for /build.
error in x setup command: use_2to3 is invalid.
error: invalid command 'bdist_wheel'
AttributeError: module 'pkgutil' has no attribute 'ImpImporter'. Did you mean: 'zipimporter'?
`, want: []string{
			"the version is not in the sdist, and there is no version control to ask | advice",
			"setuptools is too new: it has no use_2to3 | requires: setuptools<58", "the Python module wheel is missing | requires: wheel",
			"setuptools is too old for this Python | requires: setuptools>=66.1",
		}},
		{name: "Python's own headers", log: `
a.c:1:10: fatal error: Python.h: No such file or directory
a.c:2:10: fatal error: numpy/arrayobject.h: No such file or directory
a.c:3:10: fatal error: longintrepr.h: No such file or directory
cc1: fatal error: src/_speedups.c: No such file or directory
`, want: []string{
			"the header Python.h is missing | advice", "the header numpy/arrayobject.h is missing | requires: numpy",
			"the header longintrepr.h is missing | advice", "the source file src/_speedups.c is missing | advice",
		}},
		{name: "no Rust", log: `
error: can't find Rust compiler
Cargo, the Rust package manager, is not installed or is not on PATH.
`, want: []string{"the program cargo is missing | build: cargo-web, cargo"}},
		{name: "old Rust", log: `
error: package ` + "`idna_adapter v1.2.0`" + ` cannot be built because it requires rustc 1.67.1 or newer, while the currently active rustc version is 1.63.0
`, want: []string{"the Rust compiler is too old | build: cargo-web, cargo | advice"}},
		{name: "old Rust, in other words", log: `
error: Rust 1.63.0 does not match extension requirement >=1.65.0
  feature ` + "`edition2024`" + ` is required
`, want: []string{"the Rust compiler is too old | build: cargo-web, cargo | advice"}},
		{name: "old PyO3", log: `
  error: the configured Python interpreter version (3.14) is newer than PyO3's maximum supported version (3.13)
`, want: []string{"the PyO3 of the sources is too old for Python 3.14 | advice"}},
		{name: "sources for another Python, numpy, compiler", log: `
src/x.c:9:25: error: ‘PyThreadState’ {aka ‘struct _ts’} has no member named ‘use_tracing’; did you mean ‘tracing’?
src/x.c:9:25: error: too few arguments to function ‘_PyLong_AsByteArray’
src/y.c:8:1: error: ‘PyArray_Descr’ {aka ‘struct _PyArray_Descr’} has no member named ‘subarray’
src/z.c:7:1: error: passing argument 1 of ‘f’ from incompatible pointer type [-Wincompatible-pointer-types]
node: /lib/x86_64-linux-gnu/libc.so.6: version ` + "`GLIBC_2.34' not found" + ` (required by node)
configurations error: ` + "`project.license` must be valid exactly by one definition" + `
`, want: []string{
			"the C sources do not fit this version of Python | advice", "the C sources do not fit numpy 2 | requires: numpy<2",
			"the compiler refuses what older ones let pass (incompatible-pointer-types) | advice",
			"a program was made for a newer C or C++ library (2.34) | advice",
			"setuptools is too old for the project's license field (PEP 639) | requires: setuptools>=77",
		}},
		{name: "unknown", log: `
/usr/bin/ld: cannot find -lsecret
/bin/sh: 1: frobnicate: not found
`, want: []string{"the library secret is missing | advice", "the program frobnicate is missing | advice"}},
		{name: "crates", log: `
error: no matching package named ` + "`pyo3`" + ` found
location searched: registry ` + "`crates-io`" + `
error: failed to get ` + "`serde`" + ` as a dependency of package ` + "`x v0.1.0 (/build)`" + `
`, want: []string{"the crate pyo3 is not in the lock | advice", "the crate serde is not in the lock | advice"}},
		{name: "openssl-sys", log: `
  The system library ` + "`openssl` required by crate `openssl-sys`" + ` was not found.
  Could not find directory of OpenSSL installation, and this ` + "`-sys`" + ` crate cannot
`, want: []string{"openssl is missing (asked of pkg-config) | build: libssl-dev"}},
		{name: "network", log: `
fatal: unable to access 'https://git.example/x.git/': Could not resolve host: git.example
urllib.error.URLError: <urlopen error [Errno -3] Temporary failure in name resolution>
`, want: []string{"the build wants the network: git.example | advice", "the build wants the network | advice"}},
		{name: "limits", log: `
c++: fatal error: Killed signal terminated program cc1plus
compilation terminated.
MemoryError
fatal error: error writing to /tmp/x.s: No space left on device
error: could not create '/usr/local/share/x': Permission denied
`, want: []string{
			"the build ran out of memory | advice", "the disk is full | advice", "the build writes outside of its own directories | advice",
		}},
		{name: "old compiler", log: `
c++: error: unrecognized command-line option ‘-std=c++20’; did you mean ‘-std=c++2a’?
`, want: []string{"the compiler is too old for -std=c++20 | advice"}},
		{name: "numpy on an old suite", log: `
../meson.build:28:4: ERROR: Problem encountered: NumPy requires GCC >= 9.3
`, want: []string{"the compiler is too old for GCC >= 9.3 | advice"}},
		{name: "nothing to see", log: `
running build_ext
x.c:12:5: error: too few arguments to function 'f'
error: command '/usr/bin/gcc' failed with exit code 1
configure: error: see config.log for details
checking for snappy.h... no
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, tell(read(t, test.log, "bookworm"))); diff != "" {
				t.Errorf("causes (-want +got):\n%s", diff)
			}
		})
	}
}
