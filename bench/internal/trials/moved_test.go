package trials

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// layerOf writes a layer of distributions with so many bytes that do not compress.
func layerOf(t *testing.T, file string, sizes map[string]int) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	zw := gzip.NewWriter(f)
	tw := tar.NewWriter(zw)
	add := func(name string, data []byte) {
		err := errors.Join(tw.WriteHeader(&tar.Header{Name: "opt/ampoule/lib/" + name, Mode: 0o644, Size: int64(len(data))}), write(tw, data))
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, size := range sizes {
		data := make([]byte, size*3/2)
		for i := range data {
			data[i] = byte(rand.Uint32())
		}
		add(name+"/__init__.py", data[:size])
		add(name+"/__pycache__/__init__.cpython-313.pyc", data[size:])
		add(name+"-1.0.dist-info/RECORD", []byte(name+"/__init__.py,sha256=x,1\n"+name+"-1.0.dist-info/RECORD,,\n"))
	}
	if err := errors.Join(tw.Close(), zw.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func write(w *tar.Writer, data []byte) error {
	_, err := w.Write(data)
	return err
}

// A distribution that shares its layer moves the others, too; bytecode counts to its distribution.
func TestShares(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := hostArtifact{names: []string{"interpreter", "wheel:big", "tail-01", "metadata"}, head: 1000}
	for _, name := range a.names {
		a.blobs = append(a.blobs, filepath.Join(dir, strings.ReplaceAll(name, ":", "-")))
	}
	layerOf(t, a.blobs[0], map[string]int{"pip": 10})
	layerOf(t, a.blobs[1], map[string]int{"big": 100_000})
	layerOf(t, a.blobs[2], map[string]int{"small": 1000, "Other_One": 20_000})
	layerOf(t, a.blobs[3], map[string]int{"meta": 500})
	shares, err := sharesOf(a)
	if err != nil || len(shares) != 3 {
		t.Fatalf("%+v, %v", shares, err)
	}
	for i, want := range []struct {
		name            string
		own, from, most float64
	}{{"big", 150_000, 1, 1.1}, {"other-one", 30_000, 1, 1.3}, {"small", 1500, 10, 30}} {
		s := shares[i]
		if s.name != want.name || s.ratio() < want.from || s.ratio() > want.most || float64(s.own) < want.own || float64(s.own) > want.own*1.5 {
			t.Errorf("%+v, %.2f; want %+v", s, s.ratio(), want)
		}
	}
}
