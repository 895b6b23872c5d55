// Package share shares a machine's processors and memory among all sandboxes of a process,
// whichever builds they belong to.
//
// A [Pool] lives as long as its owner. A step takes its share before it begins, and gives it back
// when it has ended. Nothing of a share decides what is made.
package share

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"os"
	"slices"
	"sync"
	"time"

	"ampoule/builder/progress"
)

const (
	// usual is what a step is taken to hold whose memory is not known, in bytes: a compiler or two.
	usual = 256 << 20
	// fewest is how many processors a step gets at least that can use several. Many a step that
	// says so uses one most of the time: two such steps overlap, which costs less than a processor
	// that idles.
	fewest = 2
	// A step that can use several processors begins while those that are given out are not more
	// than overlap times those that the machine has. The short steps between, which use one, have
	// further ones of their own, so that they do not wait for an hour's compilation.
	overlap, further = 2, 1
	// For so long any step may overtake one for which there is no room. After that, only what fits beside it may.
	fair = time.Minute
	// most is how long a step waits for processors, and for memory if its need is not known: whoever waits may
	// hold what others wait for.
	most = 10 * time.Minute
	// told is the wait that followers of the build hear of, and how often the holder is looked at.
	told, again = 100 * time.Millisecond, time.Second
)

// Total is what a machine has for all steps.
type Total struct {
	Processors int
	// Memory is in bytes.
	Memory int64
}

// Want is what a step would like to have.
type Want struct {
	// Step says whose share it is, for people.
	Step string
	// Processors is how many it can use; less than 1 counts as 1.
	Processors int
	// Memory is what it holds at most, in bytes; 0 is not known.
	Memory int64
	// AtOnce takes the share without waiting, whether there is room or not. It may be for as long as a person
	// likes.
	AtOnce bool
}

// Share is what a step has until it gives it back.
type Share struct {
	// Processors are 1 at least, and no more than were wanted.
	Processors int

	pool *Pool
	// came is the step's number, as a waiter has it.
	came   int
	begun  time.Time
	memory int64
	// endless says that the share may be held for as long as a person likes.
	endless bool
	// insisted says that the step has begun without room.
	insisted bool
	holder   progress.Holder
	once     sync.Once
}

// Pool is a machine that steps share. Its methods may be called from several goroutines.
type Pool struct {
	total Total

	mu      sync.Mutex
	shares  map[*Share]bool
	waiting []*waiter
	// came is how many steps have come.
	came int
	now  func() time.Time
}

// waiter is a step that waits for its share.
type waiter struct {
	// came is its number: those that come later have larger ones.
	came int
	want Want
	// known says that the step was seen to need its memory.
	known bool
	self  progress.Holder
	since time.Time
	// late says that it has waited for the longest time.
	late bool
	// given gets the share.
	given chan *Share
}

// New makes a pool of what a machine has. What is not positive counts as the least: a processor, and
// a usual step's memory.
func New(total Total) *Pool {
	total.Processors, total.Memory = max(1, total.Processors), max(usual, total.Memory)
	return &Pool{total: total, shares: map[*Share]bool{}, now: time.Now}
}

// Memory is what all steps together may hold, in bytes.
func (p *Pool) Memory() int64 { return p.total.Memory }

// Take waits until there is room for a step, and gives it its share. First come is first served, but one that
// has room overtakes one that has none: any for a minute, then those that fit beside it. After ten minutes
// a step gets the least that it can do with, though there is no room. If it is known how much memory it needs,
// that must be free; what steps hold is not counted then that have their share at once, or that came later
// and have begun without room. The task of the context is told of the waiting.
func (p *Pool) Take(ctx context.Context, want Want) (*Share, error) {
	w := p.join(ctx, want)
	select {
	case s := <-w.given:
		return s, nil
	default:
	}
	t := progress.Current(ctx)
	waited := false
	defer func() {
		if waited {
			t.Resume()
		}
	}()
	late := time.NewTimer(most)
	defer late.Stop()
	look := time.NewTimer(told)
	defer look.Stop()
	var last progress.Holder
	for {
		select {
		case s := <-w.given:
			return s, nil
		case <-look.C:
			look.Reset(again)
			if holder := p.holder(w); !waited || holder != last {
				waited, last = true, holder
				t.Wait(holder)
			}
		case <-late.C:
			p.insist(w)
		case <-ctx.Done():
			p.leave(w)
			return nil, fmt.Errorf("waiting for a share of the machine: %w", context.Cause(ctx))
		}
	}
}

// Release gives the share back, once.
func (s *Share) Release() {
	s.once.Do(func() {
		s.pool.mu.Lock()
		defer s.pool.mu.Unlock()
		delete(s.pool.shares, s)
		s.pool.serve()
	})
}

// join has a step wait, for no time if there is room.
func (p *Pool) join(ctx context.Context, want Want) *waiter {
	known := want.Memory > 0
	want.Processors, want.Memory = max(1, want.Processors), min(cmp.Or(max(0, want.Memory), usual), p.total.Memory)
	self := progress.Self(ctx)
	self.Process, self.Step = os.Getpid(), want.Step
	// A machine without a name is left out.
	self.Host, _ = os.Hostname()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.came++
	w := &waiter{came: p.came, want: want, known: known, self: self, since: p.now(), given: make(chan *Share, 1)}
	if want.AtOnce {
		p.give(w, false)
		return w
	}
	p.waiting = append(p.waiting, w)
	p.serve()
	return w
}

// leave has a step wait no longer. What it was given meanwhile goes back.
func (p *Pool) leave(w *waiter) {
	p.mu.Lock()
	p.forget(w)
	p.serve()
	p.mu.Unlock()
	select {
	case s := <-w.given:
		s.Release()
	default:
	}
}

// insist gives a step that has waited for the longest time what it can do with. Memory that it is known to need
// must be free first.
func (p *Pool) insist(w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.late = true
	if !w.known && p.forget(w) {
		p.give(w, true)
	}
	p.serve()
}

// forget takes a step out of those that wait, and reports whether it was one. Its caller holds the lock.
func (p *Pool) forget(w *waiter) bool {
	i := slices.Index(p.waiting, w)
	if i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	return i >= 0
}

// serve gives shares to those that nothing stops. Its caller holds the lock.
func (p *Pool) serve() {
	for w, stops := range p.queue() {
		if stops == "" {
			p.forget(w)
			p.give(w, false)
		}
	}
}

// queue goes through those that wait, the first that came before others, and says what stops each: empty if
// nothing does. Those that have waited for long are overtaken only by what fits beside them. If one of them
// lacks processors, only steps overtake it that use one, and for which there are some left of their own: it could
// not get these. Its caller holds the lock.
func (p *Pool) queue() iter.Seq2[*waiter, progress.Resource] {
	return func(yield func(*waiter, progress.Resource) bool) {
		var ahead []*waiter // those that have waited for long
		own := false        // says that one of them lacks processors
		for _, w := range slices.Clone(p.waiting) {
			stops := p.lacks(w)
			switch {
			case stops != "":
			case slices.ContainsFunc(ahead, func(first *waiter) bool { return !p.fitsBeside(w, first) }):
				stops = progress.Memory
			case own && (w.want.Processors > 1 || p.further() == 0):
				stops = progress.Processors
			}
			if !yield(w, stops) {
				return
			}
			if stops != "" && p.now().Sub(w.since) >= fair {
				ahead = append(ahead, w)
				own = own || stops == progress.Processors
			}
		}
	}
}

// fitsBeside reports whether there is memory for a step and for one ahead of it that has waited for long, beside
// all that have overtaken that one since. So it waits only for what came before it, or began before it had
// waited for long. Its caller holds the lock.
func (p *Pool) fitsBeside(w, first *waiter) bool {
	memory := first.want.Memory + w.want.Memory
	for s := range p.shares {
		if s.came > first.came && !s.begun.Before(first.since.Add(fair)) {
			memory += s.memory
		}
	}
	return memory <= p.total.Memory
}

// give gives a step its share, of which insisted says that there is no room for it. Its caller holds the lock.
func (p *Pool) give(w *waiter, insisted bool) {
	s := &Share{
		pool: p, came: w.came, begun: p.now(), Processors: p.processors(w.want), memory: w.want.Memory,
		endless: w.want.AtOnce, insisted: insisted, holder: w.self,
	}
	s.holder.Since = s.begun.UTC()
	p.shares[s] = true
	w.given <- s
}

// taken is how many processors all steps have. Its caller holds the lock.
func (p *Pool) taken() (processors int) {
	for s := range p.shares {
		processors += s.Processors
	}
	return processors
}

// further is how many processors are left that only steps have which use one. Its caller holds the
// lock.
func (p *Pool) further() int {
	left := further * p.total.Processors
	for s := range p.shares {
		if s.Processors == 1 {
			left--
		}
	}
	return max(0, left)
}

// processors is how many a step gets: what nobody has, or the fewest. Its caller holds the lock.
func (p *Pool) processors(want Want) int {
	return min(want.Processors, max(p.total.Processors-p.taken(), fewest))
}

// lacks is what there is not enough of for a step; empty if there is room. Its caller holds the lock.
func (p *Pool) lacks(w *waiter) progress.Resource {
	var memory int64
	for s := range p.shares {
		if s.counts(w) {
			memory += s.memory
		}
	}
	left := p.further()
	// Steps that use one processor take those of their own first.
	shared := p.taken() - (further*p.total.Processors - left)
	switch {
	case memory+w.want.Memory > p.total.Memory:
		return progress.Memory
	case w.late || w.want.Processors == 1 && left > 0:
		return ""
	case shared+p.processors(w.want) > overlap*p.total.Processors:
		return progress.Processors
	}
	return ""
}

// counts reports whether a step waits for a share's memory. One that has waited for the longest time waits only
// for memory that comes back.
func (s *Share) counts(w *waiter) bool {
	return !w.late || !s.endless && !(s.insisted && s.came > w.came)
}

// holder is who has most of what stops a step.
func (p *Pool) holder(w *waiter) progress.Holder {
	p.mu.Lock()
	defer p.mu.Unlock()
	var lacking progress.Resource
	for other, stops := range p.queue() {
		if other == w {
			lacking = stops
		}
	}
	var holder *Share
	for s := range p.shares {
		if lacking == progress.Memory && !s.counts(w) {
			continue
		}
		if holder == nil || s.more(holder, lacking) {
			holder = s
		}
	}
	if holder == nil {
		return progress.Holder{Has: lacking}
	}
	found := holder.holder
	found.Has = lacking
	return found
}

// more reports whether a share has more of a resource than another one; of two that have the same,
// the older one has.
func (s *Share) more(other *Share, of progress.Resource) bool {
	by := cmp.Compare(s.Processors, other.Processors)
	if of == progress.Memory {
		by = cmp.Compare(s.memory, other.memory)
	}
	return cmp.Or(by, other.holder.Since.Compare(s.holder.Since), cmp.Compare(other.holder.Step, s.holder.Step)) > 0
}
