package sources

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
)

type file struct {
	name, text string
	kind       byte
}

// tarOf packs members; one without a kind is a regular file.
func tarOf(t testing.TB, members ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		hdr := &tar.Header{Name: m.name, Mode: 0o644, Size: int64(len(m.text)), Typeflag: tar.TypeReg}
		if m.kind != 0 {
			hdr.Typeflag, hdr.Size, hdr.Linkname = m.kind, 0, m.text
		}
		err := w.WriteHeader(hdr)
		if err == nil && m.kind == 0 {
			_, err = io.WriteString(w, m.text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipOf(t testing.TB, members ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range members {
		f, err := w.Create(m.name)
		if err == nil {
			_, err = io.WriteString(f, m.text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// compressed packs data with a writer.
func compressed[W io.WriteCloser](t testing.TB, data []byte, by func(io.Writer) (W, error)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := by(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	return compressed(t, data, func(w io.Writer) (*gzip.Writer, error) { return gzip.NewWriter(w), nil })
}

func open(t testing.TB, data []byte) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// read walks to the end.
func read(walk Walk, limit int64) (all []string, err error) {
	for m, err := range walk {
		if err != nil {
			return all, err
		}
		data, err := m.Read(limit)
		if err != nil {
			return all, err
		}
		all = append(all, m.Name+" "+string(data))
	}
	return all, nil
}

func TestWalk(t *testing.T) {
	t.Parallel()
	members := []file{{name: "a-1/x", text: "1"}, {name: "a-1/y", text: "2"}}
	want := []string{"a-1/x 1", "a-1/y 2"}
	inTar := tarOf(t, append(members, file{"a-1/link", "/etc/passwd", tar.TypeSymlink}, file{"a-1/dir/", "", tar.TypeDir})...)
	inZip := zipOf(t, append(members, file{name: "a-1/dir/"})...)
	xzed := compressed(t, inTar, func(w io.Writer) (*xz.Writer, error) { return xz.NewWriter(w) })
	for name, walk := range map[string]Walk{
		".tar.gz": Sdist(t.Context(), open(t, gzipped(t, inTar)), "a-1.tar.gz"),
		".tgz":    Sdist(t.Context(), open(t, gzipped(t, inTar)), "a-1.tgz"),
		".zip":    Sdist(t.Context(), open(t, inZip), "a-1.zip"),
		".tar.xz": CPython(t.Context(), bytes.NewReader(xzed), "Python-3.13.5.tar.xz"),
		"tgz":     CPython(t.Context(), bytes.NewReader(gzipped(t, inTar)), "Python-3.13.5.tgz"),
	} {
		if got, err := read(walk, 1); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		for m, err := range walk {
			if err != nil && name == ".zip" || err == nil && m.Name != "a-1/x" {
				t.Errorf("%s, left early: %v, %v", name, m, err)
			}
			break
		}
	}
	if _, err := read(Sdist(t.Context(), open(t, inZip), "a-1.rar"), 1); err == nil {
		t.Error("a kind that is not known is walked")
	}
}

// Every kind of archive has every limit.
func TestHostile(t *testing.T) {
	t.Parallel()
	small := limits{members: 3, unpacked: 8 << 10}
	fine := []file{{name: "a", text: "1"}, {name: "b"}, {name: "c"}}
	for name, c := range map[string]struct {
		members []file
		limit   int64
		large   bool
	}{
		"within its limits": {fine, 1, false},
		"too many members":  {append(fine, file{name: "d"}), 1, true},
		"a long member":     {[]file{{name: "a", text: "12"}}, 1, true},
		"much to unpack":    {[]file{{name: "a", text: strings.Repeat("x", 9<<10)}}, 1 << 20, true},
		"much to skip":      {[]file{{name: "a", text: strings.Repeat("x", 9<<10)}, {name: "b"}}, 1 << 20, true},
	} {
		packed := tarOf(t, c.members...)
		for kind, walk := range map[string]func(context.Context) Walk{
			".tar.gz": func(ctx context.Context) Walk { return small.sdist(ctx, open(t, gzipped(t, packed)), "a-1.tar.gz") },
			".zip":    func(ctx context.Context) Walk { return small.sdist(ctx, open(t, zipOf(t, c.members...)), "a-1.zip") },
		} {
			_, err := read(walk(t.Context()), c.limit)
			if c.large != (err != nil) {
				t.Errorf("%s %s: %v", kind, name, err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			stop := errors.New("stop")
			cancel(stop)
			if _, err := read(walk(ctx), c.limit); !errors.Is(err, stop) {
				t.Errorf("%s %s, interrupted: %v", kind, name, err)
			}
		}
	}
}

// What is cut off at just its limit is not taken for an archive that ends there.
func TestCutAtItsLimit(t *testing.T) {
	t.Parallel()
	packed := tarOf(t, file{name: "a", text: "1"}, file{name: "b", text: "2"})
	for at := int64(1); at < int64(len(packed)); at += 256 {
		walk := limits{members: 10, unpacked: at}.sdist(t.Context(), open(t, gzipped(t, packed)), "a-1.tar.gz")
		got, err := read(walk, 1)
		if at < 2048 && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%d bytes of %d: %q, %v", at, len(packed), got, err)
		}
	}
}

func FuzzSdist(f *testing.F) {
	members := []file{{name: "a-1/pyproject.toml", text: "[project]\n"}, {name: "a-1/PKG-INFO"}}
	f.Add(tarOf(f, members...), true)
	f.Add(zipOf(f, members...), false)
	f.Fuzz(func(t *testing.T, data []byte, inTar bool) {
		name := "a-1.zip"
		if inTar {
			name, data = "a-1.tar.gz", gzipped(t, data)
		}
		l := limits{members: 5, unpacked: 1 << 16}
		n := 0
		for m, err := range l.sdist(t.Context(), open(t, data), name) {
			if err != nil {
				return
			}
			if n++; n > l.members {
				t.Fatal("more members than the limit")
			}
			if content, err := m.Read(100); err == nil && len(content) > 100 {
				t.Error(fmt.Sprint(len(content), " bytes of a member"))
			}
		}
	})
}
