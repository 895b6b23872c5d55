// Package recipes holds the two files that say what is built: the recipe, which a
// person writes, and the lock, which names every byte that may enter the build.
// It reads, checks and writes them; it fetches and runs nothing.
package recipes

// APIVersion is the value of apiVersion in recipes and locks.
const APIVersion = "ampoule/v1"

// Recipe is an ampoule.yaml: what to build, and where it must run.
//
// Its comments are the text of the reference and of the editors' schema. The tags
// say the rest: need a key that must be written, is the rule that texts obey, keys
// the rule of a mapping's keys, set a list whose order means nothing, key what part the
// field has in [Key].
type Recipe struct {
	// APIVersion says which form the file has. It is ampoule/v1.
	APIVersion string `yaml:"apiVersion" need:"yes" is:"API version" key:"apiVersion"`
	// Extends is another file, relative to this one: the recipe has everything that stands
	// there. What both have is merged by key; a text, a list, a base and requirements are
	// this file's as a whole. Paths in a file are relative to it. The file may extend
	// another one, and need not be a complete recipe. It has no part in the key: what it
	// brings has.
	Extends string `yaml:"extends" is:"extended file" key:",out" out:"what it brings stands in the key itself"`
	// Name names the artifact: lower-case letters, digits, "-", "_" and ".".
	// A slash parts it from the name of a team: team/web.
	Name string `yaml:"name" need:"yes" is:"name" key:"name"`
	// Python says which CPython is built, and how.
	Python Python `yaml:"python" need:"yes" key:"python"`
	// Platforms are what the artifact is built for. linux/amd64 is the only one for
	// now, and what is meant when nothing is written.
	Platforms []string `yaml:"platforms" is:"platform" set:"yes" key:",out" out:"the platform is a part of the key of its own"`
	// Base is what the toolchain stands on: everything is compiled there.
	Base Base `yaml:"base" need:"yes" key:"base"`
	// Toolchain says what the build image has beside what Ampoule always puts there.
	Toolchain Toolchain `yaml:"toolchain" key:",inline"`
	// Requirements are the distributions to install: the name of a requirements
	// file or of another tool's lock below the recipe's directory, or a list of
	// requirements as PEP 508 spells them. It is a mapping where more is to be said of
	// a lock. Without it the artifact is the interpreter alone.
	Requirements Requirements `yaml:"requirements" is:"requirement" key:",lock"`
	// DependencyGroups are what is laid over the artifact for a purpose, such as its
	// tests, by name (PEP 735): each the name of a requirements file below the recipe's
	// directory, or a list. A group is locked apart and has a digest of its own; it
	// changes neither the artifact's key nor its digest.
	DependencyGroups map[string]Requirements `yaml:"dependency-groups" keys:"group" is:"requirement" key:",group"`
	// App is first-party code: it is built to a wheel and installed last, in a layer of
	// its own. Its content is a part of the artifact's key, and no part of the lock.
	App *App `yaml:"app" key:"app,omitempty"`
	// Train is what an interpreter runs while `ampoule pgo-profile` makes its training profile;
	// without it, that is CPython's own task.
	Train Train `yaml:"train" key:",out" out:"the profile that comes of it stands in the key"`
	// Packages holds, by normalised distribution name, how one wheel is built where
	// its sdist does not say it, and what of it is left out. It changes nothing for the
	// others.
	Packages map[string]Packages `yaml:"packages" keys:"distribution" key:"packages"`
	// Binary says which foreign binary wheels are taken instead of being built.
	Binary Binary `yaml:"binary" key:",inline"`
	// Pure lists distributions whose pure wheel is taken although their release
	// has platform wheels too, by normalised name.
	Pure []string `yaml:"pure" is:"distribution" set:"yes" key:"pure,set"`
	// Runtime says where the tree must run; at least one target is written. The
	// gate checks the tree in each.
	Runtime Runtime `yaml:"runtime" need:"yes" key:",inline"`
	// Gate holds what the gate is told.
	Gate Gate `yaml:"gate" key:",inline"`
	// Test is run by the gate in each runtime target.
	Test Test `yaml:"test" key:",inline"`

	positions *positions
}

// Python says which CPython is built, and how.
type Python struct {
	// Version is a full version, such as 3.13.5.
	Version string `yaml:"version" need:"yes" is:"full version" key:"version"`
	// SHA256 is the hash of the source archive. It need not be written: the lock
	// has it in any case.
	SHA256 string `yaml:"sha256" is:"sha256" key:",lock"`
	// Configure holds CPython's own configure flags, in either polarity; nothing
	// else decides how it is built. Flags that say where files go are Ampoule's.
	// Neither --enable-shared nor --enable-static-libpython-for-interpreter gives a
	// static executable, the first alone an executable that loads libpython, both
	// a static executable beside a libpython for programs that embed Python.
	Configure []string `yaml:"configure" is:"flag" key:"configure"`
	// Profile is the training profile that the optimised interpreter is compiled by, as
	// "sha256:" and its hash: `ampoule pgo-profile` makes one. It goes with
	// --enable-optimizations. Without it such a build trains by itself, takes four times as long,
	// and gives other bits each time.
	Profile string `yaml:"profile" is:"profile" key:"profile,omitempty"`
	// Executable is no-pie for an interpreter that is always loaded at one address. It is
	// somewhat faster, and easier to attack: the verdict tells it. It goes with an
	// executable that holds libpython.
	Executable string `yaml:"executable" is:"executable form" key:"executable,omitempty"`
	// Compiler compiles the interpreter, and is what extension modules are compiled with
	// where their build asks sysconfig, as setuptools does: gcc or clang of the base's suite,
	// or one of its versions, such as gcc-13 or clang-19. gcc is meant when nothing is written.
	Compiler string `yaml:"compiler" is:"compiler" key:"compiler,omitempty"`
	// CPU is the level of x86-64 that the interpreter is compiled for, and extension modules
	// where their build asks sysconfig. No target may have a lower one. What is so
	// compiled says it in its file: the loader refuses it on a processor that lacks the level.
	CPU string `yaml:"cpu" is:"CPU level" key:"cpu,omitempty"`
	// Env holds variables that configure takes flags of the compiler and the linker from, by
	// the names that CPython has for them. CFLAGS_NODIST and LDFLAGS_NODIST are for the
	// interpreter and its own modules alone; CFLAGS and LDFLAGS stand in sysconfig, too.
	Env map[string]string `yaml:"env" keys:"configure variable" is:"compiler flags" key:"env,omitempty"`
	// Builtin lists standard extension modules that are linked into the interpreter, and have no file of
	// their own: they are imported faster, and optimised with it. CPython has none of them that
	// way, Debian many.
	Builtin []string `yaml:"builtin" is:"linked module" set:"yes" key:"builtin,omitempty"`
	// Optional lists the standard extension modules that may be missing. The build
	// fails when another one is.
	Optional []string `yaml:"optional" is:"module" set:"yes" key:"optional,set"`
	// Except lists files of the repository that are about another Python on purpose:
	// lock and build refuse a recipe whose version any other one excludes.
	Except []PythonException `yaml:"except" key:",out" out:"it says which other files are compared with the recipe"`
}

// PythonException lets files of the repository want another Python.
type PythonException struct {
	// Files are paths from the recipe's directory, or patterns of them as Go's path.Match
	// has them.
	Files []string `yaml:"files" need:"yes" is:"file pattern" set:"yes" key:",out" out:"as python.except"`
	// Why says why, to whoever reads the recipe.
	Why string `yaml:"why" need:"yes" is:"text" key:",out" out:"as python.except"`
}

// Base is an image that a toolchain or a runtime target stands on: exactly one of its fields is set.
type Base struct {
	// Debian is a suite: the base is made of its packages, which the lock pins.
	Debian string `yaml:"debian" is:"suite" key:"debian"`
	// Image is a reference with a digest. A tag beside the digest decides nothing.
	Image string `yaml:"image" is:"image" key:"image"`
}

// Toolchain says what the build image has beside what Ampoule always puts there.
type Toolchain struct {
	// Packages are Debian packages of the base's suite.
	Packages []string `yaml:"packages" is:"Debian package" set:"yes" key:"toolchain,set"`
}

// Requirements are the distributions to install: a file, or a list in the recipe itself.
type Requirements struct {
	// File is a requirements file in pip's format, or a lock that another tool wrote,
	// relative to the recipe: a uv.lock, poetry.lock, pdm.lock, Pipfile.lock, pylock.toml
	// or pylock.NAME.toml. Of a lock, pins and hashes are kept to the letter.
	File string `yaml:"file" need:"yes" is:"requirements file"`
	// Extras are extras of the project that the lock is of: what they require is installed too.
	Extras []string `yaml:"extras" is:"extra" set:"yes"`
	// Groups are dependency groups of the lock, or categories of a Pipfile.lock, that are
	// installed beside what the project itself requires.
	Groups []string `yaml:"groups" is:"dependency group" set:"yes"`
	// Package is the member of a uv workspace whose requirements are installed; without it,
	// the workspace's root.
	Package string `yaml:"package" is:"distribution"`
	// List holds requirements as PEP 508 spells them.
	List []string
	// Include names other dependency groups whose requirements belong to this one (PEP 735);
	// only groups have some. In the recipe they stand in the list, as {include-group: NAME}.
	Include []string
}

// App is first-party code.
type App struct {
	// Source is the directory that has the application's pyproject.toml or setup.py,
	// relative to the recipe's: "." is that itself. What git tracks there is taken as it
	// stands in the working tree.
	Source string `yaml:"source" need:"yes" is:"source directory" key:",source"`
	// Members are further source directories, such as the members of a workspace. Each is
	// built and installed too, and what they require of each other is not looked for in
	// any index.
	Members []string `yaml:"members" is:"member directory" set:"yes" key:",source"`
	// Files are patterns, as Go's path.Match has them, of paths below the recipe's
	// directory. They are taken in place of what git tracks, and may be generated; a
	// directory is everything below it.
	Files []string `yaml:"files" is:"source pattern" set:"yes" key:",source"`
	// Extras are optional dependencies of the application that are installed, by name.
	Extras []string `yaml:"extras" is:"extra" set:"yes" key:",lock"`
	// Command is what the artifact's image runs, program and arguments. The program is a
	// name in the tree's bin directory or in the PATH of the image's base, or a path.
	Command []string `yaml:"command" is:"argument" key:"command"`
}

// Train is what an interpreter runs while its training profile is made.
type Train struct {
	// Commands are run one after the other, in a directory of their own, without a shell and
	// without a network. Programs are looked for in the tree's bin directory first. Each
	// must end with status 0. What the recipe requires is installed there.
	Commands [][]string `yaml:"commands" need:"yes" is:"argument" key:",out" out:"as train"`
	// Group is a dependency group that is laid over it for the commands.
	Group string `yaml:"group" is:"group" key:",out" out:"as train"`
}

// Packages says how one wheel is built, and what of it is left out.
type Packages struct {
	Settings `key:",inline"`
	// Overrides is none where nothing of what Ampoule itself knows of building this
	// distribution is to be used.
	Overrides string `yaml:"overrides" is:"overrides switch" key:"overrides"`
	// Exclude are patterns of files that the tree does without although the wheel has
	// them, be it built or published. Paths are those below site-packages; those of
	// programs and data are the ones in the tree, such as bin/tool. A part of a pattern is
	// as Go's path.Match has it, ** is any number of directories, and a pattern that
	// matches a directory takes all that is in it.
	Exclude []string `yaml:"exclude" is:"exclude pattern" set:"yes" key:"exclude,omitempty"`
}

// Settings say how one wheel is built, beside what its sdist states.
type Settings struct {
	// Build lists Debian packages that are added to that wheel's toolchain alone.
	Build []string `yaml:"build" is:"Debian package" set:"yes" key:"build,set"`
	// Requires are build requirements that the sdist does not declare, resolved
	// together with those that it does (PEP 518).
	Requires []string `yaml:"requires" is:"build requirement" set:"yes" key:"requires,set"`
	// Env holds variables of the build's environment.
	Env map[string]string `yaml:"env" keys:"variable" is:"value" key:"env"`
	// ConfigSettings are handed to the build backend (PEP 517, config_settings):
	// each a text or a list of texts.
	ConfigSettings map[string]Setting `yaml:"config-settings" keys:"setting" is:"value" key:"configSettings"`
	// Patches are files below the recipe's directory, applied to the unpacked sdist
	// by patch -p1 in this order.
	Patches []string `yaml:"patches" is:"patch file" set:"yes" key:"patches"`
	// Crates hold crates of an sdist that brings no Cargo.lock to one version each, where
	// cargo would choose another one that is compatible with it (semantic versioning).
	Crates []string `yaml:"crates" is:"crate pin" set:"yes" key:",lock"`
}

// Setting is the value of a config setting: a text, or a list of them.
type Setting struct {
	// Text is the value where List is nil.
	Text string
	// List is the value where it is not nil.
	List []string
}

// Binary says which foreign binary wheels are taken.
type Binary struct {
	// Accept lists acceptances, each told in the verdict. What is accepted passes
	// the gate all the same.
	Accept []Acceptance `yaml:"accept" key:"accept"`
}

// Acceptance lets published binary wheels into the tree.
type Acceptance struct {
	// Match are patterns, as Go's path.Match has them, of normalised distribution names.
	Match []string `yaml:"match" need:"yes" is:"name pattern" set:"yes" key:"match,set"`
	// Why says why, to whoever reads the verdict.
	Why string `yaml:"why" need:"yes" is:"text" key:"why"`
	// Until is the last day on which it holds, as YYYY-MM-DD, in UTC.
	Until string `yaml:"until" need:"yes" is:"date" key:"until"`
}

// Runtime says where the tree must run.
type Runtime struct {
	// Container is an image that the tree is laid on; it becomes the artifact's base.
	Container *Container `yaml:"container" key:"container"`
	// VM is a plain Linux machine that the tree is copied to.
	VM *VM `yaml:"vm" key:"vm"`
	// Libraries are Debian packages of the base's suite whose shared libraries programs
	// load by name while they run, as ctypes and cffi do. The tree carries the libraries of
	// these packages and of those that they depend on, and what of their data such
	// libraries find from a tree. Libraries that extension modules are linked with need
	// not be named.
	Libraries []string `yaml:"libraries" is:"library package" set:"yes" key:",lock"`
}

// Container is the image that the artifact stands on.
type Container struct {
	// Base is the image, which needs no compiler.
	Base Base `yaml:"base" need:"yes" key:",inline"`
}

// VM is a plain Linux machine.
type VM struct {
	// Glibc is the oldest glibc that the tree must run with: that of a Debian suite,
	// since the gate checks the tree there.
	Glibc string `yaml:"glibc" need:"yes" is:"glibc" key:"glibc"`
	// CPU is the lowest x86-64 level. x86-64 is meant when nothing is written.
	CPU string `yaml:"cpu" is:"CPU level" key:"cpu"`
	// Host lists sonames of libraries that the machine provides, such as a driver's. The
	// tree does not carry them, and the gate loads modules with empty ones in their place.
	Host []string `yaml:"host" is:"soname" set:"yes" key:"host,set"`
}

// Gate holds what the gate is told.
type Gate struct {
	// Except lists exceptions, each told in the verdict.
	Except []Exception `yaml:"except" key:"except"`
	// Providers lists libraries of the tree that are in the process already when some files
	// are loaded, each told in the verdict.
	Providers []Provider `yaml:"providers" key:"providers,omitempty"`
	// Groups lists exceptions for the files of dependency groups, each told in the
	// verdict of its group. They have no part in the artifact's key.
	Groups []GroupException `yaml:"groups" key:",group"`
}

// Exception lets a check pass for some files. It is told in the verdict.
type Exception struct {
	// Check is the name of the check.
	Check string `yaml:"check" need:"yes" is:"check" key:"check"`
	// Files are patterns, as Go's path.Match has them, of paths in the tree.
	Files []string `yaml:"files" need:"yes" is:"glob" set:"yes" key:"files,set"`
	// Why says why, to whoever reads the verdict.
	Why string `yaml:"why" need:"yes" is:"text" key:"why"`
	// Until is the last day on which it holds, as YYYY-MM-DD, in UTC.
	Until string `yaml:"until" need:"yes" is:"date" key:"until"`
}

// GroupException lets a check pass for some files of a dependency group.
type GroupException struct {
	// Group is the group's name.
	Group     string `yaml:"group" need:"yes" is:"group" key:"group"`
	Exception `key:",inline"`
}

// Provider says that some files rely on libraries that another module has loaded before,
// as torchvision's do on torch's: they name libraries that ld.so would not find, or use
// symbols of ones that they do not name.
type Provider struct {
	// Libraries are patterns, as Go's path.Match has them, of the libraries' paths in the
	// tree.
	Libraries []string `yaml:"libraries" need:"yes" is:"library glob" set:"yes" key:"libraries,set"`
	// Files are patterns of the files that rely on them.
	Files []string `yaml:"files" need:"yes" is:"module glob" set:"yes" key:"files,set"`
	// Why says what loads them before.
	Why string `yaml:"why" need:"yes" is:"reason" key:"why"`
}

// Test is run by the gate in each runtime target.
type Test struct {
	// Imports are modules to import.
	Imports []string `yaml:"imports" is:"import" set:"yes" key:"imports,set"`
	// Commands are run with the tree's bin directory first in PATH, without a
	// shell; each must end with status 0.
	Commands [][]string `yaml:"commands" is:"argument" key:"commands"`
}
