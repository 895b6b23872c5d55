// Package remote has a service do what package builder does here: it is asked in the same words,
// tells the same events, and ends with the same kinds of errors.
package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"ampoule/audit"
	"ampoule/builder"
	"ampoule/builder/progress"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/service/client"
	"ampoule/service/submission"
	"ampoule/service/wire"
)

// Builder builds and locks on a server.
type Builder struct {
	// Client asks the server.
	Client *client.Client
	// Environ is what git is asked in about first-party code, as os.Environ has it.
	Environ []string
	// Wishes are what submissions say beside what is built or locked.
	Wishes client.Wishes

	// refs are the references of what was built, by name and digest.
	refs sync.Map
}

// Reference is how whoever may read the server's registry finds what was built.
func (b *Builder) Reference(name, digest string) string {
	plain := name + "@" + digest
	if ref, ok := b.refs.Load(plain); ok {
		return fmt.Sprint(ref)
	}
	return plain
}

// cancelTime is how long it may take to tell a server that nobody waits any more.
const cancelTime = 10 * time.Second

// Build submits a build and follows it to its end. When the context ends first, the submission is
// withdrawn.
func (b *Builder) Build(ctx context.Context, req builder.Request) (builder.Result, error) {
	ctx = progress.Of(ctx, req.Recipe.Name)
	if req.Lock == nil {
		return builder.Result{}, builder.ErrNoLock
	}
	a, err := b.pack(ctx, req, false)
	if err != nil {
		return builder.Result{}, err
	}
	w := b.Wishes
	w.Groups = req.Groups
	s, err := b.Client.SubmitBuild(ctx, a, w)
	if err != nil {
		return builder.Result{}, err
	}
	done, err := b.follow(ctx, s, a.Place)
	if err != nil {
		return builder.Result{Name: req.Recipe.Name, Key: s.Build.Key}, err
	}
	return b.result(ctx, req, s, done)
}

// Lock submits the making of a lock and follows it to its end.
func (b *Builder) Lock(ctx context.Context, req builder.Request, o builder.LockOptions) (*recipes.Lock, error) {
	ctx = progress.Of(ctx, req.Recipe.Name)
	a, err := b.pack(ctx, req, req.Lock == nil)
	if err != nil {
		return nil, err
	}
	w := b.Wishes
	w.Upgrade, w.UpgradeNames, w.KeepGoing = o.Upgrade, o.UpgradeNames, o.KeepGoing
	s, err := b.Client.SubmitLock(ctx, a, w)
	if err != nil {
		return nil, err
	}
	done, err := b.follow(ctx, s, a.Place)
	if err != nil {
		return nil, err
	}
	text, err := b.Client.Lock(ctx, done.ID)
	if err != nil {
		return nil, err
	}
	lock, err := recipes.ParseLock(recipes.LockPath(req.Recipe.File()), text)
	if err != nil {
		return nil, fmt.Errorf("reading the lock that %s made: %w", b.Client, err)
	}
	return lock, nil
}

// Retry submits a build again that has failed or was cancelled, and follows it to its end, as Build and
// Lock do. The build is one of either kind.
func (b *Builder) Retry(ctx context.Context, id string) (wire.Build, error) {
	s, err := b.Client.Retry(ctx, id)
	if err != nil {
		return wire.Build{}, err
	}
	return b.follow(progress.Of(ctx, s.Build.Recipe), s, nil)
}

// pack makes the archive of a request.
func (b *Builder) pack(ctx context.Context, req builder.Request, withoutLock bool) (submission.Archive, error) {
	req, err := builder.WithWorkspace(ctx, req, b.Environ)
	if err != nil {
		return submission.Archive{}, err
	}
	return submission.Pack(submission.Input{Recipe: req.Recipe, Requirements: req.Requirements, Workspace: req.Workspace, WithoutLock: withoutLock})
}

// follow tells of a build until it ends, and returns it, or why it did not end well. Place is as in
// [client.Outcome].
func (b *Builder) follow(ctx context.Context, s wire.Submitted, place func(string) string) (wire.Build, error) {
	if s.Build.Terminal() {
		return s.Build, client.Outcome(s.Build, place)
	}
	what := "is queued"
	if s.Joined {
		what = "was begun before, and is followed"
	}
	progress.Send(ctx, progress.Event{Kind: progress.Told, Stage: progress.StageBuild, Task: s.Build.Recipe, Message: fmt.Sprintf("build %s of %s %s", s.Build.ID, b.Client, what)})
	done, err := b.Client.Progress(ctx, s.Build.ID, func(e progress.Event) {
		// The log's path is on another machine.
		e.Log = ""
		progress.Send(ctx, e)
	})
	if err != nil {
		return done, errors.Join(err, b.withdraw(ctx, s.Build.ID))
	}
	return done, client.Outcome(done, place)
}

// withdraw tells the server that this caller does not wait any more.
func (b *Builder) withdraw(ctx context.Context, id string) error {
	if ctx.Err() == nil {
		return nil // the connection is gone: the build goes on
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTime)
	defer cancel()
	if _, err := b.Client.Cancel(ctx, id); err != nil && faults.Of(err) != faults.Refused {
		return fmt.Errorf("withdrawing build %s: %w", id, err)
	}
	return nil
}

// result is what a build gave, with the gate's verdict where something was built.
func (b *Builder) result(ctx context.Context, req builder.Request, s wire.Submitted, done wire.Build) (builder.Result, error) {
	r := done.Result
	if r == nil || r.Digest == "" {
		return builder.Result{}, faults.New(faults.Remote, "", "%s says that build %s is done, and names no digest", b.Client, done.ID)
	}
	result := builder.Result{Name: req.Recipe.Name, Digest: r.Digest, Key: done.Key, Reused: r.Reused || s.Published}
	if r.Ref != "" {
		b.refs.Store(result.Name+"@"+r.Digest, r.Ref)
	}
	if r.Same != nil {
		// Where they differ, the build has failed.
		progress.Send(ctx, progress.Event{Kind: progress.Told, Stage: progress.StageBuild, Task: result.Name, Message: "it was built a second time, and has the same bits"})
	}
	for _, name := range slices.Sorted(maps.Keys(r.Groups)) {
		result.Groups = append(result.Groups, builder.GroupResult{Name: name, Digest: r.Groups[name], Reused: result.Reused})
	}
	if result.Reused {
		return result, nil
	}
	text, err := b.Client.Verdict(ctx, done.Recipe, r.Digest)
	if err != nil {
		// The artifact is there all the same.
		progress.Send(ctx, progress.Event{Kind: progress.Warned, Stage: progress.StageBuild, Task: req.Recipe.Name, Message: "the verdict cannot be read: " + err.Error()})
		return result, nil
	}
	var v audit.Verdict
	if err := json.Unmarshal(text, &v); err == nil {
		result.Verdict = &v
	}
	return result, nil
}
