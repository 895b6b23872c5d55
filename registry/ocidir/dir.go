package ocidir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"ampoule/faults"
)

// Open opens a layout: a directory, or a file that is a tar of one. A path where nothing
// is is an error of kind NotFound.
func Open(path string) (*Layout, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, faults.New(faults.NotFound, "", "%s: no OCI layout is there", path)
	case err != nil:
		return nil, fmt.Errorf("opening layout: %w", err)
	case info.IsDir():
		return openDir(path, false)
	}
	return openTar(path)
}

// Create opens a layout directory for writing, and makes it where it is missing. A
// directory with anything else in it is an error.
func Create(path string) (*Layout, error) {
	if err := makeDirs(filepath.Join(path, "blobs", "sha256")); err != nil {
		return nil, fmt.Errorf("making layout: %w", err)
	}
	if err := prepare(path); err != nil {
		return nil, fmt.Errorf("making layout %s: %w", path, err)
	}
	return openDir(path, true)
}

// prepare makes a directory a layout, if it is none, and removes what writers that were killed have left.
// Of several processes one does so at a time.
func prepare(path string) (err error) {
	unlock, err := lockFile(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if _, err := os.Lstat(filepath.Join(path, layoutFile)); errors.Is(err, fs.ErrNotExist) {
		return begin(path)
	}
	return sweep(path)
}

// makeDirs makes a directory with those above it, and puts their names on disk.
func makeDirs(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	if above := filepath.Dir(path); above != path {
		if err := makeDirs(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // a layout is as public as what is in it
		return err
	}
	return syncDir(filepath.Dir(path))
}

// begin writes the files that make a directory a layout, the marker last.
func begin(path string) error {
	names, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, n := range names {
		if n.Name() != "blobs" && n.Name() != indexFile && !isUnfinished(n.Name()) {
			return faults.New(faults.Usage, "name an empty directory, or one that does not exist", "%s is there, and it is no layout", n.Name())
		}
	}
	empty := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
	if err := writeFile(filepath.Join(path, indexFile), empty); err != nil {
		return err
	}
	return writeFile(filepath.Join(path, layoutFile), []byte(layoutMark))
}

func openDir(path string, write bool) (*Layout, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("opening layout: %w", err)
	}
	l := &Layout{files: dir{root}}
	if write {
		l.writer = &writer{path: path, uploads: map[string]*os.File{}}
	}
	if err := l.check(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening layout %s: %w", path, err), l.Close())
	}
	return l, nil
}

// dir are files of a directory: no link leads out of it.
type dir struct{ root *os.Root }

func (d dir) open(name string) (io.ReadCloser, int64, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: %s is no file", ErrLayout, name)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// Close implements [io.Closer].
func (d dir) Close() error { return d.root.Close() }
