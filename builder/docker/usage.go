package docker

import (
	"archive/tar"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"

	"ampoule/builder/sandbox"
)

// The times of the watch.
const (
	// look is the time between two looks at memory and processes.
	look = time.Second
	// A look at disks takes the engine as long as counting files does. The next one comes
	// after diskCost times that, but not before minDiskLook and not after maxDiskLook.
	diskCost    = 20
	minDiskLook = 5 * time.Second
	maxDiskLook = 30 * time.Second
	// maxWait is how long a sandbox waits for room: whoever wants it may hold what it waits for.
	maxWait = 10 * time.Minute
)

// usage watches what the sandboxes of an engine use, and ends those that use too much.
// The kernel bounds what one may use of memory, processes and processors; this
// bounds the disk, and what all use together. It looks again and again, so that for
// moments there may be more; memory that the machine does not have takes the
// sandboxes first ([oomScore]).
type usage struct {
	engine *Engine
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	boxes map[*box]used
	// changed is closed and made anew when a sandbox ends, or was looked at.
	changed chan struct{}
}

// used is what a sandbox used when it was looked at last: bytes of memory and of disk,
// and processes.
type used struct{ memory, disk, pids int64 }

// watch begins to watch; it ends with stop.
func (e *Engine) watch(ctx context.Context) *usage {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	u := &usage{engine: e, cancel: cancel, done: make(chan struct{}), boxes: map[*box]used{}, changed: make(chan struct{})}
	go u.run(ctx)
	return u
}

func (u *usage) stop() {
	u.cancel()
	<-u.done
}

func (u *usage) run(ctx context.Context) {
	defer close(u.done)
	disks := time.Now().Add(minDiskLook)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(look):
		}
		boxes := u.all()
		u.measure(ctx, boxes, u.engine.memory)
		if now := time.Now(); len(boxes) > 0 && now.After(disks) {
			u.measure(ctx, boxes, u.engine.disk)
			cost := time.Since(now)
			disks = now.Add(min(max(diskCost*cost, minDiskLook), maxDiskLook))
		}
		u.judge(ctx)
	}
}

func (u *usage) all() []*box {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Collect(maps.Keys(u.boxes))
}

func (u *usage) add(b *box) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.boxes[b] = used{}
}

func (u *usage) drop(b *box) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.boxes, b)
	u.tell()
}

// tell wakes whoever waits for room. Its caller holds the lock.
func (u *usage) tell() {
	close(u.changed)
	u.changed = make(chan struct{})
}

// measure looks at sandboxes, several at a time. Of one that cannot be looked at,
// because it ends for example, what is known stays.
func (u *usage) measure(ctx context.Context, boxes []*box, one func(context.Context, *box, *used) error) {
	var wg sync.WaitGroup
	for some := range slices.Chunk(boxes, 8) {
		for _, b := range some {
			wg.Go(func() {
				u.mu.Lock()
				now, ok := u.boxes[b]
				u.mu.Unlock()
				if !ok || one(ctx, b, &now) != nil {
					return
				}
				u.mu.Lock()
				defer u.mu.Unlock()
				if _, ok := u.boxes[b]; ok {
					u.boxes[b] = now
				}
			})
		}
		wg.Wait()
	}
}

// memory looks at a sandbox's memory and processes.
func (e *Engine) memory(ctx context.Context, b *box, now *used) error {
	r, err := e.client.ContainerStatsOneShot(ctx, b.id)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	var stats container.StatsResponse
	if err := json.NewDecoder(r.Body).Decode(&stats); err != nil {
		return err
	}
	now.memory = held(stats.MemoryStats)
	b.peak.Store(max(b.peak.Load(), now.memory))
	now.pids = int64(stats.PidsStats.Current)
	return nil
}

// held is the memory that nobody gets without killing: not what was read of files, and
// can be read again. The names with "total_" are those of cgroups version 1.
func held(m container.MemoryStats) int64 {
	files := cmp.Or(m.Stats["total_inactive_file"], m.Stats["inactive_file"]) + cmp.Or(m.Stats["total_active_file"], m.Stats["active_file"])
	return max(0, int64(m.Usage)-int64(files))
}

// disk looks at what a sandbox has written: the engine adds up the lengths of its files.
func (e *Engine) disk(ctx context.Context, b *box, now *used) error {
	c, _, err := e.client.ContainerInspectWithRaw(ctx, b.id, true)
	if err != nil {
		return err
	}
	if c.SizeRw != nil {
		now.disk = *c.SizeRw
	}
	return nil
}

// judge ends what uses too much.
func (u *usage) judge(ctx context.Context) {
	u.mu.Lock()
	most, excess := u.worst()
	u.tell()
	u.mu.Unlock()
	if excess != nil {
		most.exceeded.Store(excess)
		// Were it not removed now, it would be at the next look.
		_ = most.remove(ctx)
	}
}

// worst finds a sandbox that uses too much. Its caller holds the lock.
func (u *usage) worst() (*box, *sandbox.ExceededError) {
	for b, now := range u.boxes {
		if now.disk > b.limits.Disk {
			return b, &sandbox.ExceededError{Name: b.name, Resource: sandbox.Disk, Limit: b.limits.Disk}
		}
	}
	budget := u.allowed()
	for _, c := range []struct {
		resource sandbox.Resource
		limit    int64
		of       func(used) int64
	}{
		{sandbox.Memory, budget.Memory, func(n used) int64 { return n.memory }},
		{sandbox.Processes, budget.PIDs, func(n used) int64 { return n.pids }},
		{sandbox.Disk, budget.Disk, func(n used) int64 { return n.disk }},
	} {
		var sum int64
		var most *box
		for b, now := range u.boxes {
			sum += c.of(now)
			if most == nil || c.of(now) > c.of(u.boxes[most]) {
				most = b
			}
		}
		if sum > c.limit && len(u.boxes) > 1 {
			return most, &sandbox.ExceededError{Name: most.name, Resource: c.resource, Limit: c.limit, Together: true}
		}
	}
	return nil, nil
}

// allowed is the budget, or what a single sandbox may use where that is more. Its caller
// holds the lock.
func (u *usage) allowed() sandbox.Limits {
	budget := u.engine.budget
	for b := range u.boxes {
		budget.Memory = max(budget.Memory, b.limits.Memory)
		budget.PIDs = max(budget.PIDs, b.limits.PIDs)
		budget.Disk = max(budget.Disk, b.limits.Disk)
	}
	return budget
}

// room waits until three quarters of the budget are enough for all sandboxes that there
// are, so that what has begun is not ended for what begins.
func (u *usage) room(ctx context.Context) error {
	late := time.After(maxWait)
	for {
		u.mu.Lock()
		full, changed := u.full(), u.changed
		u.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-changed:
		case <-late:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("waiting for other sandboxes: %w", context.Cause(ctx))
		}
	}
}

// full reports whether there is little left. Its caller holds the lock.
func (u *usage) full() bool {
	var sum used
	for _, now := range u.boxes {
		sum.memory += now.memory
		sum.disk += now.disk
		sum.pids += now.pids
	}
	budget := u.allowed()
	return sum.memory > budget.Memory/4*3 || sum.disk > budget.Disk/4*3 || sum.pids > budget.PIDs/4*3
}

// outward is what is done to members that leave a sandbox: they get the owner by which
// everybody knows its user, and are refused when they are too much.
func (b *box) outward() change {
	left := b.confinement.export
	return func(hdr *tar.Header) (bool, error) {
		left -= hdr.Size
		if left < 0 {
			return false, &sandbox.ExceededError{Name: b.name, Resource: sandbox.Exported, Limit: b.confinement.export}
		}
		return b.confinement.disowned(hdr)
	}
}
