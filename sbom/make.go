package sbom

import (
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/package-url/packageurl-go"

	"ampoule/tree"
)

// maker collects components, and what depends on what.
type maker struct {
	in         Input
	components []cdx.Component
	seen       map[string]bool
	edges      map[string][]string
	// interpreterRef refers to what has the interpreter, below to all that the whole consists
	// of.
	interpreterRef string
	below          []string
}

// add adds a component, once.
func (m *maker) add(c cdx.Component) {
	if !m.seen[c.BOMRef] {
		m.seen[c.BOMRef] = true
		m.components = append(m.components, c)
	}
}

// depend notes that one component needs others.
func (m *maker) depend(ref string, on ...string) {
	if m.edges == nil {
		m.edges = map[string][]string{}
	}
	m.edges[ref] = append(m.edges[ref], on...)
}

// dependencies lists the edges, sorted. Each component has a place in the graph.
func (m *maker) dependencies() *[]cdx.Dependency {
	for _, c := range m.components {
		m.depend(c.BOMRef)
	}
	list := make([]cdx.Dependency, 0, len(m.edges))
	for _, ref := range slices.Sorted(maps.Keys(m.edges)) {
		d := cdx.Dependency{Ref: ref}
		on := slices.Clone(m.edges[ref])
		slices.Sort(on)
		on = slices.Compact(on)
		if len(on) > 0 {
			d.Dependencies = &on
		}
		list = append(list, d)
	}
	return &list
}

// artifact is the whole: an artifact, or a dependency group.
func (m *maker) artifact() cdx.Component {
	c := m.container(m.in.Digest)
	c.Properties = properties(propertyKey, m.in.Key, propertyGroup, m.in.Group)
	if m.in.Group != "" {
		c.Description = "dependency group " + m.in.Group
	}
	return c
}

// over is the artifact that a dependency group is laid over. What is in it, its own document
// says.
func (m *maker) over() cdx.Component {
	c := m.container(m.in.Over)
	c.Properties = properties(propertyOrigin, originArtifact)
	m.interpreterRef = c.BOMRef
	m.below = append(m.below, c.BOMRef)
	return c
}

// container is what a registry has under a digest.
func (m *maker) container(digest string) cdx.Component {
	_, arch, _ := strings.Cut(m.in.Platform, "/")
	purl := packageurl.NewPackageURL(packageurl.TypeOCI, "", path.Base(m.in.Name), digest,
		packageurl.QualifiersFromMap(map[string]string{"arch": arch}), "").ToString()
	return cdx.Component{
		BOMRef: purl, Type: cdx.ComponentTypeContainer, Name: m.in.Name, Version: digest, PackageURL: purl,
		Hashes: hashes(strings.TrimPrefix(digest, "sha256:")),
	}
}

// interpreter is CPython, compiled from its source.
func (m *maker) interpreter() cdx.Component {
	python := m.in.Record.Python
	purl := packageurl.NewPackageURL(packageurl.TypeGeneric, "", "cpython", python.Version, nil, "").ToString()
	c := cdx.Component{
		BOMRef: purl, Type: cdx.ComponentTypePlatform, Name: "cpython", Version: python.Version, PackageURL: purl,
		CPE:        "cpe:2.3:a:python:python:" + python.Version + ":*:*:*:*:*:*:*",
		Properties: properties(propertyOrigin, originInterpreter, propertyFingerprint, python.FingerprintDigest, propertyKey, python.Key),
	}
	if m.in.PythonFile != "" {
		c.ExternalReferences = &[]cdx.ExternalReference{fileReference(cdx.ERTypeSourceDistribution, m.in.PythonFile, m.in.PythonSHA256)}
	}
	m.interpreterRef = c.BOMRef
	m.below = append(m.below, c.BOMRef)
	return c
}

// library matches the names of shared libraries.
var library = regexp.MustCompile(`\.so(\.|$)`)

// carried adds a component for each Debian package that the tree carries files of, with the
// files, and one for each carried library whose package is not known.
func (m *maker) carried() {
	files := map[Package][]tree.Entry{}
	for _, e := range m.in.Tree.Entries() {
		if e.Owner != ownerNative || e.Kind == tree.Dir {
			continue
		}
		p, known := m.in.Carried[e.Path]
		switch {
		case known:
			files[p] = append(files[p], e)
		case e.Kind == tree.File && library.MatchString(path.Base(e.Path)):
			c := fileComponent(e)
			c.Type, c.Name = cdx.ComponentTypeLibrary, path.Base(e.Path)
			c.Properties = properties(propertyOrigin, originTree)
			m.add(c)
			m.below = append(m.below, c.BOMRef)
		}
	}
	for p, entries := range files {
		c := debian(p, originTree, m.in.Suite)
		var occurrences []cdx.EvidenceOccurrence
		var parts []cdx.Component
		for _, e := range entries {
			occurrences = append(occurrences, cdx.EvidenceOccurrence{Location: e.Path})
			if e.Kind == tree.File && library.MatchString(path.Base(e.Path)) {
				parts = append(parts, fileComponent(e))
			}
		}
		c.Evidence = &cdx.Evidence{Occurrences: &occurrences}
		if len(parts) > 0 {
			c.Components = &parts
		}
		m.add(c)
		m.below = append(m.below, c.BOMRef)
	}
}

// base adds the packages of the image's base.
func (m *maker) base() {
	if len(m.in.Base) == 0 {
		return
	}
	os := cdx.Component{
		BOMRef: "base", Type: cdx.ComponentTypeOS, Name: "debian", Version: m.in.BaseSuite,
		Properties: properties(propertyOrigin, originBase),
	}
	m.add(os)
	m.below = append(m.below, os.BOMRef)
	for _, p := range m.in.Base {
		c := debian(p, originBase, m.in.BaseSuite)
		m.add(c)
		m.depend(os.BOMRef, c.BOMRef)
	}
}

// debian is a Debian package. Its reference says where it is: one may be in the base and
// carried, too.
func debian(p Package, origin, suite string) cdx.Component {
	return cdx.Component{
		BOMRef: origin + ":" + debianURL(p, suite), Type: cdx.ComponentTypeLibrary, Name: p.Name, Version: p.Version,
		PackageURL: debianURL(p, suite),
		Properties: properties(propertyOrigin, origin, propertySource, p.Source, propertySourceVersion, p.SourceVersion),
	}
}

// debianURL is a package's URL (purl specification, "deb"). The source package stands in the
// qualifier that scanners look it up by.
func debianURL(p Package, suite string) string {
	q := map[string]string{"arch": p.Arch}
	if suite != "" {
		q["distro"] = suite
	}
	if p.Source != "" && (p.Source != p.Name || p.SourceVersion != p.Version) {
		q["upstream"] = p.Source + "@" + p.SourceVersion
	}
	return packageurl.NewPackageURL(packageurl.TypeDebian, "debian", p.Name, p.Version, packageurl.QualifiersFromMap(q), "").ToString()
}

// ingredients are what was used to build, by their URLs.
func (m *maker) ingredients() []cdx.Component {
	all := map[string]cdx.Component{}
	for _, i := range m.in.Build {
		var purl string
		switch i.Kind {
		case KindDebian:
			purl = debianURL(Package{Name: i.Name, Version: i.Version, Arch: i.Arch}, m.in.Suite)
		case KindPyPI:
			purl = packageurl.NewPackageURL(packageurl.TypePyPi, "", i.Name, i.Version, nil, "").ToString()
		default:
			purl = packageurl.NewPackageURL(i.Kind, "", i.Name, i.Version, nil, "").ToString()
		}
		c := cdx.Component{
			BOMRef: "build:" + purl + "#" + i.File, Type: cdx.ComponentTypeLibrary, Name: i.Name, Version: i.Version, PackageURL: purl,
			Scope: cdx.ScopeExcluded, Hashes: hashes(i.SHA256),
		}
		if i.File != "" {
			// Its hash is the component's own.
			c.ExternalReferences = &[]cdx.ExternalReference{fileReference(cdx.ERTypeDistribution, i.File, "")}
		}
		all[c.BOMRef] = c
	}
	list := make([]cdx.Component, 0, len(all))
	for _, ref := range slices.Sorted(maps.Keys(all)) {
		list = append(list, all[ref])
	}
	return list
}

// connect makes the graph: the artifact has everything, and each distribution what its
// METADATA asks for.
func (m *maker) connect(whole string, dists []distribution) {
	refs := map[string]string{}
	for _, d := range dists {
		refs[d.name] = d.ref
	}
	for _, d := range dists {
		m.below = append(m.below, d.ref)
		m.depend(d.ref, m.interpreterRef)
		for _, name := range d.requires {
			if ref, ok := refs[name]; ok && ref != d.ref {
				m.depend(d.ref, ref)
			}
		}
	}
	m.depend(whole, m.below...)
}

// fileComponent is a file of the tree.
func fileComponent(e tree.Entry) cdx.Component {
	return cdx.Component{BOMRef: "file:" + e.Path, Type: cdx.ComponentTypeFile, Name: e.Path, Hashes: hashes(e.SHA256)}
}

// fileReference names a file without the place that it was got from: that is everybody's own.
func fileReference(kind cdx.ExternalReferenceType, file, sha256 string) cdx.ExternalReference {
	return cdx.ExternalReference{Type: kind, URL: (&url.URL{Path: file}).String(), Hashes: hashes(sha256)}
}

func hashes(sha256 string) *[]cdx.Hash {
	if sha256 == "" {
		return nil
	}
	return &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sha256}}
}

// properties makes properties of names and values, in order; those without a value are left
// out.
func properties(pairs ...string) *[]cdx.Property {
	var list []cdx.Property
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			list = append(list, cdx.Property{Name: pairs[i], Value: pairs[i+1]})
		}
	}
	if len(list) == 0 {
		return nil
	}
	return &list
}
