package builds

import (
	"fmt"
	"time"

	"ampoule/faults"
)

// NotFoundError says that there is no such build.
type NotFoundError struct{ ID string }

func (e *NotFoundError) Error() string { return "there is no build " + e.ID }

// Kind says whose turn it is.
func (*NotFoundError) Kind() faults.Kind { return faults.NotFound }

// Hint says where builds are listed.
func (*NotFoundError) Hint() string {
	return "list the builds that there are; what ended long ago is removed after a time"
}

// SubmissionError says that a submission lacks something, or has what no build can have.
type SubmissionError struct{ Field, Msg string }

func (e *SubmissionError) Error() string { return e.Field + ": " + e.Msg }

// Kind says whose turn it is.
func (*SubmissionError) Kind() faults.Kind { return faults.Input }

// IdempotencyError says that an earlier submission under the same key asked for something else.
type IdempotencyError struct{ Key, Build string }

func (e *IdempotencyError) Error() string {
	return fmt.Sprintf("the idempotency key %q was used for another request, which is build %s", e.Key, e.Build)
}

// Kind says whose turn it is.
func (*IdempotencyError) Kind() faults.Kind { return faults.Input }

// Hint says what to do.
func (*IdempotencyError) Hint() string {
	return "send the same request again, or another idempotency key with a new one"
}

// QuotaError says that a caller has as many unfinished builds as it may have.
type QuotaError struct {
	Caller     string
	Used, Most int
	// RetryAfter is when to try again.
	RetryAfter time.Duration
}

func (e *QuotaError) Error() string {
	return fmt.Sprintf("%s has %d unfinished builds, and may have %d", e.Caller, e.Used, e.Most)
}

// Kind says whose turn it is.
func (*QuotaError) Kind() faults.Kind { return faults.Refused }

// Hint says what to do.
func (e *QuotaError) Hint() string {
	return fmt.Sprintf("try again in %s, or cancel one of them", e.RetryAfter)
}

// FenceError says that a worker does not have the build any more: it was given to another one,
// or has ended.
type FenceError struct {
	ID    string
	Fence int64
}

func (e *FenceError) Error() string {
	return fmt.Sprintf("the lease %d of build %s has ended: nothing of it counts any more", e.Fence, e.ID)
}

// Kind says whose turn it is.
func (*FenceError) Kind() faults.Kind { return faults.Interrupted }

// TakenError says that a key is published with another digest.
type TakenError struct{ Key, Published, Offered string }

func (e *TakenError) Error() string {
	return fmt.Sprintf("key %s is published as %s, and this build made %s", e.Key, e.Published, e.Offered)
}

// Kind says whose turn it is.
func (*TakenError) Kind() faults.Kind { return faults.Refused }

// Hint says what to do.
func (*TakenError) Hint() string {
	return "the first digest stands; submit with force to see in which files the builds differ"
}

// CancelledError is the cause with which a build's context ends when someone cancels it.
type CancelledError struct{ By string }

func (e *CancelledError) Error() string {
	if e.By == "" {
		return "cancelled"
	}
	return "cancelled by " + e.By
}

// Kind says whose turn it is.
func (*CancelledError) Kind() faults.Kind { return faults.Interrupted }

// LimitError is the cause with which a build's context ends that took too long.
type LimitError struct{ Limit time.Duration }

func (e *LimitError) Error() string { return fmt.Sprintf("the build took longer than %s", e.Limit) }

// Kind says whose turn it is.
func (*LimitError) Kind() faults.Kind { return faults.Build }

// Hint says what to do.
func (*LimitError) Hint() string {
	return "what was built is kept: submit it again, with a longer limit"
}

// LostError says that a build's workers were lost again and again.
type LostError struct{ Attempts int }

func (e *LostError) Error() string {
	return fmt.Sprintf("the workers of %d attempts were lost while they had the build", e.Attempts)
}

// Kind says whose turn it is.
func (*LostError) Kind() faults.Kind { return faults.Machine }

// Hint says what to do.
func (*LostError) Hint() string {
	return "look at the memory and the logs of the workers; then retry the build"
}

// VersionError says that this worker would build something else than what was accepted: the
// worker and who accepted it are of different versions.
type VersionError struct {
	Accepted, Here string
	// Alone says that no worker of another version can come.
	Alone bool
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("the build was accepted as %s, and for this worker's version it is %s", e.Accepted, e.Here)
}

// Kind says whose turn it is: a worker of the right version may build it, if there can be one.
func (e *VersionError) Kind() faults.Kind {
	if e.Alone {
		return faults.Input
	}
	return faults.Machine
}

// Hint says what to do.
func (e *VersionError) Hint() string {
	if e.Alone {
		return "submit it again"
	}
	return "run workers of the version that accepted the build, or submit it again to the new one"
}

// OwnerError says that a caller has not submitted the build.
type OwnerError struct{ ID, Caller string }

func (e *OwnerError) Error() string {
	return fmt.Sprintf("build %s was not submitted by %s", e.ID, e.Caller)
}

// Kind says whose turn it is.
func (*OwnerError) Kind() faults.Kind { return faults.Refused }

// Hint says who may.
func (*OwnerError) Hint() string { return "an administrator may cancel the builds of others" }
