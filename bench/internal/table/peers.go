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
interval of a bootstrap over processes (%d samples, %.0f %%). The first is of means, as pyperformance compares them, the second of lower quartiles, which other work
on the machine or its host disturbs less. *Faster* counts the measurements of which Debian's lower quartile is more than 2 %% faster. The last was on %s.

| interpreter | speed by means | interval | speed by quartiles | interval | Debian's is faster |
|---|--:|---|--:|---|--:|
`, len(marks), bootstrapSamples, 100*bootstrapPart, lastDay(results))
	for _, peer := range peerNames(results) {
		if peer == recorded.PeerBase {
			continue
		}
		cells := []string{peer}
		for _, of := range []statistic{average, quartile} {
			low, high := bootstrap(marks, peer, of)
			cells = append(cells, fmt.Sprintf("%.3f", speed(marks, peer, of)), fmt.Sprintf("%.3f–%.3f", low, high))
		}
		row(b, append(cells, fmt.Sprint(len(losses(marks, peer, recorded.PeerBase))))...)
	}
	writeLosses(b, marks, peerNames(results))
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

// statistic is one figure of some values.
type statistic func(values []float64) float64

func average(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// quartile is the lower one.
func quartile(values []float64) float64 {
	return slices.Sorted(slices.Values(values))[(len(values)-1)/4]
}

// speed is the geometric mean of how many times as fast a peer is as the base.
func speed(marks []measurement, peer string, of statistic) float64 {
	sum := 0.0
	for _, m := range marks {
		sum += math.Log(of(m.peers[recorded.PeerBase]) / of(m.peers[peer]))
	}
	return math.Exp(sum / float64(len(marks)))
}

// bootstrap is an interval of the speed, over the processes that were measured (Efron and
// Tibshirani, An Introduction to the Bootstrap, the percentile interval).
func bootstrap(marks []measurement, peer string, of statistic) (low, high float64) {
	// The same results give the same page.
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // nobody gains by guessing it
	drawn := func(values []float64) []float64 {
		sample := make([]float64, len(values))
		for i := range sample {
			sample[i] = values[random.IntN(len(values))]
		}
		return sample
	}
	speeds := make([]float64, bootstrapSamples)
	for i := range speeds {
		sample := make([]measurement, len(marks))
		for j, m := range marks {
			sample[j].peers = map[string][]float64{recorded.PeerBase: drawn(m.peers[recorded.PeerBase]), peer: drawn(m.peers[peer])}
		}
		speeds[i] = speed(sample, peer, of)
	}
	slices.Sort(speeds)
	tail := int((1 - bootstrapPart) / 2 * bootstrapSamples)
	return speeds[tail], speeds[len(speeds)-1-tail]
}

// losses are the measurements with which a rival is clearly faster than a peer.
func losses(marks []measurement, peer, rival string) []measurement {
	return slices.DeleteFunc(slices.Clone(marks), func(m measurement) bool {
		return quartile(m.peers[peer]) < faster*quartile(m.peers[rival])
	})
}

// writeLosses lists what other peers are faster with than the fastest of Ampoule's.
func writeLosses(b *strings.Builder, marks []measurement, peers []string) {
	ours, others := []string{}, []string{}
	for _, p := range peers {
		if strings.HasPrefix(p, recorded.PeerOurs) {
			ours = append(ours, p)
		} else {
			others = append(others, p)
		}
	}
	if len(ours) == 0 {
		return
	}
	best := slices.MaxFunc(ours, func(x, y string) int { return cmp.Compare(speed(marks, x, quartile), speed(marks, y, quartile)) })
	var lines strings.Builder
	for _, p := range others {
		for _, m := range losses(marks, best, p) {
			row(&lines, code(m.name), p, fmt.Sprintf("%.2f", quartile(m.peers[best])/quartile(m.peers[p])))
		}
	}
	if lines.Len() > 0 {
		fmt.Fprintf(b, "\nMeasurements with which a peer is more than 2 %% faster than %s:\n\n| measurement | peer | times as fast |\n|---|---|--:|\n%s", best, lines.String())
	}
}

// writePeerStarts tells what starting takes: the median of all starts.
func writePeerStarts(b *strings.Builder, starts []measurement, results []recorded.Peer) {
	if len(starts) == 0 {
		return
	}
	peers := peerNames(results)
	fmt.Fprintf(b, "\nStarts in turns in one Debian 13, each in an environment (`venv`) with what the `web` recipe requires (`make peers BENCHMARKS=%s`, last on %s). The values are medians. "+
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
