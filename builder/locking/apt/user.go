package apt

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"ampoule/builder/toolchain/debian"
	"ampoule/system"
)

// user is who apt-get runs as. It parses what mirrors send before anybody has signed for
// it, on this machine and with its network: nothing it could be made to do may reach more.
type user struct {
	// id is of nobody else; 0 means this process's own user, which is not root.
	id      int
	setpriv string
}

// The user ids that systemd hands to services for as long as they run (systemd.exec(5),
// DynamicUser): no system gives them to a person.
const firstID, lastID = 61184, 65519

// unprivileged chooses who apt-get runs as: where this process is root, a user of its own.
func unprivileged() (user, error) {
	tool, err := debian.Tool("setpriv", "util-linux")
	if err != nil {
		return user{}, err
	}
	if os.Geteuid() != 0 {
		return user{setpriv: tool}, nil
	}
	for range 100 {
		var seed [4]byte
		if _, err := rand.Read(seed[:]); err != nil {
			return user{}, err
		}
		id := firstID + int(binary.NativeEndian.Uint32(seed[:])%(lastID-firstID+1))
		_, err := osuser.LookupId(strconv.Itoa(id))
		if errors.As(err, new(osuser.UnknownUserIdError)) {
			return user{id, tool}, nil
		}
	}
	return user{}, errors.New("no user id is free for apt-get")
}

// give makes a file the user's own, or, with owner 0, one that it may read as its group.
func (u user) give(name string, owner int, mode os.FileMode) error {
	if u.id != 0 {
		if err := os.Lchown(name, owner, u.id); err != nil {
			return err
		}
	}
	return os.Chmod(name, mode) // whatever this process's umask is
}

// canEnter tells why the user cannot get to what is in a directory, if it cannot.
func (u user) canEnter(dir string) error {
	for d := dir; u.id != 0; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("%s cannot be entered by every user, as apt-get's has to where ampoule runs as root; TMPDIR may name a directory that can: %w", d, fs.ErrPermission)
		}
		if d == filepath.Dir(d) {
			break
		}
	}
	return nil
}

// The bounds of one command of apt-get's: bytes of a file, of memory, and seconds of
// processor time.
const (
	maxFile    = 2 << 30
	maxMemory  = 4 << 30
	maxSeconds = 900
)

// limited runs a command within the bounds. A shell counts files in units of 512 bytes
// and memory in KiB (dash(1), ulimit).
var limited = fmt.Sprintf(`umask 022; ulimit -c 0 && ulimit -f %d && ulimit -v %d && ulimit -t %d && exec "$@"`, maxFile/512, maxMemory>>10, maxSeconds)

// command runs a program as the user: without a capability, without other groups, unable
// to gain either by running another program, and without a network unless it is given one.
// Only root can take the network away.
func (u user) command(ctx context.Context, network bool, args ...string) *exec.Cmd {
	drop := []string{"--no-new-privs"}
	if u.id != 0 {
		id := strconv.Itoa(u.id)
		drop = append(drop, "--reuid", id, "--regid", id, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
	}
	drop = append(drop, "--", "/bin/sh", "-c", limited, "sh")
	cmd := exec.CommandContext(ctx, u.setpriv, append(drop, args...)...)
	if u.id != 0 && !network {
		system.CutNetwork(cmd)
	}
	// Its methods, which hold the connections, are processes of their own.
	system.Group(cmd, syscall.SIGKILL)
	cmd.WaitDelay = 10 * time.Second
	return cmd
}
