// Package sbom says what an artifact is made of, as one CycloneDX 1.6 document: the
// interpreter, each distribution, each Debian package that files are carried from, the
// packages of the image's base, the recipe's own code, and what all that was built with. Of a
// dependency group it says the same: what the group lays over its artifact.
//
// The bytes follow from the artifact alone: there is no clock and no random number in them,
// and everything is sorted. The serial number is made of the artifact's digest. They are on one line,
// since a registry gets them with every artifact.
//
// What wheels bring of such documents themselves (PEP 770) is foreign: it is read within
// limits, and what is taken of it says where it is from.
package sbom

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"ampoule/audit"
	"ampoule/tree"
)

// Names of properties. Those of components say what CycloneDX has no field for.
const (
	namespace = "dev.ampoule:"
	// propertySource and propertySourceVersion are a Debian package's source package.
	propertySource        = namespace + "debian:source"
	propertySourceVersion = namespace + "debian:source-version"
	// propertyOrigin says where a component is: in the image's base, or in the tree.
	propertyOrigin = namespace + "origin"
	// propertyGroup is the dependency group that a document is about.
	propertyGroup = namespace + "group"
	// propertyFrom is the document of a wheel that a component is told by.
	propertyFrom = namespace + "from"
	// propertyMerged is a document of a wheel that was read; propertyUnread one that was
	// not, and why.
	propertyMerged = namespace + "sbom"
	propertyUnread = namespace + "sbom:unread"
	// propertyIndex names the private source that alone has a distribution.
	propertyIndex       = namespace + "index"
	propertyKey         = namespace + "key"
	propertyFingerprint = namespace + "fingerprint"
	propertyCommit      = namespace + "commit"
	propertyDirty       = namespace + "dirty"
)

// Where a component is.
const (
	originTree        = "tree"
	originBase        = "base"
	originInterpreter = "interpreter"
	// originArtifact is that of the artifact that a dependency group is laid over.
	originArtifact = "artifact"
)

// Package is an installed Debian package and the source package that it was built from.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	// Source and SourceVersion are those of the source package, whose security updates are
	// this one's.
	Source        string `json:"source"`
	SourceVersion string `json:"sourceVersion"`
}

// Kinds of ingredients: the types of their package URLs.
const (
	KindDebian = "deb"
	KindPyPI   = "pypi"
	KindCargo  = "cargo"
)

// Ingredient is something that the artifact was built with and that is no part of it: a
// package of the toolchain, a build requirement, a crate.
type Ingredient struct {
	// Kind is one of those above.
	Kind          string
	Name, Version string
	// Arch is a Debian package's architecture.
	Arch string
	// File is its name as its source has it, SHA256 its hash in hexadecimal.
	File, SHA256 string
}

// Sdist is what a distribution was built from.
type Sdist struct{ File, SHA256 string }

// Input is what a document is made of.
type Input struct {
	// Name is the recipe's, Digest the artifact's, Key its key, Platform OS/ARCH.
	Name, Digest, Key, Platform string
	// Group is the dependency group that the document is about, instead of the artifact, and
	// Over the digest of the artifact that it is laid over. Digest, Key and Tree are the
	// group's then.
	Group, Over string
	// Record is what the tree says of itself, Tree the tree.
	Record *audit.ArtifactRecord
	Tree   *tree.Tree
	// PythonFile is the name of CPython's source archive, PythonSHA256 its hash.
	PythonFile, PythonSHA256 string
	// Suite is the Debian suite of the packages that were built with, and carried from,
	// BaseSuite that of the image's base; empty where it is not known.
	Suite, BaseSuite string
	// Carried names the Debian package of files that the tree carries, by their paths.
	Carried map[string]Package
	// Base are the packages of the image's base.
	Base []Package
	// Sdists are what distributions were built from, by normalised name.
	Sdists map[string]Sdist
	// Indexes names the private source of a distribution that has one, by normalised name.
	Indexes map[string]string
	// Own are the normalised names of the recipe's own distributions, Commit what they are of,
	// as their version control names it, and Dirty says that files differed from it.
	Own    map[string]bool
	Commit string
	Dirty  bool
	// Build is what it was built with.
	Build []Ingredient
}

// Make makes the document.
func Make(in Input) ([]byte, error) {
	dists, err := distributions(in)
	if err != nil {
		return nil, fmt.Errorf("writing the bill of materials of %s: %w", in.Name, err)
	}
	m := maker{in: in, seen: map[string]bool{}}
	whole := m.artifact()
	if in.Group == "" {
		m.add(m.interpreter())
	} else {
		m.add(m.over())
	}
	for _, d := range dists {
		m.distribution(d)
	}
	m.carried()
	m.base()
	m.connect(whole.BOMRef, dists)
	bom := cdx.NewBOM()
	bom.JSONSchema = "http://cyclonedx.org/schema/bom-1.6.schema.json"
	bom.SpecVersion = cdx.SpecVersion1_6
	bom.SerialNumber = serial(in.Digest)
	bom.Metadata = &cdx.Metadata{
		Lifecycles: &[]cdx.Lifecycle{{Phase: cdx.LifecyclePhaseBuild}},
		Tools:      &cdx.ToolsChoice{Components: &[]cdx.Component{{Type: cdx.ComponentTypeApplication, Name: "ampoule"}}},
		Component:  &whole,
	}
	slices.SortStableFunc(m.components, func(a, b cdx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })
	bom.Components = &m.components
	bom.Dependencies = m.dependencies()
	if build := m.ingredients(); len(build) > 0 {
		bom.Formulation = &[]cdx.Formula{{BOMRef: "build", Components: &build}}
	}
	var b bytes.Buffer
	if err := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON).SetEscapeHTML(false).Encode(bom); err != nil {
		return nil, fmt.Errorf("writing the bill of materials of %s: %w", in.Name, err)
	}
	return b.Bytes(), nil
}

// serial is a UUID that is made of a digest (RFC 9562, version 8).
func serial(digest string) string {
	sum := sha256.Sum256([]byte("ampoule.sbom/v1 " + digest))
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	h := hex.EncodeToString(sum[:16])
	return "urn:uuid:" + strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}
