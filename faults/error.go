package faults

import (
	"fmt"
	"iter"
	"slices"
)

// kindError is an error that nobody looks into: its kind, its text and its hint are all
// that there is to know. One with fields that callers read is a type of its own, which has
// the methods Kind and, where there is something to do, Hint.
type kindError struct {
	// error is the text, and wraps the cause.
	error
	kind Kind
	hint string
}

// Kind returns whose fault it is.
func (e *kindError) Kind() Kind { return e.kind }

// Hint says what to do about it; it may be empty.
func (e *kindError) Hint() string { return e.hint }

// Unwrap returns the text's error, which wraps the cause.
func (e *kindError) Unwrap() error { return e.error }

// New makes an error of a kind with a hint, which may be empty. What went wrong, where and
// why is formatted as by [fmt.Errorf]: what %w stands for is the cause.
func New(kind Kind, hint, format string, args ...any) error {
	return &kindError{fmt.Errorf(format, args...), kind, hint}
}

// Hints collects the hints of an error and of all that it wraps, each once, the outermost
// first.
func Hints(err error) []string {
	var found []string
	for e := range chain(err) {
		//nolint:errorlint // each error of the chain is looked at by itself
		if h, ok := e.(interface{ Hint() string }); ok && h.Hint() != "" && !slices.Contains(found, h.Hint()) {
			found = append(found, h.Hint())
		}
	}
	return found
}

// All collects what is a T of an error and of all that it wraps, the outermost first.
func All[T any](err error) []T {
	var found []T
	for e := range chain(err) {
		if t, ok := e.(T); ok { //nolint:errorlint // each error of the chain is looked at by itself
			found = append(found, t)
		}
	}
	return found
}

// chain gives an error and all that it wraps, depth first, as [errors.Is] goes through them.
func chain(err error) iter.Seq[error] {
	return func(yield func(error) bool) { walk(err, yield) }
}

func walk(err error, yield func(error) bool) bool {
	if err == nil {
		return true
	}
	if !yield(err) {
		return false
	}
	//nolint:errorlint // the two ways to wrap, as package errors knows them
	switch wrapped := err.(type) {
	case interface{ Unwrap() error }:
		return walk(wrapped.Unwrap(), yield)
	case interface{ Unwrap() []error }:
		for _, e := range wrapped.Unwrap() {
			if !walk(e, yield) {
				return false
			}
		}
	}
	return true
}
