package locking

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ulikunitz/xz"

	"ampoule/recipes"
	"ampoule/store"
)

// maxConfigure bounds CPython's configure script, in bytes.
const maxConfigure = 16 << 20

// readConfigure returns the configure script of a source archive in the store.
func readConfigure(st *store.Store, p recipes.LockedPython) ([]byte, error) {
	f, err := st.Open(p.SHA256)
	if err != nil {
		return nil, fmt.Errorf("reading CPython's source: %w", err)
	}
	defer f.Close()
	z, err := decompress(f, p.File)
	if err != nil {
		return nil, fmt.Errorf("reading CPython's source: %w", err)
	}
	t := tar.NewReader(io.LimitReader(z, maxUnpacked))
	for range maxMembers {
		hdr, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading CPython's source: %w", err)
		}
		if strings.HasSuffix(hdr.Name, "/configure") && strings.Count(hdr.Name, "/") == 1 {
			return io.ReadAll(io.LimitReader(t, maxConfigure))
		}
	}
	return nil, errors.New("reading CPython's source: it has no configure script")
}

// decompress reads an archive in one of the two forms that CPython is released in.
func decompress(r io.Reader, file string) (io.Reader, error) {
	if strings.HasSuffix(file, ".tgz") {
		return gzip.NewReader(r)
	}
	return xz.NewReader(bufio.NewReader(r))
}
