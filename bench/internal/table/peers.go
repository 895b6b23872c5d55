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
`+"`make peers%s`"+` runs the default set of pyperformance, in its default mode, by several interpreters in one Debian 13%s. *Speed* is Debian's
time divided by the interpreter's, means as pyperformance compares them: the geometric mean of %d measurements that all have, of %s.
Intervals are of a bootstrap over processes (%d samples, %.0f %%). *Debian's is faster* counts the measurements with which it is so by more than 2 %%. The last was on %s.

| interpreter | what it is | speed | interval | Debian's is faster |
|---|---|--:|---|--:|
`, flags(results), how(results), len(marks), ofSet(results), bootstrapSamples, 100*bootstrapPart, lastDay(results))
	for _, peer := range peerNames(results) {
		if peer == recorded.PeerBase {
			continue
		}
		low, high := bootstrap(marks, peer, recorded.PeerBase)
		row(b, peer, peerWhat[peer], fmt.Sprintf("%.3f", speed(marks, peer, recorded.PeerBase)), interval(low, high, 3), fmt.Sprint(len(losses(marks, peer, recorded.PeerBase))))
	}
	writeGoals(b, marks, peerNames(results))
	writeSameLibrary(b, marks, peerNames(results))
	writeBuilds(b, results)
	writeLosses(b, marks, peerNames(results))
	writeFailures(b, results)
}

// peerWhat says what the interpreters are whose names do not.
var peerWhat = map[string]string{
	"ampoule embed":  "[the fastest](interpreter.md#choices) of its link mode: PGO, LTO, BOLT, modules linked in",
	"ampoule shared": "the same, with `-ftls-model=initial-exec`",
	"ampoule static": "the same without it",
	"by hand":        "`configure --enable-optimizations --with-lto`, and `make`",
	"pyenv":          "as pyenv does by default: `configure`, and `make`",
}

// goals are how many times as fast as a rival the fastest interpreter of Ampoule's is to be.
var goals = []struct {
	rival string
	times float64
}{{recorded.PeerBase, 1.05}, {"pyenv", 1.35}}

// writeGoals says what the goals are, and how far the fastest of Ampoule's is.
func writeGoals(b *strings.Builder, marks []measurement, peers []string) {
	best, ok := fastest(marks, peers)
	if !ok {
		return
	}
	var told []string
	for _, g := range goals {
		if slices.Contains(peers, g.rival) {
			is := speed(marks, best, g.rival)
			word := "reached"
			if is < g.times {
				word = "missed"
			}
			told = append(told, fmt.Sprintf("%.2f times as fast as %s (%s: %.3f)", g.times, g.rival, word, is))
		}
	}
	if len(told) > 0 {
		fmt.Fprintf(b, "\nGoals for the fastest, which is %s: %s.\n", best, strings.Join(told, ", "))
	}
}

// fastest is the interpreter of Ampoule's that is; false if none is measured.
func fastest(marks []measurement, peers []string) (name string, ok bool) {
	ours := slices.DeleteFunc(slices.Clone(peers), func(p string) bool { return !strings.HasPrefix(p, recorded.PeerOurs) })
	if len(ours) == 0 {
		return "", false
	}
	return slices.MaxFunc(ours, func(x, y string) int {
		return cmp.Compare(speed(marks, x, recorded.PeerBase), speed(marks, y, recorded.PeerBase))
	}), true
}

// ofSet says how many benchmarks ran, of how many.
func ofSet(results []recorded.Peer) string {
	ran, set := len(benchmarks(results)), 0
	for _, r := range results {
		set = max(set, r.Set)
	}
	switch {
	case set == 0:
		return fmt.Sprintf("%d benchmarks", ran)
	case ran < set:
		return fmt.Sprintf("%d of its %d benchmarks; the others are still to be run", ran, set)
	}
	return fmt.Sprintf("all its %d benchmarks", set)
}

// otherLibrary are the measurements of what Debian's standard library does in another way.
var otherLibrary = []string{"logging_format", "logging_silent", "logging_simple"}

// writeSameLibrary tells the speeds without the measurements of another standard library.
func writeSameLibrary(b *strings.Builder, marks []measurement, peers []string) {
	same := slices.DeleteFunc(slices.Clone(marks), func(m measurement) bool { return slices.Contains(otherLibrary, m.name) })
	if len(same) == 0 || len(same) == len(marks) {
		return
	}
	var speeds []string
	for _, peer := range peers {
		if peer != recorded.PeerBase {
			low, high := bootstrap(same, peer, recorded.PeerBase)
			speeds = append(speeds, fmt.Sprintf("%s %.3f (%s)", peer, speed(same, peer, recorded.PeerBase), interval(low, high, 3)))
		}
	}
	fmt.Fprintf(b, "\nThe module `logging` of CPython 3.13.5 looks at a variable of the thread before each message, which Debian's patches take back ([0125](decisions/0125-where-debian-is-faster.md)). Without the measurements of it: %s.\n",
		strings.Join(speeds, ", "))
}

// writeBuilds names the interpreters that were built otherwise between their benchmarks, and by how many
// benchmarks each of their executables is measured.
func writeBuilds(b *strings.Builder, results []recorded.Peer) {
	var several []string
	for _, peer := range peerNames(results) {
		times := map[string]int{}
		for _, r := range results {
			if r.Peer == peer && r.Passed {
				times[r.Executable]++
			}
		}
		if len(times) > 1 {
			counts := slices.Sorted(maps.Values(times))
			slices.Reverse(counts)
			several = append(several, fmt.Sprintf("%s (%s)", peer, strings.Trim(fmt.Sprint(counts), "[]")))
		}
	}
	if len(several) > 0 {
		fmt.Fprintf(b, "\nThese were built otherwise between benchmarks; in brackets, how many ran by each executable: %s.\n", strings.Join(several, ", "))
	}
}

// flags are those that `make peers` was told, as far as they decide how peers run.
func flags(results []recorded.Peer) string {
	if len(results) > 0 && results[len(results)-1].Together {
		return " MEASURE_FLAGS=--together"
	}
	return ""
}

// how tells the way in which peers ran.
func how(results []recorded.Peer) string {
	together := 0
	for _, r := range results {
		if r.Together {
			together++
		}
	}
	const atOnce = "at once, each benchmark on one processor, and compares processor time: the kernel's slices have all of them meet the same speeds of a machine that has others on it"
	switch together {
	case 0:
		return ", which take turns with each benchmark"
	case len(results):
		return ", all " + atOnce
	}
	return ", which take turns with each benchmark, or run " + atOnce
}

// benchmarks are the names of those that some interpreter could run.
func benchmarks(results []recorded.Peer) map[string]bool {
	names := map[string]bool{}
	for _, r := range results {
		if r.Passed {
			names[r.Benchmark] = true
		}
	}
	return names
}

// interval writes one with so many decimals.
func interval(low, high float64, decimals int) string {
	return fmt.Sprintf("%.*f–%.*f", decimals, low, decimals, high)
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

// speed is the geometric mean of how many times as fast a peer is as a rival.
func speed(marks []measurement, peer, rival string) float64 {
	sum := 0.0
	for _, m := range marks {
		sum += math.Log(average(m.peers[rival]) / average(m.peers[peer]))
	}
	return math.Exp(sum / float64(len(marks)))
}

// bootstrap is an interval of the speed, over the processes that were measured (Efron and Tibshirani, An
// Introduction to the Bootstrap, the percentile interval). The processes of two interpreters are drawn in
// pairs: those with one number ran at about the same time.
func bootstrap(marks []measurement, peer, rival string) (low, high float64) {
	// The same results give the same page.
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // nobody gains by guessing it
	speeds := make([]float64, bootstrapSamples)
	for i := range speeds {
		sum := 0.0
		for _, m := range marks {
			of, by := drawn(random, m.peers[rival], m.peers[peer])
			sum += math.Log(of / by)
		}
		speeds[i] = math.Exp(sum / float64(len(marks)))
	}
	slices.Sort(speeds)
	tail := int((1 - bootstrapPart) / 2 * bootstrapSamples)
	return speeds[tail], speeds[len(speeds)-1-tail]
}

// drawn are the averages of a sample of two interpreters' processes, with replacement: of each the same
// numbers, as far as it has them.
func drawn(random *rand.Rand, one, other []float64) (ofOne, ofOther float64) {
	for i := range max(len(one), len(other)) {
		at := random.Float64()
		if i < len(one) {
			ofOne += one[int(at*float64(len(one)))]
		}
		if i < len(other) {
			ofOther += other[int(at*float64(len(other)))]
		}
	}
	return ofOne / float64(len(one)), ofOther / float64(len(other))
}

// losses are the measurements with which a rival is more than a little faster than a peer.
func losses(marks []measurement, peer, rival string) []measurement {
	return slices.DeleteFunc(slices.Clone(marks), func(m measurement) bool { return speed([]measurement{m}, rival, peer) <= faster })
}

// writeLosses lists what other peers are faster with than the fastest of Ampoule's.
func writeLosses(b *strings.Builder, marks []measurement, peers []string) {
	best, ok := fastest(marks, peers)
	if !ok {
		return
	}
	others := slices.DeleteFunc(slices.Clone(peers), func(p string) bool { return strings.HasPrefix(p, recorded.PeerOurs) })
	var lines strings.Builder
	for _, p := range others {
		for _, m := range losses(marks, best, p) {
			one := []measurement{m}
			low, high := bootstrap(one, p, best)
			row(&lines, code(m.name), p, fmt.Sprintf("%.2f", speed(one, p, best)), interval(low, high, 2))
		}
	}
	if lines.Len() > 0 {
		fmt.Fprintf(b, "\nMeasurements with which a peer is more than 2 %% faster than %s:\n\n| measurement | peer | times as fast | interval |\n|---|---|--:|---|\n%s", best, lines.String())
	}
}

// writeFailures lists the benchmarks that some interpreter could not run.
func writeFailures(b *strings.Builder, results []recorded.Peer) {
	var lines strings.Builder
	for _, r := range results {
		if !r.Passed {
			row(&lines, code(r.Benchmark), r.Peer, r.Error)
		}
	}
	if lines.Len() > 0 {
		fmt.Fprintf(b, "\nBenchmarks that could not be run:\n\n| benchmark | interpreter | what it said |\n|---|---|---|\n%s", lines.String())
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
