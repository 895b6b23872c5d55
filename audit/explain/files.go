package explain

import (
	"cmp"
	"strings"
)

const soFile = `(?P<file>[^\s:'"(]+\.so[\w.]*)`

// fileKinds are what a loader, the kernel or the importer says of a file that it does not take.
var fileKinds = []kind{
	{"other-machine", cause, `(?:` + soFile + `: )?wrong ELF class: ELFCLASS(?P<class>\d+)|(?:(?P<program>[^\s:'"]+): )?cannot execute binary file: Exec format error|mach-o file, but is an incompatible architecture`, otherMachine},
	{"other-machine", cause, `Error loading shared library (?P<file>[^\s:]+): Exec format error|\[Errno 8\] Exec format error: b?'(?P<program>[^'\n]+)'`, otherMachine},
	{"other-machine", cause, `(?:\bexec "?(?P<program>/[^\s:"]+)"?: |standard_init_linux\.go:\d+: exec user process caused "?)?[Ee]xec format error(?P<file>)`, otherMachine},
	{"linker-script", cause, `(?P<file>[^\s:'"(]*/lib(?:c|m|pthread|ncurses\w*|tbb|gcc_s|curses|termcap)\.so): invalid ELF header`, told(Explanation{
		Means:    "{file} is no library but a linker's script, a line of text by a library's name, which development packages install. It was opened while the program runs, by its name without a number (ctypes.CDLL(\"libc.so\")).",
		Find:     []Step{run("head -c 200 {file}", "the script, which names the real library: open that, such as libc.so.6")},
		Prevents: testsThere,
	})},
	{"damaged-file", cause, soFile + `?(?:: )?(?:invalid ELF header|file too short|ELF file's phentsize not the expected size|ELF load command past end of file|object file has no (?:dynamic section|loadable segments)|ELF file version (?:ident )?does not match current one|nonzero padding in e_ident|ELF file data encoding not (?:little|big)-endian|cannot read file data(?:: Success|$|\n)|invalid program header)|(?P<musl>[^\s:]+): Not a valid dynamic program`, damaged},
	{"misaligned-file", cause, `(?:` + soFile + `: )?ELF load command (?:address/offset not (?P<page>page-aligned|properly aligned)|alignment not page-aligned)`, misaligned},
	{"object-file", cause, `(?:` + soFile + `: |(?P<other>[^\s:]+): )?only ET_DYN and ET_EXEC can be loaded`, told(Explanation{
		Means:    "{file,other|The file} is an object of the compiler (ET_REL, a .o), which was never linked, and has a module's name.",
		Find:     []Step{run("readelf -h {file,other|PATH-OF-THE-MODULE} | grep Type", "REL; a module is DYN"), look("The build lacks its last step: link with gcc -shared, or let setuptools do it.")},
		Prevents: sealed,
		Checks:   []string{"loader", "modules"},
	})},
	{"program-as-module", cause, `(?:` + soFile + `: |(?P<other>[^\s:]+): )?cannot dynamically load (?:position-independent )?executable`, told(Explanation{
		Means:    "{file,other|The file} is a program (linked with -pie, or without -shared), and glibc's dlopen refuses programs (those with PIE since 2.30). It was linked without -shared, or a program has a module's name.",
		Find:     []Step{run("readelf -dlW {file,other|PATH-OF-THE-MODULE} | grep -E 'PIE|INTERP'", "a program's marks: FLAGS_1 with PIE, and a loader"), look("Link it with -shared -fPIC. Rust: crate-type = [\"cdylib\"]; Go: -buildmode=c-shared.")},
		Prevents: sealed,
		Checks:   []string{"loader", "modules"},
	})},
	{"executable-stack", cause, soFile + `?(?:: )?cannot enable executable stack as shared object requires`, told(Explanation{
		Means:    "The file wants an executable stack, which dlopen refuses since glibc 2.41, and hardened kernels always. An assembler source without a section .note.GNU-stack is the usual cause.",
		Find:     []Step{run("readelf -lW {file|PATH-OF-THE-MODULE} | grep GNU_STACK", "RWE, where it is executable; patchelf --clear-execstack takes it away"), look("Another release of the wheel, or GLIBC_TUNABLES=glibc.rtld.execstack=2 for this process, which newer builds of glibc 2.41 know."), audited},
		Prevents: "The gate refuses such files.",
		Checks:   []string{"hardening"},
	})},
	{"static-tls", cause, `(?:` + soFile + `: )?cannot (?:allocate memory in static TLS block|load any more object with static TLS)`, told(Explanation{
		Means:    "A library that keeps thread-local data in the static block (an allocator, OpenMP, jemalloc, tcmalloc) was loaded too late: the block was full. The order of imports, not the wheel's interpreter, decides.",
		Find:     []Step{run("GLIBC_TUNABLES=glibc.rtld.optional_static_tls=16384 python3 -c 'import MODULE'", "as of glibc 2.32 this raises the block"), run("LD_PRELOAD={file|PATH-OF-THE-LIBRARY} python3 -c 'import MODULE'", "loaded first, it finds room; or import what needs it first"), audited, look("The library that is named first in the message is the one.")},
		Prevents: "The recipe's tests import what the application imports, in its order, in each runtime target.",
		Checks:   []string{"loader"},
	})},
	{"static-tls-of-musl", cause, `Error relocating (?P<file>[^\n:]+): (?P<symbol>\S+): initial-exec TLS resolves to dynamic definition`, told(Explanation{
		Means:    "{file} was compiled for thread-local data in the static block, which musl does not give to what is loaded later. It was made for glibc (gcompat), with -ftls-model=initial-exec, or by Go (-buildmode=c-shared), whose runtime wants such data.",
		Find:     []Step{run("readelf -d {file} | grep -E 'STATIC_TLS|NEEDED'", "STATIC_TLS, and the C library that it was made for"), run("LD_PRELOAD={file} python3 -c 'import MODULE'", "loaded first, it may work; Go's does not: run it in an image with glibc (Debian's python:3-slim in place of python:3-alpine)")},
		Prevents: glibc,
	})},
	{"control-flow", cause, `(?:` + soFile + `: |(?P<other>[^\s:]+): )?rebuild shared object with (?P<mark>IBT|SHSTK) support enabled`, told(Explanation{
		Means:    "This glibc enforces the processor's protection of control flow (Intel's CET), and refuses {file,other|the file}, which is not marked as compiled for it ({mark}). It is the system's setting, and no fault of a wheel or of how the library is found.",
		Find:     []Step{run("GLIBC_TUNABLES=glibc.cpu.x86_ibt=permissive:glibc.cpu.x86_shstk=permissive PROGRAM", "runs the program without the enforcement (a unit's Environment= sets it for a service): then update the system's packages, which have to be of builds with the mark"), run("readelf -n {file,other|PATH-OF-THE-LIBRARY} | grep 'x86 feature'", "the marks of the library; gcc -fcf-protection writes them, and one object without is enough to lose them"), run("env | grep GLIBC_TUNABLES; uname -r; ldd --version | head -n 1", "who asks for the enforcement")},
		Prevents: ownMachine,
	})},
	{"text-relocations", cause, `(?:` + soFile + `: )?cannot (?:restore segment prot after reloc|make segment writable for relocation|change memory protections): (?P<why>Permission denied|Operation not permitted|Cannot allocate memory)?`, told(Explanation{
		Means:    "{file|The file} has relocations in its code (DT_TEXTREL), which SELinux (execmod) and hardened kernels forbid. It was compiled without -fPIC.",
		Find:     []Step{run("readelf -d {file|PATH-OF-THE-LIBRARY} | grep TEXTREL", "the mark"), run("ausearch -m avc -ts recent; chcon -t textrel_shlib_t {file|PATH-OF-THE-LIBRARY}", "what SELinux forbade, and the label with which it allows it")},
		Prevents: "The gate refuses files with text relocations.",
		Checks:   []string{"hardening"},
	})},
	{"loader-assertion", cause, `Inconsistency detected by ld\.so: (?P<where>[^:\n]+): \d+|unsupported version \d+ of Verne(?:ed|f) record|ELF dynamic string table|DT_RELR without GLIBC_ABI_DT_RELR dependency|unexpected PLT reloc type|unexpected reloc type 0x`, told(Explanation{
		Means:    "The loader finds a contradiction in a file, or between its own parts: a file that strip, patchelf or objcopy damaged, or a libc.so.6, libdl or libpthread of another release than the loader's, which LD_LIBRARY_PATH, a search path or a copied directory brings.",
		Find:     []Step{run("env -u LD_LIBRARY_PATH -u LD_PRELOAD LD_DEBUG=files PROGRAM 2>&1 | tail -n 20", "the file that was loaded last; and whether it works without these variables"), run("find DIR -name 'libc.so.6' -o -name 'libpthread.so.0' -o -name 'ld-linux*'", "parts of a glibc that were copied along")},
		Prevents: sealed,
	})},
	{"other-kernel", cause, `FATAL: kernel too old|ELF file OS ABI invalid|ELF file ABI version invalid|Fatal glibc error: cannot get entropy|CPU ISA level is lower than required|Fatal glibc error: CPU does not support x86-64-v(?P<level>\d)|This program can only be run on \w+ processors with v(?P<go>\d) microarchitecture support`, otherKernel},
	{"bytecode", cause, `[Bb]ad magic number in (?:'(?P<module>[^'\n]+)'|\.pyc file|(?P<old>\S+\.pyc))`, bytecode},
	{"damaged-bytecode", cause, `EOFError: marshal data too short|ValueError: bad marshal data|EOFError: EOF read where (?:object|not) expected`, told(Explanation{
		Means:    "A file of bytecode (.pyc) is cut off: a disk was full, a copy was broken off, or two processes wrote it.",
		Find:     []Step{run("find DIR -name __pycache__ -exec rm -r {} +", "removes the bytecode beside sources, which Python compiles anew"), run("df -h DIR; find DIR -name '*.pyc' -size -17c", "whether the disk is full, and what is cut off")},
		Prevents: "Ampoule's trees hold bytecode that needs no look at its source, verified with every other file: ampoule verify DIR.",
		Checks:   []string{"modules", "record"},
	})},
	{"null-bytes", cause, `source code (?:string )?cannot contain null bytes|(?:SyntaxError|ValueError): source code cannot contain null`, told(Explanation{
		Means:    "A Python source has zero bytes: it was written as UTF-16 (Windows' PowerShell does), or it is a file that a crash or a full disk left with a length and no content.",
		Find:     []Step{run("grep -rlP '\\x00' --include='*.py' DIR | head; file PATH-OF-THE-SOURCE", "the files, and whether they are UTF-16")},
		Prevents: "ampoule verify DIR says which file of an installed tree is not as it was published.",
		Checks:   []string{"record"},
	})},
}

// otherMachine is about a file for another processor or word size.
func otherMachine(v values) Explanation {
	file := cmp.Or(v.of("file", "program"), "PATH-OF-THE-FILE")
	e := Explanation{
		Means:    "The file is for another kind of machine than this one: 32 bits for 64, or another processor (arm64 and x86-64). It came from a cache, a copied environment, or an image, of such a machine; or it is a script without a first line (#!), or empty.",
		Find:     []Step{run("uname -m; file -L "+quote(file), "the machine, and what the file is for"), audited, run("docker image inspect --format '{{.Architecture}}' IMAGE", "an image's: docker build --platform linux/amd64, or linux/arm64, makes it for the other one")},
		Prevents: onePlatform,
		Checks:   []string{"isa", "tags"},
	}
	if class := v.maybe("class"); class != "" {
		other := map[string]string{"32": "64", "64": "32"}[class]
		e.Means = "The file is for another kind of machine: it is of " + class + " bits, and the program that loads it of " + cmp.Or(other, "others") + ": a machine of 64 bits runs both, so that the interpreter decides and not the machine. Take the file's build for " + cmp.Or(other, "the other size") + " bits, or an interpreter of " + class + "."
		e.Find[0] = run("python3 -c 'import struct, sys; print(sys.executable, struct.calcsize(\"P\") * 8)'; file -L "+quote(file), "the interpreter's bits, and what the file is for")
	}
	return e
}

func damaged(v values) Explanation {
	file := cmp.Or(v.of("file", "musl"), "PATH-OF-THE-FILE")
	e := Explanation{
		Means:    "The module's file is no sound ELF file: cut off while it was copied or downloaded, a pointer of Git LFS, a linker's script, or made for another system (macOS, Windows).",
		Find:     []Step{run("file "+quote(file)+"; head -c 100 "+quote(file)+" | cat -v", "what it is"), audited},
		Prevents: "Ampoule installs from a digest and verifies every file: ampoule verify DIR.",
		Checks:   []string{"modules", "parse", "record"},
	}
	if strings.Contains(v.text[v.at[0]:v.at[1]], "file too short") {
		e.Means += " A disk that was full while the file was written leaves it so; a program that PyInstaller packed writes its libraries into /tmp at each start."
		e.Find = append(e.Find, run("df -h /tmp .; df -i /tmp .", "whether there is space, and whether /tmp has a small limit: TMPDIR=DIR PROGRAM goes elsewhere"))
	}
	if begins(file, "/var/task/", "/opt/python/") {
		e.Means = "The module's file is not for Linux: what AWS Lambda was given was put together on macOS or Windows, most likely, whose wheels pip took there. Otherwise it is cut off, or a pointer of Git LFS."
		e.Find = append([]Step{run("python3 -m pip install --platform manylinux2014_x86_64 --only-binary :all: --target DIR NAME", "takes Lambda's wheels on any machine (manylinux2014_aarch64 for arm64; --python-version where it differs); or install in the image that AWS has for Lambda's Python")}, e.Find...)
	}
	return e
}

func misaligned(v values) Explanation {
	file := cmp.Or(v.of("file"), "PATH-OF-THE-FILE")
	return Explanation{
		Means:    "The file's segments do not begin where pages do. patchelf 0.18 writes files that glibc before 2.35 refuses so, and strip or objcopy that runs after patchelf damages them; a file for pages of 4 KiB fails on a kernel with 16 or 64 KiB (arm64: Raspberry Pi 5, Asahi, RHEL 8) too. The file is whole, and downloading it anew brings the same.",
		Find:     []Step{run("readelf -lW "+quote(file)+" | grep LOAD; getconf PAGESIZE", "an offset and an address that differ by no multiple of Align, or an Align that is smaller than this machine's pages"), look("Another release of the wheel helps, or one that is built anew: strip first, and patchelf last (0.17.2, or one after 0.18; --page-size 65536 for large pages).")},
		Prevents: sealed,
		Checks:   []string{"loader"},
	}
}

func bytecode(v values) Explanation {
	what := "A module"
	if name := v.of("module", "old"); name != "" {
		what = "The module " + name
	}
	return Explanation{
		Means:    what + " is a file of bytecode (.pyc) that another version of Python wrote. Python compiles anew what it finds in __pycache__ beside a source, but takes a .pyc without a source as it is: it is left from an older Python, or was copied from one.",
		Find:     []Step{run("find DIR -name '*.pyc' -not -path '*/__pycache__/*'", "bytecode that is taken without a source: remove it, or install that distribution anew")},
		Prevents: sealed,
		Checks:   []string{"modules"},
	}
}

// otherKernel is about what a kernel, a loader or a processor is too old for.
func otherKernel(v values) Explanation {
	if level := v.of("level", "go"); level != "" || strings.Contains(v.text[v.at[0]:v.at[1]], "CPU ISA level") {
		if level == "" {
			level = "2 to 4"
		}
		return Explanation{
			Means:    "The program, or the C library of its image, was compiled for a higher level of x86-64 (v" + level + ") than this processor has, or than the virtual machine shows of it. RHEL 9 and its kin need v2, RHEL 10 v3.",
			Find:     []Step{run("/lib64/ld-linux-x86-64.so.2 --help | grep supported; lscpu | grep -i -E 'model name|hypervisor'", "the levels of this machine; a virtual machine's processor type (qemu64, kvm64) hides what the host has: choose host"), look("Otherwise take an image of an older release, such as Debian's or UBI 8.")},
			Prevents: "runtime.vm.cpu in the recipe names the lowest level; the gate refuses files that say they need more.",
			Checks:   []string{"isa"},
		}
	}
	return Explanation{
		Means:    "The file was made for a newer Linux, or for another system's loader, than the one that is here: a C library of an image that is newer than this kernel, or a file with an ABI (GNU IFUNC, FreeBSD) that this loader does not take.",
		Find:     []Step{run("uname -r; ldd --version | head -n 1; readelf -hn PATH-OF-THE-FILE | grep -i abi", "kernel and C library, beside what the file asks for")},
		Prevents: ownBase,
		Checks:   []string{"loader"},
	}
}
