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
	muslAbsent   = `: No such file or directory(?:\s+\(needed by (?P<file>[^)\n]+)\))?`
)

// absent is the pattern of both loaders' messages about a library that is not there.
func absent(library string) *regexp.Regexp {
	return regexp.MustCompile(glibcProgram + `(?P<lib>` + library + `)` + glibcAbsent + `|` + muslError + `(?P<musl>` + library + `)` + muslAbsent)
}

// libraryKinds are what a loader says of libraries that it does not find, open or map.
var libraryKinds = []kind{
	{regexp.MustCompile(`(?P<lib>[^\s:]+\.so[\w.]*): cannot open shared object file: Permission denied|` + muslError + `(?P<musl>[^\s:]+): Permission denied`), unreadable},
	{absent(`libc\.musl-\w+\.so\.1|ld-musl-\w+\.so\.1`), func(v values) Explanation { return forMusl(v.of("lib", "musl")) }},
	{absent(`ld-linux[\w.-]*\.so\.\d`), func(v values) Explanation { return forGlibc(v.of("file"), v.of("lib", "musl")) }},
	{absent(`libpython[\w.]*\.so[\w.]*`), missingLibpython},
	{absent(`lib(?:cuda|cudadebugger|nvcuvid|nvoptix|nvidia-[\w-]+)\.so[\w.]*`), missingDriver},
	{absent(`[^\s:]+\.so[\w.]*`), missingLibrary},
	{regexp.MustCompile(`(?:(?P<file>[^\s:(]+\.so[\w.]*): )?failed to map segment from shared object(?:: (?P<why>Operation not permitted|Permission denied|Cannot allocate memory))?`), unmapped},
	{regexp.MustCompile(muslError + `(?P<file>[^\s:]+): (?P<why>Operation not permitted|Cannot allocate memory|Out of memory)`), unmapped},
}

func unreadable(v values) Explanation {
	return Explanation{
		Means: v.of("lib", "musl") + " is there, and this user may not read it, or not enter one of the directories above it; or SELinux or AppArmor forbids it.",
		Find: []Step{
			run("find / -name "+quote(path.Base(v.of("lib", "musl")))+" 2>/dev/null", "where the library is, as root"),
			run("namei -l PATH-OF-THE-LIBRARY", "the owner and the mode of each directory above it"),
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
		return Explanation{
			Means:    "The interpreter's own executable was built with --enable-shared: its runtime is in " + lib + ", which is not where the loader looks. It was moved, or copied without its lib directory, or a wheel directory was taken for it.",
			Find:     usesOf(asks),
			Prevents: "Ampoule's interpreters are relocatable: configured with --enable-shared, the executable finds libpython beside itself, and by default it needs none.",
			Checks:   []string{"closure", "libpython-needed"},
		}
	}
	return Explanation{
		Means: asks + " is a program that embeds Python, which is legitimate, and the runtime that it was linked to, " + lib + ", is not where the loader looks: that interpreter was removed, updated to another version or never copied along, " +
			"or a cache gave a program that was compiled for another one.",
		Find:     append(usesOf(asks), run("find / -name "+quote(lib)+" 2>/dev/null", "whether this machine has that runtime anywhere")),
		Prevents: "Ampoule compiles the program with the interpreter that it is published with. The recipe makes an exception for it (gate.except), and it must find the libpython of its own tree.",
		Checks:   []string{"closure", "libpython-needed"},
	}
}

func poisoned(lib string) Explanation {
	return Explanation{
		Means: "A poisoned wheel: an extension module is linked to " + lib + ". It was compiled by an interpreter that has a shared libpython, or by a build that links one by itself, and is now imported by an interpreter that has its runtime in the executable, or another version's library. " +
			"pip's cache hands such a wheel on to every interpreter of the same version and platform: its key does not say how the interpreter is linked.",
		Find: []Step{
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
		Means:    cmp.Or(file, "The file") + " was compiled for glibc, which alone has " + sign + ", and this system has musl (Alpine): a wheel with a manylinux or linux tag, or an environment, was copied from elsewhere.",
		Find:     []Step{run("readelf -d "+quote(cmp.Or(file, "PATH-OF-THE-MODULE"))+" | grep NEEDED", "libc.so.6 is glibc's, libc.musl-*.so.1 musl's"), run("ldd --version", "glibc or musl, on the machine that fails")},
		Prevents: glibc,
		Checks:   []string{"closure", "tags"},
	}
}

func missingDriver(v values) Explanation {
	return Explanation{
		Means: v.of("lib", "musl") + " belongs to the driver of a graphics processor. It has to fit the kernel's module, so that the machine provides it and no wheel and no tree carries it. Here the driver is not installed, or the container was not given it.",
		Find: []Step{
			run("nvidia-smi", "whether the machine has the driver"),
			run("ldconfig -p | grep "+quote(v.of("lib", "musl")), "whether the loader finds it"),
			look("A container is given it by docker run --gpus all, with NVIDIA's container toolkit on the machine."),
		},
		Prevents: "Name it in runtime.vm.host of the recipe: the gate then leaves it to the machine, and ampoule preflight says which machine lacks it.",
		Checks:   []string{"closure"},
	}
}

func missingLibrary(v values) Explanation {
	lib := path.Base(v.of("lib", "musl"))
	return Explanation{
		Means: lib + " is needed and is nowhere where the loader looks: the wheel was compiled on a machine that has it, and does not carry it.",
		Find: []Step{
			run("ldd "+quote(cmp.Or(v.of("program", "file"), "PATH-OF-THE-MODULE"))+" | grep -i 'not found\\|no such file'", "all that it misses"),
			run("apt-file search "+quote(lib), "the package of Debian that has it; on Alpine: apk search so:"+lib),
		},
		Prevents: "Ampoule carries every library that a wheel needs in the tree, and its gate resolves each one as the loader does in each runtime target.",
		Checks:   []string{"closure"},
	}
}

// unmapped tells why mmap(2) refuses a file: EPERM on a file system that is mounted
// noexec, EACCES for a security module, ENOMEM for a limit.
func unmapped(v values) Explanation {
	forbidden := "it is on a file system that is mounted noexec (often /tmp or a user's home), or SELinux or AppArmor forbids it"
	limited := "the process has a limit on its address space (ulimit -v, LimitAS= of systemd, limit-as of uWSGI), or the machine has no memory left"
	why := forbidden
	switch v.of("why") {
	case "":
		why = forbidden + ". Or " + limited
	case "Cannot allocate memory", "Out of memory":
		why = limited
	}
	return Explanation{
		Means: cmp.Or(v.of("file"), "The file") + " is there and the loader may not map it into memory to run it: " + why + ".",
		Find: []Step{
			run("findmnt -T "+quote(cmp.Or(v.of("file"), "PATH-OF-THE-MODULE")), "whether the options of its file system have noexec"),
			run("grep 'address space' /proc/PID/limits; free -m", "the limit of the process, and what memory there is"),
		},
		Prevents: "Install the tree on a file system that may be executed from, and give the service the limits that the recipe's tests pass with.",
	}
}
