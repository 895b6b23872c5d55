package locking

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"ampoule/builder/locking/sources"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/recipes"
)

const (
	// maxCargoLock bounds one Cargo.lock, maxCargoLocks all of an sdist, in bytes.
	maxCargoLock  = 8 << 20
	maxCargoLocks = 64 << 20
)

// newestCargoLock is the newest format of Cargo.lock that is known here. A file of the
// first two formats does not say which it is.
const newestCargoLock = 4

// publicRegistry ends the name by which a Cargo.lock calls cargo's public registry,
// wherever the crates were really taken from: the repository of its first index.
const publicRegistry = "/rust-lang/crates.io-index"

var (
	crateName    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)
	crateVersion = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+([+-][0-9A-Za-z.+-]+)?$`)
	crateSum     = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// maxCrateVersion is how long a crate's version may be: it is part of a file's name.
const maxCrateVersion = 100

// noCrates says that a build with Rust cannot be locked.
func noCrates(format string, args ...any) error {
	return faults.New(faults.Input, "choose another version of the distribution, or accept its published wheel: binary: {accept: …}", format, args...)
}

// cargoPackage is one package of a Cargo.lock.
type cargoPackage struct {
	Name     string `toml:"name"`
	Version  string `toml:"version"`
	Source   string `toml:"source"`
	Checksum string `toml:"checksum"`
}

// parseCargoLock reads a Cargo.lock of any format up to 4 and returns the crates of
// the public registry, sorted. Packages without a source lie in the sdist itself and are
// left out. Crates from git or another registry, and crates without a sha256, are
// errors of kind Input, all in one go: nothing could fetch and verify them by the lock.
func parseCargoLock(data []byte) ([]recipes.Crate, error) {
	var doc struct {
		Version  int               `toml:"version"`
		Packages []cargoPackage    `toml:"package"`
		Metadata map[string]string `toml:"metadata"`
	}
	if err := toml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	if doc.Version < 0 || doc.Version > newestCargoLock {
		return nil, fmt.Errorf("its format is %d, not 1 to %d", doc.Version, newestCargoLock)
	}
	var faults []error
	crates := make([]recipes.Crate, 0, len(doc.Packages))
	for _, p := range doc.Packages {
		if p.Source == "" {
			continue
		}
		if p.Checksum == "" {
			// The first format has the checksums in a table of their own.
			p.Checksum = doc.Metadata[fmt.Sprintf("checksum %s %s (%s)", p.Name, p.Version, p.Source)]
		}
		if err := p.check(); err != nil {
			faults = append(faults, err)
			continue
		}
		crates = append(crates, recipes.Crate{Name: p.Name, Version: p.Version, SHA256: p.Checksum})
	}
	crates, err := uniqueCrates(crates)
	return crates, errors.Join(append(faults, err)...)
}

func (p cargoPackage) check() error {
	name := p.Name + " " + p.Version
	if !crateName.MatchString(p.Name) || !crateVersion.MatchString(p.Version) || len(p.Version) > maxCrateVersion {
		return fmt.Errorf("%q is no crate with its version", name)
	}
	kind, place, _ := strings.Cut(p.Source, "+")
	switch {
	case kind == "git":
		return noCrates("crate %s: it comes from a git repository, which has no sha256", name)
	case kind != "registry" || !strings.HasSuffix(place, publicRegistry):
		return noCrates("crate %s: it comes from another registry than the public one", name)
	case !crateSum.MatchString(p.Checksum):
		return noCrates("crate %s: Cargo.lock has no sha256 of it", name)
	}
	return nil
}

// uniqueCrates sorts crates and drops those that are there twice. Two contents of one
// crate are an error.
func uniqueCrates(crates []recipes.Crate) ([]recipes.Crate, error) {
	slices.SortFunc(crates, func(a, b recipes.Crate) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.SHA256, b.SHA256))
	})
	crates = slices.Compact(crates)
	for i := 1; i < len(crates); i++ {
		if a, b := crates[i-1], crates[i]; a.Name == b.Name && a.Version == b.Version {
			return nil, noCrates("crate %s %s: two Cargo.lock files have different sha256 sums of it", a.Name, a.Version)
		}
	}
	return crates, nil
}

// cargoBuild is what an sdist's build gives to cargo.
type cargoBuild struct {
	// file is the sdist's name.
	file string
	// manifests are the Cargo.toml files that the build gives to cargo, by their paths below
	// the sdist's top directory; none where it does not use cargo.
	manifests []string
	// locks are the Cargo.lock files that cargo would find for them, by path.
	locks map[string][]byte
}

// readCargo reads what an sdist's build gives to cargo. further are build requirements beside
// those that its pyproject.toml states.
func readCargo(ctx context.Context, f *os.File, file string, further ...string) (cargoBuild, error) {
	var found cargoFiles
	if err := found.read(sources.Sdist(ctx, f, file)); err != nil {
		return cargoBuild{}, fmt.Errorf("reading %s: %w", file, err)
	}
	manifests, err := found.manifests(further)
	if err != nil {
		return cargoBuild{}, fmt.Errorf("reading %s: %w", file, err)
	}
	return cargoBuild{file, manifests, found.locks(manifests)}, nil
}

// lacksLock reports whether nothing in the sdist says which crates its build takes.
func (b cargoBuild) lacksLock() bool { return len(b.manifests) > 0 && len(b.locks) == 0 }

// crates returns the crates that the sdist's own Cargo.lock files name, sorted.
func (b cargoBuild) crates() ([]recipes.Crate, error) {
	var crates []recipes.Crate
	for _, name := range slices.Sorted(maps.Keys(b.locks)) {
		more, err := parseCargoLock(b.locks[name])
		if err != nil {
			return nil, wrongSdist(b.file, fmt.Errorf("its %s: %w", name, err))
		}
		crates = append(crates, more...)
	}
	return uniqueCrates(crates)
}

// buildsWithCargo says of a pyproject.toml which manifests its build gives to cargo.
type buildsWithCargo struct {
	BuildSystem struct {
		Requires []string `toml:"requires"`
	} `toml:"build-system"`
	Tool struct {
		Maturin struct {
			Manifest string `toml:"manifest-path"`
		} `toml:"maturin"`
		SetuptoolsRust struct {
			Modules []rustTarget `toml:"ext-modules"`
			Bins    []rustTarget `toml:"bins"`
		} `toml:"setuptools-rust"`
	} `toml:"tool"`
}

// rustTarget is an extension or a program that setuptools-rust builds.
type rustTarget struct {
	// Path is the manifest's; setuptools-rust's default is Cargo.toml.
	Path string `toml:"path"`
}

// uses reports whether a distribution is among the build's requirements.
func (b *buildsWithCargo) uses(name string) bool { return requires(b.BuildSystem.Requires, name) }

func requires(requirements []string, name string) bool {
	return slices.ContainsFunc(requirements, func(text string) bool {
		return packaging.RequiredName(text) == name
	})
}

// buildRust reports whether there is something that builds with cargo among requirements.
func buildRust(requirements []string) bool {
	return requires(requirements, "maturin") || requires(requirements, "setuptools-rust")
}

// named lists the manifests that pyproject.toml names, relative to it.
func (b *buildsWithCargo) named() []string {
	var named []string
	if manifest := b.Tool.Maturin.Manifest; manifest != "" && b.uses("maturin") {
		named = append(named, manifest)
	}
	if b.uses("setuptools-rust") {
		for _, target := range slices.Concat(b.Tool.SetuptoolsRust.Modules, b.Tool.SetuptoolsRust.Bins) {
			named = append(named, cmp.Or(target.Path, "Cargo.toml"))
		}
	}
	return named
}

// sideProjects are directories with projects that an sdist brings but does not build.
var sideProjects = regexp.MustCompile(`(^|/)(tests?|testing|examples?|fixtures|bench(es|marks?)?|docs?|vendor(ed)?)/`)

// manifests lists the manifests of an sdist's build below its top directory: those that
// pyproject.toml names, else the ones highest up that are no tests or examples. There are
// none where the build requires neither maturin nor setuptools-rust: many an sdist
// has Rust in it that is not built.
func (c *cargoFiles) manifests(further []string) ([]string, error) {
	var build buildsWithCargo
	if err := toml.Unmarshal(c.pyproject, &build); err != nil {
		return nil, fmt.Errorf("reading pyproject.toml: %w", err)
	}
	build.BuildSystem.Requires = append(build.BuildSystem.Requires, further...)
	if !buildRust(build.BuildSystem.Requires) {
		return nil, nil
	}
	if named := build.named(); len(named) > 0 {
		for i, manifest := range named {
			named[i] = path.Clean(manifest)
			if path.IsAbs(manifest) || named[i] == ".." || strings.HasPrefix(named[i], "../") {
				return nil, fmt.Errorf("reading pyproject.toml: the manifest %q is not in the sdist", manifest)
			}
		}
		return named, nil
	}
	var highest []string
	for _, manifest := range c.tomls {
		if sideProjects.MatchString(manifest) {
			continue
		}
		depth := strings.Count(manifest, "/")
		if len(highest) > 0 && depth < strings.Count(highest[0], "/") {
			highest = nil
		}
		if len(highest) == 0 || depth == strings.Count(highest[0], "/") {
			highest = append(highest, manifest)
		}
	}
	return highest, nil
}

// locks returns the Cargo.lock files beside and above manifests: cargo reads the
// one of the workspace that a manifest is in.
func (c *cargoFiles) locks(manifests []string) map[string][]byte {
	found := map[string][]byte{}
	for _, manifest := range manifests {
		for dir := path.Dir(manifest); ; dir = path.Dir(dir) {
			lock := path.Join(dir, "Cargo.lock")
			if data, ok := c.lockFiles[lock]; ok {
				found[lock] = data
			}
			if dir == "." {
				break
			}
		}
	}
	return found
}

// cargoFiles is what an sdist has for cargo, by paths below its top directory.
type cargoFiles struct {
	pyproject []byte
	lockFiles map[string][]byte
	// tomls are the manifests, whatever they are for.
	tomls []string
	// size is that of all lock files in bytes.
	size int
}

func (c *cargoFiles) read(walk sources.Walk) error {
	c.lockFiles = map[string][]byte{}
	for member, err := range walk {
		if err == nil {
			err = c.member(member)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// member keeps what a member is for cargo.
func (c *cargoFiles) member(m sources.Member) (err error) {
	_, below, _ := strings.Cut(path.Clean(m.Name), "/")
	switch {
	case path.Base(below) == "Cargo.toml":
		c.tomls = append(c.tomls, below)
	case below == "pyproject.toml":
		c.pyproject, err = m.Read(maxTopFile)
	case path.Base(below) == "Cargo.lock":
		c.lockFiles[below], err = m.Read(maxCargoLock)
		c.size += len(c.lockFiles[below])
		if c.size > maxCargoLocks || errors.Is(err, sources.ErrTooLarge) {
			err = fmt.Errorf("%s is too long: it may have %d bytes, and all Cargo.lock files %d", m.Name, maxCargoLock, maxCargoLocks)
		}
	}
	return err
}
