package explain

import (
	"cmp"
	"strings"

	"ampoule/audit"
)

// buildKinds are what compilers and build backends say while pip compiles a wheel.
var buildKinds = []kind{
	{"python-development", cause, `Could NOT find Python[23]? \(missing:\s+(?P<missing>[^)]*?Development[^)]*)\)(?:\s+\(found\s+version\s+"(?P<found>[\d.]+)")?`, pythonDevelopment},
	{"incomplete-source", cause, `The source directory\s+"(?P<dir>[^"\n]+)"\s+does not appear to contain CMakeLists\.txt`, told(Explanation{
		Means:    "The source that is being compiled ({dir}) has no CMakeLists.txt: the release's sdist was made without it (its MANIFEST.in names it not), or a Git checkout lacks its submodules.",
		Find:     []Step{run("python3 -m pip download --no-deps --no-binary :all: NAME && tar -tf NAME-*.tar.gz | grep -c CMakeLists.txt", "0, where the sdist is at fault: take another release, or the repository, python3 -m pip install git+URL"), run("git submodule update --init --recursive", "in a checkout"), run("python3 -m pip install --only-binary :all: NAME", "takes a wheel, where there is one, and compiles nothing")},
		Prevents: "ampoule lock builds every sdist once: what lacks a part is known before a deploy.",
	})},
	{"not-free-threaded", cause, `#\[cfg\(not\(Py_GIL_DISABLED\)\)\]|unresolved import '(?P<import>pyo3::sync::GILProtected)'`, told(Explanation{
		Means:    "A crate is compiled for a free-threaded Python (3.13t), and this release of it was written for one with a lock: PyO3 leaves out there what is not safe without it, such as GILProtected. A build for every interpreter that is found takes the free-threaded one along.",
		Find:     []Step{run("python3 -c 'import sys, sysconfig; print(sys.version, sysconfig.get_config_var(\"Py_GIL_DISABLED\"))'; maturin list-python", "whether it is a free-threaded one (1), and which interpreters there are: name those with a lock, maturin build --interpreter python3.13"), run("cargo update && cargo tree -i pyo3", "newer releases of the crates, which know it, and who uses pyo3")},
		Prevents: "A recipe names one interpreter, and its wheels are compiled for that.",
	})},
	{"pyo3-older-python", cause, `(?P<sort>Python|PyPy|GraalPy) interpreter version \((?P<have>[\d.]+)\) is (?:lower|older) than PyO3's (?:minimum|maximum) supported`, told(Explanation{
		Means:    "PyO3 does not know so old a {sort} ({have}): the build took another interpreter than the one that was meant, such as the python3 of a manylinux image, which is the system's, or a PyPy that --find-interpreter found.",
		Find:     []Step{run("maturin list-python; ls -d /opt/python/*", "the interpreters that there are (in manylinux images in /opt/python): name those that are meant, maturin build --interpreter python3.12"), look("Otherwise take an older release of the package, whose PyO3 knows that Python.")},
		Prevents: "A recipe names one interpreter, and its wheels are compiled for that.",
	})},
	{"removed-command", cause, `error: invalid command '(?P<name>bdist_wininst|upload|register)'`, told(Explanation{
		Means:    "setuptools has no command {name} any more, which the project's setup.py or setup.cfg, or a plug-in of its build, names: bdist_wininst went in setuptools 65, upload and register in 42.",
		Find:     []Step{run("grep -n -E {name} setup.py setup.cfg; echo 'setuptools<65' > constraints.txt; PIP_CONSTRAINT=$PWD/constraints.txt python3 -m pip install NAME", "who names it, and a build with an older setuptools; a newer release of the project needs none of that"), look("Files go to an index by twine upload, and tests run by pytest.")},
		Prevents: "Ampoule's lock pins the build requirements of each sdist: a new setuptools changes no build until it is locked anew.",
	})},
	{"link-libpython", cause, `(?:cannot find|unable to find library) -lpython(?P<version>\d[\w.]*)`, told(Explanation{
		Means:    "The linker is to link libpython{version} and finds none. An extension module needs none, as the interpreter has the symbols: manylinux images, and builds of Python without --enable-shared, have none on purpose. CMake's Development (for programs that embed Python), or python3-config --ldflags --embed, asks for it.",
		Find:     []Step{run("grep -rn -E 'PythonLibs|PYTHON_LIBRAR|Python3?::Python\\b|Development' --include=CMakeLists.txt .", "who asks: find_package(Python COMPONENTS Interpreter Development.Module), and Python::Module in place of Python::Python"), run("python3 -c 'import sysconfig as s; print(s.get_config_var(\"Py_ENABLE_SHARED\"), s.get_config_var(\"LIBDIR\"), s.get_config_var(\"LDLIBRARY\"))'", "whether this Python has one, and where: only a program that embeds Python needs it (Debian: libpython3-dev)")},
		Prevents: noCompile + " No extension module needs a libpython: the gate refuses those that do.",
		Checks:   []string{"libpython-needed"},
	})},
	{"missing-header", cause, `fatal error: '?(?P<header>[\w./+-]+\.h(?:pp)?)'?: No such file or directory|'(?P<clang>[\w./+-]+\.h(?:pp)?)' file not found|Cannot open include file: '(?P<msvc>[^'\n]+)'|No such file or directory\s+#include <(?P<include>[^>\n]+)>|make sure the (?:development packages of )?(?P<lxml>libxml2) and libxslt|PackageNotFoundError: (?P<pc>[\w.+-]+) not found|(?P<xmlsec>xmlsec1) is not installed or not in path|Dependency "?(?P<meson>[\w.+-]+)"? not found(?:,| \()(?: )?tried|Package '?(?P<pkgconfig>[\w.+-]+)'?,? (?:required by '[^'\n]+', not found|was not found in the pkg-config search path)|No package '(?P<nopkg>[\w.+-]+)' found|No (?P<lapack>lapack)/blas resources found|Could NOT find (?P<cmake>\w+)|package configuration file provided by "(?P<config>[\w.-]+)"|custom build command for '(?P<sys>\w+)-sys |Command 'pkg-config --exists (?P<exists>[\w.+-]+)' returned non-zero exit status 1\.`, missingHeader},
	{"missing-tool", cause, `(?:unable to execute|error: command) '(?P<cc>[^'\n]+)'(?: failed)?: (?:No such file or directory|Permission denied)|command '(?P<cmd>[\w./+-]+)' failed: No such file or directory|error trying to exec '(?P<exec>[^'\n]+)': execvp: No such file|cannot execute '(?P<cc1>[^'\n]+)': execvp: No such file|(?P<which>gcc|g\+\+|cc|c\+\+|cmake|ninja|make|swig|cargo|rustc|gfortran|git|patchelf|autoreconf): (?:command )?not found|(?P<pgconfig>pg_config) executable not found|(?P<mysqlconfig>\b[a-z][\w-]*[-_]config):? (?:command )?not found|Can not find valid (?P<pkg>pkg-config) name|(?P<gdalconfig>gdal-config): not found|The '(?P<apxs>apxs)' command appears not to be installed|(?P<krb>krb5-config): not found|(?P<curlconfig>curl-config)'?: No such file|Could not run (?P<curl>curl-config)|(?P<builds>CMake) must be installed to build|(?P<pkgconfig>pkg-config)'? (?:is not installed|not found|could not be found|probably not installed)|Unknown compiler\(s\): (?P<meson>[^\n]{1,80})|No CMAKE_C(?:XX)?_COMPILER could be found|Could not find (?P<cmake>cmake) executable|Please install (?P<please>cmake|swig|ninja)|linker '(?P<linker>\w+)' not found|CMAKE_C(?:XX)?_COMPILER not set|no acceptable C compiler found|(?P<git>git) executable not found|Cannot find command '(?P<vcs>git|hg|svn|bzr)'`, missingTool},
	{"windows-compiler", cause, `Microsoft Visual C\+\+ 1[\d.]+ (?:or greater )?is required|Unable to find vcvarsall\.bat`, told(Explanation{
		Means:    "On Windows pip compiles a distribution of which no wheel fits this Python (too new, too old, or of 32 bits), and there is no compiler.",
		Find:     []Step{run("py -m pip install --upgrade pip && py -m pip install --only-binary :all: NAME", "takes a wheel, or says that there is none: then another release, or another Python")},
		Prevents: "Ampoule builds for Linux alone, from locked sources.",
	})},
	{"missing-rust", cause, `can't find Rust compiler|Cargo, the Rust package manager, is not installed|requires Rust to compile extensions|error: rustc (?P<rustc>[\d.]+) is not supported|requires rustc (?P<want>[\d.]+)|(?P<edition>feature 'edition20\d\d' is required)|package '[^'\n]+' cannot be built because it requires rustc (?P<needs>[\d.]+)`, told(Explanation{
		Means:    "The distribution is written in Rust, has no wheel for this Python and machine, and so is being compiled, without a Rust compiler, or with one that is too old ({rustc,want,needs,edition|none}). Often only pip is too old to know the wheel's tag (manylinux2014 needs pip 19.3, musllinux 21.2), or this is a processor or C library without wheels.",
		Find:     []Step{run("python3 -m pip install --upgrade pip && python3 -m pip install --only-binary :all: NAME", "takes a wheel, or says that there is none"), run("rustup default stable; rustc --version", "a current Rust, where it has to be compiled: distributions' own rustc is often too old, and rustup brings newer ones")},
		Prevents: noCompile,
	})},
	{"pyo3-newer-python", cause, `(?P<sort>Python|PyPy|GraalPy) interpreter version \((?P<have>[\d.]+)\) is newer than PyO3's maximum supported version\s+\((?P<max>[\d.]+)\)`, told(Explanation{
		Means:    "The release was written with a PyO3 that knows {sort} up to {max}, and this is {have}: there is no wheel for it, and it does not compile.",
		Find:     []Step{run("pip index versions NAME", "a newer release has wheels, or takes this Python"), look("PYO3_USE_ABI3_FORWARD_COMPATIBILITY=1 compiles it for the stable ABI, where it keeps to that. maturin build --interpreter names the interpreters, where one was found that was not meant (PyPy, a pre-release).")},
		Prevents: "ampoule lock shows it before: each sdist's wheel is compiled for the recipe's Python, and what fails once is known before a deploy.",
	})},
	{"cpython-api", cause, `error: (?:'PyThreadState'|'struct _ts'|'PyFrameObject'|'PyLongObject'|'PyCodeObject'|'PyUnicodeObject'|'PyInterpreterState')[^\n]{0,40} has no member named|(?:too few|too many) arguments to function '?_?Py\w+|implicit declaration of function '?(?P<f>_?Py\w+)|longintrepr\.h: No such file|'(?P<name>_?Py\w+)' (?:undeclared|was not declared)|ob_digit|error: lvalue required as left operand of assignment[^\n]*\n[^\n]*Py_(?:REFCNT|TYPE|SIZE)|use of undeclared identifier '(?P<clang>_?Py\w+)'`, told(Explanation{
		Means:    "The release's C code (often made by an old Cython) uses insides of CPython that this version does not have: it is older than the interpreter, has no wheel for it, and does not compile.",
		Find:     []Step{run("python3 --version; pip index versions NAME", "a newer release has wheels for this Python; otherwise an older Python is needed")},
		Prevents: "ampoule lock chooses releases for the recipe's Python, and its first build shows what does not compile, before anything is deployed.",
	})},
	{"build-requirement", cause, `Cannot import '(?P<import>[\w.]+)'|ModuleNotFoundError: No module named '(?P<module>Cython|numpy|torch|wheel|setuptools|pybind11|cffi|packaging|pkgconfig|setuptools_scm|setuptools_rust|skbuild|mesonpy|hatchling|flit_core|poetry|pip|versioneer|Cython\.Build)'[^\n]*\n(?s:.*?)(?:Getting requirements to build|Preparing metadata|subprocess-exited-with-error|egg_info)|(?:Getting requirements to build wheel|Preparing metadata \(pyproject\.toml\))(?s:.*?)ModuleNotFoundError: No module named '(?P<late>[\w.]+)'|Cannot uninstall '?wheel|invalid command '(?P<cmd>bdist_wheel)'|Problem encountered: (?P<meson>Cython|NumPy) (?:was )?not found|No module named '(?P<tool>skbuild|mesonpy|hatchling|flit_core|poetry_core|setuptools_scm|setuptools_rust|scikit_build_core|maturin|pdm|jupyter_packaging)'`, told(Explanation{
		Means:    "The build of a wheel imports {import,module,late,cmd,tool,meson|something} that it does not have: pip builds in an environment of its own that holds what [build-system] requires names and nothing else, and the project forgot it; or --no-build-isolation was given and it is not installed.",
		Find:     []Step{run("python3 -m pip install setuptools wheel Cython numpy && python3 -m pip install --no-build-isolation NAME", "builds it with what is installed here"), run("python3 -m pip install --only-binary NAME NAME", "or takes a release with a wheel, and builds nothing"), look("PIP_CONSTRAINT with Cython<3 or setuptools<58 holds back build requirements that are too new."), look("bdist_wheel is setuptools' own as of 70.1 and was the distribution wheel's until 0.45: an older setuptools, which the project pins, with a newer wheel has none. Let both be of one time, setuptools>=70.1 or wheel<0.46.")},
		Prevents: "Ampoule's lock pins the build requirements of each sdist, and packages.NAME.requires adds what a project forgot.",
	})},
	{"cython-too-new", cause, `cython_sources|Cannot assign type '[^'\n]+ except \? -1[^'\n]*' to|Cython\.Compiler\.Errors\.CompileError`, told(Explanation{
		Means:    "The release is older than Cython 3, which pip took as its newest build requirement, and does not compile with it. PyYAML before 5.4.2 and 6.0.1 is the best known.",
		Find:     []Step{run("echo 'Cython<3' > constraints.txt; PIP_CONSTRAINT=$PWD/constraints.txt python3 -m pip install NAME", "builds it with the Cython of before; a newer release (PyYAML>=6.0.1) has a wheel and needs none of that")},
		Prevents: "Ampoule's lock pins the build requirements of each sdist: a new Cython changes no build until it is locked anew.",
	})},
	{"setuptools-too-old", cause, `has no attribute 'build_editable'|editable mode currently requires a setuptools-based build|[Bb]uild backend (?:is missing the|does not (?:have|support)) '?build_editable|Cython extension modules? (?:is|are) not supported in pyproject|configuration error: 'project' must contain`, told(Explanation{
		Means:    "The build uses something newer than the setuptools (or pip) that runs: editable installations by pyproject.toml need setuptools 64 and pip 21.3, [project] needs setuptools 61.",
		Find:     []Step{run("python3 -m pip install --upgrade pip setuptools wheel", "newer ones; where the project pins an old setuptools under [build-system] requires, that has to change")},
		Prevents: "Ampoule's lock pins the build requirements of each sdist.",
	})},
	{"setuptools-too-new", cause, `use_2to3 is invalid|error in (?P<name>[\w.-]+) setup command: (?P<why>[^\n]{1,160})|(?P<extras>'(?:extras_require|install_requires|python_requires)' must be [^\n]{1,120})|Invalid dash-separated (?:options|key)|Invalid version: '(?P<version>[^'\n]+)'|setuptools\.errors\.\w+|invalid requirement specifier|Description-File|license classifiers? ha(?:ve|s) been superseded|cannot import name 'Feature' from 'setuptools'|InvalidVersion|install_layout|\(canonicalize_version\(\) got an unexpected keyword|canonicalize_version\(\) got an unexpected keyword argument`, told(Explanation{
		Means:    "The project's setup.py is older than the setuptools (or packaging) that builds it: {why,extras,version|what it uses} was taken out or is refused by now. use_2to3 went in setuptools 58, versions that PEP 440 does not allow in 66.",
		Find:     []Step{run("echo 'setuptools<58' > constraints.txt; PIP_CONSTRAINT=$PWD/constraints.txt python3 -m pip install {name|NAME}", "builds it with an older setuptools; a newer release of the project needs none of that"), look("canonicalize_version and install_layout: python3 -m pip install --upgrade setuptools packaging.")},
		Prevents: "Ampoule's lock pins the build requirements of each sdist: a new setuptools changes no build until it is locked anew.",
	})},
	{"egg-info", consequence, `metadata-generation-failed|python setup\.py egg_info did not run successfully|Command ['"]?python setup\.py egg_info['"]? failed|Getting requirements to build wheel did not run successfully|Preparing metadata \([\w.]+\)(?: did not run successfully|: finished with status 'error')|Command errored out with exit status \d+: python setup\.py`, told(Explanation{
		Means:    "pip has only a source of this distribution, and its build scripts ended with an error before anything was compiled: no wheel for this Python or machine was found, and setup.py does not run here (a tool or library that it looks for, another Python, a newer setuptools). The lines above, after \"error:\", say what; they were not in this text or are nothing that is known here.",
		Find:     []Step{run("python3 -m pip install --verbose NAME 2>&1 | grep -i -E -A 4 'error|not found' | head -n 40", "the true error: give that to ampoule explain"), run("python3 -m pip install --upgrade pip && python3 -m pip install --only-binary :all: NAME", "takes a wheel, or says that there is none for this Python")},
		Prevents: noCompile,
	})},
	{"wheel-build", consequence, `Failed building wheel for (?P<name>[\w.-]+)|Could not build wheels for (?P<list>[^\n]{1,120}?),? which is required|Failed to build (?:installable wheels for some pyproject\.toml based projects \((?P<projects>[^)\n]+)\)|(?P<uv>[\w.-]+==\S+)|(?P<old>[\w.-]+)$)|subprocess-exited-with-error|error: command '\S+' failed with exit (?:code|status) \d+|failed-wheel-build-for-install|InstallationSubprocessError|This error originates from a subprocess|Command errored out with exit status|error: subprocess-exited|legacy-install-failure|The build backend returned an error|error: could not compile '|Call to '\S+\.build_wheel' failed`, told(Explanation{
		Means:    "No wheel of {name,list,projects,uv,old|this distribution} fits this Python and machine, so that pip (or uv) compiles it, and that failed. The first \"error:\" above is the cause; it was not in this text or is nothing that is known here.",
		Find:     []Step{run("python3 -m pip install --verbose {name,uv,old|NAME} 2>&1 | grep -n -i -E 'error|not found' | head", "the first error: give that to ampoule explain"), run("python3 -m pip install --upgrade pip && python3 -m pip install --only-binary :all: {name,old|NAME}", "takes a wheel, or says that there is none: then another release, or another Python")},
		Prevents: noCompile,
	})},
	{"project-layout", cause, `Multiple top-level packages discovered in a flat-layout|package directory '(?P<dir>[^'\n]+)' does not exist|can't copy '(?P<file>[^'\n]+)': doesn't exist|setuptools[-_]scm was unable to detect version|not a git repository \(or any|ZIP does not support timestamps before 1980|is outside of the target\s+directory`, told(Explanation{
		Means:    "The project's own build does not find what it expects: {dir,file|a package's directory, or a version}. The version of Git's tags needs the repository (.git), which images and archives do not have; several directories at the top need [tool.setuptools] packages; a wheel's files need times of 1980 or later, and an sdist must not hold an environment (.venv) with its links.",
		Find:     []Step{run("SETUPTOOLS_SCM_PRETEND_VERSION=1.0 python3 -m pip wheel --no-deps .", "gives the version where there is no repository; git fetch --tags where it is a shallow one"), run("SOURCE_DATE_EPOCH=315532800 python3 -m pip wheel --no-deps .; ls; grep -n -A 5 'tool.setuptools' pyproject.toml", "for files of 1970, and for what the project says of its packages")},
		Prevents: "ampoule build makes the application's wheel as every build does: what fails there fails before a deploy.",
	})},
	{"compiler-option", cause, `unrecognized command[- ]line option '?"?(?P<option>[^'"\s]+)|only allowed in C99 mode|unknown argument: '(?P<clang>-[^'\n]+)'`, told(Explanation{
		Means:    "The compiler does not know {option,clang|the language's version that is asked for}: the interpreter was compiled by a newer or another one, and hands its options on (sysconfig), or the code wants a newer C than this old compiler takes by itself.",
		Find:     []Step{run("gcc --version | head -n 1; python3 -c 'import sysconfig as s; print(s.get_config_var(\"CC\"), s.get_config_var(\"CFLAGS\"))'", "the compiler here, and the one that the interpreter was made by"), run("CC=gcc-12 CFLAGS=-std=c11 python3 -m pip install NAME", "with a newer one, and the language's version")},
		Prevents: noCompile,
	})},
	{"link-library", cause, `(?:cannot find|unable to find library) -l(?P<lib>[\w.+-]+)|ld: library '?(?P<mac>[\w-]+)'? not found`, told(Explanation{
		Means:    "The linker finds no lib{lib,mac}.so (or .a): the library is not installed, or without its development package, which has the name without a number.",
		Find:     []Step{run("apt-file search lib{lib,mac}.so | grep -- -dev", "the package of Debian that has it; RHEL: dnf provides '*/lib{lib,mac}.so'")},
		Prevents: noCompile,
	})},
	{"relocation-link", cause, `recompile with -fPIC|relocation R_\w+ against [^\n]{1,120} can not be used when making a shared object|file (?:format )?not recognized|incompatible with elf\d|skipping incompatible \S+ when searching for`, told(Explanation{
		Means:    "The linker was given code that does not go into a shared library: a static library without -fPIC (libpython.a of a Python without --enable-shared among them), or one for another machine.",
		Find:     []Step{run("python3 -c 'import sysconfig as s; print(s.get_config_var(\"Py_ENABLE_SHARED\"), s.get_config_var(\"LIBDIR\"))'; file PATH-OF-THE-LIBRARY", "whether this Python has a shared libpython, and what the library is; an extension module links no libpython at all")},
		Prevents: noCompile,
	})},
	{"auditwheel-policy", cause, `cannot repair "?(?P<wheel>\S+?\.whl)"? to "(?P<policy>[\w]+)" ABI because of the presence of (?P<why>too-recent versioned symbols|[^.\n]{1,80})|auditwheel: error: (?P<error>[^\n]{1,200})|does not look like a platform wheel|Cannot repair wheel, because required library "(?P<lib>[^"\n]+)" could not be located|(?P<pure>This does not look like a platform wheel)|is consistent with the following platform tag: "linux_|unsupported platform tag '?linux_|has an unsupported platform tag '(?P<tag>[^'\n]+)'`, told(Explanation{
		Means:    "auditwheel (or the index) does not accept the wheel: it was compiled on a newer system than its policy allows ({why|a version of glibc or GCC's runtime}), needs {lib|a library} that is not found, or has the tag {tag|linux_…} that no index takes.",
		Find:     []Step{run("auditwheel show {wheel|WHEEL}", "the policy that the wheel satisfies, and the symbols and libraries that keep it from a better one"), look("Build in the image of the policy (manylinux_2_28, musllinux_1_2), and give auditwheel repair the library by LD_LIBRARY_PATH.")},
		Prevents: ownBase,
	})},
	{"compiler-error", general, `(?:^|\n)[^\n:]+\.(?:c|cc|cpp|cxx|pyx|h|hpp):\d+:\d+: (?:fatal )?error: (?P<why>[^\n]{1,160})|error: (?P<werror>[^\n]{1,100}) \[-Werror[^\]\n]*\]|(?P<incompatible>incompatible (?:pointer|integer)[^\n]{1,80}) \[-W(?:incompatible-pointer-types|int-conversion)`, told(Explanation{
		Means:    "The compiler does not take the release's code: {why,werror,incompatible}. It is older than this compiler (GCC 14 and Clang 16 make errors of what were warnings), than this Python, or than the library whose headers it includes.",
		Find:     []Step{run("gcc --version | head -n 1; python3 --version; pip index versions NAME", "the compiler and the Python, and newer releases"), run("CFLAGS='-Wno-error=incompatible-pointer-types -Wno-error=int-conversion -Wno-error=implicit-function-declaration' python3 -m pip install NAME", "makes warnings of GCC 14's errors again")},
		Prevents: "The toolchain of a recipe is a base by its digest: a newer compiler comes when the recipe says so.",
	})},
}

func missingHeader(v values) Explanation {
	header := v.of("header", "clang", "msvc", "include", "lxml", "pc", "xmlsec", "meson", "pkgconfig", "nopkg", "lapack", "cmake", "config", "sys", "exists")
	pkg := longest(headerPackages, header)
	if pkg == "" {
		pkg = longest(headerPackages, strings.ToLower(header))
	}
	if header == "libxml2" {
		pkg += " libxslt1-dev"
	}
	find := []Step{run("apt-file search "+quote(header), "the package of Debian that has it")}
	means := "A wheel is being compiled and " + header + " is not on this machine: the library's development package (-dev, -devel) is not installed."
	if pkg != "" {
		find = []Step{run("apt-get install "+pkg, "Debian's and Ubuntu's package that has it; RHEL: dnf install '*/"+header+"'; Alpine: apk search --exact has "+strings.TrimSuffix(pkg, "-dev")+"-dev")}
	}
	if header == "Python.h" {
		means = "A wheel is being compiled and the interpreter's own headers are not on this machine: distributions have them in a package of their own, one for each version."
		find = []Step{run("python3 -c 'import sys, sysconfig; print(sys.version, sysconfig.get_path(\"include\"))'; apt-get install python3-dev", "where this interpreter has them: Debian's python3-dev is for Debian's own Python, python3.X-dev for another one; RHEL: python3-devel, Alpine: python3-dev")}
	}
	if top, _, ok := strings.Cut(header, "/"); ok && (top == "numpy" || top == "pybind11" || top == "torch") || header == "pybind11" {
		means = "A wheel is being compiled against " + cmp.Or(top, header) + ", whose headers its distribution has, and does not find them: the project does not name it as a build requirement, or another one is installed."
		find = []Step{run("python3 -m pip install "+cmp.Or(top, header)+" setuptools wheel && python3 -m pip install --no-build-isolation NAME", "builds with what is installed here")}
	}
	return Explanation{Means: means, Find: append(find, onlyWheels), Prevents: noCompile}
}

// onlyWheels is the step that compiles nothing.
var onlyWheels = run("python3 -m pip install --only-binary :all: NAME", "takes a wheel, where there is one, and compiles nothing")

func missingTool(v values) Explanation {
	tool := strings.TrimSpace(v.of("cc", "cmd", "exec", "cc1", "linker", "which", "pgconfig", "mysqlconfig", "pkg", "gdalconfig", "apxs", "krb", "curlconfig", "curl", "pkgconfig", "cmake", "please", "git", "vcs", "builds"))
	tool = tool[strings.LastIndexByte(tool, '/')+1:]
	if v.of("builds") != "" {
		tool = "cmake"
	}
	pkg := longest(headerPackages, tool)
	means := "A wheel is being compiled, or fetched, because none fits this Python and machine, and the program " + tool + " is not here, or not in PATH: it is a part of a compiler or of a library's development package."
	install := cmp.Or(pkg, "build-essential")
	switch {
	case tool == "" || v.of("meson") != "":
		means = "A wheel is being compiled and this machine has no compiler: slim images have none."
		install = "build-essential"
	case tool == "cmake":
		install = "cmake build-essential"
	case v.of("mysqlconfig") != "" && pkg != "":
		install = pkg + " build-essential pkg-config"
	case v.of("mysqlconfig") != "":
		return Explanation{
			Means:    means,
			Find:     []Step{run("apt-file search bin/"+quote(tool), "the package of Debian that has it, a -dev; RHEL: dnf provides '*/bin/"+tool+"'"), onlyWheels},
			Prevents: noCompile,
		}
	case tool == "pkg-config" && v.of("pkg") != "":
		install = "default-libmysqlclient-dev pkg-config"
	case tool == "gcc" || tool == "cc" || tool == "g++" || tool == "c++" || strings.HasSuffix(tool, "-gcc"):
		install = "build-essential"
	}
	return Explanation{
		Means: means,
		Find: []Step{
			run("apt-get install "+install, "Debian's and Ubuntu's; RHEL: dnf install gcc gcc-c++ make, or '*/bin/"+cmp.Or(tool, "gcc")+"'; Alpine: apk add build-base"),
			onlyWheels,
		},
		Prevents: noCompile,
	}
}

// pythonDevelopment is about CMake's search for the Python that an extension module is
// compiled for (the module FindPython).
func pythonDevelopment(v values) Explanation {
	at := v.at[2*v.pattern.SubexpIndex("missing"):]
	missing := strings.Join(strings.Fields(v.text[at[0]:at[1]]), " ")
	means := "CMake looked for the Python that a module is to be compiled for, and did not find all of it (" + audit.Printable(missing) + ")."
	if found := v.of("found"); found != "" {
		means += " It found " + found + ": where that is not the interpreter that builds, it found another one, such as the system's."
	}
	return Explanation{
		Means: means + " Development, with Development.Embed in it, wants a libpython, which manylinux and musllinux images have not, on purpose: a module needs none. Development.Module (CMake 3.18) wants the headers alone.",
		Find: []Step{
			run("grep -rn -E 'find_package\\(Python' --include=CMakeLists.txt .", "who asks for what: COMPONENTS Interpreter Development.Module is right for a module"),
			run("ls \"$(python3 -c 'import sysconfig; print(sysconfig.get_path(\"include\"))')/Python.h\"", "whether the interpreter that builds has its headers: Debian's python3-dev, RHEL's python3-devel"),
			look("-DPython_EXECUTABLE=PATH (or -DPython3_EXECUTABLE) names the interpreter, where CMake found another one; scikit-build-core does so."),
		},
		Prevents: noCompile,
	}
}
