package install

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// site is a root that this process holds locked.
type site struct {
	root string
	lock *os.File
	// staging is the name, below releases, of the directory to unpack into.
	staging string
}

// openSite makes the root if it is missing, waits for its lock and removes what an
// interrupted installation left. The lock ends with the process.
func openSite(ctx context.Context, root string) (*site, error) {
	if err := os.MkdirAll(filepath.Join(root, releasesName), 0o755); err != nil {
		return nil, err
	}
	lock, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	s := &site{root: root, lock: lock, staging: unfinished + rand.Text()}
	if err := s.wait(ctx); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if err := s.sweep(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// wait takes the lock, as soon as whoever has it lets go.
func (s *site) wait(ctx context.Context) error {
	for {
		err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waiting for another installation below %s: %w", s.root, context.Cause(ctx))
		}
	}
}

// close removes what is unfinished and lets go of the lock.
func (s *site) close() {
	_ = s.sweep()
	_ = s.lock.Close()
}

// path is the path of something below releases.
func (s *site) path(name string) string { return filepath.Join(s.root, releasesName, name) }

// sweep removes what is unfinished, and records whose release is not there.
func (s *site) sweep() error {
	entries, err := os.ReadDir(filepath.Join(s.root, releasesName))
	if err != nil {
		return err
	}
	for _, e := range entries {
		release, isRecord := strings.CutSuffix(e.Name(), ".json")
		if strings.HasPrefix(e.Name(), unfinished) {
			if err := removeAll(s.path(e.Name())); err != nil {
				return err
			}
		} else if _, err := os.Lstat(s.path(release)); isRecord && errors.Is(err, fs.ErrNotExist) {
			if err := os.Remove(s.path(e.Name())); err != nil {
				return err
			}
		}
	}
	links, err := filepath.Glob(filepath.Join(s.root, unfinished+"*"))
	for _, link := range links {
		err = errors.Join(err, os.Remove(link))
	}
	return err
}

// removeAll removes a directory, read-only directories in it too.
func removeAll(dir string) error {
	_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(name, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// place puts the staged tree where its release belongs. Everything is on disk
// before its name is. A damaged release changes places with it, and is removed
// with what is unfinished.
func (s *site) place(want record) (repaired bool, err error) {
	if err := s.syncfs(); err != nil {
		return false, err
	}
	if err := s.writeRecord(want); err != nil {
		return false, err
	}
	staged, release := s.path(s.staging), s.path(want.release())
	if _, err := os.Lstat(release); err == nil {
		repaired = true
		err = unix.Renameat2(unix.AT_FDCWD, staged, unix.AT_FDCWD, release, unix.RENAME_EXCHANGE)
		if err != nil {
			return false, fmt.Errorf("replacing %s: %w", release, err)
		}
	} else if err := os.Rename(staged, release); err != nil {
		return false, err
	}
	return repaired, syncDir(filepath.Dir(release))
}

// activate switches the current release in one step.
func (s *site) activate(release string) error {
	current := filepath.Join(s.root, currentName)
	if info, err := os.Lstat(current); err == nil && info.Mode().Type() != fs.ModeSymlink {
		return fmt.Errorf("switching %s: it is no symbolic link", current)
	}
	link := filepath.Join(s.root, s.staging)
	if err := os.Symlink(filepath.Join(releasesName, release), link); err != nil {
		return err
	}
	if err := os.Rename(link, current); err != nil {
		return err
	}
	return syncDir(s.root)
}

func (s *site) syncfs() error {
	if err := unix.Syncfs(int(s.lock.Fd())); err != nil {
		return fmt.Errorf("syncing %s: %w", s.root, err)
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
