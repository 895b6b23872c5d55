package trials

import (
	"path/filepath"
	"strings"
	"testing"

	"ampoule/bench/internal/recorded"
)

func TestSdists(t *testing.T) {
	t.Parallel()
	trials, calls := faked(t, "FAKE_GATES=1", "FAKE_LOCK=1", "FAKE_NANOSECONDS=200000000000")
	f, err := trials.Sdists(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The fake compiles each of the recipe's eleven requirements in 3 s.
	if f.Value != 0.165 || f.Limit != limitSdists || f.When != "2026-05-04" || !strings.HasPrefix(f.Of, "11 sdists of web compiled by ampoule build: 33 s (the longest: ") {
		t.Errorf("figure %+v", f)
	}
	if got := recordedIn[recorded.Figure](t, trials, recorded.BenchFile); len(got) != 1 || got[0] != f {
		t.Errorf("recorded %+v", got)
	}
	all := strings.Join(verbs(t, calls), " ")
	if strings.Count(all, "build") != 2 || !strings.Contains(all, "install") {
		t.Errorf("called %s", all)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(trials.Store), "copy-*")); err != nil || len(left) > 0 {
		t.Errorf("copies of the store are left: %q, %v", left, err)
	}
}

func TestSdistsWithoutATime(t *testing.T) {
	t.Parallel()
	trials, _ := faked(t, "FAKE_GATES=1", "FAKE_LOCK=1")
	if _, err := trials.Sdists(t.Context()); err == nil || !strings.Contains(err.Error(), "the container told no time") {
		t.Errorf("got %v", err)
	}
}
