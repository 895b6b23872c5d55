// Package systemtest has small disks for tests of full ones.
package systemtest

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Mount mounts a file system in memory over a directory until the test ends, with options of tmpfs(5) such as
// size=2m. Only root can; the tests of others are skipped, which they tell.
func Mount(t testing.TB, dir, options string) {
	t.Helper()
	Root(t)
	mount(t, "-t", "tmpfs", "-o", options, "ampoule-test", dir)
	unmounted(t, dir)
}

// Disk is a directory with a file system in memory of a size of tmpfs(5), such as 2m, until the test ends.
func Disk(t testing.TB, size string) string {
	t.Helper()
	dir := t.TempDir()
	Mount(t, dir, "size="+size+",mode=0700")
	return dir
}

// Resize gives a file system of [Mount] another size.
func Resize(t testing.TB, dir, size string) {
	t.Helper()
	mount(t, "-o", "remount,size="+size, dir)
}

// ReadOnly has nobody write below a directory until the test ends.
func ReadOnly(t testing.TB, dir string) {
	t.Helper()
	Root(t)
	mount(t, "--bind", dir, dir)
	unmounted(t, dir)
	mount(t, "-o", "remount,ro,bind", dir)
}

// Fill fills the disk of a directory but for some bytes, by the file that it gives the path of.
func Fill(t testing.TB, dir string, room int64) (filler string) {
	t.Helper()
	filler = filepath.Join(dir, "filler")
	f, err := os.Create(filler) //nolint:gosec // a test names it
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// In pieces that are smaller than what is left of a disk that is nearly full.
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, io.LimitReader(zeros{}, most), make([]byte, 4<<10))
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk took %d bytes: %v", n, err)
	}
	if err := f.Truncate(max(0, n-room)); err != nil {
		t.Fatal(err)
	}
	return filler
}

// most bounds what [Fill] writes, in bytes: a disk of a test is smaller.
const most = 1 << 30

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Root skips a test that only root can run.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can do what this test does first")
	}
}

func unmounted(t testing.TB, dir string) {
	t.Cleanup(func() { _ = exec.Command("umount", "--lazy", dir).Run() }) //nolint:gosec,noctx // the directory of a test, whose context has ended
}

func mount(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "mount", args...).CombinedOutput(); err != nil { //nolint:gosec // a test names them
		t.Fatalf("mount: %v\n%s", err, out)
	}
}
