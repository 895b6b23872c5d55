package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Keep says what a collection leaves.
type Keep struct {
	// Unused is how long what nobody uses stays, and up to an hour longer; 0 is not at all.
	Unused time.Duration
	// Limit bounds what is left, in bytes: what was used the longest time ago goes
	// first. 0 is no bound.
	Limit int64
	// Pinned are kinds of records that stay, and with them all content that they name.
	Pinned []string
	// Dry has nothing removed: the outcome tells what would be.
	Dry bool
}

// Collected is the outcome of a collection. Sizes are in bytes.
type Collected struct {
	Removed      int   `json:"removed"`
	RemovedBytes int64 `json:"removedBytes"`
	Left         int   `json:"left"`
	LeftBytes    int64 `json:"leftBytes"`
	// PinnedBytes is the part of what is left that no collection removes.
	PinnedBytes int64 `json:"pinnedBytes"`
}

// usersLock is the file in the directory of locks that users of content share and a
// collection holds alone. Named locks have other names: 64 digits.
const usersLock = "users"

// freshUse is how exactly the time of the last use is kept.
const freshUse = time.Hour

// Use keeps collections away until release is called: what is in the store stays there.
// It waits for one that runs.
func (s *Store) Use(ctx context.Context) (release func(), err error) {
	return s.lockUsers(ctx, unix.LOCK_SH)
}

func (s *Store) lockUsers(ctx context.Context, how int) (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, locksDir, usersLock), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking the store: %w", spaceError(s.dir, err))
	}
	if err := waitFor(ctx, f, how); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking the store: %w", err)
	}
	return func() { f.Close() }, nil
}

// ErrInUse says that a collection would have to wait for those that use the store.
var ErrInUse = errors.New("the store is in use")

// Collect removes content, records and logs that were not used for a time, or that are
// too much, and waits until nobody uses the store. With wait false it does not, and the
// error is an [ErrInUse].
func (s *Store) Collect(ctx context.Context, keep Keep, wait bool) (_ Collected, err error) {
	waiting := ctx
	if !wait {
		// A context that has ended lets a lock be tried once.
		ended, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
		cancel(ErrInUse)
		waiting = ended
	}
	release, err := s.lockUsers(waiting, unix.LOCK_EX)
	if err != nil {
		return Collected{}, err
	}
	defer release()
	things, err := s.things()
	if err != nil {
		return Collected{}, fmt.Errorf("collecting: %w", err)
	}
	if err := s.pin(things, keep.Pinned); err != nil {
		return Collected{}, fmt.Errorf("collecting: %w", err)
	}
	var out Collected
	for _, t := range things {
		out.Left++
		out.LeftBytes += t.size
		if t.pinned {
			out.PinnedBytes += t.size
		}
	}
	slices.SortFunc(things, func(a, b *thing) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.path, b.path)) })
	now := time.Now()
	for _, t := range things {
		if ctx.Err() != nil {
			return out, fmt.Errorf("collecting: %w", context.Cause(ctx))
		}
		// When something was used is known to the hour: what may be newer stays.
		old := now.Sub(t.used) > keep.Unused+freshUse || keep.Unused == 0 && now.Sub(t.used) > 0
		if t.pinned || !old && (keep.Limit <= 0 || out.LeftBytes <= keep.Limit) {
			continue
		}
		if !keep.Dry {
			if err := removeTree(t.path); err != nil {
				return out, fmt.Errorf("collecting: %w", err)
			}
		}
		out.Removed++
		out.RemovedBytes += t.size
		out.Left--
		out.LeftBytes -= t.size
	}
	if keep.Dry {
		return out, nil
	}
	if err := s.removeLocks(); err != nil {
		return out, fmt.Errorf("collecting: %w", err)
	}
	return out, nil
}

// thing is what a collection leaves or removes as a whole.
type thing struct {
	path string
	size int64
	used time.Time
	// sum names content, kind and key a record.
	sum, kind string
	pinned    bool
}

// things lists content, records and logs.
func (s *Store) things() ([]*thing, error) {
	var all []*thing
	add := func(dir string, entry fs.DirEntry) (*thing, error) {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		t := &thing{path: filepath.Join(dir, entry.Name()), size: info.Size(), used: info.ModTime()}
		all = append(all, t)
		return t, nil
	}
	err := eachIn(filepath.Join(s.dir, contentDir), 1, func(dir string, entry fs.DirEntry) error {
		t, err := add(dir, entry)
		if t != nil {
			t.sum = entry.Name()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	err = eachIn(filepath.Join(s.dir, recordsDir), 2, func(dir string, entry fs.DirEntry) error {
		t, err := add(dir, entry)
		if t != nil {
			t.kind = filepath.Base(filepath.Dir(dir))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	err = eachIn(s.Dir(Logs), 0, func(dir string, entry fs.DirEntry) error {
		t, err := add(dir, entry)
		if t != nil {
			t.size, err = sizeOf(t.path)
		}
		return err
	})
	return all, err
}

// eachIn visits what lies a number of directories below one.
func eachIn(dir string, depth int, visit func(dir string, entry fs.DirEntry) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		switch {
		case depth == 0:
			err = visit(dir, entry)
		case entry.IsDir():
			err = eachIn(filepath.Join(dir, entry.Name()), depth-1, visit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sizeOf adds up the files of a directory.
func sizeOf(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

var sumForm = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

// pin marks the records of some kinds, and the content that they name.
func (s *Store) pin(things []*thing, kinds []string) error {
	named := map[string]bool{}
	for _, t := range things {
		if !slices.Contains(kinds, t.kind) {
			continue
		}
		t.pinned = true
		text, err := os.ReadFile(t.path)
		if err != nil {
			return err
		}
		var r record
		if err := json.Unmarshal(text, &r); err != nil {
			return fmt.Errorf("%s says what must stay, and cannot be read: %w", t.path, err)
		}
		for _, sum := range sumForm.FindAll(r.Value, -1) {
			named[string(sum)] = true
		}
	}
	for _, t := range things {
		t.pinned = t.pinned || t.sum != "" && named[t.sum]
	}
	return nil
}

// used notes that a file was used now. What cannot be noted is collected earlier, and
// made again.
func used(path string, info fs.FileInfo) {
	now := time.Now()
	if age := now.Sub(info.ModTime()); age > freshUse || age < 0 {
		_ = os.Chtimes(path, now, now)
	}
}

// Usage is how much the store takes, in bytes.
type Usage struct {
	Content  Part `json:"content"`
	Records  Part `json:"records"`
	Registry Part `json:"registry"`
	Logs     Part `json:"logs"`
	Tmp      Part `json:"tmp"`
}

// Part is a part of the store.
type Part struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// Usage measures the store.
func (s *Store) Usage() (Usage, error) {
	var u Usage
	for dir, part := range map[string]*Part{
		contentDir: &u.Content, recordsDir: &u.Records, string(Registry): &u.Registry, string(Logs): &u.Logs, string(Tmp): &u.Tmp,
	} {
		err := filepath.WalkDir(filepath.Join(s.dir, dir), func(_ string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return ignoreMissing(err)
			}
			info, err := entry.Info()
			if err == nil {
				part.Files++
				part.Bytes += info.Size()
			}
			return ignoreMissing(err)
		})
		if err != nil {
			return Usage{}, fmt.Errorf("measuring the store: %w", err)
		}
	}
	return u, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Damaged reads all content and gives the path of each file that is not what its name
// says. With repair true those are removed: they can be fetched or made again.
func (s *Store) Damaged(ctx context.Context, repair bool) (checked Part, damaged []string, err error) {
	err = eachIn(filepath.Join(s.dir, contentDir), 1, func(dir string, entry fs.DirEntry) error {
		sum := entry.Name()
		if CheckSum(sum) != nil {
			// Nothing leads to it.
			damaged = append(damaged, filepath.Join(dir, sum))
			if repair {
				return removeTree(filepath.Join(dir, sum))
			}
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return ignoreMissing(err)
		}
		checked.Files++
		checked.Bytes += info.Size()
		err = s.Verify(ctx, sum)
		var wrong *MismatchError
		switch {
		case errors.Is(err, ErrNotFound):
			return nil
		case errors.As(err, &wrong):
			damaged = append(damaged, wrong.Path)
			if repair {
				_, err = s.Whole(ctx, sum)
			} else {
				err = nil
			}
		}
		return err
	})
	if err != nil {
		return checked, damaged, fmt.Errorf("verifying the store: %w", err)
	}
	return checked, damaged, nil
}
