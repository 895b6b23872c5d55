package docker

import (
	"errors"
	"io"
	"strings"
	"syscall"

	"github.com/docker/docker/client"

	"ampoule/builder/sandbox"
)

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

// goneHint is what helps when the engine ends what it was doing.
const goneHint = "the engine was stopped, restarted or has crashed (its log says which), or somebody stopped the container; the next build goes on with what this one had made"

// engineFault makes an error that the engine is at fault for one of the machine.
func engineFault(err error) error {
	switch {
	case err == nil || errors.Is(err, sandbox.ErrUnavailable) || errors.Is(err, syscall.ENOSPC):
		// Known already, or the disk of the store.
		return err
	case strings.Contains(err.Error(), "no space left on device"):
		return unavailable(err, "the engine's disk is full: `docker system df` tells what takes it")
	case client.IsErrConnectionFailed(err), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return unavailable(err, goneHint)
	}
	return err
}
