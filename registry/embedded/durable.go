package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ampoule/artifact"
)

// A repository's list is replaced by rename, by the registry library, which syncs nothing. So
// that a loss of power takes no tag that was answered for, and gives none without its content,
// each change goes through [guard.change], and content through [guard.land]:
//
//  1. The list as it is gets a second name (previousName), and the directory is synced.
//  2. What the manifest leads to, and the manifest itself, are synced, with their directories.
//  3. The library replaces the list.
//  4. The list and its directory are synced, and the second name goes.
//
// After a loss between 3 and 4 the list may be empty or torn: then the one of the second name
// counts (guard.rebuild), as if the change had never been sent, and nobody was told otherwise.

// previousName is the name of a repository's list from before a change that is under way.
const previousName = "index.previous"

// change changes a repository's list. When it returns, the change is on disk. Whoever calls it
// holds the lock for writing.
func (g *guard) change(repo repository, change func() error) error {
	if err := repo.keepList(); err != nil {
		return fmt.Errorf("keeping the list of %s: %w", repo.name, err)
	}
	if err := change(); err != nil {
		return err
	}
	if err := repo.settleList(); err != nil {
		return fmt.Errorf("syncing the list of %s: %w", repo.name, err)
	}
	return nil
}

// keepList gives the list a second name, unless an earlier one that has it may be the last that
// is whole. Where a file has one name at most, the list is copied.
func (r repository) keepList() error {
	err := os.Link(filepath.Join(r.dir, indexName), filepath.Join(r.dir, previousName))
	switch {
	case errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		if err := r.copyList(); err != nil {
			return err
		}
	}
	return syncPath(r.dir)
}

// copyList makes the second name a file of its own.
func (r repository) copyList() error {
	if _, err := os.Lstat(filepath.Join(r.dir, previousName)); err == nil {
		return nil
	}
	raw, err := readAtMost(filepath.Join(r.dir, indexName), maxIndex)
	if err != nil {
		return err
	}
	return r.place(previousName, raw)
}

// settleList has the list on disk.
func (r repository) settleList() error {
	for _, path := range []string{filepath.Join(r.dir, indexName), r.dir} {
		if err := syncPath(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(filepath.Join(r.dir, previousName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// land has a manifest on disk with all that it leads to, before any list names it. What is not
// there is left to the registry, which refuses such a manifest.
func (g *guard) land(repo repository, raw []byte, m manifest) error {
	if m.SchemaVersion == 0 {
		return nil
	}
	path := repo.blob(hashOf(raw))
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := repo.place(filepath.Join(blobsName, hashName, filepath.Base(path)), raw); err != nil {
			return fmt.Errorf("writing manifest: %w", err)
		}
	}
	for _, file := range append(repo.files(m), path) {
		if err := g.synced.sync(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("syncing content: %w", err)
		}
	}
	for dir := filepath.Dir(path); len(dir) >= len(g.dir); dir = filepath.Dir(dir) {
		if err := g.synced.sync(dir); err != nil {
			return fmt.Errorf("syncing directory: %w", err)
		}
	}
	return nil
}

// files are the files of what a manifest leads to, as far as it is there.
func (r repository) files(m manifest) []string {
	var files []string
	for _, d := range m.parts() {
		if !artifact.IsDigest(d.Digest) || d.isForeign() {
			continue
		}
		files = append(files, r.blob(d.Digest))
		if !isIndex(d.MediaType) && !isManifest(d.MediaType) {
			continue
		}
		if part, _, err := r.document(d.Digest); err == nil {
			files = append(files, r.files(part)...)
		}
	}
	return files
}

// synced remembers what this process has synced, so that each file waits for the disk once.
type synced struct {
	mu    sync.Mutex
	known map[string]fileState
}

// maxSynced bounds what is remembered; what is forgotten is synced again.
const maxSynced = 100_000

// sync syncs a file or a directory, unless it is as it was when it was last synced.
func (s *synced) sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	state, err := stateOf(f)
	if err != nil {
		return err
	}
	s.mu.Lock()
	known, ok := s.known[path]
	s.mu.Unlock()
	if ok && known == state {
		return nil
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if time.Since(time.Unix(0, state.Change)) <= tick {
		return nil // what changes now may look the same
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) >= maxSynced {
		s.known = map[string]fileState{}
	}
	s.known[path] = state
	return nil
}

// syncPath has a file or a directory on disk.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
