package table

import (
	"fmt"
	"strings"
	"testing"

	"ampoule/bench/internal/recorded"
)

// TestLosses: what a peer is faster with than the fastest of Ampoule's is listed.
func TestLosses(t *testing.T) {
	t.Parallel()
	const fast, slow = recorded.PeerOurs + "fast", recorded.PeerOurs + "slow"
	marks := []measurement{
		{"chaos", map[string][]float64{recorded.PeerBase: {1, 1, 1, 1}, fast: {0.5, 0.5, 0.5, 0.5}, slow: {1, 1, 1, 1}}},
		{"go", map[string][]float64{recorded.PeerBase: {1, 1, 1, 1}, fast: {1.25, 1.25, 1.25, 1.25}, slow: {0.9, 0.9, 0.9, 0.9}}},
		{"nbody", map[string][]float64{recorded.PeerBase: {1, 1, 1, 1}, fast: {1.01, 1.01, 1.01, 1.01}, slow: {1, 1, 1, 1}}},
	}
	var b strings.Builder
	writeLosses(&b, marks, []string{recorded.PeerBase, fast, slow})
	if got := b.String(); !strings.Contains(got, "faster than "+fast) || !strings.HasSuffix(got, "|---|---|--:|---|\n| `go` | "+recorded.PeerBase+" | 1.25 | 1.25–1.25 |\n") {
		t.Error(got)
	}
	b.Reset()
	writeLosses(&b, marks[:1], []string{recorded.PeerBase, fast})
	writeLosses(&b, marks, []string{recorded.PeerBase})
	if b.Len() > 0 {
		t.Errorf("nothing is lost: %s", b.String())
	}
}

// TestBootstrapPairs: what slows down two processes that ran at one time is not taken for a difference.
func TestBootstrapPairs(t *testing.T) {
	t.Parallel()
	marks := []measurement{{"chaos", map[string][]float64{recorded.PeerBase: {1, 2, 3, 4}, "paired": {2, 4, 6, 8}, "reversed": {8, 6, 4, 2}, "one": {5}}}}
	if low, high := bootstrap(marks, "paired", recorded.PeerBase); low != 0.5 || high != 0.5 {
		t.Errorf("pairs that differ by a factor have %v to %v", low, high)
	}
	for _, peer := range []string{"reversed", "one"} {
		if low, high := bootstrap(marks, peer, recorded.PeerBase); low >= 0.5 || high <= 0.5 {
			t.Errorf("%s has %v to %v", peer, low, high)
		}
	}
}

// Measurements of what Debian's standard library does in another way count, and the speed without them is told beside.
func TestSameLibrary(t *testing.T) {
	t.Parallel()
	peers := []string{recorded.PeerBase, "pyenv"}
	marks := []measurement{
		{"chaos", map[string][]float64{recorded.PeerBase: {1, 1}, "pyenv": {1.25, 1.25}}},
		{otherLibrary[0], map[string][]float64{recorded.PeerBase: {1, 1}, "pyenv": {5, 5}}},
	}
	var b strings.Builder
	writeSameLibrary(&b, marks, peers)
	if !strings.HasSuffix(b.String(), ": pyenv 0.800 (0.800–0.800).\n") {
		t.Errorf("it says %q", b.String())
	}
	b.Reset()
	writeSameLibrary(&b, marks[:1], peers)
	writeSameLibrary(&b, marks[1:], peers)
	if b.Len() > 0 {
		t.Errorf("where nothing differs, or all does, it says %q", b.String())
	}
}

// TestBuilds: an interpreter that changed between its benchmarks is named, and one that did not is not.
func TestBuilds(t *testing.T) {
	t.Parallel()
	results := []recorded.Peer{}
	for i, executable := range []string{"old", "new", "new", ""} {
		o := recorded.Outcome{Passed: i < 3}
		results = append(results, recorded.Peer{Benchmark: fmt.Sprint(i), Peer: "ampoule embed", Outcome: o, Executable: executable},
			recorded.Peer{Benchmark: fmt.Sprint(i), Peer: "ampoule static", Outcome: o, Executable: "new"},
			recorded.Peer{Benchmark: fmt.Sprint(i), Peer: "pyenv", Outcome: o})
	}
	var b strings.Builder
	writeBuilds(&b, results)
	if want := "executable: ampoule embed (2 1).\n"; !strings.HasSuffix(b.String(), want) {
		t.Errorf("%q, want %q", b.String(), want)
	}
	b.Reset()
	writeBuilds(&b, results[1:3])
	if b.Len() > 0 {
		t.Errorf("%q of what did not change", b.String())
	}
}

// TestGoals: the fastest of ours is held against each goal, and nothing is said where none of ours is measured.
func TestGoals(t *testing.T) {
	t.Parallel()
	const fast, slow = recorded.PeerOurs + "fast", recorded.PeerOurs + "slow"
	marks := []measurement{{"chaos", map[string][]float64{recorded.PeerBase: {1.04}, "pyenv": {1.4}, fast: {1}, slow: {2}}}}
	var b strings.Builder
	writeGoals(&b, marks, []string{recorded.PeerBase, fast, slow, "pyenv"})
	want := "\nGoals for the fastest, which is ampoule fast: 1.05 times as fast as debian (missed: 1.040), 1.35 times as fast as pyenv (reached: 1.400).\n"
	if b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	b.Reset()
	writeGoals(&b, marks, []string{recorded.PeerBase, "pyenv"})
	if b.Len() > 0 {
		t.Errorf("%q without one of ours", b.String())
	}
}

func TestOfSet(t *testing.T) {
	t.Parallel()
	one := recorded.Peer{Benchmark: "chaos", Outcome: recorded.Outcome{Passed: true}}
	for set, want := range map[int]string{0: "1 benchmarks", 1: "all its 1 benchmarks", 97: "1 of its 97 benchmarks; the others are still to be run"} {
		one.Set = set
		if got := ofSet([]recorded.Peer{one}); got != want {
			t.Errorf("%d: %q, want %q", set, got, want)
		}
	}
}
