package store

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// childVariable makes the test binary a process that uses a store until it is killed.
const childVariable = "STORE_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		if err := child(dir); err != nil {
			fmt.Println("fault:", err)
			os.Exit(1)
		}
		return
	}
	if dir := os.Getenv(pinsVariable); dir != "" {
		if err := useStore(context.Background(), dir); err != nil {
			fmt.Println("fault:", err)
			os.Exit(1)
		}
		return
	}
	if dir := os.Getenv(notedVariable); dir != "" {
		if err := holdNoted(context.Background(), dir); err != nil {
			fmt.Println("fault:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child holds a lock, a started content, a partial content and a temporary directory,
// says so, and puts content without end.
func child(dir string) error {
	s, err := Open(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	unlock, err := s.Lock(ctx, "child")
	if err != nil {
		return err
	}
	// What nothing refers to any more is dropped with its file by the garbage collector.
	defer unlock()
	w, err := s.Create(ctx)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	p, err := s.Resume(ctx, textSum)
	if err != nil {
		return err
	}
	defer p.Abort()
	if _, err := io.WriteString(p, text); err != nil {
		return err
	}
	tmp, remove, err := s.TempDir()
	if err != nil {
		return err
	}
	defer func() { _ = remove() }()
	if err := os.WriteFile(filepath.Join(tmp, "file"), nil, 0o600); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(tmp, "read-only"), 0o555); err != nil {
		return err
	}
	for i := 0; ; i++ {
		if _, _, err := s.Put(ctx, strings.NewReader(strings.Repeat(fmt.Sprint(i), 50_000))); err != nil {
			return err
		}
		if err := s.Record("number", "last", i); err != nil {
			return err
		}
		if i == 0 {
			fmt.Println("ready")
		}
	}
}

func TestKill(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+s.Root())
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
	// While it lives, nothing of it is swept and its lock holds.
	if _, err := Open(s.Root()); err != nil {
		t.Fatal(err)
	}
	names := temporary(t, s)
	for _, prefix := range []string{writerPrefix, dirPrefix, partialPrefix} {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, prefix) }) {
			t.Errorf("a living process lost its %s: %v", prefix, names)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if unlock, err := s.Lock(ctx, "child"); err == nil {
		unlock()
		t.Error("a living process lost its lock")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the child ended by itself")
	}
	checkAfterKill(t, s)
}

func checkAfterKill(t *testing.T, s *Store) {
	t.Helper()
	if _, err := Open(s.Root()); err != nil {
		t.Fatal(err)
	}
	left := temporary(t, s)
	if want := []string{partialPrefix + textSum}; !slices.Equal(left, want) {
		t.Errorf("after the sweep there is %v, want %v", left, want)
	}
	w, err := s.Resume(t.Context(), textSum)
	if err != nil || w.Size() != int64(len(text)) {
		t.Fatalf("the partial content has %d bytes, %v", w.Size(), err)
	}
	w.Abort()
	unlock, err := s.Lock(t.Context(), "child")
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	files, err := filepath.Glob(filepath.Join(s.Root(), contentDir, "*", "*"))
	if err != nil || len(files) == 0 {
		t.Errorf("the child stored %v, %v", files, err)
	}
	for _, file := range files {
		if err := s.Verify(t.Context(), filepath.Base(file)); err != nil {
			t.Error(err)
		}
	}
	var last int
	if ok, err := s.Lookup("number", "last", &last); err != nil {
		t.Errorf("record: %v, %v", ok, err)
	}
}

// A process killed while it commits may leave its partial content read-only.
func TestResumeReadOnly(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	path := filepath.Join(s.Dir(Tmp), partialPrefix+textSum)
	write(t, s.Dir(Tmp), partialPrefix+textSum, text)
	if err := os.Chmod(path, 0o444); err != nil {
		t.Fatal(err)
	}
	// Root may write to it in any case, so the mode is what is looked at.
	if err := makeWritable(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	w, err := s.Resume(t.Context(), textSum)
	if err != nil || w.Size() != int64(len(text)) {
		t.Fatalf("resumed at %d, %v", w.Size(), err)
	}
	w.Abort()
	if err := makeWritable(t.Context(), path); err != nil {
		t.Errorf("a file that is gone gives %v", err)
	}
}

func TestSweepAges(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	old := time.Now().Add(-keepPartial - time.Hour)
	for _, name := range []string{"foreign-old", "foreign-new", partialPrefix + "old", partialPrefix + "new", writerPrefix + "new"} {
		write(t, s.Dir(Tmp), name, "")
		if strings.HasSuffix(name, "-old") {
			if err := os.Chtimes(filepath.Join(s.Dir(Tmp), name), old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := Open(s.Root()); err != nil {
		t.Fatal(err)
	}
	want := []string{"foreign-new", partialPrefix + "new"}
	if got := temporary(t, s); !slices.Equal(got, want) {
		t.Errorf("left %v, want %v", got, want)
	}
}

func TestTemporary(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	dir, remove, err := s.TempDir()
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "file", "")
	if _, err := Open(s.Root()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "file")); err != nil {
		t.Errorf("swept while in use: %v", err)
	}
	f, err := s.TempFile()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.WriteString(f, text); err != nil {
		t.Error(err)
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
	if names := temporary(t, s); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
}
