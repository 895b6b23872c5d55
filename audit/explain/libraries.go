package explain

import (
	"cmp"
	"path"
	"regexp"
	"strings"
)

// The loaders' sentences: glibc's (elf/dl-load.c, elf/rtld.c) name the program, the
// library and the reason, musl's (ldso/dynlink.c) the library, the reason and who needs it.
const (
	glibcProgram = `(?:(?P<program>[^\s:]+): error while loading shared libraries: )?`
	glibcAbsent  = `: cannot open shared object file(?:: No such file|[^:]|$)`
	muslError    = `Error loading shared library `
	muslAbsent   = `: No such file or directory(?:\s+\(needed by\s+(?P<file>[^)\n]+)\))?`
)

// absent is the pattern of both loaders' messages about a library that is not there.
func absent(library string) string {
	return glibcProgram + `(?P<lib>` + library + `)` + glibcAbsent + `|` + muslError + `(?P<musl>` + library + `)` + muslAbsent
}

// serverLibraryKinds are what programs say that load modules of their own: the file is none of a wheel's.
var serverLibraryKinds = []kind{
	{"uwsgi-plugin-libpython", cause, `UNABLE to load uWSGI plugin: (?P<lib>libpython[\w.]*\.so[\w.]*): cannot open`, told(Explanation{
		Means:    "uWSGI's plugin for Python is there, and embeds the runtime {lib}, which is not: that Python was removed, or the plugin is of another release of the distribution. It is a part of the server and no wheel; that it needs a libpython is right.",
		Find:     []Step{run("ldd /usr/lib/uwsgi/plugins/*python*_plugin.so | grep libpython", "which runtime each plugin wants, and whether it is found"), run("apt-get install uwsgi-plugin-python3", "the plugin for the distribution's Python; pip install uwsgi compiles one for the Python that runs pip")},
		Prevents: ownServer,
	})},
	{"uwsgi-plugin", cause, `UNABLE to load uWSGI plugin: (?P<plugin>[^\s:]+): cannot open shared object file`, told(Explanation{
		Means:    "uWSGI was told to load {plugin} and has no such plugin: the option plugin names one that is not installed, or of another version of Python. It is no file of a wheel. A distribution's uWSGI has its Python in a package of its own; the uWSGI that pip installs has it compiled in, and needs no plugin.",
		Find:     []Step{run("ls /usr/lib/uwsgi/plugins; apt-get install uwsgi-plugin-python3", "the plugins that are there, and the package that has Python's on Debian (RHEL: uwsgi-plugin-python3)"), run("uwsgi --plugin-list", "what this uWSGI has compiled in: with python there, remove the option plugin")},
		Prevents: ownServer,
	})},
	{"apache-libpython", cause, `Cannot load (?P<module>\S+) into server: (?P<lib>libpython[\w.]*\.so[\w.]*): cannot open shared object file`, told(Explanation{
		Means:    "Apache's mod_wsgi ({module}) embeds Python and is linked to the runtime {lib}, which is not where the loader looks: that Python was removed or updated, or the module was compiled for another one. It is a part of the server and no wheel; that it needs a libpython is right.",
		Find:     []Step{run("find / -name 'mod_wsgi*.so' -exec ldd {} + 2>/dev/null | grep -E 'mod_wsgi|libpython'", "which runtime each mod_wsgi wants, and whether it is found"), run("python3 -m pip install mod_wsgi && mod_wsgi-express module-config", "compiles one for this Python, and says the lines for Apache's configuration")},
		Prevents: ownServer,
	})},
	{"apache-module-symbol", cause, `Cannot load (?P<module>\S+) into server: (?P<file>\S+): undefined symbol: (?P<symbol>\S+)`, told(Explanation{
		Means:    "Apache loads {file}, which asks for {symbol} and does not get it: it was compiled for another Python (Py…) or another Apache (ap_…) than the ones that are here. It is a part of the server and no wheel.",
		Find:     []Step{run("ldd {file}", "the libpython that it takes"), run("python3 -m pip install --force-reinstall --no-binary :all: --no-cache-dir mod_wsgi", "compiles mod_wsgi anew, for this Python and this Apache (apache2-dev)")},
		Prevents: ownServer,
	})},
	{"apache-module", cause, `Cannot load (?P<module>\S+) into server: (?P<file>[^\s:]+): cannot open shared object file`, told(Explanation{
		Means:    "Apache's configuration loads {file}, and that is not there: the module's package is not installed, or it has another name. It is a part of the server and no wheel.",
		Find:     []Step{run("grep -rn LoadModule /etc/apache2/mods-enabled /etc/httpd 2>/dev/null | grep -i wsgi", "the line that loads it"), run("apt-get install libapache2-mod-wsgi-py3", "Debian's; RHEL: python3-mod_wsgi, or mod_wsgi-express module-config of the one that pip compiled")},
		Prevents: ownServer,
	})},
	{"embedder-libpython", cause, `(?:[Cc]ould not load|[Cc]annot load|[Ff]ailed to load|unable to load|dlopen)[^\n]{0,200}?(?P<lib>libpython[\w.]*\.so[\w.]*): cannot open`, told(Explanation{
		Means:    "A program loads a part of itself that embeds Python and is linked to the runtime {lib}, which is not where the loader looks. That part is none of a wheel; that it needs a libpython is right: that Python was removed, or updated to another version.",
		Find:     []Step{run("find / -name {lib} 2>/dev/null; ldconfig -p | grep libpython", "whether this machine has that runtime, and which others"), run("ldd FILE-THAT-IS-LOADED | grep libpython", "which one the part wants")},
		Prevents: ownServer,
	})},
	{"ld-preload", notice, `object '(?P<lib>[^'\n]+)' from (?:LD_PRELOAD|/etc/ld\.so\.preload) cannot be preloaded(?: \((?P<why>[^)\n]+)\))?`, told(Explanation{
		Means:    "LD_PRELOAD (or /etc/ld.so.preload) names {lib}, which the loader cannot take: {why|it is not there, or for another machine}. The program runs on without it. An image of another distribution has such libraries in another directory.",
		Find:     []Step{run("echo \"$LD_PRELOAD\"; cat /etc/ld.so.preload; find / -name \"$(basename {lib})*\" 2>/dev/null", "who asks for it, and where the library is")},
		Prevents: "Set LD_PRELOAD where the library is installed, in the image's Dockerfile or the unit's Environment=, and nowhere else.",
	})},
	{"mesa-driver", cause, `MESA-LOADER: failed to open (?P<driver>\w+)`, told(Explanation{
		Means:    "OpenGL finds no driver {driver} to draw with, or cannot load it: Mesa's drivers are not installed, or an older libstdc++ (conda's) hides the one that they need. Programs that draw nothing go on.",
		Find:     []Step{run("apt-get install libgl1-mesa-dri", "the drivers"), run("LIBGL_DEBUG=verbose PROGRAM 2>&1 | grep -i -E 'open|version' | head", "why the driver does not load: a version of GLIBCXX that is not found is the second cause")},
		Prevents: testsThere,
	})},
	{"oracle-thin", cause, `(?P<code>DPY-30(?:10|15|01))`, told(Explanation{
		Means:    "oracledb speaks to the database by itself (thin mode), and cannot with this one ({code}): the server is older than 12.1, the password has an old verifier, or an ability needs Oracle's client.",
		Find:     []Step{run("python3 -c 'import oracledb; oracledb.init_oracle_client(); print(oracledb.clientversion())'", "the thick mode, where Instant Client is installed"), look("The database's owner can set the password anew, which writes a new verifier.")},
		Prevents: testsThere,
	})},
	{"oracle-client", cause, `(?:DPI-1047|Cannot locate a (?:32|64)-bit Oracle Client library)(?:[^\n]{0,60}library: "(?P<lib>[^\s":]+): (?P<why>[^"\n]+))?|DPI-1072|DPY-3001`, oracleClient},
	{"odbc-driver", cause, `Can't open lib '(?P<lib>[^'\n]+)' : file not found|Data source name not found,? and no default driver specified`, odbcDriver},
	{"cffi-library", cause, `cannot load library '(?P<lib>[^'\n]+)'|no library called "(?P<cairo>[^"\n]+)" was found|dlopen\(\) failed to load a library: (?P<old>[\w-]+)|(?i:(?P<named>sndfile|portaudio|zbar|libmagic|usb|libvips|enchant|sodium|openslide|espeak|wkhtmltopdf|tesseract))(?: shared)?(?: C)? library (?:is )?not found|[Ff]ailed to find (?P<find>libmagic)|Unable to find (?P<unable>zbar) shared library|Could not (?:find|locate) (?:the )?(?P<could>(?:lib)?(?:magic|cairo|usb|ffi|sodium|vips|exempi))\b[^\n]{0,20}library`, pythonLibrary},
	{"gdal-library", cause, `Could not find the GDAL library|Is GDAL installed\? If it is, try setting|[Cc]ould not find (?:the )?(?:lib )?(?P<lib>geos_c(?:\.so)?|GEOS library)|Could not find lib geos`, told(Explanation{
		Means:    "Django (or shapely) looks for GDAL and GEOS as libraries of the system, by the names that its own release knows, and finds none: they are not installed, or are newer than this Django knows. No wheel of Django has them.",
		Find:     []Step{run("apt-get install gdal-bin libgdal-dev libgeos-dev libproj-dev; ldconfig -p | grep -E 'gdal|geos'", "Debian's; then the loader finds them"), look("A name that Django does not know is set in the settings: GDAL_LIBRARY_PATH and GEOS_LIBRARY_PATH.")},
		Prevents: testsThere,
	})},
}

// oracleClient is about Oracle's Instant Client, or, where the message quotes why the loader
// does not take it, about the library that the client needs.
func oracleClient(v values) Explanation {
	lib := path.Base(v.of("lib"))
	client := run("ldconfig -p | grep -E 'libclntsh|libaio'", "whether the loader finds the client, and libaio, which it needs: echo DIRECTORY > /etc/ld.so.conf.d/oracle.conf; ldconfig")
	thin := look("python-oracledb needs no client at all in its thin mode: do not call init_oracle_client().")
	prevents := "Name libclntsh.so in runtime.vm.host of the recipe, so that ampoule preflight says which machine lacks it; or use oracledb's thin mode."
	if v.of("lib") != "" && !strings.HasPrefix(lib, "libclntsh") && strings.HasPrefix(v.of("why"), "cannot open") {
		return Explanation{
			Means:    "Oracle's Instant Client is found, and " + lib + ", which it needs, is not: a library of the system, which slim images lack. No wheel has either.",
			Find:     append(packageSteps(lib), client, thin),
			Prevents: prevents,
		}
	}
	return Explanation{
		Means:    "cx_Oracle, or oracledb in its thick mode, looks for Oracle's Instant Client and does not find it, or finds one that is too old or for another processor. No wheel has it.",
		Find:     []Step{client, thin},
		Prevents: prevents,
	}
}

// pythonLibrary is about a library that a module looks for while it runs, by ctypes or cffi.
func pythonLibrary(v values) Explanation {
	lib := v.of("lib", "cairo", "old", "named", "find", "unable", "could")
	means := "A module looks for the library " + lib + " while it runs (ctypes, cffi), and the machine does not have it, or has it by another name. No file says that it is needed, so that no wheel carries it and no audit sees it."
	if at := path.Base(lib); strings.Contains(lib, "/") {
		means = "A module opens " + lib + " while it runs (ctypes, cffi), and the loader cannot take it: the rest of the line says why. " + at + " itself may be there, and a library that it needs not."
	}
	name := soname(path.Base(lib))
	if strings.HasSuffix(name, ".so") {
		name += ".*"
	}
	steps := packageSteps(name)
	if strings.Contains(lib, "gobject-2.0") || strings.Contains(lib, "pango") {
		steps = append(steps, run("apt-get install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0", "what else WeasyPrint opens, where it is that"))
	}
	if strings.Contains(lib, "/") {
		steps = []Step{run("ldd "+quote(lib), "whether it is there, and what it misses")}
	}
	return Explanation{Means: means, Find: append(steps, run("ldconfig -p | grep -i "+quote(strings.TrimPrefix(strings.TrimSuffix(name, ".*"), "lib")), "whether the loader knows it")), Prevents: testsThere}
}

// numbered is a library's name as Windows and cffi's users write it: cairo-2.
var numbered = regexp.MustCompile(`^(.+)-(\d+)$`)

// soname is the file name of a library on Linux, without its number where nobody says it.
func soname(name string) string {
	if strings.Contains(name, ".so") || strings.Contains(name, ".dll") || strings.Contains(name, ".dylib") {
		return name
	}
	name = "lib" + strings.TrimPrefix(name, "lib")
	if m := numbered.FindStringSubmatch(name); m != nil {
		return m[1] + ".so." + m[2]
	}
	return name + ".so"
}

// packageSteps are the steps that install a library of the system.
func packageSteps(lib string) []Step {
	name := longest(libraryPackages, lib)
	if name == "" {
		name = longest(libraryPackages, "lib"+lib)
	}
	if name == "" {
		return []Step{run("apt-file search "+quote(strings.TrimSuffix(lib, ".*")), "the package of Debian that has it; RHEL: dnf provides '*/"+lib+"'; Alpine: apk search "+quote("so:"+lib))}
	}
	return []Step{run("apt-get install "+name, "the package of Debian and Ubuntu that has it; its number may differ; RHEL: dnf install '*/"+lib+"'; Alpine: apk "+alpines(lib))}
}

// alpines is what apk is to do for a library.
func alpines(lib string) string {
	if strings.HasSuffix(lib, ".*") {
		return "search " + quote("so:"+lib)
	}
	return "add so:" + lib
}

// libraryKinds are what a loader says of libraries that it does not find, open or map.
var libraryKinds = []kind{
	{"unreadable-library", cause, `(?P<lib>[^\s:]+\.so[\w.]*): cannot open shared object file: Permission denied|` + muslError + `(?P<musl>[^\s:]+): Permission denied`, unreadable},
	{"library-for-musl", cause, absent(`libc\.musl-\w+\.so\.1|ld-musl-\w+\.so\.1`), func(v values) Explanation { return forMusl(v.of("lib", "musl")) }},
	{"library-for-glibc", cause, absent(`ld-linux[\w.-]*\.so\.\d|libc\.so\.6|libm\.so\.6|libpthread\.so\.0|libdl\.so\.2`), func(v values) Explanation { return forGlibc(v.of("file"), v.of("lib", "musl")) }},
	{"missing-libpython", cause, absent(`libpython[\w.]*\.so[\w.]*`), missingLibpython},
	{"missing-driver", cause, absent(`lib(?:cuda|cudadebugger|nvcuvid|nvoptix|nvidia-[\w-]+|OpenCL)\.so[\w.]*`), missingDriver},
	{"missing-sibling", cause, absent(`[^\s:]+\.(?:cpython-\d+\w*(?:-[\w-]+)?|abi3)\.so`), missingSibling},
	{"missing-carried", cause, absent(`[^\s:/]+-[0-9a-f]{8}(?:\.\d+)*\.so[\w.]*`), missingCarried},
	{"missing-library", cause, absent(`[^\s:'"(]+\.so[\w.]*`), missingLibrary},
	{"too-many-files", cause, `[^\s:]+\.so[\w.]*: cannot open shared object file: Too many open files`, tooManyFiles},
	{"library-error", cause, `(?P<lib>[^\s:]+\.so[\w.]*): cannot (?:open shared object file|read file data|stat shared object|close file descriptor): (?P<why>Input/output error|Is a directory|Stale file handle|Transport endpoint is not connected|File name too long|Structure needs cleaning|Bad message)`, told(Explanation{
		Means:    "The loader finds {lib} and the system cannot read it: {why}. A damaged disk, a network file system that went away, or a directory by the library's name.",
		Find:     []Step{run("ls -ld {lib}; cat {lib} | wc -c; dmesg | tail", "whether it can be read at all, and what the kernel says of it"), run("findmnt -T {lib}", "the file system that it is on")},
		Prevents: "ampoule verify DIR reads every file of an installed tree and says which one is not as it was.",
	})},
	{"unmapped", cause, `(?:(?P<file>[^\s:(]+\.so[\w.]*): )?failed to map segment from shared object(?:: (?P<why>Operation not permitted|Permission denied|Cannot allocate memory))?|(?:(?P<zeroed>[^\s:(]+\.so[\w.]*): )?(?:cannot map zero-fill pages|cannot create shared object descriptor)(?:: (?P<limit>Cannot allocate memory))?`, unmapped},
	{"unmapped-by-musl", cause, muslError + `(?P<file>[^\s:]+): (?P<why>Operation not permitted|Cannot allocate memory|Out of memory)`, func(v values) Explanation { return unmappedFor(v.of("file"), v.of("why")) }},
}

func unreadable(v values) Explanation {
	return Explanation{
		Means: v.of("lib", "musl") + " is there, and this user may not read it, or not enter one of the directories above it; or SELinux or AppArmor forbids it.",
		Find: []Step{
			run("find / -name "+quote(path.Base(v.of("lib", "musl")))+" -exec namei -l {} + 2>/dev/null", "as root: where it is, and the owner and mode of each directory above it"),
			run("ausearch -m avc -ts recent; dmesg | grep -i -E 'apparmor|denied' | tail", "whether SELinux or AppArmor forbade it"),
		},
		Prevents: "ampoule install gives every file the mode that the artifact has; ampoule verify DIR says which file was changed.",
	}
}

// missingLibpython tells whose libpython is missing: an extension module must need none,
// while a program that embeds Python must, and an interpreter may.
func missingLibpython(v values) Explanation {
	lib, asks := v.of("lib", "musl"), v.of("program", "file")
	switch base := path.Base(asks); {
	case asks == "" || strings.Contains(base, ".so"):
		return poisoned(lib)
	case strings.HasPrefix(base, "python"):
		return lostLibpython(asks, lib)
	}
	return Explanation{
		Means: asks + " is a program that embeds Python, which is legitimate, and the runtime that it was linked to, " + lib + ", is not where the loader looks: that interpreter was removed, updated to another version or never copied along, " +
			"or a cache gave a program that was compiled for another one.",
		Find:     append(usesOf(asks), run("find / -name "+quote(lib)+" 2>/dev/null", "whether this machine has that runtime anywhere")),
		Prevents: "Ampoule compiles the program with the interpreter that it is published with. The recipe makes an exception for it (gate.except), and it must find the libpython of its own tree.",
		Checks:   []string{"closure", "libpython-needed"},
	}
}

// lostLibpython is about an interpreter that does not find its own runtime.
func lostLibpython(interpreter, lib string) Explanation {
	find := usesOf(interpreter)
	if dir := path.Dir(path.Dir(interpreter)); path.IsAbs(interpreter) && dir != "/" {
		find = append([]Step{run("namei -l "+quote(path.Join(dir, "lib", lib)), "owner and mode of each directory on the way; by the user that fails, in its container")}, find...)
	}
	find = append(find[:1:1], append([]Step{audited}, find[1:]...)...)
	return Explanation{
		Means: "The interpreter's own executable was built with --enable-shared: its runtime is in " + lib + ", which is not where the loader looks. It was moved, or copied without its lib directory, or installed where the loader does not look (/usr/local/lib64 or /usr/local/lib without ldconfig). " +
			"Or it is there and may not be read: loaders say the same of a directory that they may not enter. In an official image, which works elsewhere, it is that: the container engine's storage or security profile on this host denies it, and no package mends it.",
		Find:     append(find, run("find / -name "+quote(path.Base(lib))+" 2>/dev/null", "where that runtime is, if anywhere: echo ITS-DIRECTORY > /etc/ld.so.conf.d/python.conf; ldconfig"), run("docker info; dmesg | grep -i -E 'apparmor|denied' | tail", "on the host of a container: the engine's release and storage driver, and what was denied")),
		Prevents: "Ampoule's interpreters are relocatable: configured with --enable-shared, the executable finds libpython beside itself, and by default it needs none.",
		Checks:   []string{"closure", "libpython-needed", "environment"},
	}
}

func poisoned(lib string) Explanation {
	return Explanation{
		Means: "A poisoned wheel: an extension module is linked to " + lib + ". It was compiled by an interpreter that has a shared libpython, or by a build that links one by itself, and is now imported by an interpreter that has its runtime in the executable, or another version's library. " +
			"pip's cache hands such a wheel on to every interpreter of the same version and platform: its key does not say how the interpreter is linked.",
		Find: []Step{
			audited,
			run("ampoule audit ~/.cache/pip", "on the machine where it was installed: the wheel may be in its cache"),
			run("find DIR -name '*.so*' -exec sh -c 'readelf -d \"$1\" | grep -q \"NEEDED.*libpython\" && echo \"$1\"' sh {} \\;", "the same without Ampoule"),
		},
		Prevents: sealed + " No extension module needs a libpython, however the interpreter is linked (PEP 513).",
		Checks:   []string{"libpython-needed"},
	}
}

// usesOf are the steps that show which libraries a program takes, and why from there.
func usesOf(program string) []Step {
	file := quote(program)
	if !strings.Contains(program, "/") {
		file = "$(command -v " + file + ")"
	}
	return []Step{
		run("ldd "+file, "which of its libraries are found, and where"),
		run("readelf -d "+file+" | grep -E 'NEEDED|R(UN)?PATH'", "what it needs, and where it looks first"),
	}
}

// forMusl is about a file for musl that glibc's loader reads.
func forMusl(lib string) Explanation {
	return Explanation{
		Means:    "The module or program was compiled for musl (Alpine), whose C library is " + lib + ", and this system has glibc: a wheel with a musllinux tag, or an environment, was copied from there.",
		Find:     []Step{run("find DIR -name '*-musl*.so*'", "modules that are named for musl"), run("ldd --version", "glibc or musl, on the machine that fails")},
		Prevents: sealed,
		Checks:   []string{"closure", "tags"},
	}
}

// forGlibc is about a file for glibc that musl's loader reads; sign is what shows it.
func forGlibc(file, sign string) Explanation {
	return Explanation{
		Means:    cmp.Or(file, "The file") + " was compiled for glibc, which alone has " + sign + ", and this system has musl (Alpine), or no C library at all: a wheel with a manylinux or linux tag, or an environment, was copied from elsewhere.",
		Find:     append(tagOf(file), run("readelf -d "+quote(cmp.Or(file, "PATH-OF-THE-MODULE"))+" | grep NEEDED", "libc.so.6 is glibc's, libc.musl-*.so.1 musl's"), run("ldd --version", "glibc or musl, on the machine that fails")),
		Prevents: glibc,
		Checks:   []string{"closure", "tags"},
	}
}

// symbolOfGlibc is about a file that asks musl for what glibc alone has.
func symbolOfGlibc(file, symbol string) Explanation {
	e := forGlibc(file, symbol)
	e.Means = cmp.Or(file, "The file") + " asks for " + symbol + ", which glibc has and this system's C library, musl (Alpine), has not. Either the wheel is for musl, by its tag, and this release of it was compiled with what musl lacks; or a wheel with a manylinux or linux tag, or an environment, was copied from elsewhere."
	e.Find = append([]Step{look("Run it in an image with glibc (Debian's python:3-slim in place of python:3-alpine), or pin another release of the distribution: the one before may not ask for it."), audited}, e.Find...)
	return e
}

// tagOf is the step that shows the tag of the wheel that brought a file, where the path says
// which it was.
func tagOf(file string) []Step {
	site := siteOf(file)
	if site == "" {
		return nil
	}
	inside := strings.TrimPrefix(file[strings.Index(file, site):], site+"/")
	return []Step{run("cd "+quote(site)+" && grep -H ^Tag: \"$(dirname \"$(grep -l -F "+quote(inside)+" ./*.dist-info/RECORD)\")/WHEEL\"", "the tag of the wheel that brought it: musllinux is for this system, manylinux and linux are not")}
}

func missingDriver(v values) Explanation {
	return Explanation{
		Means: v.of("lib", "musl") + " belongs to the driver of a graphics processor. It has to fit the kernel's module, so that the machine provides it and no wheel and no tree carries it. Here the driver is not installed, or the container was not given it.",
		Find: []Step{
			run("nvidia-smi", "whether the machine, or the container, has the driver"),
			run("ldconfig -p | grep "+quote(v.of("lib", "musl")), "whether the loader finds it"),
			look("A container is given it by docker run --gpus all, with NVIDIA's container toolkit on the machine."),
		},
		Prevents: "Name it in runtime.vm.host of the recipe: the gate then leaves it to the machine, and ampoule preflight says which machine lacks it.",
	}
}

// missingSibling is about a library that is named as an extension module is: one module of
// a wheel was linked to another one, by its file's name.
func missingSibling(v values) Explanation {
	lib := path.Base(v.of("lib", "musl"))
	return Explanation{
		Means: lib + " is itself an extension module of the same wheel, as its name says, and another module was linked to it. The loader does not look in the package's directory: the module that needs it has no search path ($ORIGIN), or the file was not installed, or is named for another version of Python.",
		Find: []Step{
			run("find "+quote(cmp.Or(siteOf(v.text), "DIR"))+" -name "+quote(lib), "whether the file is there, and where"),
			run("readelf -d "+quote(cmp.Or(v.of("program", "file"), "PATH-OF-THE-MODULE"))+" | grep -E 'NEEDED|R(UN)?PATH'", "whether the module that needs it looks there: patchelf --set-rpath '$ORIGIN' adds it"),
			audited,
			look("Another release of the wheel, or a build of it from source, sets the search path."),
		},
		Prevents: ownLibraries,
		Checks:   []string{"closure"},
	}
}

// missingCarried is about a library with a hash in its name, as auditwheel gives them.
func missingCarried(v values) Explanation {
	lib := path.Base(v.of("lib", "musl"))
	return Explanation{
		Means: lib + " is a library that a wheel carries itself: auditwheel put the hash into its name, and the file into the directory NAME.libs beside the package. It is not there, or not where the module looks: the directory was left out or removed by a copy (a Dockerfile, a bundler, a clean-up of *.libs), or two releases of the wheel are mixed.",
		Find: []Step{
			run("find "+quote(cmp.Or(siteOf(v.text), "DIR"))+" -name "+quote(lib), "whether the file is anywhere"),
			audited,
			look("Copy the whole site-packages, with the *.libs directories, or install that distribution anew."),
		},
		Prevents: ownLibraries,
		Checks:   []string{"closure", "record"},
	}
}

func missingLibrary(v values) Explanation {
	lib := path.Base(v.of("lib", "musl"))
	means := lib + " is needed and is nowhere where the loader looks: "
	find := []Step{run("ldd "+quote(cmp.Or(v.of("program", "file"), "PATH-OF-THE-MODULE"))+" | grep -i 'not found\\|no such file'", "all that it misses")}
	prevents := "Ampoule carries every library that a wheel needs in the tree, and its gate resolves each one as the loader does in each runtime target."
	means, prevents = ofInterpreter(v, means, prevents)
	for _, o := range otherLibraries() {
		if o.lib.MatchString(lib) {
			stem, _, _ := strings.Cut(lib, ".so")
			o.step.Run = strings.ReplaceAll(o.step.Run, "STEM", quote(stem))
			return Explanation{Means: means + o.from + ".", Find: append([]Step{o.step, audited}, find...), Prevents: prevents, Checks: []string{"closure"}}
		}
	}
	first := packageSteps(lib)
	if v.of("musl") != "" {
		first = append([]Step{run("apk add so:"+lib, "Alpine's package that has it")}, first...)
	}
	if longest(libraryPackages, lib) != "" {
		means += "it is a library of the system that slim images lack, and the wheel does not carry it."
		if begins(lib, "libGL.so", "libgthread-2", "libglib-2", "libSM.so", "libXext.so", "libXrender.so") {
			first = append(first, look("Where cv2 is imported: opencv-python-headless needs no libraries of a display (pip uninstall opencv-python; pip install opencv-python-headless)."))
		}
		return Explanation{Means: means, Find: append(append(first, audited), find...), Prevents: prevents, Checks: []string{"closure"}}
	}
	means += "the wheel was compiled on a machine that has it, and does not carry it; or it is of another distribution, whose directory is not in the search path. Where another number of it is here, what needs it was made for an older or newer release of it: install that anew for this one."
	first = append(otherNumbers(lib), first...)
	return Explanation{Means: means, Find: append(append(first, audited), find...), Prevents: prevents, Checks: []string{"closure"}}
}

// otherNumbers are the steps that look for other releases of a library that is not found.
func otherNumbers(lib string) []Step {
	stem, _, ok := strings.Cut(lib, ".so")
	if !ok {
		return nil
	}
	return []Step{run("find / -name "+quote(stem+".so*")+" 2>/dev/null", "whether it is here, by another number or in another directory. Conda: a package of another channel or build needs it, conda install --force-reinstall PACKAGE, or all from one channel")}
}

func unmapped(v values) Explanation {
	return unmappedFor(v.of("file", "zeroed"), v.of("why", "limit"))
}

// unmappedFor tells why mmap(2) refuses a file: EPERM on a file system that is mounted
// noexec, EACCES for a security module, ENOMEM for a limit.
func unmappedFor(file, reason string) Explanation {
	forbidden := "it is on a file system that is mounted noexec (often /tmp or a user's home), or SELinux or AppArmor forbids it"
	limited := "the process has a limit on its address space (ulimit -v, LimitAS= of systemd, limit-as of uWSGI), or the machine has no memory left"
	place := cmp.Or(file, "PATH-OF-THE-MODULE")
	if file != "" && !strings.Contains(file, "/") {
		place = "/tmp"
	}
	mounted := run("findmnt -T "+quote(place), "whether the options of its file system have noexec")
	limits := run("grep 'address space' /proc/PID/limits; free -m", "the limit of the process, and what memory there is")
	why, steps := forbidden, []Step{mounted, limits}
	switch reason {
	case "":
		why = forbidden + ". Or " + limited
	case "Cannot allocate memory", "Out of memory":
		why, steps = limited, []Step{limits, mounted}
	}
	if place == "/tmp" || strings.HasPrefix(file, "/tmp/") {
		steps = append(steps, run("TMPDIR=/var/tmp PROGRAM", "a program that unpacks itself (PyInstaller's one file) goes to another directory so, and the message then names a library without a directory"))
	}
	return Explanation{
		Means:    cmp.Or(file, "The file") + " is there and the loader may not map it into memory to run it: " + why + ".",
		Find:     steps,
		Prevents: "Install the tree on a file system that may be executed from, and give the service the limits that the recipe's tests pass with.",
	}
}

// odbcDriver is about a driver of a database that unixODBC does not load, by its name in
// odbcinst.ini, or by its path.
func odbcDriver(v values) Explanation {
	lib := v.of("lib")
	listed := run("odbcinst -q -d; odbcinst -j", "the drivers that are installed, by the names that DRIVER={…} has to have, and the files that say so")
	packages := look("Microsoft's is msodbcsql17 or msodbcsql18, PostgreSQL's odbc-postgresql, FreeTDS' tdsodbc.")
	e := Explanation{Prevents: "The driver is a part of the runtime image or the machine: test a connection in the recipe's tests, in each runtime target."}
	if path.IsAbs(lib) {
		e.Means = "unixODBC knows the driver, by its file " + lib + ", and cannot load that: \"file not found\" is what it says of every reason. The file is not there, a library that it needs is not (another libssl, libodbcinst, Kerberos), or it is for another processor, such as Microsoft's of x86-64 on arm64. pyodbc itself is in order."
		e.Find = []Step{listed, run("ls -lL "+quote(lib)+"; file -L "+quote(lib)+"; ldd "+quote(lib)+" | grep 'not found'", "whether that file is there, for which processor, and what it misses"), packages}
		return e
	}
	e.Means = "unixODBC has no driver of the name that the connection asks for (" + cmp.Or(lib, "none in odbcinst.ini") + "), or the driver's file, or a library that it needs, is not there. pyodbc itself is in order; the driver is the database's, and no wheel has it."
	e.Find = []Step{listed, run("ldd $(odbcinst -q -d -n "+quote(cmp.Or(lib, "NAME"))+" | sed -n 's/^Driver *= *//p') | grep 'not found'", "what the driver itself misses, such as another libssl"), packages}
	return e
}

// importsNative is a line of a traceback in which the standard library imports a native
// module of its own.
var importsNative = regexp.MustCompile(`(?:from|import) (_(?:ctypes|ssl|hashlib|bz2|lzma|sqlite3|tkinter|curses|dbm|gdbm|uuid|decimal|zstd)|readline|zlib)\b[^\n]*\n[^\n]*$`)

// ofInterpreter tells of a missing library that the interpreter itself wants it, where a line
// of the traceback before it says so.
func ofInterpreter(v values, means, prevents string) (string, string) {
	m := importsNative.FindStringSubmatch(v.text[max(0, v.at[0]-bytesBefore):v.at[0]])
	if m == nil {
		return means, prevents
	}
	return "It is the interpreter's own module " + m[1] + " that asks: this Python was compiled on another system, or its system was updated under it. Install or compile the interpreter anew here; no wheel mends it. " + means, wholeBuild + " " + prevents
}
