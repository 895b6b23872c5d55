//go:build unix

package workspace

import "syscall"

// openFlags keep a file that was replaced meanwhile from being waited for, and a link from being
// followed.
const openFlags = syscall.O_NONBLOCK | syscall.O_NOFOLLOW
