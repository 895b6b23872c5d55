package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ampoule/builder/progress"
	"ampoule/faults"
	"ampoule/service/builds"
	"ampoule/service/database"
	"ampoule/service/logs"
)

// A worker takes what is queued, tells how far it is, and publishes it once.
func TestWorker(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		fake := &runner{do: func(ctx context.Context, job Job) (builds.Result, error) {
			progress.Start(ctx, progress.StageInterpreter, "").End(nil)
			progress.Start(ctx, progress.StageGate, "").End(nil)
			// Who follows the feed is told of the gate, some time.
			for b := job.Build; b.State != builds.Gating; time.Sleep(time.Millisecond) {
				var err error
				if b, err = q.Get(ctx, job.Build.ID); err != nil {
					return builds.Result{}, err
				}
			}
			return succeed(ctx, job)
		}}
		w, stop := work(t, q, WorkerConfig{Runner: fake, Name: "one", Labels: []string{"big"}, Slots: 2, Version: "v1"})
		var ids []string
		for i := range 5 {
			ids = append(ids, submit(t, q, team, ask(i)).Build.ID)
		}
		for _, id := range ids {
			b := await(t, q, id, "done", ended)
			if b.State != builds.Done || b.Result.Digest != digestOf(b.Key) || b.Worker != w.ID() || fake.ran(id) != 1 {
				t.Errorf("%+v, %d runs", b, fake.ran(id))
			}
		}
		all, err := q.Workers(t.Context())
		if err != nil || len(all) != 1 || !all[0].Alive || all[0].Name != "one" || all[0].Slots != 2 || all[0].Labels[0] != "big" {
			t.Errorf("workers: %+v, %v", all, err)
		}
		var states []builds.State
		for e, err := range q.Follow(t.Context(), ids[0], 0) {
			must(t, err)
			if e.What == builds.Moved || e.What == builds.Ended {
				states = append(states, e.State)
			}
		}
		if got := fmt.Sprint(states); got != "[building gating publishing done]" {
			t.Errorf("states %s", got)
		}
		stop()
		if all, err := q.Workers(t.Context()); err != nil || len(all) != 0 {
			t.Errorf("workers after the end: %+v, %v", all, err)
		}
		checkHistory(t, db, ids, true)
	})
}

// A follower sees what happens while it happens, and the log with it.
func TestFollow(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		step, more := filepath.Join(t.TempDir(), "interpreter.log"), make(chan struct{})
		fake := &runner{do: func(ctx context.Context, job Job) (builds.Result, error) {
			task := progress.Start(ctx, progress.StageInterpreter, "")
			if err := os.WriteFile(step, []byte("checking for gcc\nhalf "), 0o600); err != nil {
				return builds.Result{}, err
			}
			task.SetLog(step)
			task.Tell("compiling")
			<-more
			f, err := os.OpenFile(step, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return builds.Result{}, err
			}
			fmt.Fprint(f, "a line\nbad \xff byte\nno end")
			task.End(f.Close())
			return succeed(ctx, job)
		}}
		work(t, q, WorkerConfig{Runner: fake})
		id := submit(t, q, team, ask(1)).Build.ID
		var log strings.Builder
		released := false
		var next int64
		for c, err := range q.FollowLog(t.Context(), id, logs.Output, 0) {
			must(t, err)
			if c.Offset != next {
				t.Errorf("a chunk begins at %d, and the one before ends at %d", c.Offset, next)
			}
			next = c.Next
			log.Write(c.Data)
			if !released && strings.Contains(log.String(), "checking for gcc\n") {
				released = true
				close(more)
			}
		}
		wanted := "interpreter | started\ninterpreter | compiling\n"
		steps := string(logs.Step([]byte(log.String()), "interpreter"))
		for _, line := range []string{"checking for gcc\nhalf a line\nbad \uFFFD byte\nno end\ndone\n"} {
			if !strings.Contains(steps, line) {
				t.Errorf("step %q lacks %q", steps, line)
			}
		}
		if !strings.Contains(log.String(), wanted) {
			t.Errorf("log %q lacks %q", log.String(), wanted)
		}
		events := readLog(t, q, id, logs.Progress)
		if !strings.Contains(events, `"build":"`+id+`"`) || !strings.Contains(events, `"stage":"gate"`) || strings.Contains(events, step) {
			t.Errorf("progress %s", events)
		}
		if c, err := q.ReadLog(t.Context(), id, logs.Output, next, 100); err != nil || !c.End || len(c.Data) != 0 {
			t.Errorf("at the end: %+v, %v", c, err)
		}
		_, err := q.ReadLog(t.Context(), id, logs.Output, next+1, 100)
		want[*logs.OffsetError](t, "behind the end", err)
		_, err = q.ReadLog(t.Context(), "nothing", logs.Output, 0, 100)
		want[*builds.NotFoundError](t, "no build", err)
	})
}

// Cancelling ends the context of the build, with who it was, long before the worker would look by itself.
func TestCancelReachesTheBuild(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{Lease: beats * 10 * patience})
		fake := &runner{do: func(ctx context.Context, _ Job) (builds.Result, error) {
			<-ctx.Done()
			return builds.Result{}, fmt.Errorf("removing the container: %w", context.Cause(ctx))
		}}
		work(t, q, WorkerConfig{Runner: fake})
		id := submit(t, q, team, ask(1)).Build.ID
		await(t, q, id, "running", func(b builds.Build) bool { return b.State.Running() })
		_, err := q.Cancel(t.Context(), team, id)
		must(t, err)
		b := await(t, q, id, "cancelled", ended)
		if b.State != builds.Cancelled || b.Failure.Message != "cancelled by team" {
			t.Errorf("%+v", b)
		}
	})
}

// So it does for a build that was cancelled before its worker had begun to watch it.
func TestCancelBeforeTheWatch(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{Lease: beats * 10 * patience})
		fake := &runner{do: func(ctx context.Context, _ Job) (builds.Result, error) {
			<-ctx.Done()
			return builds.Result{}, context.Cause(ctx)
		}}
		w, err := NewWorker(WorkerConfig{Queue: q, Runner: fake, Platform: platform})
		must(t, err)
		id := submit(t, q, team, ask(1)).Build.ID
		l := lease(t, q, w.ID())
		_, err = q.Cancel(t.Context(), team, id)
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		w.build(ctx, l)
		if b := get(t, q, id); b.State != builds.Cancelled {
			t.Errorf("%+v", b)
		}
	})
}

func TestLimit(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{Lease: 3 * time.Second})
		fake := &runner{do: func(ctx context.Context, _ Job) (builds.Result, error) {
			<-ctx.Done()
			return builds.Result{}, context.Cause(ctx)
		}}
		work(t, q, WorkerConfig{Runner: fake})
		s := ask(1)
		s.Limit = 300 * time.Millisecond
		id := submit(t, q, team, s).Build.ID
		b := await(t, q, id, "failed", ended)
		if b.State != builds.Failed || b.Failure.Kind != "build" || !strings.Contains(b.Failure.Message, "longer than 300ms") {
			t.Errorf("%+v", b)
		}
	})
}

// A failure says what failed, and the step.
func TestFailure(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		fake := &runner{do: func(ctx context.Context, job Job) (builds.Result, error) {
			if job.Build.Key == keyOf(2) {
				panic("boom")
			}
			err := errors.New("no gcc")
			task := progress.Start(ctx, progress.StageWheel, "lxml==6.0")
			task.End(err)
			return builds.Result{}, err
		}}
		work(t, q, WorkerConfig{Runner: fake})
		id, panics := submit(t, q, team, ask(1)).Build.ID, submit(t, q, team, ask(2)).Build.ID
		b := await(t, q, id, "failed", ended)
		if b.State != builds.Failed || b.Failure.Message != "no gcc" || b.Failure.Stage != "wheel" || b.Failure.Task != "lxml==6.0" {
			t.Errorf("%+v", b.Failure)
		}
		if b := await(t, q, panics, "failed", ended); b.State != builds.Failed || !strings.Contains(b.Failure.Message, "boom") {
			t.Errorf("%+v", b.Failure)
		}
	})
}

// What says nothing of the build, since the machine or a server that it needs fails, gives it back, and
// whoever follows it is told. A server that will not answer otherwise later ends it.
func TestGivenBack(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		causes := map[string]error{
			"machine": fmt.Errorf("unpacking: %w", syscall.ENOSPC),
			"away":    faults.New(faults.Remote, "see whether it runs", "the registry is away"),
			"refuses": refusal{},
			"version": &builds.VersionError{Accepted: keyOf(7), Here: keyOf(8)},
		}
		fake := &runner{do: func(_ context.Context, job Job) (builds.Result, error) {
			if job.Alone != (db.Engine() == database.SQLite) {
				t.Errorf("no other process takes builds: %t", job.Alone)
			}
			return builds.Result{}, causes[job.Build.Recipe]
		}}
		w, _ := work(t, q, WorkerConfig{Runner: fake, Slots: len(causes)})
		for i, recipe := range []string{"version", "away", "refuses", "machine"} {
			one := ask(1)
			one.Recipe, one.Key = recipe, keyOf(i)
			id := submit(t, q, team, one).Build.ID
			if recipe == "refuses" {
				if b := await(t, q, id, "failed", ended); b.Failure == nil || b.Failure.Kind != "remote" || b.Attempt != 1 {
					t.Errorf("%+v", b)
				}
				continue
			}
			b := await(t, q, id, "given back", func(b builds.Build) bool { return b.Attempt > 1 || b.Attempt == 1 && b.State == builds.Queued })
			if b.Worker == "" || b.Failure != nil {
				t.Errorf("%+v", b)
			}
			log, err := q.ReadLog(t.Context(), id, logs.Output, 0, logs.MaxRead)
			if err != nil || !strings.Contains(string(log.Data), "warning: given back to the queue: "+causes[recipe].Error()) ||
				strings.Contains(string(log.Data), "hint: see whether it runs") != (recipe == "away") {
				t.Errorf("the log: %s, %v", log.Data, err)
			}
			if rests := w.pause() > 0; rests != (recipe == "machine") {
				t.Errorf("%s: the worker rests: %t", recipe, rests)
			}
		}
	})
}

// refusal is a server's answer that stays.
type refusal struct{}

func (refusal) Error() string     { return "the registry refuses" }
func (refusal) Kind() faults.Kind { return faults.Remote }
func (refusal) Lasts() bool       { return true }

// The pauses between the attempts of what is given back again and again.
func TestPauses(t *testing.T) {
	t.Parallel()
	var got []time.Duration
	for lost := 1; lost <= 6; lost++ {
		got = append(got, pause(lost))
	}
	want := []time.Duration{5 * time.Second, 15 * time.Second, 45 * time.Second, 135 * time.Second, 5 * time.Minute, 5 * time.Minute}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// A worker that ends takes nothing any more. What runs may end within the time to drain, or is
// queued again.
func TestDrain(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		for _, drain := range []time.Duration{0, time.Minute} {
			q := open(t, db, Config{})
			begun, end := make(chan struct{}), make(chan struct{})
			fake := &runner{do: func(ctx context.Context, job Job) (builds.Result, error) {
				close(begun)
				select {
				case <-end:
					return succeed(ctx, job)
				case <-ctx.Done():
					return builds.Result{}, context.Cause(ctx)
				}
			}}
			w, stop := work(t, q, WorkerConfig{Runner: fake, Drain: drain})
			id := submit(t, q, team, ask(1)).Build.ID
			<-begun
			stopped := make(chan struct{})
			go func() {
				stop()
				close(stopped)
			}()
			if drain > 0 {
				await(t, q, id, "draining", func(builds.Build) bool {
					all, err := q.Workers(t.Context())
					return err == nil && len(all) == 1 && all[0].ID == w.ID() && all[0].Draining
				})
				close(end)
			}
			<-stopped
			b := get(t, q, id)
			if drain == 0 && (b.State != builds.Queued || b.Failure != nil) || drain > 0 && b.State != builds.Done {
				t.Errorf("drain %s: %+v", drain, b)
			}
		}
	})
}

// While the database is away a build goes on, and its end is written when it is back.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	// A lease that cannot be prolonged is no reason to end a build: only an answer is.
	for _, err := range []error{&database.UnavailableError{Err: io.ErrUnexpectedEOF}, errors.New("any other")} {
		if isOrder(err) {
			t.Errorf("%v ends a build", err)
		}
	}
	if !isOrder(fmt.Errorf("keeping: %w", &builds.FenceError{})) {
		t.Error("a lost lease ends no build")
	}
}

// What a worker logs is about leases, and has nothing of what builds print.
func TestWorkerLog(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		var text safeBuffer
		fake := &runner{do: func(ctx context.Context, job Job) (builds.Result, error) {
			progress.Start(ctx, progress.StageWheel, "x").Tell("canary of a build")
			return succeed(ctx, job)
		}}
		_, stop := work(t, q, WorkerConfig{Runner: fake, Log: journal(&text)})
		id := submit(t, q, team, ask(1)).Build.ID
		await(t, q, id, "done", ended)
		stop()
		if log := text.String(); !strings.Contains(log, "lease begins") || !strings.Contains(log, id) || strings.Contains(log, "canary") {
			t.Errorf("log: %s", log)
		}
		if log := readLog(t, q, id, logs.Output); !strings.Contains(log, "wheel x | canary of a build\n") {
			t.Errorf("the build's log: %s", log)
		}
	})
}

// safeBuffer is a buffer for several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A log ends at its bound, and says so.
func TestLogBound(t *testing.T) {
	t.Parallel()
	w := &teller{buffers: map[logs.Stream]*bytes.Buffer{logs.Output: {}}, written: map[logs.Stream]int{logs.Output: logs.MaxBytes - 10}}
	w.put(logs.Output, "0123456\n")
	w.put(logs.Output, "too long\n")
	w.put(logs.Output, "x\n")
	if got := w.buffers[logs.Output].String(); got != "0123456\nbuild | the log ends here: it has 64 MiB\n" {
		t.Errorf("log %q", got)
	}
}
