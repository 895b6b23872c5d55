package layers

import (
	"context"
	"fmt"
	"path"
	"strings"

	"ampoule/builder/sandbox"
	"ampoule/store"
	"ampoule/tree"
)

// partKind is the store's kind of records that say which layer a part becomes.
const partKind = "part-layer"

// SaveParts writes each part of a tree, below prefix, as a layer of its name into the store. A part
// that the store has from an earlier tree is not written again. A name that would
// delete files of an image is an error.
func SaveParts(ctx context.Context, st *store.Store, parts []Part, prefix string) ([]sandbox.Layer, error) {
	saved := make([]sandbox.Layer, len(parts))
	for i, part := range parts {
		layer, err := savePart(ctx, st, part, prefix)
		if err != nil {
			return nil, fmt.Errorf("part %s: %w", part.Name, err)
		}
		layer.Name = part.Name
		saved[i] = layer
	}
	return saved, nil
}

func savePart(ctx context.Context, st *store.Store, part Part, prefix string) (sandbox.Layer, error) {
	key := Key(partKind, 1, map[string]any{"tree": part.Tree.Hash(), "prefix": prefix, "time": tree.Time})
	return Remembered(ctx, st, partKind, key, func() (sandbox.Layer, error) { return makePart(ctx, st, part, prefix) })
}

func makePart(ctx context.Context, st *store.Store, part Part, prefix string) (sandbox.Layer, error) {
	for _, e := range part.Tree.Entries() {
		if strings.HasPrefix(path.Base(e.Path), tree.Whiteout) {
			return sandbox.Layer{}, fmt.Errorf("%s: a name that begins with %q deletes files in an image", e.Path, tree.Whiteout)
		}
	}
	return Save(ctx, st, part.Tree, prefix)
}

// Remembered returns the layer that is recorded under a kind and a key, and has it made
// and recorded if there is none or the store's is damaged.
func Remembered(ctx context.Context, st *store.Store, kind, key string, makeLayer func() (sandbox.Layer, error)) (sandbox.Layer, error) {
	var sum string
	if known, err := st.Lookup(kind, key, &sum); err != nil {
		return sandbox.Layer{}, err
	} else if known {
		if whole, err := st.Whole(ctx, sum); err != nil || whole {
			return Stored(st, sum), err
		}
	}
	layer, err := makeLayer()
	if err != nil {
		return sandbox.Layer{}, err
	}
	return layer, st.Record(kind, key, strings.TrimPrefix(layer.DiffID, "sha256:"))
}
