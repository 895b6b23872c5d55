package sbom

import (
	"bytes"
	"fmt"
	"slices"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/package-url/packageurl-go"

	"ampoule/faults"
)

// maxRead bounds a document that is read, in bytes.
const maxRead = 64 << 20

// ErrDocument is wrapped by errors about what is no document of this package's.
var ErrDocument = faults.New(faults.Refused, "", "not a bill of materials that Ampoule writes")

// Document is a document that was read.
type Document struct {
	carried map[string]Package
	inputs  []Ingredient
	base    []Package
	parts   []Part
}

// Read reads a document that [Make] has made.
func Read(data []byte) (*Document, error) {
	if len(data) > maxRead {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrDocument, len(data), maxRead)
	}
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(data), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	if bom.BOMFormat != cdx.BOMFormat || bom.SpecVersion != cdx.SpecVersion1_6 {
		return nil, fmt.Errorf("%w: it is %q %s", ErrDocument, bom.BOMFormat, bom.SpecVersion)
	}
	d := &Document{carried: map[string]Package{}}
	for _, c := range all(bom.Components) {
		d.component(c)
		d.part(c)
	}
	for _, f := range all(bom.Formulation) {
		for _, c := range all(f.Components) {
			d.input(c, shaOf(c.Hashes))
		}
	}
	return d, nil
}

// Carried returns the Debian package that a file of the tree is from.
func (d *Document) Carried(path string) (Package, bool) {
	p, ok := d.carried[path]
	return p, ok
}

// Base lists the Debian packages of the image's base.
func (d *Document) Base() []Package { return d.base }

// Inputs are what was built with, and the sources of what is installed: kind, name, version,
// architecture and hash of each.
func (d *Document) Inputs() []Ingredient { return d.inputs }

// input notes what has a package URL.
func (d *Document) input(c cdx.Component, sha256 string) {
	purl, err := packageurl.FromString(c.PackageURL)
	if err != nil {
		return
	}
	d.inputs = append(d.inputs, Ingredient{Kind: purl.Type, Name: c.Name, Version: c.Version, Arch: purl.Qualifiers.Map()["arch"], SHA256: sha256})
}

func (d *Document) component(c cdx.Component) {
	if source := reference(c, cdx.ERTypeSourceDistribution); source != "" {
		d.input(c, source)
	}
	name := property(c, propertySource)
	if name == "" {
		return
	}
	p := Package{Name: c.Name, Version: c.Version, Source: name, SourceVersion: property(c, propertySourceVersion)}
	if purl, err := packageurl.FromString(c.PackageURL); err == nil {
		p.Arch = purl.Qualifiers.Map()["arch"]
	}
	if property(c, propertyOrigin) == originBase {
		d.base = append(d.base, p)
	}
	if c.Evidence != nil {
		for _, o := range all(c.Evidence.Occurrences) {
			d.carried[o.Location] = p
		}
	}
}

// all gives the elements of a list that may be missing.
func all[T any](list *[]T) []T {
	if list == nil {
		return nil
	}
	return *list
}

func property(c cdx.Component, name string) string {
	list := all(c.Properties)
	if i := slices.IndexFunc(list, func(p cdx.Property) bool { return p.Name == name }); i >= 0 {
		return list[i].Value
	}
	return ""
}

// reference is the sha256 of what a component refers to.
func reference(c cdx.Component, kind cdx.ExternalReferenceType) string {
	for _, r := range all(c.ExternalReferences) {
		if r.Type == kind {
			return shaOf(r.Hashes)
		}
	}
	return ""
}

func shaOf(hashes *[]cdx.Hash) string {
	for _, h := range all(hashes) {
		if h.Algorithm == cdx.HashAlgoSHA256 {
			return h.Value
		}
	}
	return ""
}
