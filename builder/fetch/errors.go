package fetch

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"ampoule/address"
	"ampoule/faults"
	"ampoule/recipes"
)

// Attempt is one address that was tried, and why it did not give the item.
type Attempt struct {
	// Address is a URL without credentials and query, or a path.
	Address string
	Err     error
}

// RemoteError says that no mirror of an item's source gave it, for other reasons
// than that all lack it.
type RemoteError struct {
	// What is the item, or the index page, that was wanted.
	What     string
	Attempts []Attempt
}

func (e *RemoteError) Error() string {
	if len(e.Attempts) == 0 {
		return fmt.Sprintf("fetching %s: its source has no mirror", e.What)
	}
	return fmt.Sprintf("fetching %s:%s", e.What, list(e.Attempts))
}

// Kind says whose fault it is.
func (*RemoteError) Kind() faults.Kind { return faults.Remote }

// Hint says what to do.
func (e *RemoteError) Hint() string {
	for _, a := range e.Attempts {
		if wants := (*CredentialsError)(nil); errors.As(a.Err, &wants) {
			return "" // Its own hint says more.
		}
	}
	return "look at the network and the proxy settings, or configure another mirror (AMPOULE_SOURCE_<NAME>, or mirrors in config.toml)"
}

// Unwrap gives the reasons.
func (e *RemoteError) Unwrap() []error { return reasons(e.Attempts) }

// Lasts reports whether no mirror will give it later: see [faults.Passes].
func (e *RemoteError) Lasts() bool {
	return !slices.ContainsFunc(e.Attempts, func(a Attempt) bool {
		var again *retryableError
		return errors.As(a.Err, &again)
	})
}

// NotFoundError says that every mirror of its source answered that it has no such
// item: a pin that can no longer be fetched.
type NotFoundError struct {
	Item     Item
	Attempts []Attempt
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("%s is on no mirror:%s", e.Item, list(e.Attempts))
}

// Kind says whose fault it is.
func (*NotFoundError) Kind() faults.Kind { return faults.NotFound }

// Hint says what to do.
func (e *NotFoundError) Hint() string {
	if e.Item.Source == CPython {
		return "Debian's source packages have some versions only: name a mirror of Python's releases, or a directory, in AMPOULE_SOURCE_CPYTHON"
	}
	if e.Item.Source == Profiles {
		return "`ampoule pgo-profile --write` trains a new one; or name a place that has it: inputs kept by ampoule fetch or pgo-profile --to in AMPOULE_KEPT, or a directory of profiles in AMPOULE_SOURCE_PROFILES"
	}
	if e.Item.Source == Crates {
		return "the Cargo.lock of an sdist pins it: lock another version of that distribution, or configure a mirror that has the crate, which may be a directory"
	}
	return fmt.Sprintf("move the pin with: ampoule lock --upgrade %s; or name a place that has it: inputs kept by ampoule fetch in AMPOULE_KEPT, or a mirror that keeps old files, such as a snapshot archive", e.Item.Name)
}

// NoProjectError says that no index of a source has the project.
type NoProjectError struct {
	Source   string
	Name     string
	Attempts []Attempt
}

func (e *NoProjectError) Error() string {
	return fmt.Sprintf("source %s has no project %s:%s", e.Source, e.Name, list(e.Attempts))
}

// Kind says whose fault it is.
func (*NoProjectError) Kind() faults.Kind { return faults.NotFound }

// Hint says what to do.
func (e *NoProjectError) Hint() string {
	return "check the spelling; a private project needs its index among the source's mirrors"
}

// HashError says that an address gave other bytes than the item's.
type HashError struct {
	Address string
	// Want and Got are hexadecimal sha256 sums; Got is empty when the size alone
	// was wrong.
	Want, Got string
	// Size and Limit are in bytes: how many came, or were announced, and how many the item has.
	Size, Limit int64
}

func (e *HashError) Error() string {
	if e.Got == "" {
		return fmt.Sprintf("wrong bytes: %d of them, the item has %d", e.Size, e.Limit)
	}
	return fmt.Sprintf("wrong bytes: their sha256 is %s, not %s", e.Got, e.Want)
}

// Kind says whose fault it is.
func (*HashError) Kind() faults.Kind { return faults.Remote }

// StatusError says that a server answered with an HTTP status other than success.
type StatusError struct {
	Code int
	// Status is the code with the server's words.
	Status string
}

func (e *StatusError) Error() string { return "HTTP " + e.Status }

// Kind says whose fault it is.
func (*StatusError) Kind() faults.Kind { return faults.Remote }

// DefaultError says that a source's default mirrors could not be found on this machine.
type DefaultError struct {
	Source string
	Err    error
	// Advice is what to do about it.
	Advice string
}

func (e *DefaultError) Error() string {
	return fmt.Sprintf("finding the mirrors of source %s on this machine: %v", e.Source, e.Err)
}

// Kind says whose fault it is.
func (*DefaultError) Kind() faults.Kind { return faults.Machine }

// Unwrap gives the reason.
func (e *DefaultError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *DefaultError) Hint() string { return e.Advice }

func list(attempts []Attempt) string {
	lines := make([]string, 0, len(attempts))
	for _, a := range attempts {
		lines = append(lines, fmt.Sprintf("%s: %v", a.Address, a.Err))
	}
	if len(lines) == 0 {
		return ""
	}
	return "\n  " + strings.Join(recipes.First(lines), "\n  ")
}

func reasons(attempts []Attempt) []error {
	errs := make([]error, 0, len(attempts))
	for _, a := range attempts {
		errs = append(errs, a.Err)
	}
	return errs
}

// scrubbedError is an error of foreign making whose text may hold credentials.
type scrubbedError struct{ err error }

func (e scrubbedError) Error() string { return address.Redact(e.err.Error()) }

func (e scrubbedError) Unwrap() error { return e.err }
