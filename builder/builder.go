// Package builder owns the one way from a recipe to a published artifact: lock,
// plan, fetch, toolchain, interpreter, wheels, seal, gate, publish. Every caller
// goes through it; no flag leaves a step out.
package builder

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"ampoule/artifact"
	"ampoule/audit"
	"ampoule/builder/buildenv"
	"ampoule/builder/fetch"
	"ampoule/builder/locking"
	"ampoule/builder/sandbox"
	"ampoule/store"
)

// Epoch enters every key, beside what the stages run in sandboxes. It is raised when
// the same recipe and lock would give other bits than before for another reason.
const Epoch = 9

// Prefix is where the tree stands while it is built: where it stands in the image.
const Prefix = artifact.Prefix

// Sandboxes is what the builder needs of a sandbox engine.
type Sandboxes = buildenv.Sandboxes

// Publisher is what the builder needs of a registry to publish.
type Publisher interface {
	// FindKey returns the digest that was published first for a key. It asks
	// nothing but the registry. A publication that is not whole is not found; that, it
	// tells the context's feed. One that is not the key's is an error.
	FindKey(ctx context.Context, name, key string) (digest string, found bool, err error)
	// Publish pushes the artifact, visible only when it is whole, and returns its digest.
	Publish(ctx context.Context, a artifact.Artifact) (digest string, err error)
	GroupPublisher
}

// GroupPublisher is what the builder needs of a registry to publish dependency groups.
type GroupPublisher interface {
	// Tree returns the hash of the tree of a published artifact.
	Tree(ctx context.Context, name, digest, platform string) (hash string, err error)
	// FindGroup returns the digest of the group that was published for an artifact under a
	// key. One that is not whole is not found; that, it tells the context's feed.
	FindGroup(ctx context.Context, name, artifact, key string) (digest string, found bool, err error)
	// PublishGroup attaches a group to its artifact, and returns the group's digest.
	PublishGroup(ctx context.Context, g artifact.Group) (digest string, err error)
}

// Bases is what the builder needs of a registry to stand on foreign images.
type Bases interface {
	// PullBase returns the layers and configuration of an image by digest.
	PullBase(ctx context.Context, ref, platform string) ([]sandbox.Layer, sandbox.Config, error)
	// BaseFiles lists all that PullBase and its layers read.
	BaseFiles(ctx context.Context, ref, platform string) ([]artifact.File, error)
}

// Dependencies are what a Builder works with, the same for all calls.
type Dependencies struct {
	Store *store.Store
	Fetch *fetch.Fetcher
	// Sandboxes opens the sandbox engine. It is called only when something must
	// really run, by several calls at once.
	Sandboxes func(context.Context) (Sandboxes, error)
	Publisher Publisher
	Bases     Bases
	// Caches are asked, in this order, for what other machines have made, and get what is made
	// here. The second build of a check asks none.
	Caches []Cache
	// Now is the clock for what has a date, such as a gate exception's end; nil is
	// [time.Now].
	Now func() time.Time
	// Logs is the store that has the logs; nil is Store.
	Logs *store.Store
	// Environ is what git is asked in about first-party code, as os.Environ has it.
	Environ []string
}

// Builder builds. It holds dependencies, and what apt has answered, and nothing else changes after
// [New]: it serves any number of calls at once. What differs from call to call is a [Request].
type Builder struct {
	d   Dependencies
	apt *locking.Answers
}

// New makes a builder. A dependency that is missing is an error.
func New(d Dependencies) (*Builder, error) {
	for name, missing := range map[string]bool{
		"store": d.Store == nil, "downloader": d.Fetch == nil, "sandboxes": d.Sandboxes == nil,
		"registry to publish to": d.Publisher == nil, "registry of bases": d.Bases == nil,
	} {
		if missing {
			return nil, fmt.Errorf("making a builder: it has no %s", name)
		}
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	d.Logs = cmp.Or(d.Logs, d.Store)
	return &Builder{d, &locking.Answers{}}, nil
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
	// Source says what the first-party code is of; nil without any.
	Source *Source
	// Stages counts where the results of stages came from; nil where nothing was built, or without
	// a cache.
	Stages *Tally
	// Groups are the dependency groups that were asked for, up to the first that failed.
	Groups []GroupResult
}

// GroupResult is what building a dependency group gives.
type GroupResult struct {
	// Name is the group's, Digest that of the referrer that it is.
	Name   string
	Digest string
	Key    string
	// Reused, Verdict and Logs are as [Result] has them.
	Reused  bool
	Verdict *audit.Verdict
	Logs    string
}
