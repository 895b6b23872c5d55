package system

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
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
	if err := errors.Join(CloseLocked(a), CloseLocked(b)); err != nil {
		t.Fatal(err)
	}
	if err := TryLockFile(c, Exclusive); err != nil {
		t.Errorf("an exclusive one alone: %v", err)
	}
	if err := TryLockFile(open(), Shared); !errors.Is(err, ErrHeld) {
		t.Errorf("one that shares beside an exclusive one: %v", err)
	}
}

// A lock that is ended is ended, also while a child that is being started has the file, too.
func TestUnlockedForChildren(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "lock")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := TryLockFile(f, Exclusive); err != nil {
		t.Fatal(err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command("cat")
	child.Stdin, child.ExtraFiles = reader, []*os.File{f}
	if err := errors.Join(child.Start(), CloseLocked(f)); err != nil {
		t.Fatal(err)
	}
	again, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(TryLockFile(again, Exclusive), again.Close(), writer.Close(), reader.Close(), child.Wait()); err != nil {
		t.Error(err)
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

// Each kind of name is seen as Go's library sees it, and no link is followed.
func TestLooks(t *testing.T) {
	t.Parallel()
	name := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(name, "file"), []byte("text"), 0o600), os.Chmod(filepath.Join(name, "file"), 0o640|fs.ModeSetuid|fs.ModeSticky),
		os.Mkdir(filepath.Join(name, "dir"), 0o750), os.Symlink("file", filepath.Join(name, "link")), syscall.Mkfifo(filepath.Join(name, "pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	open := func(name string) *os.File {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	dir, devices := open(name), open("/dev")
	for _, of := range []struct {
		dir  *os.File
		name string
	}{{dir, "file"}, {dir, "dir"}, {dir, "link"}, {dir, "pipe"}, {devices, "null"}} {
		info, err := os.Lstat(filepath.Join(of.dir.Name(), of.name))
		if err != nil {
			t.Fatal(err)
		}
		st, _ := StatOf(info)
		want := Look{Mode: info.Mode(), Size: info.Size(), Inode: st.Inode, Owner: st.Owner, Written: info.ModTime(), Changed: st.Changed}
		if got, err := LookAt(RawOf(of.dir), of.name); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", of.name, got, err, want)
		}
	}
	if _, err := LookAt(RawOf(dir), "nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
	if _, err := OpenAt(RawOf(dir), "link", os.O_RDONLY, 0); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a link: %v", err)
	}
	f, err := OpenAt(RawOf(dir), "file", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := f.Look()
	if at, wrong := LookAt(RawOf(dir), "file"); err != nil || wrong != nil || at != seen {
		t.Errorf("open %+v, %v; by its name %+v, %v", seen, err, at, wrong)
	}
	written, err := f.Write([]byte("text"))
	if mode := f.SetMode(0o604); written != 4 || err != nil || mode != nil {
		t.Errorf("wrote %d, %v, %v", written, err, mode)
	}
	if changed, err := f.Look(); err != nil || changed.Mode != 0o604 {
		t.Errorf("with a mode: %+v, %v", changed, err)
	}
	again, wrong := OpenAt(RawOf(dir), "file", os.O_RDONLY, 0)
	if err := errors.Join(wrong, f.Close()); err != nil {
		t.Fatal(err)
	}
	f = again
	text := make([]byte, 8)
	n, err := f.Read(text)
	end, wrong := f.Read(text[n:])
	if string(text[:n]) != "text" || end != 0 || errors.Join(err, wrong, f.Close()) != nil {
		t.Errorf("read %q, then %d; %v, %v", text[:n], end, err, wrong)
	}
}

func TestLacks(t *testing.T) {
	t.Parallel()
	err := error(&Error{"a store", "darwin"})
	if faults.Of(err) != faults.Machine || !errors.Is(err, errors.ErrUnsupported) || err.Error() != "a store needs Linux, and this program is for macOS" {
		t.Errorf("%v: %v", faults.Of(err), err)
	}
}
