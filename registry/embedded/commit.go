package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"ampoule/artifact"
)

// previousName is the list of a repository from before a change that is under way.
const previousName = "index.previous"

// nextEnding ends the name of one that is not in place yet.
const nextEnding = ".next"

// change has a repository's list changed. Whoever loses the power meanwhile has the list from
// before or the one from after it, and all that it names; after it, the change is on disk.
//
// The registry writes a manifest and a new list, and gives that the old one's name, without a word to the disk in
// between: the name may be there before the bytes are. Then the list from before counts, which
// is put back when the registry is opened ([guard.restoreLists]). Whoever calls it holds the lock for writing.
func (g *guard) change(repo repository, change func() error) error {
	if err := g.sync(); err != nil {
		return err
	}
	if err := repo.keepList(); err != nil {
		return fmt.Errorf("keeping the list of %s: %w", repo.name, err)
	}
	if err := errors.Join(change(), g.sync()); err != nil {
		return err
	}
	return repo.forgetBefore()
}

// forgetBefore removes the list from before: the one after it is on disk.
func (r repository) forgetBefore() error {
	err := os.Remove(filepath.Join(r.dir, previousName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// keepList keeps the list, which is on disk, beside itself. File systems that know no second name of a file
// get a copy.
func (r repository) keepList() error {
	list, before := filepath.Join(r.dir, indexName), filepath.Join(r.dir, previousName)
	next := before + nextEnding
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := os.Link(list, next)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // there is none yet
	case err == nil:
		return os.Rename(next, before)
	}
	raw, err := readAtMost(list, maxIndex)
	if err != nil {
		return err
	}
	return r.place(previousName, raw)
}

// list reads a list of the repository, which may be the one from before a change.
func (r repository) list(name string) (manifest, error) {
	raw, err := readAtMost(filepath.Join(r.dir, name), maxIndex)
	if err != nil {
		return manifest{}, err
	}
	return parseList(raw)
}

// listBefore is the list from before a change, without what has been removed since then. It
// reports whether there is one.
func (r repository) listBefore() (manifest, bool) {
	before, err := r.list(previousName)
	if err != nil {
		return manifest{}, false
	}
	before.Manifests = slices.DeleteFunc(before.Manifests, func(d descriptor) bool {
		// A list of referrers is made again as long as what it is of is there.
		if subject := d.Annotations[subjectAnnotation]; subject != "" && r.hasDocument(subject) {
			return false
		}
		return !r.whole(d)
	})
	return before, true
}

// hasDocument reports whether a manifest is there and is what its digest says.
func (r repository) hasDocument(digest string) bool {
	_, _, err := r.document(digest)
	return err == nil
}

// isCommitted reports whether the last change of a list was put on disk: all that is new in the list is there.
func (r repository) isCommitted(list manifest) bool {
	before, err := r.list(previousName)
	if err != nil {
		return true
	}
	type entry struct{ digest, tag, subject string }
	of := func(d descriptor) entry {
		return entry{d.Digest, d.Annotations[artifact.AnnotationRefName], d.Annotations[subjectAnnotation]}
	}
	known := map[entry]bool{}
	for _, d := range before.Manifests {
		known[of(d)] = true
	}
	return !slices.ContainsFunc(list.Manifests, func(d descriptor) bool { return !known[of(d)] && !r.isWritten(d) })
}

// isWritten reports whether a manifest is there. A list of referrers is written together with the last of them;
// what an index names was there before it, or lies elsewhere.
func (r repository) isWritten(d descriptor) bool {
	m, _, err := r.document(d.Digest)
	if err != nil || d.Annotations[subjectAnnotation] == "" {
		return err == nil
	}
	return !slices.ContainsFunc(m.Manifests, func(referrer descriptor) bool { return !r.hasDocument(referrer.Digest) })
}

// restoreList puts the list from before a change back, if there is one.
func (g *guard) restoreList(repo repository) error {
	before, ok := repo.listBefore()
	if !ok {
		return nil
	}
	if err := repo.saveIndex(before); err != nil {
		return fmt.Errorf("putting the list of %s back: %w", repo.name, err)
	}
	g.unsynced.Store(true)
	g.renew()
	return repo.forgetBefore()
}

// restoreLists puts back the lists that are lost, or whose last change was cut off.
func (g *guard) restoreLists() error {
	repos, err := g.repositories()
	if err != nil {
		return err
	}
	g.writing.Lock()
	defer g.writing.Unlock()
	for _, repo := range repos {
		list, err := repo.index()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err == nil && repo.isCommitted(list):
			err = repo.forgetBefore()
		default:
			err = g.restoreList(repo)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
