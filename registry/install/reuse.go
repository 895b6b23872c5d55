package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"ampoule/registry"
	"ampoule/system"
	"ampoule/tree"
)

// reusable are layers that are known and whose files all are here.
type reusable struct {
	// layers are their lists, by digest; their entries are parts of entries.
	layers  map[string][]tree.Entry
	entries []tree.Entry
}

// writers is how many goroutines make names at once: it is the processor's work.
func writers() int { return runtime.GOMAXPROCS(0) }

// inParts calls a function for parts of the numbers below n, by several goroutines. Its first error ends
// that.
func inParts(ctx context.Context, workers, n int, do func(from, to int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	part := max(1, n/(8*workers))
	var next atomic.Int64
	for range workers {
		group.Go(func() error {
			for {
				from := int(next.Add(int64(part))) - part
				if from >= n || ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if err := do(from, min(from+part, n)); err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

// reusable finds the layers that need not be fetched, makes the directories of what is known, and gives the other layers. A
// layer one of whose files is damaged is fetched.
func (u *unpacker) reusable(ctx context.Context, layers []registry.LayerInfo) (r reusable, others []registry.LayerInfo, err error) {
	lists := make([]layerList, len(layers))
	err = inParts(ctx, writers(), len(layers), func(from, to int) error {
		for i := from; i < to; i++ {
			lists[i] = u.content.known(layers[i].Digest)
		}
		return nil
	})
	if err != nil {
		return r, nil, err
	}
	var of []int
	for i, l := range lists {
		r.entries = append(r.entries, l.entries...)
		of = append(of, slices.Repeat([]int{i}, len(l.entries))...)
	}
	u.listed = len(r.entries) > 0
	for _, e := range r.entries {
		if err := u.needs(e); err != nil {
			return r, nil, err
		}
	}
	gone := make([]atomic.Bool, len(layers))
	group, making := errgroup.WithContext(ctx)
	// A layer that is fetched after all has the same directories.
	group.Go(func() error { return u.directories(making) })
	group.Go(func() error {
		return inParts(making, readers, len(r.entries), func(from, to int) error {
			for i := from; i < to; i++ {
				whole, err := u.content.measure(making, &r.entries[i])
				if err != nil {
					return err
				}
				if !whole {
					gone[of[i]].Store(true)
				}
			}
			return nil
		})
	})
	if err := group.Wait(); err != nil {
		return r, nil, err
	}
	return u.sorted(r, layers, lists, gone)
}

// sorted keeps of the layers those of which nothing is gone, and gives the others.
func (u *unpacker) sorted(all reusable, layers []registry.LayerInfo, lists []layerList, gone []atomic.Bool) (r reusable, others []registry.LayerInfo, err error) {
	r.layers = map[string][]tree.Entry{}
	for i, l := range layers {
		n := len(lists[i].entries)
		part := all.entries[:n:n]
		all.entries = all.entries[n:]
		switch {
		case n == 0:
			others = append(others, l)
		case gone[i].Load():
			others, err = append(others, l), errors.Join(err, u.content.forget(l.Digest))
		default:
			r.layers[l.Digest] = part
			u.entries -= int64(n)
			r.entries = append(r.entries, part...)
			for _, p := range lists[i].natives {
				u.natives[p] = true
			}
		}
	}
	u.entries -= int64(len(u.dirs))
	if u.entries < 0 {
		err = errors.Join(err, errTooMuch)
	}
	return r, others, err
}

// measure looks at the content of an entry, and notes its size. It is not whole if it is not here, or
// damaged.
func (c *content) measure(ctx context.Context, e *tree.Entry) (whole bool, err error) {
	if e.Kind != tree.File {
		return true, nil
	}
	e.Size, whole, err = c.check(ctx, *e, contentKey(*e))
	return whole, err
}

// directories makes the directories that are needed, each level by several goroutines.
func (u *unpacker) directories(ctx context.Context) error {
	var levels [maxDepth + 1][]string
	for _, dir := range slices.Sorted(maps.Keys(u.dirs)) {
		depth := strings.Count(dir, "/")
		levels[depth] = append(levels[depth], dir)
	}
	top, err := u.root.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = top.Close() }() // nothing is written through it
	for _, level := range levels {
		err := inParts(ctx, writers(), len(level), func(from, to int) error {
			for _, dir := range level[from:to] {
				if err := u.makeDir(system.RawOf(top), dir, dir); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// needs notes the directories that an entry needs.
func (u *unpacker) needs(e tree.Entry) error {
	dir := path.Dir(e.Path)
	if e.Kind == tree.Dir {
		other := u.dirs[e.Path]
		if other.told && other.mode != e.Mode {
			return refuse("%q has two modes", e.Path)
		}
		u.dirs[e.Path] = dirState{mode: e.Mode, told: true}
	}
	for ; dir != "."; dir = path.Dir(dir) {
		if _, known := u.dirs[dir]; known {
			break
		}
		u.dirs[dir] = dirState{mode: usualMode}
	}
	return nil
}

// files makes the files and links of layers that are known, by several goroutines. Their directories are
// there.
func (u *unpacker) files(ctx context.Context, r reusable) error {
	err := inParts(ctx, writers(), len(r.entries), func(from, to int) error {
		at := &opened{root: u.root}
		defer at.close()
		for _, e := range r.entries[from:to] {
			if err := u.entry(at, e); err != nil {
				return err
			}
		}
		return context.Cause(ctx)
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", errGone, err)
	}
	return err
}

// errGone says that content is not here any more.
var errGone = errors.New("content is gone")

// entry makes a file or a link of a layer that is known.
func (u *unpacker) entry(at *opened, e tree.Entry) error {
	if e.Kind == tree.Dir {
		return nil
	}
	dir, name, err := at.parent(e.Path)
	if err != nil {
		return err
	}
	if e.Kind == tree.Symlink {
		return makeLink(dir, name, e)
	}
	return u.content.put(u.content.dir, contentKey(e), dir, name, e)
}

// makeLink makes a symbolic link in a directory.
func makeLink(dir system.Raw, name string, e tree.Entry) error {
	err := retried(func() error { return system.SymlinkAt(e.Link, dir, name) })
	if err == nil {
		err = setTime(dir, name)
	}
	return pathError("symlinkat", e.Path, err)
}
