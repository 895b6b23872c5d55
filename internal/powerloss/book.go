package powerloss

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"time"
)

// Result is what came of one deed during which the power went, or its process was killed.
type Result struct {
	// Name is the deed.
	Name string `json:"name"`
	When string `json:"when"`
	// Calls are those of the deed that change files or put them on disk, Losses how often the power went
	// between them.
	Calls  int `json:"calls,omitempty"`
	Losses int `json:"losses,omitempty"`
	// Kills is how often its process was killed.
	Kills int `json:"kills,omitempty"`
	// Failed is how often something was gone or there by halves.
	Failed int `json:"failed"`
}

// Book is a file of results: deeds that are in it need not be done again.
type Book struct {
	path string
	mu   sync.Mutex
	done map[string]Result
}

// OpenBook reads a file of results, which may be missing. Without a path nothing is kept.
func OpenBook(path string) (*Book, error) {
	b := &Book{path: path, done: map[string]Result{}}
	if path == "" {
		return b, nil
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Result
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	for _, r := range all {
		b.done[r.Name] = r
	}
	return b, nil
}

// Has reports whether a deed went through that often.
func (b *Book) Has(deed string, times int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.done[deed]
	return r.Losses+r.Kills >= times && r.Failed == 0
}

// Put notes a result of today, and writes all of them.
func (b *Book) Put(r Result) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.When = time.Now().UTC().Format(time.DateOnly)
	b.done[r.Name] = r
	if b.path == "" {
		return nil
	}
	all := []Result{}
	for _, name := range slices.Sorted(maps.Keys(b.done)) {
		all = append(all, b.done[name])
	}
	raw, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(b.path, append(raw, '\n'), 0o644)
}
