package system

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func changed(st *syscall.Stat_t) time.Time { return time.Unix(st.Ctimespec.Unix()) }

// OriginOf is the origin of what a path names.
func OriginOf(path string) (Origin, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Origin{}, err
	}
	return origin(info)
}

// OriginOfFile is the origin of an open file.
func OriginOfFile(f *os.File) (Origin, error) {
	info, err := f.Stat()
	if err != nil {
		return Origin{}, err
	}
	return origin(info)
}

func origin(info fs.FileInfo) (Origin, error) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Origin{}, errors.ErrUnsupported
	}
	device := uint64(st.Dev)
	o := Origin{Major: unix.Major(device), Minor: unix.Minor(device), Inode: st.Ino, Dated: true}
	o.Born.Sec, o.Born.Nsec = st.Birthtimespec.Unix()
	return o, nil
}

// Sync puts on disk what is written in the file system of an open file: sync(2) hands all of it to
// the disk, and fcntl's F_FULLFSYNC, which File.Sync is, has the disk write what it was handed.
func Sync(f *os.File) error {
	if err := unix.Sync(); err != nil {
		return err
	}
	return f.Sync()
}
