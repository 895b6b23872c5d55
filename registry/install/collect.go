package install

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"ampoule/faults"
	"ampoule/registry"
	"ampoule/tree"
)

// Collect removes the releases that were used least lately, but for the last ones, the active
// one and those that a process uses, and then the content that no release needs. It waits for
// installations to end.
//
// A release goes away in one step: it leaves its place before anything of it is removed, and comes
// back if a process that has begun meanwhile uses it.
func Collect(ctx context.Context, root string, o CollectOptions) (Collected, error) {
	if o.Keep < 1 {
		return Collected{}, faults.New(faults.Usage, "the active release counts", "keeping %d releases: it must be at least 1", o.Keep)
	}
	s, err := openExisting(ctx, root)
	if err != nil {
		return Collected{}, hostError(removing, root, err)
	}
	done, err := s.collect(ctx, o)
	_ = s.close()
	return done, hostError(removing, root, err)
}

func (s *site) collect(ctx context.Context, o CollectOptions) (Collected, error) {
	all, err := s.list(ctx)
	if err != nil {
		return Collected{}, err
	}
	users := s.users(ctx)
	done := Collected{Unseen: users.unseen}
	var remove []Release
	for _, r := range all[min(o.Keep, len(all)):] {
		r.Processes = users.of(r)
		switch {
		case r.Broken != "": // no installation made it, or nobody knows
		case len(r.Processes) > 0:
			done.Kept = append(done.Kept, r)
		case !r.Active:
			remove = append(remove, r)
		}
	}
	if o.Dry {
		done.Removed = remove
		return done, nil
	}
	if err := s.removeAll(ctx, &done, remove); err != nil {
		return done, err
	}
	if len(done.Removed) > 0 || done.Content > 0 {
		return done, s.note(ctx, Event{Op: OpCollect, By: o.By})
	}
	return done, nil
}

// removeAll removes releases, and then the content that no release needs.
func (s *site) removeAll(ctx context.Context, done *Collected, releases []Release) error {
	return s.content.keeping(ctx, func() error {
		if err := s.removeReleases(ctx, done, releases); err != nil {
			return err
		}
		return s.collectContent(ctx, done)
	})
}

// removeReleases removes releases, each in one step, and notes them.
func (s *site) removeReleases(ctx context.Context, done *Collected, releases []Release) error {
	for _, r := range releases {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		name := releaseName(r.Digest)
		kept, err := s.putAway(ctx, name)
		if err != nil {
			return err
		}
		if kept != nil {
			r.Processes = kept
			done.Kept = append(done.Kept, r)
			continue
		}
		done.Removed = append(done.Removed, r)
		if err := s.note(ctx, Event{Op: OpRemove, Digest: r.Digest}); err != nil && !isFull(err) {
			return err
		}
		done.Bytes += s.freed(path.Join(s.staging, name))
		if err := removeAll(s.releases, path.Join(s.staging, name)); err != nil {
			return err
		}
	}
	return nil
}

// putAway moves a release out of its place, unless it has become the active one. It comes back
// if a process uses it, which is returned.
func (s *site) putAway(ctx context.Context, name string) ([]Process, error) {
	if err := s.takeSwitch(ctx); err != nil {
		return nil, err
	}
	defer func() { _ = s.releaseSwitch() }()
	if current, err := s.current(); ignoreMissing(err) != nil || current == name {
		return []Process{}, err
	}
	away := path.Join(s.staging, name)
	if err := s.releases.Rename(name, away); err != nil {
		return nil, err
	}
	if used := s.users(ctx).byRelease[s.staging]; len(used) > 0 || ctx.Err() != nil {
		return used, errors.Join(s.releases.Rename(away, name), context.Cause(ctx))
	}
	// What it holds goes only when its name is gone for good.
	if err := syncDir(s.releases); err != nil {
		return nil, err
	}
	return nil, errors.Join(ignoreMissing(s.releases.Remove(name+noteSuffix)), ignoreMissing(s.releases.Remove(name+".json")))
}

// freed is the size of the files below a directory that have no other name.
func (s *site) freed(dir string) (bytes int64) {
	_ = fs.WalkDir(s.releases.FS(), dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // what cannot be seen is not counted
		}
		if info, err := d.Info(); err == nil && linksOf(info) == 1 {
			bytes += info.Size()
		}
		return nil
	})
	return bytes
}

// collectContent removes the content, and what is known of layers, that no release has.
func (s *site) collectContent(ctx context.Context, done *Collected) error {
	if s.content == nil {
		return nil
	}
	files, layers, err := s.needed(ctx)
	if err != nil {
		return err
	}
	names, err := s.content.all()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if _, isContent := keyMode(name); !isContent || files[name] {
			continue
		}
		info, err := s.content.root.Lstat(name)
		if err != nil || !info.Mode().IsRegular() || !s.trusts(info) {
			continue
		}
		if err := s.content.root.Remove(name); err != nil {
			return err
		}
		done.Content++
		if linksOf(info) == 1 {
			done.Bytes += info.Size()
		}
	}
	return s.collectLayers(layers)
}

// collectLayers removes what is known of layers that no release has, and what interrupted
// installations left there.
func (s *site) collectLayers(layers map[string]bool) error {
	dir, err := s.content.layers.Open(".")
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return err
	}
	for _, name := range names {
		info, err := s.content.layers.Lstat(name)
		if err != nil || layers[name] || !info.Mode().IsRegular() || !s.trusts(info) || !layerForm.MatchString(name) && !stagingForm.MatchString(name) {
			continue
		}
		if err := s.content.layers.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// needed lists the content and the layers that the releases have.
func (s *site) needed(ctx context.Context) (files, layers map[string]bool, err error) {
	files, layers = map[string]bool{}, map[string]bool{}
	names, err := s.releaseNames()
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		if err := context.Cause(ctx); err != nil {
			return nil, nil, err
		}
		r, err := s.readRecord(name)
		if err != nil {
			continue
		}
		entries, err := parseListing(r.Files)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if e.Kind == tree.File {
				files[contentKey(e)] = true
			}
		}
		if m, err := v1.ParseManifest(strings.NewReader(string(r.Manifest))); err == nil {
			for _, l := range m.Layers {
				layers[layerFile(l.Digest.String())] = true
			}
		}
	}
	return files, layers, nil
}

// Uninstall removes releases. The active one, and one that a process uses, is an
// [*InUseError], and then nothing is removed. A digest that is not installed is a
// [*registry.NotFoundError].
func Uninstall(ctx context.Context, root string, o UninstallOptions) (Collected, error) {
	if o.All == (len(o.Digests) > 0) {
		return Collected{}, faults.New(faults.Usage, "", "uninstalling: want digests, or all")
	}
	s, err := openExisting(ctx, root)
	if err != nil {
		return Collected{}, hostError(removing, root, err)
	}
	done, err := s.uninstall(ctx, o)
	_ = s.close()
	return done, hostError(removing, root, err)
}

func (s *site) uninstall(ctx context.Context, o UninstallOptions) (Collected, error) {
	all, err := s.list(ctx)
	if err != nil {
		return Collected{}, err
	}
	users := s.users(ctx)
	done := Collected{Unseen: users.unseen}
	chosen := all
	if !o.All {
		if chosen, err = s.choose(all, o.Digests); err != nil {
			return done, err
		}
	}
	for _, r := range chosen {
		if r.Active && !o.All {
			return done, &InUseError{Release: r}
		}
		if used := users.of(r); len(used) > 0 {
			return done, &InUseError{Release: r, Processes: used}
		}
	}
	if o.All {
		return done, s.removeRoot(ctx, &done, chosen)
	}
	return done, s.removeAll(ctx, &done, chosen)
}

// choose finds releases by digests.
func (s *site) choose(all []Release, digests []string) ([]Release, error) {
	var chosen []Release
	for _, digest := range digests {
		pinned, err := registry.PinnedDigest(digest)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(all, func(r Release) bool { return r.Digest == pinned })
		if i < 0 {
			return nil, &registry.NotFoundError{What: "release " + pinned + " below " + s.root}
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// removeRoot removes everything that installations made below the root. What somebody else put
// there stays, and the root itself.
func (s *site) removeRoot(ctx context.Context, done *Collected, all []Release) error {
	if err := s.takeSwitch(ctx); err != nil {
		return err
	}
	if err := ignoreMissing(s.dir.Remove(currentName)); err != nil {
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return err
	}
	if err := s.releaseSwitch(); err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(r Release) bool { return r.Broken != "" })
	if err := s.removeAll(ctx, done, all); err != nil {
		return err
	}
	if s.content != nil {
		_ = s.content.root.Remove(stampsName)
		_ = s.content.root.Remove(layersName)
		_ = s.dir.Remove(contentName)
	}
	if len(done.Kept) == 0 {
		return ignoreMissing(s.dir.Remove(journalName))
	}
	return nil
}
