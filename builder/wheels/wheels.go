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
	"strings"

	"ampoule/builder/buildlog"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/relocate"
	"ampoule/builder/sandbox"
	"ampoule/recipes"
	"ampoule/store"
	"ampoule/tree"
)

// format is raised when this stage gives other bytes for the same inputs.
const format = 1

//go:embed driver.py
var driverScript []byte

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
}

// Job is one sdist with everything that may decide what becomes of it.
type Job struct {
	Sdist recipes.Dist
	// Image has the toolchain, this sdist's extra packages and the interpreter.
	Image sandbox.Image
	// Python is the interpreter's path, such as /opt/ampoule/bin/python3.13.
	Python string
	// Needs are the build requirements, with their closure.
	Needs []Wheel
}

// Key returns the hash of everything that decides what a job gives.
func (j Job) Key() string {
	needs := make([]string, len(j.Needs))
	for i, w := range j.Needs {
		needs[i] = w.SHA256
	}
	slices.Sort(needs)
	return layers.Key("wheel", format, map[string]any{
		"sdist": j.Sdist.SHA256, "image": layers.DiffIDs(j.Image), "python": j.Python, "needs": needs,
		"scripts": []string{string(driverScript), relocate.Module().SHA256},
	})
}

// Stage runs build backends, or finds what they gave before.
type Stage struct {
	Store  *store.Store
	Runner sandbox.Runner
	Images sandbox.Images
	// Jobs is how many processors one build may use.
	Jobs int
	// Logs is the directory for the logs.
	Logs string
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

// Unwrap returns the cause.
func (e *BuildError) Unwrap() error { return e.Err }

type record struct{ File, SHA256, Debug string }

// Build returns the wheel of a job's sdist.
func (s *Stage) Build(ctx context.Context, job Job) (_ Wheel, err error) {
	key := job.Key()
	task := progress.Start(ctx, "wheel", job.Sdist.ID())
	var rec record
	whole := func() bool { return s.Store.Has(rec.SHA256) && (rec.Debug == "" || s.Store.Has(rec.Debug)) }
	reused, err := s.remembered(ctx, task, "wheel", key, job, &rec, whole, func(log *buildlog.Log) error {
		return s.run(ctx, "wheel", job, log, func(sb sandbox.Sandbox, a answer) error {
			if err := checkIdentity(job.Sdist, a.Wheel); err != nil {
				return err
			}
			var err error
			if rec.SHA256, err = s.take(ctx, sb, a.Wheel); err != nil {
				return err
			}
			rec.File = a.Wheel
			rec.Debug, err = s.takeDebug(ctx, sb, job)
			return err
		})
	})
	switch {
	case err != nil:
		err = &BuildError{Dist: job.Sdist.ID(), Err: err}
		task.End(err)
		return Wheel{}, err
	case reused:
		task.Reuse()
	default:
		task.End(nil)
	}
	w := Wheel{Dist: job.Sdist, File: rec.File, SHA256: rec.SHA256, Key: key}
	if rec.Debug != "" {
		debug := layers.Stored(s.Store, rec.Debug)
		w.Debug = &debug
	}
	return w, nil
}

// Requires returns what the backend answers to get_requires_for_build_wheel.
func (s *Stage) Requires(ctx context.Context, job Job) ([]string, error) {
	var requires []string
	err := s.ask(ctx, "requires", job, &requires, func(a answer) { requires = a.Requires })
	return requires, err
}

// Metadata returns the core metadata that the backend prepares, as METADATA spells it.
func (s *Stage) Metadata(ctx context.Context, job Job) (string, error) {
	var metadata string
	err := s.ask(ctx, "metadata", job, &metadata, func(a answer) { metadata = a.Metadata })
	return metadata, err
}

// ask runs a hook that answers with data, and remembers the answer.
func (s *Stage) ask(ctx context.Context, mode string, job Job, value any, set func(answer)) error {
	task := progress.Start(ctx, "lock", mode+" of "+job.Sdist.ID())
	reused, err := s.remembered(ctx, task, mode, job.Key(), job, value, func() bool { return true }, func(log *buildlog.Log) error {
		return s.run(ctx, mode, job, log, func(_ sandbox.Sandbox, a answer) error {
			set(a)
			return nil
		})
	})
	if err != nil {
		err = fmt.Errorf("asking the build backend of %s for %s: %w", job.Sdist.ID(), mode, err)
	}
	if reused {
		task.Reuse()
	} else {
		task.End(err)
	}
	return err
}

// remembered finds a value that the store has under a key, if all that it names is
// there too, or makes and records it.
func (s *Stage) remembered(ctx context.Context, task *progress.Task, kind, key string, job Job, value any, whole func() bool, produce func(*buildlog.Log) error) (_ bool, err error) {
	unlock, err := s.Store.Lock(ctx, kind+"-"+key)
	if err != nil {
		return false, err
	}
	defer unlock()
	if found, err := s.Store.Lookup(kind, key, value); err != nil || (found && whole()) {
		return err == nil, err
	}
	log, err := buildlog.Open(s.Logs, kind+"-"+job.Sdist.Name+"-"+job.Sdist.Version)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	task.SetLog(log.Path())
	if err := produce(log); err != nil {
		return false, log.Fail(job.Sdist.ID(), err)
	}
	return false, s.Store.Record(kind, key, value)
}

// answer is what the driver writes into result.json.
type answer struct {
	Requires []string
	Metadata string
	Wheel    string
}

// run asks one hook in a sandbox of its own and hands the answer to use, while the
// sandbox still stands.
func (s *Stage) run(ctx context.Context, mode string, job Job, log io.Writer, use func(sandbox.Sandbox, answer) error) (err error) {
	image, err := s.Images.Load(ctx, job.Image.Config, job.Image.Layers...)
	if err != nil {
		return err
	}
	sb, err := s.Runner.Start(ctx, sandbox.Spec{Image: image, Name: mode + "-" + job.Sdist.Name})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sb.Close()) }()
	if err := s.importInputs(ctx, sb, job); err != nil {
		return err
	}
	jobs := fmt.Sprint(max(1, s.Jobs))
	step := sandbox.Step{
		Args: []string{job.Python, "-I", sandbox.WorkDir + "/driver.py", mode},
		Env:  sandbox.Env("MAKEFLAGS=-j"+jobs, "CMAKE_BUILD_PARALLEL_LEVEL="+jobs, "MAX_JOBS="+jobs),
		Dir:  sandbox.WorkDir, Stdout: log, Stderr: log,
	}
	if err := sb.Exec(ctx, step); err != nil {
		return err
	}
	a, err := readAnswer(ctx, sb)
	if err != nil {
		return err
	}
	return use(sb, a)
}

func (s *Stage) importInputs(ctx context.Context, sb sandbox.Sandbox, job Job) error {
	if err := sandbox.MakeDirs(ctx, sb, sandbox.WorkDir, sandbox.WorkDir+"/home"); err != nil {
		return err
	}
	sdist, err := layers.FileOf(s.Store, job.Sdist.SHA256, "sdist/"+job.Sdist.File)
	if err != nil {
		return err
	}
	entries := []tree.Entry{sdist, tree.FileEntry("driver.py", 0o644, driverScript), relocate.Module()}
	for _, w := range job.Needs {
		e, err := layers.FileOf(s.Store, w.SHA256, "needs/"+w.File)
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
