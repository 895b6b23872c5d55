package layers

import (
	"context"
	"fmt"
	"path"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"ampoule/builder/once"
	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/store"
	"ampoule/tree"
)

// partKind is the store's kind of records that say which layer a part becomes.
const partKind = "part-layer"

// SaveParts writes each part of a tree, below prefix, as a layer of its name into the store, as a task
// of a stage. Parts are written side by side, one for each processor. A part that the store has
// from an earlier tree is not written again. A name that would delete files of an image is an
// error.
func SaveParts(ctx context.Context, st *store.Store, stage progress.Stage, parts []Part, prefix string) ([]sandbox.Layer, error) {
	saved := make([]sandbox.Layer, len(parts))
	group, saving := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, part := range parts {
		group.Go(func() error {
			layer, err := savePart(saving, st, stage, part, prefix)
			if err != nil {
				return fmt.Errorf("part %s: %w", part.Name, err)
			}
			layer.Name = part.Name
			saved[i] = layer
			return nil
		})
	}
	return saved, group.Wait()
}

func savePart(ctx context.Context, st *store.Store, stage progress.Stage, part Part, prefix string) (sandbox.Layer, error) {
	key := Key(partKind, 1, map[string]any{"tree": part.Tree.Hash(), "prefix": prefix, "time": tree.Time})
	task := progress.Later(ctx, stage, "layer of "+part.Name)
	// A tar is written faster than it is sent.
	layer, reused, err := Remembered(once.Alone(ctx), st, task, partKind, key, func(ctx context.Context) (sandbox.Layer, error) {
		return makePart(ctx, st, part, prefix)
	})
	task.Finish(reused, err)
	return layer, err
}

func makePart(ctx context.Context, st *store.Store, part Part, prefix string) (sandbox.Layer, error) {
	for _, e := range part.Tree.Entries() {
		if strings.HasPrefix(path.Base(e.Path), tree.Whiteout) {
			return sandbox.Layer{}, fmt.Errorf("%s: a name that begins with %q deletes files in an image", e.Path, tree.Whiteout)
		}
	}
	return Save(ctx, st, part.Tree, prefix)
}

// Remembered returns the layer that is recorded under a kind and a key, or has it made, put
// into the store and recorded, as [once.Remembered] does.
func Remembered(
	ctx context.Context, st *store.Store, task *progress.Task, kind, key string, makeLayer func(context.Context) (sandbox.Layer, error),
) (_ sandbox.Layer, found bool, err error) {
	sum, found, err := once.Remembered(ctx, st, task, kind, key, func(ctx context.Context) (string, error) {
		layer, err := makeLayer(ctx)
		return strings.TrimPrefix(layer.DiffID, "sha256:"), err
	})
	if err != nil {
		return sandbox.Layer{}, false, err
	}
	return Stored(st, sum), found, nil
}
