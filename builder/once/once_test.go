package once

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/progress"
	"ampoule/builder/progress/progresstest"
	"ampoule/store"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

func openStore(t *testing.T) *store.Store {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// maker wants a thing, as one build of several does.
type maker struct {
	//nolint:containedctx // it stands for a caller
	ctx context.Context
	*progresstest.Recorder
	st *store.Store
	// made counts what was made.
	made *atomic.Int64
	// begun is sent to when making begins; making goes on when resume gives something.
	begun  chan struct{}
	resume chan error
}

const kind, key = "thing", "the key"

func newMaker(t *testing.T, st *store.Store, made *atomic.Int64, recipe string) *maker {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	r := progresstest.New()
	return &maker{
		ctx: progress.Of(r.Context(ctx), recipe), Recorder: r, st: st, made: made,
		begun: make(chan struct{}, 1), resume: make(chan error, 1),
	}
}

// outcome is what a maker got.
type outcome struct {
	sum   string
	found bool
	err   error
}

// start wants the thing in a goroutine.
func (m *maker) start() chan outcome {
	ended := make(chan outcome, 1)
	go func() {
		task := progress.Start(m.ctx, progress.StageWheel, "x==1")
		sum, found, err := Remembered(m.ctx, m.st, task, kind, key, m.make)
		task.Finish(found, err)
		ended <- outcome{sum, found, err}
	}()
	return ended
}

func (m *maker) make(ctx context.Context) (string, error) {
	m.begun <- struct{}{}
	select {
	case err := <-m.resume:
		if err != nil {
			return "", err
		}
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	m.made.Add(1)
	sum, _, err := m.st.Put(ctx, strings.NewReader("made"))
	return sum, err
}

// kinds are the kinds of events that were told.
func (m *maker) kinds() []progress.Kind {
	var kinds []progress.Kind
	for _, e := range m.Events() {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// expectHolder expects that a maker waits for a build of this process.
func expectHolder(t *testing.T, m *maker, build, recipe string) {
	t.Helper()
	e, ok := m.Await(m.ctx, progress.Waiting)
	if !ok {
		t.Fatal("it is not told that it waits")
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if since := time.Since(e.Holder.Since); since < 0 || since > patience {
		t.Errorf("it waits for a build that began %v ago", since)
	}
	e.Holder.Since = time.Time{}
	want := progress.Holder{Build: build, Recipe: recipe, Process: os.Getpid(), Host: host}
	if diff := cmp.Diff(want, *e.Holder); diff != "" || e.Stage != progress.StageWheel || e.Task != "x==1" {
		t.Errorf("%s %s waits for (-want +got):\n%s", e.Stage, e.Task, diff)
	}
}

// Of two builds that want one thing one makes it. The other one tells at once that it waits,
// and for whom, and takes what was made.
func TestTwoBuilds(t *testing.T) {
	t.Parallel()
	st, made := openStore(t), &atomic.Int64{}
	first, second := newMaker(t, st, made, "web"), newMaker(t, st, made, "jobs")
	one := first.start()
	<-first.begun
	two := second.start()
	expectHolder(t, second, first.Feed.Build(), "web")
	first.resume <- nil
	a, b := <-one, <-two
	if a.err != nil || b.err != nil || a.found || !b.found || a.sum != b.sum || made.Load() != 1 {
		t.Errorf("%+v and %+v, made %d times", a, b, made.Load())
	}
	if diff := cmp.Diff([]progress.Kind{progress.Started, progress.Done}, first.kinds()); diff != "" {
		t.Errorf("the maker tells (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]progress.Kind{progress.Started, progress.Waiting, progress.Resumed, progress.Done}, second.kinds()); diff != "" {
		t.Errorf("the other one tells (-want +got):\n%s", diff)
	}
}

// Whoever waited first and makes it then began when its own turn came.
func TestMakerThatWaited(t *testing.T) {
	t.Parallel()
	st, made := openStore(t), &atomic.Int64{}
	first, second, third := newMaker(t, st, made, "web"), newMaker(t, st, made, "jobs"), newMaker(t, st, made, "cron")
	one := first.start()
	<-first.begun
	two := second.start()
	expectHolder(t, second, first.Feed.Build(), "web")
	turn := time.Now()
	first.resume <- errors.New("it cannot be made")
	<-one
	<-second.begun
	three := third.start()
	e, ok := third.Await(third.ctx, progress.Waiting)
	if !ok || e.Holder.Recipe != "jobs" || e.Holder.Since.Before(turn) {
		t.Errorf("it waits for %+v, whose turn came at %s", e.Holder, turn)
	}
	second.resume <- nil
	if a, b := <-two, <-three; a.err != nil || b.err != nil {
		t.Errorf("%+v and %+v", a, b)
	}
}

// Whoever wants what is there already takes no lock: it has it while another build holds that.
func TestFoundWithoutLock(t *testing.T) {
	t.Parallel()
	st, made := openStore(t), &atomic.Int64{}
	first := newMaker(t, st, made, "web")
	first.resume <- nil
	if got := <-first.start(); got.err != nil {
		t.Fatal(got.err)
	}
	unlock, err := st.Lock(t.Context(), kind+"-"+key)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	second := newMaker(t, st, made, "jobs")
	if got := <-second.start(); got.err != nil || !got.found {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff([]progress.Kind{progress.Started, progress.Done}, second.kinds()); diff != "" {
		t.Errorf("it tells (-want +got):\n%s", diff)
	}
}

// A waiter that is cancelled ends with its reason, and disturbs neither maker nor waiters.
func TestCancelledWaiter(t *testing.T) {
	t.Parallel()
	st, made := openStore(t), &atomic.Int64{}
	first, impatient, patient := newMaker(t, st, made, "web"), newMaker(t, st, made, "a"), newMaker(t, st, made, "b")
	gone := errors.New("gone")
	var cancel context.CancelCauseFunc
	impatient.ctx, cancel = context.WithCancelCause(impatient.ctx)
	one := first.start()
	<-first.begun
	two, three := impatient.start(), patient.start()
	expectHolder(t, impatient, first.Feed.Build(), "web")
	expectHolder(t, patient, first.Feed.Build(), "web")
	cancel(gone)
	if got := <-two; !errors.Is(got.err, gone) {
		t.Errorf("the cancelled one ends with %+v", got)
	}
	first.resume <- nil
	if a, c := <-one, <-three; a.err != nil || c.err != nil || !c.found || made.Load() != 1 {
		t.Errorf("%+v and %+v, made %d times", a, c, made.Load())
	}
}

// What failed is not remembered: who waited makes it.
func TestFailedMaker(t *testing.T) {
	t.Parallel()
	st, made := openStore(t), &atomic.Int64{}
	first, second := newMaker(t, st, made, "web"), newMaker(t, st, made, "jobs")
	one := first.start()
	<-first.begun
	two := second.start()
	expectHolder(t, second, first.Feed.Build(), "web")
	broken := errors.New("broken")
	first.resume <- broken
	second.resume <- nil
	if got := <-one; !errors.Is(got.err, broken) {
		t.Errorf("the first one ends with %+v", got)
	}
	if got := <-two; got.err != nil || got.found || made.Load() != 1 {
		t.Errorf("the second one ends with %+v, made %d times", got, made.Load())
	}
	if diff := cmp.Diff([]progress.Kind{progress.Started, progress.Waiting, progress.Resumed, progress.Done}, second.kinds()); diff != "" {
		t.Errorf("it tells (-want +got):\n%s", diff)
	}
}

// What is damaged, or has lost its content, is made again.
func TestDamaged(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(st *store.Store, sum string) error{
		"record": func(st *store.Store, _ string) error {
			files, err := filepath.Glob(filepath.Join(st.Root(), "records", kind, "*", "*.json"))
			if err != nil || len(files) != 1 {
				return errors.Join(errors.New("no record"), err)
			}
			return os.WriteFile(files[0], []byte("torn"), 0o644)
		},
		"content": func(st *store.Store, sum string) error {
			return errors.Join(os.Chmod(st.Path(sum), 0o644), os.WriteFile(st.Path(sum), []byte("rotten"), 0o644))
		},
		"no content": func(st *store.Store, sum string) error { return os.Remove(st.Path(sum)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st, made := openStore(t), &atomic.Int64{}
			sum := ""
			for n := range 3 {
				m := newMaker(t, st, made, "web")
				m.resume <- nil
				got := <-m.start()
				if sum = got.sum; got.err != nil || got.found != (n == 2) {
					t.Fatalf("time %d: %+v", n, got)
				}
				if n == 0 {
					if err := spoil(st, sum); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := st.Verify(t.Context(), sum); err != nil || made.Load() != 2 {
				t.Errorf("made %d times, %v", made.Load(), err)
			}
		})
	}
}

// The order of the steps is one: look, lock, look, make. Of the first look nobody hears.
func TestOrder(t *testing.T) {
	t.Parallel()
	st, r := openStore(t), progresstest.New()
	ctx := r.Context(t.Context())
	var steps []string
	isLocked := func() string {
		soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		unlock, err := st.Lock(soon, "x")
		if err != nil {
			return " locked"
		}
		unlock()
		return ""
	}
	find := func(ctx context.Context) (int, bool, error) {
		steps = append(steps, "look"+isLocked())
		progress.Send(ctx, progress.Event{Kind: progress.Warned, Message: steps[len(steps)-1]})
		return 0, false, nil
	}
	got, found, err := Get(ctx, st, progress.Later(ctx, progress.StageBuild, "x"), "x", find, func(context.Context) (int, error) {
		steps = append(steps, "make"+isLocked())
		return 7, nil
	})
	if got != 7 || found || err != nil {
		t.Errorf("%d, %v, %v", got, found, err)
	}
	if diff := cmp.Diff([]string{"look", "look locked", "make locked"}, steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if isLocked() != "" {
		t.Error("it stays locked")
	}
	if told := r.Events(); len(told) != 1 || told[0].Message != "look locked" {
		t.Errorf("told %+v", told)
	}
}

// A note of an older program, or none, names nobody.
func TestHolder(t *testing.T) {
	t.Parallel()
	for _, note := range []string{"", "{", "\x00", `[1]`, `{"process":"x"}`} {
		if h := holder([]byte(note)); h != (progress.Holder{}) {
			t.Errorf("%q names %+v", note, h)
		}
	}
}
