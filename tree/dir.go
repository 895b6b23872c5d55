package tree

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// onDisk is content in a file of its own.
type onDisk string

// Open implements [Content].
func (p onDisk) Open() (io.ReadCloser, error) { return os.Open(string(p)) }

// FromDir reads the tree below a directory, hashing every file. Owners on disk
// are not read: UID and GID are 0. Anything but files, directories and symbolic
// links is an error, and so is a root that is itself a link.
func FromDir(root string) (*Tree, error) {
	var entries []Entry
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == root {
			return checkDir(d)
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		e, err := fromDisk(name, filepath.ToSlash(rel), d)
		if err != nil {
			return err
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading tree %s: %w", root, err)
	}
	return New(entries)
}

// checkDir refuses a root that would be read as an empty tree: WalkDir does not
// look behind a link.
func checkDir(d fs.DirEntry) error {
	if !d.IsDir() {
		return errors.New("not a directory")
	}
	return nil
}

func fromDisk(name, rel string, d fs.DirEntry) (Entry, error) {
	info, err := d.Info()
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Path: rel, Mode: info.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)}
	switch info.Mode().Type() {
	case fs.ModeDir:
		e.Kind = Dir
	case fs.ModeSymlink:
		e.Kind, e.Mode = Symlink, 0o777
		e.Link, err = os.Readlink(name)
		return e, err
	case 0:
		e.Kind, e.Content = File, onDisk(name)
		e.SHA256, e.Size, err = hashFile(name)
		return e, err
	default:
		return Entry{}, fmt.Errorf("%s: %s is not a file, directory or symbolic link", rel, info.Mode().Type())
	}
	return e, nil
}

func hashFile(name string) (string, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(h.Sum(nil)), n, nil
}
