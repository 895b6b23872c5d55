package logs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"ampoule/faults"
	"ampoule/service/database"
	"ampoule/service/database/databasetest"
	"ampoule/service/logs"
)

// place is a store with the database that transactions are of.
type place struct {
	logs.Store
	db *database.DB
}

// add appends in a transaction of its own.
func (p place) add(ctx context.Context, build string, stream logs.Stream, data []byte) error {
	return p.db.Write(ctx, func(ctx context.Context, tx database.Tx) error { return p.Append(ctx, tx, build, stream, data) })
}

// onEach runs a test on files and on the database.
func onEach(t *testing.T, test func(t *testing.T, s place)) {
	t.Helper()
	t.Parallel()
	t.Run("files", func(t *testing.T) {
		t.Parallel()
		test(t, place{logs.Files{Dir: filepath.Join(t.TempDir(), "new")}, databasetest.Open(t, database.Options{Dir: t.TempDir()})})
	})
	t.Run("rows", func(t *testing.T) {
		t.Parallel()
		db := databasetest.Open(t, database.Options{Dir: t.TempDir()})
		test(t, place{logs.Rows{DB: db}, db})
	})
}

// What was appended is read from every offset.
func TestOffsets(t *testing.T) {
	onEach(t, func(t *testing.T, s place) {
		var whole []byte
		for i := range 5 {
			part := fmt.Appendf(nil, "line %d\n", i)
			whole = append(whole, part...)
			if err := s.add(t.Context(), "b1", logs.Output, part); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.add(t.Context(), "b1", logs.Progress, []byte("{}\n")); err != nil {
			t.Fatal(err)
		}
		for offset := range len(whole) + 1 {
			for _, limit := range []int{1, 10, logs.MaxRead} {
				got, err := s.Read(t.Context(), "b1", logs.Output, int64(offset), limit)
				if want := whole[offset:min(len(whole), offset+limit)]; !bytes.Equal(got, want) || err != nil {
					t.Errorf("offset %d, at most %d: %q, %v; want %q", offset, limit, got, err, want)
				}
			}
		}
		for _, offset := range []int64{-1, int64(len(whole) + 1)} {
			var wrong *logs.OffsetError
			if _, err := s.Read(t.Context(), "b1", logs.Output, offset, 10); !errors.As(err, &wrong) || wrong.Size != int64(len(whole)) || faults.Of(err) != faults.NotFound {
				t.Errorf("offset %d: %v", offset, err)
			}
		}
		if err := s.Remove(t.Context(), "b1"); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Read(t.Context(), "b1", logs.Output, 0, 10); len(got) != 0 || err != nil {
			t.Errorf("after it was removed: %q, %v", got, err)
		}
	})
}

// Names lead nowhere else.
func TestHostileNames(t *testing.T) {
	onEach(t, func(t *testing.T, s place) {
		for _, name := range []string{"", "..", "../x", "A", "a/b", "a\x00", strings.Repeat("a", 65)} {
			var wrong *logs.StreamError
			if err := s.add(t.Context(), name, logs.Output, []byte("x")); !errors.As(err, &wrong) {
				t.Errorf("append to %q: %v", name, err)
			}
			if _, err := s.Read(t.Context(), name, logs.Output, 0, 1); !errors.As(err, &wrong) {
				t.Errorf("read %q: %v", name, err)
			}
			if err := s.Remove(t.Context(), name); err != nil {
				t.Errorf("remove %q: %v", name, err)
			}
		}
		var wrong *logs.StreamError
		if err := s.add(t.Context(), "b1", "../output", []byte("x")); !errors.As(err, &wrong) {
			t.Errorf("a stream of another name: %v", err)
		}
	})
}

// Many read one log while it is written, and each reads all of it.
func TestManyFollow(t *testing.T) {
	onEach(t, func(t *testing.T, s place) {
		const followers, parts = 50, 40
		line := strings.Repeat("x", 99) + "\n"
		var wg sync.WaitGroup
		for range followers {
			wg.Go(func() {
				var got int64
				for got < parts*100 && t.Context().Err() == nil {
					data, err := s.Read(t.Context(), "b1", logs.Output, got, logs.MaxRead)
					if err != nil {
						t.Error(err)
						return
					}
					got += int64(len(data))
				}
			})
		}
		for range parts {
			if err := s.add(t.Context(), "b1", logs.Output, []byte(line)); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
	})
}

// A log file that is removed while it is followed is an error for who stands in it, and begins
// anew.
func TestRemovedWhileFollowed(t *testing.T) {
	t.Parallel()
	s := logs.Files{Dir: t.TempDir()}
	if err := s.Append(t.Context(), nil, "b1", logs.Output, []byte("before\n")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(s.Dir, "b1")); err != nil {
		t.Fatal(err)
	}
	var gone *logs.OffsetError
	if _, err := s.Read(t.Context(), "b1", logs.Output, 7, 10); !errors.As(err, &gone) {
		t.Errorf("removed: %v", err)
	}
	if err := s.Append(t.Context(), nil, "b1", logs.Output, []byte("after\n")); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Read(t.Context(), "b1", logs.Output, 0, 10); string(got) != "after\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestStep(t *testing.T) {
	t.Parallel()
	data := logs.Line("wheel a", "one") + logs.Line("wheel ab", "two") + logs.Line("wheel a", "three | four") + "wheel a"
	if got := string(logs.Step([]byte(data), "wheel a")); got != "one\nthree | four\n" {
		t.Errorf("%q", got)
	}
}
