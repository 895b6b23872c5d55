package embedded

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// lists remembers repositories' lists: a large one takes long to read, and each publication
// looks at it several times. The files stay open, so that no later one has the inode of one
// that is remembered: a list is always replaced, and never written to.
type lists struct {
	mu    sync.Mutex
	known map[string]list
}

// list is a file as it was read.
type list struct {
	file  *os.File
	state fileState
	manifest
}

// maxLists bounds the files that are open.
const maxLists = 64

func newLists() *lists { return &lists{known: map[string]list{}} }

// read reads the list at a path, unless it is the one that was read there last.
func (l *lists) read(path string) (manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return manifest{}, err
	}
	state, err := stateOf(f)
	if err == nil {
		l.mu.Lock()
		known, ok := l.known[path]
		l.mu.Unlock()
		if ok && known.state == state {
			return known.manifest, f.Close()
		}
	}
	var m manifest
	if err == nil {
		m, err = readList(f)
	}
	if err != nil {
		_ = f.Close()
		return m, err
	}
	l.keep(path, list{f, state, m})
	return m, nil
}

// readList reads an open list.
func readList(f *os.File) (manifest, error) {
	raw, err := io.ReadAll(io.LimitReader(f, maxIndex+1))
	if err == nil && len(raw) > maxIndex {
		err = fmt.Errorf("%s is larger than %d bytes", f.Name(), maxIndex)
	}
	if err != nil {
		return manifest{}, err
	}
	return parseList(raw)
}

// keep remembers a list in the place of another one.
func (l *lists) keep(path string, of list) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old, ok := l.known[path]; ok {
		_ = old.file.Close()
	} else if len(l.known) >= maxLists {
		l.closeAll()
	}
	l.known[path] = of
}

// close forgets all.
func (l *lists) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeAll()
}

func (l *lists) closeAll() {
	for _, known := range l.known {
		_ = known.file.Close()
	}
	clear(l.known)
}
