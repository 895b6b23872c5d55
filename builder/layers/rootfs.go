package layers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"ampoule/builder/sandbox"
	"ampoule/store"
	"ampoule/tree"
)

// RootFS lays an image's layers over one another as a container engine does:
// whiteouts (".wh.NAME", and ".wh..wh..opq" for a whole directory) remove what is
// below them (OCI image specification, layer.md). Layers that the store does not
// hold are put there. The contents are readable until the returned closer is closed.
func RootFS(ctx context.Context, st *store.Store, image sandbox.Image) (_ *tree.Tree, _ io.Closer, err error) {
	var open closers
	defer func() {
		if err != nil {
			err = errors.Join(err, open.Close())
		}
	}()
	trees := make([]*tree.Tree, 0, len(image.Layers))
	for _, layer := range image.Layers {
		if err := keep(ctx, st, layer); err != nil {
			return nil, nil, err
		}
		t, closer, err := Read(st, strings.TrimPrefix(layer.DiffID, "sha256:"))
		if err != nil {
			return nil, nil, err
		}
		open = append(open, closer)
		trees = append(trees, t)
	}
	root, err := tree.Overlay(trees...)
	return root, open, err
}

// keep puts a layer into the store, unless it is there.
func keep(ctx context.Context, st *store.Store, layer sandbox.Layer) error {
	sum := strings.TrimPrefix(layer.DiffID, "sha256:")
	if whole, err := st.Whole(ctx, sum); whole || err != nil {
		return err
	}
	r, err := layer.Open(ctx)
	if err != nil {
		return fmt.Errorf("opening layer %s: %w", layer.DiffID, err)
	}
	defer r.Close()
	return st.PutExpected(ctx, r, sum)
}

// closers are closed together.
type closers []io.Closer

// Close closes all of them.
func (c closers) Close() error {
	var errs []error
	for _, closer := range c {
		errs = append(errs, closer.Close())
	}
	return errors.Join(errs...)
}
