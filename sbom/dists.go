package sbom

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/package-url/packageurl-go"

	"ampoule/audit"
	"ampoule/packaging"
	"ampoule/tree"
)

// ownerNative owns what a tree carries (builder/seal).
const ownerNative = "native"

// distribution is an installed distribution.
type distribution struct {
	// name is normalised (PEP 503).
	name, version string
	// info is its .dist-info directory.
	info string
	// requires are the names of what it asks for here.
	requires []string
	license  string
	ref      string
}

// distributions reads the METADATA of all installed distributions, sorted by path.
func distributions(in Input) ([]distribution, error) {
	env := packaging.LinuxEnvironment(in.Record.Python.Version, strings.ReplaceAll(in.Record.Python.Fingerprint.Machine, "-", "_"))
	var list []distribution
	for _, e := range in.Tree.Entries() {
		if e.Kind != tree.Dir || path.Base(path.Dir(e.Path)) != "site-packages" {
			continue
		}
		name, version, ok := packaging.ParseInfoDir(path.Base(e.Path))
		if !ok {
			continue
		}
		d := distribution{name: packaging.NormalName(name), version: version, info: e.Path}
		if err := d.read(in.Tree, env); err != nil {
			return nil, err
		}
		d.ref = urlOf(in, d)
		list = append(list, d)
	}
	return list, nil
}

// urlOf is a distribution's package URL. The recipe's own code is nobody's on an index.
func urlOf(in Input, d distribution) string {
	kind := packageurl.TypePyPi
	if in.Own[d.name] {
		kind = packageurl.TypeGeneric
	}
	return packageurl.NewPackageURL(kind, "", d.name, d.version, nil, "").ToString()
}

// expression matches what may be a licence expression (PEP 639; SPDX specification, annex D).
var expression = regexp.MustCompile(`^[A-Za-z0-9.()+: -]{1,500}$`)

// read reads METADATA. One that has lines which are no fields is read as far as it goes, as
// installers do.
func (d *distribution) read(t *tree.Tree, env packaging.Environment) error {
	e, ok := t.Lookup(d.info + "/METADATA")
	if !ok || e.Kind != tree.File || e.Size > packaging.MaxMetadata {
		return nil
	}
	data, err := e.ReadAll()
	if err != nil {
		return err
	}
	fields, err := packaging.ParseMetadata(data)
	if fields == nil {
		return fmt.Errorf("reading %s: %w", e.Path, err)
	}
	if v := fields.Get("Version"); v != "" {
		d.version = v
	}
	if text := strings.Trim(fields.Get("License-Expression"), " "); expression.MatchString(text) {
		d.license = text
	}
	extras := fields.Values("Provides-Extra")
	for i := range extras {
		extras[i] = packaging.NormalName(extras[i])
	}
	for _, text := range fields.Values("Requires-Dist") {
		r, err := packaging.ParseRequirement(text)
		if err == nil && r.Applies(env, extras) && r.Name != d.name {
			d.requires = append(d.requires, r.Name)
		}
	}
	slices.Sort(d.requires)
	d.requires = slices.Compact(d.requires)
	return nil
}

// distribution adds a distribution, and what its own documents say that it contains.
func (m *maker) distribution(d distribution) {
	c := cdx.Component{BOMRef: d.ref, Type: cdx.ComponentTypeLibrary, Name: d.name, Version: d.version, PackageURL: d.ref}
	said := []string{propertyOrigin, originTree}
	if i := slices.IndexFunc(m.in.Record.Wheels, func(w audit.WheelMade) bool { return packaging.NormalName(w.Name) == d.name }); i >= 0 {
		w := m.in.Record.Wheels[i]
		c.Hashes = hashes(w.SHA256)
		refs := []cdx.ExternalReference{fileReference(cdx.ERTypeDistribution, w.File, w.SHA256)}
		if sdist, ok := m.in.Sdists[d.name]; ok && w.Sdist != "" {
			refs = append(refs, fileReference(cdx.ERTypeSourceDistribution, sdist.File, sdist.SHA256))
		}
		c.ExternalReferences = &refs
		said = append(said, propertyKey, w.Key)
	} else {
		said[1] = originInterpreter
	}
	if m.in.Own[d.name] {
		c.Type = cdx.ComponentTypeApplication
		said = append(said, propertyCommit, m.in.Commit)
		if m.in.Dirty {
			said = append(said, propertyDirty, "true")
		}
	}
	said = append(said, propertyIndex, m.in.Indexes[d.name])
	if d.license != "" {
		c.Licenses = &cdx.Licenses{{Expression: d.license}}
	}
	for _, document := range documents(m.in.Tree, d.info) {
		told, err := m.foreign(document)
		if err != nil {
			said = append(said, propertyUnread, document.Path+": "+err.Error())
			continue
		}
		said = append(said, propertyMerged, document.Path)
		m.depend(d.ref, told...)
	}
	c.Properties = properties(said...)
	m.add(c)
}
