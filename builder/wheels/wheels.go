// Package wheels asks build backends: what they need, what they say, and for the
// wheel itself (PEP 517). Each sdist gets a sandbox of its own that holds its
// locked build requirements and nothing else.
package wheels

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"ampoule/builder/buildlog"
	"ampoule/builder/failure"
	"ampoule/builder/layers"
	"ampoule/builder/once"
	"ampoule/builder/progress"
	"ampoule/builder/relocate"
	"ampoule/builder/sandbox"
	"ampoule/faults"
	"ampoule/recipes"
	"ampoule/store"
	"ampoule/tree"
)

// format is raised when this stage gives other bytes for the same inputs.
const format = 2

//go:embed driver.py
var driverScript []byte

//go:embed vendor.py
var vendorScript []byte

// maxResult bounds what a sandbox may answer, in bytes, wheels aside.
const maxResult = 8 << 20

// Wheel is a wheel in the store.
type Wheel struct {
	// Dist is the locked dist that it is, or was built from.
	Dist recipes.Dist
	// File is its file name.
	File string
	// SHA256 names its content in the store, in hex.
	SHA256 string
	// Key is the hash of everything that decided it; empty for a wheel that was
	// taken as it is.
	Key string
	// Debug holds the debug information that was stripped from it, where its files
	// are installed below the interpreter's prefix; nil when there is none.
	Debug *sandbox.Layer
	// Native is a compiler call of its build that was for the build machine's own
	// processor; empty when none was seen.
	Native string
}

// Job is one sdist with everything that may decide what becomes of it.
type Job struct {
	// Sdist says how it is built, too: its environment, settings, patches and crates.
	Sdist recipes.Dist
	// Image has the toolchain, this sdist's extra packages and the interpreter.
	Image sandbox.Image
	// Python is the interpreter's path, such as /opt/ampoule/bin/python3.13.
	Python string
	// Needs are the build requirements, with their closure.
	Needs []Wheel
}

// Version names what this package itself adds to what it makes of a job.
func Version() string {
	return layers.Key("wheels", format, append(scripts(), string(vendorScript)))
}

// scripts are what every job runs.
func scripts() []string { return []string{string(driverScript), relocate.Module().SHA256} }

// Key returns the hash of everything that decides what a job gives: all that its sandbox
// holds but the names of patches, which are not told there, and how many processors it may
// use. Names are part of it, since an index can have the same bytes under two: what is
// remembered of one was never compared with the other.
func (j Job) Key() string {
	needs := make([]string, len(j.Needs))
	for i, w := range j.Needs {
		needs[i] = w.File + " " + w.SHA256
	}
	slices.Sort(needs)
	b := j.build()
	scripts := scripts()
	if len(b.Crates) > 0 {
		scripts = append(scripts, string(vendorScript))
	}
	lines := b.Lines()
	inputs := map[string]any{
		"sdist": j.Sdist.SHA256, "file": j.Sdist.File, "id": j.Sdist.ID(), "image": layers.DiffIDs(j.Image), "python": j.Python, "needs": needs, "scripts": scripts,
		"env": lines.Env, "settings": lines.Settings, "patches": lines.Patches, "crates": lines.Crates,
	}
	if len(lines.CargoLocks) > 0 {
		inputs["cargoLocks"] = lines.CargoLocks
	}
	return layers.Key("wheel", format, inputs)
}

// build says how the sdist is built, as far as that is known already.
func (j Job) build() recipes.BuildSet {
	if j.Sdist.Build == nil {
		return recipes.BuildSet{}
	}
	return *j.Sdist.Build
}

// env is what the build's environment has beside what every build's has.
func (j Job) env(jobs int) []string {
	n := strconv.Itoa(max(1, jobs))
	// Each build system has a variable of its own for how much it does at a time.
	env := []string{
		"MAKEFLAGS=-j" + n, "CMAKE_BUILD_PARALLEL_LEVEL=" + n, "MAX_JOBS=" + n, "NPY_NUM_BUILD_JOBS=" + n, "CARGO_BUILD_JOBS=" + n,
	}
	return sandbox.Env(append(env, j.build().Lines().Env...)...)
}

// Stage runs build backends, or finds what they gave before.
type Stage struct {
	Store  *store.Store
	Runner sandbox.Runner
	Images sandbox.Images
	// Fetch brings what a backend is given into the store, when one is asked; nil where it is
	// there already.
	Fetch Fetcher
	// Jobs is how many processors one build may use.
	Jobs int
	// Logs is the directory for the logs.
	Logs string
	// Recipe is the name of the recipe that is built or locked: what a failed build
	// left is kept under it.
	Recipe string
	// Suite is the Debian suite of the base, for advice about missing packages.
	Suite string
	// worked is called when a build's own work is done, and its sandbox still stands; nil for nobody.
	worked func()
}

// BuildError says that one wheel was not built.
type BuildError struct {
	// Dist is the sdist, as NAME==VERSION.
	Dist string
	Err  error
}

func (e *BuildError) Error() string {
	return fmt.Sprintf("building the wheel of %s: %v", e.Dist, e.Err)
}

// Kind says whose fault it is.
func (*BuildError) Kind() faults.Kind { return faults.Build }

// Unwrap returns the cause.
func (e *BuildError) Unwrap() error { return e.Err }

type record struct {
	File, SHA256, Debug string
	Native              string `json:",omitempty"`
}

// Content implements [store.Namer].
func (r record) Content() []string { return []string{r.SHA256, r.Debug} }

// Build returns the wheel of a job's sdist.
func (s *Stage) Build(ctx context.Context, job Job) (Wheel, error) {
	key := job.Key()
	task := progress.Start(ctx, progress.StageWheel, job.Sdist.ID())
	rec, reused, err := remembered(ctx, s, task, "wheel", key, job, func(ctx context.Context, log *buildlog.Log) (record, error) {
		return s.build(ctx, job, log)
	})
	if err == nil && s.Recipe != "" {
		err = failure.Forget(ctx, s.Store, s.Recipe, job.Sdist.Name)
	}
	if err != nil {
		err = &BuildError{Dist: job.Sdist.ID(), Err: err}
	}
	task.Finish(reused, err)
	if err != nil {
		return Wheel{}, err
	}
	w := Wheel{Dist: job.Sdist, File: rec.File, SHA256: rec.SHA256, Key: key, Native: rec.Native}
	if rec.Debug != "" {
		debug := layers.Stored(s.Store, rec.Debug)
		w.Debug = &debug
	}
	return w, nil
}

// build builds the wheel of a job's sdist.
func (s *Stage) build(ctx context.Context, job Job, log *buildlog.Log) (rec record, err error) {
	err = s.run(ctx, "wheel", job, log, func(sb sandbox.Sandbox, a answer) error {
		if err := checkIdentity(job.Sdist, a.Wheel); err != nil {
			return err
		}
		var err error
		if rec.SHA256, err = s.take(ctx, sb, a.Wheel); err != nil {
			return err
		}
		rec.File = a.Wheel
		if rec.Debug, err = s.takeDebug(ctx, sb, job); err != nil {
			return err
		}
		rec.Native, err = nativeCall(log.Path())
		return err
	})
	return rec, err
}

// Requires returns what the backend answers to get_requires_for_build_wheel.
func (s *Stage) Requires(ctx context.Context, job Job) ([]string, error) {
	return ask(ctx, s, "requires", job, func(a answer) []string { return a.Requires })
}

// Static is what an sdist declares with its patches applied.
type Static struct {
	// FailedPatch is the place of the first patch that does not apply, counted from
	// 0; nil when all do.
	FailedPatch *int `json:"failed_patch"`
	// BuildSystem is nil where pyproject.toml has none.
	BuildSystem *struct {
		// Requires is nil where it says nothing.
		Requires []string `json:"requires"`
	} `json:"build_system"`
}

// Static returns what the sdist of a job declares (PEP 518).
func (s *Stage) Static(ctx context.Context, job Job) (Static, error) {
	return ask(ctx, s, "static", job, func(a answer) Static { return a.Static })
}

// Metadata returns the core metadata that the backend prepares, as METADATA spells it.
func (s *Stage) Metadata(ctx context.Context, job Job) (string, error) {
	return ask(ctx, s, "metadata", job, func(a answer) string { return a.Metadata })
}

// ask runs a hook that answers with data, and remembers what is asked for of the answer.
func ask[T any](ctx context.Context, s *Stage, mode string, job Job, asked func(answer) T) (value T, err error) {
	task := progress.Start(ctx, progress.StageLock, mode+" of "+job.Sdist.ID())
	value, reused, err := remembered(ctx, s, task, mode, job.Key(), job, func(ctx context.Context, log *buildlog.Log) (value T, err error) {
		err = s.run(ctx, mode, job, log, func(_ sandbox.Sandbox, a answer) error {
			value = asked(a)
			return nil
		})
		return value, err
	})
	if err != nil {
		err = fmt.Errorf("asking the build backend of %s for %s: %w", job.Sdist.ID(), mode, err)
	}
	task.Finish(reused, err)
	return value, err
}

// remembered finds what the store has under a key, or makes it, with a log of its own, and
// records it.
func remembered[T any](
	ctx context.Context, s *Stage, task *progress.Task, kind, key string, job Job, produce func(context.Context, *buildlog.Log) (T, error),
) (T, bool, error) {
	if job.Sdist.Own {
		// The next commit has another one.
		ctx = once.Alone(ctx)
	}
	return once.Remembered(ctx, s.Store, task, kind, key, func(ctx context.Context) (_ T, err error) {
		var none T
		log, err := buildlog.Open(s.Logs, kind+"-"+strings.ReplaceAll(job.Sdist.ID(), "==", "-"))
		if err != nil {
			return none, err
		}
		defer func() { err = errors.Join(err, log.Close()) }()
		task.SetLog(log.Path())
		value, err := produce(ctx, log)
		if err != nil {
			return none, s.explain(job, log, log.Fail(job.Sdist.ID(), err))
		}
		return value, nil
	})
}

// answer is what the driver writes into result.json.
type answer struct {
	Static
	Requires []string
	Metadata string
	Wheel    string
}

// run asks one hook in a sandbox of its own and hands the answer to use, while the
// sandbox still stands.
func (s *Stage) run(ctx context.Context, mode string, job Job, log *buildlog.Log, use func(sandbox.Sandbox, answer) error) (err error) {
	sb, err := s.open(ctx, mode, job)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sb.Close()) }()
	if err := s.exec(ctx, sb, mode, job, log); err != nil {
		s.keepFailure(ctx, sb, mode, job, log, err)
		return err
	}
	a, err := readAnswer(ctx, sb)
	if err != nil {
		return err
	}
	return use(sb, a)
}

// exec runs the driver, and notes what a build takes.
func (s *Stage) exec(ctx context.Context, sb sandbox.Sandbox, mode string, job Job, log io.Writer) (err error) {
	step := s.step(mode, job, log)
	if mode != "wheel" {
		return sb.Exec(ctx, step)
	}
	if step.Memory, err = s.memory(job.Sdist); err != nil {
		return err
	}
	begun := time.Now()
	err = sb.Exec(ctx, step)
	if s.worked != nil {
		s.worked()
	}
	s.tookMemory(job.Sdist, sb, err)
	// One that was ended says nothing of how long it takes.
	if err == nil || isFailure(err) {
		s.tookTime(job.Sdist, time.Since(begun)-sandbox.Waited(sb), err)
	}
	return err
}

// open starts the sandbox of a job, with everything that it takes.
func (s *Stage) open(ctx context.Context, mode string, job Job) (sandbox.Sandbox, error) {
	if err := s.fetch(ctx, job.Sdist); err != nil {
		return nil, err
	}
	image, err := s.Images.Load(ctx, job.Image.Config, job.Image.Layers...)
	if err != nil {
		return nil, err
	}
	sb, err := s.Runner.Start(ctx, sandbox.Spec{Image: image, Name: mode + "-" + job.Sdist.Name})
	if err != nil {
		return nil, err
	}
	if err := s.importInputs(ctx, sb, job); err != nil {
		return nil, errors.Join(err, sb.Close())
	}
	return sb, nil
}

// fetch brings an sdist and its crates into the store, unless they are there.
func (s *Stage) fetch(ctx context.Context, sdist recipes.Dist) error {
	if s.Fetch == nil {
		return nil
	}
	items := Items(sdist)
	sums := make([]string, len(items))
	for i, item := range items {
		sums[i] = item.SHA256
	}
	whole, err := s.Store.Whole(ctx, sums...)
	if err != nil || whole {
		return err
	}
	return s.Fetch.Fetch(ctx, items...)
}

// step runs the driver.
func (s *Stage) step(mode string, job Job, log io.Writer) sandbox.Step {
	return sandbox.InParallel(s.Jobs, func(n int) sandbox.Step {
		return sandbox.Step{
			Args: []string{job.Python, "-I", sandbox.WorkDir + "/driver.py", mode},
			Env:  job.env(n),
			Dir:  sandbox.WorkDir, Stdout: log, Stderr: log,
		}
	})
}

func (s *Stage) importInputs(ctx context.Context, sb sandbox.Sandbox, job Job) error {
	if err := sandbox.MakeDirs(ctx, sb, sandbox.WorkDir, sandbox.WorkDir+"/home"); err != nil {
		return err
	}
	var settings map[string]recipes.Setting
	if given := job.build().ConfigSettings; len(given) > 0 {
		settings = given
	}
	told, err := json.Marshal(map[string]any{"config_settings": settings})
	if err != nil {
		return fmt.Errorf("writing the job: %w", err)
	}
	entries := []tree.Entry{
		tree.FileEntry("driver.py", 0o644, driverScript), relocate.Module(), tree.FileEntry("job.json", 0o644, told),
	}
	if len(job.build().Crates) > 0 {
		entries = append(entries, tree.FileEntry("ampoule_vendor.py", 0o644, vendorScript))
	}
	for i, c := range job.build().CargoLocks {
		// It comes after all other patches, which do not know of it.
		entries = append(entries, tree.FileEntry(fmt.Sprintf("patches/cargo-lock-%04d.patch", i), 0o644, c.Patch()))
	}
	for name, sum := range job.inputs() {
		e, err := layers.FileOf(s.Store, sum, name)
		if err != nil {
			return err
		}
		entries = append(entries, e)
	}
	t, err := tree.New(entries)
	if err != nil {
		return err
	}
	return sandbox.ImportTree(ctx, sb, sandbox.WorkDir, t)
}

// inputs are the files that a build gets, by where the driver finds them: the
// sha256 of each.
func (j Job) inputs() map[string]string {
	inputs := map[string]string{"sdist/" + j.Sdist.File: j.Sdist.SHA256}
	for _, w := range j.Needs {
		inputs["needs/"+w.File] = w.SHA256
	}
	for i, p := range j.build().Patches {
		inputs[fmt.Sprintf("patches/%04d.patch", i)] = p.SHA256
	}
	for _, c := range j.build().Crates {
		inputs[fmt.Sprintf("crates/%s-%s.crate", c.Name, c.Version)] = c.SHA256
	}
	return inputs
}

// readAnswer reads the driver's result. It comes out of a sandbox that ran foreign
// code: it is bounded, and nothing in it is trusted.
func readAnswer(ctx context.Context, sb sandbox.Sandbox) (answer, error) {
	step := sandbox.Step{Args: []string{"cat", sandbox.WorkDir + "/out/result.json"}, Env: sandbox.Env()}
	out, err := sandbox.Output(ctx, sb, step, maxResult)
	if err != nil {
		return answer{}, fmt.Errorf("reading the build's result: %w", err)
	}
	var a answer
	if err := json.Unmarshal(out, &a); err != nil {
		return answer{}, fmt.Errorf("reading the build's result: %w", err)
	}
	if a.Wheel != "" && (path.Base(a.Wheel) != a.Wheel || !strings.HasSuffix(a.Wheel, ".whl")) {
		return answer{}, fmt.Errorf("reading the build's result: %q is not a wheel's file name", a.Wheel)
	}
	return a, nil
}

// take puts the built wheel into the store.
func (s *Stage) take(ctx context.Context, sb sandbox.Sandbox, name string) (string, error) {
	t, closer, err := layers.Export(ctx, s.Store, sb, sandbox.WorkDir+"/out")
	if err != nil {
		return "", err
	}
	defer closer.Close()
	e, ok := t.Lookup(name)
	if !ok || e.Kind != tree.File {
		return "", fmt.Errorf("the build backend says that it built %s, which is not there", name)
	}
	r, err := e.Content.Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	sum, _, err := s.Store.Put(ctx, r)
	return sum, err
}

// takeDebug puts the debug information into the store, as a layer at the
// interpreter's prefix. It returns nothing when there is none.
func (s *Stage) takeDebug(ctx context.Context, sb sandbox.Sandbox, job Job) (string, error) {
	t, closer, err := layers.Export(ctx, s.Store, sb, sandbox.WorkDir+"/debug")
	if err != nil {
		return "", err
	}
	defer closer.Close()
	if t.Len() == 0 {
		return "", nil
	}
	layer, err := layers.Save(ctx, s.Store, t, strings.TrimPrefix(path.Dir(path.Dir(job.Python)), "/"))
	return strings.TrimPrefix(layer.DiffID, "sha256:"), err
}
