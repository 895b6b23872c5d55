package explain

import (
	"cmp"
	"fmt"
	"strings"
)

// standardModules are the modules of the standard library that CPython leaves out when the
// library that they need is not there while it is built, and the Debian package of that.
var standardModules = map[string]string{
	"_ssl": "libssl-dev", "_hashlib": "libssl-dev", "_ctypes": "libffi-dev", "_bz2": "libbz2-dev", "_lzma": "liblzma-dev",
	"zlib": "zlib1g-dev", "_sqlite3": "libsqlite3-dev", "readline": "libreadline-dev", "_curses": "libncurses-dev",
	"_curses_panel": "libncurses-dev", "_dbm": "libgdbm-compat-dev", "_gdbm": "libgdbm-dev", "_tkinter": "tk-dev",
	"_uuid": "uuid-dev", "_zstd": "libzstd-dev", "_decimal": "libmpdec-dev", "_crypt": "libcrypt-dev", "nis": "libnsl-dev",
}

// standardModule tells of a module of the standard library that an interpreter was built without.
func standardModule(v values) Explanation {
	module := cmp.Or(v.of("module", "zlib", "missing", "built", "pandas", "ext", "tk"), "_ssl")
	if v.of("hash") != "" {
		module = "_hashlib"
	}
	if standardModules[module] == "" {
		module = "_" + module
	}
	dev, more := standardModules[module], ""
	if module == "_tkinter" {
		more = " Debian's own python3 has it in the package python3-tk."
	}
	return Explanation{
		Means: "The interpreter was built without " + module + ": CPython leaves a module out, without an error, when the library that it needs is not there while it is compiled (Debian's " + dev + ")." + more,
		Find: []Step{
			run("python3 -c 'import sys, "+module+"; print(sys.executable)'", "whether this interpreter has it; another one on the machine may"),
			run("apt-get install "+dev, "then build the interpreter anew (pyenv install --force VERSION); RHEL and Alpine have the same libraries with -devel and -dev"),
			run("python3 -c 'import sysconfig; print(sysconfig.get_config_var(\"CONFIG_ARGS\"))'", "which interpreter it is, and how it was built"),
		},
		Prevents: wholeBuild,
	}
}

// moduleKinds are what an interpreter says of modules that it does not find, or not as they should be.
var moduleKinds = []kind{
	{"lambda-import", cause, `Unable to import module '(?P<handler>[^'\n]+)': (?P<why>[^\n]{1,200})`, told(Explanation{
		Means:    "The function's archive lacks what the handler {handler} imports ({why}): it was made for another version of Python or another processor than the function's, without its libraries, or with a directory above them.",
		Find:     []Step{run("unzip -l FUNCTION.zip | grep -E '\\.so|dist-info/WHEEL' | head", "whether the modules stand at the top, and for which Python and processor (cp312, x86_64, aarch64)"), run("pip install --platform manylinux2014_x86_64 --python-version 3.12 --only-binary :all: --target package -r requirements.txt", "takes the wheels for the function's Python and processor, on whatever machine")},
		Prevents: sealed,
		Checks:   []string{"tags", "closure"},
	})},
	{"pex-missing", cause, `Needed (?P<tags>\S+) compatible dependencies for|Failed to (?:resolve|execute) (?:requirements from )?PEX|pex\.\S+(?:Unsatisfiable|ResolveError)`, told(Explanation{
		Means:    "The pex has no wheel for this interpreter ({tags|its tags}): it was built for another version of Python or another platform.",
		Find:     []Step{run("PEX_INTERPRETER=1 PEX_VERBOSE=9 ./APP.pex -c '' 2>&1 | tail -n 20; unzip -l APP.pex | grep -o '[^/]*\\.whl' | sort -u", "the interpreter that it takes, and the wheels that it holds"), look("pex --python python3.12 --platform … builds it for the machine that runs it.")},
		Prevents: sealed,
		Checks:   []string{"tags"},
	})},
	{"native-module", cause, `No module named '(?P<dotted>[\w.]+\._\w+)'|cannot import name '(?P<name>_\w+)' from '(?P<module>[\w.]+)'`, nativeModule},
	{"native-module", cause, `cannot import name '(?P<name>_\w+)' from partially initialized module '(?P<module>[\w.]+)'(?P<dotted>)`, nativeModule},
	{"native-module", cause, `cannot import name '(?P<name>cygrpc|etree|objectify|ft2font|cimpl|hashtable|interval|defs|ogrext)' from '(?P<module>[\w.]+)'|Cannot load native module '(?P<dotted>[\w.]+)'`, nativeModule},
	{"native-module", cause, `cannot import name '(?P<name>_(?:imaging|imagingft|psycopg|brotli|speedups|ssl|rust|openssl|etree|multiarray_umath|png|cext))'(?P<dotted>)(?P<module>)`, nativeModule},
	{"namespace-module", cause, `cannot import name '(?P<name>\w+)' from '(?P<module>[\w.]+)' \(unknown location\)|module '(?P<owner>[\w.]+\._rust[\w.]*)' has no attribute '(?P<attr>\w+)'`, namespaceModule},
	{"native-unloaded", consequence, `NameError: name '(?P<module>_mysql|_psycopg|_imaging|_cffi_backend)' is not defined`, nativeUnloaded},
	{"removed-module", cause, `No module named '?(?P<module>distutils|imp|asynchat|asyncore|smtpd|binhex|aifc|audioop|cgi|cgitb|chunk|crypt|imghdr|lib2to3|mailcap|nntplib|ossaudiodev|pipes|sndhdr|spwd|sunau|telnetlib|uu|xdrlib|formatter|parser|symbol|ConfigParser|StringIO|cStringIO|cPickle|urllib2|urlparse|Queue|commands|httplib|__builtin__|thread|Tkinter|SocketServer|HTMLParser|Cookie|md5|UserDict|xmlrpclib|copy_reg|anydbm)\b(?:\.[\w.]+)?'?`, removedModule},
	{"old-pip-on-new-python", cause, `module 'pkgutil' has no attribute 'ImpImporter'`, told(Explanation{
		Means:    "setuptools and pip of before 2023 ask for pkgutil.ImpImporter, which Python 3.12 took away. Either this interpreter's pip is that old, or a project pins such a setuptools (or numpy) as its build requirement, and has no wheel for this Python.",
		Find:     []Step{run("python3 -m ensurepip --upgrade; python3 -m pip install --upgrade pip setuptools wheel", "where pip itself fails, or another program's pkg_resources"), run("python3 -m pip install --only-binary :all: NAME", "where a build of NAME fails: a newer release has a wheel, or takes a newer setuptools")},
		Prevents: "ampoule lock chooses releases and build requirements for the recipe's Python, and its first build shows what does not compile.",
	})},
	{"removed-api", cause, `module 'inspect' has no attribute '(?P<b>getargspec)'|cannot import name '(?P<c>Mapping|MutableMapping|MutableSet|Callable|Iterable|Sequence|Hashable|Sized|Iterator|MutableSequence|Set|Generator)' from 'collections'|module 'collections' has no attribute '(?P<d>\w+)'|module 'asyncio' has no attribute '(?P<e>coroutine|async|get_running_loop)'|module 'configparser' has no attribute '(?P<f>SafeConfigParser)'|module 'unittest' has no attribute '(?P<g>makeSuite)'|has no attribute '(?P<h>assertEquals|readfp|base64_encodestring|encodestring|decodestring|isAlive|tostring|getchildren|unescape)'|module 'ssl' has no attribute '(?P<i>wrap_socket|match_hostname)'|module 'locale' has no attribute '(?P<j>format)'|module 'time' has no attribute '(?P<k>clock)'|module 'ast' has no attribute '(?P<l>Str|Num|NameConstant|Constant)'|module 'typing' has no attribute '(?P<m>io|re|override)'|module 'importlib' has no attribute '(?P<n>find_loader)'|'(?:FileFinder|zipimporter)' object has no attribute '(?P<o>find_module)'|module 'platform' has no attribute '(?P<p>linux_distribution|dist)'|cannot import name '(?P<q>gcd)' from 'fractions'|cannot import name '(?P<r>_gi|izip|imap|urlencode|quote|unquote)' from '(?:urllib|itertools)'`, told(Explanation{
		Means:    "A package uses {b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r} of the standard library, which this version of Python no longer has: the release is older than the interpreter. The abstract classes of collections are in collections.abc since 3.10.",
		Find:     []Step{run("python3 --version; pip list --outdated", "the interpreter, and what has newer releases: the traceback's last line in site-packages says which package it is")},
		Prevents: lockedSet + " Its tests run with the interpreter that is published.",
	})},
	{"newer-api", cause, `cannot import name '(?P<name>Self|Literal|TypedDict|Final|Protocol|ParamSpec|Annotated|TypeAlias|Concatenate|NotRequired|Required|Unpack|override|TypeAliasType|TypeIs|TypeGuard|assert_never|Never|LiteralString|StrEnum|dataclass_transform|cache|cached_property|removeprefix|batched|UTC|TaskGroup|ExceptionGroup|NoneType|EntryPoints|metadata|Buffer)' from '(?P<module>typing|typing_extensions|enum|functools|itertools|datetime|asyncio|types|importlib(?:\.metadata)?|collections\.abc|builtins)'`, told(Explanation{
		Means:    "A package imports {name} from {module}, which does not have it: from the standard library, this Python is older than the release wants; from typing_extensions, that distribution is older, or an older copy of it (a distribution's dist-packages, a layer, a Lambda or Databricks runtime) comes first.",
		Find:     []Step{run("python3 -c 'import sys, {module} as m; print(sys.version, m.__file__)'", "the interpreter, and the file that is taken"), run("pip install --upgrade typing_extensions", "where it is typing_extensions'; otherwise a newer Python, or an older release of the package")},
		Prevents: lockedSet,
	})},
	{"version-drift", general, `cannot import name '(?P<name>[A-Za-z]\w*)' from '(?P<module>[\w.]+)'(?: \((?P<path>[^)\n]+)\))?|cannot import name '?(?P<bare>[A-Za-z]\w*)'?(?:\n|$)|module '(?P<owner>[A-Za-z][\w.]*)' has no attribute '(?P<attr>\w+)'`, versionDrift},
	{"generated-code", cause, `Descriptors cannot (?:not )?be created directly|your generated code is out of date and must be regenerated|Detected incompatible Protobuf Gencode/Runtime versions|gencode \S+ runtime \S+|version \S+ of the Protocol Buffer runtime|Couldn't build proto file into descriptor pool|EncodedDescriptorDatabase::Add`, told(Explanation{
		Means:    "A file that protoc generated (…_pb2.py) and the protobuf that is installed are of releases that do not fit: or two copies of protobuf's C++ library are in one process. protobuf 4 refuses files of a protoc before 3.19, and newer files want a newer protobuf.",
		Find:     []Step{run("python3 -m pip list | grep -i -E 'protobuf|grpc|tensorflow|onnx|mlflow'; grep -m 1 -h 'Protobuf Python Version\\|protoc' PATH-OF-THE-PB2-FILE", "the runtime, and what made the file (the traceback names it)"), run("python3 -m pip install 'protobuf<3.21'", "the last one that takes old files; or generate them anew, or a newer release of the package")},
		Prevents: lockedSet,
	})},
	{"removed-from-numpy", cause, "'np\\.(?P<name>\\w+)' was (?:removed in the NumPy|a deprecated alias)", told(Explanation{
		Means:    "A package uses np.{name}, which NumPy no longer has: it was written for NumPy 1, and a newer one is installed.",
		Find:     []Step{run("python3 -m pip install 'numpy<2'", "until a newer release of the package takes NumPy 2: the traceback's last line in site-packages says which it is")},
		Prevents: lockedSet,
	})},
	{"removed-argument", general, `got an unexpected keyword argument '(?P<arg>proxies|method_whitelist|use_auth_token|loop|line_terminator|squeeze|sparse|normalize|strict|attachment_filename|unicode|ssl_version|app|allowed_methods|affinity|delim_whitespace)'`, told(Explanation{
		Means:    "A function of a library was called with {arg}, which its installed release does not take: what calls it was written for another one. httpx 0.28 took away proxies (openai, anthropic, gradio of before), urllib3 2 method_whitelist, scikit-learn 1.4 sparse, Flask 2.2 attachment_filename, Python 3.10 loop.",
		Find:     []Step{run("python3 -m pip list --outdated; python3 -m pip check", "what is old beside it: the traceback's last line in site-packages is of the library, the one above of what calls it"), run("python3 -m pip install 'httpx<0.28'", "for proxies, until what calls it is newer")},
		Prevents: lockedSet,
	})},
	{"removed-attribute", general, `'(?P<type>Flask|EntryPoints|EntryPoint|DataFrame|Series|Index|Engine|Connection|FreeTypeFont|ImageDraw|CountVectorizer|TfidfVectorizer|OneHotEncoder)' object has no attribute '(?P<attr>\w+)'`, told(Explanation{
		Means:    "{type}.{attr} is not in the release that is installed: Flask 2.3 took away before_first_request, pandas 2 DataFrame.append and iteritems, importlib_metadata 5 EntryPoints.get, SQLAlchemy 2 Engine.execute, Pillow 10 FreeTypeFont.getsize, scikit-learn 1.2 get_feature_names.",
		Find:     []Step{run("python3 -m pip list | grep -i -E 'flask|pandas|importlib|sqlalchemy|pillow|scikit-learn'", "the release that is installed: pin the one before, or change what calls it")},
		Prevents: lockedSet,
	})},
	{"bcrypt-passlib", cause, `password cannot be longer than 72 bytes|error reading bcrypt version`, told(Explanation{
		Means:    "passlib 1.7 reads a name that bcrypt 4.1 no longer has (it warns and goes on), and tries bcrypt with a long password, which bcrypt 5 refuses.",
		Find:     []Step{run("python3 -m pip install 'bcrypt<4.1'", "the last one that passlib 1.7.4 knows")},
		Prevents: lockedSet,
	})},
	{"dependency-warning", notice, `RequestsDependencyWarning|pkg_resources is deprecated as an API|doesn't match a supported version!`, told(Explanation{
		Means:    "A warning: requests meets a urllib3, chardet or charset_normalizer that it was not tried with, or a package still imports pkg_resources, which setuptools 82 no longer has. The program goes on.",
		Find:     []Step{run("python3 -m pip list | grep -i -E 'requests|urllib3|chardet|charset|setuptools'; python3 -m pip check", "the releases: python3 -m pip install --upgrade requests urllib3 mends the first; setuptools<81 keeps pkg_resources")},
		Prevents: lockedSet,
	})},
	{"not-a-package", general, `No module named '?(?P<module>[\w.]+)'?; '(?P<file>[\w.]+)' is not a package`, told(Explanation{
		Means:    "{file} was found as a single file and not as the package that {module} is in: a file of the application has the library's name and hides it, or an old distribution is installed.",
		Find:     []Step{run("python3 -c 'import {file}; print({file}.__file__)'", "which file answers to the name: rename it, where it is the application's")},
		Prevents: testsThere,
	})},
	{"relative-import", cause, `attempted relative import (?:with no known parent package|beyond top-level package)`, told(Explanation{
		Means:    "A file of a package was started as a script, by its path: it has no package then, to which its relative imports could be relative.",
		Find:     []Step{run("cd PROJECT && python3 -m PACKAGE.MODULE", "starts it as a part of its package")},
		Prevents: "Give the application entry points (project.scripts): they are installed with its wheel.",
	})},
	{"missing-distribution", cause, `(?:pkg_resources\.)?DistributionNotFound: The '(?P<req>[^'\n]+)' distribution was not found|PackageNotFoundError: (?:No package metadata was found for )?(?P<name>[\w.-]+)|No package metadata was found for (?P<other>[\w.-]+)|The '(?P<dist>[^'\n]+)' distribution was not found and is required by`, told(Explanation{
		Means:    "A program asks for the metadata (dist-info) of {req,name,other,dist}, and the interpreter's directories have none: it is not installed for this interpreter, or its dist-info was left out, as bundlers (PyInstaller), thin images and clean-ups of dist-info do.",
		Find:     []Step{run("python3 -m pip show {name,other,req,dist}; python3 -m pip check", "whether pip sees it, by the interpreter that fails, and what else is missing"), look("PyInstaller: --copy-metadata NAME.")},
		Prevents: "ampoule audit tells of requirements that no distribution meets; the gate refuses a tree with such.",
		Checks:   []string{"metadata"},
	})},
	{"version-conflict", cause, `(?:Contextual)?VersionConflict: \((?P<have>[^,\n]+), Requirement\.parse\('(?P<want>[^'\n]+)'\)|(?P<name>\S+) (?P<version>\S+) (?:requires|has requirement) (?P<spec>[^\n]{1,80}?),? but you(?:'ll)? have (?P<got>[^\n]{1,80}?)(?: which is incompatible)?\.?(?:\n|$)|(?P<jax>jaxlib version \S+ is (?:newer|older) than[^\n]{0,80})|(?P<tfp>This version of [\w ]{1,40} requires [^\n]{1,80})|ImportError: (?P<needs>[\w.-]+[<>=!~][^\n]{1,60}? is required for a normal functioning[^\n]{0,200})`, told(Explanation{
		Means:    "Two distributions do not go together: {want,spec,jax,tfp,needs|one} is required and {have,got|another version} is installed. pip installed the last one that was asked for and only told of it.",
		Find:     []Step{run("python3 -m pip check", "all requirements that are not met"), run("python3 -m pip install --upgrade-strategy eager -r requirements.txt", "chooses all of them together: give pip every requirement in one command")},
		Prevents: lockedSet,
		Checks:   []string{"metadata"},
	})},
	{"entry-point", cause, `Entry point \('(?P<group>[\w.]+)', '(?P<name>[^'\n]+)'\) not found|load_entry_point|importlib_load_entry_point[^\n]*\n(?:[^\n]*\n){0,6}StopIteration`, told(Explanation{
		Means:    "A script in bin belongs to another release of its distribution than the one that is installed, or to none: it asks the metadata for an entry point ({group|console_scripts} {name|}) that is not there. Two installations are mixed, or an editable one went away.",
		Find:     []Step{run("head -n 12 $(command -v SCRIPT); python3 -m pip show -f NAME", "which interpreter and which release the script names, and what is installed"), run("python3 -m pip install --force-reinstall --no-deps NAME", "writes the scripts anew for what is installed")},
		Prevents: ownScripts,
	})},
	{"module-not-found", general, `(?:ModuleNotFoundError|ImportError): No module named '?"?(?P<module>[A-Za-z_][\w.]*)|/python[\d.]*: (?:No module named|Error while finding module specification for) '?(?P<run>[\w.]+)|No module named '(?P<bare>[A-Za-z_][\w.]*)'`, moduleNotFound},
}

// nativeModule is about a private module of a package that is itself there.
func nativeModule(v values) Explanation {
	name := v.of("dotted")
	if name == "" {
		name = strings.TrimPrefix(v.of("module")+"."+v.of("name"), ".")
	}
	top, _, _ := strings.Cut(name, ".")
	return Explanation{
		Means: "The package is there and its private module " + name + " is not, for this interpreter. If that is a native one, it was compiled for another version or machine (its file's name ends otherwise), or its build left it out without an error; if not, another version of the package is installed than what imports it wants.",
		Find: []Step{
			run("find "+quote(cmp.Or(siteOf(v.text), "SITE-PACKAGES"))+"/"+quote(top)+" -name '*.so'; python3 -c 'import sys, importlib.machinery as m; print(sys.version, m.EXTENSION_SUFFIXES)'", "the native modules that are there, and how this interpreter wants their names to end"),
			audited,
			look("Started in a source directory, the source hides the package that is installed: cd elsewhere."),
		},
		Prevents: sealed,
		Checks:   []string{"tags", "record", "modules"},
	}
}

// namespaceModule is about a directory that import takes for a module, since the module's own
// file is not there, and about native modules of another release than their package.
func namespaceModule(v values) Explanation {
	module := v.of("module", "owner")
	top, _, _ := strings.Cut(module, ".")
	dist := quote(distributionOf(top))
	means := module + " was found and has no " + v.of("name", "attr") + ": its native module is of another release than the Python files that ask it."
	if v.of("module") != "" && !strings.Contains(module, "._") {
		return hiddenByDirectory(module, v.of("name"), dist)
	}
	if v.of("module") != "" {
		means = "The module " + module + " itself is not there: a directory of its name was found in its place (\"unknown location\"), which has no " + v.of("name") + "."
	}
	return Explanation{
		Means: means + " Two releases of " + distributionOf(top) + " are mixed in one directory, an installation or removal was not whole, or the native module was left out, or is named for another Python or platform, as with files that were copied from another machine. An empty directory of the application by that name does it, too.",
		Find: []Step{
			run("ls -ld "+quote(cmp.Or(siteOf(v.text), "SITE-PACKAGES"))+"/"+quote(top)+"*; find "+quote(cmp.Or(siteOf(v.text), "SITE-PACKAGES"))+"/"+quote(top)+" -name '*.so'; python3 -c 'import "+top+"; print("+top+".__path__)'", "two dist-info directories, the native modules and for which Python they are named, and which directory is taken"),
			audited,
			run("python3 -m venv NEW && NEW/bin/python -m pip install --no-cache-dir "+dist, "a clean environment, made by the interpreter and on the platform that is to run it"),
		},
		Prevents: sealed,
		Checks:   []string{"record", "tags", "modules"},
	}
}

// hiddenByDirectory is about a directory without __init__.py that import takes for a module
// or package of its name.
func hiddenByDirectory(module, name, dist string) Explanation {
	return Explanation{
		Means: "The module " + module + " itself was not found: a directory of its name, without an __init__.py, was taken in its place (\"unknown location\"), and has no " + name + ". It is one of the application's in the working directory, or what an update or removal that was not whole left in site-packages, or the package's own file was not copied along.",
		Find: []Step{
			run("python3 -c 'import "+module+" as m; print(list(m.__path__))'", "the directory that is taken: rename or remove it where it is not the package's, add the __init__.py where it is"),
			audited,
			run("python3 -m pip uninstall -y "+dist+" && python3 -m pip install --no-cache-dir "+dist, "the whole package, where it is a distribution's"),
		},
		Prevents: testsThere,
		Checks:   []string{"record"},
	}
}

// nativeUnloaded is about a native module whose ImportError a package caught, and went on.
func nativeUnloaded(v values) Explanation {
	module := v.of("module")
	dist := map[string]string{"_mysql": "mysqlclient", "_psycopg": "psycopg2", "_imaging": "Pillow", "_cffi_backend": "cffi"}[module]
	path := map[string]string{"_mysql": "MySQLdb._mysql", "_psycopg": "psycopg2._psycopg", "_imaging": "PIL._imaging", "_cffi_backend": "_cffi_backend"}[module]
	return Explanation{
		Means: "The native module " + path + " of " + dist + " did not load, and the package went on without it: the error above this one (\"During handling of the above exception\") says why. Usually the client library that it was compiled for is not here, or is another one; the wheel may come from pip's cache, compiled for another system.",
		Find: []Step{
			run("python3 -c 'import "+path+"'", "the true error, if it is not in the text: give that to ampoule explain"),
			run("python3 -m pip install --force-reinstall --no-cache-dir --no-binary "+dist+" "+dist, "compiles it anew for the libraries that are here (with their development packages)"),
			audited,
		},
		Prevents: ownLibraries,
		Checks:   []string{"closure", "symbols"},
	}
}

func removedModule(v values) Explanation {
	module := v.of("module")
	minor := removedModules[module]
	means := fmt.Sprintf("%s is no more in the standard library as of Python 3.%d: what imports it was written for an older one.", module, minor)
	mend := look("The traceback's last line in site-packages says which package it is: a newer release of that, or an older Python, helps.")
	if minor == 0 {
		means = module + " is a module of Python 2's standard library: the package was written for that, or an index's package of another thing by its name is installed."
	}
	find := []Step{run("python3 --version; pip list --outdated", "the interpreter, and what has newer releases"), mend}
	switch module {
	case "distutils", "imp":
		means += " Before 3.12 Debian and Ubuntu have distutils in a package of its own, python3-distutils."
		find = append([]Step{run("python3 -m pip install --upgrade pip setuptools", "setuptools brings a distutils of its own; old releases of it, of pip and of virtualenv import the one that is gone")}, find...)
	case "audioop", "cgi", "crypt", "telnetlib", "asyncore", "asynchat", "nntplib", "pipes", "imghdr", "sndhdr", "uu", "xdrlib", "aifc", "chunk", "sunau":
		backport := map[string]string{"audioop": "audioop-lts", "cgi": "legacy-cgi", "crypt": "crypt-r", "asyncore": "pyasyncore", "asynchat": "pyasynchat"}[module]
		find = append([]Step{run("python3 -m pip install "+cmp.Or(backport, "standard-"+module), "brings the module back, until what imports it is newer")}, find...)
	case "ConfigParser":
		find = append([]Step{run("python3 -m pip install --upgrade mysqlclient", "where MySQL-python was asked for: it is of Python 2, and mysqlclient takes its place")}, find...)
	}
	return Explanation{Means: means, Find: find, Prevents: "The recipe's tests run with the interpreter that is published, and the lock holds releases that take it."}
}

// drifted are releases that took something away, by the module that had it: what to pin
// until the importer is newer.
var drifted = []struct{ module, what, pin string }{
	{"numpy", "NumPy 1.24 took away np.int, np.float, np.bool and np.object, NumPy 2 a hundred names more", "numpy<1.24, or numpy<2"},
	{"markupsafe", "MarkupSafe 2.1 took away soft_unicode", "markupsafe<2.1"},
	{"jinja2", "Jinja2 3.1 took away escape, Markup and contextfilter", "jinja2<3.1"},
	{"werkzeug", "Werkzeug 3 took away url_quote, url_decode and others, 2.1 safe_str_cmp", "werkzeug<3"},
	{"flask", "Flask 2.3 and 3 took away json.JSONEncoder, _app_ctx_stack, escape and Markup", "flask<2.3"},
	{"itsdangerous", "itsdangerous 2.1 took away json", "itsdangerous<2.1"},
	{"google.protobuf", "protobuf's generated code and its runtime have to be of fitting releases", "protobuf<3.21 for old code, protobuf>=3.20 for builder"},
	{"sqlalchemy", "SQLAlchemy 2 changed its interface", "sqlalchemy<2"},
	{"pydantic", "pydantic 2 changed its interface (BaseSettings is in pydantic-settings)", "pydantic<2"},
	{"django", "each release of Django takes away what was deprecated (ugettext, url, smart_text, force_text in 4.0)", "django<4"},
	{"PIL", "Pillow 10 took away Image.ANTIALIAS, getsize and others", "pillow<10"},
	{"scipy", "SciPy moves and takes away names in its minor releases", "scipy of the time of the package"},
	{"urllib3", "urllib3 2 took away DEFAULT_CIPHERS, packages.six.moves and others", "urllib3<2"},
	{"OpenSSL", "pyOpenSSL and cryptography have to be of fitting releases", "pyopenssl and cryptography of one time"},
	{"cryptography", "cryptography takes away names in its major releases", "cryptography of the time of the package"},
	{"jwt", "another distribution (jwt) has PyJWT's name for its module", "pyjwt, and not jwt"},
	{"pip", "pip has no interface for programs", "no pip import at all: python3 -m pip"},
	{"setuptools", "setuptools takes away names in its major releases", "setuptools of the time of the package, as a build requirement"},
	{"pkg_resources", "setuptools 70 and later took away packaging from pkg_resources.extern", "setuptools<70"},
	{"torch", "PyTorch moves names in its minor releases", "torch of the release that the package names"},
	{"torchvision", "torchvision 0.17 took away transforms.functional_tensor", "torchvision<0.17"},
	{"transformers", "transformers takes away names in its minor releases", "transformers of the release that the package names"},
	{"huggingface_hub", "huggingface_hub 0.26 took away cached_download", "huggingface_hub<0.26"},
	{"keras", "Keras 3 changed its interface", "keras<3, or tf-keras"},
	{"tensorflow", "TensorFlow 2 took away contrib, placeholder, Session and others", "tensorflow of the release that the package names"},
	{"importlib_metadata", "importlib_metadata 5 took away the interface of EntryPoints that kombu and flake8 used", "importlib_metadata<5"},
	{"requests", "requests vendors nothing any more", "requests of the time of the package"},
	{"attr", "another distribution (attr) has attrs' name for its module, or attrs is old", "attrs, and not attr"},
	{"redis", "redis-py takes away names in its major releases", "redis of the time of the package"},
	{"celery", "a file celery.py of the application hides the library", "no file of that name"},
	{"collections", "the abstract classes are in collections.abc since Python 3.10", "a newer release of what imports them"},
	{"packaging", "packaging 22 took away LegacyVersion", "packaging<22"},
	{"pandas", "pandas 2 took away append, Int64Index, iteritems and others", "pandas<2"},
	{"httpx", "httpx 0.28 took away the argument proxies", "httpx<0.28"},
	{"bcrypt", "bcrypt 4.1 took away __about__, which passlib reads (it warns and goes on)", "bcrypt<4.1"},
	{"bs4", "bs4 of before 4.8 does not know Python 3.10", "a newer beautifulsoup4"},
	{"lib", "cryptography took away bindings that an older pyOpenSSL asks for", "a newer pyOpenSSL"},
}

// versionDrift is about a public name that a module of another release does not have.
func versionDrift(v values) Explanation {
	module, name := cmp.Or(v.of("module", "owner"), "MODULE"), v.of("name", "attr", "bare")
	top, _, _ := strings.Cut(module, ".")
	means := fmt.Sprintf("%s was found and has no %s: another release of it is installed than the one that what asks for it was written for, or a file of the application has its name and hides it.", module, name)
	for _, d := range drifted {
		if strings.EqualFold(d.module, module) || strings.EqualFold(d.module, top) || strings.HasPrefix(module, d.module+".") {
			means += " " + d.what + "."
			return Explanation{Means: means, Find: []Step{driftStep(module, top), look("A newer release of what asks for it helps; until then pin " + d.pin + ".")}, Prevents: lockedSet}
		}
	}
	return Explanation{Means: means, Find: []Step{driftStep(module, top), look("The traceback's last line in site-packages is of what asks for it: the two have to be of one time.")}, Prevents: lockedSet}
}

func driftStep(module, top string) Step {
	return run("python3 -c 'import "+top+" as m; print(getattr(m, \"__version__\", \"\"), m.__file__)'; python3 -m pip list | grep -i "+quote(strings.ReplaceAll(distributionOf(module), "_", ".")), "which release of "+module+" is taken, and from where: a file of the application by that name hides it")
}

func moduleNotFound(v values) Explanation {
	module := v.of("module", "run", "bare")
	top, _, _ := strings.Cut(module, ".")
	dist := distributionOf(module)
	means := "The interpreter that ran this has no module " + module + " where it looks: it is not installed for this very interpreter. Another Python, an environment that is not activated, sudo, cron or a service with a PATH of its own, or another working directory, are the usual causes."
	if dist != top {
		means += " On the index the distribution that has it is called " + dist + "."
	}
	find := []Step{
		run("python3 -c 'import sys; print(sys.executable, *sys.path, sep=\"\\n\")'; python3 -m pip show "+quote(dist), "which interpreter it is, where it looks, and whether pip has installed it for that one"),
		run("python3 -m pip install "+quote(dist), "installs it for that interpreter (python3 -m pip, never a bare pip)"),
	}
	prevents := "A tree holds interpreter and wheels together, and the recipe's tests import what the application imports."
	if steps := v.embedder(); steps != nil {
		means += " The server that wrote this embeds a Python of its own, which takes modules of an environment of the same minor version only, and only where its configuration names it."
		find = append(steps, find...)
	}
	switch top {
	case "pip":
		means = "The interpreter has no pip: environments that uv, or venv --without-pip, made have none, and Debian keeps it in a package of its own."
		find = []Step{run("python3 -m ensurepip --upgrade", "installs the pip that Python brings along; Debian: apt-get install python3-pip python3-venv; uv pip install works without any")}
	case "pkg_resources", "setuptools":
		means = "The interpreter has no setuptools, which " + module + " belongs to: environments have none any more as of Python 3.12, and setuptools 82 took pkg_resources away."
		find = []Step{run("python3 -m pip install 'setuptools<81'", "brings it; while something is built it has to be a build requirement: [build-system] requires, or pip install --no-build-isolation after this"), find[0]}
	case "tkinter", "gi", "apt", "apt_pkg", "dbus", "lsb_release", "cairo":
		pkg := cmp.Or(map[string]string{"tkinter": "python3-tk", "apt_pkg": "python3-apt", "lsb_release": "lsb-release"}[top], "python3-"+top)
		means = module + " is a part of the distribution: Debian and Ubuntu have it in the package " + pkg + ", for their own python3 alone. Another Python, or an environment without --system-site-packages, does not see it."
		find = []Step{run("apt-get install "+pkg, "for the distribution's python3; a Python that was compiled here needs the library's headers while it is compiled (tk-dev), or the module from the index"), find[0]}
	case "uwsgi", "mod_wsgi", "uwsgidecorators":
		means = module + " is no distribution's: the server makes it, in the processes that it runs. Started without the server, as by manage.py or a test, a program has none."
		find = []Step{look("try: import uwsgi; except ImportError: uwsgi = None, where the program runs without the server, too."), find[0]}
	case "venv", "ensurepip":
		means = "Debian and Ubuntu keep venv and ensurepip in a package of their own, one for each version of Python."
		find = []Step{run("apt-get install python3-venv", "or python3.X-venv for another version than Debian's")}
	case "_gdal_array", "_gdal":
		means = module + " is a native part of GDAL's bindings. _gdal_array is left out, without an error, where numpy is not there while they are compiled, as in pip's own environment for builds; _gdal, where files of two releases are mixed."
		find = []Step{run("python3 -m pip install numpy setuptools wheel && python3 -m pip install --no-build-isolation --no-cache-dir --force-reinstall GDAL==$(gdal-config --version)", "compiles them with numpy, for the libgdal that is here; pip's cache would give the same file again"), find[0]}
		prevents = ownLibraries
	case "google", "azure", "zope", "backports":
		means += " " + top + " is a namespace that several distributions share: one of them with an __init__.py of its own hides the others."
	}
	return Explanation{Means: means, Find: find, Prevents: prevents}
}
