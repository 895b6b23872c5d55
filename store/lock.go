package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Waiting for a lock looks for it after these times, doubling from the first to the last.
const (
	firstLook = 5 * time.Millisecond
	lastLook  = 200 * time.Millisecond
)

// Lock waits until it holds the lock of that name, against other processes and other
// callers in this one, or until the context ends. The lock is dropped by unlock, or
// with the process; whoever forgets unlock loses the lock at some garbage collection.
func (s *Store) Lock(ctx context.Context, name string) (unlock func(), err error) {
	sum := sha256.Sum256([]byte(name))
	path := filepath.Join(s.dir, locksDir, hex.EncodeToString(sum[:]))
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, fmt.Errorf("locking %q: %w", name, spaceError(s.dir, err))
		}
		if err := waitLock(ctx, f); err != nil {
			f.Close()
			return nil, fmt.Errorf("locking %q: %w", name, err)
		}
		if stillAt(path, f) {
			// Closing the file drops the lock: no other descriptor shares its open file.
			return func() { f.Close() }, nil
		}
		// A collection has removed it meanwhile.
		f.Close()
	}
}

// removeLocks removes the files of locks that nobody holds.
func (s *Store) removeLocks() error {
	return eachIn(filepath.Join(s.dir, locksDir), 0, func(dir string, entry fs.DirEntry) error {
		path := filepath.Join(dir, entry.Name())
		if entry.Name() == gateLock {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return ignoreMissing(err)
		}
		defer f.Close()
		switch err := flock(f, unix.LOCK_EX|unix.LOCK_NB); {
		case errors.Is(err, unix.EWOULDBLOCK):
			return nil
		case err != nil:
			return err
		case !stillAt(path, f):
			return nil
		}
		return os.Remove(path)
	})
}

func waitLock(ctx context.Context, f *os.File) error { return waitFor(ctx, f, unix.LOCK_EX) }

// waitFor looks again and again, because a blocking flock cannot be cancelled. It looks
// once in any case.
func waitFor(ctx context.Context, f *os.File, how int) error {
	pause := firstLook
	for {
		switch err := flock(f, how|unix.LOCK_NB); {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		pause = min(2*pause, lastLook)
	}
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
