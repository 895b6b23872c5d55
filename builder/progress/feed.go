package progress

import (
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"time"
)

// Observer is told of a build's events, one after another, in the order of their numbers. How
// long it takes for one delays nobody but itself.
type Observer interface {
	Observe(Event)
}

// maxQueue is how many events wait for one observer at most. A build of a hundred wheels has
// about a thousand events that matter, so that what is lost is nearly always the state of a
// download that a later event tells anew.
const maxQueue = 4096

// idLength is how many characters of 5 random bits a build's ID has: of a million builds, two
// have the same with a probability of less than one in a million.
const idLength = 12

// Feed numbers the events of one build, and hands them to all who follow it. Telling it
// something never waits for an observer. Its methods may be called from several goroutines.
type Feed struct {
	build string
	clock func() time.Time

	mu        sync.Mutex
	seq       uint64
	followers []*follower
}

// NewFeed starts the feed of a build, whose ID is drawn.
func NewFeed() *Feed {
	return &Feed{build: strings.ToLower(rand.Text()[:idLength]), clock: time.Now}
}

// Build is the ID of the build.
func (f *Feed) Build() string { return f.build }

// Follow hands what happens from now on to an observer, from a goroutine that is the
// observer's own, until leave is called. Leave returns when the observer has had all that
// happened before; nothing is handed to it afterwards. It may be called several times, but not
// from Observe.
//
// For an observer that is slower than the build, a bounded number of events is kept. When
// there are more, the oldest of those that are only [Advanced] is dropped, or the oldest one
// if there is none: the gap in the numbers shows it.
func (f *Feed) Follow(o Observer) (leave func()) {
	one := &follower{wake: make(chan struct{}, 1), done: make(chan struct{})}
	f.mu.Lock()
	f.followers = append(f.followers, one)
	f.mu.Unlock()
	go one.run(o)
	return func() {
		f.mu.Lock()
		f.followers = slices.DeleteFunc(f.followers, func(other *follower) bool { return other == one })
		f.mu.Unlock()
		one.end()
		<-one.done
	}
}

// Tell numbers an event and queues it for every follower.
func (f *Feed) Tell(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seq++
	e.Time, e.Seq, e.Build = f.clock().UTC(), f.seq, f.build
	for _, one := range f.followers {
		one.put(e)
	}
}

// follower is the queue in front of one observer.
type follower struct {
	wake, done chan struct{}

	mu     sync.Mutex
	queue  []Event
	ending bool
}

func (f *follower) put(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == maxQueue {
		at := max(0, slices.IndexFunc(f.queue, func(queued Event) bool { return queued.Kind == Advanced }))
		f.queue = slices.Delete(f.queue, at, at+1)
	}
	f.queue = append(f.queue, e)
	f.signal()
}

func (f *follower) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ending = true
	f.signal()
}

func (f *follower) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run hands events on until the follower has left and nothing is queued any more.
func (f *follower) run(o Observer) {
	defer close(f.done)
	for {
		e, ok, ending := f.take()
		switch {
		case ok:
			o.Observe(e)
		case ending:
			return
		default:
			<-f.wake
		}
	}
}

func (f *follower) take() (e Event, ok, ending bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		return Event{}, false, f.ending
	}
	e, f.queue = f.queue[0], f.queue[1:]
	return e, true, f.ending
}
