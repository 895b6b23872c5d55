package system

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"ampoule/faults"
)

func TestLocks(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	a, b, c := open(), open(), open()
	if err := LockFile(a, Shared); err != nil {
		t.Fatal(err)
	}
	if err := TryLockFile(b, Shared); err != nil {
		t.Errorf("a second one that shares: %v", err)
	}
	if err := TryLockFile(c, Exclusive); !errors.Is(err, ErrHeld) {
		t.Errorf("an exclusive one beside them: %v", err)
	}
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	if err := TryLockFile(c, Exclusive); err != nil {
		t.Errorf("an exclusive one alone: %v", err)
	}
	if err := TryLockFile(open(), Shared); !errors.Is(err, ErrHeld) {
		t.Errorf("one that shares beside an exclusive one: %v", err)
	}
}

func TestReplace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	broken := errors.New("broken")
	if err := WriteFile(name, []byte("one"), 0o604); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(name, []byte("two"), 0o604); err != nil {
		t.Fatal(err)
	}
	err := Replace(name, 0o600, func(w io.Writer) error {
		_, err := io.WriteString(w, "half")
		return errors.Join(err, broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("a writer that fails: %v", err)
	}
	text, err := os.ReadFile(name)
	if err != nil || string(text) != "two" {
		t.Errorf("the file is %q, %v", text, err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("beside it: %v, %v", all, err)
	}
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, err := OriginOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	moved := dir + "-moved"
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(moved) })
	f, err := os.Open(moved)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := OriginOfFile(f); err != nil || a != b {
		t.Errorf("moved: %+v, %+v, %v", a, b, err)
	}
	if b, err := OriginOf(t.TempDir()); err != nil || a == b {
		t.Errorf("another directory: %+v, %v", b, err)
	}
	if _, err := OriginOf(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is gone: %v", err)
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	if err := errors.Join(os.WriteFile(name, make([]byte, 5000), 0o600), os.Link(name, name+"2")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	st, ok := StatOf(info)
	if !ok || st.Links != 2 || st.Owner != os.Geteuid() || st.Inode == 0 || st.Taken < 5000 || st.Changed.Before(info.ModTime()) {
		t.Errorf("%+v, %v, written %v", st, ok, info.ModTime())
	}
	if free, err := Free(dir); err != nil || free == 0 {
		t.Errorf("free: %d, %v", free, err)
	}
	if kind, err := FileSystem("/proc"); err != nil || kind != 0x9fa0 {
		t.Errorf("/proc: %x, %v", kind, err)
	}
}

func TestLacks(t *testing.T) {
	t.Parallel()
	err := error(&Error{"a store", "darwin"})
	if faults.Of(err) != faults.Machine || !errors.Is(err, errors.ErrUnsupported) || err.Error() != "a store needs Linux, and this program is for macOS" {
		t.Errorf("%v: %v", faults.Of(err), err)
	}
}
