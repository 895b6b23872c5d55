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
func OpenAt(*os.File, string, int, uint32) (fd int, err error) { return -1, lacks(below) }

// RemoveAt removes a name in an open directory.
func RemoveAt(*os.File, string) error { return lacks(below) }

// LinkAt gives a file another name, in another open directory.
func LinkAt(_ *os.File, _ string, _ *os.File, _ string) error { return lacks(below) }

// SymlinkAt makes a symbolic link in an open directory.
func SymlinkAt(_ string, _ *os.File, _ string) error { return lacks(below) }

// SetTimeAt gives what has a name in an open directory a time of access and change.
func SetTimeAt(*os.File, string, time.Time) error { return lacks(below) }

// ExchangeAt makes two names in an open directory change places.
func ExchangeAt(_ *os.File, _, _ string) error { return lacks(below) }

// Clone makes an empty file share another one's blocks.
func Clone(_, _ *os.File) error { return lacks(below) }
