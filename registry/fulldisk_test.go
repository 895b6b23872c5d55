package registry_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"ampoule/faults"
)

// TestFullDisk fills the disk but for a few bytes before each deed. It is told, what was there stays
// and can be read, and with room again the deed ends well.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	full := newShelf(t, t.TempDir())
	full.fill()
	for _, deed := range slices.Sorted(maps.Keys(deeds)) {
		t.Run(deed, func(t *testing.T) {
			t.Parallel()
			failed := 0
			for _, room := range []int64{0, 4 << 10, 12 << 10, 40 << 10} {
				s := copyFrom(t, full, smallDisk(t))
				filler := s.fillDisk(room)
				err := deeds[deed](t.Context(), s)
				if err != nil {
					failed++
				}
				if err != nil && (!errors.Is(err, syscall.ENOSPC) || faults.Of(err) != faults.Machine) {
					t.Errorf("with %d bytes: %v of kind %v", room, err, faults.Of(err))
				}
				if err := s.check(t.Context(), err == nil, deed); err != nil {
					t.Errorf("with %d bytes, while it is full: %v", room, err)
				}
				s.must(os.Remove(filler))
				if err := s.endsWell(t.Context(), deed, err == nil); err != nil {
					t.Errorf("with %d bytes, with room again: %v", room, err)
				}
			}
			if failed == 0 && deed != "collecting" {
				t.Error("it never failed")
			}
		})
	}
}

// smallDisk mounts a file system of a few MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=2m,mode=0755", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("mounting needs rights that this user lacks: %s", out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "--lazy", dir).Run() })
	return dir
}

// fillDisk fills the disk but for some bytes, and returns the file that does.
func (s *shelf) fillDisk(room int64) string {
	s.t.Helper()
	file := filepath.Join(s.dir, "filler")
	f, err := os.Create(file)
	s.must(err)
	defer f.Close()
	n, err := io.Copy(f, io.LimitReader(zeros{}, 16<<20))
	if !errors.Is(err, syscall.ENOSPC) {
		s.t.Fatal(fmt.Errorf("the disk took %d bytes: %w", n, err))
	}
	info, err := f.Stat()
	s.must(err)
	s.must(f.Truncate(info.Size() - room))
	return file
}

// zeros has no end.
type zeros struct{}

// Read implements [io.Reader].
func (zeros) Read(b []byte) (int, error) { return copy(b, bytes.Repeat([]byte{0}, len(b))), nil }
