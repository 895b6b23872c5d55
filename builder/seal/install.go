// Package seal makes the tree: wheels installed beside their interpreter, the
// shared libraries and data that they need carried along, everything in one
// normal form.
package seal

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"ampoule/builder/buildlog"
	"ampoule/builder/layers"
	"ampoule/builder/once"
	"ampoule/builder/progress"
	"ampoule/builder/relocate"
	"ampoule/builder/sandbox"
	"ampoule/builder/unpack"
	"ampoule/store"
	"ampoule/tree"
)

// format is raised when installing gives other bytes for the same inputs.
const format = 3

//go:embed finish_wheel.py
var finishScript []byte

// Wheel is one wheel to install.
type Wheel struct {
	// Name is normalised (PEP 503).
	Name, Version string
	// File is the wheel's file name; SHA256 its content in the store, in hex.
	File, SHA256 string
	// Sdist is the hash of the sdist that it was built from, in hex; empty for a
	// wheel that was taken as it is.
	Sdist string
	// Key is the hash of everything that decided it; empty likewise.
	Key string
	// Own says that it is first-party code: what it installs is of one commit, and kept in this
	// store alone.
	Own bool
}

// remembering is the context under which what a wheel installs is looked for and recorded.
func (w Wheel) remembering(ctx context.Context) context.Context {
	if w.Own {
		return once.Alone(ctx)
	}
	return ctx
}

// Interpreter is what wheels are installed for.
type Interpreter struct {
	// Image has the interpreter, and nothing of any wheel; Layer is the one of its layers
	// that is the interpreter, which the store has.
	Image sandbox.Image
	Layer sandbox.Layer
	// Python is its program, Prefix where it stands, without a leading slash.
	Python, Prefix string
}

// Stage installs wheels and seals trees.
type Stage struct {
	Store  *store.Store
	Runner sandbox.Runner
	Images sandbox.Images
	Jobs   int
	// Logs is the directory for the log.
	Logs string
}

// Version names what this package itself adds to what it makes of wheels.
func Version() string { return layers.Key("seal", format, scripts()) }

// scripts are what finishes a wheel's files.
func scripts() []string { return []string{string(finishScript), relocate.Module().SHA256} }

// key names what a wheel installs by everything that could have a part in it: the file
// systems in which it is finished, the interpreter with its place, the wheel, and what
// this package does with them. Nothing else is in the sandbox; no other wheel is.
func (i Interpreter) key(w Wheel, scripts []string) string {
	return layers.Key("install", format, map[string]any{
		"image": layers.DiffIDs(i.Image), "interpreter": i.Layer.DiffID, "python": i.Python, "prefix": i.Prefix,
		"wheel": w.File + " " + w.SHA256, "scripts": scripts,
	})
}

// Install returns, for each wheel, the layer that it makes below the prefix. Each is
// unpacked by itself, finished in a sandbox of its own, and found again by what decides
// it, so that a tree with one wheel more installs that one. A wheel that cannot be
// installed is an [*unpack.RefusedError].
func (s *Stage) Install(ctx context.Context, in Interpreter, wheels []Wheel) (_ []sandbox.Layer, err error) {
	made, missing, err := s.look(ctx, in, wheels)
	if err != nil {
		return nil, err
	}
	task := progress.Start(ctx, progress.StageSeal, "installing "+strconv.Itoa(len(wheels))+" wheels")
	if len(missing) == 0 {
		task.Reuse()
		return made, nil
	}
	defer func() { task.End(err) }()
	log, err := buildlog.Open(s.Logs, "install")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	task.SetLog(log.Path())
	wanted := make([]Wheel, len(missing))
	for n, i := range missing {
		wanted[n] = wheels[i]
	}
	installed, err := s.installAll(ctx, in, wanted, log)
	var refused *unpack.RefusedError
	if errors.As(err, &refused) {
		return nil, err
	}
	if err != nil {
		return nil, log.Fail("the tree", err)
	}
	for n, i := range missing {
		made[i] = installed[n]
	}
	return made, nil
}

// looks is how many wheels are looked for at once, since a cache may have to send their layers.
const looks = 8

// look finds the layers that wheels made before, and says which wheels have none, by their place.
func (s *Stage) look(ctx context.Context, in Interpreter, wheels []Wheel) (made []sandbox.Layer, missing []int, err error) {
	made = make([]sandbox.Layer, len(wheels))
	all, looking := errgroup.WithContext(ctx)
	all.SetLimit(looks)
	for i, w := range wheels {
		all.Go(func() error {
			sum, found, err := once.Look[string](w.remembering(looking), s.Store, installKind, in.key(w, scripts()))
			if found {
				made[i] = layers.Stored(s.Store, sum)
			}
			return err
		})
	}
	err = all.Wait()
	for i, layer := range made {
		if layer.DiffID == "" {
			missing = append(missing, i)
		}
	}
	return made, missing, err
}

// installAll installs wheels, several at once.
func (s *Stage) installAll(ctx context.Context, in Interpreter, wheels []Wheel, log *buildlog.Log) (_ []sandbox.Layer, err error) {
	t, closer, err := layers.Read(s.Store, strings.TrimPrefix(in.Layer.DiffID, "sha256:"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	id, err := s.Images.Load(ctx, in.Image.Config, in.Image.Layers...)
	if err != nil {
		return nil, err
	}
	jobs := max(1, s.Jobs)
	f := finisher{stage: s, in: in, image: id, log: log, jobs: max(1, jobs/len(wheels))}
	below := t.Sub(in.Prefix)
	f.target, f.bytecode = targetOf(below, in), bytecodeOf(below)
	made := make([]sandbox.Layer, len(wheels))
	all, running := errgroup.WithContext(ctx)
	// Half of the time an engine starts and removes sandboxes, and waits for the disk.
	all.SetLimit(2 * jobs)
	for i, w := range wheels {
		all.Go(func() (err error) {
			made[i], err = f.install(running, w)
			return err
		})
	}
	return made, all.Wait()
}

// installKind is the store's kind of records that say which layer a wheel makes.
const installKind = "install"

// install installs one wheel and remembers what it made, unless another build has done it
// meanwhile.
func (f *finisher) install(ctx context.Context, w Wheel) (sandbox.Layer, error) {
	task := progress.Later(ctx, progress.StageSeal, "installing "+w.File)
	layer, reused, err := layers.Remembered(w.remembering(ctx), f.stage.Store, task, installKind, f.in.key(w, scripts()), func(ctx context.Context) (sandbox.Layer, error) {
		return f.layer(ctx, w)
	})
	task.Finish(reused, err)
	return layer, err
}

// layer makes the layer of one wheel, if what is installed is what the wheel's RECORD says.
func (f *finisher) layer(ctx context.Context, w Wheel) (_ sandbox.Layer, err error) {
	s := f.stage
	file, err := s.Store.Open(w.SHA256)
	if err != nil {
		return sandbox.Layer{}, fmt.Errorf("reading wheel %s: %w", w.File, err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return sandbox.Layer{}, fmt.Errorf("reading wheel %s: %w", w.File, err)
	}
	fail := func(err error) error {
		// Contents are compared while they are read: if that failed, this says which member.
		if fault := unpack.Check(file, info.Size(), w.File); fault != nil && ctx.Err() == nil {
			return fault
		}
		return fmt.Errorf("installing %s: %w", w.File, err)
	}
	unpacked, err := unpack.Open(file, info.Size(), w.File, f.target)
	if err != nil {
		return sandbox.Layer{}, err
	}
	finished, err := f.finish(ctx, w, unpacked)
	if err != nil {
		return sandbox.Layer{}, fail(err)
	}
	defer func() { err = errors.Join(err, finished.Close()) }()
	t, err := unpacked.Tree(finished.entries)
	if err != nil {
		return sandbox.Layer{}, err
	}
	layer, err := layers.Save(ctx, s.Store, t, f.in.Prefix)
	if err != nil {
		return sandbox.Layer{}, fail(err)
	}
	return layer, nil
}

// machines are architectures of images as the tags of wheels have them.
var machines = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

// targetOf says what wheels are unpacked for.
func targetOf(t *tree.Tree, in Interpreter) unpack.Interpreter {
	executable := path.Base(in.Python)
	version := strings.TrimPrefix(executable, "python")
	target := unpack.Interpreter{
		Prefix: in.Prefix, Executable: executable, Version: version, Site: stdlib(t) + "/site-packages", Headers: "include/" + executable,
	}
	_, minor, _ := strings.Cut(version, ".")
	target.Tags.Machine = machines[in.Image.Config.Architecture]
	// Of another name, no wheel would be for it.
	target.Tags.Minor, _ = strconv.Atoi(minor)
	for _, e := range t.Entries() {
		// A build with ABI flags has a program of that name, too.
		if flags, ok := strings.CutPrefix(e.Path, "bin/"+executable); ok && (flags == "t" || flags == "d" || flags == "td") {
			target.Tags.Flags = max(target.Tags.Flags, flags)
		}
		if dir, ok := strings.CutSuffix(e.Path, "/Python.h"); ok && strings.HasPrefix(dir, "include/python") && strings.Count(dir, "/") == 1 {
			target.Headers = dir
		}
	}
	return target
}
