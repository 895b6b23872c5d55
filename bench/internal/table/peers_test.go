package table

import (
	"strings"
	"testing"

	"ampoule/bench/internal/recorded"
)

// TestLosses: what a peer is faster with than the fastest of Ampoule's is listed, by what nothing disturbed.
func TestLosses(t *testing.T) {
	t.Parallel()
	const fast, slow = recorded.PeerOurs + "fast", recorded.PeerOurs + "slow"
	marks := []measurement{
		{"chaos", map[string][]float64{recorded.PeerBase: {1, 1, 1, 1}, fast: {0.5, 0.5, 4, 4}, slow: {1, 1, 1, 1}}},
		{"go", map[string][]float64{recorded.PeerBase: {1, 1, 1, 1}, fast: {1.25, 1.25, 1.25, 1.25}, slow: {0.9, 0.9, 0.9, 0.9}}},
		{"nbody", map[string][]float64{recorded.PeerBase: {1, 1, 1, 1}, fast: {1.01, 1.01, 1.01, 1.01}, slow: {1, 1, 1, 1}}},
	}
	var b strings.Builder
	writeLosses(&b, marks, []string{recorded.PeerBase, fast, slow})
	if got := b.String(); !strings.Contains(got, "faster than "+fast) || !strings.HasSuffix(got, "|---|---|--:|\n| `go` | "+recorded.PeerBase+" | 1.25 |\n") {
		t.Error(got)
	}
	b.Reset()
	writeLosses(&b, marks[:1], []string{recorded.PeerBase, fast})
	writeLosses(&b, marks, []string{recorded.PeerBase})
	if b.Len() > 0 {
		t.Errorf("nothing is lost: %s", b.String())
	}
}
