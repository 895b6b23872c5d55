// Package system is what Ampoule asks of an operating system beyond Go's library: locks that end
// with their process, what tells a file from its copies, the space of a disk, groups of processes.
// What differs between Linux, macOS and Windows is in it, and nowhere else. All of it is there on
// Linux. What another system lacks ends with an [*Error], and not as if it had been done.
package system

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"ampoule/faults"
)

// Error says that this system lacks what was asked for. It wraps [errors.ErrUnsupported].
type Error struct {
	// What was asked for, as the subject of a sentence.
	What string
	// OS is the system, as runtime.GOOS names it.
	OS string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s needs Linux, and this program is for %s", e.What, Name(e.OS))
}

// Kind says whose fault it is.
func (*Error) Kind() faults.Kind { return faults.Machine }

// Unwrap returns [errors.ErrUnsupported].
func (*Error) Unwrap() error { return errors.ErrUnsupported }

// Name is how people call a system that Go names.
func Name(goos string) string {
	switch goos {
	case "linux":
		return "Linux"
	case "darwin":
		return "macOS"
	case "windows":
		return "Windows"
	}
	return goos
}

// How is how a lock is held.
type How int

const (
	// Exclusive keeps all others out.
	Exclusive How = iota
	// Shared keeps those out who want it exclusively.
	Shared
)

// ErrHeld says that somebody else has a lock.
var ErrHeld = faults.New(faults.Machine, "", "somebody else has the lock")

// Stat is what a system knows of a file, beside what [fs.FileInfo] says.
type Stat struct {
	// Device and Inode name the file on its machine.
	Device, Inode uint64
	// Links is how many names it has.
	Links uint64
	// Owner is its owner's number.
	Owner int
	// Taken is what it takes on the disk, in bytes.
	Taken int64
	// Changed is when its content, its mode or its names changed last.
	Changed time.Time
}

// Origin tells a file from every copy of it.
type Origin struct {
	// Major and Minor are the numbers of its device.
	Major, Minor uint32
	Inode        uint64
	// Born is when the inode was made, in seconds and nanoseconds; Dated is false where the file
	// system keeps no such time.
	Born  struct{ Sec, Nsec int64 }
	Dated bool
}

// Replace writes a file that is seen whole, or as it was before. It is written beside its place,
// has the mode whatever the umask is, and its content is on disk when Replace returns.
func Replace(path string, mode fs.FileMode, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // what went wrong is told
		}
	}()
	err = f.Chmod(mode)
	if err == nil {
		err = write(f)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// WriteFile replaces a file as [Replace] does. One that is there keeps its mode.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	return Replace(path, mode, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}
