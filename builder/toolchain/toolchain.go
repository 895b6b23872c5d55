// Package toolchain makes the images that everything is built in: a Debian base
// of exactly the locked packages, and layers of further locked packages on a base.
//
// Every layer is deterministic: the same packages on the same lower layers give
// the same bytes, whatever machine, host name, resolver, mirror or directory they
// were made with.
package toolchain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"ampoule/builder/fetch"
	"ampoule/builder/layers"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/recipes"
	"ampoule/store"
	"ampoule/tree"
)

// Fetcher gets build inputs. Afterwards the store has each of them, verified.
type Fetcher interface {
	Fetch(ctx context.Context, items ...fetch.Item) error
}

// Stage makes layers, or finds those that it made before.
type Stage struct {
	store  *store.Store
	fetch  Fetcher
	runner sandbox.Runner
	images sandbox.Images
}

// New makes a stage. Only [Stage.Install] uses runner and images.
func New(s *store.Store, f Fetcher, runner sandbox.Runner, images sandbox.Images) *Stage {
	return &Stage{store: s, fetch: f, runner: runner, images: images}
}

// Item says where the downloader finds a package.
func Item(d recipes.Deb) fetch.Item {
	return fetch.Item{Source: "debian", Name: d.Name, Version: d.Version, File: d.File, SHA256: d.SHA256}
}

func (s *Stage) fetchDebs(ctx context.Context, debs []recipes.Deb) error {
	items := make([]fetch.Item, len(debs))
	for i, d := range debs {
		items[i] = Item(d)
	}
	return s.fetch.Fetch(ctx, items...)
}

// Config returns what an image made of these layers says beside them.
func Config() sandbox.Config {
	return sandbox.Config{Architecture: "amd64", Env: []string{"PATH=" + searchPath, "LANG=C.UTF-8"}}
}

const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Base returns the layer of a root file system of exactly these packages, which
// must be closed under dependencies and have the essential ones among them. It is
// made by mmdebstrap on this machine, without network; a machine without
// mmdebstrap gets a [*debian.MissingToolError]. The log is written to log, which
// may be nil.
func (s *Stage) Base(ctx context.Context, suite string, debs []recipes.Deb, log io.Writer) (sandbox.Layer, error) {
	key := layerKey("base", suite, nil, debs)
	layer, err := s.layer(ctx, "base "+suite, key, func(ctx context.Context) (*made, error) {
		return s.makeBase(ctx, suite, debs, log)
	})
	if err != nil {
		return sandbox.Layer{}, fmt.Errorf("making base %s: %w", suite, err)
	}
	return layer, nil
}

// Install returns the layer that packages make on top of an image, installed by
// dpkg in a sandbox. Together with what the image has they must be closed under
// dependencies, and none of them may be installed there already. The log is
// written to log, which may be nil.
func (s *Stage) Install(ctx context.Context, lower sandbox.Image, debs []recipes.Deb, log io.Writer) (sandbox.Layer, error) {
	key := layerKey("install", "", layers.DiffIDs(lower), debs)
	layer, err := s.layer(ctx, fmt.Sprintf("installing %d packages", len(debs)), key, func(ctx context.Context) (*made, error) {
		return s.makeInstall(ctx, lower, debs, log)
	})
	if err != nil {
		return sandbox.Layer{}, fmt.Errorf("installing packages: %w", err)
	}
	return layer, nil
}

// made is a layer's tree, whose contents are readable until it is closed.
type made struct {
	*tree.Tree
	close func()
}

// recordKind is the store's kind of records that say which content a layer's key has.
const recordKind = "toolchain-layer"

// layer returns the layer recorded under a key, or makes, stores and records it.
func (s *Stage) layer(ctx context.Context, name, key string, build func(context.Context) (*made, error)) (sandbox.Layer, error) {
	task := progress.Start(ctx, progress.StageToolchain, name)
	layer, reused, err := layers.Remembered(ctx, s.store, task, recordKind, key, func(ctx context.Context) (sandbox.Layer, error) {
		return s.makeLayer(ctx, build)
	})
	task.Finish(reused, err)
	return layer, err
}

func (s *Stage) makeLayer(ctx context.Context, build func(context.Context) (*made, error)) (sandbox.Layer, error) {
	m, err := build(ctx)
	if err != nil {
		return sandbox.Layer{}, err
	}
	defer m.close()
	r, w := io.Pipe()
	written := make(chan struct{})
	go func() {
		defer close(written)
		w.CloseWithError(m.WriteTar(w, "", tree.Time))
	}()
	sum, _, err := s.store.Put(ctx, r)
	// It ends the writer, where the store gave up.
	err = errors.Join(err, r.Close())
	<-written
	if err != nil {
		return sandbox.Layer{}, fmt.Errorf("storing layer: %w", err)
	}
	return layers.Stored(s.store, sum), nil
}

// layerFormat changes whenever the same packages give other bytes.
const layerFormat = 3

// Version names what this package itself adds to what it makes of packages.
func Version() string { return layers.Key("toolchain", layerFormat, []string{prefixMap}) }

// layerKey names a layer by everything that decides its bytes, and by everything that is
// compared while it is made: a lock that calls a package's bytes by another name finds no
// layer, and is refused when one is made. The order of packages is not among it.
func layerKey(kind, suite string, lower []string, debs []recipes.Deb) string {
	contents := make([]string, len(debs))
	for i, d := range debs {
		contents[i] = strings.Join([]string{d.SHA256, d.Name, d.Version, d.Arch}, " ")
	}
	slices.Sort(contents)
	return layers.Key("toolchain", layerFormat, struct {
		Kind, Suite string
		Lower, Debs []string
	}{kind, suite, lower, contents})
}

// scratchFile makes a file that has no name, and is gone once it is closed.
func (s *Stage) scratchFile() (*os.File, error) {
	f, err := os.CreateTemp(s.store.Dir(store.Tmp), "toolchain-")
	if err != nil {
		return nil, fmt.Errorf("making temporary file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
