package share

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/progress"
)

const gib = 1 << 30

// taker takes shares in the background.
type taker struct {
	t    *testing.T
	pool *Pool
}

// take begins to take a share, and returns where it arrives. Whoever comes later waits behind it.
func (k taker) take(ctx context.Context, want Want) chan *Share {
	k.t.Helper()
	arrived := make(chan *Share, 1)
	go func() {
		s, err := k.pool.Take(ctx, want)
		if err == nil {
			arrived <- s
		}
		close(arrived)
	}()
	synctest.Wait()
	return arrived
}

// has is the number of processors that a step was given; 0 while it waits.
func has(arrived chan *Share) (*Share, int) {
	synctest.Wait()
	select {
	case s := <-arrived:
		if s == nil {
			return nil, 0
		}
		return s, s.Processors
	default:
		return nil, 0
	}
}

// What each of several steps gets that come one after another while none ends.
func TestProcessors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		total int
		wants []int
		// given are the processors of each; 0 is one that waits.
		given []int
	}{
		"alone":                         {8, []int{8}, []int{8}},
		"no more than it can use":       {8, []int{3, 8}, []int{3, 5}},
		"two at least":                  {8, []int{8, 8, 8}, []int{8, 2, 2}},
		"twice what there is":           {2, []int{2, 2, 2}, []int{2, 2, 0}},
		"one that uses one has room":    {2, []int{2, 2, 2, 1, 1, 1}, []int{2, 2, 0, 1, 1, 0}},
		"one processor":                 {1, []int{4, 4, 1, 1}, []int{2, 0, 1, 0}},
		"nothing said counts as one":    {4, []int{0, -1}, []int{1, 1}},
		"a machine that says nothing":   {0, []int{4}, []int{2}},
		"many small ones take no place": {2, []int{1, 1, 1, 2, 2}, []int{1, 1, 1, 2, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer synctest.Wait()
				defer cancel()
				k := taker{t, New(Total{Processors: c.total, Memory: 64 * gib})}
				var got []int
				for _, n := range c.wants {
					_, processors := has(k.take(ctx, Want{Processors: n}))
					got = append(got, processors)
				}
				if diff := cmp.Diff(c.given, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

// Two steps that do not fit together run one after the other; a third one that fits overtakes.
func TestMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := taker{t, New(Total{Processors: 8, Memory: 4 * gib})}
		first, n := has(k.take(t.Context(), Want{Processors: 2, Memory: 3 * gib}))
		if n != 2 {
			t.Fatalf("the first one has %d processors", n)
		}
		second := k.take(t.Context(), Want{Processors: 2, Memory: 3 * gib})
		if _, n := has(second); n != 0 {
			t.Fatal("a second one of 3 GiB runs beside it")
		}
		small, n := has(k.take(t.Context(), Want{Processors: 1}))
		if n != 1 {
			t.Error("a small one waits behind it")
		}
		small.Release()
		first.Release()
		first.Release()
		held, n := has(second)
		if n != 2 {
			t.Fatal("the second one goes on waiting")
		}
		held.Release()
		// What is more than there is has the machine for itself.
		huge, n := has(k.take(t.Context(), Want{Memory: 100 * gib}))
		if n != 1 {
			t.Error("one that wants too much waits for ever")
		}
		if _, n := has(k.take(ending(t), Want{})); n != 0 {
			t.Error("another one runs beside it")
		}
		huge.Release()
	})
}

// ending is a context that ends when its test does.
func ending(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx
}

// However many small steps come, a large one is overtaken for a minute and no longer.
func TestNobodyStarves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := New(Total{Processors: 2, Memory: 4 * gib})
		ctx, stop := context.WithCancel(t.Context())
		var small sync.WaitGroup
		for range 5 {
			small.Go(func() {
				for ctx.Err() == nil {
					s, err := pool.Take(ctx, Want{Processors: 1, Memory: gib})
					if err != nil {
						return
					}
					time.Sleep(time.Duration(5+rand.IntN(10)) * time.Second)
					s.Release()
				}
			})
		}
		time.Sleep(time.Second)
		begun := time.Now()
		large, err := pool.Take(t.Context(), Want{Processors: 2, Memory: 4 * gib})
		if err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(begun); waited < time.Minute || waited > time.Minute+20*time.Second {
			t.Errorf("it waited %s", waited)
		}
		stop()
		large.Release()
		small.Wait()
	})
}

// A wait has an end, though nobody gives anything back: neither processors, nor memory that the step is not
// known to need, nor what a person's shell has.
func TestWaitHasAnEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ held, want Want }{
		"processors":                  {Want{Processors: 8}, Want{Processors: 8, Memory: gib}},
		"memory that is not known":    {Want{Processors: 1, Memory: 2 * gib}, Want{Processors: 8}},
		"memory of one taken at once": {Want{Processors: 1, AtOnce: true}, Want{Processors: 8, Memory: 2 * gib}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				pool := New(Total{Processors: 1, Memory: 2 * gib})
				if _, err := pool.Take(t.Context(), c.held); err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				s, err := pool.Take(t.Context(), c.want)
				if waited := time.Since(begun); err != nil || s.Processors != 2 || waited != 10*time.Minute {
					t.Errorf("after %s: %+v, %v", waited, s, err)
				}
			})
		})
	}
}

// act is one thing that happens to a pool: a step comes, time goes by, or a step ends or gives up.
type act struct {
	comes string
	want  Want
	wait  time.Duration
	ends  string
}

// comes has a step come that uses several processors and needs memory, in GiB; 0 is not known.
func comes(name string, processors int, memory float64) act {
	return act{comes: name, want: Want{Processors: processors, Memory: int64(memory * gib)}}
}

// What may begin when others wait, on a machine of two processors and 8 GiB.
func TestQueue(t *testing.T) {
	t.Parallel()
	long, longest := act{wait: fair}, act{wait: most + time.Second}
	for name, c := range map[string]struct {
		acts []act
		// wait are those that wait in the end.
		wait string
	}{
		"memory is waited for, however long":           {[]act{comes("has", 1, 5), comes("first", 1, 4), longest, longest}, "first"},
		"what fits beside it goes on":                  {[]act{comes("has", 2, 5), comes("first", 1, 6), long, comes("small", 1, 2), comes("parallel", 2, 1)}, "first parallel"},
		"also a parallel one":                          {[]act{comes("has", 2, 5), comes("first", 1, 6), long, comes("parallel", 2, 1)}, "first"},
		"all that go by fit beside it together":        {[]act{comes("has", 1, 4), comes("first", 1, 5), long, comes("small", 1, 2), comes("next", 2, 2)}, "first next"},
		"what came before it does not go by":           {[]act{comes("has", 1, 5), comes("first", 1, 5), comes("second", 1, 5), long, {ends: "has"}, comes("small", 2, 1)}, "second"},
		"beside each that waits":                       {[]act{comes("has", 1, 5), comes("first", 1, 7), comes("second", 1, 4), long, comes("small", 2, 2)}, "first second small"},
		"one that waits for long goes by nobody":       {[]act{comes("has", 1, 3), comes("first", 1, 6), long, comes("second", 1, 4), longest}, "first second"},
		"one that lacks processors keeps its memory":   {[]act{comes("a", 2, 1), comes("b", 2, 1), comes("first", 2, 5), long, comes("large", 1, 4)}, "first large"},
		"nobody takes the processor that it waits for": {[]act{comes("a", 2, 0), comes("b", 1, 0), comes("c", 1, 0), comes("d", 1, 0), comes("first", 2, 0), long, comes("short", 1, 0)}, "first short"},
		"also where another one lacks memory":          {[]act{comes("a", 2, 0), comes("b", 1, 0), comes("c", 1, 0), comes("d", 1, 0), comes("first", 2, 0), comes("second", 1, 7.5), long, comes("short", 1, 0)}, "first second short"},
		"what came before it is waited for":            {[]act{comes("a", 2, 0), comes("b", 2, 0), comes("c", 2, 0), longest, comes("first", 1, 8), longest, {ends: "a"}, {ends: "b"}}, "first"},
		"one that gives up holds up nobody":            {[]act{comes("has", 1, 5), comes("first", 1, 8), long, comes("small", 2, 1), {ends: "first"}}, ""},
		"before a minute anybody goes by":              {[]act{comes("has", 1, 5), comes("first", 1, 8), {wait: fair - 1}, comes("small", 2, 1)}, "first"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k := taker{t, New(Total{Processors: 2, Memory: 8 * gib})}
				arrived, leave := map[string]chan *Share{}, map[string]func(){}
				for _, a := range c.acts {
					switch {
					case a.comes != "":
						ctx, cancel := context.WithCancel(t.Context())
						t.Cleanup(cancel)
						a.want.Step = a.comes
						arrived[a.comes], leave[a.comes] = k.take(ctx, a.want), cancel
					case a.ends != "":
						leave[a.ends]()
						if s, n := has(arrived[a.ends]); n > 0 {
							s.Release()
						}
					}
					time.Sleep(a.wait)
					synctest.Wait()
				}
				var waiting []string
				for _, w := range k.pool.waiting {
					waiting = append(waiting, w.want.Step)
				}
				if got := strings.Join(waiting, " "); got != c.wait {
					t.Errorf("%q wait, want %q", got, c.wait)
				}
			})
		})
	}
}

// A step that needs the whole machine comes to its turn also where steps of which nothing is known follow one
// another, and begin without room after ten minutes.
func TestMemoryIsGivenThoughOthersInsist(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := New(Total{Processors: 8, Memory: 8 * gib})
		ctx, stop := context.WithCancel(t.Context())
		var others sync.WaitGroup
		for i := range 3 {
			others.Go(func() {
				time.Sleep(time.Duration(i) * 7 * time.Minute)
				for ctx.Err() == nil {
					s, err := pool.Take(ctx, Want{Processors: 2})
					if err != nil {
						return
					}
					time.Sleep(20 * time.Minute)
					s.Release()
				}
			})
		}
		time.Sleep(15 * time.Minute)
		begun := time.Now()
		s, err := pool.Take(t.Context(), Want{Memory: 8 * gib})
		if waited := time.Since(begun); err != nil || waited > time.Hour {
			t.Errorf("after %s: %v", waited, err)
		}
		s.Release()
		stop()
		others.Wait()
	})
}

// Whoever waits hears what stops it, and for whom it waits.
func TestHolder(t *testing.T) {
	t.Parallel()
	shell := act{comes: "shell", want: Want{AtOnce: true}}
	for name, c := range map[string]struct {
		acts []act
		// want is what the last one waits for, and who has it.
		want string
	}{
		"nothing of its own": {[]act{comes("small", 1, 1), comes("large", 1, 4), comes("last", 1, 5)}, "memory large"},
		"processors":         {[]act{comes("a", 2, 0), comes("b", 2, 0), comes("last", 2, 0)}, "processors a"},
		"room beside one that lacks memory, behind one that lacks processors": {
			[]act{comes("a", 2, 1), comes("b", 2, 2), comes("first", 2, 0), comes("second", 1, 6), {wait: fair}, comes("last", 1, 2.5)}, "memory b",
		},
		"processors that are another one's": {
			[]act{comes("a", 2, 0), comes("b", 1, 0), comes("c", 1, 0), comes("d", 1, 0), comes("first", 2, 0), {wait: fair}, comes("last", 1, 0)}, "processors a",
		},
		"not for a shell": {[]act{shell, comes("other", 1, 0), comes("last", 1, 8), {wait: most + time.Second}}, "memory other"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k := taker{t, New(Total{Processors: 2, Memory: 8 * gib})}
				for _, a := range c.acts {
					if a.comes != "" {
						a.want.Step = a.comes
						k.take(ending(t), a.want)
					}
					time.Sleep(a.wait + time.Millisecond)
					synctest.Wait()
				}
				holder := k.pool.holder(k.pool.waiting[len(k.pool.waiting)-1])
				if got := string(holder.Has) + " " + holder.Step; got != c.want {
					t.Errorf("it waits for %q, want %q", got, c.want)
				}
			})
		})
	}
}

// Whoever waits behind a step that begins without room begins as soon as there is room for it.
func TestWaitBehindOneThatInsists(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := taker{t, New(Total{Processors: 8, Memory: 64 * gib})}
		for range 5 {
			k.take(t.Context(), Want{Processors: 8})
		}
		insists := k.take(t.Context(), Want{Processors: 8})
		time.Sleep(time.Minute)
		behind := k.take(ending(t), Want{})
		time.Sleep(most - time.Minute + time.Second)
		if _, n := has(insists); n != 2 {
			t.Errorf("the one has %d processors", n)
		}
		if _, n := has(behind); n != 1 {
			t.Errorf("the one behind it has %d processors", n)
		}
	})
}

// A step for which there are too few processors does not keep those from short steps that only these
// have, for however long it waits, and gets the next ones of the others. One for which there is too
// little memory keeps them.
func TestShortStepsHaveTheirOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := taker{t, New(Total{Processors: 2, Memory: 4 * gib})}
		begun, _ := has(k.take(t.Context(), Want{Processors: 2}))
		// One begins at once, so that more is given out than there is.
		k.take(t.Context(), Want{Processors: 2})
		timed, _ := has(k.take(t.Context(), Want{Processors: 2, AtOnce: true}))
		first := k.take(t.Context(), Want{Processors: 2})
		time.Sleep(fair)
		var short []*Share
		for _, want := range []int{1, 1, 0} {
			s, n := has(k.take(ending(t), Want{}))
			if n != want {
				t.Fatalf("a short step has %d processors, want %d", n, want)
			}
			short = append(short, s)
		}
		begun.Release()
		if _, n := has(first); n != 0 {
			t.Errorf("the first one has %d processors that others still have", n)
		}
		short[0].Release()
		if len(k.pool.waiting) != 1 {
			t.Errorf("%d steps wait", len(k.pool.waiting))
		}
		large := k.take(ending(t), Want{Processors: 2, Memory: 4 * gib})
		time.Sleep(fair)
		short[1].Release()
		if _, n := has(k.take(ending(t), Want{})); n != 0 {
			t.Errorf("a short step has %d processors before the large one", n)
		}
		if _, n := has(large); n != 0 {
			t.Error("there was memory")
		}
		timed.Release()
		if _, n := has(first); n != 2 {
			t.Errorf("the first one has %d processors", n)
		}
	})
}

// Who is timed, or serves others, does not wait, and what it has counts.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := taker{t, New(Total{Processors: 1, Memory: 4 * gib})}
		for range 5 {
			if _, n := has(k.take(t.Context(), Want{AtOnce: true})); n != 1 {
				t.Error("it waits")
			}
		}
		if _, n := has(k.take(ending(t), Want{})); n != 0 {
			t.Error("it does not count")
		}
	})
}

// Whoever gives up leaves nothing behind, and what it waited for goes to the next one.
func TestTakeIsCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := taker{t, New(Total{Processors: 1, Memory: 2 * gib})}
		all, _ := has(k.take(t.Context(), Want{Memory: 2 * gib}))
		stop := errors.New("interrupted")
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := k.pool.Take(ctx, Want{Memory: 2 * gib})
			ended <- err
		}()
		synctest.Wait()
		next := k.take(t.Context(), Want{Memory: 2 * gib})
		cancel(stop)
		if err := <-ended; !errors.Is(err, stop) {
			t.Errorf("it ends with %v", err)
		}
		all.Release()
		s, n := has(next)
		if n != 1 {
			t.Fatal("the next one waits")
		}
		s.Release()
		if len(k.pool.shares)+len(k.pool.waiting) != 0 {
			t.Errorf("%d shares are taken and %d wait", len(k.pool.shares), len(k.pool.waiting))
		}
	})
}

// recorder keeps events.
type recorder []progress.Event

// Observe implements [progress.Observer].
func (r *recorder) Observe(e progress.Event) { *r = append(*r, e) }

// Whoever waits says for what, and who has it; again when that is another one.
func TestWaitingIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := taker{t, New(Total{Processors: 1, Memory: 4 * gib})}
		first := progress.Of(t.Context(), "first")
		big, _ := has(k.take(first, Want{Step: "wheel-scipy", Memory: 3 * gib}))
		small, _ := has(k.take(progress.Of(t.Context(), "second"), Want{Step: "wheel-lxml", Memory: gib}))
		var r recorder
		feed := progress.NewFeed()
		leave := feed.Follow(&r)
		ctx := progress.Of(progress.With(t.Context(), feed), "third")
		task := progress.Start(ctx, progress.StageWheel, "numpy==2.0")
		arrived := k.take(task.Within(ctx), Want{Memory: 4 * gib})
		time.Sleep(5 * time.Second)
		big.Release()
		time.Sleep(5 * time.Second)
		small.Release()
		s, n := has(arrived)
		if n != 1 {
			t.Fatal("it goes on waiting")
		}
		s.Release()
		// A short wait is nobody's concern.
		s, _ = has(k.take(task.Within(ctx), Want{Memory: 4 * gib}))
		short := k.take(task.Within(ctx), Want{})
		time.Sleep(told / 2)
		s.Release()
		if s, n = has(short); n != 1 {
			t.Fatal("it waits")
		}
		s.Release()
		task.End(nil)
		leave()
		var got []string
		for _, e := range r {
			line := string(e.Kind) + " " + e.Stage.String() + " " + e.Task
			if e.Holder != nil {
				line += ": " + string(e.Holder.Has) + ", " + e.Holder.Step + " of " + e.Holder.Recipe
			}
			got = append(got, line)
		}
		want := []string{
			"started wheel numpy==2.0",
			"waiting wheel numpy==2.0: memory, wheel-scipy of first",
			"waiting wheel numpy==2.0: memory, wheel-lxml of second",
			"resumed wheel numpy==2.0",
			"done wheel numpy==2.0",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// Many steps at once, some of which give up, never have more than there is, and leave nothing behind.
func TestTakersAtOnce(t *testing.T) {
	t.Parallel()
	pool := New(Total{Processors: 4, Memory: 4 * gib})
	var processors, memory atomic.Int64
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			for range 25 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(20))*time.Millisecond)
				want := Want{Processors: 1 + rand.IntN(4), Memory: int64(1+rand.IntN(4)) * gib / 2}
				s, err := pool.Take(ctx, want)
				if err == nil {
					if n := processors.Add(int64(s.Processors)); n > 4*(overlap+further) {
						t.Errorf("%d processors are given out", n)
					}
					if n := memory.Add(want.Memory); n > 4*gib {
						t.Errorf("%d bytes are given out", n)
					}
					time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
					processors.Add(-int64(s.Processors))
					memory.Add(-want.Memory)
					s.Release()
				}
				cancel()
			}
		})
	}
	all.Wait()
	if len(pool.shares)+len(pool.waiting) != 0 {
		t.Errorf("%d shares are taken and %d wait", len(pool.shares), len(pool.waiting))
	}
}
