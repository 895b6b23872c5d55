package registry_test

import (
	"bufio"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// kills is how often a process is killed in each deed.
const kills = 3

// Processes are killed at any moment of each deed. What was there stays, nothing is there by halves,
// and the deed can be done again and leaves nothing unfinished.
func TestKilled(t *testing.T) {
	t.Parallel()
	full := newShelf(t, t.TempDir())
	full.fill()
	for _, deed := range slices.Sorted(maps.Keys(deeds)) {
		t.Run(deed, func(t *testing.T) {
			t.Parallel()
			took := copyFrom(t, full, t.TempDir()).runDeed(deed, time.Minute)
			for range kills {
				after := rand.N(took) //nolint:gosec // any moment will do
				s := copyFrom(t, full, t.TempDir())
				ran := s.runDeed(deed, after)
				if err := s.endsWell(t.Context(), deed, false); err != nil {
					t.Errorf("killed after %s, of %s when undisturbed: %v", ran, took, err)
				}
			}
		})
	}
}

// runDeed has another process do a deed, and kills it after a time. It returns how long that took.
func (s *shelf) runDeed(deed string, after time.Duration) time.Duration {
	s.t.Helper()
	cmd := s.process(deed)
	out, err := cmd.StdoutPipe()
	s.must(err)
	s.must(cmd.Start())
	lines := bufio.NewReader(out)
	for line := ""; line != deedBegins; {
		line, err = lines.ReadString('\n')
		s.must(err)
	}
	begun := time.Now()
	killer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	for err == nil {
		_, err = lines.ReadString('\n')
	}
	took := time.Since(begun)
	if killer.Stop() {
		s.must(cmd.Wait())
	} else if err := cmd.Wait(); err == nil {
		s.t.Logf("%s: it ended before it was killed", deed)
	}
	return took
}
