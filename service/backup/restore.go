package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ampoule/faults"
	"ampoule/service/database"
)

// Restore puts a backup back into a data directory, which is made, or is empty. One that a process
// has open is a [*database.LockedError]. All of the backup is read first. If Restore does not end,
// no service opens the directory; after an error it is empty again.
func Restore(ctx context.Context, from, data string) (_ Summary, err error) {
	s, err := Verify(ctx, from)
	if err != nil {
		return Summary{}, err
	}
	if err := os.MkdirAll(data, secretDir); err != nil {
		return Summary{}, fmt.Errorf("putting the backup back: %w", err)
	}
	release, err := claim(data)
	if err != nil {
		return Summary{}, err
	}
	defer release()
	if err := putBack(ctx, from, data); err != nil {
		return Summary{}, fmt.Errorf("putting the backup back into %s: %w", data, err)
	}
	s.Dir = data
	return s, nil
}

// claim locks a data directory in which nothing is.
func claim(data string) (release func(), err error) {
	// The lock first, where there is one: a service that runs is told as that.
	if _, err := os.Lstat(filepath.Join(data, database.LockFile)); err == nil {
		if release, err = database.Hold(data); err != nil {
			return nil, err
		}
	}
	entries, err := os.ReadDir(data)
	for _, e := range entries {
		if err == nil && e.Name() == database.RestoringDir {
			err = &database.UnfinishedError{Dir: data}
		}
	}
	for _, e := range entries {
		if err == nil && e.Name() != database.LockFile && e.Name() != lostDir {
			err = faults.New(faults.Usage, "name a directory that is empty, or does not exist", "putting the backup back: %s is not empty: it has %s", data, e.Name())
		}
	}
	if err == nil && release == nil {
		return database.Hold(data)
	}
	if err != nil && release != nil {
		release()
	}
	return release, err
}

// putBack copies all files beside their places, and moves them there when they are on the disk.
func putBack(ctx context.Context, from, data string) (err error) {
	beside := filepath.Join(data, database.RestoringDir)
	if err := os.Mkdir(beside, secretDir); err != nil {
		return err
	}
	if err := copyBack(ctx, from, beside); err != nil {
		return errors.Join(err, os.RemoveAll(beside))
	}
	names, err := os.ReadDir(beside)
	if err != nil {
		return err
	}
	for _, e := range names {
		if err := os.Rename(filepath.Join(beside, e.Name()), filepath.Join(data, e.Name())); err != nil {
			return err
		}
	}
	// From here on it is a data directory.
	if err := errors.Join(syncTree(data), os.Remove(beside)); err != nil {
		return err
	}
	return syncTree(data)
}

// copyBack copies all files, and compares them once more on their way.
func copyBack(ctx context.Context, from, to string) error {
	_, files, err := open(from)
	if err != nil {
		return err
	}
	c := &copier{ctx: ctx, to: to}
	for i, one := range files {
		path := filepath.FromSlash(one.path)
		err := c.file(filepath.Join(from, dataDir, path), path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && c.files[i].sum != one.sum {
			err = &DamagedError{from, dataDir + "/" + one.path, "was changed"}
		}
		if err != nil {
			return err
		}
	}
	return syncTree(to)
}
