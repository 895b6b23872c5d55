package registry_test

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"ampoule/internal/powerloss"
)

// How often the power goes, and where that is recorded (make powerloss).
var (
	losses = flag.Int("losses", 12, "how often the power goes in each deed")
	record = flag.String("record", "", "the file of results: deeds that are in it are left out")
)

// lossResult is what came of one deed.
type lossResult struct {
	// Name is the deed.
	Name string `json:"name"`
	When string `json:"when"`
	// Calls are those of the deed that change files or put them on disk, Losses how often the power went
	// between them, Failed how often something was gone or there by halves.
	Calls  int `json:"calls"`
	Losses int `json:"losses"`
	Failed int `json:"failed"`
}

// The power goes at moments of each deed. What was there stays, nothing is there by halves, and
// the deed can be done again.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	book := openLosses(t)
	for _, deed := range slices.Sorted(maps.Keys(deeds)) {
		if book.has(deed) {
			t.Logf("%s: it is recorded", deed)
			continue
		}
		t.Run(deed, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t, t.TempDir())
			s.fill()
			recording, err := powerloss.Record(t.Context(), s.dir, s.process(deed))
			s.must(err)
			result := lossResult{Name: deed, When: time.Now().UTC().Format(time.DateOnly), Calls: recording.Len() - 1, Losses: *losses}
			for i := range *losses {
				moment := (recording.Len() - 1) * (i + 1) / *losses
				loss := powerloss.Losses[i%len(powerloss.Losses)]
				if err := lose(t, recording, deed, moment, loss, uint64(i)); err != nil {
					t.Errorf("behind call %d of %d, %s is lost: %v", moment, recording.Len()-1, loss, err)
					result.Failed++
				}
			}
			book.put(result)
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

// lossBook is the file of results.
type lossBook struct {
	t    *testing.T
	mu   sync.Mutex
	done map[string]lossResult
}

func openLosses(t *testing.T) *lossBook {
	t.Helper()
	b := &lossBook{t: t, done: map[string]lossResult{}}
	if *record == "" {
		return b
	}
	raw, err := os.ReadFile(*record)
	if errors.Is(err, fs.ErrNotExist) {
		return b
	}
	var all []lossResult
	if err := errors.Join(err, json.Unmarshal(raw, &all)); err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		b.done[r.Name] = r
	}
	return b
}

// has reports whether a deed went through as often as is wanted.
func (b *lossBook) has(deed string) bool {
	return b.done[deed].Losses >= *losses && b.done[deed].Failed == 0
}

// put writes all results.
func (b *lossBook) put(r lossResult) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done[r.Name] = r
	if *record == "" {
		return
	}
	all := []lossResult{}
	for _, name := range slices.Sorted(maps.Keys(b.done)) {
		all = append(all, b.done[name])
	}
	raw, err := json.MarshalIndent(all, "", "  ")
	if err == nil {
		err = os.WriteFile(*record, append(raw, '\n'), 0o644)
	}
	if err != nil {
		b.t.Error(err)
	}
}
