// Package builder owns the one way from a recipe to a published artifact: lock,
// plan, fetch, toolchain, interpreter, wheels, seal, gate, publish. Every caller
// goes through it; no flag leaves a step out.
package builder

import (
	"context"
	"io"
	"time"

	"ampoule/audit"
	"ampoule/builder/fetch"
	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/store"
)

// Epoch enters every key, beside what the stages run in sandboxes. It is raised when
// the same recipe and lock would give other bits than before for another reason.
const Epoch = 7

// Prefix is where the tree stands in the artifact's image and while it is built,
// without the leading slash. Installed trees run from anywhere.
const Prefix = "opt/ampoule"

// Sandboxes is what the builder needs of a sandbox engine.
type Sandboxes struct {
	Runner sandbox.Runner
	Images sandbox.Images
	Online sandbox.Online
}

// StepTime is what one build step may take, unless told otherwise: what takes longest on
// a small machine, a profile-guided CPython or SciPy, takes less than half of it.
const StepTime = 3 * time.Hour

// Publisher is what the builder needs of a registry to publish.
type Publisher interface {
	// FindKey returns the digest that was published first for a key. It asks
	// nothing but the registry. A publication that is not whole is not found; that, it
	// tells the context's observer. One that is not the key's is an error.
	FindKey(ctx context.Context, name, key string) (digest string, found bool, err error)
	// Publish pushes the artifact, visible only when it is whole, and returns its digest.
	Publish(ctx context.Context, a Artifact) (digest string, err error)
}

// Bases is what the builder needs of a registry to stand on foreign images.
type Bases interface {
	// PullBase returns the layers and configuration of an image by digest.
	PullBase(ctx context.Context, ref, platform string) ([]sandbox.Layer, sandbox.Config, error)
	// BaseFiles lists all that PullBase and its layers read.
	BaseFiles(ctx context.Context, ref, platform string) ([]File, error)
}

// Artifact is a sealed tree that passed the gate, ready to be published.
type Artifact struct {
	Name string
	Key  string
	// Platform is os/architecture.
	Platform string
	// Created is the time that the image's configuration carries: the builder's fixed epoch.
	Created time.Time
	// Base is the runtime base that the tree is laid on.
	Base []sandbox.Layer
	// Layers are the sealed tree, below Prefix, the lowest first.
	Layers []layers.Named
	// Config is the image's configuration, labels included.
	Config sandbox.Config
	// Verdict is the gate's verdict, as JSON.
	Verdict []byte
	// Wheelhouse holds every wheel that was installed.
	Wheelhouse []File
	// Debug holds the debug information that was stripped from the tree, by name of
	// what it belongs to. Each is a tar laid out like the image.
	Debug map[string]sandbox.Layer
}

// File is a named file of an artifact's referrer.
type File struct {
	Name string
	// Size is in bytes, SHA256 in lower-case hex.
	Size   int64
	SHA256 string
	Open   func(context.Context) (io.ReadCloser, error)
}

// Builder builds. Its fields are set once, before the first call.
type Builder struct {
	Store *store.Store
	Fetch *fetch.Fetcher
	// Sandboxes opens the sandbox engine. It is called only when something must
	// really run.
	Sandboxes func(context.Context) (Sandboxes, error)
	Publisher Publisher
	Bases     Bases
	// Jobs is how many processors a build may use; 0 means all of this machine.
	Jobs int
	// KeepGoing builds what can be built after a wheel's build has failed, and tells of
	// all that failed at once.
	KeepGoing bool
	// StepTime is what one build step may take; 0 means [StepTime].
	StepTime time.Duration
	// StepMemory is what the steps of one sandbox may use at a time, in bytes; 0 leaves
	// it to the sandbox engine.
	StepMemory int64
	// StepDisk is what the steps of one sandbox may write, in bytes; 0 leaves it to the
	// sandbox engine.
	StepDisk int64
	// Now is the clock for what has a date, such as a gate exception's end.
	Now func() time.Time
	// logged is the store that has the logs, where it is another one.
	logged *store.Store
}

// Result is what a build gives.
type Result struct {
	// Name and Digest together name the artifact: NAME@sha256:….
	Name   string
	Digest string
	Key    string
	// Reused says that the key was published already and nothing was built.
	Reused bool
	// Verdict is the gate's, when it ran; a reused artifact's stands in the registry.
	Verdict *audit.Verdict
	// Logs is the directory of the build's logs; empty when nothing was built.
	Logs string
}
