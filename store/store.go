// Package store keeps content by its sha256 on disk, and small records of which
// content answers which key. Both are compared with a hash when they are read: content
// with its name, a record with the checksum that it carries.
//
// Several processes may use one store at once, and each may be killed at any
// time. Content and records become visible by rename, when they are whole. What is
// being written is a file in the area "tmp" that its writer holds a lock on; the
// kernel drops the lock with the process, and [Open] sweeps what nobody holds. In the
// same way each use of the store ([Store.Use]) is a file with the names of what it uses,
// which no collection removes while that use lives.
//
// Content is named everywhere by 64 lower-case hexadecimal digits, without the
// prefix "sha256:".
package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"ampoule/system"
)

// Version is the version of the store's layout that this program reads and writes.
const Version = 2

// formatPrefix begins the store's file "format"; the layout's version follows.
const formatPrefix = "ampoule store "

// Area is a directory of the store that other packages keep files of their own in.
type Area string

// The areas. They exist once the store is open.
const (
	// Registry holds the embedded registry's OCI layout.
	Registry Area = "registry"
	// Logs holds the logs of builds.
	Logs Area = "logs"
	// Owners holds the lock files by which processes show that they are alive.
	Owners Area = "owners"
	// Tmp is for files that need not outlive their process. What is made there
	// with [Store.TempDir] is swept when its process has ended.
	Tmp Area = "tmp"
)

const (
	contentDir = "content"
	recordsDir = "records"
	// keptDir holds the records that nobody makes again.
	keptDir  = "kept"
	locksDir = "locks"
	// usersDir holds a file for each use of the store.
	usersDir = "users"
)

// Store is a directory of content and records. Its methods may be called from
// several goroutines.
type Store struct {
	dir string
	// verified has, for content that this process found whole, the state of its file then.
	verified sync.Map
	// uses are those of this process that have not ended.
	uses uses
}

// Open opens the store in dir, which it makes where there is none, and sweeps what
// ended processes have left. A store of a newer version, one of
// another user, one that others may write to and a directory that holds something else
// are refused. A store of an older version is brought to this one, unless an older
// program uses it.
func Open(dir string) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening store %s: %w", dir, err)
	}
	s := &Store{dir: abs}
	if err := s.prepare(); err != nil {
		return nil, fmt.Errorf("opening store %s: %w", abs, spaceError(abs, err))
	}
	return s, nil
}

// Close ends all uses of the store that began with this Store: what they pinned may be
// collected. It is safe to call again, and so is the release of each use.
func (s *Store) Close() error {
	for _, u := range s.uses.list() {
		s.uses.remove(u)
		u.end()
	}
	return nil
}

// Root is the store's own directory, as an absolute path.
func (s *Store) Root() string { return s.dir }

// Dir is the absolute path of an area.
func (s *Store) Dir(area Area) string { return filepath.Join(s.dir, string(area)) }

func (s *Store) prepare() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if err := closeNew(s.dir); err != nil {
		return err
	}
	if err := checkAccess(s.dir); err != nil {
		return err
	}
	if err := s.claim(); err != nil {
		return err
	}
	areas := []string{contentDir, recordsDir, keptDir, locksDir, usersDir, string(Registry), string(Logs), string(Owners), string(Tmp)}
	for _, area := range areas {
		dir := filepath.Join(s.dir, area)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := checkAccess(dir); err != nil {
			return err
		}
	}
	return errors.Join(s.sweep(), s.sweepUses())
}

// others are the bits of a mode that let others write.
const others = 0o022

// closeNew takes from an empty directory of this user the bits that let others write:
// nobody can have put anything there yet.
func closeNew(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm()&others == 0 || ownerOf(info) != os.Geteuid() {
		return err
	}
	return os.Chmod(dir, info.Mode().Perm()&^others)
}

// checkAccess refuses a directory that another user owns or may write to.
func checkAccess(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if err := checkUser(dir, ownerOf(info), os.Geteuid()); err != nil {
		return err
	}
	if info.Mode().Perm()&others != 0 {
		return writableStore(dir, info.Mode().Perm())
	}
	return nil
}

// ownerOf is the user ID of a file's owner.
func ownerOf(info fs.FileInfo) int {
	st, ok := system.StatOf(info)
	if !ok {
		return os.Geteuid()
	}
	return st.Owner
}

func checkUser(dir string, owner, user int) error {
	if owner != user {
		return othersStore(dir, owner, user)
	}
	return nil
}

// claim reads the file "format", which says that the directory is a store and of
// which version, and writes it where the directory is empty. The lock lets several
// processes make one store at once.
func (s *Store) claim() error {
	path := filepath.Join(s.dir, "format")
	if err := s.refuseForeign(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := system.LockFile(f, system.Exclusive); err != nil {
		return fmt.Errorf("locking %s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return err
	}
	// A crash while the file was written leaves it empty or filled with zeros.
	version := Version
	text = bytes.Trim(text, "\x00")
	if len(text) > 0 {
		if version, err = s.formatVersion(string(text)); err != nil || version == Version {
			return err
		}
	}
	if version < Version {
		if err := s.upgrade(); err != nil {
			return err
		}
	}
	return writeFormat(f)
}

// writeFormat writes this program's version. The old one has as many bytes: what a crash
// leaves is one of the two.
func writeFormat(f *os.File) error {
	text := []byte(formatPrefix + strconv.Itoa(Version) + "\n")
	if _, err := f.WriteAt(text, 0); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(text))); err != nil {
		return err
	}
	return f.Sync()
}

func (s *Store) refuseForeign(format string) error {
	if _, err := os.Lstat(format); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil || len(entries) == 0 {
		return err
	}
	// Another process may have made the store between the two looks.
	if _, err := os.Lstat(format); err == nil {
		return nil
	}
	return foreignDir(s.dir, entries[0].Name())
}

// formatVersion reads the version out of the file "format".
func (s *Store) formatVersion(text string) (int, error) {
	number, ok := strings.CutPrefix(strings.TrimSuffix(text, "\n"), formatPrefix)
	version, err := strconv.Atoi(number)
	if !ok || err != nil || version < 1 {
		return 0, foreignDir(s.dir, "format")
	}
	if version > Version {
		return 0, newerStore(s.dir, version)
	}
	return version, nil
}

// Clone makes a store in dir, which is new or empty, of part of this one: the content and
// the records that are asked for, as far as they can be made again. Content is linked, not copied, where the file system can.
// Whoever calls it holds [Store.Use].
func (s *Store) Clone(dir string, content func(sum string) bool, records func(kind string, value []byte) bool) (*Store, error) {
	clone, err := Open(dir)
	if err != nil {
		return nil, err
	}
	err = eachIn(filepath.Join(s.dir, contentDir), 1, func(from string, entry fs.DirEntry) error {
		sum := entry.Name()
		if CheckSum(sum) != nil || !content(sum) {
			return nil
		}
		if err := s.pin(s.Path(sum)); err != nil {
			return err
		}
		return ignoreMissing(clone.place(filepath.Join(from, sum), sum))
	})
	if err == nil {
		err = eachIn(filepath.Join(s.dir, recordsDir), 2, func(from string, entry fs.DirEntry) error {
			return s.cloneRecord(clone, filepath.Join(from, entry.Name()), records)
		})
	}
	if err != nil {
		return nil, fmt.Errorf("cloning the store: %w", spaceError(clone.dir, err))
	}
	return clone, nil
}

// cloneRecord copies a record that is asked for. A damaged one is absent.
func (s *Store) cloneRecord(clone *Store, path string, wanted func(kind string, value []byte) bool) error {
	r, _, err := s.readRecord(path)
	var damaged *RecordError
	switch {
	case errors.As(err, &damaged):
		return nil
	case err != nil:
		return ignoreMissing(err)
	case !wanted(r.Kind, r.Value):
		return nil
	}
	text, err := r.file()
	if err != nil {
		return err
	}
	to, err := clone.recordPath(recordsDir, r.Kind, r.Key)
	if err != nil {
		return err
	}
	return clone.replace(to, text, false)
}

// place links content, or copies it.
//
//nolint:contextcheck // what is copied is a file of this store's own disk
func (s *Store) place(from, sum string) error {
	if err := os.MkdirAll(filepath.Dir(s.Path(sum)), 0o755); err != nil {
		return err
	}
	err := os.Link(from, s.Path(sum))
	if err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.PutExpected(context.Background(), f, sum)
}
