package recipes

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ampoule/packaging"
)

// Lock is an ampoule.lock: every byte that may enter the build, by hash, and what
// in the recipe it answers. It names sources, never hosts.
type Lock struct {
	APIVersion string `yaml:"apiVersion" need:"yes" is:"API version"`
	// Answers is what the person had written when the lock was made.
	Answers Answers      `yaml:"answers" need:"yes"`
	Python  LockedPython `yaml:"python" need:"yes"`
	// Debian holds the packages of each suite that the build uses, by suite.
	Debian map[string]Suite `yaml:"debian" keys:"suite"`
	// Base and Toolchain name packages of the base's suite.
	Base LockedBase `yaml:"base" need:"yes"`
	// Toolchain lists the packages added to the base, with their closure.
	Toolchain []string `yaml:"toolchain" is:"Debian package" set:"yes"`
	// Targets are the runtime targets, by name: "container", "vm".
	Targets map[string]LockedBase `yaml:"targets" need:"yes" keys:"target"`
	// Libraries are what is loaded by name from the tree; nil where nothing is.
	Libraries *LockedLibraries `yaml:"libraries"`
	// Requirements are the dists installed into the tree, as NAME==VERSION.
	Requirements []string `yaml:"requirements" is:"dist ID" set:"yes"`
	// App is the first-party code that is installed beside them, in the order of
	// [App.Dirs].
	App []LockedApp `yaml:"app"`
	// Dists is every sdist and wheel, for the tree and for building, sorted by ID.
	Dists []Dist `yaml:"dists"`
	// Groups are the dependency groups, by name.
	Groups map[string]LockedGroup `yaml:"groups" keys:"group"`

	positions *positions
}

// Answers is the part of the recipe, and of the files that it names, that decides
// what is locked.
type Answers struct {
	// Recipe holds the recipe's values that locking depends on, as KEY: VALUE in
	// one canonical spelling each.
	Recipe []string `yaml:"recipe" need:"yes" is:"text" set:"yes"`
	// Requirements holds each requirement and constraint in canonical spelling, sorted.
	Requirements []string `yaml:"requirements" is:"text" set:"yes"`
}

// LockedPython is CPython's source archive.
type LockedPython struct {
	Version string `yaml:"version" need:"yes" is:"full version"`
	// File is upstream's name of the archive: Python-3.13.5.tar.xz.
	File   string `yaml:"file" need:"yes" is:"source file"`
	SHA256 string `yaml:"sha256" need:"yes" is:"sha256"`
	// Flags are the configure flags that this version knows, recorded for versions
	// that this Ampoule has no table of, in the form of [PythonRelease.Flags].
	Flags []string `yaml:"flags" is:"known flag" set:"yes"`
}

// Suite holds locked packages of one Debian suite, sorted by name.
type Suite []Deb

// Deb is one Debian package.
type Deb struct {
	Name    string `yaml:"name" need:"yes" is:"Debian package"`
	Version string `yaml:"version" need:"yes" is:"deb version"`
	Arch    string `yaml:"arch" need:"yes" is:"arch"`
	// File is the path below the archive's root: pool/main/z/zlib/zlib1g_1.2.13_amd64.deb.
	File   string `yaml:"file" need:"yes" is:"pool path"`
	SHA256 string `yaml:"sha256" need:"yes" is:"sha256"`
}

// LockedBase is an image by digest, or the Debian packages that make it.
type LockedBase struct {
	// Image is a reference with a digest; empty when the base is made of packages.
	Image string `yaml:"image" is:"image"`
	// Suite is the Debian suite of Packages, and of the packages laid on Image.
	Suite string `yaml:"suite" is:"suite"`
	// Packages are the names of the base's packages, with their closure.
	Packages []string `yaml:"packages" is:"Debian package" set:"yes"`
}

// LockedLibraries are Debian packages of the base's suite whose libraries programs load
// by name.
type LockedLibraries struct {
	// Names are those that the recipe and overrides name.
	Names []string `yaml:"names" need:"yes" is:"Debian package" set:"yes"`
	// Packages are what has to be added to the toolchain for them, with their closure:
	// none where the toolchain has them all.
	Packages []string `yaml:"packages" is:"Debian package" set:"yes"`
	// Overrides tell which of the names come from what Ampoule knows, and why.
	Overrides []Applied `yaml:"overrides"`
}

// Dist is one sdist or wheel.
type Dist struct {
	// Name is normalised (PEP 503).
	Name    string `yaml:"name" need:"yes" is:"distribution"`
	Version string `yaml:"version" need:"yes" is:"version"`
	// File is its name in the index; it ends in .whl for a wheel.
	File   string `yaml:"file" need:"yes" is:"dist file"`
	SHA256 string `yaml:"sha256" need:"yes" is:"sha256"`
	// Source is the source that alone has the file; empty is the public index.
	Source string `yaml:"source" is:"source"`
	// Build is what building it takes: set for every sdist, nil for a wheel.
	Build *BuildSet `yaml:"build"`
	// Own is set for first-party code, which no lock has among its dists: its archive is in
	// the store and in no index, and its build says which version it is.
	Own bool
}

// ownSuffix ends the name of the archive of first-party code.
const ownSuffix = ".tar"

// Dist is the code as a dist, whose archive has a sha256.
func (a LockedApp) Dist(sha256 string) Dist { return OwnDist(a.Name, sha256, a.Build) }

// OwnDist is first-party code of a name as a dist, whose archive has a sha256.
func OwnDist(name, sha256 string, build *BuildSet) Dist {
	return Dist{Name: name, File: name + ownSuffix, SHA256: sha256, Build: build, Own: true}
}

// LockedApp is what one directory of first-party code takes. Nothing of its code stands in a
// lock: a commit that changes code alone changes no lock.
type LockedApp struct {
	// Source is the directory, as the recipe names it.
	Source string `yaml:"source" need:"yes" is:"source directory"`
	// Name is the distribution's, normalised.
	Name string `yaml:"name" need:"yes" is:"distribution"`
	// Version says where its version comes from, such as [VersionStatic].
	Version string `yaml:"version" need:"yes" is:"version rule"`
	// Requires are what it requires of others, without the markers that hold, sorted.
	Requires []string `yaml:"requires" is:"text" set:"yes"`
	// Build is what building it takes.
	Build *BuildSet `yaml:"build" need:"yes"`
}

// BuildSet is what building one sdist takes.
type BuildSet struct {
	// Requires are build-system.requires of its pyproject.toml (PEP 518).
	Requires []string `yaml:"requires" is:"text"`
	// Added are what the recipe and overrides require beside them.
	Added []string `yaml:"added" is:"text"`
	// Dynamic are the answers of get_requires_for_build_wheel (PEP 517).
	Dynamic []string `yaml:"dynamic" is:"text"`
	// Dists are the build requirements with their closure, as NAME==VERSION of
	// dists in this lock, sorted.
	Dists []string `yaml:"dists" is:"dist ID" set:"yes"`
	// Packages are Debian packages of the base's suite that are added to the
	// toolchain for this sdist alone, with their closure.
	Packages []string `yaml:"packages" is:"Debian package" set:"yes"`
	// Env and ConfigSettings are as [Settings] has them.
	Env            map[string]string  `yaml:"env" keys:"variable" is:"value"`
	ConfigSettings map[string]Setting `yaml:"config-settings" keys:"setting" is:"value"`
	// Patches are applied in this order.
	Patches []Patch `yaml:"patches"`
	// Crates are the Rust packages that its Cargo.lock names, sorted.
	Crates []Crate `yaml:"crates"`
	// CargoLocks are the Cargo.lock files that its build gets because it brings none, sorted.
	CargoLocks []CargoLock `yaml:"cargo-locks"`
	// Overrides tell which of them come from what Ampoule knows, and why.
	Overrides []Applied `yaml:"overrides"`
}

// BuildLines spell what is set for a build in one way, for keys: none is nil.
type BuildLines struct {
	Env, Settings, Patches, Crates []string
	// CargoLocks came later: without one it is nil, and has no part in a key.
	CargoLocks []string
}

// Lines spells what is set for the build. The order of crates means nothing.
func (b BuildSet) Lines() BuildLines {
	lines := BuildLines{Env: []string{}, Settings: []string{}, Patches: []string{}, Crates: []string{}}
	for _, name := range slices.Sorted(maps.Keys(b.Env)) {
		lines.Env = append(lines.Env, name+"="+b.Env[name])
	}
	for _, name := range slices.Sorted(maps.Keys(b.ConfigSettings)) {
		lines.Settings = append(lines.Settings, name, b.ConfigSettings[name].String())
	}
	for _, p := range b.Patches {
		lines.Patches = append(lines.Patches, p.SHA256)
	}
	for _, c := range b.Crates {
		lines.Crates = append(lines.Crates, c.Name+" "+c.Version+" "+c.SHA256)
	}
	slices.Sort(lines.Crates)
	for _, c := range b.CargoLocks {
		sum := sha256.Sum256([]byte(c.Text))
		lines.CargoLocks = append(lines.CargoLocks, c.File+" "+hex.EncodeToString(sum[:]))
	}
	return lines
}

// Patch is a change of an sdist's files.
type Patch struct {
	// File is its path below the recipe's directory, or overrides/FILE for one that
	// comes with Ampoule.
	File   string `yaml:"file" need:"yes" is:"locked patch"`
	SHA256 string `yaml:"sha256" need:"yes" is:"sha256"`
}

// Crate is a Rust package of the public registry.
type Crate struct {
	Name    string `yaml:"name" need:"yes" is:"crate"`
	Version string `yaml:"version" need:"yes" is:"crate version"`
	SHA256  string `yaml:"sha256" need:"yes" is:"sha256"`
}

// CargoLock is a Cargo.lock that cargo wrote while the sdist was locked.
type CargoLock struct {
	// File is where it lies below the sdist's top directory.
	File string `yaml:"file" need:"yes" is:"Cargo.lock path"`
	// Text is the file, to its last line break.
	Text string `yaml:"text" need:"yes" is:"Cargo.lock text"`
}

// MaxCargoLock bounds the text of a [CargoLock], in bytes.
const MaxCargoLock = 1 << 20

// Sound reports whether a lock can hold the file as it is.
func (c CargoLock) Sound() bool {
	return rules["Cargo.lock path"].allows(c.File) && rules["Cargo.lock text"].allows(c.Text)
}

// Patch is a change, as patch -p1 takes it, that adds the file.
func (c CargoLock) Patch() []byte {
	lines := strings.SplitAfter(c.Text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "--- /dev/null\n+++ b/%s\n@@ -0,0 +1,%d @@\n", c.File, len(lines))
	for _, line := range lines {
		b.WriteString("+" + line)
	}
	return b.Bytes()
}

// Applied is a rule of an override that was applied.
type Applied struct {
	Name     string `yaml:"name" need:"yes" is:"distribution"`
	Revision string `yaml:"revision" need:"yes" is:"revision"`
	Why      string `yaml:"why" need:"yes" is:"text"`
}

// WithEnv is the dist with variables in the environment of its build, over those that it has.
func (d Dist) WithEnv(env map[string]string) Dist {
	set := BuildSet{}
	if d.Build != nil {
		set = *d.Build
	}
	all := map[string]string{}
	maps.Copy(all, set.Env)
	maps.Copy(all, env)
	set.Env, d.Build = all, &set
	return d
}

// ID names the dist in its lock: NAME==VERSION. First-party code has its name alone.
func (d Dist) ID() string {
	if d.Own {
		return d.Name
	}
	return d.Name + "==" + d.Version
}

// IsWheel reports whether it is a wheel, and not an sdist.
func (d Dist) IsWheel() bool { return strings.HasSuffix(d.File, packaging.WheelSuffix) }
