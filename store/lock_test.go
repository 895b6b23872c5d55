package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// notedVariable makes the test binary a process that holds a lock with a note until it is
// killed.
const notedVariable = "STORE_TEST_NOTED"

func holdNoted(ctx context.Context, dir string) error {
	s, err := Open(dir)
	if err != nil {
		return err
	}
	unlock, err := s.LockNoted(ctx, "noted", noteOf("the child"), nil)
	if err != nil {
		return err
	}
	defer unlock()
	fmt.Println("ready")
	time.Sleep(time.Minute)
	return nil
}

// waitNoted waits for a lock in a goroutine. The notes that it reads come through the first
// channel, the end of its waiting through the second one.
func waitNoted(ctx context.Context, s *Store, name, note string) (notes chan string, ended chan error) {
	notes, ended = make(chan string, 10), make(chan error, 1)
	go func() {
		unlock, err := s.LockNoted(ctx, name, noteOf(note), func(note []byte) { notes <- string(note) })
		if err == nil {
			unlock()
		}
		ended <- err
	}()
	return notes, ended
}

func TestNotes(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	unlock, err := s.LockNoted(t.Context(), "a", noteOf("first"), func([]byte) { t.Error("nobody was waited for") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	notes, ended := waitNoted(ctx, s, "a", "second")
	if got := <-notes; got != "first" {
		t.Errorf("waits for %q", got)
	}
	cancel(gone)
	if err := <-ended; !errors.Is(err, gone) {
		t.Errorf("a cancelled one ends with %v", err)
	}
	// It has changed nothing for the others.
	notes, ended = waitNoted(t.Context(), s, "a", "third")
	if got := <-notes; got != "first" {
		t.Errorf("waits for %q", got)
	}
	time.Sleep(3 * lastLook)
	unlock()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(notes) != 0 {
		t.Errorf("the note was told again: %q", <-notes)
	}
	// A holder that says nothing has the note of nobody.
	unlock, err = s.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	notes, ended = waitNoted(t.Context(), s, "a", "fourth")
	if got := <-notes; got != "" {
		t.Errorf("waits for %q", got)
	}
	unlock()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := s.LockNoted(t.Context(), "a", noteOf(strings.Repeat("x", maxNote+1)), nil); err == nil {
		t.Error("a note of any length is taken")
	}
}

// Whoever takes the lock after another one died is told as the new holder.
func TestNoteOfTheKilled(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), notedVariable+"="+s.Root())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("child says %q, %v", line, err)
	}
	var got []string
	notes := make(chan string, 10)
	taken := make(chan func(), 2)
	for range 2 {
		go func() {
			unlock, err := s.LockNoted(t.Context(), "noted", noteOf("the next"), func(note []byte) { notes <- string(note) })
			if err != nil {
				t.Error(err)
			}
			taken <- unlock
		}()
	}
	got = append(got, <-notes, <-notes)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	// One of the two has it now, the other one is told so.
	unlock := <-taken
	got = append(got, <-notes)
	unlock()
	(<-taken)()
	if diff := cmp.Diff([]string{"the child", "the child", "the next"}, got); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

func noteOf(text string) func() []byte { return func() []byte { return []byte(text) } }
