package locking

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"ampoule/builder/fetch"
	"ampoule/builder/locking/sources"
	"ampoule/builder/progress"
	"ampoule/faults"
	"ampoule/recipes"
)

// editions are the minor versions of Rust 1 that the editions of crates begin with (The Rust
// Edition Guide).
var editions = map[string]int{"": 0, "2015": 0, "2018": 31, "2021": 56, "2024": 85}

// rustMinor finds the minor version of Rust 1 in a version of a Debian package, or in what a
// crate states: 85 of 1.85.0+dfsg3-1~deb12u3.
var rustMinor = regexp.MustCompile(`^(?:[0-9]+:)?1\.([0-9]{1,4})(?:[^0-9]|$)`)

// minorOfRust reads such a version; ok is false for another one.
func minorOfRust(version string) (minor int, ok bool) {
	m := rustMinor.FindStringSubmatch(version)
	if m == nil {
		return 0, false
	}
	minor, err := strconv.Atoi(m[1])
	return minor, err == nil
}

// crateManifest is as much of a crate's Cargo.toml as says which Rust it is for.
type crateManifest struct {
	Package struct {
		// Edition and Rust are texts in what is published.
		Edition any `toml:"edition"`
		Rust    any `toml:"rust-version"`
	} `toml:"package"`
}

// needs gives the minor versions of Rust 1 that the crate's edition begins with, and that it
// states. An edition that is not known begins beyond all versions.
func (m crateManifest) needs() (edition, stated int) {
	name, _ := m.Package.Edition.(string)
	edition, known := editions[name]
	if !known {
		edition = math.MaxInt
	}
	text, _ := m.Package.Rust.(string)
	stated, _ = minorOfRust(text)
	return edition, stated
}

// checkRust refuses crates of an edition that the toolchain's cargo does not read, all at once,
// and tells of crates that state a newer Rust: those may be for another platform alone.
func (p *distLocker) checkRust(ctx context.Context, sdist recipes.Dist, crates []recipes.Crate) error {
	has, ok := minorOfRust(p.debian.debs[p.lock.Base.Suite]["rustc-web"].Version)
	if !ok {
		return nil
	}
	old := &OldRustError{Dist: sdist, Has: has, Suite: p.lock.Base.Suite}
	unread := false
	for _, c := range crates {
		m, err := p.crateManifest(ctx, c)
		if err != nil {
			return err
		}
		edition, stated := m.needs()
		switch {
		case edition > has:
			unread = true
			old.Crates = append(old.Crates, fmt.Sprintf("crate %s %s is of edition %v", c.Name, c.Version, m.Package.Edition))
		case stated > has:
			old.Crates = append(old.Crates, fmt.Sprintf("crate %s %s is for Rust 1.%d", c.Name, c.Version, stated))
		default:
			continue
		}
		old.Pins = append(old.Pins, c.Name+"=="+cmp.Or(p.olderCrate(ctx, c, has), "VERSION"))
	}
	switch {
	case unread:
		return old
	case len(old.Crates) > 0:
		progress.Send(ctx, progress.Event{
			Kind: progress.Told, Stage: progress.StageLock,
			Message: strings.ReplaceAll(old.Error(), "\n", " ") + "; if the build fails for that, " + old.Hint(),
		})
	}
	return nil
}

// olderCrate is the newest version of a crate that is compatible with the chosen one, and that
// its index has for the toolchain's Rust; empty where there is none.
func (p *distLocker) olderCrate(ctx context.Context, c recipes.Crate, minor int) string {
	versions, err := p.l.Fetch.CrateVersions(ctx, c.Name)
	if err != nil {
		return "" // it is advice alone
	}
	below, _ := fetch.CrateNumbers(c.Version)
	var best [3]int
	older := ""
	for _, v := range versions {
		numbers, ok := fetch.CrateNumbers(v.Version)
		stated, says := minorOfRust(v.Rust)
		fits := ok && says && stated <= minor && !v.Yanked && !strings.Contains(v.Version, "-") && fetch.CompatibleCrates(v.Version, c.Version)
		if fits && slices.Compare(numbers[:], below[:]) < 0 && slices.Compare(numbers[:], best[:]) > 0 {
			best, older = numbers, v.Version
		}
	}
	return older
}

// crateManifest reads the Cargo.toml of a crate in the store.
func (p *distLocker) crateManifest(ctx context.Context, c recipes.Crate) (m crateManifest, err error) {
	file := c.Name + "-" + c.Version
	f, err := p.l.Store.Open(c.SHA256)
	if err != nil {
		return m, err
	}
	defer f.Close()
	for member, err := range sources.Sdist(ctx, f, file+".tar.gz") {
		if err != nil {
			return m, wrongCrate(file, err)
		}
		if member.Name != file+"/Cargo.toml" {
			continue
		}
		data, err := member.Read(maxManifest)
		if err == nil {
			err = toml.Unmarshal(data, &m)
		}
		if err != nil {
			return m, wrongCrate(file, err)
		}
		return m, nil
	}
	return m, wrongCrate(file, fmt.Errorf("it has no %s/Cargo.toml", file))
}

// wrongCrate says that a crate is not as crates are.
func wrongCrate(file string, err error) error {
	return faults.New(faults.Input, "hold it to another version: packages: {NAME: {crates: [CRATE==VERSION]}}", "reading crate %s: %w", file, err)
}

// OldRustError says that crates which cargo chose are for a newer Rust than the toolchain has.
type OldRustError struct {
	// Dist is the sdist that takes them.
	Dist recipes.Dist
	// Has is the minor version of the toolchain's Rust 1, and Suite where it is from.
	Has   int
	Suite string
	// Crates say which crates are for which Rust.
	Crates []string
	// Pins are entries that hold them to older versions, as far as the index tells which.
	Pins []string
}

func (e *OldRustError) Error() string {
	return fmt.Sprintf("%s has no Cargo.lock, and of the crates that cargo chooses for it some are for a newer Rust than the 1.%d of %s:\n%s", e.Dist.File, e.Has, e.Suite, strings.Join(recipes.First(e.Crates), "\n"))
}

// Kind says whose fault it is.
func (*OldRustError) Kind() faults.Kind { return faults.Input }

// Hint says what can be done.
func (e *OldRustError) Hint() string {
	return "hold them to older versions, or take a newer base.debian:\npackages:\n  " + e.Dist.Name + ":\n    crates: [" + strings.Join(e.Pins, ", ") + "]"
}
