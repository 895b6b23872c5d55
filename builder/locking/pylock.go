package locking

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

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

// parsePylock reads a resolution. An entry that names no version, or a file without
// a plain name or a sha256, is an error: it could not be locked.
func parsePylock(data []byte) ([]release, error) {
	var doc pylock
	if err := toml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("reading the resolution: %w", err)
	}
	releases := make([]release, 0, len(doc.Packages))
	for _, p := range doc.Packages {
		r := release{name: recipes.NormalName(p.Name), version: p.Version}
		if p.Version == "" {
			return nil, fmt.Errorf("reading the resolution: %s has no version: a requirement by address cannot be locked", p.Name)
		}
		dist := func(f pylockFile) (recipes.Dist, error) {
			file, sum := f.fileName(), f.Hashes["sha256"]
			if tree.CheckPath(file) != nil || path.Base(file) != file {
				return recipes.Dist{}, fmt.Errorf("reading the resolution: %q is not the name of a file of %s", file, p.Name)
			}
			if sum == "" {
				return recipes.Dist{}, fmt.Errorf("reading the resolution: the index gives no sha256 for %s", file)
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
			if isPure(d.File) {
				r.pure = append(r.pure, d)
			} else {
				r.native = append(r.native, d)
			}
		}
		releases = append(releases, r)
	}
	return releases, nil
}

// isPure says whether a wheel's file name claims no ABI and no platform.
func isPure(file string) bool { return strings.HasSuffix(file, "-none-any.whl") }

// NoSdistError says that a distribution with native code has nothing to build it from.
type NoSdistError struct{ Name, Version string }

func (e *NoSdistError) Error() string {
	return fmt.Sprintf("%s %s has native code and no sdist to build it from", e.Name, e.Version)
}

// Hint says what can be done.
func (e *NoSdistError) Hint() string {
	return "choose a version that has an sdist; if its wheel is pure after all, list it under pure in the recipe"
}

// choose picks the one file of a release: the pure wheel of a release without
// native ones, or of one that the recipe calls pure; else the sdist.
func (r release) choose(pure []string) (recipes.Dist, error) {
	if len(r.pure) > 0 && (len(r.native) == 0 || slices.Contains(pure, r.name)) {
		return slices.MinFunc(r.pure, func(a, b recipes.Dist) int { return strings.Compare(a.File, b.File) }), nil
	}
	if r.sdist != nil {
		return *r.sdist, nil
	}
	return recipes.Dist{}, &NoSdistError{r.name, r.version}
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

// folded is where a header goes on in the next line (RFC 822, 3.1.1).
var folded = regexp.MustCompile(`\n[ \t]+`)

// parseMetadata reads core metadata: headers until the first empty line.
func parseMetadata(name, version, text string) metadata {
	m := metadata{Name: name, Version: version, RequiresDist: []string{}, ProvidesExtra: []string{}}
	headers, _, _ := strings.Cut(strings.ReplaceAll(text, "\r\n", "\n"), "\n\n")
	for line := range strings.Lines(folded.ReplaceAllString(headers, " ")) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if value == "" {
			continue
		}
		switch strings.ToLower(key) {
		case "requires-dist":
			m.RequiresDist = append(m.RequiresDist, value)
		case "requires-python":
			m.RequiresPython = value
		case "provides-extra":
			m.ProvidesExtra = append(m.ProvidesExtra, value)
		}
	}
	return m
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
