package system

import (
	"errors"
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

// RawOf is an open file for calls that package os knows nothing of. The file must stay open meanwhile.
func RawOf(f *os.File) Raw { return Raw(f.Fd()) }

// OpenAt opens a name in an open directory, and follows no link.
func OpenAt(dir Raw, name string, flags int, mode uint32) (Raw, error) {
	fd, err := unix.Openat(int(dir), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
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

// Write implements [io.Writer].
func (r Raw) Write(p []byte) (written int, err error) {
	for written < len(p) {
		n, err := unix.Write(int(r), p[written:])
		if n > 0 {
			written += n
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return written, err
		}
	}
	return written, nil
}

// SetMode gives the file a mode.
func (r Raw) SetMode(mode uint32) error { return unix.Fchmod(int(r), mode) }

// Close closes the file.
func (r Raw) Close() error { return unix.Close(int(r)) }

// LookAt looks at a name in an open directory.
func LookAt(dir Raw, name string) (Look, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(dir), name, &st, unix.AT_SYMLINK_NOFOLLOW)
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
func MakeDirAt(dir Raw, name string, mode uint32) error {
	return unix.Mkdirat(int(dir), name, mode)
}

// SetModeAt gives what has a name in an open directory a mode. It follows links.
func SetModeAt(dir Raw, name string, mode uint32) error {
	return unix.Fchmodat(int(dir), name, mode, 0)
}

// RemoveAt removes a name in an open directory.
func RemoveAt(dir Raw, name string) error { return unix.Unlinkat(int(dir), name, 0) }

// LinkAt gives a file another name, in another open directory.
func LinkAt(from Raw, name string, to Raw, as string) error {
	return unix.Linkat(int(from), name, int(to), as, 0)
}

// SymlinkAt makes a symbolic link in an open directory.
func SymlinkAt(target string, dir Raw, name string) error {
	return unix.Symlinkat(target, int(dir), name)
}

// SetTimeAt gives what has a name in an open directory a time of access and change. It follows no
// link.
func SetTimeAt(dir Raw, name string, at time.Time) error {
	t := unix.NsecToTimespec(at.UnixNano())
	return unix.UtimesNanoAt(int(dir), name, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}

// ExchangeAt makes two names in an open directory change places.
func ExchangeAt(dir *os.File, a, b string) error {
	fd := int(dir.Fd())
	return unix.Renameat2(fd, a, fd, b, unix.RENAME_EXCHANGE)
}

// Clone makes an empty file share another one's blocks.
func Clone(to, from Raw) error { return unix.IoctlFileClone(int(to), int(from)) }
