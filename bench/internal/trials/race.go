package trials

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"ampoule/bench/internal/recorded"
)

// starts measures what starting takes, and what is in memory then.
func (r *race) starts(ctx context.Context) error {
	if r.isDone(recorded.PeerStarts) {
		return nil
	}
	r.t.Say("starting each interpreter %d times", startTimes)
	_, imports, err := r.web(ctx)
	if err != nil {
		return err
	}
	if err := r.m.Write("/srv/peers.py", peersScript); err != nil {
		return err
	}
	args := []string{"/srv/peers.py", fmt.Sprint(startTimes), strings.Join(imports, ", ")}
	for _, p := range r.peers {
		args = append(args, p.name+"="+p.work()+"/bin/python3")
	}
	run, err := r.m.Program(r.way, r.peers[0].python).Run(ctx, args...)
	if err != nil {
		return err
	}
	for line := range strings.Lines(run.Out) {
		var told struct {
			Peer   string               `json:"peer"`
			Values map[string][]float64 `json:"values"`
		}
		if err := json.Unmarshal([]byte(line), &told); err != nil {
			return fmt.Errorf("reading what starts took: %w", err)
		}
		if err := r.put(recorded.PeerStarts, told.Peer, told.Values); err != nil {
			return err
		}
	}
	return nil
}

// isDone reports whether each peer's part of a benchmark is recorded. What failed is run again, by all,
// and so is what another interpreter of Ampoule's did.
func (r *race) isDone(benchmark string) bool {
	return !r.t.Again && !slices.ContainsFunc(r.peers, func(p peer) bool {
		result, _ := r.book.Get(recorded.Peer{Benchmark: benchmark, Peer: p.name}.Key())
		return !result.Passed || result.Executable != p.executable
	})
}

func (r *race) put(benchmark, peer string, values map[string][]float64) error {
	o := r.t.today()
	o.Passed = true
	return r.record(recorded.Peer{Benchmark: benchmark, Peer: peer, Outcome: o, Values: values})
}

func (r *race) record(result recorded.Peer) error {
	result.Set, result.Together = r.set, r.t.Together && result.Benchmark != recorded.PeerStarts
	if i := slices.IndexFunc(r.peers, func(p peer) bool { return p.name == result.Peer }); i >= 0 {
		result.Executable = r.peers[i].executable
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.book.Put(result)
}

// benchmarks runs the benchmarks, each by all peers in turns.
func (r *race) benchmarks(ctx context.Context, asked []string) error {
	listed, err := r.sh(ctx, `cd "$1"; exec bin/pyperformance list`, r.peers[0].work())
	if err != nil {
		return err
	}
	var all []string
	for line := range strings.Lines(listed.Out) {
		if name, ok := strings.CutPrefix(line, "- "); ok {
			all = append(all, strings.TrimSpace(name))
		}
	}
	r.set = len(all)
	names, err := chosen(all, asked)
	if err == nil {
		err = r.m.Write(clockDir+"/sitecustomize.py", sitecustomize)
	}
	if err != nil {
		return err
	}
	waiting := make(chan int, len(names))
	for i, name := range names {
		if !r.isDone(name) {
			waiting <- i
		}
	}
	close(waiting)
	ctx, end := context.WithCancel(ctx)
	defer end()
	return atOnce(max(r.t.Lanes, 1), func(lane int) error {
		for i := range waiting {
			r.t.Say("%s, %d of %d", names[i], i+1, len(names))
			// Each benchmark begins with another peer, so that none of them always has the cold machine.
			order := slices.Concat(r.peers[i%len(r.peers):], r.peers[:i%len(r.peers)])
			if err := r.benchmark(ctx, names[i], order, lane); err != nil {
				end()
				return err
			}
		}
		return nil
	})
}

// atOnce calls do that many times at once, each with its number, and waits for all.
func atOnce(times int, do func(number int) error) error {
	var all sync.WaitGroup
	failed := make([]error, times)
	for number := range times {
		all.Go(func() { failed[number] = do(number) })
	}
	all.Wait()
	return errors.Join(failed...)
}

// benchmark runs one benchmark by the peers in that order, or by all at once.
func (r *race) benchmark(ctx context.Context, name string, order []peer, lane int) error {
	turn := func(i int) error {
		if err := r.turn(ctx, name, order[i], lane); err != nil {
			return fmt.Errorf("%s by %s: %w", name, order[i].name, err)
		}
		return nil
	}
	if r.t.Together {
		return atOnce(len(order), turn)
	}
	for i := range order {
		if err := turn(i); err != nil {
			return err
		}
	}
	return nil
}

// turn runs one benchmark by one peer, in a lane. One that cannot run is recorded as failed.
func (r *race) turn(ctx context.Context, name string, p peer, lane int) error {
	way := r.way
	way.Env = slices.Concat(r.way.Env, strings.Fields(byOneCompiler))
	var options []string
	if r.t.Together {
		way.Env = append(way.Env, "PYTHONPATH="+clockDir)
	}
	if r.t.Together || r.t.Lanes > 1 {
		options = []string{"--affinity", strconv.Itoa(lane)}
	}
	// What pyperformance installs for a benchmark must not change below another one.
	dir := fmt.Sprintf("%s/lane-%d", p.work(), lane)
	const script = `python=$1 dir=$2; shift 2; mkdir -p "$dir"; cd "$dir"; rm -f result.json; exec "$python" -m pyperformance run --output result.json "$@"`
	args := []string{"-ec", script, "sh", p.work() + "/bin/python3", dir, "--inherit-environ", variables(way.Env), "--benchmarks", name}
	_, err := r.m.Program(way, "sh").Run(ctx, append(args, options...)...)
	if err != nil {
		o := r.t.today()
		if err := r.t.failed(&o, err, "benchmark"); err != nil {
			return err
		}
		return r.record(recorded.Peer{Benchmark: name, Peer: p.name, Outcome: o})
	}
	values, err := readPerf(r.m.File(dir + "/result.json"))
	if err != nil {
		return err
	}
	return r.put(name, p.name, values)
}

// variables names those of an environment, separated by commas. pyperformance clears all but a few that
// it is not told of, and pip would not know its index, or which compiler to call.
func variables(env []string) string {
	var names []string
	for _, setting := range env {
		name, _, _ := strings.Cut(setting, "=")
		names = append(names, name)
	}
	return strings.Join(names, ",")
}

// maxPerf limits a file of results.
const maxPerf = 64 << 20

// readPerf reads a file of pyperf: the mean of each process, by the benchmark's name.
func readPerf(path string) (map[string][]float64, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var perf struct {
		Metadata   struct{ Name string }
		Benchmarks []struct {
			Metadata struct{ Name string }
			Runs     []struct{ Values []float64 }
		}
	}
	if err := json.NewDecoder(io.LimitReader(file, maxPerf)).Decode(&perf); err != nil {
		return nil, fmt.Errorf("reading results of pyperf: %w", err)
	}
	found := map[string][]float64{}
	for _, b := range perf.Benchmarks {
		name := cmp.Or(b.Metadata.Name, perf.Metadata.Name)
		for _, run := range b.Runs {
			// A process that calibrates has no values.
			if len(run.Values) > 0 {
				found[name] = append(found[name], mean(run.Values))
			}
		}
	}
	if len(found) == 0 {
		return nil, errors.New("results of pyperf have no values")
	}
	return found, nil
}

// mean is rounded to seven digits, which is more than a clock gives.
func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(sum/float64(len(values)), 'g', 7, 64), 64)
	if err != nil {
		panic("trials: reading a number just written: " + err.Error())
	}
	return rounded
}
