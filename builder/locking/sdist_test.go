package locking

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"ampoule/recipes"
)

// member is a file of an archive; in a tar, type 0 is a regular file.
type member struct {
	name, text string
	kind       byte
}

func tarOf(t testing.TB, members ...member) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, m := range members {
		hdr := &tar.Header{Name: m.name, Mode: 0o644, Size: int64(len(m.text)), Typeflag: m.kind}
		if m.kind == tar.TypeSymlink {
			hdr.Size, hdr.Linkname, m.text = 0, m.text, ""
		}
		if err := w.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gzipped(data []byte) []byte {
	var buf bytes.Buffer
	z, _ := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	z.Write(data)
	z.Close()
	return buf.Bytes()
}

func zipOf(t testing.TB, members ...member) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, m := range members {
		f, err := w.Create(m.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, m.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func requiresOf(t testing.TB, file string, archive []byte) ([]string, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(name, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files, err := topFiles(t.Context(), f, file, "pyproject.toml", "PKG-INFO")
	if err != nil {
		return nil, err
	}
	b, err := readBuildSystem(files["pyproject.toml"], file)
	return b.requires, err
}

func TestStaticRequires(t *testing.T) {
	t.Parallel()
	legacy := []string{"setuptools>=40.8.0"}
	for name, c := range map[string]struct {
		members []member
		want    []string
		fault   string
	}{
		"none":              {[]member{{name: "a-1/setup.py"}}, legacy, ""},
		"requires":          {[]member{{name: "a-1/x"}, {name: "a-1/pyproject.toml", text: "[build-system]\nrequires = [\"hatchling\", \"cffi>=1\"]\n"}}, []string{"hatchling", "cffi>=1"}, ""},
		"beginning with .":  {[]member{{name: "./a-1/pyproject.toml", text: "[build-system]\nrequires = [\"flit\"]\n"}}, []string{"flit"}, ""},
		"empty list":        {[]member{{name: "a-1/pyproject.toml", text: "[build-system]\nrequires = []\n"}}, []string{}, ""},
		"no build-system":   {[]member{{name: "a-1/pyproject.toml", text: "[project]\nname = \"a\"\n"}}, legacy, ""},
		"deeper":            {[]member{{name: "a-1/tests/pyproject.toml", text: "[build-system]\nrequires = [\"x\"]\n"}}, legacy, ""},
		"above":             {[]member{{name: "pyproject.toml", text: "[build-system]\nrequires = [\"x\"]\n"}}, legacy, ""},
		"no requires":       {[]member{{name: "a-1/pyproject.toml", text: "[build-system]\nbuild-backend = \"x\"\n"}}, nil, "build-system of its pyproject.toml has no requires (PEP 518)"},
		"no TOML":           {[]member{{name: "a-1/pyproject.toml", text: "[build-system\n"}}, nil, ": its pyproject.toml"},
		"no list":           {[]member{{name: "a-1/pyproject.toml", text: "[build-system]\nrequires = \"x\"\n"}}, nil, ": its pyproject.toml"},
		"too long":          {[]member{{name: "a-1/pyproject.toml", text: strings.Repeat("#", maxTopFile+1)}}, nil, "has more than"},
		"as long as can be": {[]member{{name: "a-1/pyproject.toml", text: strings.Repeat("#", maxTopFile)}}, legacy, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for file, archive := range map[string][]byte{"a-1.tar.gz": gzipped(tarOf(t, c.members...)), "a-1.tgz": gzipped(tarOf(t, c.members...)), "a-1.zip": zipOf(t, c.members...)} {
				got, err := requiresOf(t, file, archive)
				if c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) || c.fault == "" && (err != nil || !slices.Equal(got, c.want)) {
					t.Errorf("%s: %q, %v", file, got, err)
				}
			}
		})
	}
}

func TestStaticRequiresRefuses(t *testing.T) {
	t.Parallel()
	whole := gzipped(tarOf(t, member{name: "a-1/x", text: strings.Repeat("x", 9000)}))
	for name, c := range map[string]struct {
		file    string
		archive []byte
		want    string
	}{
		"other kind": {"a-1.tar.bz2", whole, "not an sdist that is known"},
		"a wheel":    {"a-1-py3-none-any.whl", whole, "not an sdist that is known"},
		"no gzip":    {"a-1.tar.gz", []byte("x"), "reading a-1.tar.gz"},
		"no tar":     {"a-1.tar.gz", gzipped(bytes.Repeat([]byte("x"), 2000)), "reading a-1.tar.gz"},
		"cut":        {"a-1.tar.gz", whole[:len(whole)/2], "reading a-1.tar.gz"},
		"no zip":     {"a-1.zip", whole, "reading a-1.zip"},
	} {
		if _, err := requiresOf(t, c.file, c.archive); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	// A link is not followed: it is as if it were not there.
	link := member{"a-1/pyproject.toml", "/etc/passwd", tar.TypeSymlink}
	file := member{name: "a-1/pyproject.toml", text: "[build-system]\nrequires = [\"x\"]\n"}
	got, err := requiresOf(t, "a-1.tar.gz", gzipped(tarOf(t, link, file)))
	if err != nil || !slices.Equal(got, []string{"x"}) {
		t.Errorf("a link: %q, %v", got, err)
	}
}

func xzipped(t testing.TB, data []byte) string {
	t.Helper()
	var buf bytes.Buffer
	z, err := xz.NewWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

func TestReadConfigure(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	members := tarOf(t, member{name: "Python-3.99.0/Lib/configure", text: "no"}, member{name: "Python-3.99.0/configure", text: "yes"})
	source := xzipped(t, members)
	read := func(file, content string) ([]byte, error) {
		return readConfigure(t.Context(), st, recipes.LockedPython{File: file, SHA256: put(t, st, content)})
	}
	for file, content := range map[string]string{"Python-3.99.0.tar.xz": source, "Python-3.99.0.tgz": string(gzipped(members))} {
		if got, err := read(file, content); err != nil || string(got) != "yes" {
			t.Errorf("%s: %q, %v", file, got, err)
		}
	}
	for name, content := range map[string]string{
		"none":  xzipped(t, tarOf(t, member{name: "Python-3.99.0/README"})),
		"no xz": "x",
		"cut":   source[:len(source)-40],
	} {
		if _, err := read("Python-3.99.0.tar.xz", content); err == nil || !strings.Contains(err.Error(), "reading CPython's source") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzStaticRequires(f *testing.F) {
	pyproject := member{name: "a-1/pyproject.toml", text: "[build-system]\nrequires = [\"x\"]\n"}
	f.Add(true, zipOf(f, pyproject))
	f.Add(false, tarOf(f, pyproject))
	f.Fuzz(func(t *testing.T, isZip bool, data []byte) {
		file := "a-1.zip"
		if !isZip {
			file, data = "a-1.tar.gz", gzipped(data)
		}
		// Any answer is one, as long as there is one.
		if got, err := requiresOf(t, file, data); err == nil && got == nil {
			t.Error("neither requirements nor an error")
		}
	})
}
