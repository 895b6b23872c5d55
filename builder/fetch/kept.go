package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ampoule/store"
	"ampoule/system"
)

// Keeper is a place that keeps inputs by their sha256 and nothing else: it is asked
// before any mirror, whatever the item's source.
type Keeper interface {
	// String names it for a person, without credentials.
	String() string
	// Open gives the content of that sha256; the caller compares it. What is not
	// kept is an [fs.ErrNotExist].
	Open(ctx context.Context, sum string) (io.ReadCloser, error)
}

// Directory is a [Keeper]: a directory of files that are named by their sha256.
type Directory string

// String implements [Keeper].
func (d Directory) String() string { return string(d) }

// Open implements [Keeper].
func (d Directory) Open(_ context.Context, sum string) (io.ReadCloser, error) {
	if err := store.CheckSum(sum); err != nil {
		return nil, err
	}
	// A pipe or a device in its place must not hang this process.
	f, err := os.OpenFile(filepath.Join(string(d), sum), os.O_RDONLY|system.NonBlock, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file but %s", f.Name(), info.Mode().Type())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Keep copies content of the store into the directory, which it makes where there is
// none. What is there whole is left alone, what is there damaged is replaced.
func (d Directory) Keep(ctx context.Context, st *store.Store, sum string) (added bool, err error) {
	if err := os.MkdirAll(string(d), 0o755); err != nil {
		return false, fmt.Errorf("keeping inputs: %w", err)
	}
	place := filepath.Join(string(d), sum)
	whole, err := d.has(ctx, sum)
	if whole || err != nil {
		return false, err
	}
	from, err := st.Open(sum)
	if err != nil {
		return false, err
	}
	defer from.Close()
	to, err := os.CreateTemp(string(d), keepingPrefix)
	if err != nil {
		return false, fmt.Errorf("keeping inputs: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("keeping %s: %w", sum, err), os.Remove(to.Name()))
		}
	}()
	got, err := store.Sum(ctx, io.TeeReader(from, to))
	if err == nil && got != sum {
		err = &store.MismatchError{Want: sum, Got: got, Path: from.Name()}
	}
	if err == nil {
		err = errors.Join(to.Chmod(0o444), to.Sync())
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return false, err
	}
	return true, os.Rename(to.Name(), place)
}

// keepingPrefix begins the names of what is being kept.
const keepingPrefix = ".keeping-"

// abandoned is the age of what a run that was killed has left.
const abandoned = 24 * time.Hour

// Settle brings the names of what was kept to the disk, and removes what runs that were
// killed have left.
func (d Directory) Settle() error {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return fmt.Errorf("keeping inputs: %w", err)
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), keepingPrefix) {
			continue
		}
		info, err := entry.Info()
		if err == nil && time.Since(info.ModTime()) > abandoned {
			err = os.Remove(filepath.Join(string(d), entry.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keeping inputs: %w", err)
		}
	}
	dir, err := os.Open(string(d))
	if err != nil {
		return fmt.Errorf("keeping inputs: %w", err)
	}
	// Some file systems cannot sync a directory and say EINVAL.
	err = dir.Sync()
	if errors.Is(err, syscall.EINVAL) {
		err = nil
	}
	return errors.Join(err, dir.Close())
}

// has reports whether the directory has that content, undamaged.
func (d Directory) has(ctx context.Context, sum string) (bool, error) {
	f, err := d.Open(ctx, sum)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("keeping inputs: %w", err)
	}
	got, err := store.Sum(ctx, f)
	return got == sum, errors.Join(err, f.Close())
}

// fromKept copies the item from the first keeper that has it. What a partial file had
// is dropped. Reasons why one did not give it are told as attempts; that one does not
// have it is not worth telling where another place does.
func (d *download) fromKept(ctx context.Context) (done bool, attempts []Attempt, err error) {
	for _, keeper := range d.fetcher.config.keepers(d.item) {
		err := d.fromKeeper(ctx, keeper)
		switch {
		case err == nil:
			return true, nil, nil
		case fatal(ctx, err):
			return false, nil, err
		case errors.Is(err, fs.ErrNotExist):
			err = errNotThere
		}
		attempts = append(attempts, Attempt{keeper.String(), err})
	}
	return false, attempts, nil
}

func (d *download) fromKeeper(ctx context.Context, keeper Keeper) (err error) {
	content, err := keeper.Open(ctx, d.item.SHA256)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	if err := d.restart(); err != nil {
		return err
	}
	if err := d.copy(content, -1); err != nil {
		return err
	}
	return d.check(keeper.String())
}
