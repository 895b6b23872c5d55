package table

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"ampoule/bench/internal/recorded"
)

// Bootstrap intervals are of so many samples, and of this part of them.
const (
	bootstrapSamples = 2000
	bootstrapPart    = 0.95
)

// faster is from which ratio on a peer counts as faster with a benchmark.
const faster = 1.02

// measurement is what all peers took for one thing.
type measurement struct {
	name  string
	peers map[string][]float64
}

// writePeers compares the speed of interpreters.
func writePeers(b *strings.Builder, results []recorded.Peer) {
	marks, starts := measurements(results)
	if len(marks)+len(starts) == 0 {
		return
	}
	when := ""
	for _, r := range results {
		when = max(when, r.When)
	}
	fmt.Fprintf(b, `
## Speed of interpreters

`+"`make peers`"+` runs the default set of pyperformance, in its default mode, by several interpreters in one Debian 13, which take turns with each
benchmark. *Speed* is Debian's time divided by the interpreter's: the geometric mean of %d measurements that all have, with the
interval of a bootstrap over processes (%d samples, %.0f %%). *Faster* counts the measurements with which Debian's is more than 2 %% faster. The last was on %s.

| interpreter | speed | interval | Debian's is faster |
|---|--:|---|--:|
`, len(marks), bootstrapSamples, 100*bootstrapPart, when)
	for _, peer := range peerNames(results) {
		if peer == recorded.PeerBase || len(marks) == 0 {
			continue
		}
		low, high := bootstrap(marks, peer)
		slower := slices.DeleteFunc(slices.Clone(marks), func(m measurement) bool { return average(m.peers[peer]) < faster*average(m.peers[recorded.PeerBase]) })
		row(b, peer, fmt.Sprintf("%.3f", speed(marks, peer)), fmt.Sprintf("%.3f–%.3f", low, high), fmt.Sprint(len(slower)))
	}
	writeLosses(b, marks)
	writePeerStarts(b, starts, peerNames(results))
}

// peerNames lists the interpreters, Debian's first.
func peerNames(results []recorded.Peer) []string {
	names := map[string]bool{}
	for _, r := range results {
		names[r.Peer] = true
	}
	return slices.SortedFunc(maps.Keys(names), func(x, y string) int {
		if (x == recorded.PeerBase) != (y == recorded.PeerBase) {
			return map[bool]int{true: -1, false: 1}[x == recorded.PeerBase]
		}
		return cmp.Compare(x, y)
	})
}

// measurements gives what all peers have, sorted by name: of benchmarks, and of starts.
func measurements(results []recorded.Peer) (marks, starts []measurement) {
	all := map[string]map[string][]float64{}
	isStart := map[string]bool{}
	for _, r := range results {
		for name, values := range r.Values {
			if all[name] == nil {
				all[name] = map[string][]float64{}
			}
			all[name][r.Peer] = values
			isStart[name] = r.Benchmark == recorded.PeerStarts
		}
	}
	peers := len(peerNames(results))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		switch m := (measurement{name, all[name]}); {
		case len(m.peers) < peers:
		case isStart[name]:
			starts = append(starts, m)
		default:
			marks = append(marks, m)
		}
	}
	return marks, starts
}

func average(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// speed is the geometric mean of how many times as fast a peer is as the base.
func speed(marks []measurement, peer string) float64 {
	sum := 0.0
	for _, m := range marks {
		sum += math.Log(average(m.peers[recorded.PeerBase]) / average(m.peers[peer]))
	}
	return math.Exp(sum / float64(len(marks)))
}

// bootstrap is an interval of the speed, over the processes that were measured (Efron and
// Tibshirani, An Introduction to the Bootstrap, the percentile interval).
func bootstrap(marks []measurement, peer string) (low, high float64) {
	// The same results give the same page.
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // nobody gains by guessing it
	drawn := func(values []float64) float64 {
		sum := 0.0
		for range values {
			sum += values[random.IntN(len(values))]
		}
		return sum / float64(len(values))
	}
	speeds := make([]float64, bootstrapSamples)
	for i := range speeds {
		sum := 0.0
		for _, m := range marks {
			sum += math.Log(drawn(m.peers[recorded.PeerBase]) / drawn(m.peers[peer]))
		}
		speeds[i] = math.Exp(sum / float64(len(marks)))
	}
	slices.Sort(speeds)
	tail := int((1 - bootstrapPart) / 2 * bootstrapSamples)
	return speeds[tail], speeds[len(speeds)-1-tail]
}

// writeLosses lists each benchmark with which a peer is faster than the best of Ampoule's.
func writeLosses(b *strings.Builder, marks []measurement) {
	var lines []string
	for _, m := range marks {
		best := math.Inf(1)
		for name, values := range m.peers {
			if strings.HasPrefix(name, recorded.PeerOurs) {
				best = min(best, average(values))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(m.peers)) {
			if ratio := best / average(m.peers[name]); !strings.HasPrefix(name, recorded.PeerOurs) && !math.IsInf(best, 1) && ratio > faster {
				lines = append(lines, fmt.Sprintf("| %s | %s | %.2f |\n", code(m.name), name, ratio))
			}
		}
	}
	if len(lines) == 0 {
		return
	}
	b.WriteString("\nMeasurements with which a peer is more than 2 % faster than the best of Ampoule's interpreters:\n\n| measurement | peer | times as fast |\n|---|---|--:|\n" + strings.Join(lines, ""))
}

// writePeerStarts tells what starting takes: the median of all starts.
func writePeerStarts(b *strings.Builder, starts []measurement, peers []string) {
	if len(starts) == 0 {
		return
	}
	b.WriteString("\nMedians of starts in turns, and the largest resident set of these processes:\n\n| |")
	for _, peer := range peers {
		b.WriteString(" " + peer + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("--:|", len(peers)) + "\n")
	for _, m := range starts {
		cells := []string{m.name}
		for _, peer := range peers {
			values := slices.Sorted(slices.Values(m.peers[peer]))
			cells = append(cells, fmt.Sprintf("%.4g", values[len(values)/2]))
		}
		row(b, cells...)
	}
}
