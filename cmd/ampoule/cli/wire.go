package cli

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"

	"ampoule/builder"
	"ampoule/builder/docker"
	"ampoule/builder/fetch"
	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/registry"
	"ampoule/registry/embedded"
	"ampoule/store"
)

// wiring puts the parts together for one verb. A part is opened when it is first
// asked for: finding what is published asks neither Docker nor a mirror.
type wiring struct {
	session *Session
	store   *store.Store
	own     *embedded.Registry
	// bounds are the configuration's of the store, once there is a builder.
	bounds fetch.StoreBounds

	mu     sync.Mutex
	docker *docker.Engine
}

// wired opens the store for a verb's work, and closes what the work opened.
func (s *Session) wired(ctx context.Context, work func(context.Context, *wiring) error) error {
	dir, err := s.storeDir()
	if err != nil {
		return err
	}
	st, err := store.Open(dir)
	if err != nil {
		return err
	}
	w := &wiring{session: s, store: st, own: embedded.Open(st.Dir(store.Registry))}
	w.own.MendFrom(st)
	err = work(ctx, w)
	return errors.Join(err, w.close())
}

func (w *wiring) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var err error
	if w.docker != nil {
		err = w.docker.Close()
	}
	return errors.Join(err, w.own.Close())
}

// registry is the one that the session names, else the store's own.
func (w *wiring) registry() (*registry.Registry, error) {
	if w.session.Registry != "" {
		return registry.Open(w.session.Registry)
	}
	return registry.Local(w.own)
}

// embedded is the store's own registry.
func (w *wiring) embedded() *embedded.Registry { return w.own }

// reference is how other verbs find an artifact, from any session with this store.
func (w *wiring) reference(name, digest string) string {
	ref := name + "@" + digest
	if w.session.Registry != "" {
		return w.session.Registry + "/" + ref
	}
	return ref
}

// builder is a builder over all parts.
func (w *wiring) builder() (*builder.Builder, error) {
	reg, err := w.registry()
	if err != nil {
		return nil, err
	}
	config, err := fetch.LoadConfig(os.Environ(), "")
	if err != nil {
		return nil, err
	}
	w.bounds = config.Store
	if err := checkBounds(w.bounds); err != nil {
		return nil, err
	}
	fetcher := fetch.New(w.store, config)
	if fetcher.Keepers, err = keepers(config.Kept); err != nil {
		return nil, err
	}
	reg.Prefer(stored{w.store})
	for _, k := range fetcher.Keepers {
		reg.Prefer(k)
	}
	published := Publisher{Registry: reg, Store: w.store}
	return builder.New(builder.Dependencies{
		Store: w.store, Fetch: fetcher, Sandboxes: w.sandboxes, Publisher: published, Bases: published,
	})
}

// sandboxes opens Docker for a builder.
func (w *wiring) sandboxes(ctx context.Context) (builder.Sandboxes, error) {
	e, err := w.engine(ctx)
	if err != nil {
		return builder.Sandboxes{}, err
	}
	return builder.Sandboxes{Runner: e, Images: pinnedImages{e, w.store}, Online: e.Online()}, nil
}

// pinnedImages has the layers of images stay while a use of the store lives, and with them
// the images (see [wiring.removeImages]).
type pinnedImages struct {
	sandbox.Images
	store *store.Store
}

// Load implements [sandbox.Images].
func (p pinnedImages) Load(ctx context.Context, config sandbox.Config, all ...sandbox.Layer) (sandbox.ID, error) {
	if err := p.store.Pin(sumsOf(layers.DiffIDs(sandbox.Image{Layers: all}))...); err != nil {
		return "", err
	}
	return p.Images.Load(ctx, config, all...)
}

// sumsOf are the sha256 of layers, in hex.
func sumsOf(diffIDs []string) []string {
	sums := make([]string, len(diffIDs))
	for i, id := range diffIDs {
		sums[i] = strings.TrimPrefix(id, "sha256:")
	}
	return sums
}

// engine opens Docker, once.
func (w *wiring) engine(ctx context.Context) (*docker.Engine, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.docker != nil {
		return w.docker, nil
	}
	id, err := w.store.ID(ctx)
	if err != nil {
		return nil, err
	}
	w.docker, err = docker.Open(ctx, docker.Options{Locks: w.store.Dir(store.Owners), Store: id})
	return w.docker, err
}
