//go:build docker

package docker_test

import (
	"archive/tar"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"ampoule/builder/docker"
	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/sandboxtest"
)

// open connects to the engine for one test, as a store of its own.
func open(t *testing.T) *docker.Engine {
	t.Helper()
	e, err := docker.Open(t.Context(), docker.Options{Locks: t.TempDir(), Store: storeOf(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := e.RemoveImages(context.Background(), docker.All)
		if err := errors.Join(err, e.Close()); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestConformance(t *testing.T) {
	e := open(t)
	sandboxtest.Run(t, sandboxtest.Harness{Runner: e, Images: e})
}

// Images go, but for those whose layers are to be kept, and those of other stores.
func TestRemoveImages(t *testing.T) {
	e, other := open(t), open(t)
	layers := make([]sandbox.Layer, 2)
	for i := range layers {
		text := t.Name() + sandboxtest.Unique()
		layers[i] = sandboxtest.TarLayer(t, []*tar.Header{{Name: "file", Mode: 0o644}}, map[string]string{"file": text})
	}
	load := func(e *docker.Engine, layers ...sandbox.Layer) {
		t.Helper()
		if _, err := e.Load(t.Context(), sandboxtest.Config(), layers...); err != nil {
			t.Fatal(err)
		}
	}
	load(e, layers[0])
	load(e, layers...)
	load(other, layers[1])
	without := func(diffID string) func([]string, func() error) error {
		return func(ids []string, remove func() error) error {
			if slices.Contains(ids, diffID) {
				return remove()
			}
			return nil
		}
	}
	for _, step := range []struct {
		diffID string
		want   int
	}{{"sha256:none", 0}, {layers[1].DiffID, 1}, {layers[1].DiffID, 0}, {layers[0].DiffID, 1}} {
		if n, err := e.RemoveImages(t.Context(), without(step.diffID)); n != step.want || err != nil {
			t.Errorf("without %s: removed %d, %v; want %d", step.diffID, n, err, step.want)
		}
	}
	if n, err := other.RemoveImages(t.Context(), without(layers[1].DiffID)); n != 1 || err != nil {
		t.Errorf("of another store: removed %d, %v", n, err)
	}
}

// storeOf is the store id of one test, so that tests do not remove each other's images.
func storeOf(t *testing.T) string {
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	return name + "-" + strings.ToLower(sandboxtest.Unique())
}
