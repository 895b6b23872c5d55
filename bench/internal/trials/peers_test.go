package trials

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/bench/internal/drive"
	"ampoule/bench/internal/recorded"
	"ampoule/store"
)

// TestPeers: each peer is prepared once and has its turn with each benchmark, one that cannot run
// is recorded as failed and run again by all peers. What passed is not.
func TestPeers(t *testing.T) {
	t.Parallel()
	trials, calls := onFakeMachines(t, "FAKE_LOCK=yes")
	withSource(t, trials.Store)
	trials.Lanes = 2
	if err := trials.Peers(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	got := map[string]map[string][]float64{}
	for _, r := range recordedIn[recorded.Peer](t, trials, recorded.PeersFile) {
		got[r.Key()] = r.Values
		if failed := r.Benchmark == "chaos" && r.Peer != recorded.PeerBase; r.Passed == failed || failed && r.Error != "no wheel of it" {
			t.Errorf("recorded %+v", r)
		}
	}
	if len(got) != 3*len(peers()) {
		t.Errorf("%d turns are recorded", len(got))
	}
	for key, want := range map[string]map[string][]float64{
		"2to3/debian": {"2to3": {1, 1}}, "2to3/ampoule embed": {"2to3": {0.5, 0.5}}, "chaos/debian": {"chaos": {1, 1}},
		"starts/pyenv": {"python3 -c pass, seconds": {0.01, 0.02}},
	} {
		if diff := cmp.Diff(want, got[key]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
	before, err := os.ReadFile(calls)
	if err != nil || strings.Count(string(before), "make install") != 2 || strings.Count(string(before), "export peers@") != 9 || strings.Count(string(before), "pgo-profile --write") != 3 {
		t.Errorf("two are compiled by hand, nine installed, of which three have no profile that ships: %v\n%s", err, before)
	}
	if err := trials.Peers(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(calls)
	if again := string(after[len(before):]); err != nil || strings.Contains(again, "make install") || strings.Count(again, "pyperformance run") != len(peers()) || strings.Count(again, "--benchmarks chaos") != len(peers()) {
		t.Errorf("done again, but for what failed: %v\n%s", err, again)
	}
}

// TestPeersBuiltAnew: an artifact of another digest is installed again, and benchmarks are run again if its
// executable is another one. What was compiled by hand stays.
func TestPeersBuiltAnew(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, digest, python string
		installs, runs       int
	}{
		{name: "nothing changed", digest: "1", python: "one"},
		{name: "another library is carried", digest: "2", python: "one", installs: 1},
		{name: "another interpreter", digest: "2", python: "two", installs: 1, runs: 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			trials, calls := onFakeMachines(t, "FAKE_LOCK=yes")
			withSource(t, trials.Store)
			race := func(digest, python string) []byte {
				trials.Ampoule.Env = append(slices.Clip(trials.Ampoule.Env), "FAKE_DIGEST="+strings.Repeat(digest, 64))
				trials.Host.Unshare.Env = append(slices.Clip(trials.Host.Unshare.Env), "FAKE_PYTHON="+python)
				if err := trials.Peers(t.Context(), []string{"2to3"}, []string{"by hand", "ampoule embed"}); err != nil {
					t.Fatal(err)
				}
				said, err := os.ReadFile(calls)
				if err != nil {
					t.Fatal(err)
				}
				return said
			}
			before := race("1", "one")
			said := string(race(c.digest, c.python)[len(before):])
			if n := strings.Count(said, "/opt/ampoule-embed\n"); n != c.installs || strings.Contains(said, "make install") || strings.Count(said, "pyperformance run") != c.runs {
				t.Errorf("%d installs:\n%s", n, said)
			}
			for _, r := range recordedIn[recorded.Peer](t, trials, recorded.PeersFile) {
				if built := strings.HasPrefix(r.Peer, recorded.PeerOurs); built != (r.Executable == fmt.Sprintf("%x", sha256.Sum256([]byte(c.python)))) || !built && r.Executable != "" {
					t.Errorf("recorded %+v", r)
				}
			}
		})
	}
}

// TestPeersStarts: starting alone is measured, and what ships is what is built.
func TestPeersStarts(t *testing.T) {
	t.Parallel()
	trials, calls := onFakeMachines(t, "FAKE_LOCK=yes")
	withSource(t, trials.Store)
	if err := trials.Peers(t.Context(), []string{recorded.PeerStarts}, []string{"ampoule embed"}); err != nil {
		t.Fatal(err)
	}
	for _, r := range recordedIn[recorded.Peer](t, trials, recorded.PeersFile) {
		if r.Benchmark != recorded.PeerStarts {
			t.Errorf("recorded %s", r.Key())
		}
	}
	said, err := os.ReadFile(calls)
	if err != nil || strings.Contains(string(said), "pyperformance run") {
		t.Errorf("benchmarks were run: %v\n%s", err, said)
	}
	for _, p := range peers() {
		other := p
		if other.configure = append(slices.Clip(p.configure), "--without-pymalloc"); !p.built && other.step("") == p.step("") {
			t.Errorf("%s would not be prepared anew: %s", p.name, p.step(""))
		}
		what, ships := p.shipped()
		if wants := slices.Contains(p.configure, boltFlag) || strings.Contains(p.name, "GCC") && !strings.Contains(p.name, "v3") && !p.builtin; wants != (ships && p.built) || ships != (what.keys["profile"] != "") {
			t.Errorf("%s: ships %v, %v", p.name, ships, what.keys)
		}
	}
}

// TestPeersOnly: those asked for race with Debian's, here at once, also one that fails.
func TestPeersOnly(t *testing.T) {
	t.Parallel()
	trials, calls := onFakeMachines(t, "FAKE_LOCK=yes")
	withSource(t, trials.Store)
	trials.Together = true
	if err := trials.Peers(t.Context(), []string{"2to3", "chaos"}, []string{"pyenv"}); err != nil {
		t.Fatal(err)
	}
	var raced []string
	for _, r := range recordedIn[recorded.Peer](t, trials, recorded.PeersFile) {
		if r.Benchmark == "2to3" {
			raced = append(raced, r.Peer)
		}
		if r.Together != (r.Benchmark != recorded.PeerStarts) {
			t.Errorf("together is %v: %s", r.Together, r.Key())
		}
	}
	if diff := cmp.Diff([]string{recorded.PeerBase, "pyenv"}, raced); diff != "" {
		t.Errorf("raced (-want +got):\n%s", diff)
	}
	if said, err := os.ReadFile(calls); err != nil || strings.Count(string(said), "--affinity 0") != 4 || strings.Count(string(said), "PYTHONPATH="+clockDir) != 4 {
		t.Errorf("they share a processor, and have its time: %v\n%s", err, said)
	}
	if err := trials.Peers(t.Context(), nil, []string{"jython"}); err == nil || !strings.Contains(err.Error(), "jython") {
		t.Errorf("a peer that there is not: %v", err)
	}
}

// TestClock: sleeping takes no time, and a child's work does.
func TestClock(t *testing.T) {
	t.Parallel()
	python := drive.Program{Path: "python3", Env: []string{"PYTHONPATH=.", "PYTHONDONTWRITEBYTECODE=1"}}
	const script = `
import subprocess, sys, time
began = time.perf_counter()
time.sleep(0.5)
slept = time.perf_counter() - began
subprocess.run([sys.executable, "-c", "import time; e = time.process_time() + 0.3\nwhile time.process_time() < e: pass"], check=True)
worked = time.perf_counter_ns() / 1e9 - began
print(slept < 0.3 < worked < 0.8, slept, worked)`
	run, err := python.Run(t.Context(), "-c", script)
	if err != nil || !strings.HasPrefix(run.Out, "True") {
		t.Errorf("%v: %+v", err, run)
	}
}

// TestPeersScript starts this machine's Python for real.
func TestPeersScript(t *testing.T) {
	t.Parallel()
	script := filepath.Join(t.TempDir(), "peers.py")
	if err := os.WriteFile(script, []byte(peersScript), 0o644); err != nil {
		t.Fatal(err)
	}
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal(err)
	}
	run, err := (drive.Program{Path: path}).Run(t.Context(), script, "2", "json", "one="+path, "two="+path)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(strings.NewReader(run.Out))
	for _, peer := range []string{"one", "two"} {
		var told struct {
			Peer   string
			Values map[string][]float64
		}
		if err := decoder.Decode(&told); err != nil || told.Peer != peer || len(told.Values) != 6 {
			t.Fatalf("%+v, %v of %s", told, err, run.Out)
		}
		for what, values := range told.Values {
			if len(values) != 2 || values[0] <= 0 || values[1] <= 0 {
				t.Errorf("%s: %v", what, values)
			}
		}
		for i, written := range told.Values["python3 -c pass, MiB written"] {
			if resident := told.Values["python3 -c pass, MiB resident"][i]; written >= resident {
				t.Errorf("%v MiB are written of %v", written, resident)
			}
		}
	}
	if _, err := (drive.Program{Path: path}).Run(t.Context(), script, "1", "no_such_module", "one="+path); err == nil {
		t.Error("an import that fails was measured")
	}
}

func TestReadPerf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{`{}`: "no values", `{"benchmarks": [{"runs": [{"values": []}]}]}`: "no values", `[`: "reading results"} {
		path := filepath.Join(t.TempDir(), "result.json")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := readPerf(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// withSource gives a store what a lock of the fake names as CPython's source.
func withSource(t *testing.T, dir string) {
	t.Helper()
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := st.Path(digits)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("source"), 0o644); err != nil {
		t.Fatal(err)
	}
}
