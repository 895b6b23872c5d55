package builder

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

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
	"ampoule/store"
	"ampoule/tree"
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
	// tools is the toolchain's image; image finds that of a wheel.
	tools sandbox.Image
	image func(name string) sandbox.Image
	// debug is what was stripped, by name of what it belongs to.
	debug map[string]sandbox.Layer
}

func (r *build) run(ctx context.Context) (*audit.Verdict, string, error) {
	if err := r.b.Fetch.Fetch(ctx, r.plan.Inputs...); err != nil {
		return nil, "", err
	}
	var err error
	if r.sandboxes, err = r.b.Sandboxes(ctx); err != nil {
		return nil, "", err
	}
	log, err := buildlog.Open(r.logs, "toolchain")
	if err != nil {
		return nil, "", err
	}
	defer log.Close()
	r.images = &toolchain.Locked{
		Stage: toolchain.New(r.b.Store, r.b.Fetch, r.sandboxes.Runner, r.sandboxes.Images),
		Bases: r.b.Bases, Lock: r.lock, Platform: r.platform, Log: log,
	}
	if err := r.buildInterpreter(ctx); err != nil {
		return nil, "", err
	}
	made, err := r.buildWheels(ctx)
	if err != nil {
		return nil, "", err
	}
	sealed, closeTree, err := r.seal(ctx, made)
	if err != nil {
		return nil, "", err
	}
	defer closeTree()
	verdict, err := r.gate(ctx, sealed)
	if err != nil {
		return verdict, "", err
	}
	digest, err := r.publish(ctx, sealed, made, verdict)
	return verdict, digest, err
}

func (r *build) buildInterpreter(ctx context.Context) (err error) {
	if r.tools, err = r.images.Toolchain(ctx); err != nil {
		return err
	}
	stage := &cpython.Stage{Store: r.b.Store, Runner: r.sandboxes.Runner, Images: r.sandboxes.Images, Jobs: r.b.jobs(), Logs: r.logs}
	r.interpreter, err = locking.Interpreter(ctx, stage, r.b.Fetch, r.recipe, r.lock, Prefix, r.tools)
	if err != nil {
		return err
	}
	r.image, err = locking.ExtraImages(ctx, r.images, r.tools, r.interpreter.Layer)
	return err
}

// buildWheels makes the wheels that are installed into the tree.
func (r *build) buildWheels(ctx context.Context) ([]seal.Wheel, error) {
	stage := &wheels.Stage{Store: r.b.Store, Runner: r.sandboxes.Runner, Images: r.sandboxes.Images, Jobs: r.b.jobs(), Logs: r.logs}
	house := wheels.NewHouse(stage, r.b.Fetch, r.python(), r.b.jobs(), r.image)
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
	for _, finding := range findings {
		if finding.Severity == audit.Refuse {
			return &RefusedError{Verdict: audit.Verdict{Schema: audit.VerdictSchema, Findings: findings}}
		}
	}
	return nil
}

func (r *build) python() string { return locking.PythonPath(Prefix, r.lock.Python.Version) }

// seal installs the wheels and makes the tree. Its contents are readable until
// close is called.
func (r *build) seal(ctx context.Context, made []seal.Wheel) (_ *seal.Sealed, closeTree func(), err error) {
	stage := &seal.Stage{Store: r.b.Store, Runner: r.sandboxes.Runner, Images: r.sandboxes.Images, Jobs: r.b.jobs(), Logs: r.logs}
	installed, err := stage.Install(ctx, r.tools.With(r.interpreter.Layer), r.python(), Prefix, made)
	if err != nil {
		return nil, nil, err
	}
	task := progress.Start(ctx, "seal", "tree")
	defer func() { task.End(err) }()
	var open []func() error
	closeTree = func() {
		for _, c := range open {
			_ = c()
		}
	}
	read := func(layer sandbox.Layer) *tree.Tree {
		t, closer, readErr := layers.Read(r.b.Store, strings.TrimPrefix(layer.DiffID, "sha256:"))
		if readErr != nil {
			err = readErr
			return &tree.Tree{}
		}
		open = append(open, closer.Close)
		return t.Sub(Prefix)
	}
	interpreter, installedTree := read(r.interpreter.Layer), read(installed)
	if err != nil {
		closeTree()
		return nil, nil, err
	}
	root, closer, err := layers.RootFS(ctx, r.b.Store, r.everything())
	if err != nil {
		closeTree()
		return nil, nil, err
	}
	open = append(open, closer.Close)
	sealed, err := seal.Seal(seal.Parts{
		Interpreter: interpreter, Wheels: installedTree, Installed: made, Root: root,
		Name: r.recipe.Name, Python: r.lock.Python.Version,
		InterpreterKey: r.interpreter.Key, Toolchain: layers.DiffIDs(r.tools),
	}, r.hostLibraries())
	if err != nil {
		closeTree()
		return nil, nil, err
	}
	return sealed, closeTree, nil
}

// everything is the image with the toolchain and every wheel's extra packages.
func (r *build) everything() sandbox.Image {
	all := r.tools
	for name := range r.lock.Extras {
		image := r.image(name)
		all = all.With(image.Layers[len(r.tools.Layers) : len(image.Layers)-1]...)
	}
	return all
}

// hostLibraries are the sonames that a machine provides.
func (r *build) hostLibraries() []string {
	if r.recipe.Runtime.VM == nil {
		return nil
	}
	return r.recipe.Runtime.VM.Host
}

func (r *build) publish(ctx context.Context, sealed *seal.Sealed, made []seal.Wheel, verdict *audit.Verdict) (_ string, err error) {
	task := progress.Start(ctx, "publish", r.recipe.Name)
	defer func() { task.End(err) }()
	told, err := json.MarshalIndent(verdict, "", "  ")
	if err != nil {
		return "", fmt.Errorf("writing the verdict: %w", err)
	}
	artifact := Artifact{
		Name: r.recipe.Name, Key: r.plan.Key, Platform: r.platform, Created: tree.Time,
		Tree: sealed.Tree, Verdict: told, Config: r.config(sealed), Debug: r.debug,
	}
	if base, ok := r.lock.Targets["container"]; ok {
		image, err := r.images.Base(ctx, base)
		if err != nil {
			return "", err
		}
		artifact.Base = image.Layers
	}
	for _, w := range made {
		e, err := layers.FileOf(r.b.Store, w.SHA256, w.File)
		if err != nil {
			return "", err
		}
		artifact.Wheelhouse = append(artifact.Wheelhouse, File{Name: w.File, Size: e.Size, Open: e.Content.Open})
	}
	return r.b.Publisher.Publish(ctx, artifact)
}

// Labels of the image's configuration.
const (
	LabelKey         = "dev.ampoule.key"
	LabelRecipe      = "dev.ampoule.recipe"
	LabelPython      = "dev.ampoule.python"
	LabelFingerprint = "dev.ampoule.fingerprint"
	LabelTree        = "dev.ampoule.tree"
	LabelPrefix      = "dev.ampoule.prefix"
)

func (r *build) config(sealed *seal.Sealed) sandbox.Config {
	bin := path.Join("/", Prefix, "bin")
	_, arch, _ := strings.Cut(r.platform, "/")
	return sandbox.Config{
		Architecture: arch,
		Env: []string{
			"PATH=" + bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"LANG=C.UTF-8",
		},
		Entrypoint: []string{bin + "/python3"},
		Labels: map[string]string{
			LabelKey: r.plan.Key, LabelRecipe: r.recipe.Name, LabelPython: r.lock.Python.Version,
			LabelFingerprint: sealed.Fingerprint.Digest(), LabelTree: sealed.Tree.Hash(), LabelPrefix: "/" + Prefix,
		},
	}
}
