// Package install puts an artifact's tree onto this machine: a release directory
// for each digest, and a link "current" that is switched in one step.
//
//	ROOT/releases/sha256-HEX/       the tree: bin, lib, …
//	ROOT/releases/sha256-HEX.json   what it must be, and what ties that to the digest
//	ROOT/releases/.lock             the lock of whoever installs
//	ROOT/current                    → releases/sha256-HEX
//
// Nothing in a release is trusted until the tree's hash, computed from what is on
// disk, is the one that the artifact's configuration names.
//
// An installation uses, replaces and removes only what one made: names have exactly
// the forms above, and what bears them is looked at before it is touched. It works
// below open directories, so that no link leads out of the root. What it makes has
// the modes of the tree, and otherwise 0755 or 0644, whatever the umask.
package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"ampoule/registry"
	"ampoule/tree"
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
	// Allow decides whether an artifact may be installed, and gives the evidence that is kept
	// beside the release; its error refuses. Nil allows everything.
	Allow func(ctx context.Context, d registry.Description) ([]registry.Evidence, error)
	// By says who asks for it, for the journal; empty says nothing.
	By string
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
	// Warnings tell what others could do to the root, or could not do with it.
	Warnings []string
}

// Install makes the artifact's tree the current one below a root. It waits for
// another installation below that root to end, removes what an interrupted one
// left, fetches the layers of the tree (never those of the base), unpacks and
// verifies them, and only then switches. A release that is there is verified
// again; a damaged one is replaced. Whatever ends it early, the current release
// stays as it was.
//
// What is not as the artifact says is a [*VerificationError]; a full disk or a
// missing right is an error of kind Machine; a root that is a link, or that others than root and
// the one that runs this may change, and what is in the way and was made by no
// installation, is an [*UnsafeError].
func Install(ctx context.Context, src Source, ref string, o Options) (Installed, error) {
	return install(ctx, src, ref, o, true)
}

// Add is [Install] without the switch: the release is there, verified, for [Activate]. The
// current release stays as it is.
func Add(ctx context.Context, src Source, ref string, o Options) (Installed, error) {
	return install(ctx, src, ref, o, false)
}

func install(ctx context.Context, src Source, ref string, o Options, activate bool) (Installed, error) {
	d, err := src.Resolve(ctx, ref)
	if err != nil {
		return Installed{}, err
	}
	want, layers, err := plan(d, o.Platform)
	if err != nil {
		return Installed{}, err
	}
	if o.Allow != nil {
		found, err := o.Allow(ctx, d)
		if err != nil {
			return Installed{}, err
		}
		want.Grounds = &Grounds{Name: d.Name, Digest: d.Digest, Tree: want.Tree, Evidence: found}
	}
	s, err := openSite(ctx, o.Root)
	if err != nil {
		return Installed{}, hostError(installing, o.Root, err)
	}
	done, err := s.install(ctx, src, want, layers, o.Before, activate)
	// What cannot be removed now is removed by the next installation.
	_ = s.close()
	if err != nil {
		return Installed{}, hostError(installing, o.Root, err)
	}
	return done, nil
}

// plan finds what is to be installed in an artifact's description, and verifies that
// the tree's hash follows from the digest.
func plan(d registry.Description, platform string) (record, []registry.LayerInfo, error) {
	image, err := d.Image(platform)
	if err != nil {
		return record{}, nil, err
	}
	want := record{Ref: d.Ref, Digest: d.Digest, Platform: platform, chain: chainOf(d, image)}
	if want.Tree, err = want.follow(d.Digest, platform, &checks{}); err != nil {
		return record{}, nil, &VerificationError{What: d.Ref, Err: err}
	}
	if err := want.check(releaseName(d.Digest)); err != nil {
		return record{}, nil, &VerificationError{What: d.Ref, Err: err}
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
func (s *site) install(ctx context.Context, src Source, want record, layers []registry.LayerInfo, before func(context.Context, string) error, activate bool) (Installed, error) {
	done, err := s.existing(ctx, want)
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
	if !activate {
		return done, nil
	}
	return done, s.activate(want.release())
}

// existing verifies the release if it is there, and keeps what proves it. A damaged
// one is not present if an installation made it, which its record tells; without a
// record it is an [*UnsafeError].
func (s *site) existing(ctx context.Context, want record) (Installed, error) {
	release := want.release()
	_, recordErr := s.readRecord(release)
	if recordErr != nil && !errors.Is(recordErr, fs.ErrNotExist) {
		return Installed{}, recordErr
	}
	info, err := s.releases.Lstat(release)
	if errors.Is(err, fs.ErrNotExist) {
		return Installed{}, nil
	}
	if err != nil {
		return Installed{}, err
	}
	t, strangers, err := s.read(ctx, release)
	if ended := context.Cause(ctx); ended != nil {
		return Installed{}, ended
	}
	if err == nil && t.Hash() == want.Tree && len(strangers) == 0 && info.Mode() == fs.ModeDir|0o755 {
		done := s.installed(want, t)
		done.Present = true
		return done, s.writeRecord(want.with(t))
	}
	if recordErr != nil || !info.IsDir() {
		return Installed{}, &UnsafeError{
			Path: s.shown(release), Why: "is there, and no record says that an installation made it",
			Advice: "find out what it is, and move it away",
		}
	}
	return Installed{}, nil
}

// read reads a release's tree, and lists what in it belongs to others. Its owner,
// and root, may own what is in a release.
func (s *site) read(ctx context.Context, release string) (t *tree.Tree, strangers []string, err error) {
	dir, info, err := openChild(s.releases, release, s.shown(release))
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = dir.Close() }()
	if !s.trusts(info) {
		strangers = append(strangers, ".")
	}
	entries, bytes := int64(maxEntries), int64(maxBytes)
	t, err = tree.FromRoot(ctx, dir, func(p string, info fs.FileInfo) error {
		if !s.trusts(info) {
			strangers = append(strangers, p)
		}
		if info.Mode().IsRegular() {
			bytes -= info.Size()
		}
		entries--
		if entries < 0 || bytes < 0 {
			return fmt.Errorf("it has more than %d entries or %d bytes", int64(maxEntries), int64(maxBytes))
		}
		return nil
	})
	return t, strangers, err
}

// fetch unpacks the layers into the staging directory and verifies the tree.
func (s *site) fetch(ctx context.Context, src Source, want record, layers []registry.LayerInfo) (*tree.Tree, error) {
	staged := path.Join(s.staging, stagedTree)
	if err := makeDir(s.releases, staged, 0o755); err != nil {
		return nil, err
	}
	dir, err := s.releases.OpenRoot(staged)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	if err := unpack(ctx, src, layers, dir); err != nil {
		return nil, err
	}
	t, err := tree.FromRoot(ctx, dir, nil)
	if ended := context.Cause(ctx); ended != nil {
		return nil, ended
	}
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
		Ref: want.Ref, Digest: want.Digest, Platform: want.Platform, Release: s.shown(want.release()),
		TreeHash: t.Hash(), Files: t.Len(), Warnings: s.warnings(),
	}
}
