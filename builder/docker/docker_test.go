//go:build docker

package docker_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"ampoule/builder/docker"
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
		if err := errors.Join(e.RemoveImages(context.Background()), e.Close()); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestConformance(t *testing.T) {
	e := open(t)
	sandboxtest.Run(t, sandboxtest.Harness{Runner: e, Images: e})
}

// storeOf is the store id of one test, so that tests do not remove each other's images.
func storeOf(t *testing.T) string {
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	return name + "-" + strings.ToLower(sandboxtest.Unique())
}
