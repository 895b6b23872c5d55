package store

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"ampoule/faults"
)

// ErrNotFound says that the store has no such content. It is an [fs.ErrNotExist].
var ErrNotFound = fmt.Errorf("not in the store: %w", fs.ErrNotExist)

// ErrNoSpace says that the store's disk, or its user's quota, is full.
var ErrNoSpace = faults.New(faults.Machine, "", "no space left on the disk")

// anotherStore is how another store is named.
const anotherStore = "(--store DIR, AMPOULE_STORE)"

// newerStore says that a newer program made the store.
func newerStore(dir string, version int) error {
	return faults.New(faults.Machine, "use the newer ampoule that made it, or another store "+anotherStore,
		"store %s has layout version %d, this program knows up to %d", dir, version, Version)
}

// othersStore says that the store belongs to another user; both are user IDs.
func othersStore(dir string, owner, user int) error {
	return faults.New(faults.Machine, "run as the store's user, or use a store of your own "+anotherStore,
		"store %s belongs to user %d, this is user %d", dir, owner, user)
}

// writableStore says that others may write to the store, so that nothing in it can be
// trusted: dir is the store's directory, or one in it.
func writableStore(dir string, mode fs.FileMode) error {
	return faults.New(faults.Machine, "if nobody else wrote to it: chmod go-w "+dir+"; otherwise use a new store "+anotherStore,
		"directory %s has mode %#o: other users may write to it", dir, mode)
}

// olderInUse says that a store cannot be brought to this program's version now.
func olderInUse(dir string) error {
	return faults.New(faults.Machine, "begin again when its builds have ended", "store %s is in use by an older ampoule", dir)
}

// foreignDir says that a directory is not a store and not empty either: the entry is not
// a store's.
func foreignDir(dir, entry string) error {
	return faults.New(faults.Machine, "name a new or empty directory "+anotherStore, "directory %s is not a store: it holds %q", dir, entry)
}

// RecordError says that a record is damaged.
type RecordError struct {
	// Path is its file.
	Path string
	// Err says what is wrong with it.
	Err error
}

func (e *RecordError) Error() string { return fmt.Sprintf("damaged record %s: %v", e.Path, e.Err) }

// Kind says whose fault it is.
func (*RecordError) Kind() faults.Kind { return faults.Refused }

// Unwrap gives what is wrong.
func (e *RecordError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *RecordError) Hint() string {
	return "run `ampoule fetch` again for its recipe, or remove the file: what it kept may be collected then; look after the disk"
}

// MismatchError says that bytes have another sha256 than was expected, either while
// they came in or because the store's file was damaged.
type MismatchError struct {
	// Want and Got are hexadecimal sha256 sums.
	Want, Got string
	// Path is the damaged file; empty for bytes that were coming in.
	Path string
}

func (e *MismatchError) Error() string {
	if e.Path != "" {
		return fmt.Sprintf("damaged content %s: its sha256 is %s", e.Path, e.Got)
	}
	return fmt.Sprintf("sha256 is %s, expected %s", e.Got, e.Want)
}

// Kind says whose fault it is.
func (*MismatchError) Kind() faults.Kind { return faults.Refused }

// spaceError makes a full disk an [ErrNoSpace] and leaves other errors as they are.
func spaceError(dir string, err error) error {
	if errors.Is(err, ErrNoSpace) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return faults.New(faults.Machine, "free space there, or use a store on another disk "+anotherStore, "%w at %s: %w", ErrNoSpace, dir, err)
	}
	return err
}
