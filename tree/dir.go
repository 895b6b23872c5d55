package tree

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"ampoule/system"
)

// onDisk is content in a file of its own.
type onDisk string

// Open implements [Content].
func (p onDisk) Open() (io.ReadCloser, error) { return os.Open(string(p)) }

// FromDir reads the tree below a directory, hashing every file. Owners on disk
// are not read: UID and GID are 0. Anything but files, directories and symbolic
// links is an error, and so is a root that is itself a link.
func FromDir(dir string) (*Tree, error) {
	root, err := openDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading tree %s: %w", dir, err)
	}
	defer func() { _ = root.Close() }()
	content := func(p string) Content { return onDisk(filepath.Join(dir, filepath.FromSlash(p))) }
	return read(context.Background(), root, content, nil)
}

// openDir opens a directory, but not what a link leads to.
func openDir(dir string) (*os.Root, error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, errors.New("not a directory")
	}
	return os.OpenRoot(dir)
}

// inRoot is content in a file below an open directory.
type inRoot struct {
	root *os.Root
	path string
}

// Open implements [Content].
func (c inRoot) Open() (io.ReadCloser, error) { return c.root.Open(c.path) }

// FromRoot reads the tree below an open directory as [FromDir] does, and nothing
// outside it, whatever changes there meanwhile. See, unless it is nil, is shown what
// is on disk at each path before it is read; its error ends the reading. The
// contents can be opened as long as the directory is.
func FromRoot(ctx context.Context, root *os.Root, see func(path string, info fs.FileInfo) error) (*Tree, error) {
	return read(ctx, root, func(p string) Content { return inRoot{root, p} }, see)
}

// reader reads a tree, one directory at a time.
type reader struct {
	top     *os.Root
	content func(path string) Content
	see     func(path string, info fs.FileInfo) error
	// dirs are still to be read; entries were.
	dirs    []found
	entries []Entry
}

// found is what is on disk at a path.
type found struct {
	path string
	info fs.FileInfo
}

func read(ctx context.Context, top *os.Root, content func(string) Content, see func(string, fs.FileInfo) error) (*Tree, error) {
	r := &reader{top: top, content: content, see: see}
	info, err := top.Lstat(".")
	if err != nil {
		return nil, fmt.Errorf("reading tree %s: %w", top.Name(), err)
	}
	for r.dirs = []found{{".", info}}; len(r.dirs) > 0; {
		next := r.dirs[len(r.dirs)-1]
		r.dirs = r.dirs[:len(r.dirs)-1]
		if err := r.dir(ctx, next); err != nil {
			return nil, fmt.Errorf("reading tree %s: %w", top.Name(), err)
		}
	}
	return New(r.entries)
}

// errChanged says that another thing stands at a path than a moment before.
var errChanged = errors.New("it changed while it was read")

// dir reads what a directory holds.
func (r *reader) dir(ctx context.Context, at found) error {
	dir, err := r.top.OpenRoot(at.path)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	if info, err := dir.Stat("."); err != nil || !os.SameFile(info, at.info) {
		return fmt.Errorf("%s: %w", at.path, errors.Join(errChanged, err))
	}
	list, err := dir.Open(".")
	if err != nil {
		return err
	}
	names, err := list.Readdirnames(-1)
	if err := errors.Join(err, list.Close()); err != nil {
		return err
	}
	for _, name := range names {
		if err := r.entry(ctx, dir, name, path.Join(at.path, name)); err != nil {
			return err
		}
	}
	return nil
}

// entry reads what a directory has under one name; p is its path in the tree.
func (r *reader) entry(ctx context.Context, dir *os.Root, name, p string) error {
	if err := errors.Join(context.Cause(ctx), CheckPath(p)); err != nil {
		return err
	}
	info, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	if r.see != nil {
		if err := r.see(p, info); err != nil {
			return err
		}
	}
	e := Entry{Path: p, Mode: info.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)}
	switch info.Mode().Type() {
	case fs.ModeDir:
		e.Kind = Dir
		r.dirs = append(r.dirs, found{p, info})
	case fs.ModeSymlink:
		e.Kind, e.Mode = Symlink, 0o777
		e.Link, err = dir.Readlink(name)
	case 0:
		e.Kind, e.Content = File, r.content(p)
		e.SHA256, e.Size, err = hashFile(ctx, dir, name, info)
	default:
		return fmt.Errorf("%s: %s is not a file, directory or symbolic link", p, info.Mode().Type())
	}
	r.entries = append(r.entries, e)
	return err
}

// hashFile hashes a file of a directory. It waits for nothing that a FIFO in its
// place would make it wait for.
func hashFile(ctx context.Context, dir *os.Root, name string, want fs.FileInfo) (string, int64, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|system.NonBlock, 0)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !os.SameFile(info, want) {
		return "", 0, fmt.Errorf("%s: %w", f.Name(), errors.Join(errChanged, err))
	}
	h := sha256.New()
	n, err := io.Copy(h, untilDone{ctx, f})
	if err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(h.Sum(nil)), n, nil
}

// untilDone reads until its context is done.
type untilDone struct {
	//nolint:containedctx // a Read has no context of its own
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if err := context.Cause(u.ctx); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}
