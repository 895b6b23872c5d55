package docker

import "ampoule/builder/sandbox"

// hinted is an error with a hint for the person who can do something about it.
type hinted struct {
	// kind is the sentinel that the error wraps beside its cause.
	kind, cause error
	hint        string
}

func (e *hinted) Error() string { return e.kind.Error() + ": " + e.cause.Error() }

func (e *hinted) Unwrap() []error { return []error{e.kind, e.cause} }

// Hint says what to do.
func (e *hinted) Hint() string { return e.hint }

func unavailable(cause error, hint string) error {
	return &hinted{kind: sandbox.ErrUnavailable, cause: cause, hint: hint}
}

func notSealed(cause error, hint string) error {
	return &hinted{kind: sandbox.ErrNotSealed, cause: cause, hint: hint}
}
