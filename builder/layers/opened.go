package layers

import (
	"context"
	"io"
	"strings"
	"sync"

	"ampoule/builder/sandbox"
	"ampoule/store"
	"ampoule/tree"
)

// Opened holds layers open while their contents are used, and closes them together.
// Several goroutines may read at once.
type Opened struct {
	store *store.Store
	mu    sync.Mutex
	open  closers
}

// Open starts with nothing open.
func Open(st *store.Store) *Opened { return &Opened{store: st} }

// Read indexes a stored layer, as [Read] does.
func (o *Opened) Read(layer sandbox.Layer) (*tree.Tree, error) {
	t, closer, err := Read(o.store, strings.TrimPrefix(layer.DiffID, "sha256:"))
	if err != nil {
		return nil, err
	}
	o.hold(closer)
	return t, nil
}

// RootFS reads an image's file system, as [RootFS] does.
func (o *Opened) RootFS(ctx context.Context, image sandbox.Image) (*tree.Tree, error) {
	t, closer, err := RootFS(ctx, o.store, image)
	if err != nil {
		return nil, err
	}
	o.hold(closer)
	return t, nil
}

func (o *Opened) hold(c io.Closer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open = append(o.open, c)
}

// Close closes all of them.
func (o *Opened) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.open.Close()
}
