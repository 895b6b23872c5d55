package ocidir

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ampoule/system"
)

// workBegin begins the names of directories in which files are made.
const workBegin = ".ampoule-export-"

// WriteFile writes one file: the tar of a layout that fill writes into. It has its name when it is
// whole and on disk; until then a file of that name stays as it is. Directories that calls which were killed have
// left beside it are removed.
func WriteFile(ctx context.Context, file string, mtime time.Time, fill func(*Layout) error) (err error) {
	work, remove, err := workBeside(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	dir := filepath.Join(work, "layout")
	l, err := Create(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(fill(l), l.Close()); err != nil {
		return err
	}
	packed := filepath.Join(work, "layout.tar")
	if err := packTo(ctx, packed, dir, mtime); err != nil {
		return err
	}
	if err := os.Rename(packed, file); err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

// packTo writes a layout directory into a file, which is on disk then.
func packTo(ctx context.Context, file, dir string, mtime time.Time) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // a layout is as public as what is in it
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	err = WriteTar(ctx, w, dir, mtime)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// workBeside makes a directory on the file system of a file. It is locked for as long as its process
// lives; those that nobody locks go.
func workBeside(file string) (work string, remove func() error, err error) {
	parent := filepath.Dir(file)
	if err := sweepWork(parent); err != nil {
		return "", nil, err
	}
	for {
		if work, err = os.MkdirTemp(parent, workBegin+"*"); err != nil {
			return "", nil, err
		}
		release, err := lockFile(work)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process took it for one that is left
		}
		if err != nil {
			return "", nil, errors.Join(err, os.Remove(work))
		}
		if _, err := os.Lstat(work); err == nil {
			return work, func() error { return errors.Join(os.RemoveAll(work), release()) }, nil
		}
		if err := release(); err != nil {
			return "", nil, err
		}
	}
}

// sweepWork removes directories of processes that are gone. Those of other users stay.
func sweepWork(parent string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), workBegin) {
			continue
		}
		err := removeUnlocked(filepath.Join(parent, e.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

// removeUnlocked removes a file or a directory that nobody has locked.
func removeUnlocked(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = system.TryLockFile(f, system.Exclusive)
	switch {
	case errors.Is(err, system.ErrHeld):
		return nil
	case err != nil:
		return fmt.Errorf("locking %s: %w", path, err)
	}
	return os.RemoveAll(path)
}
