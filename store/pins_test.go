package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pinsVariable makes the test binary a process that uses a store as builds do.
const pinsVariable = "STORE_TEST_USER"

// thingsUsed is how many contents the users of a store share.
const thingsUsed = 40

// useStore uses a store again and again. What it has found or made must stay until it lets
// it go, or there is an error.
func useStore(ctx context.Context, dir string) error {
	s, err := Open(dir)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := useOnce(ctx, s); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func useOnce(ctx context.Context, s *Store) error {
	release, err := s.Use(ctx)
	if err != nil {
		return err
	}
	defer release()
	held := map[string]string{}
	for range 1 + rand.IntN(8) {
		key := fmt.Sprint(rand.IntN(thingsUsed))
		sum, err := findOrMake(ctx, s, key)
		if err != nil {
			return err
		}
		held[sum] = key
		time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
		for sum, key := range held {
			if err := readHeld(s, sum, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// findOrMake finds content by its record, as a stage does, or makes both.
func findOrMake(ctx context.Context, s *Store, key string) (sum string, err error) {
	found, err := s.Lookup("layer", key, &sum)
	if err == nil && found {
		found = s.Has(sum)
	}
	if err != nil || found {
		return sum, err
	}
	if sum, _, err = s.Put(ctx, strings.NewReader(contentFor(key))); err != nil {
		return "", err
	}
	return sum, s.Record("layer", key, sum)
}

func contentFor(key string) string { return strings.Repeat(key+" ", 1000) }

// readHeld reads what was handed out, by its path.
func readHeld(s *Store, sum, key string) error {
	f, err := os.Open(s.Path(sum))
	if err != nil {
		return fmt.Errorf("what was in use has gone: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err == nil && string(text) != contentFor(key) {
		err = errors.New("what was in use has changed")
	}
	return err
}

// Several processes use a store, and are killed at any moment, while it is collected as
// hard as can be. What one has found or made never goes while it uses it, and collections
// never have to wait for a moment without users.
func TestCollectBesideProcesses(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			for ctx.Err() == nil {
				runUser(ctx, t, s.Root())
			}
		})
	}
	var removed, collections int
	for ctx.Err() == nil {
		// A process that is just being started shares what this one holds for a moment.
		did, err := s.Collect(ctx, Keep{}, true)
		if err != nil && ctx.Err() == nil {
			t.Error(err)
			break
		}
		removed += did.Removed
		collections++
	}
	group.Wait()
	if removed < thingsUsed || collections < 10 {
		t.Errorf("%d collections removed %d things", collections, removed)
	}
	if _, err := s.Collect(t.Context(), Keep{}, false); err != nil {
		t.Error(err)
	}
	if things, err := s.things(); err != nil || len(things) > 0 {
		t.Errorf("%d things are left of ended users, %v", len(things), err)
	}
	t.Logf("%d collections removed %d things", collections, removed)
}

// runUser runs a process that uses the store, and kills it at a random moment.
func runUser(ctx context.Context, t *testing.T, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(50+rand.IntN(500))*time.Millisecond)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), pinsVariable+"="+dir)
	out, err := cmd.CombinedOutput()
	if ctx.Err() == nil || strings.Contains(string(out), "fault:") {
		t.Errorf("a user ended: %v\n%s", err, out)
	}
}

// Uses that pin without a pause do not keep a collection away.
func TestCollectBesidePins(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for user := range 32 {
		// A handle of its own is what another process has.
		other, err := Open(s.Root())
		if err != nil {
			t.Fatal(err)
		}
		release, err := other.Use(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			defer release()
			for n := 0; ctx.Err() == nil; n++ {
				if err := other.Pin(fmt.Sprintf("%064x", user<<40|n)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	bounded, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 3 {
		leave, err := s.enter(bounded, unix.LOCK_EX)
		if err != nil {
			t.Error(err)
			break
		}
		leave()
	}
	stop()
	group.Wait()
}

// A large collection lets those pin who wait, batch by batch, and ends when its context does.
func TestPinBesideLargeCollection(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	release, err := s.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithCancelCause(t.Context())
	enough, begun := errors.New("enough"), make(chan struct{})
	var looked atomic.Int32
	things := make([]*thing, 100*batch)
	for i := range things {
		things[i] = &thing{name: fmt.Sprint(i)}
	}
	c := &collection{store: s}
	collected := make(chan error, 1)
	go func() {
		collected <- c.removeAll(ctx, things, func(*thing) (bool, error) {
			switch n := looked.Add(1); {
			case n == 1:
				close(begun)
			case n%batch == 0:
				time.Sleep(5 * time.Millisecond)
			}
			return false, nil
		})
	}()
	<-begun
	before := looked.Load() / batch
	for n := range 3 {
		if err := s.Pin(fmt.Sprintf("%064x", n)); err != nil {
			t.Error(err)
		}
	}
	if batches := looked.Load()/batch - before; batches > 50 {
		t.Errorf("who pins waits for %d batches", batches)
	}
	cancel(enough)
	if err := <-collected; !errors.Is(err, enough) {
		t.Errorf("the collection ends with %v", err)
	}
}

// A name that was cut in a use's file spoils none behind it, and a use that has ended pins
// nothing.
func TestPinAfterCut(t *testing.T) {
	t.Parallel()
	s, sums := aged(t, map[string]int{"a": 100})
	release, err := s.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	u := s.uses.list()[0]
	if _, err := u.file.WriteString("\ncontent/ab/abc"); err != nil {
		t.Fatal(err)
	}
	if !s.Has(sums["a"]) {
		t.Fatal("not there")
	}
	setUsed(t, s.Path(sums["a"]), 100)
	if _, err := s.Collect(t.Context(), Keep{}, false); err != nil || left(s, sums) != "a" {
		t.Errorf("left %q, %v", left(s, sums), err)
	}
	release()
	if err := u.pin(s, "anything"); err != nil {
		t.Errorf("pinning after the end gives %v", err)
	}
}

// What stands on content goes when a part of that is neither there nor in use.
func TestIfLost(t *testing.T) {
	t.Parallel()
	s, sums := aged(t, map[string]int{"there": 1})
	other, err := Open(s.Root())
	if err != nil {
		t.Fatal(err)
	}
	release, err := other.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	used, lost := strings.Repeat("1", 64), strings.Repeat("2", 64)
	if err := other.Pin(used); err != nil {
		t.Fatal(err)
	}
	if err := other.Pin("x"); err == nil {
		t.Error("what is no sha256 was pinned")
	}
	fault := errors.New("fault")
	for _, c := range []struct {
		name string
		sums []string
		want bool
	}{
		{"there", []string{sums["there"]}, false}, {"in use", []string{used}, false}, {"both", []string{sums["there"], used}, false},
		{"nothing", nil, false}, {"lost", []string{lost}, true}, {"some lost", []string{sums["there"], used, lost}, true},
	} {
		if err := s.IfLost(t.Context(), c.sums, func() error { return fault }); errors.Is(err, fault) != c.want || (err == nil) == c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	release()
	if err := s.IfLost(t.Context(), []string{used}, func() error { return fault }); !errors.Is(err, fault) {
		t.Errorf("after the use: %v", err)
	}
	if age := time.Since(modified(t, s.Path(sums["there"]))); age < time.Hour/2 {
		t.Error("a look is no use")
	}
}

func modified(t *testing.T, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

// What cannot be pinned is not handed out.
func TestUnpinnable(t *testing.T) {
	t.Parallel()
	s, sums := aged(t, map[string]int{"a": 1})
	release, err := s.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	u := s.uses.list()[0]
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	real := u.file
	u.file = full
	defer func() { u.file = real }()
	if s.Has(sums["a"]) {
		t.Error("it is there")
	}
	var value int
	_, looked := s.Lookup("layer", "k", &value)
	_, opened := s.Open(sums["a"])
	_, _, placed := s.Put(t.Context(), strings.NewReader("b"))
	for what, err := range map[string]error{"looking up": looked, "opening": opened, "putting": placed, "recording": s.Record("layer", "k", 1)} {
		if !errors.Is(err, ErrNoSpace) {
			t.Errorf("%s gives %v", what, err)
		}
	}
}

// Close ends the uses that nobody ended: what they pinned may go.
func TestCloseEndsUses(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	release, err := s.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sum, _, err := s.Put(t.Context(), strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	gone := errors.New("gone")
	if err := errors.Join(os.Remove(s.Path(sum)), s.IfLost(t.Context(), []string{sum}, func() error { return gone })); err != nil {
		t.Errorf("while it is used: %v", err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := s.IfLost(t.Context(), []string{sum}, func() error { return gone }); !errors.Is(err, gone) {
		t.Errorf("after Close: %v", err)
	}
	release()
}
