// Package machine makes machines that are directories: a Debian system with interpreters, and
// above it, as layers of an overlay, what was done to it. Nothing is copied for a machine that
// is made of another one, and what runs in one sees neither the network nor this system.
package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"ampoule/bench/internal/drive"
)

// Host has the programs that machines are made with.
type Host struct {
	Mount, Umount drive.Program
	// Unshare is unshare(1), of util-linux.
	Unshare drive.Program
}

// Machine is one that is there while it is mounted.
type Machine struct {
	host Host
	dir  string
	// Lower are the directories below this machine's own layer, the lowest last.
	Lower []string
}

// Over makes a machine in a directory, above what others hold.
func (h Host) Over(dir string, lower ...string) *Machine {
	return &Machine{host: h, dir: dir, Lower: lower}
}

// Layer is the directory of what was done to this machine.
func (m *Machine) Layer() string { return filepath.Join(m.dir, "upper") }

// Root is the machine's root directory, while it is mounted.
func (m *Machine) Root() string { return filepath.Join(m.dir, "root") }

// With mounts the machine while work is done. Another process that wants it waits meanwhile.
func (m *Machine) With(ctx context.Context, work func() error) (err error) {
	scratch := filepath.Join(m.dir, "work")
	for _, dir := range []string{m.Layer(), scratch, m.Root()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	lock, err := os.OpenFile(m.State("lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	// The lock ends with the file.
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("locking a machine: %w", err)
	}
	// A run that was killed leaves its machine mounted.
	_, _ = m.host.Umount.Run(ctx, "--quiet", m.Root())
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", strings.Join(m.Lower, ":"), m.Layer(), scratch)
	if _, err := m.host.Mount.Run(ctx, "-t", "overlay", "overlay", "-o", options, m.Root()); err != nil {
		return fmt.Errorf("mounting a machine: %w", err)
	}
	defer func() {
		_, left := m.host.Umount.Run(context.WithoutCancel(ctx), m.Root())
		err = errors.Join(err, left)
	}()
	return work()
}

// Way says how a program runs in a machine.
type Way struct {
	// Network gives it this system's network.
	Network bool
	// User is a user and a group by number, as "33:33"; empty is root.
	User string
	// Env is its whole environment.
	Env []string
	// Cache is a directory of this system that it has as its own /var/cache/pip.
	Cache string
}

// enterScript makes the machine's own file systems in a mount namespace of its own. It is called
// with the root, the cache or nothing, chroot's --userspec, and the command.
const enterScript = `set -e
root=$1 cache=$2 user=$3; shift 3
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
if [ -n "$cache" ]; then mkdir -p "$root/var/cache/pip"; mount --bind "$cache" "$root/var/cache/pip"; fi
exec chroot $user "$root" "$@"
`

// Program is a program of the machine: it runs while the machine is mounted.
func (m *Machine) Program(way Way, path string) drive.Program {
	args := []string{"--mount", "--pid", "--fork", "--kill-child"}
	if !way.Network {
		args = append(args, "--net")
	}
	user := ""
	if way.User != "" {
		user = "--userspec=" + way.User
	}
	args = append(args, "sh", "-c", enterScript, "sh", m.Root(), way.Cache, user, "env", "-i")
	args = append(args, way.Env...)
	unshare := m.host.Unshare.With(append(args, path)...)
	// While it waits for its child it lets no other signal end it. A child of another user does not end with it
	// (prctl(2), PR_SET_PDEATHSIG), and all of the process namespace ends with the child.
	unshare.Group = true
	return unshare
}

// File is a file of the machine, as this system names it while it is mounted.
func (m *Machine) File(path string) string { return filepath.Join(m.Root(), path) }

// Write puts a file into the machine, with its directories.
func (m *Machine) Write(path, text string) error {
	file := m.File(path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

// Remove removes files of the machine.
func (m *Machine) Remove(paths ...string) error {
	var errs []error
	for _, path := range paths {
		errs = append(errs, os.RemoveAll(m.File(path)))
	}
	return errors.Join(errs...)
}

// State is a file of this system that is kept with the machine, and not in it.
func (m *Machine) State(name string) string { return filepath.Join(m.dir, name) }

// Done reports whether a step was finished, which [Machine.Finish] said.
func (m *Machine) Done(step string) bool {
	_, err := os.Stat(m.State(step))
	return !errors.Is(err, fs.ErrNotExist)
}

// Finish notes that a step was finished.
func (m *Machine) Finish(step string) error {
	return os.WriteFile(m.State(step), nil, 0o644)
}

// Forget removes the machine and all that was done to it.
func (m *Machine) Forget() error { return os.RemoveAll(m.dir) }
