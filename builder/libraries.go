package builder

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"ampoule/builder/layers"
	"ampoule/builder/seal"
	"ampoule/builder/toolchain"
	"ampoule/recipes"
)

// libraries are what the tree carries because programs load it by name. Their contents stay
// readable as long as open is.
func (r *build) libraries(ctx context.Context, open *layers.Opened) (seal.Libraries, error) {
	locked := r.req.Lock.Libraries
	if locked == nil {
		return seal.Libraries{}, nil
	}
	image, err := r.env.Libraries(ctx)
	if err != nil {
		return seal.Libraries{}, err
	}
	root, err := open.RootFS(ctx, image)
	if err != nil {
		return seal.Libraries{}, err
	}
	installed, err := toolchain.FilesOf(root, locked.Names)
	if err != nil {
		return seal.Libraries{}, err
	}
	libraries := seal.Libraries{Root: root}
	for _, i := range installed {
		libraries.Packages = append(libraries.Packages, seal.Package(i))
	}
	return libraries, nil
}

// checkLibraries tells of a package that has no library, where the recipe names it.
func (r *build) checkLibraries(ctx context.Context) (err error) {
	open := layers.Open(r.b.d.Store)
	defer func() { err = errors.Join(err, open.Close()) }()
	libraries, err := r.libraries(ctx, open)
	if err != nil {
		return err
	}
	return r.placed(libraries.Check())
}

// placed says where in the recipe the package stands that an error is about.
func (r *build) placed(err error) error {
	var none *seal.NoLibraryError
	if !errors.As(err, &none) {
		return err
	}
	if i := slices.Index(r.req.Recipe.Runtime.Libraries, none.Package); i >= 0 {
		return recipes.Faults{r.req.Recipe.Fault(none.Error(), none.Hint(), "runtime", "libraries", fmt.Sprint(i))}
	}
	return err
}
