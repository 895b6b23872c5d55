package locking

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"ampoule/builder/wheels"
	"ampoule/faults"
	"ampoule/packaging"
	"ampoule/recipes"
	"ampoule/tree"
)

// pylock is as much of a pylock.toml (PEP 751) as locking reads.
type pylock struct {
	Packages []pylockPackage `toml:"packages"`
}

type pylockPackage struct {
	Name    string       `toml:"name"`
	Version string       `toml:"version"`
	Sdist   *pylockFile  `toml:"sdist"`
	Wheels  []pylockFile `toml:"wheels"`
}

type pylockFile struct {
	Name   string            `toml:"name"`
	URL    string            `toml:"url"`
	Hashes map[string]string `toml:"hashes"`
}

// fileName returns the file's name: given, or the last part of its address.
func (f pylockFile) fileName() string {
	if f.Name != "" {
		return f.Name
	}
	u, err := url.Parse(f.URL)
	if err != nil {
		return ""
	}
	return path.Base(u.Path)
}

// release is one resolved version with its files.
type release struct {
	name, version string
	sdist         *recipes.Dist
	// pure and native are the wheels that the interpreter could install.
	pure, native []recipes.Dist
}

// from names the source of all files.
func (r *release) from(source string) {
	if r.sdist != nil {
		r.sdist.Source = source
	}
	for _, files := range [][]recipes.Dist{r.pure, r.native} {
		for i := range files {
			files[i].Source = source
		}
	}
}

// parsePylock reads a resolution. An entry that names no version, or a file without
// a plain name or a sha256, is an error: it could not be locked.
func parsePylock(data []byte) ([]release, error) {
	var doc pylock
	if err := toml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("reading the resolution: %w", err)
	}
	releases := make([]release, 0, len(doc.Packages))
	for _, p := range doc.Packages {
		r := release{name: packaging.NormalName(p.Name), version: p.Version}
		if p.Version == "" {
			return nil, fmt.Errorf("reading the resolution: %s has no version: a requirement by address cannot be locked", p.Name)
		}
		dist := func(f pylockFile) (recipes.Dist, error) {
			file, sum := f.fileName(), f.Hashes["sha256"]
			if tree.CheckPath(file) != nil || path.Base(file) != file {
				return recipes.Dist{}, fmt.Errorf("reading the resolution: %q is not the name of a file of %s", file, p.Name)
			}
			if sum == "" {
				return recipes.Dist{}, noHash(file)
			}
			return recipes.Dist{Name: r.name, Version: p.Version, File: file, SHA256: sum}, nil
		}
		if p.Sdist != nil {
			d, err := dist(*p.Sdist)
			if err != nil {
				return nil, err
			}
			r.sdist = &d
		}
		for _, f := range p.Wheels {
			d, err := dist(f)
			if err != nil {
				return nil, err
			}
			if wheels.IsPure(d.File) {
				r.pure = append(r.pure, d)
			} else {
				r.native = append(r.native, d)
			}
		}
		releases = append(releases, r)
	}
	return releases, nil
}

// noHash says that an index does not say what a file is.
func noHash(file string) error {
	return faults.New(faults.Input, "a lock holds every file by its sha256: let the index tell it, as #sha256=… behind the file's address (PEP 503) or under hashes (PEP 691)",
		"the index gives no sha256 for %s", file)
}

// NoSdistError says that a distribution with native code has nothing to build it from.
type NoSdistError struct{ Name, Version string }

func (e *NoSdistError) Error() string {
	return fmt.Sprintf("%s %s has native code and no sdist to build it from", e.Name, e.Version)
}

// Kind says whose fault it is.
func (*NoSdistError) Kind() faults.Kind { return faults.Input }

// Hint says what can be done.
func (e *NoSdistError) Hint() string {
	return "choose a version that has an sdist, or accept its published wheel under binary.accept in the recipe; if that is pure after all, list it under pure"
}

// choice says which kinds of wheels may be taken as they are published.
type choice struct {
	// pure takes the pure wheel of a release that has others too.
	pure bool
	// tool takes the wheel of a program: one that no Python loads.
	tool bool
	// accepted takes a wheel with native code.
	accepted bool
}

// choose picks the one file of a release: the pure wheel of a release without
// native ones, or of one that is called pure; a native one where it is taken as it
// is; else the sdist.
func (r release) choose(c choice) (recipes.Dist, error) {
	if len(r.pure) > 0 && (len(r.native) == 0 || c.pure) {
		return slices.MinFunc(r.pure, func(a, b recipes.Dist) int { return strings.Compare(a.File, b.File) }), nil
	}
	if c.tool {
		programs := slices.DeleteFunc(slices.Clone(r.native), func(d recipes.Dist) bool { return nameOf(d.File).ABI != "none" })
		if len(programs) > 0 {
			return best(programs), nil
		}
	}
	if c.accepted && len(r.native) > 0 {
		return best(r.native), nil
	}
	if r.sdist != nil {
		return *r.sdist, nil
	}
	return recipes.Dist{}, &NoSdistError{r.name, r.version}
}

// nameOf takes a wheel's name apart; of one that is not named as wheels are nothing is known.
func nameOf(file string) packaging.WheelName {
	name, err := packaging.ParseWheelName(file)
	if err != nil {
		return packaging.WheelName{}
	}
	return name
}

// best is the wheel that fits closest, of wheels that all fit: first one for this
// interpreter's own ABI, then one for the stable ABI, then one for any; among equals
// the one for the newest glibc, as pip ranks them.
func best(native []recipes.Dist) recipes.Dist {
	rank := func(d recipes.Dist) (abi, glibc int) {
		name := nameOf(d.File)
		switch {
		case strings.HasPrefix(name.ABI, "cp"):
			abi = 2
		case strings.HasPrefix(name.ABI, "abi3"):
			abi = 1
		}
		for _, tag := range name.Tags() {
			if p, ok := packaging.ParsePlatform(tag.Platform); ok && p.Libc == packaging.Glibc {
				glibc = max(glibc, 1000*p.Major+p.Minor)
			}
		}
		return abi, glibc
	}
	return slices.MaxFunc(native, func(a, b recipes.Dist) int {
		abiA, glibcA := rank(a)
		abiB, glibcB := rank(b)
		return cmp.Or(cmp.Compare(abiA, abiB), cmp.Compare(glibcA, glibcB), strings.Compare(a.File, b.File))
	})
}

// metadata is what a build backend said of one release.
type metadata struct {
	Name           string   `toml:"name"`
	Version        string   `toml:"version"`
	RequiresDist   []string `toml:"requires-dist"`
	RequiresPython string   `toml:"requires-python,omitempty"`
	ProvidesExtra  []string `toml:"provides-extra"`
}

// uvIndex is a package index as uv's configuration has it.
type uvIndex struct {
	URL     string `toml:"url"`
	Default bool   `toml:"default"`
}

// uvConfig writes uv's configuration: the one index, and the metadata that is known.
func uvConfig(index string, known []metadata) []byte {
	data, err := toml.Marshal(struct {
		Index              []uvIndex  `toml:"index"`
		DependencyMetadata []metadata `toml:"dependency-metadata"`
	}{[]uvIndex{{index, true}}, known})
	if err != nil {
		panic("locking: metadata is not TOML: " + err.Error())
	}
	return data
}

// maxDepends bounds what one release may say that it depends on, with its extras. The most
// that is known is some 2,000.
const maxDepends = 20_000

// maxExtra bounds the name of an extra, in bytes.
const maxExtra = 128

// parseMetadata reads core metadata: headers until the first empty line. Metadata of
// another release than the one that was asked about is an error. Versions of Python and
// extras that are none are left out, as installers do: the resolver reads the rest.
func parseMetadata(name, version, text string) (metadata, error) {
	m := metadata{Name: name, Version: version, RequiresDist: []string{}, ProvidesExtra: []string{}}
	fields, err := readFields(text)
	if err != nil {
		return metadata{}, lyingSdist(name, version, fmt.Sprintf("it is more than metadata is (%v)", err))
	}
	for _, value := range fields["Name"] {
		if packaging.NormalName(value) != packaging.NormalName(name) {
			return metadata{}, lyingSdist(name, version, "it is of "+value)
		}
	}
	for _, value := range fields["Version"] {
		if !packaging.SameVersion(value, version) {
			return metadata{}, lyingSdist(name, version, "its version is "+value)
		}
	}
	m.RequiresDist = append(m.RequiresDist, fields["Requires-Dist"]...)
	for _, value := range fields["Requires-Python"] {
		if s, err := packaging.ParseSpecifiers(value); err == nil && len(s) > 0 {
			// In its one spelling: not every resolver takes a comma behind the last one.
			m.RequiresPython = s.String()
		}
	}
	for _, value := range fields["Provides-Extra"] {
		if len(value) <= maxExtra && packaging.IsName(value) {
			m.ProvidesExtra = append(m.ProvidesExtra, value)
		}
	}
	if len(m.RequiresDist)+len(m.ProvidesExtra) > maxDepends {
		return metadata{}, lyingSdist(name, version, fmt.Sprintf("it depends on more than %d distributions", maxDepends))
	}
	return m, nil
}

// readFields reads the fields of core metadata that have a value. Lines that are no fields are
// left out: not every backend folds a licence that it writes. What is too large is an error.
func readFields(text string) (packaging.Metadata, error) {
	fields, err := packaging.ParseMetadata([]byte(text))
	if fields == nil && err != nil {
		return nil, err
	}
	for name, values := range fields {
		for i, value := range values {
			values[i] = strings.TrimSpace(value)
		}
		fields[name] = slices.DeleteFunc(values, func(value string) bool { return value == "" })
	}
	return fields, nil
}

// lyingSdist says that an sdist is not of the release that the index has it for.
func lyingSdist(name, version, says string) error {
	return faults.New(faults.Input, "choose another version of "+name, "the index has an sdist of %s %s whose metadata says that %s", name, version, says)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
