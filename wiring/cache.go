package wiring

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"ampoule/builder"
	"ampoule/config"
	"ampoule/faults"
	"ampoule/registry/cache"
)

const (
	// patience is how often in a row a cache may fail before it is not asked any more.
	patience = 3
	// sends is how many entries are sent to a cache at once.
	sends = 2
	// reads is how many entries are read from a cache at once.
	reads = 8
)

// Caches opens the caches that are set. The first one is written to, if there is a key.
func (p *Parts) Caches(set config.Cache) ([]builder.Cache, error) {
	if len(set.Use) == 0 {
		return nil, nil
	}
	trust, err := cache.NewTrust(set.Trusted, set.Retired)
	if err != nil {
		return nil, err
	}
	var signer *cache.Signer
	if set.Key != "" {
		if signer, err = cache.ReadSigner(set.Key); err != nil {
			return nil, err
		}
	}
	if signer == nil && trust.Empty() {
		return nil, faults.New(faults.Input, "name the public key of who fills it: trusted = [\"/PATH/cache.key.pub\"] in section [cache] of config.toml",
			"cache %s: no key is trusted, so nothing of it could be used", set.Use[0])
	}
	var opened []builder.Cache
	for _, ref := range set.Use {
		c, err := cache.Open(ref, p.Store, trust, signer)
		if err != nil {
			return nil, err
		}
		opened = append(opened, newCached(c))
		// What others have made is theirs to keep in their caches.
		signer = nil
	}
	return opened, nil
}

// remote is what is needed of a cache.
type remote interface {
	String() string
	Writable() bool
	Read(ctx context.Context, w cache.Wanted) ([]byte, error)
	Write(ctx context.Context, kind, key string, value []byte, sums []string) error
}

// cached makes of a cache what the builder needs of one: whatever goes wrong is told, and the build
// goes on. A cache that fails several times in a row is left alone for the rest of the run,
// reading and writing each for itself.
type cached struct {
	remote
	read, write failing
	// reading and sending bound what happens at once.
	reading, sending chan struct{}
}

func newCached(r remote) *cached {
	return &cached{
		remote: r, read: failing{what: "read"}, write: failing{what: "written to"},
		reading: make(chan struct{}, reads), sending: make(chan struct{}, sends),
	}
}

// Look implements [builder.Cache].
func (c *cached) Look(ctx context.Context, w builder.Wanted) ([]byte, bool) {
	if !enter(ctx, c.reading) {
		return nil, false
	}
	defer leave(c.reading)
	if c.read.isGivenUp() {
		return nil, false
	}
	value, err := c.Read(ctx, cache.Wanted{Kind: w.Kind, Key: w.Key, Names: w.Names, Advance: w.Advance})
	var refused *cache.RefusedError
	switch {
	case err == nil:
		c.read.worked()
		return value, true
	case errors.Is(err, cache.ErrAbsent):
		c.read.worked()
	case errors.As(err, &refused):
		c.read.worked()
		w.Warn(fmt.Sprintf("cache %s: %v: it is not used (%s)", c, refused, cache.Tag(w.Kind, w.Key)))
	default:
		c.read.failed(ctx, c, err, w.Warn)
	}
	return nil, false
}

// Put implements [builder.Cache].
func (c *cached) Put(ctx context.Context, e builder.Entry) {
	if !c.Writable() || !enter(ctx, c.sending) {
		return
	}
	defer leave(c.sending)
	if c.write.isGivenUp() {
		return
	}
	if err := c.Write(ctx, e.Kind, e.Key, e.Value, e.Content); err != nil {
		c.write.failed(ctx, c, err, e.Warn)
		return
	}
	c.write.worked()
}

// enter waits for a place among those that work, and reports whether it got one.
func enter(ctx context.Context, places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func leave(places chan struct{}) { <-places }

// failing counts failures in a row.
type failing struct {
	// what completes the sentence "the cache is not … any more".
	what string

	mu      sync.Mutex
	inARow  int
	givenUp bool
}

func (f *failing) isGivenUp() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.givenUp
}

func (f *failing) worked() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inARow = 0
}

// failed tells of a failure, unless the caller has ended it or the cache is given up already.
func (f *failing) failed(ctx context.Context, c fmt.Stringer, err error, warn func(string)) {
	if ctx.Err() != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.givenUp {
		return
	}
	f.inARow++
	message := fmt.Sprintf("cache %s: %v", c, err)
	if f.inARow == patience {
		f.givenUp = true
		message += fmt.Sprintf("; it has failed %d times in a row, and is not %s any more", patience, f.what)
	}
	warn(message)
}
