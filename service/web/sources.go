package web

import (
	"context"
	"io"
	"net/http"

	"ampoule/contents"
)

// Builds are the builds of the service.
type Builds interface {
	Builds(ctx context.Context, f Filter) (BuildPage, error)
	// Build is an error of kind NotFound where there is none.
	Build(ctx context.Context, id string) (Build, error)
	// Watch sends when something of a build has changed, or of any build where id is empty. It
	// ends with the context. What changes faster than it is received is one change.
	Watch(ctx context.Context, id string) <-chan struct{}
	Cancel(ctx context.Context, by Identity, id string) error
	// Retry submits the build's recipe again and returns the new build's ID.
	Retry(ctx context.Context, by Identity, id string) (string, error)
}

// Logs are the logs of builds. Offsets count bytes from the log's beginning.
type Logs interface {
	// OpenLog opens what there is of a log now.
	OpenLog(ctx context.Context, id string) (io.ReadCloser, error)
	// FollowLog hands on what a log has from an offset, and what is added to it, until the build
	// has ended and all was handed on.
	FollowLog(ctx context.Context, id string, offset int64, take func(data []byte) error) error
}

// Artifacts are what was published.
type Artifacts interface {
	// Artifacts lists the newest, of a recipe's name where it is not empty.
	Artifacts(ctx context.Context, name string) ([]ArtifactSummary, error)
	Artifact(ctx context.Context, ref string) (Artifact, error)
	// Bill is the bill of materials as it was published.
	Bill(ctx context.Context, ref string) ([]byte, error)
	Diff(ctx context.Context, a, b string) (*contents.Diff, error)
}

// Channels are the channels of the service's registry.
type Channels interface {
	Channels(ctx context.Context) ([]Channel, error)
	Channel(ctx context.Context, repository, name string) (Channel, error)
	Promote(ctx context.Context, by Identity, m Move) error
	Rollback(ctx context.Context, by Identity, m Move) error
	Approve(ctx context.Context, by Identity, m Move) error
}

// Fleet is who builds and who runs what was built.
type Fleet interface {
	Hosts(ctx context.Context) ([]Host, error)
	Workers(ctx context.Context) ([]Worker, error)
}

// Recipes are the recipes that were built here.
type Recipes interface {
	Recipes(ctx context.Context) ([]Recipe, error)
	Recipe(ctx context.Context, name string) (Recipe, error)
}

// Access says who somebody is.
type Access interface {
	// Identify knows people by their token, which came with a request. An empty one is that of
	// somebody who has none. A token that does not count, or not any more, is an error that wraps
	// [ErrUnknown].
	Identify(r *http.Request, token string) (Identity, error)
}

// Identity is somebody, and what this one may do.
type Identity struct {
	Name string
	// Trusted says that what this one has built may be written to caches and be promoted.
	Trusted bool
	// May reports whether a scope is granted for a name: that of a recipe or repository. Channel
	// is empty but for promotions and approvals. With an empty name it reports whether the scope
	// is granted for anything at all.
	May func(scope Scope, name, channel string) bool
}

// Scope is something that somebody may do.
type Scope string

// The scopes.
const (
	Read    Scope = "read"
	Submit  Scope = "build"
	Promote Scope = "promote"
	Approve Scope = "approve"
	Admin   Scope = "admin"
)
