package builder

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"ampoule/audit"
	"ampoule/builder/buildenv"
	"ampoule/builder/buildlog"
	"ampoule/builder/gate"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/seal"
	"ampoule/recipes"
	"ampoule/tree"
)

// build is one run through the stages.
type build struct {
	b    *Builder
	req  Request
	plan Plan
	logs string
	// begun is when the run began.
	begun time.Time

	with buildenv.Resources
	env  *buildenv.Env
	// debug is what was stripped, by name of what it belongs to.
	debug map[string]sandbox.Layer
	// calls are compiler calls that the gate judges.
	calls []audit.CompilerCall
	// own is first-party code, and versions are what its wheels say, by name.
	own      []recipes.Dist
	versions map[string]string
	// roots are the file systems that the tree carries files from.
	roots []*tree.Tree
	// group is the dependency group that is sealed with the artifact; empty without one.
	group string
	// laid looks at what each wheel installs before it is put together; may be nil.
	laid func(installed []*tree.Tree, made []seal.Wheel) error
	// artifacts reports which wheels are the artifact's below a group; nil without one.
	artifacts func(seal.Wheel) bool
}

// run goes through the stages. Where the gate refuses, its verdict is returned with the error.
func (r *build) run(ctx context.Context) (_ *audit.Verdict, _ string, err error) {
	if err := r.b.d.Fetch.Fetch(ctx, r.b.fetchFirst(r.plan.Inputs)...); err != nil {
		return nil, "", err
	}
	closeLog, err := r.begin(ctx)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	// Before what takes long.
	if err := r.checkLibraries(ctx); err != nil {
		return nil, "", err
	}
	if err := r.b.checkExcludes(ctx, r.req.Recipe, r.req.Lock.Alone(), r.req.platform()); err != nil {
		return nil, "", err
	}
	made, err := r.buildWheels(ctx)
	var refused *RefusedError
	if errors.As(err, &refused) {
		return &refused.Verdict, "", err
	}
	if err != nil {
		return nil, "", err
	}
	open := layers.Open(r.b.d.Store)
	defer func() { err = errors.Join(err, open.Close()) }()
	sealed, err := r.seal(ctx, open, made)
	if err != nil {
		return nil, "", err
	}
	if err := r.checkCommand(ctx, open, sealed.Tree); err != nil {
		return nil, "", err
	}
	return r.judgeAndPublish(ctx, open, sealed)
}

// begin opens the sandbox engine and the build environment. The log of that stays open
// until the function it returns is called.
func (r *build) begin(ctx context.Context) (_ func() error, err error) {
	if r.with, err = r.b.resources(ctx, r.req.Budget); err != nil {
		return nil, err
	}
	r.with.Logs = r.logs
	log, err := buildlog.Open(r.logs, "toolchain")
	if err != nil {
		return nil, err
	}
	r.env, err = buildenv.Open(ctx, r.with, buildenv.Spec{
		Recipe: r.req.Recipe, Lock: r.req.Lock, Dists: r.req.Lock.Dist, Prefix: Prefix, Platform: r.req.platform(),
	}, log)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	r.env.House.KeepGoing = r.req.KeepGoing
	return log.Close, nil
}

// buildWheels makes the wheels that are installed into the tree.
func (r *build) buildWheels(ctx context.Context) ([]seal.Wheel, error) {
	built, err := r.env.House.Wheels(ctx, r.dist, r.installed())
	if err != nil {
		return nil, err
	}
	r.debug = map[string]sandbox.Layer{"cpython-" + r.req.Lock.Python.Version: r.env.Interpreter.Debug}
	installed := make([]seal.Wheel, len(built))
	for i, w := range built {
		if w.Dist.Own {
			if w.Dist.Version, err = r.takeOwn(w); err != nil {
				return nil, err
			}
			r.versions[w.Dist.Name] = w.Dist.Version
		}
		if w.Debug != nil {
			r.debug[w.Dist.Name+"-"+w.Dist.Version] = *w.Debug
		}
		installed[i] = seal.Wheel{Name: w.Dist.Name, Version: w.Dist.Version, File: w.File, SHA256: w.SHA256, Key: w.Key, Own: w.Dist.Own}
		if w.Native != "" {
			r.calls = append(r.calls, audit.CompilerCall{Dist: w.Dist.Name, Call: w.Native})
		}
		if w.Dist.Build != nil {
			installed[i].Sdist = w.Dist.SHA256
		}
	}
	return installed, r.checkWheels(installed)
}

// checkWheels refuses a wheel that is not what its RECORD says, before it is installed.
func (r *build) checkWheels(made []seal.Wheel) error {
	all := make([]gate.Wheel, len(made))
	for i, w := range made {
		all[i] = gate.Wheel{File: w.File, SHA256: w.SHA256}
	}
	verdict, err := gate.CheckWheels(r.with.Store, all, r.b.d.Now())
	if err != nil || verdict == nil {
		return err
	}
	return errors.Join(r.keep(*verdict), &RefusedError{Verdict: *verdict})
}

// seal installs the wheels and makes the tree, whose contents stay readable as long
// as open is.
func (r *build) seal(ctx context.Context, open *layers.Opened, made []seal.Wheel) (_ *seal.Sealed, err error) {
	stage, interpreter := r.sealing()
	parts := seal.Parts{
		Installed: made, Providers: gate.TermsOf(r.req.Recipe).Providers, Name: r.req.Recipe.Name, Python: r.req.Lock.Python.Version,
		InterpreterKey: r.env.Interpreter.Key, Toolchain: layers.DiffIDs(r.env.Tools),
	}
	parts.Finish = func(libraries []tree.Entry) ([]tree.Entry, error) {
		layer, err := stage.Carry(ctx, interpreter, libraries)
		if err != nil {
			return nil, err
		}
		t, err := open.Read(layer)
		if err != nil {
			return nil, err
		}
		return t.Sub(Prefix).Entries(), nil
	}
	var installed []sandbox.Layer
	both, running := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		installed, err = stage.Install(running, interpreter, made)
		return err
	})
	// Meanwhile what they are laid on is read.
	both.Go(func() error { return r.readBelow(running, open, &parts) })
	if err := both.Wait(); err != nil {
		return nil, err
	}
	task := progress.Start(ctx, progress.StageSeal, "tree")
	defer func() { task.End(err) }()
	trees, err := readAll(open, installed)
	if err != nil {
		return nil, err
	}
	if err := r.lay(&parts, trees, made); err != nil {
		return nil, err
	}
	sealed, err := seal.Seal(parts, r.hostLibraries())
	if err != nil {
		return nil, err
	}
	for _, told := range sealed.Told {
		progress.Send(ctx, progress.Event{Kind: progress.Told, Stage: progress.StageSeal, Message: told})
	}
	return sealed, nil
}

// sealing is the stage that seals, and what it installs wheels for.
func (r *build) sealing() (*seal.Stage, seal.Interpreter) {
	stage := &seal.Stage{Store: r.with.Store, Runner: r.with.Sandboxes.Runner, Images: r.with.Sandboxes.Images, Jobs: r.with.Jobs, Logs: r.logs}
	return stage, seal.Interpreter{Image: r.env.Image(), Layer: r.env.Interpreter.Layer, Python: r.env.Python, Prefix: Prefix}
}

// readAll reads what wheels install, relative to the tree's root.
func readAll(open *layers.Opened, installed []sandbox.Layer) ([]*tree.Tree, error) {
	trees := make([]*tree.Tree, len(installed))
	for i, layer := range installed {
		t, err := open.Read(layer)
		if err != nil {
			return nil, err
		}
		trees[i] = t.Sub(Prefix)
	}
	return trees, nil
}

// lay puts what single wheels install together, without what the recipe excludes.
func (r *build) lay(parts *seal.Parts, trees []*tree.Tree, made []seal.Wheel) error {
	rest, excluded, err := seal.Exclude(trees, made, r.req.Recipe.Packages)
	if err != nil {
		return excludedAt(r.req.Recipe, err)
	}
	settled, err := seal.Settle(rest, made, r.req.Recipe.Packages, r.artifacts)
	if err == nil {
		rest = settled.Installed
	}
	// Of a group this says more than that wheels clash.
	if r.laid != nil {
		if err := r.laid(rest, made); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	parts.LeftOut = append(excluded, settled.LeftOut...)
	parts.Wheels, err = settled.Lay()
	return err
}

// readBelow reads the interpreter, and the file system that everything was built on.
func (r *build) readBelow(ctx context.Context, open *layers.Opened, parts *seal.Parts) error {
	interpreter, err := open.Read(r.env.Interpreter.Layer)
	if err != nil {
		return err
	}
	parts.Interpreter = interpreter.Sub(Prefix)
	everything, err := r.everything(ctx)
	if err != nil {
		return err
	}
	if parts.Root, err = open.RootFS(ctx, everything); err != nil {
		return err
	}
	if parts.Libraries, err = r.libraries(ctx, open); err != nil {
		return err
	}
	r.roots = []*tree.Tree{parts.Root}
	if parts.Libraries.Root != nil {
		r.roots = append(r.roots, parts.Libraries.Root)
	}
	return nil
}

// everything is the image with the toolchain and the packages of every installed wheel.
func (r *build) everything(ctx context.Context) (sandbox.Image, error) {
	all := r.env.Tools
	seen := map[string]bool{}
	add := func(added []sandbox.Layer) {
		for _, layer := range added {
			if !seen[layer.DiffID] {
				all = all.With(layer)
			}
			seen[layer.DiffID] = true
		}
	}
	for _, id := range r.installed() {
		d, _ := r.dist(id)
		image, err := r.env.For(ctx, d)
		if err != nil {
			return sandbox.Image{}, err
		}
		add(image.Layers[len(r.env.Tools.Layers) : len(image.Layers)-1])
	}
	if r.req.Lock.Libraries != nil {
		image, err := r.env.Libraries(ctx)
		if err != nil {
			return sandbox.Image{}, err
		}
		add(image.Layers[len(r.env.Tools.Layers):])
	}
	return all, nil
}

// hostLibraries are the sonames that a machine provides.
func (r *build) hostLibraries() []string {
	if r.req.Recipe.Runtime.VM == nil {
		return nil
	}
	return r.req.Recipe.Runtime.VM.Host
}
