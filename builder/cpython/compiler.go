package cpython

import (
	"maps"
	"slices"
	"strings"
)

// driver is a compiler as a recipe names it.
type driver struct {
	// name is gcc or clang; version is the one in the names of its programs and packages, or empty
	// for the suite's own.
	name, version string
}

func driverOf(named string) driver {
	name, version, _ := strings.Cut(named, "-")
	if name == "" {
		name = "gcc"
	}
	return driver{name, version}
}

// program is a program's name: clang-19 of clang.
func (c driver) program(name string) string {
	if c.version == "" {
		return name
	}
	return name + "-" + c.version
}

func (c driver) isClang() bool { return c.name == "clang" }

// packages reports whether a Debian package of compilers, such as cpp-12, is this compiler's. Where no
// version is known, those of all versions are.
func (c driver) packages(name string) bool {
	family, version, _ := strings.Cut(name, "-")
	clangs := family == "clang" || family == "llvm"
	return clangs == c.isClang() && (c.version == "" || version == c.version)
}

// variables are what configure is told beside its flags, as arguments: the names of the compiler's programs,
// and flags. A recipe that says nothing of these has none.
func variables(spec Spec) []string {
	c := driverOf(spec.Compiler)
	vars := map[string]string{}
	if spec.Compiler != "" {
		vars["CC"], vars["CXX"] = c.program(c.name), c.program(map[string]string{"gcc": "g++", "clang": "clang++"}[c.name])
	}
	if c.isClang() {
		// configure looks for them where it finds a program named clang.
		for name, tool := range map[string]string{"LLVM_PROFDATA": profdata, "LLVM_AR": "llvm-ar"} {
			vars[name] = "/usr/bin/" + c.program(tool)
		}
	}
	if spec.usesBolt() {
		vars["LLVM_BOLT"], vars["MERGE_FDATA"] = boltProgram(spec, llvmBolt), boltProgram(spec, mergeFdata)
	}
	maps.Copy(vars, spec.Env)
	if spec.CPU != "" {
		vars["CFLAGS"] = strings.TrimSpace("-march=" + spec.CPU + " " + vars["CFLAGS"])
		// The linker notes the level in what it writes (x86-64 psABI, "Program Property"). The loader refuses
		// such a file where the level is missing, and audits read it.
		vars["LDFLAGS"] = strings.TrimSpace("-Wl,-z," + spec.CPU + " " + vars["LDFLAGS"])
	}
	args := make([]string, 0, len(vars))
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		args = append(args, name+"="+vars[name])
	}
	return args
}
