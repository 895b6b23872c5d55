package fake

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"ampoule/builder/sandbox"
	"ampoule/tree"
)

// Import implements [sandbox.Sandbox]. Devices are left out, and a hard link
// becomes a file.
func (s *Sandbox) Import(_ context.Context, dir string, r io.Reader) error {
	if err := s.importTar(dir, r); err != nil {
		return fmt.Errorf("importing into %s of %s: %w", dir, s.Spec.Name, err)
	}
	return nil
}

func (s *Sandbox) importTar(dir string, r io.Reader) error {
	if s.Closed() {
		return sandbox.ErrClosed
	}
	prefix, err := relative(dir)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	dirs, err := directories(data)
	if err != nil {
		return err
	}
	imported, err := tree.FromTar(bytes.NewReader(data), int64(len(data)), tree.Limits{})
	if err != nil {
		return err
	}
	entries, err := s.missing(prefix)
	if err != nil {
		return err
	}
	for _, e := range imported.Entries() {
		_, exists := s.Files().Lookup(path.Join(prefix, e.Path))
		if e.Kind == tree.Dir && exists && !dirs[e.Path] {
			continue // The tree has a parent that the tar does not name.
		}
		e.Path = path.Join(prefix, e.Path)
		entries = append(entries, e)
	}
	return s.Write(entries...)
}

// missing lists a directory and its parents, as far as they are not there.
func (s *Sandbox) missing(dir string) ([]tree.Entry, error) {
	user := sandbox.UID
	if s.Spec.Profile == sandbox.InstallPackages {
		user = 0
	}
	var entries []tree.Entry
	for ; dir != "."; dir = path.Dir(dir) {
		e, ok := s.Files().Lookup(dir)
		if ok && e.Kind == tree.File {
			return nil, fmt.Errorf("%s is not a directory", dir)
		}
		if !ok {
			entries = append(entries, tree.Entry{Path: dir, Kind: tree.Dir, Mode: 0o755, UID: user, GID: user})
		}
	}
	return entries, nil
}

// directories lists the directories that a tar names. It refuses a tar that is
// damaged, has no end mark, or has a hard link that leaves it.
func directories(data []byte) (map[string]bool, error) {
	dirs := map[string]bool{}
	source := bytes.NewReader(data)
	tr := tar.NewReader(source)
	var size int64
	for {
		before := source.Len()
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			const block = 512
			if padding := (block - size%block) % block; int64(before-source.Len()) < padding+2*block {
				return nil, fmt.Errorf("reading tar: no end mark: %w", io.ErrUnexpectedEOF)
			}
			return dirs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading tar: %w", err)
		}
		if size, err = io.Copy(io.Discard, tr); err != nil {
			return nil, fmt.Errorf("reading tar: %w", err)
		}
		if hdr.Typeflag == tar.TypeDir {
			dirs[path.Clean(hdr.Name)] = true
		}
		if hdr.Typeflag == tar.TypeLink && slices.Contains(strings.Split(hdr.Linkname, "/"), "..") {
			return nil, fmt.Errorf("reading tar: %s: the path leaves the directory", hdr.Name)
		}
	}
}

// relative makes a path inside a tree of an absolute one.
func relative(dir string) (string, error) {
	if !path.IsAbs(dir) || path.Clean(dir) != dir {
		return "", fmt.Errorf("%q is not a clean absolute path", dir)
	}
	if dir == "/" {
		return ".", nil
	}
	return dir[1:], nil
}

// Export implements [sandbox.Sandbox]. Every file is of the same time.
func (s *Sandbox) Export(_ context.Context, dir string) (io.ReadCloser, error) {
	files, err := s.sub(dir)
	if err != nil {
		return nil, fmt.Errorf("exporting %s of %s: %w", dir, s.Spec.Name, err)
	}
	var buf bytes.Buffer
	if err := files.WriteTar(&buf, "", time.Unix(0, 0)); err != nil {
		return nil, fmt.Errorf("exporting %s of %s: %w", dir, s.Spec.Name, err)
	}
	return io.NopCloser(&buf), nil
}

func (s *Sandbox) sub(dir string) (*tree.Tree, error) {
	name, err := relative(dir)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, sandbox.ErrClosed
	}
	if name == "." {
		return s.files, nil
	}
	e, ok := s.files.Lookup(name)
	if !ok {
		return nil, fs.ErrNotExist
	}
	if e.Kind != tree.Dir {
		return nil, errors.New("not a directory")
	}
	return s.files.Sub(name), nil
}

// Changes implements [sandbox.Sandbox].
func (s *Sandbox) Changes(context.Context) (there, gone []string, err error) {
	files, err := s.sub("/")
	if err != nil {
		return nil, nil, fmt.Errorf("listing changes in %s: %w", s.Spec.Name, err)
	}
	paths := map[string]bool{}
	for _, e := range files.Entries() {
		old, _ := s.image.Lookup(e.Path)
		old.Content, e.Content = nil, nil
		for p := e.Path; old != e && p != "."; p = path.Dir(p) {
			paths[p] = true
		}
	}
	for _, e := range s.image.Entries() {
		if _, ok := files.Lookup(e.Path); !ok {
			gone = append(gone, e.Path)
		}
	}
	return slices.Sorted(maps.Keys(paths)), gone, nil
}

// Archive does what tar does with the step that reads what changed: it writes the files
// whose paths stand on standard input.
func (s *Sandbox) Archive(step sandbox.Step) error {
	list, err := io.ReadAll(step.Stdin)
	if err != nil {
		return err
	}
	wanted := strings.Split(string(list), "\x00")
	files := s.Files().Select(func(e tree.Entry) bool { return slices.Contains(wanted, e.Path) })
	return files.WriteTar(step.Stdout, "", time.Unix(0, 0))
}
