// Package faults says of errors what kind of fault they are, and what a person can do
// about them. Whoever declares an error says its kind there; whoever ends with it, a
// program or a server, asks [Of] and answers with what the one table has for the kind: an
// exit code, or a status of HTTP.
package faults

import (
	"errors"
	"io/fs"
	"slices"
	"syscall"
)

// Kind says whose turn it is after an error.
type Kind int

// The kinds, the one that wins first: where several are in one chain of errors, the
// earlier one says more about what to do next.
const (
	// Unknown is a fault of Ampoule itself: nobody foresaw it. Every other kind wins.
	Unknown Kind = iota
	// Interrupted: a person or the system ended the work.
	Interrupted
	// Usage: the program was called wrongly.
	Usage
	// Input: a file that a person wrote or keeps is wrong, or stale.
	Input
	// Refused: what was found is not to be trusted, or not to be published.
	Refused
	// NotFound: what was asked for by name is not there.
	NotFound
	// Machine: this machine cannot do it.
	Machine
	// Remote: a server that is needed failed.
	Remote
	// Build: a step of a build ended with an error.
	Build
	// Undecided: the answer depends on something that was not given.
	Undecided
)

// table has a row for each kind.
var table = [...]struct {
	// code is the exit code of the program, status that of an answer of HTTP (RFC 9110, 15).
	code, status int
	// name is the kind for a program.
	name string
	// means says it to a person.
	means string
	// of are foreign errors of the kind, as [errors.Is] finds them.
	of []error
}{
	Unknown:     {1, 500, "internal", "a fault of Ampoule itself", nil},
	Interrupted: {130, 503, "interrupted", "interrupted", nil},
	Usage:       {2, 400, "usage", "wrong usage", nil},
	Input:       {3, 422, "input", "an input file (recipe, lock, requirements, policy) is wrong or stale", nil},
	Refused:     {4, 403, "refused", "refused: gate, audit, policy or verification", nil},
	NotFound:    {5, 404, "not-found", "not found", nil},
	Machine: {
		6, 503, "machine", "this machine cannot: Docker missing or too old, disk full, host unfit",
		[]error{syscall.ENOSPC, syscall.EDQUOT, fs.ErrPermission},
	},
	Remote:    {7, 502, "remote", "a remote failed: registry, index, mirror, server", nil},
	Build:     {8, 422, "build", "the build failed: a build step ended with an error", nil},
	Undecided: {9, 409, "undecided", "undecided: it depends on something that was not given", nil},
}

// Kinds lists all kinds by their exit codes.
func Kinds() []Kind {
	all := make([]Kind, len(table))
	for i := range all {
		all[i] = Kind(i)
	}
	slices.SortFunc(all, func(a, b Kind) int { return a.Code() - b.Code() })
	return all
}

// Code is the exit code of a program that ends with an error of the kind.
func (k Kind) Code() int { return table[k].code }

// Status is the status of an HTTP answer that tells an error of the kind.
func (k Kind) Status() int { return table[k].status }

// Named finds a kind by its name for programs.
func Named(name string) (Kind, bool) {
	for k, row := range table {
		if row.name == name {
			return Kind(k), true
		}
	}
	return Unknown, false
}

// String is the kind's name for programs, such as "input".
func (k Kind) String() string { return table[k].name }

// Means says in a few words what the kind stands for.
func (k Kind) Means() string { return table[k].means }

// Of finds the kind of an error: the first kind, in the order of their declaration, that
// any error of its chain has, however deep it is wrapped and whatever it is joined with.
// An error has the kind that its method Kind returns, or the one that the table has for
// it. An error without any is [Unknown].
//
// [context.Canceled] and [context.DeadlineExceeded] have no kind: whoever cancelled says
// why, in the cause of the context.
func Of(err error) Kind {
	found := Unknown
	for e := range chain(err) {
		if has, ok := e.(interface{ Kind() Kind }); ok { //nolint:errorlint // each error of the chain is looked at by itself
			found = first(found, has.Kind())
		}
	}
	for k, row := range table {
		if slices.ContainsFunc(row.of, func(target error) bool { return errors.Is(err, target) }) {
			found = first(found, Kind(k))
		}
	}
	return found
}

// Passes reports whether the same may succeed later although nobody does anything about an error: it is of
// kind Remote, as of a server that restarts. An error of that kind that stays, such as refused credentials,
// says so by a method Lasts; of several in one chain the outermost decides.
func Passes(err error) bool {
	var lasting interface{ Lasts() bool }
	return Of(err) == Remote && (!errors.As(err, &lasting) || !lasting.Lasts())
}

// StatusLasts reports whether a server that answers with an HTTP status (RFC 9110, 15) is not to be asked
// the same again: it refuses the request, and is neither busy nor broken.
func StatusLasts(code int) bool {
	const timeout, tooEarly, tooMany, serverError = 408, 425, 429, 500
	return code < serverError && code != timeout && code != tooEarly && code != tooMany
}

// first is the kind of two that wins.
func first(a, b Kind) Kind {
	if a == Unknown || b != Unknown && b < a {
		return b
	}
	return a
}
