package buildenv

import (
	"context"
	"slices"
	"strings"
	"sync"

	"ampoule/builder/memo"
	"ampoule/builder/sandbox"
	"ampoule/builder/wheels"
	"ampoule/recipes"
)

// wheelImages makes the images that sdists are built in, each once.
type wheelImages struct {
	dists wheels.Dists
	// with makes the image that has some packages, sorted.
	with func(ctx context.Context, packages []string) (sandbox.Image, error)
	// made holds a [memo.Value] for each image, by its packages.
	made sync.Map
}

func newWheelImages(dists wheels.Dists, with func(context.Context, []string) (sandbox.Image, error)) *wheelImages {
	return &wheelImages{dists: dists, with: with}
}

func (w *wheelImages) get(ctx context.Context, sdist recipes.Dist) (sandbox.Image, error) {
	packages := w.packages(sdist)
	made, _ := w.made.LoadOrStore(strings.Join(packages, " "), memo.New[sandbox.Image]())
	return made.(*memo.Value[sandbox.Image]).Get(ctx, func() (sandbox.Image, error) { return w.with(ctx, packages) })
}

// packages are those of an sdist and of what its build imports.
func (w *wheelImages) packages(sdist recipes.Dist) []string {
	var packages []string
	if sdist.Build != nil {
		packages = slices.Clone(sdist.Build.Packages)
		for _, id := range sdist.Build.Dists {
			if need, ok := w.dists(id); ok && need.Build != nil {
				packages = append(packages, need.Build.Packages...)
			}
		}
	}
	slices.Sort(packages)
	return slices.Compact(packages)
}
