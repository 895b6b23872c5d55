package sbom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"

	"ampoule/audit"
	"ampoule/tree"
)

const site = "lib/python3.13/site-packages/"

var (
	sumA = strings.Repeat("a", 64)
	sumB = strings.Repeat("b", 64)
	zlib = Package{"zlib1g", "1:1.2.13-1", "amd64", "zlib", "1:1.2.13-1"}
	gcc  = Package{"libgcc-s1", "12.2.0-14+b1", "amd64", "gcc-12", "12.2.0-14"}
)

func owned(p, owner, text string) tree.Entry {
	e := tree.FileEntry(p, 0o644, []byte(text))
	e.Owner = owner
	return e
}

// sample is an artifact with two distributions, one of them the recipe's own, pip, and two
// carried files, with more files besides.
func sample(t *testing.T, more ...tree.Entry) Input {
	t.Helper()
	whole, err := tree.New(append([]tree.Entry{
		owned(site+"flask-3.1.3.dist-info/METADATA", "wheel:flask", "Metadata-Version: 2.4\nName: Flask\nVersion: 3.1.3\nLicense-Expression: BSD-3-Clause\n"+
			"Requires-Dist: click>=8\nRequires-Dist: importlib-metadata; python_version < \"3.10\"\nRequires-Dist: asgiref; extra == \"async\"\nProvides-Extra: async\n\n"),
		owned(site+"click-8.5.1.dist-info/METADATA", "wheel:click", "Name: click\nVersion: 8.5.1\n\n"),
		owned(site+"importlib_metadata-1.0.dist-info/METADATA", "wheel:importlib-metadata", "Name: importlib-metadata\nVersion: 1.0\n\n"),
		owned(site+"web-1.0.dist-info/METADATA", "wheel:web", "Name: web\nVersion: 1.0\nRequires-Dist: Flask\n\n"),
		owned(site+"pip-25.0.dist-info/METADATA", "interpreter", "Name: pip\nVersion: 25.0\n\n"),
		owned("lib/libz.so.1", "native", "z"), owned("lib/libgcc_s.so.1", "native", "gcc"), owned("lib/libodd.so.1", "native", "odd"),
		owned("share/zoneinfo/UTC", "native", "utc"),
	}, more...))
	if err != nil {
		t.Fatal(err)
	}
	return Input{
		Name: "team/web", Digest: "sha256:" + sumA, Key: "sha256:" + sumB, Platform: "linux/amd64", Tree: whole,
		Record: &audit.ArtifactRecord{
			Name:   "web",
			Python: audit.PythonRecord{Version: "3.13.5", Fingerprint: audit.Fingerprint{Machine: "x86-64"}, FingerprintDigest: "sha256:" + sumA, Key: sumB},
			Wheels: []audit.WheelMade{
				{Name: "flask", Version: "3.1.3", File: "flask-3.1.3-py3-none-any.whl", SHA256: sumA, Sdist: sumB, Key: sumB},
				{Name: "click", Version: "8.5.1", File: "click-8.5.1-py3-none-any.whl", SHA256: sumB},
				{Name: "web", Version: "1.0", File: "web-1.0-py3-none-any.whl", SHA256: sumB, Sdist: sumA},
			},
		},
		PythonFile: "Python-3.13.5.tar.xz", PythonSHA256: sumA, Suite: "bookworm", BaseSuite: "bookworm",
		Carried: map[string]Package{"lib/libz.so.1": zlib, "lib/libgcc_s.so.1": gcc},
		Base:    []Package{zlib},
		Sdists:  map[string]Sdist{"flask": {"flask-3.1.3.tar.gz", sumB}},
		Indexes: map[string]string{"click": "company"},
		Own:     map[string]bool{"web": true}, Commit: "abc123", Dirty: true,
		Build: []Ingredient{
			{Kind: KindDebian, Name: "gcc-12", Version: "12.2.0-14", Arch: "amd64", File: "gcc-12_12.2.0-14_amd64.deb", SHA256: sumA},
			{Kind: KindPyPI, Name: "setuptools", Version: "80.9.0", File: "setuptools-80.9.0-py3-none-any.whl", SHA256: sumB},
			{Kind: KindCargo, Name: "pyo3", Version: "0.23.0", SHA256: sumB},
		},
	}
}

func made(t *testing.T, in Input) ([]byte, *cdx.BOM) {
	t.Helper()
	data, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(data), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	return data, &bom
}

// component finds a component by its reference.
func component(t *testing.T, bom *cdx.BOM, ref string) cdx.Component {
	t.Helper()
	i := slices.IndexFunc(*bom.Components, func(c cdx.Component) bool { return c.BOMRef == ref })
	if i < 0 {
		t.Fatalf("no component %s", ref)
	}
	return (*bom.Components)[i]
}

func needs(bom *cdx.BOM, ref string) []string {
	for _, d := range *bom.Dependencies {
		if d.Ref == ref && d.Dependencies != nil {
			return *d.Dependencies
		}
	}
	return nil
}

func TestMake(t *testing.T) {
	t.Parallel()
	data, bom := made(t, sample(t))
	conforms(t, data)
	if bytes.Contains(bytes.TrimSpace(data), []byte("\n")) {
		t.Error("the document has more bytes than it needs")
	}
	if again, _ := made(t, sample(t)); !bytes.Equal(data, again) {
		t.Error("one artifact has two documents")
	}
	other := sample(t)
	other.Digest = "sha256:" + sumB
	if _, second := made(t, other); second.SerialNumber == bom.SerialNumber || !strings.HasPrefix(bom.SerialNumber, "urn:uuid:") {
		t.Errorf("serial numbers %s and %s", bom.SerialNumber, second.SerialNumber)
	}
	python := component(t, bom, "pkg:generic/cpython@3.13.5")
	if python.Type != cdx.ComponentTypePlatform || reference(python, cdx.ERTypeSourceDistribution) != sumA {
		t.Errorf("interpreter %+v", python)
	}
	flask := component(t, bom, "pkg:pypi/flask@3.1.3")
	if shaOf(flask.Hashes) != sumA || reference(flask, cdx.ERTypeSourceDistribution) != sumB || (*flask.Licenses)[0].Expression != "BSD-3-Clause" {
		t.Errorf("flask %+v", flask)
	}
	// The marker of importlib-metadata does not hold here, though it is installed.
	if diff := cmp.Diff([]string{"pkg:generic/cpython@3.13.5", "pkg:pypi/click@8.5.1"}, needs(bom, flask.BOMRef)); diff != "" {
		t.Errorf("flask needs (-want +got):\n%s", diff)
	}
	own := component(t, bom, "pkg:generic/web@1.0")
	if own.Type != cdx.ComponentTypeApplication || property(own, propertyCommit) != "abc123" || property(own, propertyDirty) != "true" {
		t.Errorf("the application is %+v", own)
	}
	if got := property(component(t, bom, "pkg:pypi/pip@25.0"), propertyOrigin); got != originInterpreter {
		t.Errorf("pip is from %q", got)
	}
	if got := property(component(t, bom, "pkg:pypi/click@8.5.1"), propertyIndex); got != "company" {
		t.Errorf("click is of index %q", got)
	}
	carried := component(t, bom, "tree:pkg:deb/debian/libgcc-s1@12.2.0-14%2Bb1?arch=amd64&distro=bookworm&upstream=gcc-12%4012.2.0-14")
	if property(carried, propertySource) != "gcc-12" || property(carried, propertySourceVersion) != "12.2.0-14" || (*carried.Components)[0].Name != "lib/libgcc_s.so.1" {
		t.Errorf("libgcc %+v", carried)
	}
	component(t, bom, "file:lib/libodd.so.1")
	if !slices.ContainsFunc(*bom.Components, func(c cdx.Component) bool { return strings.HasPrefix(c.BOMRef, "base:pkg:deb/debian/zlib1g@") }) {
		t.Error("the base's package is not told")
	}
	if n := len(*(*bom.Formulation)[0].Components); n != 3 {
		t.Errorf("%d ingredients", n)
	}
	whole := bom.Metadata.Component
	if n := len(needs(bom, whole.BOMRef)); n != 1+5+3+1 || shaOf(whole.Hashes) != sumA {
		t.Errorf("the artifact needs %d: %q", n, needs(bom, whole.BOMRef))
	}
}

// conforms wants JSON to be of CycloneDX's own schema.
func conforms(t *testing.T, data []byte) {
	t.Helper()
	load := func(name string) *jsonschema.Schema {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		var s jsonschema.Schema
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return &s
	}
	resolved, err := load("bom-1.6.schema.json").Resolve(&jsonschema.ResolveOptions{
		Loader: func(u *url.URL) (*jsonschema.Schema, error) { return load(path.Base(u.Path)), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		t.Fatal(err)
	}
	if err := resolved.Validate(value); err != nil {
		t.Errorf("it is not CycloneDX 1.6: %v\n%s", err, data)
	}
	// The schema is one that refuses something.
	value.(map[string]any)["components"] = []any{map[string]any{"name": "x", "type": "nonsense"}}
	if resolved.Validate(value) == nil {
		t.Error("a component of an unknown type conforms")
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	data, _ := made(t, sample(t))
	d, err := Read(data)
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := d.Carried("lib/libgcc_s.so.1"); !ok || p != gcc {
		t.Errorf("libgcc is of %+v", p)
	}
	if _, ok := d.Carried("lib/libodd.so.1"); ok {
		t.Error("a library of no package has one")
	}
	if diff := cmp.Diff([]Package{zlib}, d.Base()); diff != "" {
		t.Errorf("base (-want +got):\n%s", diff)
	}
	var names []string
	for _, i := range d.Inputs() {
		names = append(names, i.Kind+" "+i.Name+" "+i.Version)
	}
	slices.Sort(names)
	want := []string{"cargo pyo3 0.23.0", "deb gcc-12 12.2.0-14", "generic cpython 3.13.5", "pypi flask 3.1.3", "pypi setuptools 80.9.0"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("inputs (-want +got):\n%s", diff)
	}
	for name, text := range map[string]string{
		"nothing": "", "not JSON": "x", "another form": `{"spdxVersion":"SPDX-2.3"}`, "another version": `{"bomFormat":"CycloneDX","specVersion":"1.4","version":1}`,
	} {
		if _, err := Read([]byte(text)); err == nil || !strings.Contains(err.Error(), ErrDocument.Error()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What wheels tell of themselves is taken within limits, and says where it is from.
func TestForeignDocuments(t *testing.T) {
	t.Parallel()
	dir := site + "flask-3.1.3.dist-info/sboms/"
	good := `{"bomFormat":"CycloneDX","specVersion":"1.4","components":[
		{"type":"library","bom-ref":"a","name":"libjpeg","version":"9","purl":"pkg:rpm/almalinux/libjpeg@9","hashes":[{"alg":"SHA-256","content":"` + sumA + `"},{"alg":"SHA-256","content":"short"}],
		 "components":[{"type":"nonsense","bom-ref":"b","name":"inner","purl":"no purl"}]},
		{"type":"library","name":""}],
		"dependencies":[{"ref":"a","dependsOn":["b","gone"]}]}`
	spdx := `{"spdxVersion":"SPDX-2.3","packages":[{"SPDXID":"SPDXRef-1","name":"zlib","versionInfo":"1.3","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:generic/zlib@1.3"}]}]}`
	var many strings.Builder
	many.WriteString(`{"bomFormat":"CycloneDX","components":[`)
	for i := range maxComponents + 1 {
		if i > 0 {
			many.WriteString(",")
		}
		fmt.Fprintf(&many, `{"name":"c%d"}`, i)
	}
	many.WriteString("]}")
	data, bom := made(t, sample(t,
		owned(dir+"good.cdx.json", "wheel:flask", good), owned(dir+"spdx.json", "wheel:flask", spdx),
		owned(dir+"bad1-not.json", "wheel:flask", "{"), owned(dir+"bad2-list.json", "wheel:flask", "[]"), owned(dir+"bad3-other.json", "wheel:flask", `{"x":1}`),
		owned(dir+"bad4-deep.json", "wheel:flask", strings.Repeat("[", 100)+strings.Repeat("]", 100)),
		owned(dir+"bad5-large.json", "wheel:flask", `"`+strings.Repeat("x", maxDocument)+`"`),
		owned(dir+"bad6-many.json", "wheel:flask", many.String()),
		owned(dir+"bad7-types.json", "wheel:flask", `{"bomFormat":"CycloneDX","components":"x"}`),
	))
	conforms(t, data)
	jpeg := component(t, bom, dir+"good.cdx.json#0")
	if jpeg.Name != "libjpeg" || jpeg.PackageURL != "pkg:rpm/almalinux/libjpeg@9" || len(*jpeg.Hashes) != 1 || property(jpeg, propertyFrom) != dir+"good.cdx.json" {
		t.Errorf("libjpeg is %+v", jpeg)
	}
	inner := component(t, bom, dir+"good.cdx.json#1")
	if inner.Type != cdx.ComponentTypeLibrary || inner.PackageURL != "" {
		t.Errorf("what is inside is %+v", inner)
	}
	if diff := cmp.Diff([]string{inner.BOMRef}, needs(bom, jpeg.BOMRef)); diff != "" {
		t.Errorf("libjpeg needs (-want +got):\n%s", diff)
	}
	if z := component(t, bom, dir+"spdx.json#0"); z.PackageURL != "pkg:generic/zlib@1.3" || z.Version != "1.3" {
		t.Errorf("zlib is %+v", z)
	}
	flask := component(t, bom, "pkg:pypi/flask@3.1.3")
	if got := needs(bom, flask.BOMRef); !slices.Contains(got, jpeg.BOMRef) || !slices.Contains(got, dir+"spdx.json#0") {
		t.Errorf("flask needs %q", got)
	}
	told := map[string]string{}
	for _, p := range *flask.Properties {
		if file, why, ok := strings.Cut(p.Value, ": "); ok && p.Name == propertyUnread {
			told[strings.TrimSuffix(path.Base(file), ".json")] = why
		}
	}
	for file, want := range map[string]string{
		"bad1-not": "no JSON", "bad2-list": "neither", "bad3-other": "neither", "bad4-deep": "deep", "bad5-large": "too large", "bad6-many": "components", "bad7-types": "neither",
	} {
		if !strings.Contains(told[file], want) {
			t.Errorf("%s: told %q, want %q", file, told[file], want)
		}
	}
}

// FuzzForeign wants any document to give one that conforms as far as it is read again.
func FuzzForeign(f *testing.F) {
	f.Add([]byte(`{"bomFormat":"CycloneDX","components":[{"name":"x","purl":"pkg:npm/x@1"}]}`))
	f.Add([]byte(`{"spdxVersion":"SPDX-2.3","packages":[{"name":"x"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &maker{seen: map[string]bool{}}
		if _, err := m.foreign(owned("x.json", "", string(data))); err != nil && len(m.components) > 0 {
			t.Errorf("%v, and %d components", err, len(m.components))
		}
	})
}

// The document of a dependency group has what the group lays over its artifact, and that alone.
func TestMakeGroup(t *testing.T) {
	t.Parallel()
	in := sample(t)
	in.Group, in.Over, in.Base, in.BaseSuite, in.Own = "test", "sha256:"+sumB, nil, "", nil
	data, bom := made(t, in)
	conforms(t, data)
	over := "pkg:oci/web@sha256:" + sumB + "?arch=amd64"
	whole := bom.Metadata.Component
	if whole.Version != in.Digest || property(*whole, propertyGroup) != "test" || !slices.Contains(needs(bom, whole.BOMRef), over) {
		t.Errorf("the group is %+v, and needs %q", whole, needs(bom, whole.BOMRef))
	}
	if below := component(t, bom, over); below.Type != cdx.ComponentTypeContainer || property(below, propertyOrigin) != originArtifact {
		t.Errorf("the artifact is %+v", below)
	}
	if diff := cmp.Diff([]string{over, "pkg:pypi/click@8.5.1"}, needs(bom, "pkg:pypi/flask@3.1.3")); diff != "" {
		t.Errorf("flask needs (-want +got):\n%s", diff)
	}
	for _, c := range *bom.Components {
		if c.Type == cdx.ComponentTypePlatform || c.Type == cdx.ComponentTypeOS {
			t.Errorf("it has the artifact's %s", c.BOMRef)
		}
	}
}
