package system

import (
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func changed(st *syscall.Stat_t) time.Time { return time.Unix(st.Ctim.Unix()) }

// OriginOf is the origin of what a path names.
func OriginOf(path string) (Origin, error) {
	o, err := origin(unix.AT_FDCWD, path, 0)
	if err != nil {
		return Origin{}, &fs.PathError{Op: "statx", Path: path, Err: err}
	}
	return o, nil
}

// OriginOfFile is the origin of an open file.
func OriginOfFile(f *os.File) (Origin, error) { return origin(int(f.Fd()), "", unix.AT_EMPTY_PATH) }

func origin(at int, path string, flags int) (Origin, error) {
	var st unix.Statx_t
	if err := unix.Statx(at, path, flags, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return Origin{}, err
	}
	o := Origin{Major: st.Dev_major, Minor: st.Dev_minor, Inode: st.Ino, Dated: st.Mask&unix.STATX_BTIME != 0}
	o.Born.Sec, o.Born.Nsec = st.Btime.Sec, int64(st.Btime.Nsec)
	return o, nil
}

// Sync puts on disk what is written in the file system of an open file.
func Sync(f *os.File) error { return unix.Syncfs(int(f.Fd())) }

// CutNetwork has a command run without a network. Only root may take it away.
func CutNetwork(cmd *exec.Cmd) { attributes(cmd).Cloneflags |= unix.CLONE_NEWNET }

// OpenAt opens a name in an open directory, and follows no link.
func OpenAt(dir *os.File, name string, flags int, mode uint32) (fd int, err error) {
	return unix.Openat(int(dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
}

// RemoveAt removes a name in an open directory.
func RemoveAt(dir *os.File, name string) error { return unix.Unlinkat(int(dir.Fd()), name, 0) }

// LinkAt gives a file another name, in another open directory.
func LinkAt(from *os.File, name string, to *os.File, as string) error {
	return unix.Linkat(int(from.Fd()), name, int(to.Fd()), as, 0)
}

// SymlinkAt makes a symbolic link in an open directory.
func SymlinkAt(target string, dir *os.File, name string) error {
	return unix.Symlinkat(target, int(dir.Fd()), name)
}

// SetTimeAt gives what has a name in an open directory a time of access and change. It follows no
// link.
func SetTimeAt(dir *os.File, name string, at time.Time) error {
	t := unix.NsecToTimespec(at.UnixNano())
	return unix.UtimesNanoAt(int(dir.Fd()), name, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}

// ExchangeAt makes two names in an open directory change places.
func ExchangeAt(dir *os.File, a, b string) error {
	fd := int(dir.Fd())
	return unix.Renameat2(fd, a, fd, b, unix.RENAME_EXCHANGE)
}

// Clone makes an empty file share another one's blocks.
func Clone(to, from *os.File) error { return unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) }
