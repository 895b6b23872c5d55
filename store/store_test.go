package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"ampoule/faults"
	"ampoule/system/systemtest"
)

const (
	text    = "what went in is what comes out"
	textSum = "2a7e4d1f6e7c3a0a7a2ef8a1bd4cbe4c6b3d67d3a4a2f3a2f7e4e6c0d1b2a394"
)

func openStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *Store, content string) string {
	t.Helper()
	sum, size, err := s.Put(t.Context(), strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if size != int64(len(content)) {
		t.Fatalf("size %d, want %d", size, len(content))
	}
	return sum
}

// temporary lists what is in the area Tmp.
func temporary(t *testing.T, s *Store) []string {
	t.Helper()
	entries, err := os.ReadDir(s.Dir(Tmp))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestPut(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if sum := put(t, s, ""); sum != empty {
		t.Errorf("sum of nothing is %s", sum)
	}
	sum := put(t, s, text)
	if again := put(t, s, text); again != sum {
		t.Errorf("the same content is %s, then %s", sum, again)
	}
	f, err := s.Open(sum)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := io.ReadAll(f)
	if err != nil || string(got) != text {
		t.Errorf("read %q, %v", got, err)
	}
	info, err := f.Stat()
	if err != nil || info.Mode() != 0o444 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if !strings.HasSuffix(s.Path(sum), filepath.Join(sum[:2], sum)) {
		t.Errorf("path %s is not sharded", s.Path(sum))
	}
	if names := temporary(t, s); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
}

func TestPutExpected(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	var mismatch *MismatchError
	if err := s.PutExpected(t.Context(), strings.NewReader(text), textSum); !errors.As(err, &mismatch) {
		t.Fatalf("wrong content gives %v", err)
	}
	if s.Has(textSum) || s.Has(mismatch.Got) {
		t.Error("wrong content is visible")
	}
	if err := s.PutExpected(t.Context(), strings.NewReader(text), mismatch.Got); err != nil || !s.Has(mismatch.Got) {
		t.Errorf("right content gives %v", err)
	}
	if err := s.PutExpected(t.Context(), iotest.ErrReader(io.ErrUnexpectedEOF), textSum); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a failing reader gives %v", err)
	}
	for _, bad := range []string{"", "sha256:" + textSum, strings.ToUpper(textSum), textSum[1:], strings.Repeat("../", 21) + "x"} {
		if err := s.PutExpected(t.Context(), strings.NewReader(text), bad); err == nil {
			t.Errorf("sum %q is taken", bad)
		}
		if _, err := s.Open(bad); err == nil || s.Has(bad) {
			t.Errorf("sum %q is opened", bad)
		}
	}
	if names := temporary(t, s); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
}

func TestCancelledPut(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	w, err := s.Create(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	cause := errors.New("enough")
	cancel(cause)
	if _, err := w.Write([]byte(text)); !errors.Is(err, cause) {
		t.Errorf("writing gives %v", err)
	}
}

func TestAbsentContent(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	_, err := s.Open(textSum)
	if !errors.Is(err, ErrNotFound) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening gives %v", err)
	}
	if err := s.Verify(t.Context(), textSum); !errors.Is(err, ErrNotFound) {
		t.Errorf("verifying gives %v", err)
	}
	if whole, err := s.Whole(t.Context(), textSum); whole || err != nil {
		t.Errorf("whole: %v, %v", whole, err)
	}
}

func TestDamagedContent(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	sum := put(t, s, text)
	damage(t, s.Path(sum))
	var mismatch *MismatchError
	if err := s.Verify(t.Context(), sum); !errors.As(err, &mismatch) || mismatch.Path != s.Path(sum) {
		t.Fatalf("verifying gives %v", err)
	}
	if whole, err := s.Whole(t.Context(), sum); whole || err != nil {
		t.Errorf("whole: %v, %v", whole, err)
	}
	if s.Has(sum) {
		t.Error("damaged content stays")
	}
	put(t, s, text)
	if whole, err := s.Whole(t.Context(), sum); !whole || err != nil {
		t.Errorf("put again, whole: %v, %v", whole, err)
	}
	damage(t, s.Path(sum))
	put(t, s, text)
	if err := s.Verify(t.Context(), sum); err != nil {
		t.Errorf("putting does not mend: %v", err)
	}
}

func damage(t *testing.T, path string) {
	t.Helper()
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("what went in is not what comes out"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestResume(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	sum := put(t, openStore(t), text)
	w, err := s.Resume(t.Context(), sum)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, text[:7])
	if err := w.Keep(); err != nil {
		t.Fatal(err)
	}
	// Opening the store sweeps, and must leave it.
	if s, err = Open(s.Root()); err != nil {
		t.Fatal(err)
	}
	if w, err = s.Resume(t.Context(), sum); err != nil || w.Size() != 7 {
		t.Fatalf("resumed at %d, %v", w.Size(), err)
	}
	io.WriteString(w, text[7:])
	if w.Sum() != sum || s.Has(sum) {
		t.Errorf("sum %s, visible before it is committed: %v", w.Sum(), s.Has(sum))
	}
	if got, size, err := w.Commit(); got != sum || size != int64(len(text)) || err != nil {
		t.Errorf("committed %s, %d, %v", got, size, err)
	}
	if err := s.Verify(t.Context(), sum); err != nil {
		t.Error(err)
	}
}

func TestResumeWrong(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	w, err := s.Resume(t.Context(), textSum)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "junk")
	if err := w.Reset(); err != nil || w.Size() != 0 {
		t.Errorf("reset to %d, %v", w.Size(), err)
	}
	io.WriteString(w, text)
	var mismatch *MismatchError
	if _, _, err := w.Commit(); !errors.As(err, &mismatch) {
		t.Fatalf("committing gives %v", err)
	}
	if want := put(t, openStore(t), text); mismatch.Got != want {
		t.Errorf("sum after a reset is %s, want %s", mismatch.Got, want)
	}
	if names := temporary(t, s); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
}

// A second writer of one content waits, and starts afresh where the first has
// committed.
func TestResumeExcludes(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	sum := put(t, openStore(t), text)
	first, err := s.Resume(t.Context(), sum)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := s.Resume(ctx, sum); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("two write at once: %v", err)
	}
	done := make(chan error)
	go func() {
		second, err := s.Resume(context.WithoutCancel(ctx), sum)
		if err == nil && (second.Size() != 0 || !s.Has(sum)) {
			err = errors.New("the second did not see the first's commit")
		}
		if err == nil {
			second.Abort()
		}
		done <- err
	}()
	io.WriteString(first, text)
	if _, _, err := first.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.Verify(t.Context(), sum); err != nil {
		t.Error(err)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	var (
		held  int
		most  int
		mu    sync.Mutex
		group sync.WaitGroup
	)
	for range 8 {
		group.Go(func() {
			unlock, err := s.Lock(t.Context(), "interpreter/x")
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			held++
			most = max(most, held)
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			held--
			mu.Unlock()
			unlock()
		})
	}
	group.Wait()
	if most != 1 {
		t.Errorf("%d held it at once", most)
	}
	unlock, err := s.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	other, err := s.Lock(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	other()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Lock(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting gives %v", err)
	}
}

func TestOpenAtOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "store")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := Open(dir); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	format, err := os.ReadFile(filepath.Join(dir, "format"))
	if err != nil || string(format) != "ampoule store 2\n" {
		t.Errorf("format %q, %v", format, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	newer := openStore(t).Root()
	write(t, newer, "format", "ampoule store 3\n")
	if _, err := Open(newer); !refused(err, "has layout version 3", "use the newer ampoule") {
		t.Errorf("a newer store gives %v", err)
	}
	foreign := t.TempDir()
	write(t, foreign, "thesis.tex", "")
	if _, err := Open(foreign); !refused(err, `is not a store: it holds "thesis.tex"`, "name a new or empty directory") {
		t.Errorf("a foreign directory gives %v", err)
	}
	if entries, _ := os.ReadDir(foreign); len(entries) != 1 {
		t.Errorf("a foreign directory is written to: %v", entries)
	}
	strange := openStore(t).Root()
	write(t, strange, "format", "another program's\n")
	if _, err := Open(strange); !refused(err, `is not a store: it holds "format"`, "name a new or empty directory") {
		t.Errorf("a foreign format gives %v", err)
	}
	torn := openStore(t).Root()
	write(t, torn, "format", "\x00\x00\x00\x00")
	if _, err := Open(torn); err != nil {
		t.Errorf("a torn format gives %v", err)
	}
	if _, err := Open(torn); err != nil {
		t.Errorf("a mended format gives %v", err)
	}
	if err := checkUser("/s", 1000, 0); !refused(err, "store /s belongs to user 1000, this is user 0", "run as the store's user") {
		t.Errorf("another user's store gives %v", err)
	}
}

// refused reports whether an error says that this machine cannot use a store: what, and
// what to do.
func refused(err error, what, hint string) bool {
	return faults.Of(err) == faults.Machine && strings.Contains(err.Error(), what) && strings.Contains(strings.Join(faults.Hints(err), "\n"), hint)
}

// A store that others may write to cannot be trusted. A new one is closed to them.
func TestWritable(t *testing.T) {
	t.Parallel()
	chmod := func(dir string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	root := openStore(t).Root()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	dirs := []string{root}
	for _, entry := range entries {
		if entry.IsDir() {
			dirs = append(dirs, filepath.Join(root, entry.Name()))
		}
	}
	if len(dirs) < 9 {
		t.Errorf("only %q", dirs)
	}
	for _, dir := range dirs {
		for _, mode := range []os.FileMode{0o777, 0o775, 0o757, 0o777 | os.ModeSticky} {
			chmod(dir, mode)
			if _, err := Open(root); !refused(err, fmt.Sprintf("directory %s has mode %#o:", dir, mode.Perm()), "chmod go-w "+dir+";") {
				t.Errorf("%s with mode %v gives %v", dir, mode, err)
			}
		}
		chmod(dir, 0o755)
	}
	if _, err := Open(root); err != nil {
		t.Errorf("closed to others: %v", err)
	}
	empty := t.TempDir()
	chmod(empty, 0o777)
	if _, err := Open(empty); err != nil {
		t.Errorf("an empty directory: %v", err)
	}
	if info, err := os.Stat(empty); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("a new store has mode %v, %v", info.Mode(), err)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOtherUser(t *testing.T) {
	t.Parallel()
	systemtest.Root(t)
	dir := openStore(t).Root()
	if err := os.Chown(dir, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); !refused(err, "belongs to user 12345", "run as the store's user") {
		t.Errorf("another user's store gives %v", err)
	}
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	real := w.file
	w.file = full
	_, err = io.Copy(w, bytes.NewReader([]byte(text)))
	w.file = real
	if !errors.Is(err, ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) || !refused(err, "no space left on the disk at "+s.Root()+": ", "free space there") {
		t.Errorf("a full disk gives %v", err)
	}
	if err := spaceError("/s", syscall.EDQUOT); !errors.Is(err, ErrNoSpace) {
		t.Errorf("a full quota gives %v", err)
	}
	if err := spaceError("/s", syscall.EIO); errors.Is(err, ErrNoSpace) {
		t.Errorf("another fault gives %v", err)
	}
}
