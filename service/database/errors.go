package database

import (
	"fmt"

	"ampoule/faults"
)

// LockedError says that another process has the data directory open.
type LockedError struct{ Dir, Holder string }

func (e *LockedError) Error() string {
	who := "another process"
	if e.Holder != "" {
		who += " (" + e.Holder + ")"
	}
	return fmt.Sprintf("%s has the data directory %s open", who, e.Dir)
}

// Kind says whose turn it is.
func (*LockedError) Kind() faults.Kind { return faults.Machine }

// Hint says what to do.
func (*LockedError) Hint() string {
	return "stop it first, also for an upgrade; several processes need --database postgres://…"
}

// UnavailableError says that the database does not answer, or takes nothing. Later it may.
type UnavailableError struct {
	Err error
	// Full says that its disk is full: nothing was written.
	Full bool
}

func (e *UnavailableError) Error() string {
	if e.Full {
		return "the disk of the database is full: " + e.Err.Error()
	}
	return "the database does not answer: " + e.Err.Error()
}

// Unwrap is the engine's error.
func (e *UnavailableError) Unwrap() error { return e.Err }

// Kind says whose turn it is.
func (e *UnavailableError) Kind() faults.Kind {
	if e.Full {
		return faults.Machine
	}
	return faults.Remote
}

// Hint says what to do.
func (e *UnavailableError) Hint() string {
	if e.Full {
		return "make room on the disk of the database: nothing else is needed"
	}
	return ""
}

// URLError says that the address of a database is none. It repeats nothing of it: there may be
// a password in it.
type URLError struct{}

func (*URLError) Error() string { return "the address of the database cannot be read" }

// Kind says whose turn it is.
func (*URLError) Kind() faults.Kind { return faults.Usage }

// Hint shows one.
func (*URLError) Hint() string { return "write it as postgres://USER:PASSWORD@HOST:5432/NAME" }
