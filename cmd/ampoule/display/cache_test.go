package display

import (
	"strings"
	"testing"
	"time"

	"ampoule/builder/progress"
)

// What came from a cache says so, without the control characters that a name may have.
func TestFromCache(t *testing.T) {
	t.Parallel()
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	start := progress.Event{Time: begun, Kind: progress.Started, Stage: progress.StageWheel, Task: "numpy==2.3.1"}
	done := progress.Event{Time: begun.Add(time.Second), Kind: progress.Done, Stage: progress.StageWheel, Task: "numpy==2.3.1", Reused: true, Cache: "registry.example/cache\x1b[2J"}
	for name, d := range map[string]interface{ event(progress.Event) string }{"plain": &plain{}, "terminal": &terminal{}} {
		d.event(start)
		if got := d.event(done); !strings.Contains(got, "ready") || !strings.Contains(got, `from cache registry.example/cache\x1b[2J`) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
