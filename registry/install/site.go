package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ampoule/registry"
	"ampoule/system"
	"ampoule/tree"
)

const (
	releasesName = "releases"
	currentName  = "current"
	// lockName is the lock of what takes its time, and switchName the one of moments, below
	// releases: going back does not wait for an installation. Who needs both takes them in this
	// order. Others cannot open them, so nobody else can keep an installation waiting.
	lockName   = ".lock"
	switchName = ".switch"
)

// What a staging directory holds. Everything that is unfinished is in it.
const (
	// markName is a link whose text says what made the directory: one that has no
	// such link is a stranger's.
	markName     = "made-by"
	stagedTree   = "tree"
	stagedRecord = "record.json"
)

// stagingForm is what staging directories are called: a prefix and [rand.Text].
var stagingForm = regexp.MustCompile(`^\.tmp-[A-Z2-7]{26}$`)

// mark is the text of a staging directory's mark.
func mark(staging string) string { return "ampoule install " + staging }

// site is a root, opened: every path below it is found through the open directories.
type site struct {
	// root is the root's path as it was given.
	root     string
	dir      *os.Root
	releases *os.Root
	// content is there once an installation made it.
	content *content
	// owner is the user that the root belongs to.
	owner int
	// lock is held, and staging is there, for what takes its time; switching is held for
	// moments.
	lock, switching *os.File
	staging         string
}

// lookAt opens a root that is there. A root that is missing, or that has no
// releases, is a [*registry.NotFoundError].
func lookAt(root string) (*site, error) {
	s := &site{root: root}
	err := s.open()
	if errors.Is(err, fs.ErrNotExist) {
		err = &registry.NotFoundError{What: "current release below " + root}
	}
	if err != nil {
		return nil, errors.Join(err, s.closeDirs())
	}
	return s, nil
}

// openSite makes the root if it is missing, waits for its lock and removes what an
// interrupted installation left. The lock ends with the process.
func openSite(ctx context.Context, root string) (*site, error) {
	s := &site{root: root}
	if err := s.begin(ctx, true); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// openExisting is [openSite] for a root that is there. One that is missing, or that has no
// releases, is a [*registry.NotFoundError].
func openExisting(ctx context.Context, root string) (*site, error) {
	s, err := lookAt(root)
	if err != nil {
		return nil, err
	}
	if err := s.begin(ctx, false); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// openSwitch opens a root that is there and waits for the lock of switching alone.
func openSwitch(ctx context.Context, root string) (*site, error) {
	s, err := lookAt(root)
	if err != nil {
		return nil, err
	}
	err = s.makeReleases()
	if err == nil {
		err = s.checkCurrent()
	}
	if err == nil {
		err = s.takeSwitch(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *site) begin(ctx context.Context, create bool) error {
	if create {
		if err := s.makeRoot(); err != nil {
			return err
		}
	}
	if err := s.makeReleases(); err != nil {
		return err
	}
	if err := s.checkCurrent(); err != nil {
		return err
	}
	var err error
	if s.lock, err = s.take(ctx, lockName); err != nil {
		return err
	}
	return errors.Join(s.sweep(ctx), s.openContent(false), s.stage())
}

// makeRoot makes the root if it is missing, and opens it.
func (s *site) makeRoot() error {
	abs, err := filepath.Abs(s.root)
	if err != nil {
		return err
	}
	if err := makeDirs(abs); err != nil {
		return err
	}
	if err := s.open(); err != nil && (s.dir == nil || !errors.Is(err, fs.ErrNotExist)) {
		return err
	}
	return nil
}

// checkCurrent refuses a current release that no installation made. There may be none.
func (s *site) checkCurrent() error {
	_, err := s.current()
	return ignoreMissing(err)
}

// open opens the root and its releases, which may be missing.
func (s *site) open() error {
	abs, err := filepath.Abs(s.root)
	if err != nil {
		return err
	}
	dir, info, err := openDir(abs, s.root)
	if err != nil {
		return err
	}
	s.dir, s.owner = dir, ownerOf(info)
	s.releases, _, err = openChild(s.dir, releasesName, filepath.Join(s.root, releasesName))
	return err
}

// makeReleases makes the directory of releases if it is missing. It refuses a root
// and releases that others may change.
func (s *site) makeReleases() error {
	if err := safe(s.dir, s.root); err != nil {
		return err
	}
	shown := filepath.Join(s.root, releasesName)
	if s.releases == nil {
		if err := makeDir(s.dir, releasesName); err != nil {
			return err
		}
		var err error
		if s.releases, _, err = openChild(s.dir, releasesName, shown); err != nil {
			return err
		}
	}
	return safe(s.releases, shown)
}

// safe refuses an open directory that others may change.
func safe(dir *os.Root, shown string) error {
	info, err := dir.Stat(".")
	if err != nil {
		return err
	}
	if unsafe := others(shown, info); unsafe != nil {
		return unsafe
	}
	return nil
}

// warnings tell what is dangerous about the place, and who cannot use it.
func (s *site) warnings() []string {
	var told []string
	shown := filepath.Join(s.root, releasesName)
	root, rootErr := s.dir.Stat(".")
	releases, err := s.releases.Stat(".")
	if err := errors.Join(rootErr, err); err != nil {
		return []string{err.Error()}
	}
	for _, unsafe := range []*UnsafeError{others(s.root, root), others(shown, releases)} {
		if unsafe != nil {
			told = append(told, unsafe.Error())
		}
	}
	if use := fs.FileMode(0o005); root.Mode()&use == use && releases.Mode()&use != use {
		told = append(told, fmt.Sprintf("other users cannot run what is in %s: its mode is %04o", shown, releases.Mode().Perm()))
	}
	if abs, err := filepath.Abs(s.root); err == nil {
		if above := exposed(abs); above != "" {
			told = append(told, above)
		}
	}
	return told
}

// trusts reports whether what is below the root may have this owner.
func (s *site) trusts(info fs.FileInfo) bool { return s.trustsOwner(ownerOf(info)) }

func (s *site) trustsOwner(owner int) bool {
	return owner == 0 || owner == s.owner || owner == os.Geteuid()
}

// shown is the path of something below releases, for people.
func (s *site) shown(name string) string { return filepath.Join(s.root, releasesName, name) }

// takeSwitch waits for the lock of switching, unless it is held.
func (s *site) takeSwitch(ctx context.Context) (err error) {
	if s.switching == nil {
		s.switching, err = s.take(ctx, switchName)
	}
	return err
}

// releaseSwitch lets go of the lock of switching.
func (s *site) releaseSwitch() error {
	if s.switching == nil {
		return nil
	}
	err := s.switching.Close()
	s.switching = nil
	return err
}

// take opens a lock and waits for it, until whoever has it lets go.
func (s *site) take(ctx context.Context, name string) (*os.File, error) {
	lock, err := s.openLock(name)
	if err != nil {
		return nil, err
	}
	for {
		err := system.TryLockFile(lock, system.Exclusive)
		if err == nil {
			return lock, nil
		}
		if !errors.Is(err, system.ErrHeld) {
			return nil, errors.Join(err, lock.Close())
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("waiting for another installation below %s: %w", s.root, context.Cause(ctx)), lock.Close())
		}
	}
}

func (s *site) openLock(name string) (*os.File, error) {
	f, err := s.releases.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		return f, f.Chmod(0o600)
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	seen, err := s.releases.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !seen.Mode().IsRegular() || !s.trusts(seen) || seen.Mode().Perm()&0o077 != 0 {
		return nil, &UnsafeError{
			Path: s.shown(name), Why: fmt.Sprintf("is not a lock that an installation made: %s of user %d", seen.Mode(), ownerOf(seen)),
			Advice: "find out what it is, and move it away",
		}
	}
	if f, err = s.releases.OpenFile(name, os.O_RDWR|system.NonBlock, 0); err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !os.SameFile(info, seen) {
		return nil, errors.Join(fmt.Errorf("opening %s: it changed meanwhile", s.shown(name)), err, f.Close())
	}
	return f, nil
}

// close removes what is unfinished and lets go of the lock.
func (s *site) close() error {
	var err error
	if s.staging != "" {
		err = removeAll(s.releases, s.staging)
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return errors.Join(err, s.releaseSwitch(), s.closeDirs())
}

func (s *site) closeDirs() error {
	err := s.content.close()
	for _, dir := range []*os.Root{s.releases, s.dir} {
		if dir != nil {
			err = errors.Join(err, dir.Close())
		}
	}
	return err
}

// stage makes the staging directory, which nobody else can look into.
func (s *site) stage() error {
	s.staging = newStagingName()
	if err := s.releases.Mkdir(s.staging, 0o700); err != nil {
		return err
	}
	return errors.Join(
		s.releases.Chmod(s.staging, 0o700),
		s.releases.Symlink(mark(s.staging), path.Join(s.staging, markName)),
	)
}

// sweep removes what interrupted installations left: staging directories, and
// records whose release is not there. Whoever made them is dead, since the lock is
// held. What has such a name and was not made by an installation stays.
func (s *site) sweep(ctx context.Context) error {
	dir, err := s.releases.Open(".")
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return err
	}
	for _, name := range names {
		switch release, isRecord := strings.CutSuffix(name, ".json"); {
		case stagingForm.MatchString(name):
			err = s.sweepStaging(ctx, name)
		case isRecord && s.isOrphan(release):
			err = errors.Join(ignoreMissing(s.releases.Remove(release+noteSuffix)), s.releases.Remove(name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sweepStaging removes what has a staging directory's name if an installation made it.
func (s *site) sweepStaging(ctx context.Context, name string) error {
	info, err := s.releases.Lstat(name)
	if err != nil {
		return ignoreMissing(err)
	}
	if info.Mode().Type() == fs.ModeSymlink && s.trusts(info) {
		return s.sweepLink(ctx, name)
	}
	if !info.IsDir() || !s.trusts(info) {
		return nil
	}
	text, err := s.releases.Readlink(path.Join(name, markName))
	if err == nil && text == mark(name) {
		return removeAll(s.releases, name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		// Whoever made it was ended before the mark was, if it is empty. A directory that
		// holds something is not removed like this.
		_ = s.releases.Remove(name)
	}
	return nil
}

// sweepLink removes the link of a switch that was interrupted: one that is older than any switch
// takes.
func (s *site) sweepLink(ctx context.Context, name string) error {
	target, err := s.releases.Readlink(name)
	if release, below := strings.CutPrefix(target, releasesName+"/"); err != nil || !below || !releaseForm.MatchString(release) {
		return nil
	}
	lock, err := s.take(ctx, switchName)
	if err != nil {
		return err
	}
	return errors.Join(ignoreMissing(s.releases.Remove(name)), lock.Close())
}

// isOrphan reports whether a release has a record that an installation made, and is
// itself not there.
func (s *site) isOrphan(release string) bool {
	if !releaseForm.MatchString(release) {
		return false
	}
	if _, err := s.releases.Lstat(release); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	_, err := s.readHead(release)
	return err == nil
}

// removeAll removes a directory below another one, read-only directories in it too.
func removeAll(parent *os.Root, name string) error {
	_ = fs.WalkDir(parent.FS(), name, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return parent.Chmod(p, 0o700)
		}
		return nil
	})
	return parent.RemoveAll(name)
}

// place puts the staged tree where its release belongs. Everything is on disk
// before its name is. A damaged release changes places with it, and is removed
// with what is unfinished.
func (s *site) place(ctx context.Context, want record, u *unpacker, t *tree.Tree) (repaired bool, err error) {
	staged, release := path.Join(s.staging, stagedTree), want.release()
	var disk errgroup.Group
	disk.Go(func() error {
		record, err := s.stageRecord(want)
		if err != nil {
			return err
		}
		if err := errors.Join(record.Close(), system.Sync(s.lock)); err != nil {
			return fmt.Errorf("syncing %s: %w", s.root, err)
		}
		return nil
	})
	stamped := s.content.stampHere(ctx, t.Entries())
	if err := errors.Join(disk.Wait(), stamped); err != nil {
		return false, err
	}
	if err := s.learn(ctx, staged, u, t); err != nil {
		return false, err
	}
	if err := s.nameRecord(want); err != nil {
		return false, err
	}
	if _, err := s.releases.Lstat(release); err == nil {
		if err := exchange(s.releases, staged, release); err != nil {
			return false, fmt.Errorf("replacing %s: %w", s.shown(release), err)
		}
		return true, syncDir(s.releases)
	}
	if err := s.releases.Rename(staged, release); err != nil {
		return false, err
	}
	return false, syncDir(s.releases)
}

// learn takes the files of a staged tree into the content, and what its layers have.
func (s *site) learn(ctx context.Context, staged string, u *unpacker, t *tree.Tree) error {
	if err := s.openContent(true); err != nil {
		return err
	}
	dir, err := s.releases.OpenRoot(staged)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	fresh, err := s.content.keep(ctx, dir, t.Entries())
	if err != nil {
		return err
	}
	for digest, entries := range u.fetched {
		if err := s.content.learn(digest, entries, u.natives); err != nil {
			return err
		}
	}
	return errors.Join(s.content.stampHere(ctx, fresh), s.content.writeStamps())
}

// copied tells that files could not be shared.
func (s *site) copied() []string {
	if s.content == nil || s.content.copies.Load() == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d files are copied, and take their space again: the file systems of %s and %s do not share files",
		s.content.copies.Load(), filepath.Join(s.root, contentName), filepath.Join(s.root, releasesName))}
}

// exchange makes two names below a directory change places.
func exchange(dir *os.Root, a, b string) error {
	at, err := dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(system.ExchangeAt(at, a, b), at.Close())
}

// current returns the name of the current release. Where there is none, the error is an
// [fs.ErrNotExist]; what no installation made is an [*UnsafeError].
func (s *site) current() (release string, err error) {
	info, err := s.dir.Lstat(currentName)
	if err != nil {
		return "", err
	}
	refuse := func(why string) error {
		return &UnsafeError{
			Path: filepath.Join(s.root, currentName), Why: "is not a link that an installation made: " + why,
			Advice: "move it away, or choose another --root",
		}
	}
	if info.Mode().Type() != fs.ModeSymlink {
		return "", refuse("it is no symbolic link")
	}
	if !s.trusts(info) {
		return "", refuse(fmt.Sprintf("it belongs to user %d", ownerOf(info)))
	}
	target, err := s.dir.Readlink(currentName)
	if err != nil {
		return "", err
	}
	release, below := strings.CutPrefix(target, releasesName+"/")
	if !below || !releaseForm.MatchString(release) {
		return "", refuse(fmt.Sprintf("it leads to %q", target))
	}
	return release, nil
}

// activate switches the current release in one step. The journal has it before: a switch that it
// tells of and that did not happen is known by the current release.
func (s *site) activate(ctx context.Context, release, op, by string) error {
	if err := s.takeSwitch(ctx); err != nil {
		return err
	}
	from, err := s.current()
	if ignoreMissing(err) != nil {
		return err
	}
	if from != release {
		if err := s.noteSwitch(from, release, op, by); err != nil {
			return err
		}
	}
	link := newStagingName()
	if err := s.releases.Symlink(path.Join(releasesName, release), link); err != nil {
		return err
	}
	if err := s.dir.Rename(path.Join(releasesName, link), currentName); err != nil {
		return errors.Join(err, s.releases.Remove(link))
	}
	return errors.Join(syncDir(s.dir), s.releaseSwitch())
}

func syncDir(dir *os.Root) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
