package progress

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// seen keeps what an observer is told; with hold it takes nothing until that is closed.
type seen struct {
	hold chan struct{}
	mu   sync.Mutex
	list []Event
}

// Observe implements [Observer].
func (s *seen) Observe(e Event) {
	if s.hold != nil {
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, e)
}

// Whoever follows a build has each event once, in order, stamped; from many goroutines too.
func TestFeed(t *testing.T) {
	t.Parallel()
	feed := NewFeed()
	ctx := With(t.Context(), feed)
	const tasks, each = 20, 50
	var observers [3]seen
	var leaves []func()
	for i := range observers {
		leaves = append(leaves, feed.Follow(&observers[i]))
	}
	var telling sync.WaitGroup
	begun := time.Now().Add(-time.Second)
	for i := range tasks {
		telling.Go(func() {
			task := Start(ctx, StageWheel, fmt.Sprint(i))
			for n := range each - 2 {
				task.Advance(int64(n), each, Items)
			}
			task.End(nil)
		})
	}
	telling.Wait()
	for _, leave := range leaves {
		leave()
		leave()
	}
	Send(ctx, Event{Kind: Warned}) // Nobody is there any more.
	for i := range observers {
		list := observers[i].list
		if len(list) != tasks*each {
			t.Fatalf("observer %d has %d events", i, len(list))
		}
		for n, e := range list {
			if e.Seq != uint64(n+1) || e.Build != feed.Build() || e.Build == "" || e.Time.Before(begun) || e.Time.Location() != time.UTC {
				t.Fatalf("observer %d: event %d is %+v", i, n, e)
			}
		}
	}
}

// An observer that stands still holds up nobody, and neither does one that leaves. What it
// misses is bounded by the queue: of what matters, it misses nothing while there is something else.
func TestSlowObserver(t *testing.T) {
	t.Parallel()
	feed := NewFeed()
	ctx := With(t.Context(), feed)
	slow, quick, leaving := &seen{hold: make(chan struct{})}, &seen{}, &seen{}
	leaveSlow, leaveQuick, leaveEarly := feed.Follow(slow), feed.Follow(quick), feed.Follow(leaving)
	Send(ctx, Event{Kind: Started})
	leaveEarly()
	for range maxQueue {
		Send(ctx, Event{Kind: Advanced})
	}
	for range 100 {
		Send(ctx, Event{Kind: Told})
	}
	leaveQuick()
	// On a busy machine it may lag behind, too; the last events come in any case.
	if n := len(quick.list); n == 0 || quick.list[n-1].Seq != 1+maxQueue+100 {
		t.Errorf("the quick observer has %d events, and not the last one", n)
	}
	if n := len(leaving.list); n != 1 {
		t.Errorf("the leaving observer has %d events", n)
	}
	close(slow.hold)
	leaveSlow()
	told := map[Kind]int{}
	last := uint64(0)
	for _, e := range slow.list {
		told[e.Kind]++
		if e.Seq <= last {
			t.Fatalf("event %d comes after %d", e.Seq, last)
		}
		last = e.Seq
	}
	// One event may be with the observer already, beside those that are queued.
	if n := len(slow.list); n > maxQueue+1 || told[Started] != 1 || told[Told] != 100 || told[Advanced] < maxQueue-101 {
		t.Errorf("the slow observer has %d events, %v", n, told)
	}
}

// Where all that is queued matters, the oldest goes.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	f := &follower{wake: make(chan struct{}, 1)}
	for n := range maxQueue + 10 {
		f.put(Event{Kind: Told, Seq: uint64(n + 1)})
	}
	if len(f.queue) != maxQueue || f.queue[0].Seq != 11 {
		t.Errorf("%d events are queued from number %d on", len(f.queue), f.queue[0].Seq)
	}
}
