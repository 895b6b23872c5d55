package lineage

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/recipes"
)

const packagesText = `apiVersion: ampoule/v1
name: web
python: {version: 3.13.5}
base: {debian: bookworm}
requirements: [psycopg2==2.9.10]
toolchain: {packages: [gfortran, libpq-dev]}
packages:
  psycopg2: {build: [libpq-dev]}
runtime:
  libraries: [libpq5]
  container: {base: {debian: trixie}}
`

// Each part of a lock that has a package is told, with the place where a person wrote its name.
func TestPackages(t *testing.T) {
	t.Parallel()
	r, err := recipes.ParseRecipe("ampoule.yaml", []byte(packagesText))
	if err != nil {
		t.Fatal(err)
	}
	l := &recipes.Lock{
		Base: recipes.LockedBase{Suite: "bookworm", Packages: []string{"libc6"}}, Toolchain: []string{"gcc", "gfortran", "libpq-dev"},
		Targets:   map[string]recipes.LockedBase{"container": {Suite: "trixie", Packages: []string{"libc6"}}},
		Libraries: &recipes.LockedLibraries{Names: []string{"libpq5"}},
		Debian: map[string]recipes.Suite{
			"bookworm": {{Name: "libc6", Version: "2.36"}, {Name: "libpq-dev", Version: "15"}, {Name: "libpq5", Version: "15"}}, "trixie": {{Name: "libc6", Version: "2.41"}},
		},
		Dists: []recipes.Dist{{Name: "psycopg2", Version: "2.9.10", Build: &recipes.BuildSet{Packages: []string{"libpq-dev", "libpq5"}}}, {Name: "idna", Version: "3"}},
		App:   []recipes.LockedApp{{Name: "web", Build: &recipes.BuildSet{Packages: []string{"libpq5"}}}},
		Groups: map[string]recipes.LockedGroup{"test": {
			Debian: map[string]recipes.Suite{"bookworm": {{Name: "libx", Version: "1"}}},
			Dists:  []recipes.Dist{{Name: "lxml", Version: "5", Build: &recipes.BuildSet{Packages: []string{"libx"}}}},
		}},
	}
	at := func(line, column int) *recipes.Position {
		return &recipes.Position{File: "ampoule.yaml", Line: line, Column: column}
	}
	for name, want := range map[string][]Package{
		"libc6": {
			{"bookworm", "2.36", []Taker{{"the base", nil}}}, {"trixie", "2.41", []Taker{{"the target container", nil}}},
		},
		"libpq-dev": {{"bookworm", "15", []Taker{{"the toolchain", at(6, 34)}, {"the build of psycopg2==2.9.10", at(8, 22)}}}},
		"libpq5":    {{"bookworm", "15", []Taker{{"what is loaded by name", at(10, 15)}, {"the build of psycopg2==2.9.10", nil}, {"the build of web", nil}}}},
		"libx":      {{"bookworm", "1", []Taker{{"the build of lxml==5 in the dependency group test", nil}}}},
		"gcc":       {{"bookworm", "", []Taker{{"the toolchain", nil}}}},
		"idna":      nil,
	} {
		if diff := cmp.Diff(want, Packages(r, l, name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
