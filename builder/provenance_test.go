package builder

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ampoule/artifact"
	"ampoule/builder/fetch"
	"ampoule/recipes"
)

// The provenance names all that went into the build, and what the network could do.
func TestProvenance(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	res, err := w.build()
	if err != nil {
		t.Fatal(err)
	}
	p := w.artifacts[0].Provenance
	def := p.BuildDefinition
	if def.BuildType != artifact.BuildType || def.InternalParameters.Key != res.Key || def.InternalParameters.Builder != Version() || def.ExternalParameters.Source != nil {
		t.Errorf("%+v", def)
	}
	if network := def.InternalParameters.Network; !network.Denied || network.Checked == "" {
		t.Errorf("the network: %+v", network)
	}
	var recipe struct{ Name string }
	if err := json.Unmarshal(def.ExternalParameters.Recipe, &recipe); err != nil || recipe.Name != w.recipe.Name {
		t.Errorf("the recipe: %s, %v", def.ExternalParameters.Recipe, err)
	}
	plan := w.request().plan()
	for _, i := range plan.Inputs {
		named := slices.ContainsFunc(def.ResolvedDependencies, func(r artifact.Resource) bool {
			return r.Digest["sha256"] == i.SHA256 && r.Name == i.File && strings.HasPrefix(r.URI, "pkg:")
		})
		if !named {
			t.Errorf("%s is not among the dependencies", i)
		}
	}
	verdict := func(r artifact.Resource) bool { return r.Name == artifact.VerdictFile }
	if !slices.ContainsFunc(p.RunDetails.Byproducts, verdict) {
		t.Errorf("byproducts are %+v", p.RunDetails.Byproducts)
	}
	for _, r := range p.RunDetails.Byproducts {
		data, err := os.ReadFile(filepath.Join(res.Logs, r.Name))
		sum := sha256.Sum256(data)
		if err != nil || hex.EncodeToString(sum[:]) != r.Digest["sha256"] {
			t.Errorf("byproduct %s is not what it was: %v", r.Name, err)
		}
	}
	if p.RunDetails.Builder.ID != "" || p.RunDetails.Metadata.StartedOn == "" || p.RunDetails.Metadata.FinishedOn == "" {
		t.Errorf("%+v", p.RunDetails)
	}
}

// Of first-party code it says what it is of, and whether that is known.
func TestProvenanceOfApp(t *testing.T) {
	t.Parallel()
	w := newAppWorld(t, allFiles)
	res, err := w.build()
	if err != nil {
		t.Fatal(err)
	}
	source := w.artifacts[0].Provenance.BuildDefinition.ExternalParameters.Source
	if source == nil || !source.Dirty || source.Commit != "" || source.Hash != res.Source.Hash {
		t.Errorf("%+v", source)
	}
}

func TestDependencies(t *testing.T) {
	t.Parallel()
	l := &recipes.Lock{
		Base:  recipes.LockedBase{Image: "registry.example:5000/team/base@sha256:" + strings.Repeat("a", 64)},
		Dists: []recipes.Dist{{Name: "demo", Version: "1+x", Build: &recipes.BuildSet{Patches: []recipes.Patch{{File: "p/demo.patch", SHA256: "bb"}}}}},
	}
	var got []string
	for _, r := range dependencies(l, []fetch.Item{
		{Source: fetch.PyPI, Name: "demo", Version: "1+x", File: "demo.tar.gz", SHA256: "cc"},
		{Source: fetch.Debian, Name: "g++", Version: "4:12.2.0-3", File: "pool/g.deb", SHA256: "dd"},
		{Source: fetch.CPython, Name: "cpython", Version: "3.13.5", File: "Python.tar.xz", SHA256: "ee"},
		{Source: fetch.Crates, Name: "syn", Version: "2.0.0", File: "syn.crate", SHA256: "ff"},
		{Source: "company", Name: "own", Version: "1", File: "own.whl", SHA256: "gg"},
	}) {
		got = append(got, r.URI+" "+r.Digest["sha256"][:2])
	}
	want := []string{
		"pkg:pypi/demo@1%2Bx cc", "pkg:deb/debian/g%2B%2B@4%3A12.2.0-3 dd", "pkg:generic/cpython@3.13.5 ee", "pkg:cargo/syn@2.0.0 ff",
		"pkg:pypi/own@1?source=company gg", "pkg:generic/patch-demo@1%2Bx bb", "pkg:oci/base@sha256%3A" + strings.Repeat("a", 64) + " aa",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
