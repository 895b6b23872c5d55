package wiring

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"ampoule/builder"
	"ampoule/config"
	"ampoule/faults"
	"ampoule/registry/cache"
)

// distant is a cache whose answers a test decides.
type distant struct {
	readOnly    bool
	read, write func() error
	reads       atomic.Int64
	writes      atomic.Int64
}

func (*distant) String() string   { return "registry.invalid/cache" }
func (d *distant) Writable() bool { return !d.readOnly }

func (d *distant) Read(context.Context, cache.Wanted) ([]byte, error) {
	d.reads.Add(1)
	return []byte("1"), d.read()
}

func (d *distant) Write(context.Context, string, string, []byte, []string) error {
	d.writes.Add(1)
	return d.write()
}

// told keeps warnings.
type told struct {
	mu   sync.Mutex
	list []string
}

func (w *told) warn(message string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, message)
}

// A cache that fails three times in a row is left alone, reading and writing each for itself.
func TestFailingCacheIsGivenUp(t *testing.T) {
	t.Parallel()
	broken, works := errors.New("it is broken"), false
	d := &distant{
		read: func() error {
			if works {
				return nil
			}
			return broken
		},
		write: func() error { return broken },
	}
	c, w := newCached(d), &told{}
	look := func() bool {
		_, found := c.Look(t.Context(), builder.Wanted{Kind: "wheel", Warn: w.warn})
		return found
	}
	look()
	look()
	works = true
	if !look() {
		t.Error("a cache that works again is not used")
	}
	works = false
	for range 10 {
		look()
	}
	if n := d.reads.Load(); n != 3+patience {
		t.Errorf("it is read %d times", n)
	}
	if last := w.list[len(w.list)-1]; len(w.list) != 2+patience || !strings.Contains(last, "it has failed 3 times in a row, and is not read any more") {
		t.Errorf("told %q", w.list)
	}
	w.list = nil
	for range 10 {
		c.Put(t.Context(), builder.Entry{Kind: "wheel", Warn: w.warn})
	}
	if last := w.list[len(w.list)-1]; d.writes.Load() != patience || len(w.list) != patience || !strings.Contains(last, "and is not written to any more") {
		t.Errorf("it is written to %d times, told %q", d.writes.Load(), w.list)
	}
}

// What must not be used is told, each time, and is no failure of the cache; what is not there is
// neither.
func TestRefusedEntryIsTold(t *testing.T) {
	t.Parallel()
	var err error
	d := &distant{read: func() error { return err }}
	c, w := newCached(d), &told{}
	for _, err = range []error{&cache.RefusedError{Why: "was signed by a cat"}, cache.ErrAbsent} {
		for range 2 * patience {
			if _, found := c.Look(t.Context(), builder.Wanted{Kind: "wheel", Key: "k", Warn: w.warn}); found {
				t.Error("it is used")
			}
		}
	}
	want := "cache registry.invalid/cache: the entry was signed by a cat: it is not used (" + cache.Tag("wheel", "k") + ")"
	if d.reads.Load() != 4*patience || len(w.list) != 2*patience || w.list[0] != want {
		t.Errorf("read %d times, told %q", d.reads.Load(), w.list)
	}
}

// A build that ends is no failure of the cache, and without a key nothing is written.
func TestCacheWithoutReason(t *testing.T) {
	t.Parallel()
	d := &distant{readOnly: true, read: func() error { return context.Canceled }, write: func() error { return nil }}
	c, w := newCached(d), &told{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 * patience {
		c.Look(ctx, builder.Wanted{Warn: w.warn})
		c.Put(t.Context(), builder.Entry{Warn: w.warn})
	}
	if len(w.list) != 0 || d.writes.Load() != 0 {
		t.Errorf("told %q, written %d times", w.list, d.writes.Load())
	}
}

// Which caches are opened is what is set: without a trusted key none, with a retired one none.
func TestCaches(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := filepath.Join(dir, "cache.key")
	id, err := cache.Generate(key)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open(config.Place{Store: filepath.Join(dir, "store")})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	const one, two = "127.0.0.1:1/team/one", "127.0.0.1:1/team/two"
	opened, err := p.Caches(config.Cache{Use: []string{one, two}, Key: key, Trusted: []string{key + ".pub"}})
	if err != nil || len(opened) != 2 {
		t.Fatalf("%v, %v", opened, err)
	}
	for i, c := range opened {
		if got := c.(*cached).Writable(); got != (i == 0) {
			t.Errorf("%s is written to: %v", c, got)
		}
	}
	if opened, err := p.Caches(config.Cache{Key: key}); err != nil || len(opened) != 0 {
		t.Errorf("without a cache: %v, %v", opened, err)
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		set  config.Cache
		kind faults.Kind
		want string
	}{
		"no key":           {config.Cache{Use: []string{one}}, faults.Input, "no key is trusted"},
		"a retired key":    {config.Cache{Use: []string{one}, Trusted: []string{key + ".pub"}, Retired: []string{id}}, faults.Input, "no key is trusted"},
		"everybody's key":  {config.Cache{Use: []string{one}, Key: key}, faults.Input, "its mode is"},
		"an absent key":    {config.Cache{Use: []string{one}, Trusted: []string{"/absent/cache.pub"}}, faults.Input, "/absent/cache.pub"},
		"not a repository": {config.Cache{Use: []string{"cache"}, Trusted: []string{key + ".pub"}}, faults.Usage, `"cache" is not a repository in a registry`},
	} {
		_, err := p.Caches(c.set)
		if faults.Of(err) != c.kind || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
