package builder

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"ampoule/audit"
	"ampoule/builder/buildlog"
	"ampoule/builder/cpython"
	"ampoule/builder/layers"
	"ampoule/builder/locking"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/builder/seal"
	"ampoule/builder/toolchain"
	"ampoule/builder/wheels"
	"ampoule/recipes"
	"ampoule/tree"
)

// build is one run through the stages.
type build struct {
	b        *Builder
	recipe   *recipes.Recipe
	lock     *recipes.Lock
	plan     Plan
	platform string
	logs     string

	sandboxes   Sandboxes
	images      *toolchain.Locked
	interpreter *cpython.Interpreter
	// tools is the toolchain's image; own finds that of a wheel.
	tools sandbox.Image
	own   *locking.WheelImages
	// debug is what was stripped, by name of what it belongs to.
	debug map[string]sandbox.Layer
	// calls are compiler calls that the gate judges.
	calls []audit.CompilerCall
}

// run goes through the stages. Where the gate refuses, its verdict is returned with the error.
func (r *build) run(ctx context.Context) (_ *audit.Verdict, _ string, err error) {
	if err := r.b.Fetch.Fetch(ctx, r.plan.Inputs...); err != nil {
		return nil, "", err
	}
	closeLog, err := r.begin(ctx)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	made, err := r.buildWheels(ctx)
	var refused *RefusedError
	if errors.As(err, &refused) {
		return &refused.Verdict, "", err
	}
	if err != nil {
		return nil, "", err
	}
	open := layers.Open(r.b.Store)
	defer func() { err = errors.Join(err, open.Close()) }()
	sealed, err := r.seal(ctx, open, made)
	if err != nil {
		return nil, "", err
	}
	verdict, err := r.gate(ctx, sealed)
	if err != nil {
		return verdict, "", err
	}
	digest, err := r.publish(ctx, sealed, verdict)
	return verdict, digest, err
}

// begin opens the sandbox engine and makes what every wheel is built in, or finds it:
// toolchain and interpreter. The log of that stays open until the function it returns
// is called.
func (r *build) begin(ctx context.Context) (_ func() error, err error) {
	if r.sandboxes, err = r.b.bounded(ctx); err != nil {
		return nil, err
	}
	log, err := buildlog.Open(r.logs, "toolchain")
	if err != nil {
		return nil, err
	}
	r.images = &toolchain.Locked{
		Stage: toolchain.New(r.b.Store, r.b.Fetch, r.sandboxes.Runner, r.sandboxes.Images),
		Bases: r.b.Bases, Lock: r.lock, Platform: r.platform, Log: log,
	}
	if err := r.buildInterpreter(ctx); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return log.Close, nil
}

func (r *build) buildInterpreter(ctx context.Context) (err error) {
	if r.tools, err = r.images.Toolchain(ctx); err != nil {
		return err
	}
	stage := &cpython.Stage{Store: r.b.Store, Runner: r.sandboxes.Runner, Images: r.sandboxes.Images, Jobs: r.b.jobs(), Logs: r.logs, Recipe: r.recipe.Name}
	r.interpreter, err = locking.Interpreter(ctx, stage, r.b.Fetch, r.recipe, r.lock, Prefix, r.tools)
	if err != nil {
		return err
	}
	r.own = &locking.WheelImages{Locked: r.images, Tools: r.tools, Interpreter: r.interpreter.Layer, Dists: r.lock.Dist}
	return nil
}

// house makes the wheels of the lock.
func (r *build) house() *wheels.House {
	house := wheels.NewHouse(r.wheelStage(), r.b.Fetch, r.python(), r.b.jobs(), r.own.For)
	house.KeepGoing = r.b.KeepGoing
	return house
}

func (r *build) wheelStage() *wheels.Stage {
	return &wheels.Stage{
		Store: r.b.Store, Runner: r.sandboxes.Runner, Images: r.sandboxes.Images, Jobs: r.b.jobs(), Logs: r.logs,
		Recipe: r.recipe.Name, Suite: r.lock.Base.Suite,
	}
}

// buildWheels makes the wheels that are installed into the tree.
func (r *build) buildWheels(ctx context.Context) ([]seal.Wheel, error) {
	house := r.house()
	built, err := house.Wheels(ctx, r.lock.Dist, r.lock.Requirements)
	if err != nil {
		return nil, err
	}
	r.debug = map[string]sandbox.Layer{"cpython-" + r.lock.Python.Version: r.interpreter.Debug}
	installed := make([]seal.Wheel, len(built))
	for i, w := range built {
		if w.Debug != nil {
			r.debug[w.Dist.Name+"-"+w.Dist.Version] = *w.Debug
		}
		installed[i] = seal.Wheel{Name: w.Dist.Name, Version: w.Dist.Version, File: w.File, SHA256: w.SHA256, Key: w.Key}
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
	var findings []audit.Finding
	for _, w := range made {
		f, err := r.b.Store.Open(w.SHA256)
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err == nil {
			findings = append(findings, audit.CheckWheel(f, info.Size(), w.File)...)
		}
		f.Close()
		if err != nil {
			return err
		}
	}
	refused := slices.ContainsFunc(findings, func(f audit.Finding) bool { return f.Severity != audit.Warn })
	if !refused {
		return nil
	}
	verdict := audit.Verdict{Schema: audit.VerdictSchema, Time: r.b.now().UTC().Format(time.RFC3339), Findings: findings}
	return errors.Join(r.keep(verdict), &RefusedError{verdict})
}

func (r *build) python() string { return locking.PythonPath(Prefix, r.lock.Python.Version) }

// seal installs the wheels and makes the tree, whose contents stay readable as long
// as open is.
func (r *build) seal(ctx context.Context, open *layers.Opened, made []seal.Wheel) (_ *seal.Sealed, err error) {
	stage := &seal.Stage{Store: r.b.Store, Runner: r.sandboxes.Runner, Images: r.sandboxes.Images, Jobs: r.b.jobs(), Logs: r.logs}
	parts := seal.Parts{
		Installed: made, Providers: r.providers(), Name: r.recipe.Name, Python: r.lock.Python.Version,
		InterpreterKey: r.interpreter.Key, Toolchain: layers.DiffIDs(r.tools),
	}
	var installed []sandbox.Layer
	both, running := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		installed, err = stage.Install(running, seal.Interpreter{
			Image: r.tools.With(r.interpreter.Layer), Layer: r.interpreter.Layer, Python: r.python(), Prefix: Prefix,
		}, made)
		return err
	})
	// Meanwhile what they are laid on is read.
	both.Go(func() error { return r.readBelow(running, open, &parts) })
	if err := both.Wait(); err != nil {
		return nil, err
	}
	task := progress.Start(ctx, progress.StageSeal, "tree")
	defer func() { task.End(err) }()
	trees := make([]*tree.Tree, len(installed))
	for i, layer := range installed {
		t, err := open.Read(layer)
		if err != nil {
			return nil, err
		}
		trees[i] = t.Sub(Prefix)
	}
	if parts.Wheels, err = seal.Lay(trees, made); err != nil {
		return nil, err
	}
	return seal.Seal(parts, r.hostLibraries())
}

// readBelow reads the interpreter, and the file system that everything was built on.
func (r *build) readBelow(ctx context.Context, open *layers.Opened, parts *seal.Parts) error {
	interpreter, err := open.Read(r.interpreter.Layer)
	if err != nil {
		return err
	}
	parts.Interpreter = interpreter.Sub(Prefix)
	everything, err := r.everything(ctx)
	if err != nil {
		return err
	}
	parts.Root, err = open.RootFS(ctx, everything)
	return err
}

// everything is the image with the toolchain and the packages of every installed wheel.
func (r *build) everything(ctx context.Context) (sandbox.Image, error) {
	all := r.tools
	seen := map[string]bool{}
	for _, id := range r.lock.Requirements {
		d, _ := r.lock.Dist(id)
		image, err := r.own.For(ctx, d)
		if err != nil {
			return sandbox.Image{}, err
		}
		for _, layer := range image.Layers[len(r.tools.Layers) : len(image.Layers)-1] {
			if !seen[layer.DiffID] {
				all = all.With(layer)
			}
			seen[layer.DiffID] = true
		}
	}
	return all, nil
}

// hostLibraries are the sonames that a machine provides.
func (r *build) hostLibraries() []string {
	if r.recipe.Runtime.VM == nil {
		return nil
	}
	return r.recipe.Runtime.VM.Host
}
