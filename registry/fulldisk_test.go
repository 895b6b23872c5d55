package registry_test

import (
	"errors"
	"maps"
	"os"
	"slices"
	"syscall"
	"testing"

	"ampoule/faults"
	"ampoule/system/systemtest"
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
				s := copyFrom(t, full, systemtest.Disk(t, "2m"))
				filler := systemtest.Fill(t, s.dir, room)
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
