package web

import (
	"time"

	"ampoule/audit"
	"ampoule/sbom"
)

// State is where a build stands.
type State string

// The states of a build, in the order in which it goes through them. The last three are terminal.
const (
	Queued     State = "queued"
	Fetching   State = "fetching"
	Building   State = "building"
	Gating     State = "gating"
	Publishing State = "publishing"
	Done       State = "done"
	Failed     State = "failed"
	Cancelled  State = "cancelled"
)

// States lists all states.
func States() []State {
	return []State{Queued, Fetching, Building, Gating, Publishing, Done, Failed, Cancelled}
}

// Terminal reports whether a build never leaves the state.
func (s State) Terminal() bool { return s == Done || s == Failed || s == Cancelled }

// Kinds of builds.
const (
	KindBuild = "build"
	KindLock  = "lock"
)

// Build is one build, or one lock, as the pages show it. What is not known is empty.
type Build struct {
	ID, Recipe, Key string
	// Kind is one of the kinds above.
	Kind  string
	State State
	// Caller asked for it. Trusted says that its results may be shared and promoted.
	Caller  string
	Trusted bool
	// Followers counts the submissions that follow this build beside the first.
	Followers int
	Priority  int
	// Attempt counts from 1: a build whose worker died begins again.
	Attempt                      int
	Worker, Platform             string
	Submitted, Started, Finished time.Time
	// Ref is the reference NAME@sha256:… of what was published.
	Ref string
	// Failure is nil unless the build failed.
	Failure *Failure
	// Steps are its steps in the order in which they started; lists have none.
	Steps []Step
	// Inputs are what went in; lists have none.
	Inputs []Input
}

// Failure says why a build failed.
type Failure struct {
	Text  string
	Hints []string
	// Step is the step that failed, as [Step.Name] has it; may be empty.
	Step string
}

// Step is a part of a build.
type Step struct {
	// Stage and Task together name it.
	Stage, Task string
	// State is one of the states of steps.
	State             StepState
	Started, Finished time.Time
	// Reused says that the result was there already; Cache is where it was read from.
	Reused bool
	Cache  string
	// Message is the error of a failed step, or what a running one waits for.
	Message string
	// Amount and Total say how far it is, in Unit; Total may be 0.
	Amount, Total int64
	// Unit is "bytes" or "items".
	Unit string
}

// StepState is where a step stands.
type StepState string

// The states of steps.
const (
	StepRunning StepState = "running"
	StepWaiting StepState = "waiting"
	StepDone    StepState = "done"
	StepFailed  StepState = "failed"
)

// Name is the step's name for people.
func (s Step) Name() string {
	if s.Task == "" {
		return s.Stage
	}
	return s.Stage + " " + s.Task
}

// Input is something that goes into a build.
type Input struct{ Kind, Name, Version, SHA256 string }

// Filter says which builds a list has. Empty fields admit all.
type Filter struct {
	State          State
	Recipe, Caller string
	// Before is the cursor of a page; empty for the newest builds.
	Before string
	// Limit is how many builds a page has.
	Limit int
}

// BuildPage is a part of the list of builds, the newest first.
type BuildPage struct {
	Builds []Build
	// Next is the cursor of the next page; empty on the last one.
	Next string
}

// ArtifactSummary is an artifact in a list.
type ArtifactSummary struct {
	// Ref is NAME@sha256:…
	Ref, Name, Digest string
	Python            string
	Published         time.Time
	Bytes             int64
	Channels          []string
}

// Artifact is one published artifact.
type Artifact struct {
	ArtifactSummary
	Key, Fingerprint, Tree, Prefix string
	// Repeatable is "true", "false", or empty where it is not known.
	Repeatable string
	Images     []Image
	// Parts are what its tree is made of, the largest first. TreeBytes is the size of all.
	Parts     []Part
	TreeBytes int64
	// Verdict is nil where none is published.
	Verdict *audit.Verdict
	// Bill is nil where none is published.
	Bill *Bill
	// Evidence are signatures, and what is attested of it.
	Evidence []Evidence
	// Groups are the names of dependency groups that are published for it.
	Groups []string
	// Unknown says what could not be read, and why.
	Unknown []string
}

// Image is an artifact's image for one platform.
type Image struct {
	Platform, Digest string
	Layers           []Layer
	Command          []string
}

// Layer is a layer of an image.
type Layer struct {
	Name, Digest string
	Base         bool
	Bytes        int64
}

// Part is something that a tree is made of: the interpreter, a distribution, what is carried.
type Part struct {
	Kind, Name, Version string
	Bytes               int64
	Files               int
}

// Bill is what a bill of materials says.
type Bill struct {
	Base    []sbom.Package
	Carried []CarriedFile
	Inputs  []sbom.Ingredient
}

// CarriedFile is a file of the tree that a Debian package brought.
type CarriedFile struct {
	Path    string
	Package sbom.Package
}

// Evidence is a signature or a statement about an artifact.
type Evidence struct {
	// Type says what it is, in a word; Predicate is the predicate's type, empty for a signature.
	Type, Predicate string
	// By are the names of the known keys that have signed it. Time is what it says of itself.
	By   []string
	Time time.Time
	// Statement is its predicate as JSON; empty for a signature.
	Statement string
	// Wrong says why it cannot be read.
	Wrong string
}

// Channel is a channel of a repository.
type Channel struct {
	Repository, Name string
	// Digest is what it names since Since; empty before the first promotion.
	Digest string
	Since  time.Time
	By     string
	// Frozen says why promotions are stopped; Revoked why the digest is not to be used. Refused
	// says why nothing of the channel's log is believed.
	Frozen, Revoked, Refused string
	// Hosts counts the hosts that follow the channel; Current those that run what it names.
	Hosts, Current int
	// Back is the digest that it can go back to.
	Back string
	// Writable says that this service can write the channel.
	Writable bool
	// Candidates are what could be promoted; a list of channels has none.
	Candidates []Candidate
	// Entries are its log, the last one first; a list has none.
	Entries []Entry
}

// Ref is REPOSITORY:CHANNEL.
func (c Channel) Ref() string { return c.Repository + ":" + c.Name }

// Candidate is a digest that could be promoted, and what the rules say of it.
type Candidate struct {
	Digest string
	// From is the channel that names it; empty where it is the newest artifact.
	From string
	// Conditions are what the rules want. Approvals says that an approval would count.
	Conditions []Condition
	Approvals  bool
}

// Allowed reports whether every condition is met.
func (c Candidate) Allowed() bool {
	for _, one := range c.Conditions {
		if !one.Met {
			return false
		}
	}
	return true
}

// Condition is something that must be so before a channel names a digest.
type Condition struct {
	Text string
	Met  bool
	// Why says how it stands.
	Why string
}

// Entry is an entry of a channel's log.
type Entry struct {
	Sequence    int
	Time        time.Time
	Action      string
	Digest      string
	By          string
	From        string
	Reason      string
	BreakGlass  bool
	PassedOver  []string
	ApprovedBy  []string
	RuleVersion int
}

// Move is what somebody wants of a channel.
type Move struct {
	Repository, Channel string
	// Digest is what it is to name, or what is approved.
	Digest string
	// From is the channel that must name it now; may be empty.
	From, Reason string
}

// Host is a machine that follows a channel.
type Host struct {
	Name, Channel string
	// Digest is what it runs, Wanted what the channel names.
	Digest, Wanted string
	State          HostState
	Since          time.Time
	Reported       time.Time
	Message        string
	Version        string
}

// HostState is how a host stands to its channel.
type HostState string

// The states of hosts.
const (
	HostCurrent  HostState = "current"
	HostBehind   HostState = "behind"
	HostWatching HostState = "watching"
	HostFellBack HostState = "fell back"
	HostStale    HostState = "stale"
	HostSilent   HostState = "silent"
	HostFailed   HostState = "failed"
)

// Recipe is a recipe that was built here.
type Recipe struct {
	Name   string
	Builds int
	// Failed counts those of the builds that failed.
	Failed int
	Last   Build
	// Published is the newest artifact; its Ref is empty where there is none.
	Published ArtifactSummary
	Channels  []Channel
}

// Worker is a process that builds.
type Worker struct {
	Name, Host, Platform, Version string
	Labels                        []string
	State                         WorkerState
	// Builds are the IDs of what it builds now; Slots is how many it builds at once.
	Builds             []string
	Slots              int
	Started, Heartbeat time.Time
}

// WorkerState is what a worker does.
type WorkerState string

// The states of workers.
const (
	WorkerIdle     WorkerState = "idle"
	WorkerBusy     WorkerState = "busy"
	WorkerDraining WorkerState = "draining"
	WorkerLost     WorkerState = "lost"
)
