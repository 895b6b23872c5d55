package locking

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ulikunitz/xz"

	"ampoule/store"
)

// maxConfigure bounds CPython's configure script, in bytes.
const maxConfigure = 16 << 20

// readConfigure returns the configure script of a source archive in the store.
func readConfigure(st *store.Store, sum string) ([]byte, error) {
	f, err := st.Open(sum)
	if err != nil {
		return nil, fmt.Errorf("reading CPython's source: %w", err)
	}
	defer f.Close()
	z, err := xz.NewReader(bufio.NewReader(f))
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
