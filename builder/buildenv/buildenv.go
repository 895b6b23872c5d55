// Package buildenv opens build environments (PEP 517): the toolchain, on it the
// interpreter, and on both an image for each sdist with what that takes. Whoever locks asks
// build backends in one, whoever builds compiles wheels in one: it is the same.
package buildenv

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"

	"ampoule/builder/cpython"
	"ampoule/builder/fetch"
	"ampoule/builder/sandbox"
	"ampoule/builder/toolchain"
	"ampoule/builder/wheels"
	"ampoule/recipes"
)

// Spec is everything that decides a build environment.
type Spec struct {
	Recipe *recipes.Recipe
	Lock   *recipes.Lock
	// Dists finds what wheels are built of and with: the dists of the lock, or, while
	// it is being made, those that are known so far.
	Dists wheels.Dists
	// Prefix is where the interpreter is installed, without the leading slash.
	Prefix string
	// Platform is os/architecture.
	Platform string
}

// Env is a build environment.
type Env struct {
	// Tools is the image with the toolchain.
	Tools       sandbox.Image
	Interpreter *cpython.Interpreter
	// Python is the interpreter's path in images.
	Python string
	// Stage asks build backends, House makes wheels.
	Stage *wheels.Stage
	House *wheels.House

	locked *toolchain.Locked
	images *wheelImages
}

// Open makes toolchain and interpreter, or finds them. Log gets what making images
// prints, as long as the environment is used. A step that fails gives a
// [*buildlog.StepError].
func Open(ctx context.Context, r Resources, spec Spec, log io.Writer) (*Env, error) {
	e := &Env{Python: cpython.Path(spec.Prefix, spec.Lock.Python.Version), locked: lockedTools(r, spec, log)}
	var err error
	if e.Tools, err = e.locked.Toolchain(ctx); err != nil {
		return nil, err
	}
	if e.Interpreter, err = interpreter(ctx, r, spec, e.Tools); err != nil {
		return nil, err
	}
	e.images = newWheelImages(spec.Dists, func(ctx context.Context, packages []string) (sandbox.Image, error) {
		image, err := e.locked.WithExtras(ctx, e.Tools, packages)
		return image.With(e.Interpreter.Layer), err
	})
	e.Stage = &wheels.Stage{
		Store: r.Store, Runner: r.Sandboxes.Runner, Images: r.Sandboxes.Images, Fetch: r.Fetch, Jobs: r.Jobs, Logs: r.Logs,
		Recipe: spec.Recipe.Name, Suite: spec.Lock.Base.Suite,
	}
	e.House = wheels.NewHouse(e.Stage, r.Fetch, e.Python, r.Sandboxes.memory(), e.For)
	return e, nil
}

// interpreter builds the interpreter of a lock, or finds it.
func interpreter(ctx context.Context, r Resources, spec Spec, tools sandbox.Image) (*cpython.Interpreter, error) {
	stage, what := interpreterStage(r, spec), interpreterSpec(spec, tools)
	inputs := []fetch.Item{cpython.Item(spec.Lock.Python)}
	if profile, named := cpython.ProfileItem(spec.Recipe.Python); named {
		inputs, what.Profile = append(inputs, profile), profile.SHA256
	}
	stage.Fetch = func(ctx context.Context) error { return r.Fetch.Fetch(ctx, inputs...) }
	built, err := stage.Build(ctx, what)
	if err != nil {
		return nil, placed(spec.Recipe, err)
	}
	return built, built.CheckModules(spec.Recipe.Python.Optional)
}

// placed tells where the recipe names a module that cannot be linked in. Other errors stay as they are.
func placed(recipe *recipes.Recipe, err error) error {
	var none *cpython.NoRuleError
	if !errors.As(err, &none) {
		return err
	}
	place := strconv.Itoa(slices.Index(recipe.Python.Builtin, none.Module))
	return recipes.Faults{recipe.Fault(none.Error(), none.Hint(), "python", "builtin", place)}
}

// CheckProfile compares the training profile that a recipe names with what a lock has so far: CPython's
// source and the packages of the compiler. One that does not fit is a [*pgo.MisfitError].
func CheckProfile(ctx context.Context, r Resources, spec Spec) error {
	profile, named := cpython.ProfileItem(spec.Recipe.Python)
	if !named {
		return nil
	}
	if err := r.Fetch.Fetch(ctx, profile); err != nil {
		return err
	}
	what := interpreterSpec(spec, sandbox.Image{})
	what.Profile = profile.SHA256
	return interpreterStage(r, spec).CheckProfile(what)
}

func interpreterStage(r Resources, spec Spec) *cpython.Stage {
	return &cpython.Stage{
		Store: r.Store, Runner: r.Sandboxes.Runner, Images: r.Sandboxes.Images, Jobs: r.Jobs, Logs: r.Logs, Recipe: spec.Recipe.Name,
	}
}

// interpreterSpec is everything that decides the interpreter of a lock, but for its profile.
func interpreterSpec(spec Spec, tools sandbox.Image) cpython.Spec {
	locked, python := spec.Lock.Python, spec.Recipe.Python
	return cpython.Spec{
		Version: locked.Version, Source: locked.SHA256, Configure: python.Configure, Knows: cpython.Flags(locked),
		NoPIE: python.Executable == recipes.NoPIE, Compiler: python.Compiler, CPU: python.CPU, Env: python.Env, Builtin: python.Builtin,
		Compilers: cpython.Compilers(python, spec.Lock), Prefix: spec.Prefix, Toolchain: tools,
	}
}

// Train makes the toolchain, or finds it, and a training profile of the interpreter, as
// [cpython.Stage.Train] does. A profile that the recipe names already has no part in it.
func Train(ctx context.Context, r Resources, spec Spec, work cpython.Workload, log io.Writer) (cpython.Trained, error) {
	tools, err := lockedTools(r, spec, log).Toolchain(ctx)
	if err != nil {
		return cpython.Trained{}, err
	}
	if err := r.Fetch.Fetch(ctx, cpython.Item(spec.Lock.Python)); err != nil {
		return cpython.Trained{}, err
	}
	trained, err := interpreterStage(r, spec).Train(ctx, interpreterSpec(spec, tools), work)
	return trained, placed(spec.Recipe, err)
}

func lockedTools(r Resources, spec Spec, log io.Writer) *toolchain.Locked {
	return &toolchain.Locked{
		Stage: toolchain.New(r.Store, r.Fetch, r.Sandboxes.Runner, r.Sandboxes.Images),
		Bases: r.Bases, Lock: spec.Lock, Platform: spec.Platform, Log: log,
	}
}

// Base returns the image of a base that the lock names.
func (e *Env) Base(ctx context.Context, base recipes.LockedBase) (sandbox.Image, error) {
	return e.locked.Base(ctx, base)
}

// Libraries returns the toolchain's image with the packages whose libraries are loaded by
// name.
func (e *Env) Libraries(ctx context.Context) (sandbox.Image, error) {
	if e.locked.Lock.Libraries == nil {
		return e.Tools, nil
	}
	return e.locked.WithExtras(ctx, e.Tools, e.locked.Lock.Libraries.Packages)
}

// Image is the toolchain's image with the interpreter on it.
func (e *Env) Image() sandbox.Image { return e.Tools.With(e.Interpreter.Layer) }

// For returns the image that an sdist is built in. It has the packages of the sdist
// and those of what the build imports: numpy loads its BLAS wherever it is needed.
func (e *Env) For(ctx context.Context, sdist recipes.Dist) (sandbox.Image, error) {
	return e.images.get(ctx, sdist)
}
