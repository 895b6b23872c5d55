package sbom

import (
	"path"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/package-url/packageurl-go"
)

// Part is something that an artifact holds, by its document.
type Part struct {
	// Kind is the type of its package URL, such as pypi or deb; empty for a file of no package.
	Kind, Name, Version string
	// Source is the name of a Debian package's source package.
	Source string
	// Files are the names of its files that are carried libraries, without directories.
	Files []string
}

// Parts are what the artifact holds: interpreter, distributions, carried libraries, and the
// packages of its base.
func (d *Document) Parts() []Part { return d.parts }

// part notes a component of the artifact itself, and what it says that it contains.
func (d *Document) part(c cdx.Component) {
	p := Part{Name: c.Name, Version: c.Version, Source: property(c, propertySource)}
	if purl, err := packageurl.FromString(c.PackageURL); err == nil {
		p.Kind = purl.Type
	}
	if p.Kind == "" {
		p.Files = append(p.Files, path.Base(c.Name))
	}
	if c.Evidence != nil {
		for _, o := range all(c.Evidence.Occurrences) {
			p.Files = append(p.Files, path.Base(o.Location))
		}
	}
	d.parts = append(d.parts, p)
}
