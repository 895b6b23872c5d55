package toolchain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"

	"ampoule/builder/layers"
	"ampoule/builder/sandbox"
	"ampoule/tree"
)

// sourceDir is what compilers call the build directory.
const sourceDir = "/usr/src/ampoule"

// prefixMap makes a compiler call the build directory so, in __FILE__ and in debug
// information.
const prefixMap = "-ffile-prefix-map=" + sandbox.WorkDir + "=" + sourceDir

// gccPackage matches the Debian packages that hold a GCC: gcc-12.
var gccPackage = regexp.MustCompile(`^gcc-([0-9]+)$`)

// maxSpecs bounds what a compiler says of itself, in bytes: GCC 12's has 6,000.
const maxSpecs = 1 << 20

// specs returns the layer with a specs file for each GCC that packages bring to an
// image; nil when they bring none. The compiler's driver reads a file of that name
// beside its libraries (GCC manual, "Spec Files"), whoever calls it with whatever
// flags; no flag says so that a build could drop or an interpreter hand on to others.
//
// A driver that finds one leaves out what it would have worked out when it started, such
// as --eh-frame-hdr, without which no C++ exception is caught. So the file has all that
// -dumpspecs prints, and one option more.
func (s *Stage) specs(ctx context.Context, lower sandbox.Image, packages []string) (*sandbox.Layer, error) {
	var versions []string
	for _, name := range packages {
		if m := gccPackage.FindStringSubmatch(name); m != nil {
			versions = append(versions, m[1])
		}
	}
	if len(versions) == 0 {
		return nil, nil
	}
	key := layers.Key("toolchain-specs", 1, struct {
		Lower, Versions []string
		Option          string
	}{layers.DiffIDs(lower), versions, prefixMap})
	layer, err := s.layer(ctx, "settings of compilers", key, func(ctx context.Context) (*made, error) {
		t, err := s.makeSpecs(ctx, lower, versions)
		return &made{t, func() {}}, err
	})
	if err != nil {
		return nil, fmt.Errorf("setting compilers: %w", err)
	}
	return &layer, nil
}

func (s *Stage) makeSpecs(ctx context.Context, lower sandbox.Image, versions []string) (_ *tree.Tree, err error) {
	id, err := s.images.Load(ctx, lower.Config, lower.Layers...)
	if err != nil {
		return nil, fmt.Errorf("loading image: %w", err)
	}
	box, err := s.runner.Start(ctx, sandbox.Spec{Image: id, Name: "settings of compilers"})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, box.Close()) }()
	var files []tree.Entry
	for _, version := range versions {
		step := sandbox.Step{Args: []string{"/usr/bin/gcc-" + version, "-dumpspecs"}, Env: Config().Env}
		built, err := sandbox.Output(ctx, box, step, maxSpecs)
		if err != nil {
			return nil, err
		}
		text, err := withPrefixMap(built)
		if err != nil {
			return nil, fmt.Errorf("gcc-%s -dumpspecs: %w", version, err)
		}
		files = append(files, tree.FileEntry("usr/lib/gcc/x86_64-linux-gnu/"+version+"/specs", 0o644, text))
	}
	return tree.New(files)
}

// cc1Options is where a specs file has what every compilation of C and C++ gets.
var cc1Options = regexp.MustCompile(`(?m)^\*cc1_options:\n.+$`)

// withPrefixMap adds the option to what -dumpspecs printed.
func withPrefixMap(specs []byte) ([]byte, error) {
	at := cc1Options.FindAllIndex(specs, -1)
	if len(at) != 1 {
		return nil, fmt.Errorf("it has cc1_options %d times", len(at))
	}
	end := at[0][1]
	return bytes.Join([][]byte{specs[:end], []byte(" " + prefixMap), specs[end:]}, nil), nil
}
