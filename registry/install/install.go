// Package install puts an artifact's tree onto this machine: a release directory
// for each digest, and a link "current" that is switched in one step.
//
//	ROOT/releases/sha256-HEX/       the tree: bin, lib, …
//	ROOT/releases/sha256-HEX.json   what it must be, and what ties that to the digest
//	ROOT/releases/.lock             the lock of whoever installs or collects
//	ROOT/releases/.switch           the lock of whoever switches or removes
//	ROOT/content/HEX-MODE           each file's content once, for all releases
//	ROOT/content/layers/HEX         which files a layer has
//	ROOT/journal                    what was done, when and by whom
//	ROOT/current                    → releases/sha256-HEX
//
// Nothing in a release is trusted until the tree's hash is the one that the artifact's
// configuration names. It is computed from the bytes that are written, and from those of content
// that was there, which is read each time.
//
// Files are read-only and have one time. They are clones of the content where the file system has
// clones, else other names of it: then a file that is changed in its place is changed in all
// releases, which [Verify] finds, and installing mends.
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
	"maps"
	"path"
	"slices"

	"golang.org/x/sync/errgroup"

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
	// Before is called with the release before it becomes the current one;
	// its error keeps the current one as it was. Nil is nothing.
	Before func(ctx context.Context, c Candidate) error
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
	// Fetched are the digests of the layers that were fetched: those whose files were not all here.
	Fetched []string
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
	return add(ctx, src, ref, o, true)
}

// Add is [Install] without the switch: the release is there, verified, for [Activate]. The
// current release stays as it is.
func Add(ctx context.Context, src Source, ref string, o Options) (Installed, error) {
	return add(ctx, src, ref, o, false)
}

func add(ctx context.Context, src Source, ref string, o Options, activate bool) (Installed, error) {
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
	done, err := s.install(ctx, src, want, layers, o.Before, o.By, activate)
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
func (s *site) install(ctx context.Context, src Source, want record, layers []registry.LayerInfo, before func(context.Context, Candidate) error, by string, activate bool) (Installed, error) {
	done, t, err := s.existing(ctx, want)
	if err != nil {
		return Installed{}, err
	}
	var u *unpacker
	if !done.Present {
		if u, t, err = s.fetch(ctx, src, want, layers); err != nil {
			return Installed{}, err
		}
		done, want.Dated = s.installed(want, t), true
		if done.Repaired, err = s.place(ctx, want.with(t), u, t); err != nil {
			return Installed{}, err
		}
		done.Fetched = slices.Sorted(maps.Keys(u.fetched))
		done.Warnings = append(done.Warnings, s.copied()...)
		if err := s.note(ctx, Event{Op: OpInstall, Digest: want.Digest, By: by}); err != nil {
			done.Warnings = append(done.Warnings, err.Error())
		}
	}
	if before != nil {
		if err := before(ctx, s.candidate(want, t, u)); err != nil {
			return Installed{}, err
		}
	}
	if !activate {
		return done, nil
	}
	return done, s.activate(ctx, want.release(), OpActivate, by)
}

// existing verifies the release if it is there, keeps what proves it, and returns its tree. A damaged
// one is not present if an installation made it, which its record tells; without a
// record it is an [*UnsafeError].
func (s *site) existing(ctx context.Context, want record) (Installed, *tree.Tree, error) {
	release := want.release()
	kept, recordErr := s.readRecord(release)
	if recordErr != nil && !errors.Is(recordErr, fs.ErrNotExist) {
		return Installed{}, nil, recordErr
	}
	info, err := s.releases.Lstat(release)
	if errors.Is(err, fs.ErrNotExist) {
		return Installed{}, nil, nil
	}
	if err != nil {
		return Installed{}, nil, err
	}
	t, strangers, err := s.read(ctx, release)
	t = kept.restored(want.Tree, t)
	if ended := context.Cause(ctx); ended != nil {
		return Installed{}, nil, ended
	}
	if err == nil && t.Hash() == want.Tree && len(strangers) == 0 && info.Mode() == fs.ModeDir|0o755 {
		done := s.installed(want, t)
		done.Present, want.Dated = true, kept.Dated
		return done, t, s.writeRecord(want.with(t))
	}
	if recordErr != nil || !info.IsDir() {
		return Installed{}, nil, &UnsafeError{
			Path: s.shown(release), Why: "is there, and no record says that an installation made it",
			Advice: "find out what it is, and move it away",
		}
	}
	return Installed{}, nil, nil
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

// fetch makes the tree in the staging directory and verifies it. Where what is known of layers
// turns out to be wrong, all of them are fetched.
func (s *site) fetch(ctx context.Context, src Source, want record, layers []registry.LayerInfo) (*unpacker, *tree.Tree, error) {
	u, t, err := s.unpack(ctx, src, want, layers)
	if err == nil {
		if hash := t.Hash(); hash != want.Tree {
			err = &VerificationError{What: want.Ref, Err: fmt.Errorf("the unpacked tree is %s, not %s", hash, want.Tree)}
		}
	}
	wrong := errors.As(err, new(*VerificationError)) || isRefusal(err) || errors.Is(err, fs.ErrExist) || errors.Is(err, errGone)
	if !wrong || u == nil || !u.listed {
		return u, t, err
	}
	for _, l := range layers {
		if err := s.content.forget(l.Digest); err != nil {
			return nil, nil, err
		}
	}
	if err := removeAll(s.releases, path.Join(s.staging, stagedTree)); err != nil {
		return nil, nil, err
	}
	return s.fetch(ctx, src, want, layers)
}

// unpack makes the tree of layers. Its hash is that of the bytes that were written, or that were
// read of content that was here.
func (s *site) unpack(ctx context.Context, src Source, want record, layers []registry.LayerInfo) (*unpacker, *tree.Tree, error) {
	staged := path.Join(s.staging, stagedTree)
	if err := makeDir(s.releases, staged); err != nil {
		return nil, nil, err
	}
	dir, err := s.releases.OpenRoot(staged)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = dir.Close() }()
	u := newUnpacker(dir)
	u.content = s.content
	err = u.unpack(ctx, src, layers)
	if ended := context.Cause(ctx); ended != nil {
		return nil, nil, ended
	}
	if err != nil {
		return u, nil, err
	}
	var finishing errgroup.Group
	finishing.Go(func() error { return u.finish(ctx) })
	t, err := u.tree()
	if err != nil {
		err = &VerificationError{What: want.Ref, Err: err}
	}
	return u, t, errors.Join(err, finishing.Wait())
}

// installed tells of a release whose tree is the one that must be there.
func (s *site) installed(want record, t *tree.Tree) Installed {
	return Installed{
		Ref: want.Ref, Digest: want.Digest, Platform: want.Platform, Release: s.shown(want.release()),
		TreeHash: want.Tree, Files: t.Len(), Warnings: s.warnings(),
	}
}
