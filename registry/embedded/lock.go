package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockName is the lock's file in the registry's directory. It is never removed:
// two processes must not lock two files of one name.
const lockName = "lock"

// address says how to reach the holder of the lock. It is the content of the
// lock's file, which only its owner can read: the secret keeps other users out.
type address struct {
	Address string `json:"address"`
	Secret  string `json:"secret"`
	PID     int    `json:"pid"`
}

// tryLock takes the lock and has its file carry no address, or returns nil when another process
// has it. The lock ends with the process (flock(2)).
func tryLock(file string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, fmt.Errorf("locking %s: %w", file, err)
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
