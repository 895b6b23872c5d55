package packaging

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	emptyHash = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
	emptyHex  = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

func TestParseRecord(t *testing.T) {
	t.Parallel()
	text := "a.py," + emptyHash + ",0\r\n\"with, comma.py\"," + emptyHash + ",\nx.dist-info/RECORD,,\n"
	got, err := ParseRecord([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []RecordRow{{"a.py", RecordHash{SHA256, emptyHex}, 0, 1}, {"with, comma.py", RecordHash{SHA256, emptyHex}, -1, 2}, {"x.dist-info/RECORD", RecordHash{}, -1, 3}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseRecordErrors(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"two fields":   "a.py," + emptyHash,
		"four fields":  "a.py," + emptyHash + ",0,x",
		"no path":      "," + emptyHash + ",0",
		"NUL":          "a\x00.py,,",
		"line break":   "\"a\nb\",,",
		"quote":        "a\".py,,",
		"hex":          "a.py,sha256=" + emptyHex + ",0",
		"no algorithm": "a.py,=" + strings.TrimPrefix(emptyHash, "sha256=") + ",0",
		"no sum":       "a.py,sha256=,0",
		"cut":          "a.py," + emptyHash[:len(emptyHash)-2] + ",0",
		"trailing bit": "a.py," + emptyHash[:len(emptyHash)-1] + "V,0",
		"negative":     "a.py," + emptyHash + ",-1",
		"no number":    "a.py," + emptyHash + ",x",
	} {
		if _, err := ParseRecord([]byte(text)); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseName(t *testing.T) {
	t.Parallel()
	got, err := ParseWheelName("numpy-2.1.0-1a-cp313-cp313t-manylinux_2_17_x86_64.manylinux2014_x86_64.whl")
	want := WheelName{"numpy", "2.1.0", "1a", "cp313", "cp313t", "manylinux_2_17_x86_64.manylinux2014_x86_64"}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, name := range []string{"numpy-2.1.0.whl", "numpy-2.1.0-py3-none-any.zip", "a-b-c-d-e-f-g.whl", "a-1-x-py3-none-any.whl", "a--py3-none-any.whl", "../a-1-py3-none-any.whl", ""} {
		if _, err := ParseWheelName(name); !errors.Is(err, ErrFileName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestNormalize(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"My.Pkg": "my-pkg", "a__b--c..d": "a-b-c-d", "x": "x"} {
		if got := NormalName(name); got != want {
			t.Errorf("NormalName(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestDistInfo(t *testing.T) {
	t.Parallel()
	if name, version, ok := ParseInfoDir("my_pkg-1.0.dist-info"); !ok || name != "my_pkg" || version != "1.0" {
		t.Errorf("got %s %s %t", name, version, ok)
	}
	for _, dir := range []string{"my_pkg.dist-info", "-1.dist-info", "a-.dist-info", "a-1.egg-info", "x/a-1.dist-info"} {
		if _, _, ok := ParseInfoDir(dir); ok {
			t.Errorf("%q is none", dir)
		}
	}
}

func TestParseHeader(t *testing.T) {
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

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte("a.py," + emptyHash + ",0\n\"b,c\",,\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := ParseRecord(data)
		if err != nil && !errors.Is(err, ErrRecord) {
			t.Errorf("unclassified error: %v", err)
		}
		for _, r := range rows {
			if r.Path == "" || len(r.Hash.Sum) != 2*algorithms[r.Hash.Algorithm].size || r.Size < -1 {
				t.Errorf("row %+v", r)
			}
		}
	})
}

func FuzzParseHeader(f *testing.F) {
	f.Add([]byte("Name: x\nVersion: 1\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := ParseMetadata(data); err != nil && !errors.Is(err, ErrMetadata) {
			t.Errorf("unclassified error: %v", err)
		}
	})
}

func FuzzParseName(f *testing.F) {
	f.Add("a-1-py3-none-any.whl")
	f.Fuzz(func(t *testing.T, name string) {
		if n, err := ParseWheelName(name); err == nil && (n.Distribution == "" || n.Platform == "") {
			t.Errorf("%q: %+v", name, n)
		}
	})
}
