package builder

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"ampoule/builder/locking"
	"ampoule/recipes"
	"ampoule/store"
)

// LockOptions say which pins may move.
type LockOptions = locking.Options

// Lock makes the lock of a recipe. The interpreter is built on the way.
func (b *Builder) Lock(ctx context.Context, r *recipes.Recipe, reqs *recipes.RequirementSet, opts LockOptions) (*recipes.Lock, error) {
	s, err := b.Sandboxes(ctx)
	if err != nil {
		return nil, err
	}
	index, err := b.Fetch.Sources().Index(ctx)
	if err != nil {
		return nil, err
	}
	logs, err := b.logs("lock-" + r.Name)
	if err != nil {
		return nil, err
	}
	l := &locking.Locker{
		Store: b.Store, Fetch: b.Fetch, Runner: s.Runner, Images: s.Images, Online: s.Online, Bases: b.Bases,
		Prefix: Prefix, Platform: r.Platforms[0], Jobs: b.jobs(), Logs: logs,
		Resolver: locking.Online{Index: index, Environ: os.Environ(), CertFile: os.Getenv("SSL_CERT_FILE")},
	}
	return l.Lock(ctx, r, reqs, opts)
}

// Build makes sure that the artifact of a recipe and its lock is published, and
// returns its digest. A lock that does not answer the recipe is [recipes.Faults];
// a tree that the gate refuses is a [*RefusedError].
func (b *Builder) Build(ctx context.Context, r *recipes.Recipe, reqs *recipes.RequirementSet, l *recipes.Lock) (Result, error) {
	if err := recipes.CheckFresh(r, reqs, l); err != nil {
		return Result{}, err
	}
	if faults := recipes.CheckFlags(r, locking.Flags(l.Python)); len(faults) > 0 {
		return Result{}, faults
	}
	platform := r.Platforms[0]
	plan := MakePlan(r, l, platform)
	result := Result{Name: r.Name, Key: plan.Key}
	var err error
	if result.Digest, result.Reused, err = b.Publisher.FindKey(ctx, r.Name, plan.Key); err != nil || result.Reused {
		return result, err
	}
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
	run := &build{b: b, recipe: r, lock: l, plan: plan, platform: platform, logs: result.Logs}
	result.Verdict, result.Digest, err = run.run(ctx)
	return result, err
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

// logs makes the directory for the logs of one run.
func (b *Builder) logs(name string) (string, error) {
	stem := b.now().UTC().Format("20060102T150405Z") + "-" + name + "-"
	dir, err := os.MkdirTemp(b.Store.Dir(store.Logs), stem)
	if err != nil {
		return "", fmt.Errorf("making log directory: %w", err)
	}
	return filepath.Clean(dir), nil
}
