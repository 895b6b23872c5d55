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
const format = 1

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

// Install returns the layer that the wheels make, below prefix. The image has the
// interpreter at python.
func (s *Stage) Install(ctx context.Context, image sandbox.Image, python, prefix string, wheels []Wheel) (_ sandbox.Layer, err error) {
	task := progress.Start(ctx, "seal", "installing "+strconv.Itoa(len(wheels))+" wheels")
	sums := make([]string, len(wheels))
	for i, w := range wheels {
		sums[i] = w.File + " " + w.SHA256
	}
	key := layers.Key("install", format, map[string]any{
		"image": layers.DiffIDs(image), "python": python, "prefix": prefix, "wheels": sums,
		"scripts": []string{string(installScript), relocate.Module().SHA256},
	})
	var sum string
	if found, err := s.Store.Lookup("install", key, &sum); err != nil || found && s.Store.Has(sum) {
		if found {
			task.Reuse()
		} else {
			task.End(err)
		}
		return layers.Stored(s.Store, sum), err
	}
	defer func() { task.End(err) }()
	log, err := buildlog.Open(s.Logs, "install")
	if err != nil {
		return sandbox.Layer{}, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	task.SetLog(log.Path())
	layer, err := s.install(ctx, image, python, prefix, wheels, log)
	if err != nil {
		return sandbox.Layer{}, log.Fail("the tree", err)
	}
	return layer, s.Store.Record("install", key, strings.TrimPrefix(layer.DiffID, "sha256:"))
}

func (s *Stage) install(ctx context.Context, image sandbox.Image, python, prefix string, wheels []Wheel, log io.Writer) (_ sandbox.Layer, err error) {
	id, err := s.Images.Load(ctx, image.Config, image.Layers...)
	if err != nil {
		return sandbox.Layer{}, err
	}
	sb, err := s.Runner.Start(ctx, sandbox.Spec{Image: id, Name: "install"})
	if err != nil {
		return sandbox.Layer{}, err
	}
	defer func() { err = errors.Join(err, sb.Close()) }()
	if err := sandbox.MakeDirs(ctx, sb, sandbox.WorkDir+"/home", sandbox.WorkDir+"/tree"); err != nil {
		return sandbox.Layer{}, err
	}
	entries := []tree.Entry{tree.FileEntry("install.py", 0o644, installScript), relocate.Module()}
	for _, w := range wheels {
		e, err := layers.FileOf(s.Store, w.SHA256, "wheels/"+w.File)
		if err != nil {
			return sandbox.Layer{}, err
		}
		entries = append(entries, e)
	}
	inputs, err := tree.New(entries)
	if err != nil {
		return sandbox.Layer{}, fmt.Errorf("collecting wheels: %w", err)
	}
	if err := sandbox.ImportTree(ctx, sb, sandbox.WorkDir, inputs); err != nil {
		return sandbox.Layer{}, err
	}
	if len(wheels) > 0 {
		step := sandbox.Step{
			Args: []string{python, "-I", sandbox.WorkDir + "/install.py", "/" + prefix, strconv.Itoa(max(1, s.Jobs))},
			Env:  sandbox.Env(), Dir: sandbox.WorkDir, Stdout: log, Stderr: log,
		}
		if err := sb.Exec(ctx, step); err != nil {
			return sandbox.Layer{}, err
		}
	}
	t, closer, err := layers.Export(ctx, s.Store, sb, sandbox.WorkDir+"/tree")
	if err != nil {
		return sandbox.Layer{}, err
	}
	defer closer.Close()
	return layers.Save(ctx, s.Store, t, prefix)
}
