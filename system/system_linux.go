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

// OpenRaw opens a name in an open directory for reading, and follows no link. It does not wait for
// whoever writes into a pipe.
func OpenRaw(dir *os.File, name string) (Raw, error) {
	fd, err := OpenAt(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	return Raw(fd), err
}

// Look looks at the file.
func (r Raw) Look() (Look, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(r), &st)
	return look(&st), err
}

// Read reads as read(2) does: at the end of a file it gives 0 bytes, and no error.
func (r Raw) Read(p []byte) (int, error) { return unix.Read(int(r), p) }

// Close closes the file.
func (r Raw) Close() error { return unix.Close(int(r)) }

// LookAt looks at a name in an open directory.
func LookAt(dir *os.File, name string) (Look, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return look(&st), err
}

func look(st *unix.Stat_t) Look {
	return Look{
		Mode: modeOf(st.Mode), Size: st.Size, Inode: st.Ino, Owner: int(st.Uid),
		Written: time.Unix(st.Mtim.Unix()), Changed: time.Unix(st.Ctim.Unix()),
	}
}

// modeOf is how Go writes a mode (inode(7)).
func modeOf(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		m |= fs.ModeDir
	case unix.S_IFLNK:
		m |= fs.ModeSymlink
	case unix.S_IFIFO:
		m |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		m |= fs.ModeSocket
	case unix.S_IFCHR:
		m |= fs.ModeDevice | fs.ModeCharDevice
	default:
		m |= fs.ModeDevice
	}
	if mode&unix.S_ISUID != 0 {
		m |= fs.ModeSetuid
	}
	if mode&unix.S_ISGID != 0 {
		m |= fs.ModeSetgid
	}
	if mode&unix.S_ISVTX != 0 {
		m |= fs.ModeSticky
	}
	return m
}

// MakeDirAt makes a directory in an open one.
func MakeDirAt(dir *os.File, name string, mode uint32) error {
	return unix.Mkdirat(int(dir.Fd()), name, mode)
}

// SetModeAt gives what has a name in an open directory a mode. It follows links.
func SetModeAt(dir *os.File, name string, mode uint32) error {
	return unix.Fchmodat(int(dir.Fd()), name, mode, 0)
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
