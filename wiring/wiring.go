// Package wiring puts the parts together that callers build with: the store, registries, the
// sandbox engine, and sources of inputs. Only this package knows all of them; the command
// line, a pipeline's step and a service begin here.
//
// [Parts] live as long as their owner, serve any number of calls at once, and end with Close.
// What a call brings, its context before all, stays with that call.
package wiring

import (
	"context"
	"errors"

	"ampoule/builder"
	"ampoule/builder/fetch"
	"ampoule/builder/sandbox"
	"ampoule/config"
	"ampoule/recipes/profiles"
	"ampoule/registry"
	"ampoule/registry/embedded"
	"ampoule/store"
)

// ErrClosed says that something was asked for after Close.
var ErrClosed = errors.New("the parts are closed")

// Parts are what one owner builds with. A part is opened when it is first asked for: finding
// what is published asks neither Docker nor a mirror. Methods may be called from several
// goroutines.
type Parts struct {
	// Store is the owner's store, Own the registry in it.
	Store *store.Store
	Own   *embedded.Registry
	// Around goes around what starts sandboxes, to count or to follow it. It is set before anything
	// is built; may be nil.
	Around func(sandbox.Runner) sandbox.Runner
	// AroundImages goes around what loads images, and Swept is told of containers that were removed
	// because ended processes had left them. Both are as Around.
	AroundImages func(sandbox.Images) sandbox.Images
	Swept        func(ctx context.Context, containers int)
	// Reach bounds where the images that recipes stand on are taken from. It is set before anything is
	// built; nil takes them from everywhere, as for recipes of one's own.
	Reach *registry.Reach

	place  config.Place
	engine shared
	// pool is what the steps of all builds share.
	pool shares
	// signing is nil where nothing is signed.
	signing *Signing
}

// Open opens the store of a place. Its directory is made where it is missing.
func Open(place config.Place) (*Parts, error) {
	dir, err := place.StoreDir()
	if err != nil {
		return nil, err
	}
	st, err := store.Open(dir)
	if err != nil {
		return nil, err
	}
	own := embedded.Open(st.Dir(store.Registry))
	own.MendFrom(st)
	return &Parts{Store: st, Own: own, place: place}, nil
}

// Close ends what was opened: the sandbox engine with all its containers, the store's
// registry where this process serves it, and all uses of the store. It is called when no
// call is running any more.
func (p *Parts) Close() error {
	return errors.Join(p.engine.close(), p.Own.Close(), p.Store.Close())
}

// Registry is the one that the place names, else the store's own.
func (p *Parts) Registry() (*registry.Registry, error) {
	if p.place.Registry != "" {
		return registry.OpenBy(p.place.Registry, p.place.RegistryToken)
	}
	return registry.Local(p.Own)
}

// Reference is how an artifact of a name and digest is found, by whoever has the same store.
func (p *Parts) Reference(name, digest string) string {
	ref := name + "@" + digest
	if p.place.Registry != "" {
		return p.place.Registry + "/" + ref
	}
	return ref
}

// Builder makes a builder over all parts, for one call: what it learns of sources it
// remembers as long as it lives.
func (p *Parts) Builder(inputs config.Inputs) (*builder.Builder, error) {
	return p.BuilderFor(inputs, Order{})
}

// Order is what somebody wants of a build for whom this place builds.
type Order struct {
	// Claim is asked before the registry has a key name what was built: who keeps count of builds
	// elsewhere decides there which one counts. It may be nil.
	Claim func(ctx context.Context, digest string) error
	// Unsigned says that what is built is not signed, whatever [Parts.SignWith] has.
	Unsigned bool
}

// BuilderFor is as Builder, for an order.
func (p *Parts) BuilderFor(inputs config.Inputs, o Order) (*builder.Builder, error) {
	kept, err := keepers(inputs.Kept)
	if err != nil {
		return nil, err
	}
	reg, err := p.registryFor(kept)
	if err != nil {
		return nil, err
	}
	caches, err := p.Caches(inputs.Cache)
	if err != nil {
		return nil, err
	}
	fetcher := fetch.New(p.Store, fetch.Config{
		Sources: inputs.Sources, Keepers: kept, Profiles: profiles.Shipped{}, Environ: inputs.Environ, Network: p.place.Network,
	})
	published := p.publisher(reg, o)
	return builder.New(builder.Dependencies{
		Store: p.Store, Fetch: fetcher, Sandboxes: p.Sandboxes, Publisher: published, Bases: published,
		Environ: inputs.Environ, Caches: caches,
	})
}

// registryFor is the registry that builds publish to, and take the images from that recipes name.
func (p *Parts) registryFor(kept []fetch.Keeper) (*registry.Registry, error) {
	reg, err := p.Registry()
	if err != nil {
		return nil, err
	}
	if p.Reach != nil {
		reg.Within(p.Reach)
	}
	reg.Prefer(stored{p.Store})
	for _, k := range kept {
		reg.Prefer(k)
	}
	return reg, nil
}

// Index makes what asks the configured indexes, and nothing else, with what the configuration
// sets.
func (p *Parts) Index(inputs config.Inputs) *fetch.Fetcher {
	return fetch.New(p.Store, fetch.Config{Sources: inputs.Sources, Environ: inputs.Environ, Network: p.place.Network})
}
