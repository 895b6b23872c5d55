package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ampoule/system"
)

// The names in the area Tmp that this package gives begin with one of these.
const (
	writerPrefix  = "writer-"
	dirPrefix     = "dir-"
	partialPrefix = "partial-"
)

// keepPartial is how long a partial file waits for the run that resumes it, and how
// long what other packages left in Tmp is kept.
const keepPartial = 7 * 24 * time.Hour

// TempDir makes an empty directory in the area Tmp. It is removed by remove, or,
// when this process is killed before, by a later [Open].
func (s *Store) TempDir() (dir string, remove func() error, err error) {
	for {
		path := filepath.Join(s.Dir(Tmp), dirPrefix+rand.Text())
		if err := os.Mkdir(path, 0o700); err != nil {
			return "", nil, fmt.Errorf("making temporary directory: %w", spaceError(s.dir, err))
		}
		f, err := os.Open(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", nil, fmt.Errorf("making temporary directory: %w", err)
		}
		if err == nil && system.TryLockFile(f, system.Exclusive) == nil && stillAt(path, f) {
			return path, func() error { return errors.Join(removeTree(path), f.Close()) }, nil
		}
		// A sweep came between making it and locking it.
		f.Close()
	}
}

// NewLogs makes a directory for the logs of one run, whose name begins with a text.
func (s *Store) NewLogs(name string) (dir string, err error) {
	dir = filepath.Join(s.Dir(Logs), name+strings.ToLower(rand.Text()))
	if err = s.pin(dir); err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return "", fmt.Errorf("making log directory: %w", spaceError(s.dir, err))
	}
	return dir, nil
}

// openLocked opens the file at path, which it makes where there is none, and waits
// until it alone holds it.
func openLocked(ctx context.Context, path string) (*os.File, error) {
	for mended := false; ; {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if errors.Is(err, fs.ErrPermission) && !mended {
			mended = true
			if err := makeWritable(ctx, path); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := waitLock(ctx, f); err != nil {
			f.Close()
			return nil, err
		}
		if stillAt(path, f) {
			return f, nil
		}
		// Whoever held it before has renamed or removed it.
		f.Close()
	}
}

// makeWritable undoes what a process did that was killed while it committed content:
// the file was read-only already, but not yet in its place.
func makeWritable(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := waitLock(ctx, f); err != nil {
		return err
	}
	if !stillAt(path, f) {
		return nil
	}
	return f.Chmod(0o600)
}

func stillAt(path string, f *os.File) bool {
	here, err := os.Lstat(path)
	if err != nil {
		return false
	}
	open, err := f.Stat()
	return err == nil && os.SameFile(here, open)
}

// sweep removes from the area Tmp what no living process holds.
func (s *Store) sweep() error {
	entries, err := os.ReadDir(s.Dir(Tmp))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := sweepEntry(s.Dir(Tmp), entry); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sweeping temporary files: %w", err)
		}
	}
	return nil
}

func sweepEntry(dir string, entry fs.DirEntry) error {
	path := filepath.Join(dir, entry.Name())
	if !entry.Type().IsRegular() && !entry.IsDir() {
		return nil
	}
	info, err := entry.Info()
	if err != nil {
		return err
	}
	ours := strings.HasPrefix(entry.Name(), writerPrefix) || strings.HasPrefix(entry.Name(), dirPrefix)
	if !ours && time.Since(info.ModTime()) < keepPartial {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|system.NonBlock|system.NoFollow, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := system.TryLockFile(f, system.Exclusive); err != nil {
		return nil
	}
	if !stillAt(path, f) {
		return nil
	}
	return removeTree(path)
}

// removeTree removes also what lies in directories that may not be written to.
func removeTree(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	walk := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return os.Chmod(p, 0o700)
	})
	return errors.Join(walk, os.RemoveAll(path))
}

// TempFile makes an empty file without a name: the system drops it when it is
// closed, or when this process ends.
func (s *Store) TempFile() (*os.File, error) {
	f, err := os.CreateTemp(s.Dir(Tmp), "unnamed-")
	if err != nil {
		return nil, fmt.Errorf("making temporary file: %w", spaceError(s.dir, err))
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("making temporary file: %w", err)
	}
	return f, nil
}
