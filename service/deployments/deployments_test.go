package deployments

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/sbom"
)

// bill is what an artifact holds: an interpreter, a distribution, a carried package and a library of none.
const bill = `{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [
  {"type": "platform", "name": "cpython", "version": "3.13.5", "purl": "pkg:generic/cpython@3.13.5"},
  {"type": "library", "name": "ruamel-yaml", "version": "0.18.0", "purl": "pkg:pypi/ruamel-yaml@0.18.0"},
  {"type": "library", "name": "libssl3", "version": "3.0.17-1", "purl": "pkg:deb/debian/libssl3@3.0.17-1",
   "properties": [{"name": "dev.ampoule:debian:source", "value": "openssl"}],
   "evidence": {"occurrences": [{"location": "lib/libssl.so.3"}]}},
  {"type": "library", "name": "libfoo.so.1", "bom-ref": "file"}
]}`

// What is asked for is found by each of its names, and by no other one.
func TestWanted(t *testing.T) {
	t.Parallel()
	d, err := sbom.Read([]byte(bill))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]string{
		"Ruamel.YAML==0.18":   {"ruamel-yaml 0.18.0"},
		"ruamel_yaml":         {"ruamel-yaml 0.18.0"},
		"ruamel-yaml==0.18.1": {},
		"cpython":             {"cpython 3.13.5"},
		"libssl.so.3":         {"libssl3 3.0.17-1"},
		"libssl3":             {"libssl3 3.0.17-1"},
		"openssl":             {"libssl3 3.0.17-1"},
		"libfoo.so.1":         {"libfoo.so.1"},
		"libssl":              {},
		"ssl":                 {},
	} {
		h, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, h.in(d)); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	one, err := Parse("libssl3")
	if err != nil || len(one.Of(Library).in(d)) != 1 || len(one.Of(Distribution).in(d)) != 0 {
		t.Errorf("libssl3 as a library %v, as a distribution %v", one.Of(Library).in(d), one.Of(Distribution).in(d))
	}
	digest := "sha256:" + strings.Repeat("a", 64)
	for text, want := range map[string]string{"": "", digest: digest, "registry.example:5000/web@" + digest: digest} {
		if h, err := Parse(text); err != nil || h.digest != want || h.name != "" {
			t.Errorf("%s: %+v, %v", text, h, err)
		}
	}
	for _, text := range []string{"sha256:12", "web@sha256:12", "flask==", "flask==x y"} {
		if h, err := Parse(text); err == nil {
			t.Errorf("%s: %+v", text, h)
		}
	}
}
