package system

import (
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// Flags for opening files; a system may have none of them.
const (
	// NoFollow refuses a symbolic link.
	NoFollow = 0
	// NonBlock does not wait for whoever writes into a pipe.
	NonBlock = 0
	// OnlyDirectory refuses everything but a directory.
	OnlyDirectory = 0
)

// Modes says that files have modes, which say who may read, change and run them.
const Modes = false

// Signals that not all systems send: here nobody does. The numbers are those of Linux.
const (
	SIGUSR1  = syscall.Signal(10)
	SIGUSR2  = syscall.Signal(12)
	SIGWINCH = syscall.Signal(28)
)

// Terminal reports whether a file is a terminal that obeys control sequences (ECMA-48). A console
// does so when it is asked to, since Windows 10.
func Terminal(f *os.File) bool {
	console := windows.Handle(f.Fd())
	var mode uint32
	if windows.GetConsoleMode(console, &mode) != nil {
		return false
	}
	return windows.SetConsoleMode(console, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}

// SignalName is a signal's name, as SIGTERM; empty where it has none.
func SignalName(syscall.Signal) string { return "" }

// LockFile locks an open file or directory, and waits for it (flock(2)). The lock ends when the file is
// closed, with the process at the latest.
func LockFile(*os.File, How) error { return lacks("a lock") }

// CloseLocked closes a file; there is no lock to end.
func CloseLocked(f *os.File) error { return f.Close() }

// TryLockFile is [LockFile], and does not wait: it ends with [ErrHeld].
func TryLockFile(*os.File, How) error { return lacks("a lock") }

// StatOf is what the system knows of a file that was looked at; false where it was no file of the
// system.
func StatOf(fs.FileInfo) (Stat, bool) { return Stat{}, false }

// OriginOf is the origin of what a path names.
func OriginOf(string) (Origin, error) { return Origin{}, lacks("telling a directory from its copies") }

// OriginOfFile is the origin of an open file.
func OriginOfFile(*os.File) (Origin, error) {
	return Origin{}, lacks("telling a file from its copies")
}

// Free is how many bytes a user may still write to the disk of a path.
func Free(string) (uint64, error) { return 0, lacks("measuring a disk") }

// FileSystem is the type of the file system of a path (statfs(2)).
func FileSystem(string) (int64, error) { return 0, lacks("naming a file system") }

// Sync puts on disk what is written in the file system of an open file.
func Sync(*os.File) error { return lacks("syncing a file system") }

// Group has a command begin a group of processes. Here only the command itself is ended with its
// context.
func Group(*exec.Cmd, syscall.Signal) {}

// KillGroup kills a group of processes that [Group] began with this one.
func KillGroup(int) error { return lacks("killing a group of processes") }

// Kill kills a process.
func Kill(int) error { return lacks("killing a process by its number") }

// RunAs has a command run as a user and a group of the machine.
func RunAs(cmd *exec.Cmd, _, _ uint32) { cmd.Err = lacks("running a program as another user") }
