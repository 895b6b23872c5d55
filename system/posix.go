//go:build linux || darwin

package system

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Flags for opening files; a system may have none of them.
const (
	// NoFollow refuses a symbolic link.
	NoFollow = unix.O_NOFOLLOW
	// NonBlock does not wait for whoever writes into a pipe.
	NonBlock = unix.O_NONBLOCK
	// OnlyDirectory refuses everything but a directory.
	OnlyDirectory = unix.O_DIRECTORY
)

// Modes says that files have modes, which say who may read, change and run them.
const Modes = true

// Signals that not all systems send.
const (
	SIGUSR1  = syscall.SIGUSR1
	SIGUSR2  = syscall.SIGUSR2
	SIGWINCH = syscall.SIGWINCH
)

// Terminal reports whether a file is a terminal that obeys control sequences (ECMA-48).
func Terminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// SignalName is a signal's name, as SIGTERM; empty where it has none.
func SignalName(s syscall.Signal) string { return unix.SignalName(s) }

// LockFile locks an open file or directory, and waits for it (flock(2)). The lock ends when the file is
// closed, with the process at the latest. A program that is being started meanwhile may have it for a moment
// longer: see [CloseLocked].
func LockFile(f *os.File, how How) error { return flock(f, how, 0) }

// TryLockFile is [LockFile], and does not wait: it ends with [ErrHeld].
func TryLockFile(f *os.File, how How) error {
	err := flock(f, how, unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrHeld
	}
	return err
}

// CloseLocked ends a lock at once, and closes its file. Closing alone does not end it while a child of this
// process, which has all of its files, has not begun its own program.
func CloseLocked(f *os.File) error {
	return errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close())
}

func flock(f *os.File, how How, flags int) error {
	flags |= unix.LOCK_EX
	if how == Shared {
		flags ^= unix.LOCK_EX | unix.LOCK_SH
	}
	for {
		err := unix.Flock(int(f.Fd()), flags)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// StatOf is what the system knows of a file that was looked at; false where it was no file of the
// system.
func StatOf(info fs.FileInfo) (Stat, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Stat{}, false
	}
	// Stat_t has other sizes on other systems. Blocks are of 512 bytes, whatever the file system's
	// are (stat(2)).
	return Stat{
		Device: uint64(st.Dev), Inode: st.Ino, Links: uint64(st.Nlink), //nolint:unconvert // see above
		Owner: int(st.Uid), Taken: st.Blocks * 512, Changed: changed(st),
	}, true
}

// Free is how many bytes a user may still write to the disk of a path.
func Free(path string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}

// FileSystem is the type of the file system of a path (statfs(2)).
func FileSystem(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, err
	}
	return int64(st.Type), nil //nolint:unconvert // it has another size elsewhere
}

// Group has a command begin a group of processes. When the command's context ends, all of the group
// get the signal.
func Group(cmd *exec.Cmd, s syscall.Signal) {
	attributes(cmd).Setpgid = true
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, s) }
}

// KillGroup kills a group of processes that [Group] began with this one.
func KillGroup(pid int) error { return unix.Kill(-pid, unix.SIGKILL) }

// Kill kills a process.
func Kill(pid int) error { return unix.Kill(pid, unix.SIGKILL) }

// RunAs has a command run as a user and a group of the machine.
func RunAs(cmd *exec.Cmd, uid, gid uint32) {
	attributes(cmd).Credential = &syscall.Credential{Uid: uid, Gid: gid}
}

func attributes(cmd *exec.Cmd) *syscall.SysProcAttr {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	return cmd.SysProcAttr
}
