package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"ampoule/system"
)

// A use pins what it takes: before a path is handed out, its name is written into the
// use's file, under the gate. A collection removes only while it alone holds the gate, and
// only what no file of a living use names. So either the name was written first, and what
// it names stays, or the file was removed first, and whoever wrote the name finds it
// absent. No clock takes part in this.

// Files in the directory of locks. Named locks have other names: 64 digits.
const (
	// gateLock is shared for a moment by those who pin, and held alone for a moment by a
	// collection.
	gateLock = "gate"
	// turnLock is held by whoever wants the gate alone, until he has it. Those who pin look
	// whether it is held before they enter: where many pin without a pause, the gate is never
	// without one of them.
	turnLock = "turn"
)

// gateTime is how long somebody waits for the gate. A collection holds it for milliseconds,
// or for as long as a sandbox engine takes to remove an image.
const gateTime = 5 * time.Minute

// errGate says that a process holds the gate and does not go on.
var errGate = errors.New("another process holds the store's gate and does not let it go; is one stopped?")

// use is one use of the store.
type use struct {
	mu sync.Mutex
	// file is locked while the use lives; nil when it has ended.
	file *os.File
	// names are the pinned ones, relative to the store's directory.
	names map[string]bool
}

// uses are the living uses of one process.
type uses struct {
	mu  sync.Mutex
	all map[*use]bool
}

func (u *uses) add(one *use) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all == nil {
		u.all = map[*use]bool{}
	}
	u.all[one] = true
}

func (u *uses) remove(one *use) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.all, one)
}

func (u *uses) list() []*use {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all []*use
	for one := range u.all {
		all = append(all, one)
	}
	return all
}

// Use begins a use of the store. What is found, looked up, opened or put from then on
// stays until release is called, or until this process ends, whatever is collected
// meanwhile.
func (s *Store) Use(ctx context.Context) (release func(), err error) {
	f, err := openLocked(ctx, filepath.Join(s.dir, usersDir, rand.Text()))
	if err != nil {
		return nil, fmt.Errorf("using the store: %w", spaceError(s.dir, err))
	}
	u := &use{file: f, names: map[string]bool{}}
	s.uses.add(u)
	return func() {
		s.uses.remove(u)
		u.end()
	}, nil
}

func (u *use) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.file == nil {
		return
	}
	// What cannot be removed is swept: nobody holds it.
	_ = os.Remove(u.file.Name())
	u.file.Close()
	u.file = nil
}

// Pin has content stay until the uses of this process end, whether it is there now or not.
func (s *Store) Pin(sums ...string) error {
	for _, sum := range sums {
		if err := CheckSum(sum); err != nil {
			return err
		}
		if err := s.pin(s.Path(sum)); err != nil {
			return err
		}
	}
	return nil
}

// IfLost runs do if some of the content is not there, and is not in use either. Nobody
// begins to use anything meanwhile, so do must be short.
func (s *Store) IfLost(ctx context.Context, sums []string, do func() error) error {
	leave, err := s.enter(ctx, system.Exclusive)
	if err != nil {
		return err
	}
	defer leave()
	pinned, err := s.pinned()
	if err != nil {
		return err
	}
	for _, sum := range sums {
		if err := CheckSum(sum); err != nil {
			return err
		}
		if _, err := os.Lstat(s.Path(sum)); errors.Is(err, fs.ErrNotExist) && !pinned[s.nameOf(s.Path(sum))] {
			return do()
		}
	}
	return nil
}

// nameOf is a path below the store's directory, as uses have it.
func (s *Store) nameOf(path string) string {
	return strings.TrimPrefix(path, s.dir+string(filepath.Separator))
}

// pin writes the name of what is about to be used into each use of this process. Without
// a use it does nothing.
func (s *Store) pin(path string) error {
	name := s.nameOf(path)
	for _, u := range s.uses.list() {
		if err := u.pin(s, name); err != nil {
			return fmt.Errorf("pinning %s: %w", name, spaceError(s.dir, err))
		}
	}
	return nil
}

//nolint:contextcheck // the gate is waited for within a bound of its own, and what is used must be named
func (u *use) pin(s *Store, name string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.file == nil || u.names[name] {
		return nil
	}
	leave, err := s.enter(context.Background(), system.Shared)
	if err != nil {
		return err
	}
	defer leave()
	// The name begins with a new line: a name that was cut spoils none behind it.
	if _, err := u.file.WriteString("\n" + name); err != nil {
		return err
	}
	u.names[name] = true
	return nil
}

// enter takes the gate, shared or alone.
func (s *Store) enter(ctx context.Context, how system.How) (leave func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, gateTime, errGate)
	defer cancel()
	next, err := s.hold(ctx, turnLock, how)
	if err != nil {
		return nil, err
	}
	if how == system.Shared {
		next()
		return s.hold(ctx, gateLock, how)
	}
	defer next()
	return s.hold(ctx, gateLock, how)
}

// hold takes a lock of its own name, shared or alone.
func (s *Store) hold(ctx context.Context, name string, how system.How) (leave func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, locksDir, name), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := waitFor(ctx, f, how, gateLook, nil); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// pinned reads the names of all living uses, of every process. Whoever calls it holds the
// gate alone.
func (s *Store) pinned() (map[string]bool, error) {
	names := map[string]bool{}
	err := s.eachUse(func(_ string, text []byte) error {
		for name := range bytes.SplitSeq(text, []byte("\n")) {
			names[string(name)] = true
		}
		return nil
	})
	return names, err
}

// sweepUses removes the files of uses whose processes have ended.
func (s *Store) sweepUses() error { return s.eachUse(func(string, []byte) error { return nil }) }

// eachUse visits the file of each living use, and removes those of ended ones.
func (s *Store) eachUse(visit func(path string, text []byte) error) error {
	err := eachIn(filepath.Join(s.dir, usersDir), 0, func(dir string, entry fs.DirEntry) error {
		path := filepath.Join(dir, entry.Name())
		f, err := os.Open(path)
		if err != nil {
			return ignoreMissing(err)
		}
		defer f.Close()
		switch err := system.TryLockFile(f, system.Exclusive); {
		case errors.Is(err, system.ErrHeld):
			text, err := os.ReadFile(path)
			if err != nil {
				return ignoreMissing(err)
			}
			return visit(path, text)
		case err != nil:
			return err
		case !stillAt(path, f):
			return nil
		}
		return ignoreMissing(os.Remove(path))
	})
	if err != nil {
		return fmt.Errorf("reading who uses the store: %w", err)
	}
	return nil
}
