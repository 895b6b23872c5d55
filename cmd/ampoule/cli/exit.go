package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"ampoule/faults"
)

// codeDone is the exit code of a program that did what it was asked for. Those of errors
// are those of their kinds, see [faults.Of].
const codeDone = 0

// ExitCode is the code that an error ends the program with.
func ExitCode(err error) int {
	var child *ChildError
	switch {
	case err == nil:
		return codeDone
	case errors.As(err, &child):
		return child.Code
	}
	return faults.Of(err).Code()
}

// exitRow is a row of the table of exit codes.
type exitRow struct {
	code  int
	means string
}

// exitCodes is the table of exit codes, sorted.
func exitCodes() []exitRow {
	rows := []exitRow{{codeDone, "done"}}
	for _, kind := range faults.Kinds() {
		rows = append(rows, exitRow{kind.Code(), kind.Means()})
	}
	return rows
}

// exitHelp is the table for the help text.
func exitHelp() string {
	var b strings.Builder
	b.WriteString("Exit codes:")
	for _, row := range exitCodes() {
		fmt.Fprintf(&b, "\n  %3d  %s", row.code, row.means)
	}
	return b.String()
}

func is[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// UsageError says that the program was called wrongly.
type UsageError struct {
	// Verb is the command with its verb; empty for the command itself.
	Verb string
	Err  error
}

func (e *UsageError) Error() string { return e.Err.Error() }

// Kind says whose fault it is.
func (*UsageError) Kind() faults.Kind { return faults.Usage }

// Unwrap returns the cause.
func (e *UsageError) Unwrap() error { return e.Err }

// Hint names the help.
func (e *UsageError) Hint() string {
	verb := e.Verb
	if verb == "" {
		verb = "ampoule"
	}
	return "see " + verb + " --help"
}

// notFound says that something that was asked for by name is not there, and how to find
// what is there; the hint may be empty.
func notFound(what, hint string) error {
	return faults.New(faults.NotFound, hint, "%s: not found", what)
}

// ChildError is the exit code of a program that was run on behalf of the user. It
// is passed on and nothing is said about it.
type ChildError struct{ Code int }

func (e *ChildError) Error() string {
	return fmt.Sprintf("the program ended with exit code %d", e.Code)
}

// InterruptedError says that a signal ended the work.
type InterruptedError struct {
	Signal os.Signal
	// Err is what the work said when it was ended; nil if it said nothing.
	Err error
}

func (e *InterruptedError) Error() string {
	if e.Err == nil || errors.Is(e.Err, context.Canceled) || is[*InterruptedError](e.Err) {
		return fmt.Sprintf("interrupted (%s)", e.Signal)
	}
	return fmt.Sprintf("interrupted (%s): %v", e.Signal, e.Err)
}

// Kind says whose fault it is.
func (e *InterruptedError) Kind() faults.Kind { return faults.Interrupted }

// Unwrap returns what the work said.
func (e *InterruptedError) Unwrap() error { return e.Err }
