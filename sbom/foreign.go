package sbom

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/package-url/packageurl-go"

	"ampoule/tree"
)

// Bounds of what is read of foreign documents.
const (
	// maxDocuments is how many are read of one distribution.
	maxDocuments = 64
	// maxDocument bounds one, in bytes.
	maxDocument = 4 << 20
	// maxDepth bounds how deep its values stand in one another, maxTokens how many there are.
	maxDepth  = 64
	maxTokens = 1_000_000
	// maxComponents is how many components are taken of one.
	maxComponents = 10_000
	// maxText bounds a name, a version and a package URL, in bytes.
	maxText = 1024
)

// documents lists the files of a distribution's directory for such documents (PEP 770).
func documents(t *tree.Tree, info string) []tree.Entry {
	var list []tree.Entry
	for _, e := range t.Entries() {
		if strings.HasPrefix(e.Path, info+"/sboms/") && e.Kind == tree.File && len(list) < maxDocuments {
			list = append(list, e)
		}
	}
	return list
}

// foreignDocument is what is taken of a CycloneDX document, and of an SPDX 2 one.
type foreignDocument struct {
	Format       string             `json:"bomFormat"`
	Components   []foreignComponent `json:"components"`
	Dependencies []struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn"`
	} `json:"dependencies"`
	SPDX     string `json:"spdxVersion"`
	Packages []struct {
		ID       string `json:"SPDXID"`
		Name     string `json:"name"`
		Version  string `json:"versionInfo"`
		External []struct {
			Type    string `json:"referenceType"`
			Locator string `json:"referenceLocator"`
		} `json:"externalRefs"`
	} `json:"packages"`
}

type foreignComponent struct {
	Ref     string `json:"bom-ref"`
	Type    string `json:"type"`
	Group   string `json:"group"`
	Name    string `json:"name"`
	Version string `json:"version"`
	PURL    string `json:"purl"`
	Hashes  []struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	} `json:"hashes"`
	Components []foreignComponent `json:"components"`
}

var (
	errNotJSON  = errors.New("it is no JSON")
	errUnknown  = errors.New("it is neither CycloneDX nor SPDX 2, in JSON")
	errTooLarge = errors.New("it is too large")
)

// foreign adds the components of a document, and returns their references. What they depend
// on among each other is kept.
func (m *maker) foreign(e tree.Entry) ([]string, error) {
	if e.Size > maxDocument {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", errTooLarge, e.Size, maxDocument)
	}
	data, err := e.ReadAll()
	if err != nil {
		return nil, err
	}
	if err := bounded(data); err != nil {
		return nil, err
	}
	var read foreignDocument
	if err := json.Unmarshal(data, &read); err != nil {
		return nil, errUnknown
	}
	var found []foreignComponent
	switch {
	case read.Format == "CycloneDX":
		found = flattened(read.Components, nil)
	case strings.HasPrefix(read.SPDX, "SPDX-2"):
		found = read.packages()
	default:
		return nil, errUnknown
	}
	if len(found) > maxComponents {
		return nil, fmt.Errorf("%w: %d components, more than %d", errTooLarge, len(found), maxComponents)
	}
	refs, told := map[string]string{}, []string(nil)
	for i, f := range found {
		c, ok := f.component()
		if !ok {
			continue
		}
		c.BOMRef = fmt.Sprintf("%s#%d", e.Path, i)
		c.Properties = properties(propertyOrigin, originTree, propertyFrom, e.Path)
		m.add(c)
		told = append(told, c.BOMRef)
		if f.Ref != "" {
			refs[f.Ref] = c.BOMRef
		}
	}
	for _, dep := range read.Dependencies {
		for _, on := range dep.DependsOn {
			if refs[dep.Ref] != "" && refs[on] != "" && dep.Ref != on {
				m.depend(refs[dep.Ref], refs[on])
			}
		}
	}
	return told, nil
}

// bounded looks through JSON before anything is made of it.
func bounded(data []byte) error {
	if !json.Valid(data) {
		return errNotJSON
	}
	depth := 0
	r := json.NewDecoder(bytes.NewReader(data))
	for range maxTokens {
		token, err := r.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errNotJSON
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth > maxDepth {
			return fmt.Errorf("%w: its values stand more than %d deep in one another", errTooLarge, maxDepth)
		}
	}
	return fmt.Errorf("%w: more than %d values", errTooLarge, maxTokens)
}

// flattened lists components with those that they contain.
func flattened(list, into []foreignComponent) []foreignComponent {
	for _, c := range list {
		into = flattened(c.Components, append(into, c))
	}
	return into
}

// packages are an SPDX document's.
func (d *foreignDocument) packages() []foreignComponent {
	var list []foreignComponent
	for _, p := range d.Packages {
		c := foreignComponent{Ref: p.ID, Name: p.Name, Version: p.Version}
		for _, x := range p.External {
			if x.Type == "purl" {
				c.PURL = x.Locator
			}
		}
		list = append(list, c)
	}
	return list
}

// componentTypes are those of CycloneDX 1.6.
var componentTypes = []string{
	"application", "framework", "library", "container", "platform", "operating-system", "device", "device-driver", "firmware", "file",
	"machine-learning-model", "data", "cryptographic-asset",
}

// hashForms are the hashes of CycloneDX 1.6, with the length of their digits.
var hashForms = map[string]int{"MD5": 32, "SHA-1": 40, "SHA-256": 64, "SHA-384": 96, "SHA-512": 128, "SHA3-256": 64, "SHA3-384": 96, "SHA3-512": 128}

var digits = regexp.MustCompile(`^[0-9a-fA-F]+$`)

// component takes of a foreign component what has the form that it must have. It returns
// false for one without a name.
func (f *foreignComponent) component() (cdx.Component, bool) {
	if f.Name == "" || len(f.Name) > maxText {
		return cdx.Component{}, false
	}
	c := cdx.Component{Type: cdx.ComponentTypeLibrary, Name: f.Name}
	if slices.Contains(componentTypes, f.Type) {
		c.Type = cdx.ComponentType(f.Type)
	}
	if len(f.Group) <= maxText {
		c.Group = f.Group
	}
	if len(f.Version) <= maxText {
		c.Version = f.Version
	}
	if len(f.PURL) <= maxText {
		if purl, err := packageurl.FromString(f.PURL); err == nil {
			c.PackageURL = purl.ToString()
		}
	}
	var sums []cdx.Hash
	for _, h := range f.Hashes {
		if n := hashForms[h.Algorithm]; n > 0 && len(h.Content) == n && digits.MatchString(h.Content) {
			sums = append(sums, cdx.Hash{Algorithm: cdx.HashAlgorithm(h.Algorithm), Value: h.Content})
		}
	}
	if len(sums) > 0 {
		c.Hashes = &sums
	}
	return c, true
}
