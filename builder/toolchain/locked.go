package toolchain

import (
	"context"
	"fmt"
	"io"
	"regexp"

	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/recipes"
	"ampoule/tree"
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
	specs, err := l.specs(ctx)
	if err != nil || specs == nil {
		return image, err
	}
	return image.With(*specs), nil
}

// specs returns the layer with a specs file for each GCC of the toolchain; nil
// when it has none. The compiler's driver reads a file of that name beside its
// libraries (GCC manual, "Spec Files"), whoever calls it with whatever flags. With
// it, the build directory is another one in __FILE__ and in debug information; no
// flag says so that a build could drop or an interpreter hand on to others.
func (l *Locked) specs(ctx context.Context) (*sandbox.Layer, error) {
	text := []byte("*cc1_options:\n+ -ffile-prefix-map=" + sandbox.WorkDir + "=" + sourceDir + "\n\n")
	var files []tree.Entry
	for _, name := range l.Lock.Toolchain {
		if m := gccPackage.FindStringSubmatch(name); m != nil {
			files = append(files, tree.FileEntry("usr/lib/gcc/x86_64-linux-gnu/"+m[1]+"/specs", 0o644, text))
		}
	}
	if len(files) == 0 {
		return nil, nil
	}
	t, err := tree.New(files)
	if err != nil {
		return nil, err
	}
	layer, err := layers.Save(ctx, l.Stage.store, t, "")
	return &layer, err
}

// sourceDir is what compilers call the build directory.
const sourceDir = "/usr/src/ampoule"

// gccPackage matches the Debian packages that hold a GCC: gcc-12.
var gccPackage = regexp.MustCompile(`^gcc-([0-9]+)$`)

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
