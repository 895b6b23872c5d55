package audit

import (
	"errors"
	"sync"

	"ampoule/tree"
)

// maxRemembered bounds the lookups that are remembered of one file system: a loader asks
// for the same few libraries in the same few directories.
const maxRemembered = 1 << 14

// rememberedRoot is a file system of which what was looked up stays as it was found.
type rememberedRoot struct {
	Root
	mu   sync.Mutex
	seen map[string]answer
}

// answer is what one lookup gave.
type answer struct {
	entry tree.Entry
	ok    bool
}

// Lookup implements [Root].
func (r *rememberedRoot) Lookup(p string) (tree.Entry, bool) {
	r.mu.Lock()
	found, ok := r.seen[p]
	r.mu.Unlock()
	if ok {
		return found.entry, found.ok
	}
	found.entry, found.ok = r.Root.Lookup(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.seen) < maxRemembered {
		r.seen[p] = found
	}
	return found.entry, found.ok
}

// lister is a file system that can say what is in a directory.
type lister interface {
	List(dir string) ([]string, error)
}

// List says what is in a directory, where the file system can.
func (r *rememberedRoot) List(dir string) ([]string, error) {
	l, ok := r.Root.(lister)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return l.List(dir)
}
