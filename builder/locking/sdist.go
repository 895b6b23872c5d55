package locking

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"ampoule/builder/locking/sources"
	"ampoule/faults"
)

// maxTopFile bounds a pyproject.toml and a PKG-INFO, in bytes.
const maxTopFile = 4 << 20

// legacyRequires is what a build without pyproject.toml needs (PEP 518).
var legacyRequires = []string{"setuptools>=40.8.0"}

// buildSystem is the table of that name in a pyproject.toml (PEP 517, PEP 518).
type buildSystem struct {
	requires []string
	// backend is empty where none is named.
	backend string
}

// readBuildSystem reads a pyproject.toml; data is nil where an sdist has none.
func readBuildSystem(data []byte, file string) (buildSystem, error) {
	var doc struct {
		BuildSystem *struct {
			Requires *[]string `toml:"requires"`
			Backend  string    `toml:"build-backend"`
			Path     []string  `toml:"backend-path"`
		} `toml:"build-system"`
		Project struct {
			License any `toml:"license"`
		} `toml:"project"`
	}
	if err := toml.Unmarshal(data, &doc); err != nil {
		return buildSystem{}, wrongSdist(file, fmt.Errorf("its pyproject.toml: %w", err))
	}
	table := doc.BuildSystem
	if table == nil {
		return buildSystem{requires: legacyRequires}, nil
	}
	if table.Requires == nil {
		return buildSystem{}, errNoRequires(file)
	}
	if len(table.Path) > 0 {
		// It is the sdist's own, whatever it is called.
		table.Backend = ""
	}
	requires := *table.Requires
	if _, expression := doc.Project.License.(string); expression && strings.HasPrefix(table.Backend, "setuptools.") && !slices.Contains(requires, licensesSince) {
		requires = append(slices.Clone(requires), licensesSince)
	}
	return buildSystem{requires, table.Backend}, nil
}

// licensesSince is what reads a license that is an SPDX expression (PEP 639): setuptools from this
// version on. Sdists with one name older versions too, since their authors build with the newest; here
// the tree's version is taken where it satisfies what is named.
const licensesSince = "setuptools>=77"

// declarative are the backends that know what they need without running anything of the
// project: they can be asked before what the project's build imports is built.
var declarative = []string{
	"flit_core.buildapi", "hatchling.build", "maturin", "mesonpy", "pdm.backend", "poetry.core.masonry.api", "scikit_build_core.build",
}

// wrongSdist says that an sdist is not as sdists are.
func wrongSdist(file string, err error) error {
	return faults.New(faults.Input, "choose another version, or mend this one with a patch: packages.NAME.patches", "reading %s: %w", file, err)
}

func errNoRequires(file string) error {
	return wrongSdist(file, errors.New("build-system of its pyproject.toml has no requires (PEP 518)"))
}

// topFiles returns files at the top of an sdist, by name; those that it does not have
// are missing.
func topFiles(ctx context.Context, f *os.File, file string, names ...string) (map[string][]byte, error) {
	found, err := readTopFiles(ctx, f, file, names)
	if err != nil {
		return nil, wrongSdist(file, err)
	}
	return found, nil
}

func readTopFiles(ctx context.Context, f *os.File, file string, names []string) (map[string][]byte, error) {
	found := map[string][]byte{}
	for member, err := range sources.Sdist(ctx, f, file) {
		if err != nil {
			return nil, err
		}
		name, ok := topFile(member.Name, names)
		if !ok {
			continue
		}
		if found[name], err = member.Read(maxTopFile); err != nil {
			return nil, err
		}
		if len(found) == len(names) {
			break
		}
	}
	return found, nil
}

// topFile reports which of the names a member is, if it is one of them.
func topFile(member string, names []string) (string, bool) {
	dir, name, ok := strings.Cut(strings.TrimPrefix(member, "./"), "/")
	return name, ok && dir != "" && slices.Contains(names, name)
}
