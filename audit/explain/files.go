package explain

import "regexp"

// fileKinds are what a loader, the kernel or the importer says of a file that it does not take.
var fileKinds = []kind{
	{regexp.MustCompile(`wrong ELF class: ELFCLASS\d+|[Ee]xec format error`), always(Explanation{
		Means:    "The file is for another kind of machine than the interpreter: 32 bits for 64, or another processor. It came from a cache, a copied environment, or an image, of such a machine.",
		Find:     []Step{run("file PATH-OF-THE-MODULE; python3 -c 'import platform; print(platform.machine(), platform.architecture())'", "")},
		Prevents: "An artifact's digest is for one platform; installing it elsewhere is refused.",
		Checks:   []string{"isa", "tags"},
	})},
	{regexp.MustCompile(`invalid ELF header|file too short|ELF load command \S+ not properly aligned|ELF file's phentsize not the expected size`), always(Explanation{
		Means:    "The module's file is no sound ELF file: cut off while it was copied or downloaded, a pointer of Git LFS, or made for another system (macOS, Windows).",
		Find:     []Step{run("file PATH-OF-THE-MODULE; head -c 100 PATH-OF-THE-MODULE", "")},
		Prevents: "Ampoule installs from a digest and verifies every file: ampoule verify DIR.",
		Checks:   []string{"parse", "record"},
	})},
	{regexp.MustCompile(`cannot enable executable stack as shared object requires`), always(Explanation{
		Means:    "The file wants an executable stack, which dlopen refuses since glibc 2.41, and hardened kernels always. An assembler source without a section .note.GNU-stack is the usual cause.",
		Find:     []Step{run("readelf -lW PATH-OF-THE-MODULE | grep GNU_STACK", "RWE, where it is executable")},
		Prevents: "The gate refuses such files.",
		Checks:   []string{"hardening"},
	})},
	{regexp.MustCompile(`cannot allocate memory in static TLS block`), always(Explanation{
		Means:    "A library that keeps thread-local data in the static block (an allocator, OpenMP, jemalloc, tcmalloc) was loaded too late: the block was full. The order of imports, not the wheel's interpreter, decides.",
		Find:     []Step{look("The library that is named first in the message is the one."), look("Import what needs it first, or raise the block: GLIBC_TUNABLES=glibc.rtld.optional_static_tls=16384")},
		Prevents: "The recipe's tests import what the application imports, in its order, in each runtime target.",
	})},
	{regexp.MustCompile(`[Bb]ad magic number in (?:'(?P<module>[^'\n]+)'|\.pyc file)`), func(v values) Explanation {
		what := "A module"
		if name := v.of("module"); name != "" {
			what = "The module " + name
		}
		return Explanation{
			Means:    what + " is a file of bytecode (.pyc) that another version of Python wrote. Python compiles anew what it finds in __pycache__ beside a source, but takes a .pyc without a source as it is: it is left from an older Python, or was copied from one.",
			Find:     []Step{run("find DIR -name '*.pyc' -not -path '*/__pycache__/*'", "bytecode that is taken without a source")},
			Prevents: sealed,
			Checks:   []string{"record"},
		}
	}},
}
