// Package backup copies the data directory of a service that runs into a directory of its own, and
// puts such a copy back.
//
// What is copied when decides what the copy is worth. The database comes first, as it is at one
// moment; records and registry follow, and logs are last. A build is done in the database when the
// registry has its artifact, and content of a registry is in place before a list names it: so
// whatever the copied database calls done is in the copied registry. The registry may have more
// than the database knows: that is a build that was running, which is queued again when the copy is
// opened, and finds what it has published. The other way round a digest could be answered that is
// nowhere. Records that remember how far a channel's log was seen come before the registry for the
// same reason: a log that is shorter than what was seen is refused.
package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ampoule/faults"
	"ampoule/service/database"
	"ampoule/system"
)

// Names in the directory of a backup.
const (
	// Description says what the backup is, in JSON. It is written last.
	Description = "backup.json"
	// Sums lists all files with their sha256, as sha256sum(1) reads it.
	Sums = "SHA256SUMS"
	// dataDir is what the data directory becomes.
	dataDir = "data"
)

// Names in a data directory.
const (
	logsDir     = "logs"
	tempDir     = "tmp"
	storeDir    = "store"
	recordsDir  = "kept"
	registryDir = "registry"
	// lostDir is the file system's, where a data directory is the whole of one.
	lostDir = "lost+found"
)

// Place says what to back up.
type Place struct {
	// Data is the service's data directory.
	Data string
	// Store is the store whose registry the service has; empty is the one in the data directory.
	Store string
	// Elsewhere says that the service's registry is no store's: it is not part of the backup.
	Elsewhere bool
	// Version is the program's.
	Version string
}

// Summary says what a backup holds.
type Summary struct {
	// Dir is where the backup is, or where it was put back.
	Dir     string    `json:"dir,omitempty"`
	Created time.Time `json:"created"`
	// Version is that of the program that made it.
	Version string `json:"version"`
	Files   int    `json:"files"`
	Bytes   int64  `json:"bytes"`
	// Registry says that the registry is part of it.
	Registry bool `json:"registry"`
	// Builds are all in the database, Keys those keys that have a digest.
	Builds int `json:"builds"`
	Keys   int `json:"keys"`
	// Gone counts keys whose digest the registry had not got any more.
	Gone int `json:"gone,omitempty"`
	// Damaged are files of the registry that were damaged before they were copied.
	Damaged []string `json:"damaged,omitempty"`
}

// partialOf is the directory in which the backup is written that dest becomes.
func partialOf(dest string) string {
	return filepath.Join(filepath.Dir(dest), "."+filepath.Base(dest)+".partial")
}

// Make writes a backup into a directory that must not exist. When Make returns nil the backup is
// on disk, and was read again; after an error, or the end of the process, there is nothing under
// that name. Modes are 0700 and 0600: it has secrets.
func Make(ctx context.Context, p Place, dest string) (_ Summary, err error) {
	if err := p.check(); err != nil {
		return Summary{}, err
	}
	if err := p.checkDest(dest); err != nil {
		return Summary{}, err
	}
	partial := partialOf(dest)
	done, err := begin(partial)
	if err != nil {
		return Summary{}, fmt.Errorf("writing the backup %s: %w", dest, err)
	}
	defer func() { err = errors.Join(err, done()) }()
	s, err := p.write(ctx, partial)
	if err == nil {
		err = settle(partial, dest)
	}
	if err != nil {
		return Summary{}, fmt.Errorf("writing the backup %s: %w", dest, errors.Join(err, os.RemoveAll(partial)))
	}
	s.Dir = dest
	return s, nil
}

// check refuses what has no database of SQLite.
func (p Place) check() error {
	_, err := os.Stat(filepath.Join(p.Data, database.File))
	if errors.Is(err, fs.ErrNotExist) {
		return faults.New(faults.NotFound, "name the data directory as `ampoule serve` has it, with --data; "+PostgresHint,
			"backing up %s: there is no database %s in it", p.Data, database.File)
	}
	return err
}

// checkDest refuses a place at which no backup can be, or that would be part of it.
func (p Place) checkDest(dest string) error {
	wrong := func(hint, what string) error {
		return faults.New(faults.Usage, hint, "writing the backup %s: %s", dest, what)
	}
	if _, err := os.Lstat(dest); !errors.Is(err, fs.ErrNotExist) {
		return wrong("name a directory that does not exist", "there is something of that name")
	}
	if _, err := os.Stat(filepath.Dir(dest)); errors.Is(err, fs.ErrNotExist) {
		return wrong("make it first", "there is no directory "+filepath.Dir(dest))
	}
	for _, dir := range []string{p.Data, p.Store} {
		if name, err := filepath.Rel(dir, dest); dir != "" && err == nil && filepath.IsLocal(name) {
			return wrong("name a directory elsewhere, best on another disk", "it would be in "+dir+", which is copied")
		}
	}
	return nil
}

// PostgresHint says how a service is backed up that has PostgreSQL.
const PostgresHint = "with PostgreSQL run pg_dump first, and then copy the registry: tokens, logs and submissions are in the database (docs/service.md, \"Back-up\")"

// begin makes the directory for what is not whole, or takes the one over that a process has left.
// Two processes never write one.
func begin(dir string) (done func() error, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := system.TryLockFile(f, system.Exclusive); err != nil {
		if errors.Is(err, system.ErrHeld) {
			err = faults.New(faults.Machine, "wait for it to end", "another process writes it")
		}
		return nil, errors.Join(err, f.Close())
	}
	names, err := f.Readdirnames(-1)
	for _, name := range names {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, name)))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error { return system.CloseLocked(f) }, nil
}

// write writes all of a backup, and reads it again.
func (p Place) write(ctx context.Context, dir string) (Summary, error) {
	c := &copier{ctx: ctx, to: filepath.Join(dir, dataDir)}
	if err := p.copyAll(c); err != nil {
		return Summary{}, err
	}
	s := Summary{Created: time.Now().UTC().Truncate(time.Second), Version: p.Version, Files: len(c.files), Bytes: c.bytes, Registry: !p.Elsewhere, Damaged: c.damaged}
	var err error
	if s.Builds, s.Keys, err = counted(ctx, filepath.Join(c.to, database.File)); err != nil {
		return Summary{}, err
	}
	if s.Gone, err = p.missing(ctx, c); err != nil {
		return Summary{}, err
	}
	if err := describe(dir, s, c.files); err != nil {
		return Summary{}, err
	}
	if _, err := Verify(ctx, dir); err != nil {
		return Summary{}, fmt.Errorf("reading it again: %w", err)
	}
	return s, nil
}

// copyAll copies everything in the order of the package's comment.
func (p Place) copyAll(c *copier) error {
	if err := c.database(p.Data); err != nil {
		return err
	}
	// Whatever else the service keeps there, such as keys.
	err := c.tree(p.Data, "", func(name string, _ fs.DirEntry) bool {
		first, _, _ := strings.Cut(name, "/")
		return first != logsDir && first != tempDir && first != storeDir && first != lostDir && first != database.LockFile && first != database.RestoringDir && !strings.HasPrefix(first, database.File)
	})
	if err != nil {
		return err
	}
	if err := p.copyRecords(c); err != nil {
		return err
	}
	if !p.Elsewhere {
		if err := c.registry(p.registry(), filepath.Join(storeDir, registryDir)); err != nil {
			return err
		}
	}
	return c.tree(filepath.Join(p.Data, logsDir), logsDir, nil)
}

// copyRecords copies records. With a store elsewhere the service's own one has its tokens, and all else
// is there.
func (p Place) copyRecords(c *copier) error {
	own := filepath.Join(p.Data, storeDir)
	if p.Store == "" || p.Store == own {
		return c.store(own, func(string) bool { return true })
	}
	if err := c.store(own, func(kind string) bool { return kind == tokensKind }); err != nil {
		return err
	}
	return c.store(p.Store, func(kind string) bool { return kind != tokensKind })
}

// registry is the registry's directory.
func (p Place) registry() string {
	if p.Store != "" {
		return filepath.Join(p.Store, registryDir)
	}
	return filepath.Join(p.Data, storeDir, registryDir)
}

// missing counts keys whose digest is not in the copied registry. If it is in the one that was
// copied, the backup is wrong.
func (p Place) missing(ctx context.Context, c *copier) (int, error) {
	if p.Elsewhere {
		return 0, nil
	}
	gone, all := 0, 0
	err := published(ctx, filepath.Join(c.to, database.File), func(recipe, digest string) error {
		all++
		blob := blobOf(recipe, digest)
		if c.has[filepath.Join(storeDir, registryDir, blob)] {
			return nil
		}
		gone++
		if _, err := os.Stat(filepath.Join(p.registry(), blob)); err == nil {
			return faults.New(faults.Machine, "try it again", "%s@%s came into the registry too late", recipe, digest)
		}
		return nil
	})
	if err == nil && gone > 0 && gone == all {
		err = faults.New(faults.NotFound, "name the registry as `ampoule serve` has it: --store, or --registry if it is no store's",
			"none of the %d digests that the database knows is in %s", all, p.registry())
	}
	return gone, err
}

// blobOf is where the registry of a store has content of a repository, below its directory.
func blobOf(repository, digest string) string {
	return filepath.Join("repositories", filepath.FromSlash(repository), blobsDir, "sha256", strings.TrimPrefix(digest, "sha256:"))
}

// settle gives a backup that is whole its name, on the disk too.
func settle(partial, dest string) error {
	if err := syncTree(partial); err != nil {
		return err
	}
	if err := os.Rename(partial, dest); err != nil {
		return err
	}
	return syncTree(filepath.Dir(dest))
}

// syncTree has what was written to a file system be on its disk.
func syncTree(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(system.Sync(f), f.Close())
}
