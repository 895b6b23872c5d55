// Package install puts an artifact's tree onto this machine: a release directory
// for each digest, and a link "current" that is switched in one step.
//
//	ROOT/releases/sha256-HEX/       the tree: bin, lib, …
//	ROOT/releases/sha256-HEX.json   what it must be
//	ROOT/current                    → releases/sha256-HEX
//
// Nothing in a release is trusted until the tree's hash, computed from what is on
// disk, is the one that the artifact's configuration names.
package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ampoule/registry"
	"ampoule/tree"
)

const (
	releasesName = "releases"
	currentName  = "current"
	// unfinished begins the names of what an interrupted installation leaves.
	unfinished = ".tmp-"
)

// Source is where artifacts come from; [*registry.Registry] is one.
type Source interface {
	Resolve(ctx context.Context, ref string) (registry.Description, error)
	OpenLayer(ctx context.Context, l registry.LayerInfo) (io.ReadCloser, error)
}

// Options says where to install what.
type Options struct {
	// Root is the directory that holds the releases. It is made if it is missing.
	Root string
	// Platform is OS/ARCH, for example linux/amd64.
	Platform string
	// Before is called with the release's directory before it becomes the current one;
	// its error keeps the current one as it was. Nil is nothing.
	Before func(ctx context.Context, release string) error
}

// Installed is one release on this machine.
type Installed struct {
	// Ref and Digest name the artifact.
	Ref      string
	Digest   string
	Platform string
	// Release is the directory that holds the tree.
	Release string
	// TreeHash is the tree's hash, recomputed from the release.
	TreeHash string
	// Files is the number of entries in the tree.
	Files int
	// Present says that the release was there already and was found whole;
	// Repaired, that it was there, damaged, and is replaced.
	Present, Repaired bool
}

// Install makes the artifact's tree the current one below a root. It waits for
// another installation below that root to end, removes what an interrupted one
// left, fetches the layers of the tree (never those of the base), unpacks and
// verifies them, and only then switches. A release that is there is verified
// again; a damaged one is replaced. Whatever ends it early, the current release
// stays as it was.
//
// What is not as the artifact says is a [*VerificationError]; a full disk or a
// missing right is a [*HostError].
func Install(ctx context.Context, src Source, ref string, o Options) (Installed, error) {
	d, err := src.Resolve(ctx, ref)
	if err != nil {
		return Installed{}, err
	}
	want, layers, err := plan(d, o.Platform)
	if err != nil {
		return Installed{}, err
	}
	s, err := openSite(ctx, o.Root)
	if err != nil {
		return Installed{}, hostError(o.Root, err)
	}
	defer s.close()
	done, err := s.install(ctx, src, want, layers, o.Before)
	if err != nil {
		return Installed{}, hostError(o.Root, err)
	}
	return done, nil
}

// Verify recomputes the hash of the current release below a root. A release that
// is not as it was installed is a [*VerificationError] that names its files; a
// root without one is a [*registry.NotFoundError].
func Verify(root string) (Installed, error) {
	s := &site{root: root}
	link, err := os.Readlink(filepath.Join(root, currentName))
	if errors.Is(err, fs.ErrNotExist) {
		return Installed{}, &registry.NotFoundError{What: "current release below " + root}
	}
	if err != nil {
		return Installed{}, hostError(root, fmt.Errorf("finding the current release: %w", err))
	}
	want, err := s.readRecord(filepath.Base(link))
	if err != nil {
		return Installed{}, hostError(root, err)
	}
	return s.verify(want)
}

// plan finds what is to be installed in an artifact's description.
func plan(d registry.Description, platform string) (record, []registry.LayerInfo, error) {
	image, err := d.Image(platform)
	if err != nil {
		return record{}, nil, err
	}
	want := record{Ref: d.Ref, Digest: d.Digest, Platform: platform, Tree: image.Config.Labels[registry.LabelTree]}
	if want.Tree == "" {
		return record{}, nil, &VerificationError{
			What: d.Ref, Err: fmt.Errorf("it has no label %s: it is no artifact of Ampoule", registry.LabelTree),
		}
	}
	var layers []registry.LayerInfo
	for _, l := range image.Layers {
		if !l.Base {
			layers = append(layers, l)
		}
	}
	return want, layers, nil
}

// install makes a release and switches to it.
func (s *site) install(ctx context.Context, src Source, want record, layers []registry.LayerInfo, before func(context.Context, string) error) (Installed, error) {
	done, err := s.existing(want)
	if err != nil {
		return Installed{}, err
	}
	if !done.Present {
		t, err := s.fetch(ctx, src, want, layers)
		if err != nil {
			return Installed{}, err
		}
		done = s.installed(want, t)
		if done.Repaired, err = s.place(want.with(t)); err != nil {
			return Installed{}, err
		}
	}
	if before != nil {
		if err := before(ctx, done.Release); err != nil {
			return Installed{}, err
		}
	}
	return done, s.activate(want.release())
}

// existing verifies the release if it is there. A damaged one, or one without its
// record, is not present.
func (s *site) existing(want record) (Installed, error) {
	if _, err := os.Lstat(s.path(want.release())); err != nil {
		if os.IsNotExist(err) {
			return Installed{}, nil
		}
		return Installed{}, err
	}
	t, err := tree.FromDir(s.path(want.release()))
	if err != nil || t.Hash() != want.Tree {
		return Installed{}, nil
	}
	if err := s.writeRecord(want.with(t)); err != nil {
		return Installed{}, err
	}
	done := s.installed(want, t)
	done.Present = true
	return done, nil
}

// fetch unpacks the layers into the site's staging directory and verifies the tree.
func (s *site) fetch(ctx context.Context, src Source, want record, layers []registry.LayerInfo) (*tree.Tree, error) {
	staging := s.path(s.staging)
	if err := os.Mkdir(staging, 0o755); err != nil {
		return nil, err
	}
	if err := unpack(ctx, src, layers, staging); err != nil {
		return nil, err
	}
	t, err := tree.FromDir(staging)
	if err != nil {
		return nil, &VerificationError{What: want.Ref, Err: err}
	}
	if t.Hash() != want.Tree {
		return nil, &VerificationError{What: want.Ref, Err: fmt.Errorf("the unpacked tree is %s, not %s", t.Hash(), want.Tree)}
	}
	return t, nil
}

func (s *site) installed(want record, t *tree.Tree) Installed {
	return Installed{
		Ref: want.Ref, Digest: want.Digest, Platform: want.Platform,
		Release: s.path(want.release()), TreeHash: t.Hash(), Files: t.Len(),
	}
}

// verify compares a release with its record.
func (s *site) verify(want record) (Installed, error) {
	t, err := tree.FromDir(s.path(want.release()))
	if err != nil {
		return Installed{}, &VerificationError{What: s.path(want.release()), Err: err}
	}
	if t.Hash() != want.Tree {
		return Installed{}, &VerificationError{
			What: s.path(want.release()), Files: want.differences(t),
			Err: fmt.Errorf("its tree is %s, not %s", t.Hash(), want.Tree),
		}
	}
	return s.installed(want, t), nil
}

// releaseName is the name of a digest's release.
func releaseName(digest string) string { return strings.Replace(digest, ":", "-", 1) }
