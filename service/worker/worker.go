// Package worker runs the builds of the service's queue by the builder, as the command line
// runs its own: there is no second way to an artifact.
package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"ampoule/builder"
	"ampoule/config"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/service/builds"
	"ampoule/service/queue"
	"ampoule/wiring"
)

// Opener unpacks a submission's archive, within limits, into an empty directory, and reads what
// is asked there.
type Opener func(ctx context.Context, archive io.Reader, dir string) (builder.Request, error)

// Builder is what a runner needs of the builder.
type Builder interface {
	Lock(ctx context.Context, req builder.Request, opts builder.LockOptions) (*recipes.Lock, error)
	Build(ctx context.Context, req builder.Request) (builder.Result, error)
	// Again builds a request a second time, from its inputs alone, and compares.
	Again(ctx context.Context, req builder.Request) (builder.Checked, error)
}

// Place is what a runner needs of its machine's store and registry.
type Place interface {
	TempDir() (dir string, remove func() error, err error)
	// Settle has a key name the digest that was claimed for it: see [registry.Registry.Settle].
	Settle(ctx context.Context, name, key, digest string) (found bool, err error)
	// Builder makes a builder for one call. What one makes that is not trusted is not signed, and in no
	// cache.
	Builder(trusted bool, claim func(ctx context.Context, digest string) error) (Builder, error)
}

// Runner runs builds.
type Runner struct {
	Place Place
	Open  Opener
	// Budget is what one build may take of the machine.
	Budget builder.Budget
	// Environ is what git is asked in, as os.Environ has it.
	Environ []string
}

var _ queue.Runner = (*Runner)(nil)

// Run implements [queue.Runner].
func (r *Runner) Run(ctx context.Context, job queue.Job) (_ builds.Result, err error) {
	dir, remove, err := r.Place.TempDir()
	if err != nil {
		return builds.Result{}, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	req, err := r.read(ctx, job, dir)
	if err != nil {
		return builds.Result{}, err
	}
	b, err := r.Place.Builder(job.Build.Trusted, job.Claim)
	if err != nil {
		return builds.Result{}, err
	}
	if job.Build.Kind == builds.KindLock {
		return lock(ctx, b, req, job)
	}
	if err := r.checkKey(ctx, req, job); err != nil {
		return builds.Result{}, err
	}
	if err := r.settle(ctx, job); err != nil {
		return builds.Result{}, err
	}
	if job.Build.Force {
		return again(ctx, b, req)
	}
	made, err := b.Build(ctx, req)
	return result(made), err
}

// read opens what was submitted.
func (r *Runner) read(ctx context.Context, job queue.Job, dir string) (builder.Request, error) {
	archive, err := job.Archive(ctx)
	if err != nil {
		return builder.Request{}, err
	}
	defer archive.Close()
	req, err := r.Open(ctx, archive, dir)
	if err != nil {
		return builder.Request{}, fmt.Errorf("reading the submission: %w", err)
	}
	req.Budget, req.Groups = r.Budget, job.Build.Groups
	return req, nil
}

// checkKey refuses to build what the queue takes for something else.
func (r *Runner) checkKey(ctx context.Context, req builder.Request, job queue.Job) error {
	plan, err := builder.PlanBuild(ctx, req, r.Environ)
	if err == nil && plan.Key != job.Build.Key {
		err = &builds.VersionError{Accepted: job.Build.Key, Here: plan.Key, Alone: job.Alone}
	}
	return err
}

// settle writes the registry's tag that a lost worker has claimed and not written. Where the
// registry has not got the artifact, it is built again.
func (r *Runner) settle(ctx context.Context, job queue.Job) error {
	digest, claimed, err := job.Claimed(ctx)
	if err != nil || !claimed {
		return err
	}
	_, err = r.Place.Settle(ctx, job.Build.Recipe, job.Build.Key, digest)
	return err
}

// lock makes the lock that was asked for, and keeps it.
func lock(ctx context.Context, b Builder, req builder.Request, job queue.Job) (builds.Result, error) {
	var opts builder.LockOptions
	if o := job.Build.Options; o != nil {
		opts = builder.LockOptions{Upgrade: o.Upgrade, UpgradeNames: o.UpgradeNames, KeepGoing: o.KeepGoing}
	}
	made, err := b.Lock(ctx, req, opts)
	if err != nil {
		return builds.Result{}, err
	}
	sum, err := job.Keep(ctx, bytes.NewReader(made.Encode()))
	return builds.Result{Lock: sum}, err
}

// DifferError says that two builds of one key gave different bits.
type DifferError struct {
	First, Second string
	// Files is in how many files they differ.
	Files int
}

func (e *DifferError) Error() string {
	return fmt.Sprintf("the second build gave %s, the first %s: %d files differ", e.Second, e.First, e.Files)
}

// Kind says whose turn it is.
func (*DifferError) Kind() faults.Kind { return faults.Refused }

// Hint says what to do.
func (*DifferError) Hint() string {
	return "the first digest stands; see where they differ with `ampoule build --check`"
}

// again builds what may be published a second time, and compares.
func again(ctx context.Context, b Builder, req builder.Request) (builds.Result, error) {
	checked, err := b.Again(ctx, req)
	if err != nil {
		return builds.Result{}, err
	}
	same := checked.Same()
	made := result(builder.Result{Digest: checked.First, Groups: checked.Groups})
	made.Second, made.Same = checked.Second, &same
	if same {
		return made, nil
	}
	differ := &DifferError{checked.First, checked.Second, len(checked.Differences)}
	if differ.First == differ.Second { // a dependency group of it differs
		differ.First, differ.Second = checked.Differences[0].First, checked.Differences[0].Second
	}
	return made, differ
}

func result(made builder.Result) builds.Result {
	r := builds.Result{Digest: made.Digest, Reused: made.Reused}
	if v := made.Verdict; v != nil && len(v.Binary)+len(v.Exceptions) > 0 {
		r.Accepted = map[string]int{"binary": len(v.Binary), "exception": len(v.Exceptions)}
	}
	for _, g := range made.Groups {
		if r.Groups == nil {
			r.Groups = map[string]string{}
		}
		r.Groups[g.Name] = g.Digest
	}
	return r
}

// Local is the [Place] of parts.
type Local struct {
	Parts  *wiring.Parts
	Inputs config.Inputs
}

var _ Place = Local{}

// TempDir implements [Place].
func (l Local) TempDir() (dir string, remove func() error, err error) { return l.Parts.Store.TempDir() }

// Settle implements [Place].
func (l Local) Settle(ctx context.Context, name, key, digest string) (bool, error) {
	reg, err := l.Parts.Registry()
	if err != nil {
		return false, err
	}
	return reg.Settle(ctx, name, key, digest)
}

// Builder implements [Place]. What is not trusted reads caches, and signs no entry.
func (l Local) Builder(trusted bool, claim func(context.Context, string) error) (Builder, error) {
	inputs := l.Inputs
	if !trusted {
		inputs.Cache.Key = ""
		if len(inputs.Cache.Trusted) == 0 {
			inputs.Cache.Use = nil // a cache that is only written to is none for them
		}
	}
	b, err := l.Parts.BuilderFor(inputs, wiring.Order{Claim: claim, Unsigned: !trusted})
	if err != nil {
		return nil, err
	}
	return whole{b, l.Parts, trusted}, nil
}

// whole is a builder that builds all of a request again.
type whole struct {
	*builder.Builder
	parts   *wiring.Parts
	trusted bool
}

// Again implements [Builder]. What is the same for a trusted caller is signed, if it is not: who has built it
// first may not have been trusted.
func (w whole) Again(ctx context.Context, req builder.Request) (builder.Checked, error) {
	if !w.trusted {
		return w.Check(ctx, req, "", wiring.OwnRegistry)
	}
	second, err := w.parts.Second()
	if err != nil {
		return builder.Checked{}, err
	}
	checked, err := w.Check(ctx, req, "", second.Open)
	if err == nil && checked.Same() {
		err = second.Sign(ctx, req.Recipe.Name)
	}
	return checked, err
}
