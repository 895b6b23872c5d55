package explain

import (
	"cmp"
	"strings"
)

// interpreterKinds are what an interpreter says of itself.
var interpreterKinds = []kind{
	{"standard-streams", cause, `can't initialize sys standard streams|init_sys_streams`, told(Explanation{
		Means:    "Python could not open its input or output: a descriptor was closed by what started it, a terminal is gone, or a file of the application by the name of a module of the standard library (io.py, abc.py, codecs.py) hides it.",
		Find:     []Step{run("cd / && python3 -c 1 </dev/null; ls *.py", "whether it starts elsewhere with an input, and files of such names in the application's directory")},
		Prevents: "Ampoule's sandboxes and tests start programs with open standard streams; start services so.",
	})},
	{"build-record", cause, `No module named '?_sysconfigdata(?P<data>\w*)'?`, told(Explanation{
		Means:    "The interpreter does not find the record of its own build (_sysconfigdata{data}): its lib directory is of another build or was copied in part, or a variable (_PYTHON_SYSCONFIGDATA_NAME, of cross compilation) names another one. An environment that an old virtualenv made by copies does not see where Debian keeps it; in a cross build the host's and the build's Python have records of different names.",
		Find:     []Step{run("env | grep -i python; find / -name '_sysconfigdata*.py' 2>/dev/null", "variables that mislead it, and the records that there are; Debian's is in libpython3.X-stdlib"), run("python3 -m venv --clear VENV", "makes an environment anew; crossenv: both Pythons of one version, and compiled with the same --host and --build names")},
		Prevents: "An artifact is one tree, which finds itself from any directory.",
	})},
	{"standard-library", cause, `No module named '?(?:encodings|site)'?(?:\W|$)|init_fs_encoding|initfsencoding|Could not find platform (?:in)?dependent libraries|Failed to import encodings module|Py_Initialize: (?:can't|Unable to)|init_import_s(?:ite|ize)|Failed to import the site module`, standardLibrary},
	{"other-standard-library", cause, `SRE module mismatch|Module use of python\d+\.dll conflicts|AttributeError: module '(?P<module>enum|re|types|typing|os|sys|_thread|posixpath)' has no attribute '(?P<attr>\w+)'|ImportError: cannot import name '(?P<name>\w+)' from '(?:re|sre_constants|_sre|_collections_abc|functools|operator|os|weakref|sysconfig)'`, told(Explanation{
		Means:    "The interpreter runs with the standard library of another version, or a package on the index by the name of a module of it (enum34, typing, dataclasses) hides the module: PYTHONPATH or PYTHONHOME leads to another Python, or its lib directory was overwritten by another release.",
		Find:     []Step{run("env | grep ^PYTHON; python3 -c 'import sys; print(sys.version, sys.prefix, *sys.path, sep=\"\\n\")'", "where it looks, beside its version"), run("pip uninstall -y enum34 typing dataclasses", "backports that a current Python has and that hide its own")},
		Prevents: "An artifact is one tree, and ampoule install tells of variables that would mislead it.",
	})},
	{"hidden-module", general, `\(most likely due to a circular import\)|\(consider renaming '(?P<file>[^'\n]+)'|partially initialized module '(?P<attr>[\w.]+)' has no attribute|it has the same name as the (?:standard|third-party) library module|cannot import name '(?P<name>\w+)' from partially initialized module '(?P<partial>[\w.]+)'`, told(Explanation{
		Means:    "A module is imported while it is being imported itself: two modules import each other, or a file of the application has the name of a library ({file,partial,attr|such as random.py}) and hides it. Of cv2 it is two of opencv-python, -headless and -contrib in one directory, nearly always.",
		Find:     []Step{run("python3 -c 'import {partial,attr|MODULE} as m; print(m.__file__)'", "which file answers to the name: rename it, and remove its __pycache__, where it is not the library's"), look("Otherwise move one of the two imports into the function that needs it.")},
		Prevents: testsThere,
	})},
	{"standard-module", cause, `No module named '?(?P<module>_ssl|_hashlib|_ctypes|_bz2|_lzma|zlib|_sqlite3|readline|_curses(?:_panel)?|_dbm|_gdbm|_tkinter|_uuid|_zstd|_decimal|_crypt|nis)'?(?:\W|$)|Can't connect to HTTPS URL because the SSL module is not available|ssl module in Python is not available|(?P<zlib>zlib) not available|requires the \(missing\) (?P<missing>zlib|bz2|lzma) module|Could not build the (?P<built>ssl) module|[Nn]ecessary bits to build these optional modules were not found|build finished, but the necessary bits|unsupported hash type (?P<hash>blake2\w|sha\w+|md5)\b|Could not import the (?P<pandas>lzma|bz2) module|unknown url type: (?P<url>https)|The Python (?P<ext>bz2|lzma|sqlite3|readline|ssl|ctypes|zlib|curses|tkinter) extension was not compiled|(?P<tk>_tkinter), please install the python3-tk|Python may not be configured for Tk`, standardModule},
	{"openssl-for-build", cause, `Python requires a(?:n)? OpenSSL 1\.1\.1 or newer|ssl module requires OpenSSL`, told(Explanation{
		Means:    "Python is being compiled as of 3.10 with an OpenSSL that is too old (PEP 644), so that its ssl module is left out.",
		Find:     []Step{run("openssl version; pkg-config --modversion openssl", "what is found: RHEL 7 has openssl11-devel (EPEL), and configure --with-openssl=DIR takes another one")},
		Prevents: wholeBuild,
	})},
	{"module-for-other-python", cause, `module was compiled for (?:Python|version) (?P<pybind>\d+\.\d+)|compile ?time (?:Python )?version (?P<cython>\d+\.\d+) of module '`, told(Explanation{
		Means: "The module was compiled for Python {pybind,cython}, and another version found its file: the file's name does not say for which Python it is (spam.so), it was renamed, or PYTHONPATH leads into another Python's directories.",
		Find: []Step{
			run("python3 -c 'import sys; print(sys.version, *sys.path)'; env | grep ^PYTHON", "which Python it is, and where it looks"),
			run("find DIR -name '*.so' -path '*MODULE*'", "the module's file, for how it is named"), audited,
		},
		Prevents: sealed,
		Checks:   []string{"tags", "modules"},
	})},
	{"no-module-init", cause, `dynamic module does not define (?:module export|init) function \(?(?P<init>\w+)`, noModuleInit},
	{"other-implementation", cause, `function _cffi_pypyinit_(?P<name>\w*)`, told(Explanation{
		Means:    "PyPy runs here, and imports a module that was compiled for CPython: of a file without a tag PyPy asks for _cffi_pypyinit_{name}, which CPython's have not. Conda may have taken PyPy for the environment, and a shell's PATH may lead to it.",
		Find:     []Step{run("python3 -c 'import sys; print(sys.implementation.name, sys.version, sys.executable)'", "which interpreter it is: conda install 'python=3.X.*=*_cpython' brings CPython, and the module has to be compiled anew for PyPy otherwise")},
		Prevents: sealed,
		Checks:   []string{"tags"},
	})},
	{"subinterpreter", cause, `RunFailedError[^\n]{0,60}module (?P<module>[\w.]+) does not support loading in subinterpreters`, told(Explanation{
		Means:    "The module {module} does not say that it can be loaded in an interpreter with a lock of its own, which is what was asked for. It needs a release that does (multi-phase initialization and Py_mod_multiple_interpreters, PEP 489 and 684); of the standard library's, datetime has it as of Python 3.13.",
		Find:     []Step{run("python3 --version; python3 -m pip index versions NAME", "a newer Python, or a newer release of the distribution, may have it"), look("Until then use {module} in the main interpreter, or in processes; or create the interpreter with the shared lock (the configuration legacy), where no check is made.")},
		Prevents: "Let the recipe's tests start the server as production does, with all of its applications.",
	})},
	{"subinterpreter", cause, `PyO3 modules (?:compiled for CPython 3\.8 or older )?(?:may only be initialized once per interpreter process|do not yet support subinterpreters)|Interpreter change detected - this module can only be loaded into one interpreter per process|module \S+ does not support loading in subinterpreters|cannot load module more than once per process|NumPy was imported from a Python sub-interpreter|module '?\S+'? (?:may|can) only be (?:loaded|imported) (?:once|into the main interpreter)|Embedded within a sub interpreter|does not support (?:being loaded|loading) in (?:a )?sub-?interpreters?`, told(Explanation{
		Means:    "An extension module is loaded a second time in one process, into another interpreter: mod_wsgi gives each application a subinterpreter of its own, Ceph's manager, collectd and others do the same, and a test or a reloader may import a module anew. PyO3's and Cython's modules, numpy and many others work in one interpreter alone.",
		Find:     []Step{run("grep -rn -E 'WSGI(ApplicationGroup|DaemonProcess|ProcessGroup)' /etc/apache2 /etc/httpd 2>/dev/null", "what is configured: WSGIApplicationGroup %{GLOBAL} takes the main interpreter, with a daemon process of its own for each application (WSGIDaemonProcess, WSGIProcessGroup); uWSGI: single-interpreter = true"), look("In tests: do not remove native modules from sys.modules. In interpreters of one's own (concurrent.interpreters, Py_NewInterpreterFromConfig) a module has to say that it can: a newer release of it, or a newer Python for the standard library's (datetime: 3.13); or an interpreter that shares the lock and does not check (check_multi_interp_extensions = 0).")},
		Prevents: "Let the recipe's tests start the server as production does, with all of its applications.",
	})},
	{"gil-enabled", notice, `The global interpreter lock \(GIL\) has been enabled to load module '(?P<module>[^'\n]+)'`, told(Explanation{
		Means:    "This is a free-threaded Python, and the module {module} does not say that it can do without the interpreter's lock: Python switched the lock on for the whole process. Everything works, without the gain in threads.",
		Find:     []Step{run("python3 -c 'import {module}, sys; print(sys._is_gil_enabled())'; pip index versions {module}", "whether this module alone does it, and whether a newer release has wheels for cp313t or cp314t"), look("PYTHON_GIL=0 keeps the lock off; the module is then used without what it relies on.")},
		Prevents: "Let a test of the recipe say that sys._is_gil_enabled() is false once everything is imported.",
	})},
	{"no-thread-state", cause, `the function must be called with the GIL held|Fatal Python error: (?:PyThreadState_Get|_PyInterpreterState_Get|PyEval_(?:Save|Restore)Thread|take_gil|PyInterpreterState_Get|PyMUTEX_LOCK|auto-releasing thread-state|Couldn't create autoTSSkey mapping|drop_gil|PyGILState_Release|_PyThreadState_\w+|GC object already tracked|deallocating None|non-string found in code slot)|tp_compare slot which|auto-releasing thread-state, but no thread-state`, told(Explanation{
		Means:    "Native code used Python without holding its state. Two Python runtimes in one process look so: a module brought its own libpython along, and works with that one. A module that was compiled for another build of Python, or one that counts references wrongly, does, too.",
		Find:     []Step{run("grep -E 'libpython|bin/python' /proc/PID/maps; LD_DEBUG=libs python3 -c 'import MODULE' 2>&1 | grep libpython", "two runtimes, if there are"), audited, run("python3 -X faulthandler -X dev -c 'import MODULE'", "the line of Python that it happens in"), look("Where one runtime alone is there, it is a fault of the module that the line \"Extension modules:\" names: a newer release of that.")},
		Prevents: "The gate loads each module in a process of its own and looks for one Python runtime in its memory map.",
		Checks:   []string{"second-runtime", "libpython-needed", "symbols"},
	})},
	{"startup-line", general, `Error processing line (?P<line>\d+) of (?P<file>[^\n]+\.(?:pth|start)):?`, told(Explanation{
		Means:    "Python ran line {line} of {file} while it started, as it does with every .pth file of its site-packages, and that failed. The distribution that the file belongs to is gone, broken or of another Python; the file itself was left. distutils-precedence.pth is setuptools', __editable__… that of an installation that leads into a source directory. The program starts in spite of it.",
		Find:     []Step{run("cat {file}", "what it imports: install that anew (for distutils-precedence.pth: pip install --force-reinstall setuptools), or remove the file"), run("python3 -S -c 'print(1)'", "a start without such files")},
		Prevents: "The gate tells of startup files, and lets them run only where the recipe accepts them.",
		Checks:   nil,
	})},
	{"old-python", cause, `requires (?:a different )?Python(?: version)?:? ?(?:\S+ )?(?:not in '(?P<want>[^'\n]+)'|'?(?P<req>[><=~!][^'\n;]{1,40}))|Requires-Python (?P<pip>[><=~!][^\s;]{1,40})|requires (?:at least )?Python (?P<plain>\d[\w.+]*)(?: or (?:later|newer|higher))?|Python (?P<conda>[\d.]+) is not supported|This (?:package|version of \S+) requires Python|Unsupported Python version|Python (?P<eol>[\d.]+) (?:has )?reached (?:the )?end of (?:its )?life|Current Python version \((?P<poetry>[\d.]+)\) is not allowed`, told(Explanation{
		Means:    "The release wants another version of Python ({want,req,pip,plain|as its metadata says}) than the interpreter that installs it.",
		Find:     []Step{run("python3 --version; python3 -m pip --version; pip index versions NAME", "the interpreter that pip installs for, and the releases that take it: pin one of those, or take a newer Python")},
		Prevents: "The recipe names one version of Python, and ampoule lock refuses a requirements file, a lock or a .python-version that disagrees, and releases that do not take it.",
	})},
	{"new-syntax", general, `SyntaxError: (?:invalid syntax|future feature (?P<future>\w+) is not defined|Generator expression must be parenthesized|Missing parentheses in call to 'print'|invalid decimal literal|multiple exception types must be parenthesized|leading zeros in decimal integer|'await' outside|'return' with value in async)|TypeError: '(?:type|ABCMeta|_GenericAlias)' object is not subscriptable|unsupported operand type\(s\) for \|: '(?:type|_GenericAlias|NoneType|builtin_function_or_method)'`, told(Explanation{
		Means:    "The file is of another version of the language than the interpreter: newer syntax (f-strings, :=, match, X | Y, list[int]) in an older Python, or Python 2's (print without parentheses, async as a name) in Python 3. Where it lies in site-packages, the release does not take this Python: it was copied there, or pip was too old to read what it requires.",
		Find:     []Step{run("python3 --version; head -n 1 $(command -v pip); grep -h Requires-Python SITE-PACKAGES/NAME-*.dist-info/METADATA", "the interpreter, the one that pip installs for, and what the distribution requires"), look("The line above the message names the file.")},
		Prevents: "The recipe names one version of Python, and ampoule lock chooses releases that take it.",
	})},
	{"recursion", cause, `RecursionError: maximum recursion depth exceeded(?P<where>[^\n]{0,60})|Cannot recover from stack overflow`, told(Explanation{
		Means:    "A function calls itself without end. In ssl.py (\"super(SSLContext, SSLContext).minimum_version\") it is gevent or eventlet, which patched the module after something had imported it.",
		Find:     []Step{run("python3 -X faulthandler PROGRAM 2>&1 | grep File | sort | uniq -c | sort -n | tail -n 4", "the lines that repeat"), look("gevent: from gevent import monkey; monkey.patch_all() has to be the first import of all, in gunicorn's configuration where it preloads.")},
		Prevents: testsThere,
	})},
	{"no-memory", cause, `^MemoryError|\bMemoryError\b|std::bad_alloc|(?:numpy\S*ArrayMemoryError|Unable to allocate) (?P<size>[\d.]+ [KMGT]iB)|\[Errno 12\] Cannot allocate memory|virtual memory exhausted|fatal error: Killed signal terminated program cc1plus|internal compiler error: Killed`, told(Explanation{
		Means:    "The process wanted memory {size|} that it did not get: a limit of its own or of its group, or the machine's end. While something compiles, as many compilers run as there are processors, each with a gigabyte or two.",
		Find:     []Step{run("free -m; ulimit -v; cat /sys/fs/cgroup/memory.max 2>/dev/null; dmesg -T | grep -i oom | tail -n 3", "what there is, the limits, and whether the kernel ended something"), look("Compiling: MAKEFLAGS=-j1 MAX_JOBS=1 CMAKE_BUILD_PARALLEL_LEVEL=1; pip --no-cache-dir for large wheels.")},
		Prevents: ownMachine,
	})},
}

// standardLibrary is about an interpreter that starts without its standard library, alone or
// in a server that embeds it.
func standardLibrary(v values) Explanation {
	find := []Step{
		run("env | grep ^PYTHON; python3 -I -c 'import sys; print(sys.version, sys.prefix, sys.path)'", "variables that mislead it, and whether it starts without them"),
		audited,
		run("cat VENV/pyvenv.cfg; namei -l VENV", "a server's environment: its version has to be that of the embedded Python, and each directory readable"),
	}
	if steps := v.embedder(); steps != nil {
		find = append(steps, find...)
	}
	return Explanation{
		Means:    "The interpreter does not find its standard library: PYTHONHOME points elsewhere, the executable was copied without its lib directory, or a server that embeds Python (uWSGI, mod_wsgi) was given an environment of another version, or one that its user may not read.",
		Find:     find,
		Prevents: "An artifact is one tree, which finds itself from any directory; ampoule install tells of variables that would mislead it.",
		Checks:   []string{"environment"},
	}
}

// noModuleInit is about a file without the function that import calls. Python 2 asks for
// initNAME, and Python 3 for PyInit_NAME.
func noModuleInit(v values) Explanation {
	init := v.of("init")
	e := Explanation{Prevents: sealed, Checks: []string{"modules", "tags", "record"}}
	if name, ok := strings.CutPrefix(init, "init"); ok {
		e.Means = "Python 2 imports the module, which alone asks for " + init + ", and the file does not export it: it was made for Python 3, whose directories a path, PYTHONPATH or an installer of Python 3 led here. Or it was renamed, or is a library and no module."
		e.Find = []Step{
			run("python2 -c 'import sys; print(sys.version); print(sys.path)'; env | grep ^PYTHON", "the interpreter, and where it looks: run the program with python3, or"),
			run("python2 -m pip install --force-reinstall --no-cache-dir "+quote(cmp.Or(distributionFor[name], "NAME")), "the distribution's last release for Python 2, which a pip of Python 2 chooses by itself"),
			run("nm -D --defined-only PATH-OF-THE-MODULE | grep -E 'PyInit|init'", "PyInit_… is of Python 3"), audited,
		}
		return e
	}
	e.Means = "The file that Python found for the module does not export " + init + ": it was renamed, is a library and no module, or was made for Python 2."
	e.Find = []Step{run("nm -D --defined-only PATH-OF-THE-MODULE | grep -E 'PyInit|init'", "the name that it was compiled for: the file has to be called so; init… without PyInit_ is of Python 2"), audited,
		run("python3 -c 'import importlib.util as u; print(u.find_spec(\""+strings.TrimPrefix(init, "PyInit_")+"\").origin)'", "which file that is: a .so beside a .py of one name comes first, also a library that is no module")}
	return e
}

// distributionFor are the distributions of native modules whose name is not theirs.
var distributionFor = map[string]string{"cygrpc": "grpcio", "etree": "lxml", "_imaging": "Pillow", "_mysql": "mysqlclient", "_psycopg": "psycopg2", "multiarray": "numpy"}
