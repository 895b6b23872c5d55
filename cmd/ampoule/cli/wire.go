package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"ampoule/builder"
	"ampoule/builder/docker"
	"ampoule/builder/fetch"
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
	return &builder.Builder{
		Store: w.store, Fetch: fetcher, Sandboxes: w.sandboxes,
		Publisher: published, Bases: published, Now: time.Now,
	}, nil
}

// sandboxes opens Docker for a builder.
func (w *wiring) sandboxes(ctx context.Context) (builder.Sandboxes, error) {
	e, err := w.engine(ctx)
	if err != nil {
		return builder.Sandboxes{}, err
	}
	return builder.Sandboxes{Runner: e, Images: e, Online: e.Online()}, nil
}

// engine opens Docker, once.
func (w *wiring) engine(ctx context.Context) (*docker.Engine, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.docker != nil {
		return w.docker, nil
	}
	id, err := storeID(ctx, w.store)
	if err != nil {
		return nil, err
	}
	w.docker, err = docker.Open(ctx, docker.Options{Locks: w.store.Dir(store.Owners), Store: id})
	return w.docker, err
}

// idKind is the kind of the record that holds a store's id.
const idKind = "store-id"

// storeID names a store among all that one engine serves. It is drawn, not made of
// the store's path, which stores on other machines may have too.
func storeID(ctx context.Context, st *store.Store) (_ string, err error) {
	unlock, err := st.Lock(ctx, idKind)
	if err != nil {
		return "", fmt.Errorf("naming the store: %w", err)
	}
	defer unlock()
	var id string
	found, err := st.Lookup(idKind, "", &id)
	if err == nil && !found {
		var drawn [8]byte
		// crypto/rand's Read never fails.
		_, _ = rand.Read(drawn[:])
		id = hex.EncodeToString(drawn[:])
		err = st.RecordDurably(idKind, "", id)
	}
	if err != nil {
		return "", fmt.Errorf("naming the store: %w", err)
	}
	return id, nil
}
