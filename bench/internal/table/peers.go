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
	ran := slices.DeleteFunc(slices.Clone(results), func(r recorded.Peer) bool { return r.Benchmark == recorded.PeerStarts })
	started := slices.DeleteFunc(slices.Clone(results), func(r recorded.Peer) bool { return r.Benchmark != recorded.PeerStarts })
	marks, starts := measurements(ran), measurements(started)
	if len(marks)+len(starts) == 0 {
		return
	}
	b.WriteString("\n## Speed of interpreters\n")
	writeSpeeds(b, marks, ran)
	writePeerStarts(b, starts, started)
}

// lastDay is the day of the last of some results.
func lastDay(results []recorded.Peer) string {
	when := ""
	for _, r := range results {
		when = max(when, r.When)
	}
	return when
}

// writeSpeeds tells how fast benchmarks ran.
func writeSpeeds(b *strings.Builder, marks []measurement, results []recorded.Peer) {
	if len(marks) == 0 {
		return
	}
	fmt.Fprintf(b, `
`+"`make peers`"+` runs the default set of pyperformance, in its default mode, by several interpreters in one Debian 13, which take turns with each
benchmark. *Speed* is Debian's time divided by the interpreter's: the geometric mean of %d measurements that all have, with the
interval of a bootstrap over processes (%d samples, %.0f %%). *Faster* counts the measurements with which Debian's is more than 2 %% faster. The last was on %s.

| interpreter | speed | interval | Debian's is faster |
|---|--:|---|--:|
`, len(marks), bootstrapSamples, 100*bootstrapPart, lastDay(results))
	for _, peer := range peerNames(results) {
		if peer == recorded.PeerBase {
			continue
		}
		low, high := bootstrap(marks, peer)
		slower := slices.DeleteFunc(slices.Clone(marks), func(m measurement) bool { return average(m.peers[peer]) < faster*average(m.peers[recorded.PeerBase]) })
		row(b, peer, fmt.Sprintf("%.3f", speed(marks, peer)), fmt.Sprintf("%.3f–%.3f", low, high), fmt.Sprint(len(slower)))
	}
	writeLosses(b, marks)
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

// measurements gives what all peers have, sorted by name.
func measurements(results []recorded.Peer) []measurement {
	all := map[string]map[string][]float64{}
	for _, r := range results {
		for name, values := range r.Values {
			if all[name] == nil {
				all[name] = map[string][]float64{}
			}
			all[name][r.Peer] = values
		}
	}
	peers := len(peerNames(results))
	var measured []measurement
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if len(all[name]) == peers {
			measured = append(measured, measurement{name, all[name]})
		}
	}
	return measured
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
func writePeerStarts(b *strings.Builder, starts []measurement, results []recorded.Peer) {
	if len(starts) == 0 {
		return
	}
	peers := peerNames(results)
	fmt.Fprintf(b, "\nStarts in turns in that Debian, each in an environment (`venv`) with what the `web` recipe requires (`make peers BENCHMARKS=%s`, last on %s). The values are medians. "+
		"*Resident* is what a process has in memory then, *written* what of that it shares with no other process, because it has written there:\n\n| |", recorded.PeerStarts, lastDay(results))
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
