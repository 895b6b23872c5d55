package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"ampoule/system"
)

// Waiting for a lock looks for it after these times, doubling from the first to the last; for the
// gate, which is held for moments, to gateLook.
const (
	firstLook = 5 * time.Millisecond
	lastLook  = 200 * time.Millisecond
	gateLook  = 10 * time.Millisecond
)

// shortWait is a wait that nobody has to hear of. In that time whoever has just taken a lock has
// said who it is, too.
const shortWait = 100 * time.Millisecond

// maxNote is how long the note of a lock may be, in bytes.
const maxNote = 1024

// Lock waits until it holds the lock of that name, against other processes and other
// callers in this one, or until the context ends. The lock is dropped by unlock, or
// with the process; whoever forgets unlock loses the lock at some garbage collection.
func (s *Store) Lock(ctx context.Context, name string) (unlock func(), err error) {
	return s.LockNoted(ctx, name, nil, nil)
}

// LockNoted is [Store.Lock] of a lock that carries a note, of at most 1024 bytes, which says
// who holds it. The note is asked for when the lock is held: nil leaves none. A caller that has to wait for more than an instant is handed the holder's note,
// once and again whenever it has become another one. The note is as true as its writer: it is empty where the holder
// gave none, and may be, for a moment, that of a holder that was killed before.
func (s *Store) LockNoted(ctx context.Context, name string, note func() []byte, waiting func(note []byte)) (unlock func(), err error) {
	r := reader{tell: waiting}
	sum := sha256.Sum256([]byte(name))
	path := filepath.Join(s.dir, locksDir, hex.EncodeToString(sum[:]))
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, fmt.Errorf("locking %q: %w", name, spaceError(s.dir, err))
		}
		if err := waitFor(ctx, f, system.Exclusive, lastLook, func() { r.read(f) }); err != nil {
			f.Close()
			return nil, fmt.Errorf("locking %q: %w", name, err)
		}
		if stillAt(path, f) {
			if err := say(f, note); err != nil {
				f.Close()
				return nil, fmt.Errorf("locking %q: %w", name, err)
			}
			return func() {
				setNote(f, nil)
				// Closing the file drops the lock: no other descriptor shares its open file.
				f.Close()
			}, nil
		}
		// A collection has removed it meanwhile.
		f.Close()
	}
}

// say puts a note into a lock that has just been taken, if its holder has any.
func say(f *os.File, note func() []byte) error {
	if note == nil {
		setNote(f, nil)
		return nil
	}
	text := note()
	if len(text) > maxNote {
		return fmt.Errorf("a note of %d bytes is longer than %d", len(text), maxNote)
	}
	setNote(f, text)
	return nil
}

// setNote replaces a lock's note in one write of one size, so that nobody reads parts of two. A
// disk that is full takes none: then those who wait are not told for whom, and nothing else is
// lost.
func setNote(f *os.File, note []byte) {
	if len(note) == 0 {
		_ = f.Truncate(0)
		return
	}
	padded := make([]byte, maxNote)
	copy(padded, note)
	_, _ = f.WriteAt(padded, 0)
}

// reader reads the notes of the lock that one caller waits for.
type reader struct {
	tell func(note []byte)
	// last is the note of the last look; told says that it was handed on.
	last         []byte
	looked, told bool
}

// read tells of the note, unless it was told before. That there is none it tells when it looks
// again and there still is none: the holder may be about to write it.
func (r *reader) read(f *os.File) {
	if r.tell == nil {
		return
	}
	note := make([]byte, maxNote)
	n, err := f.ReadAt(note, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		n = 0
	}
	note = bytes.TrimRight(note[:n], "\x00")
	again := r.looked && bytes.Equal(note, r.last)
	r.told = r.told && again
	r.looked, r.last = true, note
	if !r.told && (again || len(note) > 0) {
		r.told = true
		r.tell(note)
	}
}

// removeLocks removes the files of locks that nobody holds.
func (s *Store) removeLocks() error {
	return eachIn(filepath.Join(s.dir, locksDir), 0, func(dir string, entry fs.DirEntry) error {
		path := filepath.Join(dir, entry.Name())
		if entry.Name() == gateLock || entry.Name() == turnLock {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return ignoreMissing(err)
		}
		defer f.Close()
		switch err := system.TryLockFile(f, system.Exclusive); {
		case errors.Is(err, system.ErrHeld):
			return nil
		case err != nil:
			return err
		case !stillAt(path, f):
			return nil
		}
		return os.Remove(path)
	})
}

func waitLock(ctx context.Context, f *os.File) error {
	return waitFor(ctx, f, system.Exclusive, lastLook, nil)
}

// waitFor looks again and again, because a blocking flock cannot be cancelled: at the longest, last
// is between two looks. It looks once in any case. After a short wait it calls held, if there is one,
// each time that somebody else has the lock.
func waitFor(ctx context.Context, f *os.File, how system.How, last time.Duration, held func()) error {
	begun, pause := time.Now(), firstLook
	for {
		switch err := system.TryLockFile(f, how); {
		case err == nil:
			return nil
		case !errors.Is(err, system.ErrHeld):
			return err
		}
		if held != nil && time.Since(begun) > shortWait {
			held()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		pause = min(2*pause, last)
	}
}
