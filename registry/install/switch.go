package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ampoule/registry"
	"ampoule/system"
	"ampoule/tree"
)

// Activate makes a release that is installed below a root the current one, in one step. The
// release is compared with its record before, as Care says.
//
// A digest that is not installed is a [*registry.NotFoundError]; a release that is not as its
// record says is a [*VerificationError]; whatever Allow and Before return is returned as it is. With any
// error the current release stays as it was.
func Activate(ctx context.Context, root, digest string, o SwitchOptions) (Switched, error) {
	return switchTo(ctx, root, digest, OpActivate, o)
}

// Rollback is [Activate] of the release that was current before the current one; of a digest, if
// one is given. Called again, it goes back further. Where there is nothing to go back to, that is a
// [*registry.NotFoundError]. It waits for no installation, and it works on a full disk as long as a link
// can be made: what the journal cannot take then is lost.
func Rollback(ctx context.Context, root, digest string, o SwitchOptions) (Switched, error) {
	return switchTo(ctx, root, digest, OpRollback, o)
}

func switchTo(ctx context.Context, root, digest, op string, o SwitchOptions) (Switched, error) {
	if digest != "" {
		pinned, err := registry.PinnedDigest(digest)
		if err != nil {
			return Switched{}, err
		}
		digest = pinned
	}
	s, err := openSwitch(ctx, root)
	if err != nil {
		return Switched{}, hostError(switching, root, err)
	}
	done, err := s.switchTo(ctx, digest, op, o)
	done.Warnings = s.warnings()
	_ = s.close()
	return done, hostError(switching, root, err)
}

func (s *site) switchTo(ctx context.Context, digest, op string, o SwitchOptions) (Switched, error) {
	from, err := s.current()
	if ignoreMissing(err) != nil {
		return Switched{}, err
	}
	events, err := s.history()
	if err != nil {
		return Switched{}, err
	}
	if digest == "" {
		digest = s.previous(wayTo(events, digestOfRelease(from)))
	}
	if digest == "" {
		return Switched{}, &registry.NotFoundError{What: "release to go back to below " + s.root}
	}
	r, err := s.record(releaseName(digest))
	if err != nil {
		return Switched{}, err
	}
	done := Switched{From: digestOfRelease(from), To: s.describe(r), Same: r.release() == from}
	done.To.Active = true
	if o.Care == Skim && !(r.Dated && wasCurrent(events, digest)) {
		o.Care = Glance
	}
	if err := s.compare(ctx, r, o.Care); err != nil {
		return done, err
	}
	if o.Allow != nil {
		kept, err := s.grounds(r.release())
		if err == nil {
			err = o.Allow(ctx, kept)
		}
		if err != nil {
			return done, err
		}
	}
	if o.Before != nil {
		if err := o.Before(ctx, s.candidate(r, nil, nil)); err != nil {
			return done, err
		}
	}
	if done.Same {
		return done, nil
	}
	err = s.activate(ctx, r.release(), op, o.By)
	if err == nil && o.After != nil {
		o.After(ctx, s.candidate(r, nil, nil))
	}
	return done, err
}

// previous is the last release of a way before its end that is still there.
func (s *site) previous(way []string) string {
	for _, digest := range slices.Backward(way[:max(0, len(way)-1)]) {
		if info, err := s.releases.Lstat(releaseName(digest)); err == nil && info.IsDir() && digest != way[len(way)-1] {
			return digest
		}
	}
	return ""
}

// record reads the head of the record of a release that is there. One that is not is a
// [*registry.NotFoundError].
func (s *site) record(release string) (record, error) {
	r, err := s.readHead(release)
	if err == nil {
		_, err = s.releases.Lstat(release)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, &registry.NotFoundError{What: "release " + digestOfRelease(release) + " below " + s.root}
	}
	return r, err
}

// compare compares a release with its record.
func (s *site) compare(ctx context.Context, r record, care Care) error {
	if care == Whole {
		v := verification{site: s, options: VerifyOptions{Platform: r.Platform, Release: r.Digest}}
		_, err := v.run(ctx)
		return err
	}
	if care == Skim {
		if same, err := s.skim(ctx, r); same || err != nil {
			return err
		}
	}
	r, err := s.readRecord(r.release())
	if err != nil {
		return err
	}
	if !r.proves() || digestOf([]byte(r.Files)) != r.Tree {
		return &VerificationError{
			What: s.shown(r.release()), Err: errors.New("its record does not tell its files"),
			Advice: fmt.Sprintf("ampoule host install %s --root %s: it reads the tree again, and writes the record", r.Ref, s.root),
		}
	}
	return s.glance(ctx, r)
}

// skimmers is how many directories are looked at at once.
const skimmers = 2

// skim reports whether the directories of a release are those of its record, with their modes, owners and
// times. It stops at the first that is not: something was made there and removed again, or is different,
// which a glance tells apart.
func (s *site) skim(ctx context.Context, r record) (same bool, err error) {
	dirs, err := parseListing(r.dirs)
	if err != nil {
		return false, nil //nolint:nilerr // a glance tells it
	}
	dir, info, err := openChild(s.releases, r.release(), s.shown(r.release()))
	if err != nil {
		return false, err
	}
	defer func() { _ = dir.Close() }()
	top, err := dir.Open(".")
	if err != nil {
		return false, err
	}
	defer func() { _ = top.Close() }() // it was only read
	if info.Mode() != fs.ModeDir|0o755 || !s.trusts(info) || !info.ModTime().Equal(tree.Time) {
		return false, nil
	}
	group, ctx := errgroup.WithContext(ctx)
	for i := range skimmers {
		group.Go(func() error {
			for n := i; n < len(dirs) && ctx.Err() == nil; n += skimmers {
				seen, err := seenAt(system.RawOf(top), dirs[n].Path)
				if err != nil || seen.Mode != fs.ModeDir|dirs[n].Mode || !seen.Written.Equal(tree.Time) || !s.trustsOwner(seen.Owner) {
					return errDiffers
				}
			}
			return context.Cause(ctx)
		})
	}
	err = group.Wait()
	if errors.Is(err, errDiffers) {
		return false, nil
	}
	return err == nil, err
}

// errDiffers ends a skim.
var errDiffers = errors.New("a directory differs")

// glance compares what can be seen of a release without reading its files: which there are,
// their kinds, modes, times and whole size. It takes milliseconds.
func (s *site) glance(ctx context.Context, r record) error {
	entries, err := parseListing(r.Files)
	if err != nil {
		return &VerificationError{What: s.shown(r.release()), Err: err}
	}
	dir, info, err := openChild(s.releases, r.release(), s.shown(r.release()))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	g := glancing{site: s, entries: entries, index: make(map[string]int, len(entries)), seen: make([]bool, len(entries)), left: r.Bytes}
	for i := range entries {
		g.index[entries[i].Path] = i
	}
	if info.Mode() != fs.ModeDir|0o755 || !s.trusts(info) {
		g.differs = append(g.differs, ".")
	}
	top, err := dir.Open(".")
	if err != nil {
		return err
	}
	if err := g.dir(ctx, top, ""); err != nil {
		return err
	}
	for i, seen := range g.seen {
		if !seen {
			g.differs = append(g.differs, entries[i].Path)
		}
	}
	if len(g.differs) == 0 && (r.Bytes == 0 || g.left == 0) {
		return nil
	}
	slices.Sort(g.differs)
	return &VerificationError{
		What: s.shown(r.release()), Err: errors.New("it is not as it was installed"), Files: g.differs,
		Advice: "install the same reference again: a damaged release is replaced",
	}
}

// glancing is a look over a release.
type glancing struct {
	*site
	// entries are what must be there, and index says where in them a path is; seen are those that
	// are.
	entries []tree.Entry
	index   map[string]int
	seen    []bool
	differs []string
	// left is what the files seen lack of their whole size.
	left int64
}

// dir looks at what an open directory holds, and closes it. Its path ends with a slash, or is empty.
func (g *glancing) dir(ctx context.Context, dir *os.File, path string) error {
	defer func() { _ = dir.Close() }() // it was only read
	if err := context.Cause(ctx); err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		seen, err := seenAt(system.RawOf(dir), name)
		if err != nil {
			return pathError("fstatat", path+name, err)
		}
		i, known := g.index[path+name]
		if !known || !g.matches(g.entries[i], seen) {
			g.differs = append(g.differs, path+name)
		}
		if !known {
			continue
		}
		g.seen[i] = true
		if g.entries[i].Kind != tree.Dir || !seen.Mode.IsDir() {
			continue
		}
		below, err := openAt(system.RawOf(dir), name, os.O_RDONLY|system.OnlyDirectory, 0)
		if err != nil {
			return pathError("openat", path+name, err)
		}
		if err := g.dir(ctx, os.NewFile(uintptr(below), name), path+name+"/"); err != nil {
			return err
		}
	}
	return nil
}

// matches reports whether what is seen can be what must be there.
func (g *glancing) matches(e tree.Entry, seen system.Look) bool {
	if !g.trustsOwner(seen.Owner) {
		return false
	}
	switch e.Kind {
	case tree.Dir:
		return seen.Mode.IsDir() && seen.Mode.Perm() == e.Mode
	case tree.Symlink:
		return seen.Mode.Type() == fs.ModeSymlink
	default:
		g.left -= seen.Size
		return seen.Mode == onDisk(e.Mode) && seen.Written.Equal(tree.Time) || seen.Mode == e.Mode
	}
}

// describe is what a record says of a release.
func (s *site) describe(r record) Release {
	files := r.Entries
	if r.Version < listedVersion {
		files = strings.Count(r.Files, "\n")
	}
	return Release{
		Digest: r.Digest, Ref: r.Ref, Platform: r.Platform, Path: s.shown(r.release()), Tree: r.Tree,
		Files: files,
	}
}

// List returns the releases below a root. It changes nothing, and needs no right to write.
func List(ctx context.Context, root string) (Listing, error) {
	s, err := lookAt(root)
	if err != nil {
		return Listing{}, hostError(reading, root, err)
	}
	defer func() { _ = s.closeDirs() }()
	found, err := s.list(ctx)
	if err != nil {
		return Listing{}, hostError(reading, root, err)
	}
	users := s.users(ctx)
	for i := range found {
		found[i].Processes = users.of(found[i])
	}
	return Listing{Releases: found, Unseen: users.unseen, Warnings: s.warnings()}, context.Cause(ctx)
}

// list lists the releases, without the processes that use them.
func (s *site) list(ctx context.Context) ([]Release, error) {
	current, err := s.current()
	if ignoreMissing(err) != nil {
		return nil, err
	}
	events, err := s.history()
	if err != nil {
		return nil, err
	}
	names, err := s.releaseNames()
	if err != nil {
		return nil, err
	}
	activated, installed := lastUsed(events)
	previous := s.previous(wayTo(events, digestOfRelease(current)))
	var all []Release
	for _, name := range names {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		r := Release{Digest: digestOfRelease(name), Path: s.shown(name)}
		if kept, err := s.readHead(name); err == nil {
			r = s.describe(kept)
		} else {
			r.Broken = err.Error()
		}
		r.Active, r.Previous = name == current, r.Digest == previous
		r.Activated, r.Installed = activated[r.Digest], installed[r.Digest]
		if r.Installed.IsZero() {
			r.Installed = s.recordTime(name)
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Release) int {
		if a.Active != b.Active {
			return map[bool]int{true: -1, false: 1}[a.Active]
		}
		return b.used().Compare(a.used())
	})
	return all, nil
}

// releaseNames lists what has the form of a release.
func (s *site) releaseNames() ([]string, error) {
	dir, err := s.releases.Open(".")
	if err != nil {
		return nil, err
	}
	list, err := dir.ReadDir(-1)
	var names []string
	for _, d := range list {
		if d.IsDir() && releaseForm.MatchString(d.Name()) {
			names = append(names, d.Name())
		}
	}
	slices.Sort(names)
	return names, errors.Join(err, dir.Close())
}

// recordTime is when a release's record was written: when it was installed, for those that no
// journal tells of.
func (s *site) recordTime(release string) time.Time {
	info, err := s.releases.Lstat(release + ".json")
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// used is when the release was used last.
func (r Release) used() time.Time {
	if r.Activated.After(r.Installed) {
		return r.Activated
	}
	return r.Installed
}
