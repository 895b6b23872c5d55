package buildenv

import (
	"cmp"
	"runtime"
	"time"

	"ampoule/builder/fetch"
	"ampoule/builder/sandbox"
	"ampoule/builder/share"
	"ampoule/builder/toolchain"
	"ampoule/store"
)

// StepTime is what one build step may take, unless told otherwise: what takes longest on
// a small machine, a profile-guided CPython or SciPy, takes less than half of it.
const StepTime = 3 * time.Hour

// Budget is what one call may take of the machine. Nothing of it decides what is made.
type Budget struct {
	// Jobs is how many processors it may use; 0 means all of this machine.
	Jobs int
	// StepTime is what one build step may take; 0 means [StepTime].
	StepTime time.Duration
	// StepMemory is what the steps of one sandbox may use at a time, in bytes; 0 leaves
	// it to the sandbox engine.
	StepMemory int64
	// StepDisk is what the steps of one sandbox may write, in bytes; 0 leaves it to the
	// sandbox engine.
	StepDisk int64
}

// Processors is how many processors may be used.
func (b Budget) Processors() int {
	if b.Jobs > 0 {
		return b.Jobs
	}
	return runtime.NumCPU()
}

// Sandboxes is what is needed of a sandbox engine.
type Sandboxes struct {
	Runner sandbox.Runner
	Images sandbox.Images
	Online sandbox.Online
	// Pool is what the steps of all calls share; nil where each takes what it wants.
	Pool *share.Pool
}

// memory is what all steps together may hold, in bytes; 0 where nobody says so.
func (s Sandboxes) memory() int64 {
	if s.Pool == nil {
		return 0
	}
	return s.Pool.Memory()
}

// Within returns the same sandboxes, whose steps stay within a budget, and share the pool.
func (s Sandboxes) Within(b Budget) Sandboxes {
	limits := sandbox.Limits{Memory: b.StepMemory, Disk: b.StepDisk, CPUs: int64(b.Processors())}
	patience := cmp.Or(b.StepTime, StepTime)
	var runner sandbox.Runner = sandbox.Bounded{Runner: s.Runner, Time: patience, Limits: limits}
	var online sandbox.Online = sandbox.BoundedOnline{Online: s.Online, Time: patience, Limits: limits}
	if s.Pool != nil {
		runner, online = share.Runner{Runner: runner, Pool: s.Pool}, share.Online{Online: online, Pool: s.Pool}
	}
	return Sandboxes{Runner: runner, Images: s.Images, Online: online, Pool: s.Pool}
}

// Resources are what one call works with, whether it locks, builds, checks or opens a
// shell. Nothing of them decides what is made: that is a [Spec]. Events go to the
// feed of the context, as everywhere.
type Resources struct {
	Store *store.Store
	Fetch *fetch.Fetcher
	// Sandboxes are within the call's budget.
	Sandboxes Sandboxes
	Bases     toolchain.Bases
	// Jobs is how many processors may be used.
	Jobs int
	// Logs is the directory for the logs.
	Logs string
}
