package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"ampoule/address"
	"ampoule/cmd/ampoule/display"
	"ampoule/recipes"
)

// report tells an error: an "error:" line, then a "hint:" line for each hint that
// the error, or any that it wraps, carries. Faults of files are told one by one.
func report(w io.Writer, err error) {
	if err == nil || is[*ChildError](err) {
		return
	}
	var faults recipes.Faults
	if errors.As(err, &faults) && !is[*InterruptedError](err) {
		for _, f := range faults {
			line(w, "error", f.String())
			line(w, "hint", f.Hint)
		}
		return
	}
	line(w, "error", err.Error())
	if is[*InterruptedError](err) {
		return
	}
	for _, hint := range hints(err) {
		line(w, "hint", hint)
	}
}

// line writes a message behind its word, further lines as they are.
func line(w io.Writer, word, message string) {
	if message != "" {
		fmt.Fprintf(w, "%s: %s\n", word, display.Clean(address.Redact(strings.TrimRight(message, "\n")), true))
	}
}

// hints collects the hints of an error and of all that it wraps, each once, the
// outermost first.
func hints(err error) []string {
	var found []string
	var walk func(error)
	walk = func(err error) {
		if err == nil {
			return
		}
		//nolint:errorlint // each error of the chain is looked at by itself
		if h, ok := err.(interface{ Hint() string }); ok && h.Hint() != "" && !slices.Contains(found, h.Hint()) {
			found = append(found, h.Hint())
		}
		//nolint:errorlint // the two ways to wrap, as package errors knows them
		switch wrapped := err.(type) {
		case interface{ Unwrap() error }:
			walk(wrapped.Unwrap())
		case interface{ Unwrap() []error }:
			for _, e := range wrapped.Unwrap() {
				walk(e)
			}
		}
	}
	walk(err)
	return found
}
