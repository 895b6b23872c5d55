// Package wire has the forms of a service's answers: what its API gives and its clients read. They
// are versioned with the paths, which begin with /v1.
package wire

import (
	"time"

	"ampoule/service/problem"
)

// Headers of the API.
const (
	// NextHeader is the offset behind a part of a log, EndHeader "true" on its last part.
	NextHeader = "Ampoule-Next-Offset"
	EndHeader  = "Ampoule-End"
	// RequestHeader names a request, in answers and in the server's log.
	RequestHeader = "X-Request-Id"
	// IdempotencyHeader is the caller's own name for a submission.
	IdempotencyHeader = "Idempotency-Key"
)

// Build is a build of the service.
type Build struct {
	ID       string   `json:"id" doc:"Names the build"`
	Kind     string   `json:"kind" enum:"build,lock" doc:"What is made: an artifact, or a lock"`
	State    string   `json:"state" enum:"queued,fetching,building,gating,publishing,done,failed,cancelled" doc:"Where it is on its way; done, failed and cancelled are never left"`
	Recipe   string   `json:"recipe" doc:"The recipe's name"`
	Key      string   `json:"key" doc:"The key that addresses the artifact; of a lock, a hash of what was asked"`
	Platform string   `json:"platform" doc:"os/architecture"`
	Labels   []string `json:"labels,omitempty" doc:"What a worker must have"`
	Priority int      `json:"priority" doc:"A greater one begins first"`
	Force    bool     `json:"force,omitempty" doc:"It builds although the key is published, and compares"`
	Groups   []string `json:"groups,omitempty" doc:"Dependency groups that are built beside the artifact"`

	Caller    string `json:"caller" doc:"Who asked first"`
	Followers int    `json:"followers" doc:"How many submissions want it"`
	Trusted   bool   `json:"trusted" doc:"Whether it may write caches and be promoted"`
	RetryOf   string `json:"retryOf,omitempty" doc:"The build that it repeats"`
	// LimitSeconds is how long it may take from when a worker takes it.
	LimitSeconds int    `json:"limitSeconds" doc:"How many seconds it may take"`
	Attempt      int    `json:"attempt" doc:"How many workers have had it"`
	Worker       string `json:"worker,omitempty" doc:"The worker that has it, or had it last"`
	Cancelling   bool   `json:"cancelling,omitempty" doc:"Its end is asked for"`

	Created time.Time `json:"created"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`

	Result  *Result  `json:"result,omitempty" doc:"Of a build that is done"`
	Failure *Failure `json:"failure,omitempty" doc:"Of a build that failed or was cancelled"`
}

// Terminal reports whether the build has ended.
func (b Build) Terminal() bool {
	return b.State == "done" || b.State == "failed" || b.State == "cancelled"
}

// Result is what a build gave.
type Result struct {
	Digest string            `json:"digest,omitempty" doc:"The artifact's"`
	Ref    string            `json:"ref,omitempty" doc:"NAME@DIGEST, or with the registry's host: what other verbs take"`
	Reused bool              `json:"reused,omitempty" doc:"The registry had it, and nothing was built"`
	Lock   bool              `json:"lock,omitempty" doc:"There is a lock: GET /v1/builds/{id}/lock"`
	Same   *bool             `json:"same,omitempty" doc:"Whether a forced build gave the same bits"`
	Second string            `json:"second,omitempty" doc:"What a forced build gave"`
	Groups map[string]string `json:"groups,omitempty" doc:"The digests of dependency groups"`
}

// Failure says why a build did not end well.
type Failure struct {
	Kind     string          `json:"kind" doc:"Whose turn it is, as in problems"`
	ExitCode int             `json:"exitCode" doc:"What the program ampoule ends with after such a failure"`
	Message  string          `json:"message"`
	Hints    []string        `json:"hints,omitempty"`
	Stage    string          `json:"stage,omitempty" doc:"The stage of the step that failed first"`
	Task     string          `json:"task,omitempty" doc:"That step"`
	Faults   []problem.Fault `json:"faults,omitempty" doc:"What is wrong in submitted files"`
}

// Submitted is the answer to a submission.
type Submitted struct {
	Build     Build `json:"build" doc:"The build that the caller follows now"`
	Published bool  `json:"published" doc:"The key was published before, and nothing is built"`
	Joined    bool  `json:"joined" doc:"The build was there before, for another submission"`
	Repeated  bool  `json:"repeated" doc:"The same submission came before"`
}

// Builds is a part of a list.
type Builds struct {
	Builds []Build `json:"builds" doc:"The newest first"`
	Next   string  `json:"next,omitempty" doc:"Continues the list, as the query parameter after"`
}

// Event is one change of a build.
type Event struct {
	Build   string    `json:"build"`
	Seq     int64     `json:"seq" doc:"Counts the build's events from 1"`
	Time    time.Time `json:"time"`
	What    string    `json:"what" doc:"submitted, joined, withdrawn, leased, lost, released, moved, cancelling, published or ended"`
	From    string    `json:"from,omitempty"`
	State   string    `json:"state"`
	Who     string    `json:"who,omitempty"`
	Message string    `json:"message,omitempty"`
}

// Events is a part of a build's events.
type Events struct {
	Events []Event `json:"events"`
}

// Line is a part of a log in a stream of events: whole lines, where they are whole.
type Line struct {
	Offset int64  `json:"offset" doc:"Where the text begins, in bytes"`
	Next   int64  `json:"next" doc:"Where it ends; the ID of the event"`
	Text   string `json:"text"`
}

// Key is the answer about a key.
type Key struct {
	Key    string `json:"key"`
	Recipe string `json:"recipe"`
	Digest string `json:"digest"`
	Ref    string `json:"ref"`
	// Build is the build that published it.
	Build     string    `json:"build,omitempty"`
	Published time.Time `json:"published"`
}

// Plan is what a build would do.
type Plan struct {
	Name     string   `json:"name"`
	Key      string   `json:"key"`
	Platform string   `json:"platform"`
	Inputs   []Input  `json:"inputs" doc:"Every file that the build takes"`
	Compiled []string `json:"compiled" doc:"What is compiled, as NAME==VERSION"`
	// Published is the digest that the key has already; empty for none.
	Published string `json:"published,omitempty" doc:"The digest that the key has already"`
}

// Input is one file that a build takes.
type Input struct {
	Source  string `json:"source"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	File    string `json:"file"`
	SHA256  string `json:"sha256"`
}

// Artifact is a published artifact.
type Artifact struct {
	Name      string    `json:"name"`
	Digest    string    `json:"digest"`
	Ref       string    `json:"ref"`
	Key       string    `json:"key,omitempty"`
	Python    string    `json:"python,omitempty"`
	Tags      []string  `json:"tags,omitempty"`
	Groups    []string  `json:"groups,omitempty"`
	Published time.Time `json:"published"`
	Bytes     int64     `json:"bytes"`
	Whole     bool      `json:"whole" doc:"Nothing of it is missing or damaged, as far as is known"`
}

// Artifacts is a list of them.
type Artifacts struct {
	Artifacts []Artifact `json:"artifacts" doc:"By name, the newest first"`
}

// Description is what the registry has of an artifact.
type Description struct {
	Name      string     `json:"name"`
	Digest    string     `json:"digest"`
	Ref       string     `json:"ref"`
	Images    []Image    `json:"images"`
	Referrers []Referrer `json:"referrers"`
}

// Image is the artifact for one platform.
type Image struct {
	Platform   string            `json:"platform"`
	Digest     string            `json:"digest"`
	Created    time.Time         `json:"created,omitzero"`
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Command    []string          `json:"command,omitempty"`
	Env        []string          `json:"env,omitempty"`
	Labels     map[string]string `json:"labels"`
	Layers     []Layer           `json:"layers"`
}

// Layer is one layer of an image.
type Layer struct {
	Name   string `json:"name"`
	Base   bool   `json:"base"`
	Digest string `json:"digest"`
	DiffID string `json:"diffID,omitempty" doc:"The digest of the layer before it was compressed"`
	Size   int64  `json:"size" doc:"In bytes, compressed"`
}

// Referrer is what refers to an artifact.
type Referrer struct {
	Type   string `json:"artifactType"`
	Digest string `json:"digest"`
	Group  string `json:"group,omitempty"`
	Files  []File `json:"files,omitempty"`
}

// File is one file of a referrer.
type File struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
	Size   int64  `json:"size" doc:"In bytes"`
}

// Who is who asks.
type Who struct {
	Name    string    `json:"name"`
	ID      string    `json:"id"`
	Issuer  string    `json:"issuer,omitempty" doc:"The issuer whose ID token it is; empty for a token of the service"`
	Subject string    `json:"subject,omitempty" doc:"What the issuer calls the caller"`
	Scopes  []string  `json:"scopes"`
	Trusted bool      `json:"trusted" doc:"Whether what the caller has built may be written to caches and be promoted"`
	Expires time.Time `json:"expires,omitzero"`
}

// AuditEntry is one entry of the audit log.
type AuditEntry struct {
	ID       string            `json:"id"`
	Time     time.Time         `json:"time"`
	Caller   string            `json:"caller" doc:"Who asked"`
	CallerID string            `json:"callerId" doc:"The token's ID, or one that is derived from issuer and subject"`
	Issuer   string            `json:"issuer,omitempty" doc:"The issuer that knows the caller; empty for a token of the service"`
	Subject  string            `json:"subject,omitempty" doc:"What the issuer calls the caller"`
	Action   string            `json:"action" doc:"What was asked for"`
	Target   string            `json:"target" doc:"What it is about"`
	Details  map[string]string `json:"details,omitempty"`
	Client   string            `json:"client" doc:"The address that it came from"`
	Request  string            `json:"request,omitempty" doc:"The request, as the server's log names it"`
	Result   string            `json:"result" enum:"done,refused,failed,begun" doc:"What came of it; begun is a change whose end was not written"`
	Message  string            `json:"message,omitempty" doc:"Why it was not done"`
}

// Audit is a part of the audit log.
type Audit struct {
	Entries []AuditEntry `json:"entries" doc:"The newest first"`
	Next    string       `json:"next,omitempty" doc:"Continues the list, as the query parameter after"`
}

// Token is a token as an administrator sees it.
type Token struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Scopes  []string  `json:"scopes"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	Revoked time.Time `json:"revoked,omitzero"`
	// Secret is what to give to its user, of a new one alone.
	Secret string `json:"secret,omitempty" doc:"The token itself, shown this once"`
}

// Tokens is a list of them.
type Tokens struct {
	Tokens []Token `json:"tokens"`
}

// Worker is a process that builds.
type Worker struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Host     string    `json:"host"`
	Version  string    `json:"version"`
	Platform string    `json:"platform"`
	Labels   []string  `json:"labels,omitempty"`
	Slots    int       `json:"slots" doc:"How many builds it has at once"`
	Draining bool      `json:"draining,omitempty" doc:"It takes no more builds"`
	Alive    bool      `json:"alive" doc:"It was seen lately"`
	Begun    time.Time `json:"begun"`
	Seen     time.Time `json:"seen"`
	Builds   []string  `json:"builds,omitempty" doc:"What it has now"`
}

// Workers is a list of them.
type Workers struct {
	Workers []Worker `json:"workers"`
}

// Version is what a server runs.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	// Builder enters every key.
	Builder string `json:"builder" doc:"What of the builder enters every key"`
	API     string `json:"api"`
}

// Health is whether a server works.
type Health struct {
	Status string `json:"status" enum:"ok,failing"`
	// Checks are what was looked at: "ok", or what is wrong.
	Checks map[string]string `json:"checks,omitempty"`
}
