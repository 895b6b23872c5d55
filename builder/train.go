package builder

import (
	"context"
	"errors"

	"ampoule/builder/buildenv"
	"ampoule/builder/buildlog"
	"ampoule/builder/cpython"
	"ampoule/builder/fetch"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/seal"
	"ampoule/recipes"
)

// Train makes a training profile of a recipe's interpreter, in the toolchain that the recipe
// locks: in that of the request's lock, as far as its pins may not move. A profile that the
// recipe names already has no part in it. Requirements and first-party code have one if the
// recipe says what to train with: then they are built, for an interpreter that is not optimised. The
// profile stays in the store, as inputs do that were fetched on purpose.
func (b *Builder) Train(ctx context.Context, req Request, opts LockOptions) (_ cpython.Trained, _ Inputs, err error) {
	if !req.Recipe.Python.Optimised() {
		return cpython.Trained{}, Inputs{}, recipes.Faults{req.Recipe.Fault("an interpreter is trained to be optimised, and this one is not",
			"add --enable-optimizations to python.configure", "python")}
	}
	ctx = progress.Of(ctx, req.Recipe.Name)
	release, err := b.d.Store.Use(ctx)
	if err != nil {
		return cpython.Trained{}, Inputs{}, err
	}
	defer release()
	trained, err := b.train(ctx, req, opts)
	if err != nil {
		return cpython.Trained{}, Inputs{}, err
	}
	return b.keepProfile(req.Recipe, trained)
}

// MergeProfiles makes one training profile of several, by their sha256 in hex: they are fetched
// where the store does not have them. The result stays in the store, as that of [Builder.Train] does.
// Profiles that are not of one interpreter are a [*pgo.MisfitError].
func (b *Builder) MergeProfiles(ctx context.Context, r *recipes.Recipe, sums []string) (_ cpython.Trained, _ Inputs, err error) {
	release, err := b.d.Store.Use(ctx)
	if err != nil {
		return cpython.Trained{}, Inputs{}, err
	}
	defer release()
	for _, sum := range sums {
		if err := b.d.Fetch.Fetch(ctx, profileItem(r, sum)); err != nil {
			return cpython.Trained{}, Inputs{}, err
		}
	}
	merged, err := cpython.MergeProfiles(ctx, b.d.Store, sums)
	if err != nil {
		return cpython.Trained{}, Inputs{}, err
	}
	return b.keepProfile(r, merged)
}

// keepProfile remembers a profile as inputs that were fetched on purpose.
func (b *Builder) keepProfile(r *recipes.Recipe, made cpython.Trained) (cpython.Trained, Inputs, error) {
	in := Inputs{Name: "profile-" + r.Name, Key: "sha256:" + made.SHA256, Files: []Input{input(profileItem(r, made.SHA256), made.Size)}}
	return made, in, b.d.Store.RecordDurably(InputsKind, in.Key, in)
}

// profileItem says where a profile of a recipe's interpreter is found.
func profileItem(r *recipes.Recipe, sum string) fetch.Item {
	python := r.Python
	python.Profile = "sha256:" + sum
	item, _ := cpython.ProfileItem(python)
	return item
}

func (b *Builder) train(ctx context.Context, req Request, opts LockOptions) (_ cpython.Trained, err error) {
	if len(req.Recipe.Train.Commands) > 0 {
		return b.trainWith(ctx, req, opts)
	}
	req = ofPython(req)
	if req.Lock, err = b.Lock(ctx, req, opts); err != nil {
		return cpython.Trained{}, err
	}
	return b.trainLocked(ctx, req, cpython.Workload{})
}

// trainWith trains with what the recipe says: in the tree of its artifact.
func (b *Builder) trainWith(ctx context.Context, req Request, opts LockOptions) (_ cpython.Trained, err error) {
	if req, err = withWorkspace(ctx, req, b.d.Environ); err != nil {
		return cpython.Trained{}, err
	}
	twin := req
	twin.Recipe = plain(req.Recipe)
	if opts.Upgrade || len(opts.UpgradeNames) > 0 || req.check() != nil {
		if twin.Lock, req.Lock, err = lockToTrain(ctx, req, opts, b.Lock); err != nil {
			return cpython.Trained{}, err
		}
	}
	group := twin.Recipe.Train.Group
	if group != "" {
		twin.Lock = twin.Lock.With(group)
	}
	if err := b.keepPatches(ctx, twin); err != nil {
		return cpython.Trained{}, err
	}
	run := &build{b: b, req: twin, plan: twin.plan(), group: group}
	if err := run.takeCode(ctx); err != nil {
		return cpython.Trained{}, err
	}
	if run.logs, err = b.logs("pgo-profile-tree-" + req.Recipe.Name); err != nil {
		return cpython.Trained{}, err
	}
	outcome := b.begin(req.Recipe.Name, group)
	outcome.Did = "laid out"
	open := layers.Open(b.d.Store)
	defer func() { err = errors.Join(err, open.Close()) }()
	sealed, err := run.makeTree(ctx, open)
	b.end(ctx, run.logs, outcome, err)
	if err != nil {
		return cpython.Trained{}, err
	}
	req.Recipe = onlyPython(req.Recipe)
	return b.trainLocked(ctx, req, cpython.Workload{Commands: twin.Recipe.Train.Commands, Tree: sealed.Tree})
}

// lockToTrain locks what an interpreter is trained with, and what it is trained in. The two are one lock, but with
// BOLT: the interpreter of the former is plain, and its toolchain has no BOLT. All else stays in the latter.
func lockToTrain(
	ctx context.Context, req Request, opts LockOptions, lock func(context.Context, Request, LockOptions) (*recipes.Lock, error),
) (with, in *recipes.Lock, err error) {
	twin := req
	twin.Recipe = plain(req.Recipe)
	if with, err = lock(ctx, twin, opts); err != nil || !req.Recipe.Python.Bolt() {
		return with, with, err
	}
	only := ofPython(req)
	only.Lock = with
	in, err = lock(ctx, only, LockOptions{})
	return with, in, err
}

// makeTree runs the stages as far as the sealed tree, whose contents stay readable as long as open is.
func (r *build) makeTree(ctx context.Context, open *layers.Opened) (_ *seal.Sealed, err error) {
	if err := r.b.d.Fetch.Fetch(ctx, r.b.fetchFirst(r.plan.Inputs)...); err != nil {
		return nil, err
	}
	closeLog, err := r.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	made, err := r.buildWheels(ctx)
	if err != nil {
		return nil, err
	}
	return r.seal(ctx, open, made)
}

// trainLocked trains in the toolchain of the request's lock.
func (b *Builder) trainLocked(ctx context.Context, req Request, work cpython.Workload) (trained cpython.Trained, err error) {
	with, err := b.resources(ctx, req.Budget)
	if err != nil {
		return cpython.Trained{}, err
	}
	if with.Logs, err = b.logs("pgo-profile-" + req.Recipe.Name); err != nil {
		return cpython.Trained{}, err
	}
	outcome := b.begin(req.Recipe.Name, "")
	defer func() {
		if err == nil {
			outcome.Digest = "sha256:" + trained.SHA256
		}
		b.end(ctx, with.Logs, outcome, err)
	}()
	log, err := buildlog.Open(with.Logs, "toolchain")
	if err != nil {
		return cpython.Trained{}, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	return buildenv.Train(ctx, with, buildenv.Spec{Recipe: req.Recipe, Lock: req.Lock, Prefix: Prefix, Platform: req.platform()}, work, log)
}

// plain is a recipe of the same artifact with an interpreter that is not optimised.
func plain(r *recipes.Recipe) *recipes.Recipe {
	twin := *r
	twin.Python = r.Python.Plain()
	return &twin
}

// ofPython is a request for the same interpreter, and for nothing else.
func ofPython(req Request) Request {
	req.Recipe, req.Requirements, req.Workspace = onlyPython(req.Recipe), &recipes.RequirementSet{}, nil
	return req
}

// onlyPython is a recipe of the same interpreter in the same toolchain, and of nothing else.
func onlyPython(r *recipes.Recipe) *recipes.Recipe {
	only := *r
	only.Requirements, only.DependencyGroups, only.App = recipes.Requirements{}, nil, nil
	only.Packages, only.Binary, only.Pure = nil, recipes.Binary{}, nil
	only.Runtime.Libraries, only.Python.Profile, only.Train = nil, "", recipes.Train{}
	return &only
}

// input is an item that the store has.
func input(i fetch.Item, size int64) Input {
	return Input{Source: i.Source, Name: i.Name, Version: i.Version, File: i.File, SHA256: i.SHA256, Size: size}
}
