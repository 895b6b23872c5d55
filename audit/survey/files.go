package survey

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"ampoule/audit"
	"ampoule/tree"
)

// Files is a file system that can be searched: a machine's, or an image's.
type Files interface {
	audit.Root
	// List names what is in a directory, sorted; the path is without a leading slash, and
	// leads through no link.
	List(dir string) ([]string, error)
}

// Machine is the file system below a directory of this machine: "/", or the root of
// another system. Entries have no hashes.
type Machine string

// Lookup implements [audit.Root].
func (m Machine) Lookup(p string) (tree.Entry, bool) {
	name := m.path(p)
	info, err := os.Lstat(name)
	if err != nil {
		return tree.Entry{}, false
	}
	e := tree.Entry{Path: p, Mode: info.Mode().Perm()}
	switch info.Mode().Type() {
	case fs.ModeDir:
		e.Kind = tree.Dir
	case fs.ModeSymlink:
		e.Kind = tree.Symlink
		if e.Link, err = os.Readlink(name); err != nil {
			return tree.Entry{}, false
		}
	case 0:
		e.Kind, e.Size, e.Content = tree.File, info.Size(), onDisk(name)
	default:
		return tree.Entry{}, false
	}
	return e, true
}

// List implements [Files].
func (m Machine) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(m.path(dir))
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (m Machine) path(p string) string { return filepath.Join(string(m), filepath.FromSlash(p)) }

// onDisk is content in a file of its own.
type onDisk string

// Open implements [tree.Content].
func (p onDisk) Open() (io.ReadCloser, error) { return os.Open(string(p)) }

// Image is a tree that stands for a whole file system.
type Image struct {
	*tree.Tree
	children map[string][]string
}

// NewImage makes a tree searchable.
func NewImage(t *tree.Tree) *Image {
	image := &Image{t, map[string][]string{}}
	for _, e := range t.Entries() {
		dir := path.Dir(e.Path)
		image.children[dir] = append(image.children[dir], path.Base(e.Path))
	}
	for _, names := range image.children {
		slices.Sort(names)
	}
	return image
}

// List implements [Files].
func (i *Image) List(dir string) ([]string, error) {
	if dir == "" {
		dir = "."
	}
	return i.children[dir], nil
}

// hashed gives an entry its hash.
func hashed(e tree.Entry) (tree.Entry, error) {
	if e.Kind != tree.File || e.SHA256 != "" {
		return e, nil
	}
	r, err := e.Content.Open()
	if err != nil {
		return e, err
	}
	defer r.Close()
	h := sha256.New()
	if e.Size, err = io.Copy(h, r); err != nil {
		return e, fmt.Errorf("reading %s: %w", e.Path, err)
	}
	e.SHA256 = hex.EncodeToString(h.Sum(nil))
	return e, nil
}

// below lists the files below a directory with their hashes. What Python caches is left
// out, and so are links: nothing that a wheel brings is one.
func below(files Files, dir string) ([]tree.Entry, error) {
	names, err := files.List(dir)
	if err != nil {
		return nil, err
	}
	var entries []tree.Entry
	for _, name := range names {
		p := path.Join(dir, name)
		e, ok := files.Lookup(p)
		switch {
		case !ok || e.Kind == tree.Symlink:
		case e.Kind == tree.Dir && name != "__pycache__":
			more, err := below(files, p)
			if err != nil {
				return nil, err
			}
			entries = append(entries, e)
			entries = append(entries, more...)
		case e.Kind == tree.File:
			if e, err = hashed(e); err != nil {
				return nil, err
			}
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// match lists the files that a pattern's last part matches, with their hashes.
func match(files Files, pattern string) ([]tree.Entry, error) {
	dir, last := path.Split(pattern)
	dir = path.Clean(dir)
	names, err := files.List(dir)
	if err != nil {
		return nil, nil // there is no such directory
	}
	var entries []tree.Entry
	for _, name := range names {
		if ok, _ := path.Match(last, name); !ok {
			continue
		}
		e, ok := files.Lookup(path.Join(dir, name))
		if !ok || e.Kind != tree.File {
			continue
		}
		if e, err = hashed(e); err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}
