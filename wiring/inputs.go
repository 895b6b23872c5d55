package wiring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"ampoule/builder/fetch"
	"ampoule/config"
	"ampoule/registry"
	"ampoule/store"
)

// OpenInputs opens the place in a registry, HOST[:PORT][/PREFIX], that keeps inputs of builds.
func OpenInputs(place string) (*registry.Inputs, error) {
	reg, err := registry.Open(place)
	if err != nil {
		return nil, err
	}
	return reg.Inputs()
}

// keepers opens the places that the configuration keeps inputs in.
func keepers(places []string) ([]fetch.Keeper, error) {
	var found []fetch.Keeper
	for _, place := range places {
		if !config.IsRegistry(place) {
			info, err := os.Stat(place)
			switch {
			case errors.Is(err, fs.ErrNotExist), err == nil && !info.IsDir():
				return nil, &config.Error{
					Where: place, Msg: "kept inputs should be there, and there is no such directory",
					Help: "make or mount it, or take it out of AMPOULE_KEPT and config.toml",
				}
			case err != nil:
				return nil, fmt.Errorf("looking for kept inputs: %w", err)
			}
			found = append(found, fetch.Directory(place))
			continue
		}
		inputs, err := OpenInputs(place)
		if err != nil {
			return nil, err
		}
		found = append(found, inputs)
	}
	return found, nil
}

// stored gives the store's content to whoever reads by sha256.
type stored struct{ store *store.Store }

// Open implements [registry.Content].
func (s stored) Open(ctx context.Context, sum string) (io.ReadCloser, error) {
	// What is damaged is removed, and read from elsewhere.
	if _, err := s.store.Whole(ctx, sum); err != nil {
		return nil, err
	}
	f, err := s.store.Open(sum)
	if err != nil {
		return nil, err
	}
	return f, nil
}
