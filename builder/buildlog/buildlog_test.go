package buildlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T) *Log {
	t.Helper()
	log, err := Open(filepath.Join(t.TempDir(), "new", "logs"), "wheel-x")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return log
}

func TestLogIsAFile(t *testing.T) {
	t.Parallel()
	log := open(t)
	log.Printf("compiling %s", "a.c")
	fmt.Fprint(log, "cut ")
	fmt.Fprint(log, "line\n\n")
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if filepath.Base(log.Path()) != "wheel-x.log" {
		t.Errorf("path %s", log.Path())
	}
	again, err := Open(filepath.Dir(log.Path()), "wheel-x")
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	again.Printf("a second time")
	data, err := os.ReadFile(log.Path())
	if want := "compiling a.c\ncut line\n\na second time\n"; string(data) != want || err != nil {
		t.Errorf("the file has %q, %v; want %q", data, err, want)
	}
	if diff := cmp.Diff([]string{"compiling a.c", "cut line"}, log.Tail()); diff != "" {
		t.Errorf("tail (-want +got):\n%s", diff)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	log := open(t)
	if _, err := Open(log.Path(), "x"); err == nil {
		t.Error("a file serves as directory")
	}
	if err := os.Mkdir(filepath.Join(filepath.Dir(log.Path()), "x.log"), 0o755); err != nil {
		t.Fatal(err)
	}
	var pathError *fs.PathError
	if _, err := Open(filepath.Dir(log.Path()), "x"); !errors.As(err, &pathError) {
		t.Errorf("a directory serves as log: %v", err)
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	log := open(t)
	for i := range 40 {
		log.Printf("line %d", i)
	}
	tail := log.Tail()
	if len(tail) != tailLines || tail[0] != "line 15" || tail[tailLines-1] != "line 39" {
		t.Errorf("tail %q", tail)
	}
	fmt.Fprint(log, strings.Repeat("x", 3*tailBytes), "\nlast\n")
	tail = log.Tail()
	if want := []string{strings.Repeat("x", lineBytes/2) + " … " + strings.Repeat("x", lineBytes/2), "last"}; !slices.Equal(tail, want) {
		t.Errorf("the tail has %d lines, the last is %.20q", len(tail), tail[len(tail)-1])
	}
}

func TestConcurrentWriters(t *testing.T) {
	t.Parallel()
	log := open(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				log.Printf("one whole line")
				log.Tail()
			}
		})
	}
	wg.Wait()
	data, err := os.ReadFile(log.Path())
	if want := strings.Repeat("one whole line\n", 400); string(data) != want || err != nil {
		t.Errorf("the file has %d bytes, %v; want %d", len(data), err, len(want))
	}
}

// failed is an error of a tool.
type failed struct{}

func (failed) Error() string { return "exit code 2" }

func TestFail(t *testing.T) {
	t.Parallel()
	log := open(t)
	log.Printf("cc -c a.c")
	log.Printf("a.c:1: error")
	err := log.Fail("wheel x 1.0", failed{})
	var step *StepError
	if !errors.As(err, &step) || !errors.Is(err, failed{}) {
		t.Fatalf("error %v", err)
	}
	want := "building wheel x 1.0: exit code 2\n    cc -c a.c\n    a.c:1: error"
	if err.Error() != want {
		t.Errorf("Error() = %q, want %q", err, want)
	}
	if hint := step.Hint(); hint != "the whole log is "+log.Path() {
		t.Errorf("Hint() = %q", hint)
	}
	step.Advice = "add libpq-dev"
	if hint := step.Hint(); hint != "add libpq-dev; the whole log is "+log.Path() {
		t.Errorf("with advice Hint() = %q", hint)
	}
	if log.Fail("x", nil) != nil {
		t.Error("nil does not stay nil")
	}
	outer := fmt.Errorf("outer: %w", err)
	if got := log.Fail("other", outer); got.Error() != outer.Error() {
		t.Errorf("an error with a log of its own becomes %v", got)
	}
}

func TestFailWithoutOutput(t *testing.T) {
	t.Parallel()
	if got, want := open(t).Fail("x", failed{}).Error(), "building x: exit code 2"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}

// What is printed without end fills no disk; the error shows the end all the same.
func TestLogIsBounded(t *testing.T) {
	t.Parallel()
	log := open(t)
	log.left = 6
	for range 3 {
		if n, err := fmt.Fprint(log, "abcd\n"); n != 5 || err != nil {
			t.Fatalf("wrote %d, %v", n, err)
		}
	}
	fmt.Fprint(log, strings.Repeat("x", 2*tailBytes)+"\nend\n")
	if tail := log.Tail(); tail[len(tail)-1] != "end" {
		t.Errorf("tail ends with %q", tail[len(tail)-1])
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(log.Path())
	if err != nil {
		t.Fatal(err)
	}
	want := "abcd\na\n… of what followed only the end is kept: a log has at most 64 MiB\n" +
		strings.Repeat("x", tailBytes-len("\nend\n")) + "\nend\n"
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// What had room is not written twice.
func TestLogEndsOnce(t *testing.T) {
	t.Parallel()
	log := open(t)
	log.left = 6
	fmt.Fprint(log, "abcdefgh\n")
	if err := log.Fail("x", failed{}); err == nil {
		t.Fatal("no error")
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(log.Path())
	want := "abcdef\n… of what followed only the end is kept: a log has at most 64 MiB\ngh\n"
	if diff := cmp.Diff(want, string(data)); diff != "" || err != nil {
		t.Errorf("log (-want +got), %v:\n%s", err, diff)
	}
}
