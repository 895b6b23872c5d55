package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ampoule/system"
)

// lockName is the lock's file in the registry's directory. It is never removed, and replaced only
// where it is the lock of another directory, too ([part]): two processes must not lock two files
// of one name. partName is the file that replaces it then.
const (
	lockName = "lock"
	partName = "lock.next"
)

// address says how to reach the holder of the lock. It is the content of the
// lock's file, which only its owner can read: the secret keeps other users out.
type address struct {
	Address string `json:"address"`
	Secret  string `json:"secret"`
	PID     int    `json:"pid"`
	// Dir is the inode of the directory that the holder serves; 0 is not known.
	Dir uint64 `json:"dir,omitempty"`
}

// tryLock takes the lock and has its file carry no address, or returns nil when another process
// has it, or when its file is parted from that of another directory. The lock ends with the
// process (flock(2)).
func tryLock(file string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := system.TryLockFile(f, system.Exclusive); err != nil {
		_ = f.Close()
		if errors.Is(err, system.ErrHeld) {
			return nil, nil
		}
		return nil, fmt.Errorf("locking %s: %w", file, err)
	}
	switch here, shared, err := look(f, file); {
	case err != nil || !here:
		return nil, errors.Join(err, f.Close())
	case shared:
		return nil, errors.Join(part(file), f.Close())
	}
	if err := eraseAddress(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// eraseAddress has the lock's file carry no address. The file keeps its room on the disk: the next
// address fits in, also on a full one.
func eraseAddress(lock *os.File) error {
	info, err := lock.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	_, err = lock.WriteAt(make([]byte, info.Size()), 0)
	return err
}

// writeAddress writes the first byte last: before that there is nothing whole to read.
func writeAddress(lock *os.File, a address) error {
	raw, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if _, err := lock.WriteAt(raw[1:], 1); err != nil {
		return err
	}
	if err := lock.Truncate(int64(len(raw))); err != nil {
		return err
	}
	_, err = lock.WriteAt(raw[:1], 0)
	return err
}

// readAddress reads what the holder wrote. It returns false while there is nothing
// whole to read.
func readAddress(file string) (address, bool) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return address{}, false
	}
	var a address
	if json.Unmarshal(raw, &a) != nil || a.Address == "" || a.Secret == "" {
		return address{}, false
	}
	return a, true
}

// look reports whether an open file is the one that has a name, and whether it has other names.
func look(f *os.File, name string) (here, shared bool, err error) {
	open, err := f.Stat()
	if err != nil {
		return false, false, fmt.Errorf("looking at %s: %w", name, err)
	}
	named, err := os.Stat(name)
	if err != nil {
		return false, false, fmt.Errorf("looking at %s: %w", name, err)
	}
	return os.SameFile(open, named), linksOf(open) > 1, nil
}

// linksOf is how many names a file has.
func linksOf(info fs.FileInfo) uint64 {
	st, _ := system.StatOf(info)
	return st.Links
}

// part gives a directory a lock of its own where its lock's file has other names: a directory that
// was copied with hard links (cp -al) has that of the one it was copied from. One process does so at a
// time.
//
// Nobody holds such a lock for this directory, as whoever calls part has seen: he has taken it
// himself, or its holder serves another directory.
func part(file string) error {
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := system.TryLockFile(dir, system.Exclusive); err != nil {
		if errors.Is(err, system.ErrHeld) {
			return nil // another process is at it
		}
		return fmt.Errorf("locking %s: %w", dir.Name(), err)
	}
	if named, err := os.Stat(file); err != nil || linksOf(named) < 2 {
		return err
	}
	next := filepath.Join(dir.Name(), partName)
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Rename(next, file))
}

// inodeOf is the inode of a directory.
func inodeOf(dir string) (uint64, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return 0, fmt.Errorf("looking at %s: %w", dir, err)
	}
	st, _ := system.StatOf(info)
	return st.Inode, nil
}

// servesAnother reports whether the holder of a lock serves another directory than the lock's
// file is in here.
func (a address) servesAnother(file string) (bool, error) {
	if a.Dir == 0 {
		return false, nil
	}
	here, err := inodeOf(filepath.Dir(file))
	if err != nil || here == a.Dir {
		return false, err
	}
	named, err := os.Stat(file)
	return err == nil && linksOf(named) > 1, err
}
