package builder

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"ampoule/builder/buildenv"
	"ampoule/builder/buildlog"
	"ampoule/builder/cpython"
	"ampoule/builder/locking"
	"ampoule/builder/once"
	"ampoule/builder/progress"
	"ampoule/faults"
	"ampoule/recipes"
)

// LockOptions say which pins of the request's lock may move, and what ends locking.
type LockOptions struct {
	// Upgrade lets every pin move.
	Upgrade bool
	// UpgradeNames lets the pins of these distributions and Debian packages move.
	UpgradeNames []string
	// KeepGoing is as [locking.Options] has it.
	KeepGoing bool
}

// Lock makes the lock of a recipe. The interpreter is built on the way.
func (b *Builder) Lock(ctx context.Context, req Request, opts LockOptions) (*recipes.Lock, error) {
	if err := req.Recipe.CheckAcceptances(b.today()); err != nil {
		return nil, err
	}
	ctx = progress.Of(ctx, req.Recipe.Name)
	req, err := withWorkspace(ctx, req, b.d.Environ)
	if err != nil {
		return nil, err
	}
	release, err := b.d.Store.Use(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	ctx, end := b.caching(ctx)
	defer end()
	code, err := b.keepCode(ctx, req)
	if err != nil {
		return nil, err
	}
	with, err := b.resources(ctx, req.Budget)
	if err != nil {
		return nil, err
	}
	index, err := b.d.Fetch.Sources().Index(ctx)
	if err != nil {
		return nil, err
	}
	network := b.d.Fetch.Sources().Network()
	if with.Logs, err = b.logs("lock-" + req.Recipe.Name); err != nil {
		return nil, err
	}
	l := &locking.Locker{
		Resources: with, Prefix: Prefix, Platform: req.platform(),
		Resolver: locking.Online{Index: index, Environ: network.Proxies, CertFile: network.CertFile}, Answers: b.apt,
	}
	outcome := b.begin(req.Recipe.Name, "")
	lock, err := l.Lock(ctx, req.Recipe, req.Requirements, locking.Options{
		Previous: req.Lock, Upgrade: opts.Upgrade, UpgradeNames: opts.UpgradeNames, KeepGoing: opts.KeepGoing, App: code,
	})
	if err == nil {
		err = b.checkExcludes(ctx, req.Recipe, lock, req.platform())
	}
	b.end(ctx, with.Logs, outcome, err)
	return lock, err
}

// Build makes sure that the artifact of a recipe and its lock is published, and
// returns its digest. A lock that does not answer the recipe, and an acceptance that
// has expired, are [recipes.Faults], a request without a lock is [ErrNoLock];
// a tree that the gate refuses is a [*RefusedError]. Dependency groups that are asked for
// are built, judged with the artifact and published after it; one that would change or
// shadow something of the artifact is an [*overlay.RefusedError].
func (b *Builder) Build(ctx context.Context, req Request) (Result, error) {
	if err := req.check(); err != nil {
		return Result{}, err
	}
	if faults := recipes.CheckFlags(req.Recipe, cpython.Flags(req.Lock.Python)); len(faults) > 0 {
		return Result{}, faults
	}
	if err := req.Recipe.CheckAcceptances(b.today()); err != nil {
		return Result{}, err
	}
	name := req.Recipe.Name
	ctx = progress.Of(ctx, name)
	req, err := withWorkspace(ctx, req, b.d.Environ)
	if err != nil {
		return Result{}, err
	}
	plan := req.plan()
	find := func(ctx context.Context) (Result, bool, error) {
		digest, found, err := b.d.Publisher.FindKey(ctx, name, plan.Key)
		return Result{Name: name, Key: plan.Key, Digest: digest, Reused: found, Source: source(req, nil)}, found, err
	}
	task := progress.Later(ctx, progress.StageBuild, name)
	lock := "build-" + strings.ReplaceAll(plan.Key, ":", "-")
	result, reused, err := once.Get(ctx, b.d.Store, task, lock, find, func(ctx context.Context) (Result, error) {
		return b.make(ctx, &build{b: b, req: req, plan: plan})
	})
	task.Finish(reused, err)
	for _, group := range req.Groups {
		if err != nil {
			break
		}
		var made GroupResult
		made, err = b.buildGroup(ctx, req, result.Digest, group)
		result.Groups = append(result.Groups, made)
	}
	return result, err
}

// make builds what is not published yet. A verdict is part of the result although the gate
// refuses.
func (b *Builder) make(ctx context.Context, run *build) (result Result, err error) {
	release, err := b.d.Store.Use(ctx)
	if err != nil {
		return Result{}, err
	}
	defer release()
	ctx, endCaching := b.caching(ctx)
	defer func() { result.Stages = endCaching() }()
	result = Result{Name: run.req.Recipe.Name, Key: run.plan.Key}
	if result.Logs, err = b.logs(result.Name); err != nil {
		return Result{}, err
	}
	outcome, logs := b.begin(result.Name, ""), result.Logs
	defer func() {
		outcome.Digest = result.Digest
		b.end(ctx, logs, outcome, err)
	}()
	if err := b.keepPatches(ctx, run.req); err != nil {
		return Result{}, err
	}
	if err := run.takeCode(ctx); err != nil {
		return Result{}, err
	}
	run.logs, run.begun = result.Logs, outcome.Begun
	result.Verdict, result.Digest, err = run.run(ctx)
	result.Source = source(run.req, run.versions)
	return result, err
}

// resources opens what every call works with that needs the sandbox engine.
func (b *Builder) resources(ctx context.Context, budget Budget) (buildenv.Resources, error) {
	s, err := b.d.Sandboxes(ctx)
	return buildenv.Resources{
		Store: b.d.Store, Fetch: b.d.Fetch, Bases: b.d.Bases, Sandboxes: s.Within(budget), Jobs: budget.Processors(),
	}, err
}

// today is the day in UTC, as YYYY-MM-DD.
func (b *Builder) today() string { return b.d.Now().UTC().Format(time.DateOnly) }

// keepPatches puts the patches that a lock names into the store: those that come with
// Ampoule, and those beside the recipe. One that the store has from before will do.
func (b *Builder) keepPatches(ctx context.Context, req Request) error {
	for _, d := range req.Lock.Dists {
		if d.Build == nil {
			continue
		}
		for _, p := range d.Build.Patches {
			whole, err := b.d.Store.Whole(ctx, p.SHA256)
			if err != nil {
				return err
			}
			if whole {
				continue
			}
			data, own := req.Requirements.Patches[p.File]
			if !own {
				if data, err = recipes.ShippedPatch(p.File); err != nil {
					return lostPatch(d.ID(), p.File)
				}
			}
			sum, _, err := b.d.Store.Put(ctx, bytes.NewReader(data))
			if err != nil {
				return err
			}
			if sum != p.SHA256 {
				return lostPatch(d.ID(), p.File)
			}
		}
	}
	return nil
}

// lostPatch says that this Ampoule does not have a patch that a lock names.
func lostPatch(dist, file string) error {
	return faults.New(faults.Input, "run `ampoule lock`, or build with the version of Ampoule that made the lock",
		"the lock patches %s with %s, which this Ampoule does not have in that form", dist, file)
}

// logs makes the directory for the logs of one run.
func (b *Builder) logs(name string) (string, error) {
	stem := b.d.Now().UTC().Format("20060102T150405Z") + "-" + recipes.NameInFile(name) + "-"
	return b.d.Logs.NewLogs(stem)
}

// begin begins the outcome of a run, of a dependency group if one is named.
func (b *Builder) begin(recipe, group string) buildlog.Outcome {
	return buildlog.Outcome{Recipe: recipe, Group: group, Begun: b.d.Now().UTC()}
}

// end keeps among a run's logs how it ended. Where that cannot be written, it is told, and
// the run is what it is.
func (b *Builder) end(ctx context.Context, logs string, o buildlog.Outcome, err error) {
	o.Ended = b.d.Now().UTC()
	if err != nil && ctx.Err() != nil {
		// The cause knows whether a person has interrupted it.
		err = errors.Join(err, context.Cause(ctx))
	}
	if err := buildlog.WriteOutcome(logs, o, err); err != nil {
		progress.Send(ctx, progress.Event{Kind: progress.Warned, Message: err.Error()})
	}
}
