package recipes

// Lock is an ampoule.lock: every byte that may enter the build, by hash, and what
// in the recipe it answers. It names sources, never hosts.
type Lock struct {
	APIVersion string `yaml:"apiVersion"`
	// Answers is what the person had written when the lock was made.
	Answers Answers      `yaml:"answers"`
	Python  LockedPython `yaml:"python"`
	// Debian holds the packages of each suite that the build uses, by suite.
	Debian map[string]Suite `yaml:"debian"`
	// Base, Toolchain, Extras and Targets name packages of the base's suite.
	Base LockedBase `yaml:"base"`
	// Toolchain lists the packages added to the base, with their closure.
	Toolchain []string `yaml:"toolchain"`
	// Extras lists, by normalised distribution name, the packages added to the
	// toolchain for that wheel alone, with their closure.
	Extras map[string][]string `yaml:"extras"`
	// Targets are the runtime targets, by name: "container", "vm".
	Targets map[string]LockedBase `yaml:"targets"`
	// Requirements are the dists installed into the tree, as NAME==VERSION.
	Requirements []string `yaml:"requirements"`
	// Dists is every sdist and wheel, for the tree and for building, sorted by ID.
	Dists []Dist `yaml:"dists"`
}

// Answers is the part of the recipe, and of the files that it names, that decides
// what is locked.
type Answers struct {
	// Recipe holds the recipe's values that locking depends on, as KEY: VALUE in
	// one canonical spelling each.
	Recipe []string `yaml:"recipe"`
	// Requirements holds each requirement and constraint in canonical spelling, sorted.
	Requirements []string `yaml:"requirements"`
}

// LockedPython is CPython's source archive.
type LockedPython struct {
	Version string `yaml:"version"`
	// File is upstream's name of the archive: Python-3.13.5.tar.xz.
	File   string `yaml:"file"`
	SHA256 string `yaml:"sha256"`
	// Flags are the configure flags that this version knows, recorded for versions
	// that this Ampoule has no table of.
	Flags []string `yaml:"flags"`
}

// Suite holds locked packages of one Debian suite, sorted by name.
type Suite []Deb

// Deb is one Debian package.
type Deb struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
	Arch    string `yaml:"arch"`
	// File is the path below the archive's root: pool/main/z/zlib/zlib1g_1.2.13_amd64.deb.
	File   string `yaml:"file"`
	SHA256 string `yaml:"sha256"`
}

// LockedBase is an image by digest, or the Debian packages that make it.
type LockedBase struct {
	// Image is a reference with a digest; empty when the base is made of packages.
	Image string `yaml:"image"`
	// Suite is the Debian suite of Packages, and of the packages laid on Image.
	Suite string `yaml:"suite"`
	// Packages are the names of the base's packages, with their closure.
	Packages []string `yaml:"packages"`
}

// Dist is one sdist or wheel.
type Dist struct {
	// Name is normalised (PEP 503).
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
	// File is its name in the index; it ends in .whl for a wheel.
	File   string `yaml:"file"`
	SHA256 string `yaml:"sha256"`
	// Build is what building it takes: set for every sdist, nil for a wheel.
	Build *BuildSet `yaml:"build"`
}

// BuildSet is what building one sdist takes.
type BuildSet struct {
	// Requires are build-system.requires of its pyproject.toml (PEP 518).
	Requires []string `yaml:"requires"`
	// Dynamic are the answers of get_requires_for_build_wheel (PEP 517).
	Dynamic []string `yaml:"dynamic"`
	// Dists are the build requirements with their closure, as NAME==VERSION of
	// dists in this lock, sorted.
	Dists []string `yaml:"dists"`
}

// ID names the dist in its lock: NAME==VERSION.
func (d Dist) ID() string { return d.Name + "==" + d.Version }
