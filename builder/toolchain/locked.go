package toolchain

import (
	"context"
	"fmt"
	"io"

	"ampoule/builder/sandbox"
	"ampoule/recipes"
)

// Bases gives images of a registry.
type Bases interface {
	// PullBase returns the layers and configuration of an image by digest.
	PullBase(ctx context.Context, ref, platform string) ([]sandbox.Layer, sandbox.Config, error)
}

// Locked makes the images that a lock names.
type Locked struct {
	Stage *Stage
	Bases Bases
	Lock  *recipes.Lock
	// Platform is os/architecture.
	Platform string
	// Log gets what mmdebstrap and dpkg print.
	Log io.Writer
}

// Base returns the image of a base: a registry's, or the one that its packages make.
func (l *Locked) Base(ctx context.Context, base recipes.LockedBase) (sandbox.Image, error) {
	if base.Image != "" {
		pulled, config, err := l.Bases.PullBase(ctx, base.Image, l.Platform)
		if err != nil {
			return sandbox.Image{}, fmt.Errorf("pulling base %s: %w", base.Image, err)
		}
		return sandbox.Image{Config: config, Layers: pulled}, nil
	}
	debs, err := l.Lock.Debs(base.Suite, base.Packages)
	if err != nil {
		return sandbox.Image{}, err
	}
	layer, err := l.Stage.Base(ctx, base.Suite, debs, l.Log)
	if err != nil {
		return sandbox.Image{}, err
	}
	return sandbox.Image{Config: Config(), Layers: []sandbox.Layer{layer}}, nil
}

// Toolchain returns the image with compilers: the base, its packages, and the
// specs that keep the compilers from telling where they ran.
func (l *Locked) Toolchain(ctx context.Context) (sandbox.Image, error) {
	base, err := l.Base(ctx, l.Lock.Base)
	if err != nil {
		return sandbox.Image{}, err
	}
	image, err := l.install(ctx, base, l.Lock.Toolchain)
	if err != nil {
		return sandbox.Image{}, err
	}
	specs, err := l.Stage.specs(ctx, image, l.Lock.Toolchain)
	if err != nil || specs == nil {
		return image, err
	}
	return image.With(*specs), nil
}

// WithExtras returns the toolchain's image with packages of the base's suite laid on
// it; without any it is the toolchain's.
func (l *Locked) WithExtras(ctx context.Context, toolchain sandbox.Image, packages []string) (sandbox.Image, error) {
	return l.install(ctx, toolchain, packages)
}

func (l *Locked) install(ctx context.Context, image sandbox.Image, names []string) (sandbox.Image, error) {
	if len(names) == 0 {
		return image, nil
	}
	debs, err := l.Lock.Debs(l.Lock.Base.Suite, names)
	if err != nil {
		return sandbox.Image{}, err
	}
	layer, err := l.Stage.Install(ctx, image, debs, l.Log)
	if err != nil {
		return sandbox.Image{}, err
	}
	return image.With(layer), nil
}
