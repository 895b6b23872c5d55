package install

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"ampoule/faults"
)

// VerificationError says that something is not what the artifact says.
type VerificationError struct {
	// What is an artifact, a layer or a release.
	What string
	// Files are the paths at which a release differs, where they are known.
	Files []string
	Err   error
	// Advice says what to do; empty is the usual.
	Advice string
}

// shownFiles is how many files an error names.
const shownFiles = 5

func (e *VerificationError) Error() string {
	text := fmt.Sprintf("verifying %s: %v", e.What, e.Err)
	if len(e.Files) == 0 {
		return text
	}
	text += ": " + strings.Join(e.Files[:min(len(e.Files), shownFiles)], ", ")
	if more := len(e.Files) - shownFiles; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// Kind says whose fault it is.
func (*VerificationError) Kind() faults.Kind { return faults.Refused }

// Unwrap returns the cause.
func (e *VerificationError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *VerificationError) Hint() string {
	if e.Advice != "" {
		return e.Advice
	}
	return "nothing was switched; the registry's content is not to be trusted until this is explained"
}

// UnsafeError says that the root, or something below it that an installation would
// use or replace, is not what an installation makes, or belongs to others, or may be
// changed by them. It is left as it is.
type UnsafeError struct {
	Path string
	// Why completes the sentence "PATH …".
	Why string
	// Advice says what to do.
	Advice string
}

func (e *UnsafeError) Error() string { return e.Path + " " + e.Why }

// Kind says whose fault it is.
func (*UnsafeError) Kind() faults.Kind { return faults.Machine }

// Hint says what to do.
func (e *UnsafeError) Hint() string { return e.Advice }

// What is done below a root: the gerunds of errors.
const (
	installing = "installing"
	switching  = "switching"
	removing   = "removing"
	verifying  = "verifying"
	reading    = "reading"
)

// hostHint says what to do about a fault of this machine.
func hostHint(op, root string, err error) string {
	switch {
	case op == verifying, op == reading:
		return fmt.Sprintf("run as a user who may read what is below %s", root)
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS):
		return fmt.Sprintf("run as a user who may write below %s, or choose another --root", root)
	}
	return fmt.Sprintf("free space on the file system of %s", root)
}

// hostError tells faults of this machine from the others: it cannot hold the release,
// because its disk is full, or the user may not write there, or not read.
func hostError(op, root string, err error) error {
	var refused *VerificationError
	if errors.As(err, &refused) {
		return err
	}
	for _, fault := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, fs.ErrPermission} {
		if errors.Is(err, fault) {
			return faults.New(faults.Machine, hostHint(op, root, err), "%s below %s: %w", op, root, err)
		}
	}
	return err
}
