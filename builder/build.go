package builder

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"ampoule/builder/locking"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/recipes"
)

// LockOptions say which pins may move.
type LockOptions = locking.Options

// Lock makes the lock of a recipe. The interpreter is built on the way.
func (b *Builder) Lock(ctx context.Context, r *recipes.Recipe, reqs *recipes.RequirementSet, opts LockOptions) (*recipes.Lock, error) {
	if err := r.CheckAcceptances(b.today()); err != nil {
		return nil, err
	}
	release, err := b.Store.Use(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	s, err := b.bounded(ctx)
	if err != nil {
		return nil, err
	}
	index, err := b.Fetch.Sources().Index(ctx)
	if err != nil {
		return nil, err
	}
	network := b.Fetch.Sources().Network()
	logs, err := b.logs("lock-" + r.Name)
	if err != nil {
		return nil, err
	}
	l := &locking.Locker{
		Store: b.Store, Fetch: b.Fetch, Runner: s.Runner, Images: s.Images, Online: s.Online, Bases: b.Bases,
		Prefix: Prefix, Platform: r.Platforms[0], Jobs: b.jobs(), Logs: logs,
		Resolver: locking.Online{Index: index, Environ: network.Proxies, CertFile: network.CertFile},
	}
	return l.Lock(ctx, r, reqs, opts)
}

// Build makes sure that the artifact of a recipe and its lock is published, and
// returns its digest. A lock that does not answer the recipe, and an acceptance that
// has expired, are [recipes.Faults];
// a tree that the gate refuses is a [*RefusedError].
func (b *Builder) Build(ctx context.Context, r *recipes.Recipe, reqs *recipes.RequirementSet, l *recipes.Lock) (Result, error) {
	if err := recipes.CheckFresh(r, reqs, l); err != nil {
		return Result{}, err
	}
	if faults := recipes.CheckFlags(r, locking.Flags(l.Python)); len(faults) > 0 {
		return Result{}, faults
	}
	if err := r.CheckAcceptances(b.today()); err != nil {
		return Result{}, err
	}
	platform := r.Platforms[0]
	plan := MakePlan(r, l, platform)
	result := Result{Name: r.Name, Key: plan.Key}
	var err error
	// What is wrong with a publication is told by the second look.
	if result.Digest, result.Reused, err = b.Publisher.FindKey(progress.With(ctx, nil), r.Name, plan.Key); err != nil || result.Reused {
		return result, err
	}
	release, err := b.Store.Use(ctx)
	if err != nil {
		return Result{}, err
	}
	defer release()
	unlock, err := b.Store.Lock(ctx, "build-"+strings.ReplaceAll(plan.Key, ":", "-"))
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	// Whoever held the lock before may have published it.
	if result.Digest, result.Reused, err = b.Publisher.FindKey(ctx, r.Name, plan.Key); err != nil || result.Reused {
		return result, err
	}
	if result.Logs, err = b.logs(r.Name); err != nil {
		return Result{}, err
	}
	if err := b.keepPatches(ctx, reqs, l); err != nil {
		return Result{}, err
	}
	run := &build{b: b, recipe: r, lock: l, plan: plan, platform: platform, logs: result.Logs}
	result.Verdict, result.Digest, err = run.run(ctx)
	return result, err
}

// bounded opens the sandbox engine for steps that must end.
func (b *Builder) bounded(ctx context.Context) (Sandboxes, error) {
	s, err := b.Sandboxes(ctx)
	limits := sandbox.Limits{Memory: b.StepMemory, Disk: b.StepDisk, CPUs: int64(b.jobs())}
	s.Runner = sandbox.Bounded{Runner: s.Runner, Time: cmp.Or(b.StepTime, StepTime), Limits: limits}
	s.Online = sandbox.BoundedOnline{Online: s.Online, Time: cmp.Or(b.StepTime, StepTime), Limits: limits}
	return s, err
}

func (b *Builder) jobs() int {
	if b.Jobs > 0 {
		return b.Jobs
	}
	return runtime.NumCPU()
}

func (b *Builder) now() time.Time {
	if b.Now != nil {
		return b.Now()
	}
	return time.Now()
}

// today is the day in UTC, as YYYY-MM-DD.
func (b *Builder) today() string { return b.now().UTC().Format(time.DateOnly) }

// keepPatches puts the patches that a lock names into the store: those that come with
// Ampoule, and those beside the recipe. One that the store has from before will do.
func (b *Builder) keepPatches(ctx context.Context, reqs *recipes.RequirementSet, l *recipes.Lock) error {
	for _, d := range l.Dists {
		if d.Build == nil {
			continue
		}
		for _, p := range d.Build.Patches {
			whole, err := b.Store.Whole(ctx, p.SHA256)
			if err != nil {
				return err
			}
			if whole {
				continue
			}
			data, own := reqs.Patches[p.File]
			if !own {
				if data, err = recipes.ShippedPatch(p.File); err != nil {
					return &LostPatchError{d.ID(), p.File}
				}
			}
			sum, _, err := b.Store.Put(ctx, bytes.NewReader(data))
			if err != nil {
				return err
			}
			if sum != p.SHA256 {
				return &LostPatchError{d.ID(), p.File}
			}
		}
	}
	return nil
}

// LostPatchError says that this Ampoule does not have a patch that a lock names.
type LostPatchError struct{ Dist, File string }

func (e *LostPatchError) Error() string {
	return fmt.Sprintf("the lock patches %s with %s, which this Ampoule does not have in that form", e.Dist, e.File)
}

// Hint says what can be done.
func (e *LostPatchError) Hint() string {
	return "run `ampoule lock`, or build with the version of Ampoule that made the lock"
}

// logs makes the directory for the logs of one run.
func (b *Builder) logs(name string) (string, error) {
	stem := b.now().UTC().Format("20060102T150405Z") + "-" + name + "-"
	return cmp.Or(b.logged, b.Store).NewLogs(stem)
}
