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

// VersionError says that a newer program made the store.
type VersionError struct {
	Dir string
	// Version is the layout's version that the store has.
	Version int
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("store %s has layout version %d, this program knows up to %d", e.Dir, e.Version, Version)
}

// Kind says whose fault it is.
func (*VersionError) Kind() faults.Kind { return faults.Machine }

// Hint says what to do.
func (e *VersionError) Hint() string {
	return "use the newer ampoule that made it, or another store (--store DIR, AMPOULE_STORE)"
}

// OwnerError says that the store belongs to another user.
type OwnerError struct {
	Dir string
	// Owner and User are the user IDs of the store and of this process.
	Owner, User int
}

func (e *OwnerError) Error() string {
	return fmt.Sprintf("store %s belongs to user %d, this is user %d", e.Dir, e.Owner, e.User)
}

// Kind says whose fault it is.
func (*OwnerError) Kind() faults.Kind { return faults.Machine }

// Hint says what to do.
func (e *OwnerError) Hint() string {
	return "run as the store's user, or use a store of your own (--store DIR, AMPOULE_STORE)"
}

// WritableError says that others may write to the store, so that nothing in it can be
// trusted.
type WritableError struct {
	// Dir is the store's directory, or one in it.
	Dir string
	// Mode has its permission bits.
	Mode fs.FileMode
}

func (e *WritableError) Error() string {
	return fmt.Sprintf("directory %s has mode %#o: other users may write to it", e.Dir, e.Mode)
}

// Kind says whose fault it is.
func (*WritableError) Kind() faults.Kind { return faults.Machine }

// Hint says what to do.
func (e *WritableError) Hint() string {
	return "if nobody else wrote to it: chmod go-w " + e.Dir + "; otherwise use a new store (--store DIR, AMPOULE_STORE)"
}

// UpgradeError says that a store cannot be brought to this program's version now.
type UpgradeError struct{ Dir string }

func (e *UpgradeError) Error() string {
	return fmt.Sprintf("store %s is in use by an older ampoule", e.Dir)
}

// Kind says whose fault it is.
func (*UpgradeError) Kind() faults.Kind { return faults.Machine }

// Hint says what to do.
func (e *UpgradeError) Hint() string { return "begin again when its builds have ended" }

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

// ForeignError says that a directory is not a store and not empty either.
type ForeignError struct {
	Dir string
	// Entry is a file in it that is not a store's.
	Entry string
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("directory %s is not a store: it holds %q", e.Dir, e.Entry)
}

// Kind says whose fault it is.
func (*ForeignError) Kind() faults.Kind { return faults.Machine }

// Hint says what to do.
func (e *ForeignError) Hint() string {
	return "name a new or empty directory (--store DIR, AMPOULE_STORE)"
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

// SpaceError says that the disk of the directory is full. It is an [ErrNoSpace].
type SpaceError struct {
	Dir string
	Err error
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("%v at %s: %v", ErrNoSpace, e.Dir, e.Err)
}

// Kind says whose fault it is.
func (*SpaceError) Kind() faults.Kind { return faults.Machine }

// Unwrap gives ErrNoSpace and what the system said.
func (e *SpaceError) Unwrap() []error { return []error{ErrNoSpace, e.Err} }

// Hint says what to do.
func (e *SpaceError) Hint() string {
	return "free space there, or use a store on another disk (--store DIR, AMPOULE_STORE)"
}

// spaceError makes a full disk a *SpaceError and leaves other errors as they are.
func spaceError(dir string, err error) error {
	if errors.Is(err, ErrNoSpace) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &SpaceError{Dir: dir, Err: err}
	}
	return err
}
