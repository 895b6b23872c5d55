//go:build !linux

package system

import (
	"os"
	"os/exec"
	"runtime"
	"time"
)

// lacks is the error of what this system has not got.
func lacks(what string) error { return &Error{what, runtime.GOOS} }

// below is what only installations and builds do.
const below = "an installation"

// CutNetwork has a command run without a network. Only root may take it away.
func CutNetwork(cmd *exec.Cmd) { cmd.Err = lacks("running a program without a network") }

// OpenAt opens a name in an open directory, and follows no link.
func OpenAt(Raw, string, int, uint32) (Raw, error) { return -1, lacks(below) }

// RawOf is an open file for calls that package os knows nothing of.
func RawOf(f *os.File) Raw { return Raw(f.Fd()) }

// Look looks at the file.
func (Raw) Look() (Look, error) { return Look{}, lacks(below) }

// Read reads as read(2) does.
func (Raw) Read([]byte) (int, error) { return 0, lacks(below) }

// Write implements [io.Writer].
func (Raw) Write([]byte) (int, error) { return 0, lacks(below) }

// SetMode gives the file a mode.
func (Raw) SetMode(uint32) error { return lacks(below) }

// Close closes the file.
func (Raw) Close() error { return lacks(below) }

// LookAt looks at a name in an open directory.
func LookAt(Raw, string) (Look, error) { return Look{}, lacks(below) }

// MakeDirAt makes a directory in an open one.
func MakeDirAt(Raw, string, uint32) error { return lacks(below) }

// SetModeAt gives what has a name in an open directory a mode.
func SetModeAt(Raw, string, uint32) error { return lacks(below) }

// RemoveAt removes a name in an open directory.
func RemoveAt(Raw, string) error { return lacks(below) }

// LinkAt gives a file another name, in another open directory.
func LinkAt(_ Raw, _ string, _ Raw, _ string) error { return lacks(below) }

// SymlinkAt makes a symbolic link in an open directory.
func SymlinkAt(_ string, _ Raw, _ string) error { return lacks(below) }

// SetTimeAt gives what has a name in an open directory a time of access and change.
func SetTimeAt(Raw, string, time.Time) error { return lacks(below) }

// ExchangeAt makes two names in an open directory change places.
func ExchangeAt(_ *os.File, _, _ string) error { return lacks(below) }

// Clone makes an empty file share another one's blocks.
func Clone(_, _ Raw) error { return lacks(below) }
