//go:build docker

package endtoend

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// firstTests lists the tests that begin first of those that run beside others: the longest, then
// those that compile an interpreter of their own in an empty store. The longest at the end
// would run alone, and of two that want one interpreter one would only wait.
var firstTests = []string{"TestFullStore", "TestOldGlibc", "TestEmbeddableInterpreter", "TestABIFlags", "TestSharedInterpreter", "TestEveryKindOfBuild"}

// mostBeside is how many tests run at once at most. A build uses all processors: two fill the
// times in which one waits, and more would only want more memory.
const mostBeside = 2

// order has all tests of the package that want a turn.
var order turns

// turns lets tests run beside each other, in an order: Go's own limit lets them begin in any.
type turns struct {
	mu      sync.Mutex
	free    int
	waiting []*turn
	took    []turn
}

// turn is one test's.
type turn struct {
	name  string
	begin chan struct{}
	took  time.Duration
}

// open takes Go's limit over (-parallel), which would hold back the test whose turn it is.
func (o *turns) open() error {
	limit := flag.Lookup("test.parallel")
	n, err := strconv.Atoi(limit.Value.String())
	if err != nil {
		return fmt.Errorf("reading -parallel: %w", err)
	}
	o.free = min(n, mostBeside)
	return limit.Value.Set("1000")
}

// beside has a test run beside others. It is called first in it.
func beside(t *testing.T) {
	t.Helper()
	mine := &turn{name: t.Name(), begin: make(chan struct{})}
	// All are known before the first of them goes on: that is when the others have ended.
	order.mu.Lock()
	order.waiting = append(order.waiting, mine)
	order.mu.Unlock()
	t.Parallel()
	order.next()
	<-mine.begin
	start := time.Now()
	// The first clean-up is the last.
	t.Cleanup(func() { order.end(mine, start) })
}

// alone has a test run while no other one does. It is called first in it.
func alone(t *testing.T) {
	t.Helper()
	mine, start := &turn{name: t.Name()}, time.Now()
	t.Cleanup(func() {
		order.mu.Lock()
		defer order.mu.Unlock()
		mine.took = time.Since(start)
		order.took = append(order.took, *mine)
	})
}

// end gives a turn back.
func (o *turns) end(mine *turn, start time.Time) {
	o.mu.Lock()
	o.free++
	mine.took = time.Since(start)
	o.took = append(o.took, *mine)
	o.mu.Unlock()
	o.next()
}

// next lets tests begin while there is room.
func (o *turns) next() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.free > 0 && len(o.waiting) > 0 {
		i := 0
		for _, name := range firstTests {
			if at := slices.IndexFunc(o.waiting, func(w *turn) bool { return w.name == name }); at >= 0 {
				i = at
				break
			}
		}
		o.free--
		close(o.waiting[i].begin)
		o.waiting = slices.Delete(o.waiting, i, i+1)
	}
}

// write tells what each test took, the longest first. What Go tells of them has the wait for
// their turn in it.
func (o *turns) write(w io.Writer) {
	slices.SortFunc(o.took, func(a, b turn) int { return int(b.took - a.took) })
	for _, t := range o.took {
		fmt.Fprintf(w, "%7.1f s  %s\n", t.took.Seconds(), t.name)
	}
}
