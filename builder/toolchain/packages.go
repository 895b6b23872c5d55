package toolchain

import (
	"slices"
	"strconv"
	"strings"

	"ampoule/recipes"
)

// Packages returns the Debian packages that building this CPython version takes,
// with every standard extension module but _tkinter, and ordinary wheels in C and
// C++; sorted. Among them are the sources of what the tree carries: certificates,
// time zones and terminal descriptions.
func Packages(python recipes.Python, suite string) []string {
	names := []string{
		// Compiling and linking; configure scripts; relocation.
		"binutils", "g++", "gcc", "libc6-dev", "make", "patchelf", "xz-utils",
		// bz2, lzma, zlib, ctypes, sqlite3, ssl and hashlib, readline, curses, uuid.
		"libbz2-dev", "liblzma-dev", "zlib1g-dev", "libffi-dev", "libsqlite3-dev", "libssl-dev",
		"libreadline-dev", "libncurses-dev", "uuid-dev",
		// dbm.gnu, and dbm.ndbm through GDBM's compatible interface.
		"libgdbm-compat-dev", "libgdbm-dev",
		// Carried data.
		"ca-certificates", "ncurses-base", "ncurses-term", "tzdata",
	}
	old := suite == "bullseye" || suite == "bookworm"
	if suite == "bullseye" {
		names = append(names, "pkg-config")
	} else {
		names = append(names, "pkgconf")
	}
	if !old {
		// Names such as US/Eastern have a package of their own since trixie.
		names = append(names, "tzdata-legacy")
	}
	minor := minorOf(python.Version)
	if minor < 13 {
		// crypt and nis, which 3.13 removed (PEP 594).
		names = append(names, "libcrypt-dev", "libnsl-dev", "libtirpc-dev")
	}
	if minor >= 14 {
		// compression.zstd (PEP 784).
		names = append(names, "libzstd-dev")
	}
	if minor >= 15 && suite != "bookworm" {
		// Since 3.15 decimal no longer falls back to CPython's own copy by itself;
		// bookworm has no such package.
		names = append(names, "libmpdec-dev")
	}
	names = append(names, Compiler(python, suite)...)
	slices.Sort(names)
	return names
}

// Compiler returns what the recipe's compiler takes beside the suite's GCC, whose libraries and headers
// clang compiles with: for clang LLVM's tools, among them those for profiles and for archives of
// what is optimised at link time, and the library that counts. BOLT is of LLVM, too.
func Compiler(python recipes.Python, suite string) []string {
	var names []string
	name, version, versioned := strings.Cut(python.Compiler, "-")
	switch {
	case name == "gcc" && versioned:
		names = []string{python.Compiler, "g++-" + version}
	case name == "clang" && versioned:
		names = []string{python.Compiler, "llvm-" + version, "libclang-rt-" + version + "-dev"}
	case name == "clang" && suite == "bullseye":
		// There the library belongs to what clang itself depends on.
		names = []string{"clang", "llvm"}
	case name == "clang":
		names = []string{"clang", "llvm", "libclang-rt-dev"}
	}
	if python.Bolt() {
		names = append(names, "bolt-"+python.BoltVersion())
	}
	return names
}

// minorOf returns the second number of a version; of what is no version, 0.
func minorOf(version string) int {
	_, rest, _ := strings.Cut(version, ".")
	digits, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return n
}
