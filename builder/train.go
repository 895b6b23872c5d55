package builder

import (
	"context"
	"errors"

	"ampoule/builder/buildenv"
	"ampoule/builder/buildlog"
	"ampoule/builder/cpython"
	"ampoule/builder/fetch"
	"ampoule/builder/progress"
	"ampoule/recipes"
)

// Train makes a training profile of a recipe's interpreter, in the toolchain that the recipe
// locks: in that of the request's lock, as far as its pins may not move. Requirements,
// first-party code and a profile that the recipe names already have no part in it. The profile
// stays in the store, as inputs do that were fetched on purpose.
func (b *Builder) Train(ctx context.Context, req Request, opts LockOptions) (_ cpython.Trained, _ Inputs, err error) {
	none := func(err error) (cpython.Trained, Inputs, error) { return cpython.Trained{}, Inputs{}, err }
	if !req.Recipe.Python.Optimised() {
		return none(recipes.Faults{req.Recipe.Fault("an interpreter is trained to be optimised, and this one is not",
			"add --enable-optimizations to python.configure", "python")})
	}
	req.Recipe, req.Requirements, req.Workspace = onlyPython(req.Recipe), &recipes.RequirementSet{}, nil
	if req.Lock, err = b.Lock(ctx, req, opts); err != nil {
		return none(err)
	}
	ctx = progress.Of(ctx, req.Recipe.Name)
	release, err := b.d.Store.Use(ctx)
	if err != nil {
		return none(err)
	}
	defer release()
	trained, err := b.train(ctx, req)
	if err != nil {
		return none(err)
	}
	python := req.Recipe.Python
	python.Profile = "sha256:" + trained.SHA256
	item, _ := cpython.ProfileItem(python)
	in := Inputs{Name: "profile-" + req.Recipe.Name, Key: python.Profile, Files: []Input{input(item, trained.Size)}}
	return trained, in, b.d.Store.RecordDurably(InputsKind, in.Key, in)
}

func (b *Builder) train(ctx context.Context, req Request) (_ cpython.Trained, err error) {
	with, err := b.resources(ctx, req.Budget)
	if err != nil {
		return cpython.Trained{}, err
	}
	if with.Logs, err = b.logs("pgo-profile-" + req.Recipe.Name); err != nil {
		return cpython.Trained{}, err
	}
	log, err := buildlog.Open(with.Logs, "toolchain")
	if err != nil {
		return cpython.Trained{}, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	return buildenv.Train(ctx, with, buildenv.Spec{Recipe: req.Recipe, Lock: req.Lock, Prefix: Prefix, Platform: req.platform()}, log)
}

// onlyPython is a recipe of the same interpreter in the same toolchain, and of nothing else.
func onlyPython(r *recipes.Recipe) *recipes.Recipe {
	only := *r
	only.Requirements, only.DependencyGroups, only.App = recipes.Requirements{}, nil, nil
	only.Packages, only.Binary, only.Pure = nil, recipes.Binary{}, nil
	only.Runtime.Libraries, only.Python.Profile = nil, ""
	return &only
}

// input is an item that the store has.
func input(i fetch.Item, size int64) Input {
	return Input{Source: i.Source, Name: i.Name, Version: i.Version, File: i.File, SHA256: i.SHA256, Size: size}
}
