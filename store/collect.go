package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ampoule/system"
)

// Keep says what a collection leaves.
type Keep struct {
	// Unused is how long what nobody uses stays, and up to an hour longer; 0 is not at all.
	Unused time.Duration
	// Limit bounds what is left, in bytes, the embedded registry included: what was used
	// the longest time ago goes first. 0 is no bound.
	Limit int64
	// Registry collects the embedded registry before the rest is collected. Without it
	// the registry is measured only.
	Registry Collector
	// Dry has nothing removed: the outcome tells what would be.
	Dry bool
}

// Collector collects an area of the store that another package fills.
type Collector interface {
	// Collect removes what need not stay there. It gives the bytes that it removed, or,
	// where it is a dry run, would remove, and those that are left then.
	Collect(ctx context.Context, dry bool) (removed, left int64, err error)
}

// Collected is the outcome of a collection. Sizes are in bytes, and include the registry's.
type Collected struct {
	Removed      int   `json:"removed"`
	RemovedBytes int64 `json:"removedBytes"`
	Left         int   `json:"left"`
	LeftBytes    int64 `json:"leftBytes"`
	// KeptBytes, InUseBytes and RegistryBytes are the parts of what is left that this
	// collection could not remove: what stays on purpose, what was in use, and the
	// registry.
	KeptBytes     int64 `json:"keptBytes"`
	InUseBytes    int64 `json:"inUseBytes"`
	RegistryBytes int64 `json:"registryBytes"`
}

// freshUse is how exactly the time of the last use is kept.
const freshUse = time.Hour

// ErrCollecting says that another collection is running.
var ErrCollecting = errors.New("the store is being collected")

// Collect removes content, records and logs that were not used for a time, or that are too
// much. What a living use has pinned stays, and builds go on meanwhile. It waits for another
// collection; with wait false it does not, and the error is an [ErrCollecting].
func (s *Store) Collect(ctx context.Context, keep Keep, wait bool) (Collected, error) {
	waiting := ctx
	if !wait {
		// A context that has ended lets a lock be tried once.
		ended, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
		cancel(ErrCollecting)
		waiting = ended
	}
	unlock, err := s.Lock(waiting, "collection")
	if err != nil {
		return Collected{}, err
	}
	defer unlock()
	c := &collection{store: s, keep: keep}
	if err := c.run(ctx); err != nil {
		return c.out, fmt.Errorf("collecting: %w", err)
	}
	return c.out, nil
}

// collection is one run of a collection.
type collection struct {
	store *Store
	keep  Keep
	out   Collected
	// gone are the sha256 of removed content.
	gone map[string]bool
	kept keptContent
	// beside says that somebody used the store when the gate was last held.
	beside bool
}

func (c *collection) run(ctx context.Context) error {
	if err := c.registry(ctx); err != nil {
		return err
	}
	things, err := c.store.things()
	if err != nil {
		return err
	}
	for _, t := range things {
		c.out.Left++
		c.out.LeftBytes += t.size
	}
	slices.SortFunc(things, func(a, b *thing) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.path, b.path)) })
	if err := c.removeAll(ctx, things, c.wanted(time.Now())); err != nil {
		return err
	}
	if err := c.removeAll(ctx, things, c.pointless); err != nil {
		return err
	}
	for _, t := range things {
		if t.removed {
			continue
		}
		switch {
		case t.kept:
			c.out.KeptBytes += t.size
		case t.inUse:
			c.out.InUseBytes += t.size
		}
	}
	if c.keep.Dry {
		return nil
	}
	return c.store.removeLocks()
}

// registry has the registry collected, or measures it.
func (c *collection) registry(ctx context.Context) error {
	var removed, left int64
	var err error
	if c.keep.Registry == nil {
		left, err = sizeOf(c.store.Dir(Registry))
	} else {
		removed, left, err = c.keep.Registry.Collect(ctx, c.keep.Dry)
	}
	if err != nil {
		return fmt.Errorf("the registry: %w", err)
	}
	c.out.RemovedBytes, c.out.LeftBytes, c.out.RegistryBytes = removed, left, left
	return nil
}

// wanted gives a function that reports whether a thing is to go: it is old, or there is too much.
func (c *collection) wanted(now time.Time) func(*thing) (bool, error) {
	return func(t *thing) (bool, error) {
		age := now.Sub(t.used)
		// When something was used is known to the hour: what may be newer stays.
		old := age > c.keep.Unused+freshUse || c.keep.Unused == 0 && age > 0
		return old || c.keep.Limit > 0 && c.out.LeftBytes > c.keep.Limit, nil
	}
}

// pointless reports whether a thing is a record that names content which has just gone.
func (c *collection) pointless(t *thing) (bool, error) {
	if t.kind == "" || len(c.gone) == 0 {
		return false, nil
	}
	r, _, err := c.store.readRecord(t.path)
	var damaged *RecordError
	if errors.As(err, &damaged) {
		return true, nil
	}
	return slices.ContainsFunc(r.Content, func(sum string) bool { return c.gone[sum] }), ignoreMissing(err)
}

// batch is how many things are looked at while the gate is held.
const batch = 64

// pause is how long the gate is open between two batches, if somebody uses the store: whoever waits
// for the gate looks at it meanwhile. Of 200,000 things it makes two minutes.
const pause = 2 * gateLook

// removeAll removes the things that are to go and may go.
func (c *collection) removeAll(ctx context.Context, things []*thing, wanted func(*thing) (bool, error)) error {
	for some := range slices.Chunk(things, batch) {
		if err := c.giveWay(ctx); err != nil {
			return err
		}
		if err := c.removeSome(ctx, some, wanted); err != nil {
			return err
		}
	}
	return nil
}

// giveWay leaves the gate to those who wait for it, if somebody uses the store.
func (c *collection) giveWay(ctx context.Context) error {
	var wait time.Duration
	if c.beside {
		wait = pause
	}
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
	return context.Cause(ctx)
}

// removeSome looks at some things while nobody can begin to use them.
func (c *collection) removeSome(ctx context.Context, some []*thing, wanted func(*thing) (bool, error)) error {
	leave, err := c.store.enter(ctx, system.Exclusive)
	if err != nil {
		return err
	}
	defer leave()
	pinned, err := c.store.pinned()
	if err != nil {
		return err
	}
	// The file of a use begins with an empty name.
	c.beside = len(pinned) > 0
	if err := c.kept.read(c.store); err != nil {
		return err
	}
	for _, t := range some {
		t.kept = t.sum != "" && c.kept.sums[t.sum]
		t.inUse = pinned[t.name]
		if t.removed || t.kept || t.inUse {
			continue
		}
		goes, err := wanted(t)
		if err == nil && goes {
			err = c.remove(t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remove removes one thing, unless it has changed or was used since it was listed.
func (c *collection) remove(t *thing) error {
	info, err := os.Lstat(t.path)
	if err != nil {
		return ignoreMissing(err)
	}
	if !os.SameFile(info, t.info) || !info.ModTime().Equal(t.used) {
		return nil
	}
	if !c.keep.Dry {
		if err := removeTree(t.path); err != nil {
			return err
		}
	}
	t.removed = true
	if t.sum != "" {
		if c.gone == nil {
			c.gone = map[string]bool{}
		}
		c.gone[t.sum] = true
	}
	c.out.Removed++
	c.out.RemovedBytes += t.size
	c.out.Left--
	c.out.LeftBytes -= t.size
	return nil
}

// thing is what a collection leaves or removes as a whole.
type thing struct {
	path string
	// name is the path below the store's directory.
	name string
	info fs.FileInfo
	size int64
	used time.Time
	// sum names content, kind is a record's.
	sum, kind            string
	kept, inUse, removed bool
}

// things lists content, records that can be made again, and logs.
func (s *Store) things() ([]*thing, error) {
	var all []*thing
	list := func(area string, depth int, finish func(*thing) error) error {
		return eachIn(filepath.Join(s.dir, area), depth, func(dir string, entry fs.DirEntry) error {
			info, err := entry.Info()
			if err != nil {
				return ignoreMissing(err)
			}
			path := filepath.Join(dir, entry.Name())
			t := &thing{path: path, name: s.nameOf(path), info: info, size: info.Size(), used: info.ModTime()}
			all = append(all, t)
			return finish(t)
		})
	}
	return all, errors.Join(
		list(contentDir, 1, func(t *thing) error { t.sum = filepath.Base(t.path); return nil }),
		list(recordsDir, 2, func(t *thing) error {
			t.kind = filepath.Base(filepath.Dir(filepath.Dir(t.path)))
			return nil
		}),
		list(string(Logs), 0, func(t *thing) (err error) { t.size, err = sizeOf(t.path); return ignoreMissing(err) }),
	)
}

// keptContent is what the records that nobody makes again name.
type keptContent struct {
	sums map[string]bool
	// state is that of the records when they were read.
	state map[string]fileState
}

// read reads the records again if they have changed since.
func (k *keptContent) read(s *Store) error {
	state := map[string]fileState{}
	err := eachIn(filepath.Join(s.dir, keptDir), 2, func(dir string, entry fs.DirEntry) error {
		path := filepath.Join(dir, entry.Name())
		state[path] = stateOf(path)
		return nil
	})
	if err != nil || k.sums != nil && maps.Equal(state, k.state) {
		return err
	}
	sums := map[string]bool{}
	for path := range state {
		r, _, err := s.readRecord(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading what must stay: %w", err)
		}
		for _, sum := range r.Content {
			sums[sum] = true
		}
	}
	k.sums, k.state = sums, state
	return nil
}

// eachIn visits what lies a number of directories below one.
func eachIn(dir string, depth int, visit func(dir string, entry fs.DirEntry) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		switch {
		case depth == 0:
			err = visit(dir, entry)
		case entry.IsDir():
			err = eachIn(filepath.Join(dir, entry.Name()), depth-1, visit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sizeOf adds up the files of a directory.
func sizeOf(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return ignoreMissing(err)
		}
		info, err := entry.Info()
		if err == nil {
			total += info.Size()
		}
		return ignoreMissing(err)
	})
	return total, err
}

// used notes that a file was used now. What cannot be noted is collected earlier, and
// made again.
func used(path string, info fs.FileInfo) {
	now := time.Now()
	if age := now.Sub(info.ModTime()); age > freshUse || age < 0 {
		_ = os.Chtimes(path, now, now)
	}
}

// Usage is how much the store takes, in bytes.
type Usage struct {
	Content  Part `json:"content"`
	Records  Part `json:"records"`
	Registry Part `json:"registry"`
	Logs     Part `json:"logs"`
	Tmp      Part `json:"tmp"`
}

// Part is a part of the store.
type Part struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// Usage measures the store.
func (s *Store) Usage() (Usage, error) {
	var u Usage
	for dir, part := range map[string]*Part{
		contentDir: &u.Content, recordsDir: &u.Records, keptDir: &u.Records, string(Registry): &u.Registry, string(Logs): &u.Logs, string(Tmp): &u.Tmp,
	} {
		err := filepath.WalkDir(filepath.Join(s.dir, dir), func(_ string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return ignoreMissing(err)
			}
			info, err := entry.Info()
			if err == nil {
				part.Files++
				part.Bytes += info.Size()
			}
			return ignoreMissing(err)
		})
		if err != nil {
			return Usage{}, fmt.Errorf("measuring the store: %w", err)
		}
	}
	return u, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
