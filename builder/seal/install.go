// Package seal makes the tree: wheels installed beside their interpreter, the
// shared libraries and data that they need carried along, everything in one
// normal form.
package seal

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"ampoule/builder/buildlog"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/relocate"
	"ampoule/builder/sandbox"
	"ampoule/store"
	"ampoule/tree"
)

// format is raised when installing gives other bytes for the same inputs.
const format = 2

//go:embed install.py
var installScript []byte

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

// scripts are what installs a wheel.
func scripts() []string { return []string{string(installScript), relocate.Module().SHA256} }

// Install returns, for each wheel, the layer that it makes below prefix. Each is
// installed by itself and found again by what decides it, so that a tree with one
// wheel more installs that one. The image has the interpreter at python.
func (s *Stage) Install(ctx context.Context, image sandbox.Image, python, prefix string, wheels []Wheel) (_ []sandbox.Layer, err error) {
	made := make([]sandbox.Layer, len(wheels))
	keys := make([]string, len(wheels))
	var missing []int
	for i, w := range wheels {
		keys[i] = layers.Key("install", format, map[string]any{
			"image": layers.DiffIDs(image), "python": python, "prefix": prefix, "wheel": w.File + " " + w.SHA256,
			"scripts": scripts(),
		})
		var sum string
		found, err := s.Store.Lookup("install", keys[i], &sum)
		if err == nil && found {
			found, err = s.Store.Whole(ctx, sum)
		}
		if err != nil {
			return nil, err
		}
		if !found {
			missing = append(missing, i)
			continue
		}
		made[i] = layers.Stored(s.Store, sum)
	}
	task := progress.Start(ctx, "seal", "installing "+strconv.Itoa(len(wheels))+" wheels")
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
	installed, err := s.install(ctx, image, python, prefix, wanted, log)
	if err != nil {
		return nil, log.Fail("the tree", err)
	}
	for n, i := range missing {
		made[i] = installed[n]
		if err := s.Store.Record("install", keys[i], strings.TrimPrefix(made[i].DiffID, "sha256:")); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// place is where a wheel and what it installs stand in the sandbox, below wheels and trees.
func place(i int) string { return fmt.Sprintf("%05d", i) }

func (s *Stage) install(ctx context.Context, image sandbox.Image, python, prefix string, wheels []Wheel, log io.Writer) (_ []sandbox.Layer, err error) {
	id, err := s.Images.Load(ctx, image.Config, image.Layers...)
	if err != nil {
		return nil, err
	}
	sb, err := s.Runner.Start(ctx, sandbox.Spec{Image: id, Name: "install"})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sb.Close()) }()
	if err := s.importWheels(ctx, sb, wheels); err != nil {
		return nil, err
	}
	step := sandbox.Step{
		Args: []string{python, "-I", sandbox.WorkDir + "/install.py", "/" + prefix, strconv.Itoa(max(1, s.Jobs))},
		Env:  sandbox.Env(), Dir: sandbox.WorkDir, Stdout: log, Stderr: log,
	}
	if err := sb.Exec(ctx, step); err != nil {
		return nil, err
	}
	t, closer, err := layers.Export(ctx, s.Store, sb, sandbox.WorkDir+"/trees")
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	made := make([]sandbox.Layer, len(wheels))
	for i := range wheels {
		if made[i], err = layers.Save(ctx, s.Store, t.Sub(place(i)), prefix); err != nil {
			return nil, err
		}
	}
	return made, nil
}

func (s *Stage) importWheels(ctx context.Context, sb sandbox.Sandbox, wheels []Wheel) error {
	if err := sandbox.MakeDirs(ctx, sb, sandbox.WorkDir+"/home", sandbox.WorkDir+"/trees"); err != nil {
		return err
	}
	entries := []tree.Entry{tree.FileEntry("install.py", 0o644, installScript), relocate.Module()}
	for i, w := range wheels {
		e, err := layers.FileOf(s.Store, w.SHA256, "wheels/"+place(i)+"/"+w.File)
		if err != nil {
			return err
		}
		entries = append(entries, e)
	}
	inputs, err := tree.New(entries)
	if err != nil {
		return fmt.Errorf("collecting wheels: %w", err)
	}
	return sandbox.ImportTree(ctx, sb, sandbox.WorkDir, inputs)
}
