package trials

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ampoule/bench/internal/recorded"
)

func TestGate(t *testing.T) {
	t.Parallel()
	trials, calls := faked(t, "FAKE_GATES=1", "FAKE_LOCK=1")
	f, err := trials.Gate(t.Context(), trials.Ampoule, 2)
	if err != nil {
		t.Fatal(err)
	}
	if f.Value != 1 || f.Limit != limitGate || f.When != "2026-05-04" || !strings.Contains(f.Of, "gate 4.0 s, publication 2.0 s, together 7.0 s; the program before: gate 4.0 s") {
		t.Errorf("figure %+v", f)
	}
	if got := recordedIn[recorded.Figure](t, trials, recorded.BenchFile); len(got) != 1 || got[0] != f {
		t.Errorf("recorded %+v", got)
	}
	if n := strings.Count(strings.Join(verbs(t, calls), " "), "build"); n != 5 {
		t.Errorf("%d builds", n)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(trials.Store), "copy-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("copies of the store are left: %q, %v", left, err)
	}
	if _, err := os.Stat(trials.Store); err != nil {
		t.Error(err)
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	of := func(s time.Duration) gated { return gated{both: s * time.Second} }
	if got := median([]gated{of(9), of(1), of(2)}); got != of(2) {
		t.Errorf("got %v", got)
	}
}
