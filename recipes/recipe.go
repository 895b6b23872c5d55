// Package recipes holds the two files that say what is built: the recipe, which a
// person writes, and the lock, which names every byte that may enter the build.
// It reads, checks and writes them; it fetches and runs nothing.
package recipes

// APIVersion is the value of apiVersion in recipes and locks.
const APIVersion = "ampoule/v1"

// Recipe is an ampoule.yaml.
type Recipe struct {
	APIVersion string `yaml:"apiVersion"`
	// Name names the artifact: lower-case letters, digits, "-", "_" and ".".
	Name         string              `yaml:"name"`
	Python       Python              `yaml:"python"`
	Platforms    []string            `yaml:"platforms"`
	Base         Base                `yaml:"base"`
	Toolchain    Toolchain           `yaml:"toolchain"`
	Requirements Requirements        `yaml:"requirements"`
	Packages     map[string]Packages `yaml:"packages"`
	// Pure lists distributions whose pure wheel is taken although their release
	// has platform wheels too.
	Pure    []string `yaml:"pure"`
	Runtime Runtime  `yaml:"runtime"`
	Gate    Gate     `yaml:"gate"`
	Test    Test     `yaml:"test"`
}

// Python says which CPython is built, and how.
type Python struct {
	// Version is a full version, such as 3.13.5.
	Version string `yaml:"version"`
	// SHA256 is the hash of the source archive; the lock has it in any case.
	SHA256 string `yaml:"sha256"`
	// Configure holds CPython's own configure flags.
	Configure []string `yaml:"configure"`
	// Optional lists the standard extension modules that may be missing.
	Optional []string `yaml:"optional"`
}

// Base is an image that a toolchain or a runtime target stands on: exactly one of its fields is set.
type Base struct {
	// Debian is a suite: bullseye, bookworm, trixie.
	Debian string `yaml:"debian"`
	// Image is a reference with a digest.
	Image string `yaml:"image"`
}

// Toolchain says what the build image has beside what Ampoule always puts there.
type Toolchain struct {
	// Packages are Debian packages.
	Packages []string `yaml:"packages"`
}

// Requirements are the distributions to install: a file, or a list in the recipe itself.
type Requirements struct {
	// File is a requirements file, relative to the recipe.
	File string
	// List holds requirements as PEP 508 spells them.
	List []string
}

// Packages are the Debian packages that one wheel needs.
type Packages struct {
	// Build packages are added to that wheel's toolchain alone.
	Build []string `yaml:"build"`
}

// Runtime says where the tree must run.
type Runtime struct {
	Container *Container `yaml:"container"`
	VM        *VM        `yaml:"vm"`
}

// Container is the image that the artifact stands on.
type Container struct {
	Base Base `yaml:"base"`
}

// VM is a plain Linux machine.
type VM struct {
	// Glibc is the oldest glibc that the tree must run with, such as 2.36.
	Glibc string `yaml:"glibc"`
	// CPU is the lowest x86-64 level: x86-64, x86-64-v2, x86-64-v3, x86-64-v4.
	CPU string `yaml:"cpu"`
	// Host lists sonames of libraries that the machine provides.
	Host []string `yaml:"host"`
}

// Gate holds what the gate is told.
type Gate struct {
	Except []Exception `yaml:"except"`
}

// Exception lets a check pass for some files. It is told in the verdict.
type Exception struct {
	Check string `yaml:"check"`
	// Files are patterns, as path.Match has them, of paths in the tree.
	Files []string `yaml:"files"`
	Why   string   `yaml:"why"`
	// Until is the last day on which it holds, as YYYY-MM-DD, in UTC.
	Until string `yaml:"until"`
}

// Test is run by the gate in each runtime target.
type Test struct {
	// Imports are modules to import.
	Imports []string `yaml:"imports"`
	// Commands are run with the tree's bin directory first in PATH.
	Commands [][]string `yaml:"commands"`
}
