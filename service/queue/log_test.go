package queue

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"ampoule/service/database"
	"ampoule/service/database/databasetest"
	"ampoule/service/logs"
)

// A log of 64 MiB is written, followed by several and read from its middle: each gets all of it, in
// small parts.
func TestLargeLog(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		q := open(t, db, Config{})
		submit(t, q, team, ask(1))
		l := lease(t, q, "w")
		type got struct {
			sum  [sha256.Size]byte
			size int64
			err  error
		}
		const followers = 2
		all := make(chan got, followers)
		for range followers {
			go func() {
				var g got
				hash := sha256.New()
				for c, err := range q.FollowLog(t.Context(), l.Build.ID, logs.Output, 0) {
					if len(c.Data) > followRead {
						err = errors.New("a chunk is too large")
					}
					hash.Write(c.Data)
					g.size, g.err = g.size+int64(len(c.Data)), errors.Join(g.err, err)
				}
				hash.Sum(g.sum[:0])
				all <- g
			}()
		}
		whole, part := sha256.New(), bytes.Repeat([]byte("wheel x | sixty-four bytes are in this line, and a number: 00000\n"), (512<<10)/65)
		var size int64
		for size+int64(len(part)) <= logs.MaxBytes {
			must(t, l.appendLog(t.Context(), logs.Output, part))
			whole.Write(part)
			size += int64(len(part))
		}
		finish(t, l)
		var want [sha256.Size]byte
		whole.Sum(want[:0])
		for range followers {
			if g := <-all; g.err != nil || g.size != size || g.sum != want {
				t.Errorf("a follower got %d bytes of %d: %v", g.size, size, g.err)
			}
		}
		c, err := q.ReadLog(t.Context(), l.Build.ID, logs.Output, size/2, 100)
		if at := size / 2 % int64(len(part)); err != nil || !bytes.Equal(c.Data, part[at:min(at+100, int64(len(part)))]) && len(c.Data) != 100 {
			t.Errorf("its middle: %q, %v", c.Data, err)
		}
	})
}

// The file of a log is removed while somebody follows it: that one is told so, and nobody waits for
// ever.
func TestLogRemovedWhileFollowed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q := open(t, databasetest.Open(t, database.Options{Dir: dir}), Config{})
	submit(t, q, team, ask(1))
	l := lease(t, q, "w")
	must(t, l.appendLog(t.Context(), logs.Output, []byte("before it was removed\n")))
	var gone *logs.OffsetError
	for c, err := range q.FollowLog(t.Context(), l.Build.ID, logs.Output, 0) {
		if err != nil {
			if !errors.As(err, &gone) {
				t.Errorf("%v", err)
			}
			return
		}
		if c.End || string(c.Data) != "before it was removed\n" {
			t.Fatalf("%+v", c)
		}
		must(t, os.RemoveAll(filepath.Join(dir, logsDir, l.Build.ID)))
	}
	t.Error("the follower was told nothing")
}
