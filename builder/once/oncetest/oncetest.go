// Package oncetest has a cache for tests that lies in memory.
package oncetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"ampoule/builder/once"
	"ampoule/store"
)

// Name is how the cache is called.
const Name = "registry.invalid/cache"

// Shelf is what the machines of a test share. [Shelf.At] makes it the cache of one of them.
type Shelf struct {
	mu sync.Mutex
	// entries are by kind and key, with a space between; content is by sha256.
	entries map[string]once.Entry
	content map[string][]byte
	asked   []string
}

// New makes an empty shelf.
func New() *Shelf { return &Shelf{entries: map[string]once.Entry{}, content: map[string][]byte{}} }

// At is the shelf as the cache of a store.
func (s *Shelf) At(st *store.Store) once.Cache { return &cache{s, st} }

// Keys lists what is there, as "KIND KEY".
func (s *Shelf) Keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for id := range s.entries {
		keys = append(keys, id)
	}
	slices.Sort(keys)
	return keys
}

// Asked lists what was looked for, as "KIND KEY".
func (s *Shelf) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Change changes an entry. What it then names is not brought along.
func (s *Shelf) Change(id string, change func(*once.Entry)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[id]
	change(&e)
	s.entries[id] = e
}

// Poison changes the bytes of an entry's content.
func (s *Shelf) Poison(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sum := range s.entries[id].Content {
		s.content[sum] = []byte("poison")
	}
}

type cache struct {
	*Shelf
	st *store.Store
}

// String implements [once.Cache].
func (c *cache) String() string { return Name }

// Look implements [once.Cache].
func (c *cache) Look(ctx context.Context, w once.Wanted) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := w.Kind + " " + w.Key
	c.asked = append(c.asked, id)
	e, ok := c.entries[id]
	if !ok {
		return nil, false
	}
	named, err := w.Names(e.Value)
	if err == nil && !slices.Equal(named, e.Content) {
		err = errors.New("it names other content")
	}
	for _, sum := range e.Content {
		if err == nil {
			w.Advance(0, int64(len(c.content[sum])))
			err = c.st.PutExpected(ctx, bytes.NewReader(c.content[sum]), sum)
		}
	}
	if err != nil {
		w.Warn(err.Error())
		return nil, false
	}
	return e.Value, true
}

// Put implements [once.Cache].
func (c *cache) Put(_ context.Context, e once.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, sum := range e.Content {
		data, err := c.read(sum)
		if err != nil {
			e.Warn(err.Error())
			return
		}
		c.content[sum] = data
	}
	c.entries[e.Kind+" "+e.Key] = e
}

func (c *cache) read(sum string) (_ []byte, err error) {
	f, err := c.st.Open(sum)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(f)
}
