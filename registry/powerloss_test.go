package registry_test

import (
	"flag"
	"maps"
	"os"
	"slices"
	"testing"

	"ampoule/internal/powerloss"
)

// How often the power goes, and where that is recorded (make powerloss).
var (
	losses = flag.Int("losses", 12, "how often the power goes in each deed")
	record = flag.String("record", "", "the file of results: deeds that are in it are left out")
)

// The power goes at moments of each deed. What was there stays, nothing is there by halves, and
// the deed can be done again.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	book, err := powerloss.OpenBook(*record)
	if err != nil {
		t.Fatal(err)
	}
	for _, deed := range slices.Sorted(maps.Keys(deeds)) {
		if book.Has(deed, *losses) {
			t.Logf("%s: it is recorded", deed)
			continue
		}
		t.Run(deed, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t, t.TempDir())
			s.fill()
			recording, err := powerloss.Record(t.Context(), s.dir, s.process(deed))
			s.must(err)
			result := powerloss.Result{Name: deed, Calls: recording.Len() - 1, Losses: *losses}
			for i := range *losses {
				moment := (recording.Len() - 1) * (i + 1) / *losses
				loss := powerloss.Losses[i%len(powerloss.Losses)]
				if err := lose(t, recording, deed, moment, loss, uint64(i)); err != nil {
					t.Errorf("behind call %d of %d, %s is lost: %v", moment, recording.Len()-1, loss, err)
					result.Failed++
				}
			}
			s.must(book.Put(result))
		})
	}
}

// lose has the power go at a moment, looks at the disk, and does the deed again.
func lose(t *testing.T, recording *powerloss.Recording, deed string, moment int, loss powerloss.Loss, seed uint64) error {
	t.Helper()
	s := newShelf(t, t.TempDir())
	defer os.RemoveAll(s.dir) // a thousand of them would be many at the end
	if err := recording.Crash(moment, loss, seed, s.dir); err != nil {
		return err
	}
	return s.endsWell(t.Context(), deed, moment == recording.Len()-1)
}
