package survey

import (
	"sync"

	"ampoule/audit"
	"ampoule/tree"
)

// interpreters has the files of the interpreters that were met: of however many units one
// is judged with, its files are read and hashed once.
type interpreters struct {
	mu    sync.Mutex
	lists map[listOf]func() ([]tree.Entry, error)
}

// listOf names a list of an interpreter's files: with its own modules, or without.
type listOf struct {
	files   Files
	exe     string
	modules bool
}

// files lists what [audit.InterpreterFiles] names of an interpreter, owned by it, with
// hashes.
func (i *interpreters) files(at interpreter, modules bool) ([]tree.Entry, error) {
	i.mu.Lock()
	if i.lists == nil {
		i.lists = map[listOf]func() ([]tree.Entry, error){}
	}
	key := listOf{at.files, at.exe, modules}
	list, ok := i.lists[key]
	if !ok {
		list = sync.OnceValues(func() ([]tree.Entry, error) { return interpreterFiles(at, modules) })
		i.lists[key] = list
	}
	i.mu.Unlock()
	return list()
}

func interpreterFiles(at interpreter, modules bool) ([]tree.Entry, error) {
	patterns, err := audit.InterpreterFiles(at.exe, modules)
	if err != nil {
		return nil, err
	}
	var entries []tree.Entry
	for _, pattern := range patterns {
		matched, err := match(at.files, pattern)
		if err != nil {
			return nil, err
		}
		entries = append(entries, matched...)
	}
	for i := range entries {
		entries[i].Owner = audit.OwnerInterpreter
	}
	return entries, nil
}
