package docker

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"ampoule/system"
)

// lockSuffix ends the names of the files in [Options.Locks].
const lockSuffix = ".lock"

// owner is a lock file: its process is alive while the file is locked, whatever
// becomes of process numbers.
type owner struct {
	id   string
	file *os.File
	// mark tells the lock file from every other one.
	mark string
}

// takeOwner makes a lock file and locks it.
func takeOwner(dir string) (*owner, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making lock directory: %w", err)
	}
	for {
		id := strings.ToLower(rand.Text())
		f, err := os.OpenFile(lockFile(dir, id), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("making lock file: %w", err)
		}
		if err := system.LockFile(f, system.Exclusive); err != nil {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", f.Name(), err), f.Close(), os.Remove(f.Name()))
		}
		if sameFile(f) {
			mark, err := markOf(f)
			if err != nil {
				return nil, errors.Join(err, os.Remove(f.Name()), f.Close())
			}
			return &owner{id, f, mark}, nil
		}
		// A sweep found the file before it was locked, and removed it.
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("closing lock file: %w", err)
		}
	}
}

func lockFile(dir, id string) string { return filepath.Join(dir, id+lockSuffix) }

// bootFile has an id that each boot of a kernel draws (random(4)).
const bootFile = "/proc/sys/kernel/random/boot_id"

// markOf tells an open file from all others, copies of it on this or on another machine
// among them: by this boot of the kernel, which also has the file's lock, by the file's
// inode, and by the time when that was made, where the file system keeps one.
func markOf(f *os.File) (string, error) {
	boot, err := os.ReadFile(bootFile)
	if err != nil {
		return "", fmt.Errorf("marking %s: %w", f.Name(), err)
	}
	from, err := system.OriginOfFile(f)
	if err != nil {
		return "", fmt.Errorf("marking %s: %w", f.Name(), err)
	}
	return fmt.Sprintf("%s %d:%d %d %d.%d", bytes.TrimSpace(boot), from.Major, from.Minor, from.Inode, from.Born.Sec, from.Born.Nsec), nil
}

// sameFile reports whether the open file is still the one with its name.
func sameFile(f *os.File) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(f.Name())
	return err == nil && os.SameFile(opened, named)
}

func (o *owner) dir() string { return filepath.Dir(o.file.Name()) }

// release removes the lock file and gives its lock back.
func (o *owner) release() error {
	err := os.Remove(o.file.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, o.file.Close())
}

// Sweep removes the containers of this store, with their volumes, whose owners do
// not hold their lock files any more, and those files. Containers of living
// processes and of other stores stay. So does a running container of which it is not
// certain that its owner had one of these very files: that may be another machine's, or a
// copied store's.
func (e *Engine) Sweep(ctx context.Context) error {
	owners, err := e.owners(ctx)
	if err != nil {
		return fmt.Errorf("sweeping: %w", err)
	}
	for _, id := range owners {
		if err := e.sweepOwner(ctx, id); err != nil {
			return fmt.Errorf("sweeping: %w", err)
		}
	}
	return nil
}

// owners lists the other owners that have a container or a lock file.
func (e *Engine) owners(ctx context.Context) ([]string, error) {
	containers, err := e.list(ctx, "")
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{e.owner.id: true}
	var ids []string
	add := func(id string) {
		if id != "" && !seen[id] && filepath.Base(id) == id {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	for _, c := range containers {
		add(c.Labels[labelOwner])
	}
	files, err := os.ReadDir(e.owner.dir())
	if err != nil {
		return nil, fmt.Errorf("reading lock directory: %w", err)
	}
	for _, f := range files {
		if id, ok := strings.CutSuffix(f.Name(), lockSuffix); ok {
			add(id)
		}
	}
	return ids, nil
}

// sweepOwner removes what a dead owner left. It holds the owner's lock meanwhile.
func (e *Engine) sweepOwner(ctx context.Context, id string) error {
	f, err := os.OpenFile(lockFile(e.owner.dir(), id), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return e.removeOwned(ctx, id, "")
	}
	if err != nil {
		return fmt.Errorf("opening lock file: %w", err)
	}
	defer f.Close()
	err = system.TryLockFile(f, system.Exclusive)
	if errors.Is(err, system.ErrHeld) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	mark, err := markOf(f)
	if err != nil {
		return err
	}
	if err := e.removeOwned(ctx, id, mark); err != nil {
		return err
	}
	if err := os.Remove(f.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing lock file: %w", err)
	}
	return nil
}

// removeOwned removes the containers of an owner whose lock file has a mark; none where
// there is no such file.
func (e *Engine) removeOwned(ctx context.Context, id, mark string) error {
	containers, err := e.list(ctx, id)
	if err != nil {
		return err
	}
	var errs []error
	removed := 0
	for _, c := range containers {
		if !isOwned(c, mark) {
			continue
		}
		if err := e.remove(ctx, c.ID); err != nil {
			errs = append(errs, err)
			continue
		}
		removed++
	}
	if removed > 0 && e.swept != nil {
		e.swept(ctx, removed)
	}
	return errors.Join(errs...)
}

// isOwned reports whether a container may go with the lock file of that mark: it is that
// owner's for certain, or nothing runs in it.
func isOwned(c container.Summary, mark string) bool {
	return mark != "" && c.Labels[labelLock] == mark || c.State == container.StateExited || c.State == container.StateDead
}

// list returns the containers of this store, running or not, of one owner or of all.
func (e *Engine) list(ctx context.Context, ownerID string) ([]container.Summary, error) {
	args := filters.NewArgs(filters.Arg("label", labelStore+"="+e.store))
	if ownerID != "" {
		args.Add("label", labelOwner+"="+ownerID)
	}
	containers, err := e.client.ContainerList(ctx, container.ListOptions{All: true, Filters: args})
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	return containers, nil
}
