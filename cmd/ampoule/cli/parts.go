package cli

import (
	"cmp"
	"context"
	"errors"

	"ampoule/builder"
	"ampoule/config"
	"ampoule/wiring"
)

// workplace is where the session works: what its flags say, else its environment.
func (s *Session) workplace() config.Place {
	place := config.PlaceOf(s.Environ)
	place.Store = cmp.Or(s.Store, place.Store)
	place.Registry, place.RegistryToken = s.Registry, s.registryToken
	return place
}

// wired opens the parts for a verb's work, and closes them.
func (s *Session) wired(ctx context.Context, work func(context.Context, *wiring.Parts) error) error {
	if !posix.has(s.goos()) {
		return unfit("a store", posix, s.goos(), "")
	}
	parts, err := wiring.Open(s.workplace())
	if err != nil {
		return err
	}
	return errors.Join(work(ctx, parts), parts.Close())
}

// builder makes a builder with what the configuration sets, and gives the configuration.
func (s *Session) builder(parts *wiring.Parts) (*builder.Builder, config.Config, error) {
	set, err := config.Read(s.Environ, "")
	if err != nil {
		return nil, config.Config{}, err
	}
	if set.Inputs.Cache, err = s.cacheOf(set.Inputs.Cache); err != nil {
		return nil, config.Config{}, err
	}
	b, err := parts.Builder(set.Inputs)
	return b, set, err
}
