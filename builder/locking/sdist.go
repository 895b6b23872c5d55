package locking

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

const (
	// maxMembers bounds an sdist's members, maxUnpacked its unpacked size in bytes.
	maxMembers  = 200_000
	maxUnpacked = 8 << 30
	// maxPyproject bounds a pyproject.toml, in bytes.
	maxPyproject = 4 << 20
)

// legacyRequires is what a build without pyproject.toml needs (PEP 518).
var legacyRequires = []string{"setuptools>=40.8.0"}

// staticRequires returns build-system.requires of an sdist (PEP 518).
func staticRequires(f *os.File, file string) ([]string, error) {
	data, err := pyproject(f, file)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	var doc struct {
		BuildSystem *struct {
			Requires *[]string `toml:"requires"`
		} `toml:"build-system"`
	}
	if err := toml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("reading pyproject.toml of %s: %w", file, err)
	}
	if doc.BuildSystem == nil {
		return legacyRequires, nil
	}
	if doc.BuildSystem.Requires == nil {
		return nil, errNoRequires(file)
	}
	return *doc.BuildSystem.Requires, nil
}

func errNoRequires(file string) error {
	return fmt.Errorf("reading pyproject.toml of %s: build-system has no requires (PEP 518)", file)
}

// pyproject returns the pyproject.toml at the top of an sdist; nothing when there is none.
func pyproject(f *os.File, file string) ([]byte, error) {
	if strings.HasSuffix(file, ".zip") {
		return fromZip(f)
	}
	if strings.HasSuffix(file, ".tar.gz") || strings.HasSuffix(file, ".tgz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, err
		}
		return fromTar(tar.NewReader(io.LimitReader(z, maxUnpacked)))
	}
	return nil, errors.New("not an sdist that is known: neither .tar.gz (PEP 625) nor .zip")
}

func isTopPyproject(name string) bool {
	return strings.HasSuffix(name, "/pyproject.toml") && strings.Count(strings.TrimPrefix(name, "./"), "/") == 1
}

func fromTar(t *tar.Reader) ([]byte, error) {
	for range maxMembers {
		hdr, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if hdr.Typeflag == tar.TypeReg && isTopPyproject(hdr.Name) {
			return readBounded(t)
		}
	}
	return nil, fmt.Errorf("more than %d members", maxMembers)
}

func fromZip(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	z, err := zip.NewReader(f, info.Size())
	if err != nil {
		return nil, err
	}
	for _, member := range z.File {
		if isTopPyproject(member.Name) {
			r, err := member.Open()
			if err != nil {
				return nil, err
			}
			defer r.Close()
			return readBounded(r)
		}
	}
	return nil, nil
}

func readBounded(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxPyproject+1))
	if err == nil && len(data) > maxPyproject {
		err = fmt.Errorf("pyproject.toml has more than %d bytes", maxPyproject)
	}
	return data, err
}
