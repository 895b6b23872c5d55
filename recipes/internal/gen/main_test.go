package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
)

func TestRead(t *testing.T) {
	t.Parallel()
	packers := map[string]func(w io.Writer) (io.WriteCloser, error){
		".tar.xz": func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) },
		".tgz":    func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
	}
	for suffix, packer := range packers {
		archive := pack(t, packer, map[string]string{
			"Python-3.14.1/configure":     "\nac_user_opts='\nwith_lto\nenable_shared\n'\n",
			"Python-3.14.1/Lib/configure": "other",
		})
		release, err := read(archive)
		if err != nil {
			t.Fatal(err)
		}
		if release.Version != "3.14.1" || release.File != "Python-3.14.1"+suffix || len(release.SHA256) != 64 ||
			!slices.Equal(release.Flags, []string{"--enable-shared", "--with-lto"}) {
			t.Errorf("got %+v", release)
		}
		if _, err := read(pack(t, packer, map[string]string{"other-1/configure": "x"})); err == nil || !strings.Contains(err.Error(), "not CPython's") {
			t.Errorf("got %v", err)
		}
		if _, err := read(pack(t, packer, map[string]string{"README": "x"})); err == nil || !strings.Contains(err.Error(), "looking for configure") {
			t.Errorf("got %v", err)
		}
	}
}

func pack(t *testing.T, packer func(w io.Writer) (io.WriteCloser, error), files map[string]string) string {
	t.Helper()
	var packed bytes.Buffer
	compressor, err := packer(&packed)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(compressor)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := compressor.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(file, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
