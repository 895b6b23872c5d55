package store

import (
	"context"
	"errors"
	"iter"
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

func TestCollectKept(t *testing.T) {
	t.Parallel()
	s, sums := aged(t, map[string]int{"kept": 100, "gone": 100})
	if err := errors.Join(s.RecordDurably("inputs", "key", sums["kept"]), s.Record("layer", "key", sums["gone"])); err != nil {
		t.Fatal(err)
	}
	for area, kind := range map[string]string{keptDir: "inputs", recordsDir: "layer"} {
		setUsed(t, recordFile(t, s, area, kind, "key"), 100)
	}
	torn := recordFile(t, s, keptDir, "inputs", "torn")
	if err := errors.Join(os.MkdirAll(filepath.Dir(torn), 0o755), os.WriteFile(torn, []byte("{"), 0o644)); err != nil {
		t.Fatal(err)
	}
	var damaged *RecordError
	if _, err := s.Collect(t.Context(), Keep{}, true); !errors.As(err, &damaged) || damaged.Path != torn || left(s, sums) != "gone kept" {
		t.Errorf("a torn record: %v, left %q", err, left(s, sums))
	}
	if err := os.Remove(torn); err != nil {
		t.Fatal(err)
	}
	got, err := s.Collect(t.Context(), Keep{Limit: 1}, true)
	if err != nil {
		t.Fatal(err)
	}
	if names := left(s, sums); names != "kept" {
		t.Errorf("left %q", names)
	}
	var value string
	for kind, want := range map[string]bool{"inputs": true, "layer": false} {
		if found, err := s.Lookup(kind, "key", &value); found != want || err != nil {
			t.Errorf("record %s: found %t, %v", kind, found, err)
		}
	}
	if got.KeptBytes != 4 || got.LeftBytes != 4 {
		t.Errorf("told %+v", got)
	}
}

// A record whose content goes goes with it, however lately it was used.
func TestCollectPointless(t *testing.T) {
	t.Parallel()
	s, sums := aged(t, map[string]int{"old": 100, "new": 1})
	for text, sum := range sums {
		if err := s.Record("layer", text, sum); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Collect(t.Context(), Keep{Unused: 24 * time.Hour}, true)
	if err != nil || got.Removed != 2 {
		t.Errorf("told %+v, %v", got, err)
	}
	var value string
	for text, want := range map[string]bool{"old": false, "new": true} {
		if found, err := s.Lookup("layer", text, &value); found != want || err != nil {
			t.Errorf("record of %s: found %t, %v", text, found, err)
		}
	}
}

// What is looked up or opened was used, and stays.
func TestUsedStays(t *testing.T) {
	t.Parallel()
	s, sums := aged(t, map[string]int{"had": 100, "opened": 100, "other": 100})
	if err := s.Record("kind", "key", 1); err != nil {
		t.Fatal(err)
	}
	setUsed(t, recordFile(t, s, recordsDir, "kind", "key"), 100)
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
	if checked, err := s.Check(t.Context(), false); err != nil || len(checked.Damages) > 0 {
		t.Fatalf("damaged %+v, %v", checked, err)
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

// Uses that overlap without end keep no collection away, and none of them loses anything.
func TestCollectBesideUses(t *testing.T) {
	t.Parallel()
	s, sums := aged(t, map[string]int{"had": 100, "opened": 100, "unused": 100, "had before": 100})
	first, err := s.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !s.Has(sums["had before"]) {
		t.Fatal("not there")
	}
	// Another process, or another handle in this one.
	other, err := Open(s.Root())
	if err != nil {
		t.Fatal(err)
	}
	second, err := other.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first()
	if !other.Has(sums["had"]) {
		t.Fatal("not there")
	}
	f, err := other.Open(sums["opened"])
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	made := put(t, other, "made")
	logs, err := other.NewLogs("log-")
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Record("layer", "key", made); err != nil {
		t.Fatal(err)
	}
	for path := range s.allThings(t) {
		setUsed(t, path, 100)
	}
	got, err := s.Collect(t.Context(), Keep{}, false)
	if err != nil {
		t.Fatal(err)
	}
	if names := left(s, sums); names != "had opened" || !s.Has(made) || got.InUseBytes == 0 {
		t.Errorf("while it is in use: left %q, what was made: %t, told %+v", names, s.Has(made), got)
	}
	var value string
	if found, err := other.Lookup("layer", "key", &value); !found || err != nil {
		t.Errorf("a record in use: %t, %v", found, err)
	}
	if _, err := os.Stat(logs); err != nil {
		t.Errorf("logs in use: %v", err)
	}
	second()
	second()
	for path := range s.allThings(t) {
		setUsed(t, path, 100)
	}
	if got, err := s.Collect(t.Context(), Keep{}, false); err != nil || left(s, sums) != "" || got.Left != 0 || got.InUseBytes != 0 {
		t.Errorf("after the use: left %q, %+v, %v", left(s, sums), got, err)
	}
	if files, err := os.ReadDir(filepath.Join(s.Root(), usersDir)); err != nil || len(files) > 0 {
		t.Errorf("uses left behind: %v, %v", files, err)
	}
}

// allThings visits the paths of what a collection may remove.
func (s *Store) allThings(t *testing.T) iter.Seq[string] {
	t.Helper()
	things, err := s.things()
	if err != nil {
		t.Fatal(err)
	}
	return func(yield func(string) bool) {
		for _, thing := range things {
			if !yield(thing.path) {
				return
			}
		}
	}
}

// What happens between the listing and the removal counts: what was used, put again, or
// said to stay, stays.
func TestCollectSeesChanges(t *testing.T) {
	t.Parallel()
	s, sums := aged(t, map[string]int{"used": 100, "put again": 100, "kept": 100, "old": 100})
	c := &collection{store: s}
	things, err := s.things()
	if err != nil {
		t.Fatal(err)
	}
	release, err := s.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Has(sums["used"])
	put(t, s, "put again")
	// Only the record says from here on that it stays.
	if err := s.RecordDurably("inputs", "key", sums["kept"]); err != nil {
		t.Fatal(err)
	}
	release()
	if err := c.removeAll(t.Context(), things, func(*thing) (bool, error) { return true, nil }); err != nil {
		t.Fatal(err)
	}
	if names := left(s, sums); names != "kept put again used" {
		t.Errorf("left %q", names)
	}
}

// Two collections take turns.
func TestCollectOnce(t *testing.T) {
	t.Parallel()
	s, sums := aged(t, map[string]int{"a": 100})
	unlock, err := s.Lock(t.Context(), "collection")
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	for _, ctx := range []context.Context{t.Context(), ctx} {
		if _, err := s.Collect(ctx, Keep{}, false); !errors.Is(err, ErrCollecting) || left(s, sums) != "a" {
			t.Errorf("while another runs: %v, left %q", err, left(s, sums))
		}
	}
	if _, err := s.Collect(ctx, Keep{}, true); !errors.Is(err, stop) {
		t.Errorf("interrupted: %v", err)
	}
	unlock()
	if _, err := s.Collect(t.Context(), Keep{}, true); err != nil || left(s, sums) != "" {
		t.Errorf("after the other: %v, left %q", err, left(s, sums))
	}
}

// collector is a registry's.
type collector struct {
	removed, left int64
	err           error
	dry           []bool
}

func (c *collector) Collect(_ context.Context, dry bool) (removed, left int64, err error) {
	c.dry = append(c.dry, dry)
	return c.removed, c.left, c.err
}

// What the registry holds counts for the limit.
func TestCollectRegistry(t *testing.T) {
	t.Parallel()
	s, sums := aged(t, map[string]int{"aaaa": 3, "bbbb": 2})
	registry := &collector{removed: 100, left: 6}
	keep := Keep{Unused: 1000 * time.Hour, Limit: 10, Registry: registry, Dry: true}
	for range 2 {
		got, err := s.Collect(t.Context(), keep, true)
		if err != nil || got.RemovedBytes != 104 || got.LeftBytes != 10 || got.RegistryBytes != 6 {
			t.Errorf("dry %t: %+v, %v", keep.Dry, got, err)
		}
		keep.Dry = false
	}
	if names := left(s, sums); names != "bbbb" || !slices.Equal(registry.dry, []bool{true, false}) {
		t.Errorf("left %q, the registry was collected dry: %v", names, registry.dry)
	}
	registry.err = errors.New("busy")
	if _, err := s.Collect(t.Context(), keep, true); !errors.Is(err, registry.err) {
		t.Errorf("a registry that cannot: %v", err)
	}
	// Without a collector it is measured.
	write(t, s.Dir(Registry), "blob", "123456789")
	keep.Registry = nil
	if got, err := s.Collect(t.Context(), keep, true); err != nil || got.RegistryBytes != 9 || left(s, sums) != "" {
		t.Errorf("measured: %+v, left %q, %v", got, left(s, sums), err)
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
		t.Errorf("left %v, %v: want the held one and the gate", entries, err)
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
