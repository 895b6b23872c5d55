package locking

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"ampoule/address"
	"ampoule/builder/fetch"
	"ampoule/builder/layers"
	"ampoule/builder/locking/sources"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/wheels"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/tree"
)

// Bounds of what an sdist gives to cargo where it has no Cargo.lock.
const (
	// maxManifest bounds one Cargo.toml, maxManifests all of an sdist, in bytes.
	maxManifest  = 1 << 20
	maxManifests = 32 << 20
	// maxSkeleton bounds how many manifests and Rust sources there are.
	maxSkeleton = 50_000
)

// Paths inside the sandbox that cargo resolves in.
const (
	crateDir  = sandbox.WorkDir + "/crates"
	cargoHome = sandbox.WorkDir + "/cargo-home"
)

// cargoConfig makes the relay cargo's public registry.
const cargoConfig = `[source.crates-io]
replace-with = "ampoule"

[source.ampoule]
registry = "sparse+http://127.0.0.1:3141` + fetch.CratePages + `"
`

// crateChoice is what cargo chose for an sdist.
type crateChoice struct {
	locks  []recipes.CargoLock
	crates []recipes.Crate
}

// lockCrates locks the Rust packages that building an sdist takes: those that its Cargo.lock
// names, or, where it brings none, those that cargo chooses for its manifests. packages are the
// sdist's own Debian packages, further are build requirements beside those that it states.
func (p *distLocker) lockCrates(ctx context.Context, sdist recipes.Dist, set *recipes.BuildSet, packages, further []string) error {
	build, err := p.readCargo(ctx, sdist, further)
	if err != nil {
		return err
	}
	settings, _ := p.building(sdist)
	if !build.lacksLock() {
		if own := p.recipe.Packages[sdist.Name].Crates; len(own) > 0 && len(build.manifests) > 0 {
			return recipes.Faults{p.recipe.Fault(sdist.File+" brings the Cargo.lock that its build takes", "remove crates, or choose another version of "+sdist.Name, "packages", sdist.Name, "crates")}
		}
		set.Crates, err = build.crates()
		return err
	}
	if err := p.resolvable(sdist, build, *set); err != nil {
		return err
	}
	choice, known := p.previousCrates(sdist)
	if !known {
		choice, known = p.crates[sdist.SHA256]
	}
	if !known {
		if choice, err = p.chooseCrates(ctx, sdist, build, *set, packages, settings.Crates); err != nil {
			return err
		}
	}
	p.crates[sdist.SHA256] = choice
	set.CargoLocks, set.Crates = choice.locks, choice.crates
	return nil
}

// readCargo reads what the build of an sdist gives to cargo.
func (p *distLocker) readCargo(ctx context.Context, sdist recipes.Dist, further []string) (cargoBuild, error) {
	f, err := p.l.Store.Open(sdist.SHA256)
	if err != nil {
		return cargoBuild{}, err
	}
	defer f.Close()
	return readCargo(ctx, f, sdist.File, further...)
}

// resolvable refuses what cargo is not asked about: first-party code, whose manifests change
// with each commit, and manifests that a patch changes, since cargo reads those of the sdist.
func (p *distLocker) resolvable(sdist recipes.Dist, build cargoBuild, set recipes.BuildSet) error {
	if sdist.Own {
		return faults.New(faults.Input, "run `cargo generate-lockfile` there, and let git track the Cargo.lock",
			"%s is built with cargo, and has no Cargo.lock: nothing says which crates", sdist.Name)
	}
	for _, patch := range set.Patches {
		data, err := readAll(p.l, patch.SHA256)
		if err != nil {
			return err
		}
		if changed := patchedCargo.Find(data); changed != nil {
			return noCrates("%s has no Cargo.lock, and %s changes %s: crates are chosen for the manifests as the sdist has them",
				build.file, patch.File, path.Base(string(changed)))
		}
	}
	return nil
}

// patchedCargo finds the name of a file of cargo that a patch changes.
var patchedCargo = regexp.MustCompile(`(?m)^\+\+\+ \S*Cargo\.(toml|lock)`)

// readAll reads a patch out of the store.
func readAll(l *Locker, sum string) ([]byte, error) {
	f, err := l.Store.Open(sum)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// previousCrates returns what the previous lock has for an sdist, as long as its own pins are
// what they were: crates move with a new release, or with --upgrade.
func (p *distLocker) previousCrates(sdist recipes.Dist) (crateChoice, bool) {
	was, ok := p.opts.Previous.Dist(sdist.ID())
	if !ok || was.SHA256 != sdist.SHA256 || was.Build == nil || len(was.Build.CargoLocks) == 0 || p.opts.moves(sdist.Name) {
		return crateChoice{}, false
	}
	part := "packages." + sdist.Name + ".crates: "
	pins := func(a recipes.Answers) []string {
		return slices.DeleteFunc(slices.Clone(a.Recipe), func(line string) bool { return !strings.HasPrefix(line, part) })
	}
	same := slices.Equal(pins(p.lock.Answers), pins(p.opts.Previous.Answers)) && p.lock.Base.Suite == p.opts.Previous.Base.Suite
	return crateChoice{was.Build.CargoLocks, was.Build.Crates}, same
}

// chooseCrates lets cargo choose, and looks whether the toolchain can build what it chose.
func (p *distLocker) chooseCrates(ctx context.Context, sdist recipes.Dist, build cargoBuild, set recipes.BuildSet, packages, pins []string) (choice crateChoice, err error) {
	task := progress.Start(ctx, progress.StageLock, "crates of "+sdist.ID())
	defer func() { task.End(err) }()
	promised := set
	promised.CargoLocks = []recipes.CargoLock{{}} // what is to come decides the packages
	if err := p.lockPackages(ctx, sdist, &promised, packages); err != nil {
		return crateChoice{}, err
	}
	set.Packages = promised.Packages
	sdist.Build = &set
	if choice.locks, err = p.runCargo(task.Within(ctx), sdist, build, pins); err != nil {
		return crateChoice{}, err
	}
	own := cargoBuild{file: sdist.File, locks: map[string][]byte{}}
	for _, l := range choice.locks {
		own.locks[l.File] = []byte(l.Text)
	}
	if choice.crates, err = own.crates(); err != nil {
		return crateChoice{}, err
	}
	if err := p.checkPinned(sdist, choice.crates); err != nil {
		return crateChoice{}, err
	}
	set.Crates = choice.crates
	if err := p.l.Fetch.Fetch(ctx, wheels.Items(sdist)...); err != nil {
		return crateChoice{}, err
	}
	return choice, p.checkRust(ctx, sdist, choice.crates)
}

// checkPinned tells of the recipe's pins of crates that nothing requires.
func (p *distLocker) checkPinned(sdist recipes.Dist, crates []recipes.Crate) error {
	var wrong recipes.Faults
	for i, pin := range p.recipe.Packages[sdist.Name].Crates {
		name, version, _ := strings.Cut(pin, "==")
		if !slices.ContainsFunc(crates, func(c recipes.Crate) bool { return c.Name == name && c.Version == version }) {
			wrong = append(wrong, p.recipe.Fault(fmt.Sprintf("building %s takes no crate %s of a version that is compatible with %s", sdist.ID(), name, version),
				"remove it, or write a version that is compatible with the one that is required", "packages", sdist.Name, "crates", strconv.Itoa(i)))
		}
	}
	return wrong.Err()
}

// runCargo has cargo write Cargo.lock files for an sdist's manifests, in a sandbox that has no
// network but a relay to the index of crates, and no code of the sdist: cargo gets its
// Cargo.toml files, and empty files in place of its Rust sources.
func (p *distLocker) runCargo(ctx context.Context, sdist recipes.Dist, build cargoBuild, pins []string) (_ []recipes.CargoLock, err error) {
	f, err := p.l.Store.Open(sdist.SHA256)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	bare, err := readSkeleton(ctx, f, sdist.File)
	if err != nil {
		return nil, err
	}
	if err := bare.direct(build.manifests); err != nil {
		return nil, wrongSdist(sdist.File, err)
	}
	sb, err := p.startCargo(ctx, sdist, bare)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sb.Close()) }()
	index := p.l.Fetch.CrateIndex(pins)
	through, err := startRelay(ctx, sb, index, p.log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, through.stop()) }()
	for _, manifest := range build.manifests {
		var stderr strings.Builder
		err := sb.Exec(ctx, sandbox.Step{
			Args: []string{"cargo", "generate-lockfile", "--manifest-path", crateDir + "/" + manifest},
			// Of versions that are equally good, the newest that this Rust compiles: cargo 1.84 and later know how.
			Env: sandbox.Env("CARGO_HOME="+cargoHome, "CARGO_TERM_COLOR=never", "CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS=fallback"),
			Dir: "/", Stdout: p.log, Stderr: &stderr,
		})
		told := address.Redact(strings.TrimSpace(stderr.String()))
		p.log.Printf("%s", told)
		if err != nil {
			return nil, cargoFailed(sdist, index.Faults(), err, told)
		}
	}
	return p.writtenLocks(ctx, sb, sdist)
}

// startCargo starts the sandbox with the image that the sdist is built in.
func (p *distLocker) startCargo(ctx context.Context, sdist recipes.Dist, bare skeleton) (sandbox.Sandbox, error) {
	files, err := bare.tree()
	if err != nil {
		return nil, wrongSdist(sdist.File, err)
	}
	job, err := p.house.Job(ctx, p.find, sdist, nil)
	if err != nil {
		return nil, err
	}
	image, err := p.stage.Images.Load(ctx, job.Image.Config, job.Image.Layers...)
	if err != nil {
		return nil, err
	}
	sb, err := p.stage.Runner.Start(ctx, sandbox.Spec{Image: image, Name: "crates-" + sdist.Name})
	if err != nil {
		return nil, err
	}
	if err := importFiles(ctx, sb, []tree.Entry{tree.FileEntry(path.Base(relayPath), 0o644, relayScript)}); err != nil {
		return nil, err
	}
	config, err := tree.New([]tree.Entry{tree.FileEntry("config.toml", 0o644, []byte(cargoConfig))})
	if err == nil {
		err = errors.Join(sandbox.ImportTree(ctx, sb, cargoHome, config), sandbox.ImportTree(ctx, sb, crateDir, files))
	}
	if err != nil {
		return nil, errors.Join(err, sb.Close())
	}
	return sb, nil
}

// cargoFailed says why cargo chose nothing. index is what kept the index from answering; told
// is cargo's explanation.
func cargoFailed(sdist recipes.Dist, index, err error, told string) error {
	var exit *sandbox.ExitError
	switch {
	case index != nil:
		return fmt.Errorf("choosing the crates of %s: %w", sdist.ID(), index)
	case !errors.As(err, &exit) || exit.Code != 101:
		return fmt.Errorf("choosing the crates of %s: %w\n%s", sdist.ID(), err, told)
	}
	return faults.New(faults.Input, "hold a crate to another version: packages: {"+sdist.Name+": {crates: [CRATE==VERSION]}}; or choose another version of "+sdist.Name+", or accept its published wheel: binary: {accept: …}",
		"%s has no Cargo.lock, and cargo cannot choose its crates:\n%s", sdist.File, told)
}

// writtenLocks takes the Cargo.lock files out of the sandbox.
func (p *distLocker) writtenLocks(ctx context.Context, sb sandbox.Sandbox, sdist recipes.Dist) (_ []recipes.CargoLock, err error) {
	t, closer, err := layers.Export(ctx, p.l.Store, sb, crateDir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	var locks []recipes.CargoLock
	for _, e := range t.Entries() {
		if e.Kind != tree.File || path.Base(e.Path) != "Cargo.lock" {
			continue
		}
		if e.Size > recipes.MaxCargoLock {
			return nil, noCrates("%s has no Cargo.lock, and cargo wrote one of %d bytes: a lock takes %d", sdist.File, e.Size, recipes.MaxCargoLock)
		}
		data, err := e.ReadAll()
		if err != nil {
			return nil, err
		}
		written := recipes.CargoLock{File: e.Path, Text: strings.TrimRight(string(data), "\n") + "\n"}
		if !written.Sound() {
			return nil, noCrates("%s has no Cargo.lock, and the one that cargo wrote at %q cannot be locked", sdist.File, e.Path)
		}
		locks = append(locks, written)
	}
	if len(locks) == 0 {
		return nil, fmt.Errorf("choosing the crates of %s: cargo wrote no Cargo.lock", sdist.ID())
	}
	return locks, nil
}

// skeleton is what cargo sees of an sdist, by paths below its top directory.
type skeleton struct {
	// manifests are its Cargo.toml files.
	manifests map[string][]byte
	// rust are its Rust sources, of which cargo sees that they are there.
	rust map[string]bool
}

// readSkeleton reads what cargo sees of an sdist. Paths that no file can have are left out.
func readSkeleton(ctx context.Context, f *os.File, file string) (skeleton, error) {
	s := skeleton{map[string][]byte{}, map[string]bool{}}
	size := 0
	for member, err := range sources.Sdist(ctx, f, file) {
		if err != nil {
			return skeleton{}, fmt.Errorf("reading %s: %w", file, err)
		}
		_, below, _ := strings.Cut(path.Clean(member.Name), "/")
		if tree.CheckPath(below) != nil {
			continue
		}
		switch {
		case path.Base(below) == "Cargo.toml":
			data, err := member.Read(maxManifest)
			if err != nil {
				return skeleton{}, fmt.Errorf("reading %s: %w", file, err)
			}
			s.manifests[below] = data
			size += len(data)
		case strings.HasSuffix(below, ".rs"):
			s.rust[below] = true
		}
		if size > maxManifests || len(s.manifests)+len(s.rust) > maxSkeleton {
			return skeleton{}, wrongSdist(file, fmt.Errorf("it has more than %d bytes of Cargo.toml files, or more than %d of them and of Rust sources", maxManifests, maxSkeleton))
		}
	}
	return s, nil
}

// tree is the skeleton as files.
func (s skeleton) tree() (*tree.Tree, error) {
	var entries []tree.Entry
	for _, name := range sortedKeys(s.manifests) {
		entries = append(entries, tree.FileEntry(name, 0o644, s.manifests[name]))
	}
	for _, name := range sortedKeys(s.rust) {
		entries = append(entries, tree.FileEntry(name, 0o644, nil))
	}
	return tree.New(entries)
}

// direct refuses dependencies that no index has, all at once, as far as manifests and those
// above them state them.
func (s skeleton) direct(manifests []string) error {
	looked := map[string]bool{}
	var wrong []error
	for _, manifest := range manifests {
		for dir := path.Dir(manifest); ; dir = path.Dir(dir) {
			name := path.Join(dir, "Cargo.toml")
			if data, ok := s.manifests[name]; ok && !looked[name] {
				looked[name] = true
				wrong = append(wrong, directCrates(name, data)...)
			}
			if dir == "." {
				break
			}
		}
	}
	return errors.Join(wrong...)
}

// directCrates tells of the dependencies in a Cargo.toml that come from a git repository or
// from a registry of their own (The Cargo Book, "Specifying Dependencies").
func directCrates(name string, data []byte) []error {
	var doc map[string]any
	if err := toml.Unmarshal(data, &doc); err != nil {
		return []error{fmt.Errorf("reading %s: %w", name, err)}
	}
	found := map[string]string{}
	var look func(table map[string]any, depth int)
	look = func(table map[string]any, depth int) {
		for key, value := range table {
			inner, ok := value.(map[string]any)
			if !ok || depth > maxTables {
				continue
			}
			if strings.HasSuffix(strings.ReplaceAll(key, "_", "-"), "dependencies") || key == "replace" {
				note(found, inner)
				continue
			}
			if key == "patch" {
				for _, patches := range inner {
					if crates, ok := patches.(map[string]any); ok {
						note(found, crates)
					}
				}
				continue
			}
			if key == "target" || key == "workspace" || depth > 0 {
				look(inner, depth+1)
			}
		}
	}
	look(doc, 0)
	var wrong []error
	for _, crate := range slices.Sorted(maps.Keys(found)) {
		wrong = append(wrong, noCrates("its %s: crate %s: it comes from %s", name, crate, found[crate]))
	}
	return wrong
}

// maxTables is how deep dependencies stand in a Cargo.toml: target.'cfg(…)'.dependencies.
const maxTables = 2

// note notes the crates of a table of dependencies that no index has, with where they are from.
func note(found map[string]string, dependencies map[string]any) {
	for crate, value := range dependencies {
		table, _ := value.(map[string]any)
		switch {
		case table["git"] != nil:
			found[crate] = "a git repository, which has no sha256"
		case table["registry"] != nil, table["registry-index"] != nil:
			found[crate] = "another registry than the public one"
		}
	}
}
