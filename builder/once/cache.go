package once

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"

	"ampoule/builder/progress"
	"ampoule/store"
)

// Cache keeps what was made where other machines find it. Whatever is wrong with a cache, or
// with one of its entries, is warned about and counts as absent: no build ends because of it.
type Cache interface {
	// String names the cache for a person.
	String() string
	// Look brings the content of an entry into the store, and returns the entry's value, as JSON.
	Look(ctx context.Context, w Wanted) (value []byte, found bool)
	// Put keeps an entry. The store has its content.
	Put(ctx context.Context, e Entry)
}

// Wanted is an entry that is looked for.
type Wanted struct {
	Kind, Key string
	// Names gives the sha256, in hex, of all content that a value names. An entry that has other
	// content is not used.
	Names func(value []byte) ([]string, error)
	// Advance is told how many bytes of the entry's content have come.
	Advance func(done, total int64)
	// Warn is told what is wrong.
	Warn func(message string)
}

// Entry is what was made.
type Entry struct {
	Kind, Key string
	// Value is the value of the record, as JSON.
	Value []byte
	// Content is the sha256, in hex, of all content that it names.
	Content []string
	// Warn is told what is wrong.
	Warn func(message string)
}

// Tally counts results, each once.
type Tally struct {
	// Made were made in this run.
	Made int `json:"made"`
	// Found were in the store.
	Found int `json:"found"`
	// Cached were read from a cache.
	Cached int `json:"cached"`
}

// Use is the use of caches by one build.
type Use struct {
	//nolint:containedctx // what is sent outlives the stage that made it, and ends with the build
	ctx    context.Context
	caches []Cache
	// sending are the goroutines that fill the caches, pending how many they are.
	sending sync.WaitGroup
	pending atomic.Int64

	mu      sync.Mutex
	tally   Tally
	counted map[string]bool
	absent  map[string]bool
}

type useKey struct{}

// Using returns a context under which [Remembered] and [Look] also look into these caches, in
// this order, and under which what [Remembered] makes is put into them. [Use.End] must be
// called.
func Using(ctx context.Context, caches ...Cache) (context.Context, *Use) {
	u := &Use{ctx: ctx, caches: caches, counted: map[string]bool{}, absent: map[string]bool{}}
	return context.WithValue(ctx, useKey{}, u), u
}

// Alone returns a context under which nothing is looked for in caches or put into them: for
// what is made again faster than it is sent, and for what is of one commit only.
func Alone(ctx context.Context) context.Context {
	return context.WithValue(ctx, useKey{}, (*Use)(nil))
}

func useOf(ctx context.Context) *Use {
	u, _ := ctx.Value(useKey{}).(*Use)
	return u
}

// HasCaches reports whether something could be read from a cache under a context.
func HasCaches(ctx context.Context) bool {
	u := useOf(ctx)
	return u != nil && len(u.caches) > 0
}

// IsSending reports whether something is still on its way into a cache.
func (u *Use) IsSending() bool { return u.pending.Load() > 0 }

// End waits until the caches have what was made, and returns what came from where.
func (u *Use) End() Tally {
	u.sending.Wait()
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.tally
}

// origin says where a result came from.
type origin int

const (
	originMade origin = iota
	originStore
	originCache
)

// count counts a result, the first time that it is asked for.
func (u *Use) count(id string, from origin) {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.counted[id] {
		return
	}
	u.counted[id] = true
	switch from {
	case originMade:
		u.tally.Made++
	case originStore:
		u.tally.Found++
	case originCache:
		u.tally.Cached++
	}
}

// look asks the caches. An entry that none of them has is not asked for again.
func (u *Use) look(ctx context.Context, w Wanted) (value []byte, from string, found bool) {
	if u == nil || u.isAbsent(idOf(w.Kind, w.Key)) {
		return nil, "", false
	}
	for _, c := range u.caches {
		if value, found := c.Look(ctx, w); found {
			return value, c.String(), true
		}
	}
	if ctx.Err() == nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.absent[idOf(w.Kind, w.Key)] = true
	}
	return nil, "", false
}

func (u *Use) isAbsent(id string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.absent[id]
}

// put sends an entry, and returns at once.
func (u *Use) put(e Entry) {
	if u == nil {
		return
	}
	for _, c := range u.caches {
		u.pending.Add(1)
		u.sending.Go(func() {
			defer u.pending.Add(-1)
			c.Put(u.ctx, e)
		})
	}
}

// idOf names a result, and its lock.
func idOf(kind, key string) string { return kind + "-" + key }

// fromCache brings what a cache has under a kind and a key into the store, and records it there.
func fromCache[T any](ctx context.Context, st *store.Store, kind, key string, w Wanted) (value T, from string, found bool, err error) {
	w.Kind, w.Key, w.Names = kind, key, namesOf[T]
	text, from, found := useOf(ctx).look(ctx, w)
	if !found {
		return value, "", false, nil
	}
	if err := json.Unmarshal(text, &value); err != nil {
		return value, "", false, err
	}
	return value, from, true, st.Record(kind, key, value)
}

// namesOf gives the content that the value of a record names.
func namesOf[T any](text []byte) ([]string, error) {
	var value T
	if err := json.Unmarshal(text, &value); err != nil {
		return nil, err
	}
	return store.ContentOf(value), nil
}

// send puts what was made into the caches.
func send(ctx context.Context, task *progress.Task, kind, key string, value any) error {
	u := useOf(ctx)
	if u == nil || len(u.caches) == 0 {
		return nil
	}
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	u.put(Entry{Kind: kind, Key: key, Value: text, Content: store.ContentOf(value), Warn: task.Warn})
	return nil
}
