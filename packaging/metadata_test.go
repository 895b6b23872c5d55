package packaging

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMetadata(t *testing.T) {
	t.Parallel()
	h, err := ParseMetadata([]byte("Metadata-Version: 2.1\nName: My.Pkg\nClassifier: A\nClassifier: B\nLicense: one\n        two\n\nBody: no\n"))
	if err != nil {
		t.Fatal(err)
	}
	if h.Get("Name") != "My.Pkg" || len(h.Values("Classifier")) != 2 || h.Get("Body") != "" || h.Get("License") != "one two" {
		t.Errorf("header: %v", h)
	}
	if _, err := ParseMetadata([]byte("Name: ok")); err != nil {
		t.Errorf("no line break at the end: %v", err)
	}
	h, err = ParseMetadata([]byte("License: GNU\r\n\t\f  LIBRARY\r \r\nversion: \x01 1\r\n\r\nName: body\r\n"))
	if diff := cmp.Diff(Metadata{"License": {"GNU \f  LIBRARY "}, "Version": {"\x01 1"}}, h); err != nil || diff != "" {
		t.Errorf("a pasted licence: %v\n%s", err, diff)
	}
	for _, text := range []string{"no colon\n", ": empty\n", " starts with space\n", "Na me: x\n", "Name: x\n\x0cVersion\n"} {
		if _, err := ParseMetadata([]byte(text)); !errors.Is(err, ErrMetadata) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseMetadata(f *testing.F) {
	f.Add([]byte("Name: x\nVersion: 1\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := ParseMetadata(data); err != nil && !errors.Is(err, ErrMetadata) {
			t.Errorf("unclassified error: %v", err)
		}
	})
}

// What can be read of metadata with a line that is no field is there, and the error too.
func TestParseMetadataAroundFaults(t *testing.T) {
	t.Parallel()
	h, err := ParseMetadata([]byte("Name: a\nno field\n  goes on\nVersion: 1\n"))
	if diff := cmp.Diff(Metadata{"Name": {"a"}, "Version": {"1"}}, h); !errors.Is(err, ErrMetadata) || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for what, data := range map[string]string{"bytes": strings.Repeat("a: b\n", MaxMetadata/5+1), "fields": strings.Repeat("a:b\n", MaxFields+1)} {
		if h, err := ParseMetadata([]byte(data)); !errors.Is(err, ErrMetadata) || h != nil {
			t.Errorf("more %s than the limit: %d fields, %v", what, len(h), err)
		}
	}
}

func TestParseWheelFile(t *testing.T) {
	t.Parallel()
	w, err := ParseWheelFile([]byte("Wheel-Version: 1.0\nRoot-Is-Purelib: True \nTag: py2.py3-none-any\ntag: cp313-abi3-linux_x86_64\n"))
	if err != nil || w.Version != "1.0" || !w.Purelib {
		t.Errorf("%+v, %v", w, err)
	}
	tags, err := w.Tags()
	if diff := cmp.Diff([]Tag{{"py2", "none", "any"}, {"py3", "none", "any"}, {"cp313", "abi3", "linux_x86_64"}}, tags); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := ParseWheelFile([]byte("no field\n")); !errors.Is(err, ErrMetadata) {
		t.Errorf("%v", err)
	}
	many := WheelFile{TagSets: slices.Repeat([]string{"py2.py3-none-any"}, maxTags/2+1)}
	for _, w := range []WheelFile{many, {TagSets: []string{"py3"}}} {
		if tags, err := w.Tags(); !errors.Is(err, ErrTag) {
			t.Errorf("%d tags, %v", len(tags), err)
		}
	}
}
