// Package builds says what a build of the service is: its states and the ways between them,
// what is asked of it, and how it ended. It is pure: whoever keeps builds asks it.
package builds

import (
	"errors"
	"slices"
	"strings"
	"time"

	"ampoule/faults"
)

// Kind says what is made.
type Kind string

// The kinds.
const (
	// KindBuild makes an artifact of a recipe and its lock.
	KindBuild Kind = "build"
	// KindLock makes the lock of a recipe.
	KindLock Kind = "lock"
)

// Kinds lists all kinds.
func Kinds() []Kind { return []Kind{KindBuild, KindLock} }

// Priority orders what is queued: a greater one begins first.
type Priority int

// The priorities.
const (
	Low    Priority = -10
	Normal Priority = 0
	High   Priority = 10
)

// Build is one build as the database has it. All times are the database's, in UTC; a zero one
// has not come yet.
type Build struct {
	// ID names the build: lower-case letters and digits.
	ID    string `json:"id"`
	Kind  Kind   `json:"kind"`
	State State  `json:"state"`
	// Recipe is the recipe's name.
	Recipe string `json:"recipe"`
	// Key is "sha256:" and hex: the artifact's key, or for a lock the hash of what was asked.
	Key string `json:"key"`
	// Platform is os/architecture. Labels are what a worker must have beside it, sorted.
	Platform string   `json:"platform"`
	Labels   []string `json:"labels,omitempty"`
	Priority Priority `json:"priority"`
	// Force builds although the key is published, and compares.
	Force bool `json:"force,omitempty"`
	// Options are what a lock may change; nil for a build.
	Options *LockOptions `json:"options,omitempty"`
	// Groups are dependency groups to build beside the artifact.
	Groups []string `json:"groups,omitempty"`
	// Caller asked first. Followers is how many submissions want the build now, and Trusted
	// whether the one that asked first was trusted.
	Caller    string `json:"caller"`
	Followers int    `json:"followers"`
	Trusted   bool   `json:"trusted"`
	// Archive is the sha256, in hex, of what was submitted.
	Archive string `json:"archive"`
	// RetryOf is the build that this one repeats; empty for others.
	RetryOf string `json:"retryOf,omitempty"`
	// Limit bounds how long the build may take from when a worker takes it.
	Limit time.Duration `json:"limit"`

	// Trace is the trace that the submission belongs to, as the header traceparent has it (W3C Trace
	// Context); empty without one.
	Trace string `json:"-"`

	// Attempt counts the leases of the build. Fence is raised with each lease and each loss of
	// one: what is written under an older one is refused.
	Attempt int   `json:"attempt"`
	Fence   int64 `json:"fence"`
	// Worker is the ID of the one that has the build, or had it last; empty before.
	Worker string `json:"worker,omitempty"`
	// Cancelling says that the build shall be cancelled, and its worker was not heard since.
	Cancelling bool `json:"cancelling,omitempty"`

	// Started is when the worker took the build.
	Created    time.Time `json:"created"`
	Started    time.Time `json:"started,omitzero"`
	Ended      time.Time `json:"ended,omitzero"`
	Heartbeat  time.Time `json:"heartbeat,omitzero"`
	LeaseUntil time.Time `json:"leaseUntil,omitzero"`

	// Result is how a done build ended, Failure how a failed or cancelled one did.
	Result  *Result  `json:"result,omitempty"`
	Failure *Failure `json:"failure,omitempty"`
}

// LockOptions say which pins a lock may move.
type LockOptions struct {
	Upgrade      bool     `json:"upgrade,omitempty"`
	UpgradeNames []string `json:"upgradeNames,omitempty"`
	KeepGoing    bool     `json:"keepGoing,omitempty"`
}

// Result is what a done build gave.
type Result struct {
	// Digest is the artifact's, of the index; empty for a lock.
	Digest string `json:"digest,omitempty"`
	// Reused says that the registry had the artifact, and nothing was built.
	Reused bool `json:"reused,omitempty"`
	// Accepted counts what the recipe accepts against a rule, of what was published: "binary" are
	// wheels with native code that were not built here, "exception" those of the gate.
	Accepted map[string]int `json:"accepted,omitempty"`
	// Lock is the sha256, in hex, of the lock in the archives; empty for a build.
	Lock string `json:"lock,omitempty"`
	// Same says of a forced build whether the second build gave the same bits; nil for others.
	Same *bool `json:"same,omitempty"`
	// Second is what the second build of a forced one gave.
	Second string `json:"second,omitempty"`
	// Groups are the digests of dependency groups by name.
	Groups map[string]string `json:"groups,omitempty"`
}

// Failure says why a build did not end well.
type Failure struct {
	// Kind is the fault's, as [faults.Kind] writes it.
	Kind    string   `json:"kind"`
	Message string   `json:"message"`
	Hints   []string `json:"hints,omitempty"`
	// Stage and Task name the step that failed first, where one did.
	Stage string `json:"stage,omitempty"`
	Task  string `json:"task,omitempty"`
}

// FailureOf makes a failure of an error of a build. One that knows the step that failed has a method
// Step. One that names a file with a log has a method LogFile: the file is on a worker's disk, and its
// path, which is nobody else's business, becomes the command that shows the build's log.
func FailureOf(id string, err error) Failure {
	f := Failure{Kind: faults.Of(err).String(), Message: err.Error(), Hints: faults.Hints(err)}
	var at interface{ Step() (stage, task string) }
	if errors.As(err, &at) {
		f.Stage, f.Task = at.Step()
	}
	for _, kept := range faults.All[interface{ LogFile() string }](err) {
		file := kept.LogFile()
		if file == "" {
			continue
		}
		f.Message = strings.ReplaceAll(f.Message, file, "`ampoule logs "+id+"`")
		for i, hint := range f.Hints {
			f.Hints[i] = strings.ReplaceAll(hint, "the whole log is "+file, "`ampoule logs "+id+"` shows the whole log")
		}
	}
	return f
}

// FaultKind is the kind of the failure. One of a newer version is [faults.Unknown].
func (f Failure) FaultKind() faults.Kind {
	all := faults.Kinds()
	if i := slices.IndexFunc(all, func(k faults.Kind) bool { return k.String() == f.Kind }); i >= 0 {
		return all[i]
	}
	return faults.Unknown
}

// Caller is who asks.
type Caller struct {
	// Name is a token's, or a subject of an issuer.
	Name string
	// Trusted callers' builds may write caches and be promoted.
	Trusted bool
	// Admin may cancel what others follow.
	Admin bool
	// Quota bounds how many builds of the caller may be unfinished; 0 is the queue's own bound.
	Quota int
}

// Submission is what a caller asks for.
type Submission struct {
	Kind   Kind
	Recipe string
	// Key is the artifact's key; for a lock it is left empty, and computed of Archive and Options.
	Key      string
	Platform string
	Labels   []string
	Priority Priority
	Force    bool
	Options  *LockOptions
	Groups   []string
	Archive  string
	// Limit is the longest time; 0 is the queue's own, which is also the most.
	Limit time.Duration
	// IdempotencyKey is the caller's name for the submission; may be empty.
	IdempotencyKey string
	// RequestHash is the hash of the whole request, to compare one with an earlier one of the
	// same IdempotencyKey; empty is computed of the fields above.
	RequestHash string
}

// Accepted is the answer to a submission.
type Accepted struct {
	// Build is the one that the caller follows now.
	Build Build
	// Published says that the key was published before: Build has the digest, and nothing is
	// built.
	Published bool
	// Joined says that the build was there before, for another submission.
	Joined bool
	// Repeated says that the same submission came before.
	Repeated bool
}

// Publication is the row of a key: the digest that counts for it.
type Publication struct {
	Key    string    `json:"key"`
	Recipe string    `json:"recipe"`
	Digest string    `json:"digest"`
	Build  string    `json:"build"`
	Time   time.Time `json:"time"`
}

// Filter chooses builds; empty fields choose all.
type Filter struct {
	States  []State
	Kinds   []Kind
	Recipe  string
	Key     string
	Caller  string
	Digest  string
	Since   time.Time
	Until   time.Time
	Search  string
	Trusted *bool
}

// Page is a part of a list, the newest first.
type Page struct {
	Builds []Build `json:"builds"`
	// Next continues the list; empty at its end.
	Next string `json:"next,omitempty"`
}

// Event is one change of a build's row, in the order in which they were committed for it.
type Event struct {
	Build string `json:"build"`
	// Seq counts the build's events from 1, without a gap.
	Seq  int64     `json:"seq"`
	Time time.Time `json:"time"`
	What What      `json:"what"`
	// From and State are the states before and after.
	From  State `json:"from,omitempty"`
	State State `json:"state"`
	Fence int64 `json:"fence"`
	// Who did it: a caller's name, or a worker's ID.
	Who     string `json:"who,omitempty"`
	Message string `json:"message,omitempty"`
}

// What says what an event is about.
type What string

// What happens to a build.
const (
	// Submitted makes the row, Joined adds a follower, Withdrawn takes one away.
	Submitted What = "submitted"
	Joined    What = "joined"
	Withdrawn What = "withdrawn"
	// Leased gives the build to a worker, Lost takes it back, Released gives it back.
	Leased   What = "leased"
	Lost     What = "lost"
	Released What = "released"
	// Moved changes the state of a running build.
	Moved What = "moved"
	// Cancelling asks for the end, Published writes the key's row, Ended is the last event.
	Cancelling What = "cancelling"
	Published  What = "published"
	Ended      What = "ended"
)

// Worker is one process that builds.
type Worker struct {
	// ID is drawn anew each time that the process starts.
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Host     string    `json:"host"`
	Version  string    `json:"version"`
	Platform string    `json:"platform"`
	Labels   []string  `json:"labels,omitempty"`
	Slots    int       `json:"slots"`
	Draining bool      `json:"draining,omitempty"`
	Begun    time.Time `json:"begun"`
	Seen     time.Time `json:"seen"`
	// Alive says that it was seen lately; Builds are what it has now.
	Alive  bool     `json:"alive"`
	Builds []string `json:"builds,omitempty"`
}

// Stats counts what is there now.
type Stats struct {
	// States counts builds that have not ended, by state.
	States map[State]int `json:"states"`
	// Oldest is how long the build has been queued that waits longest.
	Oldest time.Duration `json:"oldest"`
	// Workers are those that were seen lately.
	Workers int `json:"workers"`
}
