package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// aged makes a store whose contents, named by their text, were last used so many hours ago.
func aged(t *testing.T, hours map[string]int) (*Store, map[string]string) {
	t.Helper()
	s := openStore(t)
	sums := map[string]string{}
	for text, h := range hours {
		sums[text] = put(t, s, text)
		setUsed(t, s.Path(sums[text]), h)
	}
	return s, sums
}

func setUsed(t *testing.T, path string, hours int) {
	t.Helper()
	then := time.Now().Add(-time.Duration(hours) * time.Hour)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}

// left lists which contents are there.
func left(s *Store, sums map[string]string) string {
	var names []string
	for text, sum := range sums {
		if _, err := os.Stat(s.Path(sum)); err == nil {
			names = append(names, text)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestCollect(t *testing.T) {
	t.Parallel()
	hours := map[string]int{"a": 100, "bb": 50, "ccc": 10, "dddd": 2, "future": -1000}
	for name, c := range map[string]struct {
		keep Keep
		want string
	}{
		"age":           {Keep{Unused: 24 * time.Hour}, "ccc dddd future"},
		"nothing":       {Keep{Unused: 1000 * time.Hour}, "a bb ccc dddd future"},
		"limit":         {Keep{Unused: 1000 * time.Hour, Limit: 10}, "dddd future"},
		"both":          {Keep{Unused: 24 * time.Hour, Limit: 13}, "ccc dddd future"},
		"dry":           {Keep{Dry: true}, "a bb ccc dddd future"},
		"all but fresh": {Keep{}, "future"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, sums := aged(t, hours)
			got, err := s.Collect(t.Context(), c.keep, true)
			if err != nil {
				t.Fatal(err)
			}
			if names := left(s, sums); names != c.want {
				t.Errorf("left %q, want %q", names, c.want)
			}
			if got.Removed+got.Left != len(hours) || got.RemovedBytes+got.LeftBytes != 16 {
				t.Errorf("told %+v", got)
			}
		})
	}
}

func TestCollectPinned(t *testing.T) {
	t.Parallel()
	s, sums := aged(t, map[string]int{"kept": 100, "gone": 100})
	for kind, text := range map[string]string{"inputs": "kept", "layer": "gone"} {
		if err := s.Record(kind, "key", map[string]string{"sha256": sums[text]}); err != nil {
			t.Fatal(err)
		}
		path, err := s.recordPath(kind, "key")
		if err != nil {
			t.Fatal(err)
		}
		setUsed(t, path, 100)
	}
	torn, err := s.recordPath("inputs", "torn")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(torn), 0o755), os.WriteFile(torn, []byte("{"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(t.Context(), Keep{Pinned: []string{"inputs"}}, true); err == nil || !strings.Contains(err.Error(), torn) || left(s, sums) != "gone kept" {
		t.Errorf("a torn record: %v, left %q", err, left(s, sums))
	}
	if err := os.Remove(torn); err != nil {
		t.Fatal(err)
	}
	got, err := s.Collect(t.Context(), Keep{Limit: 1, Pinned: []string{"inputs"}}, true)
	if err != nil {
		t.Fatal(err)
	}
	if names := left(s, sums); names != "kept" {
		t.Errorf("left %q", names)
	}
	var value map[string]string
	for kind, want := range map[string]bool{"inputs": true, "layer": false} {
		if found, err := s.Lookup(kind, "key", &value); found != want || err != nil {
			t.Errorf("record %s: found %t, %v", kind, found, err)
		}
	}
	if got.PinnedBytes != got.LeftBytes || got.PinnedBytes < 4 {
		t.Errorf("told %+v", got)
	}
}

// What is looked up or opened was used, and stays.
func TestUsedStays(t *testing.T) {
	t.Parallel()
	s, sums := aged(t, map[string]int{"had": 100, "opened": 100, "other": 100})
	if err := s.Record("kind", "key", 1); err != nil {
		t.Fatal(err)
	}
	path, err := s.recordPath("kind", "key")
	if err != nil {
		t.Fatal(err)
	}
	setUsed(t, path, 100)
	var value int
	if found, err := s.Lookup("kind", "key", &value); !found || err != nil {
		t.Fatalf("found %t, %v", found, err)
	}
	if !s.Has(sums["had"]) {
		t.Fatal("not there")
	}
	f, err := s.Open(sums["opened"])
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	// A look at whether it is damaged is no use.
	if _, damaged, err := s.Damaged(t.Context(), false); err != nil || len(damaged) > 0 {
		t.Fatalf("damaged %q, %v", damaged, err)
	}
	if _, err := s.Collect(t.Context(), Keep{Unused: time.Hour}, true); err != nil {
		t.Fatal(err)
	}
	if names := left(s, sums); names != "had opened" {
		t.Errorf("left %q", names)
	}
	if found, err := s.Lookup("kind", "key", &value); !found || err != nil {
		t.Errorf("the record: found %t, %v", found, err)
	}
}

func TestCollectWaits(t *testing.T) {
	t.Parallel()
	s, sums := aged(t, map[string]int{"a": 100})
	first, err := s.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Use(t.Context())
	if err != nil {
		t.Fatalf("two at once: %v", err)
	}
	second()
	if _, err := s.Collect(t.Context(), Keep{}, false); !errors.Is(err, ErrInUse) || left(s, sums) != "a" {
		t.Errorf("while it is in use: %v, left %q", err, left(s, sums))
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.Collect(t.Context(), Keep{}, true)
		done <- err
	}()
	time.Sleep(3 * firstLook)
	if left(s, sums) != "a" {
		t.Error("it did not wait")
	}
	stop := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if _, err := s.Collect(ctx, Keep{}, false); !errors.Is(err, ErrInUse) {
		t.Errorf("in use, and interrupted: %v", err)
	}
	first()
	if err := <-done; err != nil || left(s, sums) != "" {
		t.Errorf("after the use: %v, left %q", err, left(s, sums))
	}
}

func TestCollectLogs(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	for name, hours := range map[string]int{"old": 100, "new": 1} {
		dir := filepath.Join(s.Dir(Logs), name)
		if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "wheel.log"), []byte("text"), 0o644)); err != nil {
			t.Fatal(err)
		}
		setUsed(t, dir, hours)
	}
	got, err := s.Collect(t.Context(), Keep{Unused: 24 * time.Hour}, true)
	if err != nil || got.Removed != 1 || got.RemovedBytes != 4 || got.LeftBytes != 4 {
		t.Errorf("told %+v, %v", got, err)
	}
	if names, err := os.ReadDir(s.Dir(Logs)); err != nil || len(names) != 1 || names[0].Name() != "new" {
		t.Errorf("left %v, %v", names, err)
	}
}

func TestDamaged(t *testing.T) {
	t.Parallel()
	s, sums := aged(t, map[string]int{"whole": 0, "damaged": 0})
	path := s.Path(sums["damaged"])
	stray := filepath.Join(filepath.Dir(path), "stray")
	if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, []byte("x"), 0o644), os.WriteFile(stray, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, repair := range []bool{false, true} {
		checked, got, err := s.Damaged(t.Context(), repair)
		slices.Sort(got)
		want := []string{path, stray}
		slices.Sort(want)
		if err != nil || !slices.Equal(got, want) || checked.Files != 2 {
			t.Errorf("repair %t: %q, %+v, %v", repair, got, checked, err)
		}
	}
	if _, got, err := s.Damaged(t.Context(), false); err != nil || len(got) > 0 || left(s, sums) != "whole" {
		t.Errorf("after the repair: %q, %v, left %q", got, err, left(s, sums))
	}
	u, err := s.Usage()
	if err != nil || u.Content != (Part{1, 5}) || u.Registry.Files != 0 {
		t.Errorf("usage %+v, %v", u, err)
	}
}

// A collection removes the files of locks that nobody holds, and what waits for a lock
// whose file goes still has it alone.
func TestCollectLocks(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	lock := func(ctx context.Context, name string) func() {
		t.Helper()
		unlock, err := s.Lock(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		return unlock
	}
	lock(t.Context(), "was held")()
	held := lock(t.Context(), "is held")
	if _, err := s.Collect(t.Context(), Keep{Unused: time.Hour}, true); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(filepath.Join(s.dir, locksDir)); err != nil || len(entries) != 2 {
		t.Errorf("left %v, %v: want the held one and that of the users", entries, err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Lock(soon, "is held"); err == nil {
		t.Error("a held lock was taken")
	}
	held()

	var holders, most atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 50 {
				unlock, err := s.Lock(t.Context(), "wanted")
				if err != nil {
					t.Error(err)
					return
				}
				if n := holders.Add(1); n > most.Load() {
					most.Store(n)
				}
				time.Sleep(100 * time.Microsecond)
				holders.Add(-1)
				unlock()
			}
		})
	}
	for range 50 {
		if err := s.removeLocks(); err != nil {
			t.Error(err)
		}
	}
	all.Wait()
	if most.Load() != 1 {
		t.Errorf("%d held one lock at once", most.Load())
	}
}
