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

// Toolchain returns the image with compilers: the base and its packages.
func (l *Locked) Toolchain(ctx context.Context) (sandbox.Image, error) {
	base, err := l.Base(ctx, l.Lock.Base)
	if err != nil {
		return sandbox.Image{}, err
	}
	return l.install(ctx, base, l.Lock.Toolchain)
}

// WithExtras returns the toolchain's image with one wheel's extra packages laid on
// it; for a wheel without any it is the toolchain's.
func (l *Locked) WithExtras(ctx context.Context, toolchain sandbox.Image, wheel string) (sandbox.Image, error) {
	return l.install(ctx, toolchain, l.Lock.Extras[wheel])
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
