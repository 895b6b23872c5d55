package table

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/bench/internal/recorded"
)

// TestPageIsCurrent compares docs/catalogue.md with what was recorded.
func TestPageIsCurrent(t *testing.T) {
	t.Parallel()
	docs := filepath.Join("..", "..", "..", "docs")
	want, err := Render(filepath.Join(docs, "measured"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(docs, "catalogue.md"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/catalogue.md is not current; `make page` writes it (-should be +is):\n%s", diff)
	}
}

// put records results in a directory.
func put[R recorded.Result](t *testing.T, dir, file string, results ...R) {
	t.Helper()
	book, err := recorded.Open[R](filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if err := book.Put(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRender(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	when := recorded.Outcome{When: "2026-05-04", Cores: 2, Passed: true}
	web, err := recorded.RecipeHash("web")
	if err != nil {
		t.Fatal(err)
	}
	broke := recorded.Outcome{When: "2026-05-04", Cores: 2, Stage: "wheel", Error: "a | b <x>\n`c` " + strings.Repeat("y", 300)}
	put(t, dir, recorded.RecipesFile,
		recorded.Recipe{Name: "web", Outcome: when, Of: web, BuildSeconds: 312.4, InterpreterSeconds: 150, Wheels: 12, Reused: 2, Digest: "sha256:00",
			Compiled: recorded.Compiled{"numpy==2.4": 250, "markupsafe==3": 7},
			Sizes:    recorded.Sizes{Tree: 200 << 20, Layers: 60 << 20, Own: 45 << 20, Beside: 30 << 20, OwnBeside: 40 << 20, Unpublished: []string{"psycopg2"}}},
		recorded.Recipe{Name: "minimal", Outcome: when, LockSeconds: 14, BuildSeconds: 0.1, Published: true},
		recorded.Recipe{Name: "legacy", Outcome: when, Digest: "sha256:05"}, recorded.Recipe{Name: "rust", Outcome: broke})
	put(t, dir, recorded.PackagesFile,
		recorded.Package{Name: "numpy", Version: "2.4", Outcome: when, LockSeconds: 9, BuildSeconds: 600, Overrides: []string{"numpy: it links BLAS"}},
		recorded.Package{Name: "MarkupSafe", Version: "3", Outcome: when, Compiled: recorded.Compiled{"markupsafe==3": 6}},
		recorded.Package{Name: "scipy", Outcome: broke})
	failed := &recorded.SuiteRun{Result: recorded.SuiteFailed, Failed: []string{"test_os.A.test_b", "test_os.A.test_c"}, Skipped: map[string]int{"needs root": 3}}
	put(t, dir, recorded.SuiteFile,
		recorded.SuiteTest{Name: "static/test_os", Outcome: when, Ours: failed, Raw: &recorded.SuiteRun{Result: recorded.SuiteFailed, Failed: []string{"test_os.A.test_c"}}},
		recorded.SuiteTest{Name: "static/test_x", Outcome: when, Ours: &recorded.SuiteRun{Result: recorded.SuitePassed}, Raw: &recorded.SuiteRun{Result: recorded.SuitePassed, Skipped: map[string]int{"needs root": 1}}},
		recorded.SuiteTest{Name: "shared/test_x", Outcome: when, Ours: failed})
	for name, took := range map[string]float64{recorded.PeerBase: 1, "pyenv": 2, recorded.PeerOurs + "static": 0.8} {
		put(t, dir, recorded.PeersFile,
			recorded.Peer{Benchmark: "chaos", Peer: name, Outcome: when, Values: map[string][]float64{"chaos": {took, took}}},
			recorded.Peer{Benchmark: recorded.PeerStarts, Peer: name, Outcome: when, Values: map[string][]float64{"python3 -c pass, seconds": {0.01, took / 10, 0.01}}})
	}
	put(t, dir, recorded.PeersFile, recorded.Peer{Benchmark: "go", Peer: "pyenv", Outcome: when, Values: map[string][]float64{"go": {1}}})
	put(t, dir, recorded.ReleasesFile,
		recorded.Fit{Name: "scipy", When: "2026-05-04", Releases: []recorded.Release{{Version: "1.17.0"}, {Version: "1.18.0", Held: []string{"bullseye"}}}},
		recorded.Fit{Name: "pyyaml", When: "2026-05-04", Releases: []recorded.Release{{Version: "6.0"}}, Conflicts: []string{"6.0: no Cython", "6.0: no | bar"}})
	put(t, dir, recorded.LoopFile, recorded.Step{Kind: "pure", Requirement: "humanize", LockSeconds: 3, BuildSeconds: 8.5, LimitSeconds: 10})
	put(t, dir, recorded.BenchFile, recorded.Figure{Name: "nothing to do", Value: 0.12, Limit: 0.15, Unit: "s", Of: "five"})
	put(t, dir, recorded.KillsFile,
		recorded.Kill{Name: "stored-001", Outcome: when, During: "wheel psycopg2==2.9"}, recorded.Kill{Name: "stored-002", Outcome: when, During: "wheel markupsafe==3"},
		recorded.Kill{Name: "interpreter-001", Outcome: recorded.Outcome{Error: "left 1 things"}, AfterSeconds: 2, During: "interpreter CPython", Left: []string{"container x"}})
	put(t, dir, recorded.PowerLossFile, recorded.PowerLoss{Name: "publishing", When: "2026-05-04", Calls: 80, Losses: 200, Failed: 1})
	put(t, dir, recorded.ServicesFile,
		recorded.Rollout{Name: "new", Outcome: when, Services: 10, Commands: 2, LockSeconds: 200, BuildSeconds: 300, InterpreterSeconds: 130, Interpreters: 1, Wheels: 10, Python: "3.13.5", Libssl: "3.0.20"})
	put(t, dir, recorded.ClientsFile,
		recorded.Client{Name: "crane: validate, registry serve", Outcome: when, Client: "crane", Version: "0.22.1", Does: "validate", Registry: "registry serve", Found: "all is there"},
		recorded.Client{Name: "oras: pull, docker-registry", Outcome: recorded.Outcome{When: "2026-05-04", Stage: "run", Error: "no"}, Client: "oras", Version: "1.3", Does: "pull", Registry: "docker-registry"})
	put(t, dir, recorded.ChecksFile,
		recorded.Check{Name: "web", Outcome: when, Of: web, Seconds: 300, Digest: "sha256:00", Second: "sha256:00"},
		recorded.Check{Name: "legacy", Outcome: when, Seconds: 300, Digest: "sha256:04", Second: "sha256:04"},
		recorded.Check{Name: "rust", Outcome: recorded.Outcome{When: "2026-05-04", Stage: "check", Error: "the second digest is sha256:03"}, Seconds: 60, Digest: "sha256:02", Differences: []string{"a.so: .rodata (time)"}})
	put(t, dir, recorded.StartsFile,
		recorded.Start{Name: "a/b", Revision: "abc", When: "2026-05-04", From: "uv.lock", Python: "3.13.5", Locked: true, Lines: 3, Release: 1, Why: "a wheel | is accepted"},
		recorded.Start{Name: "c/d", Revision: "def", Locked: true}, recorded.Start{Name: "e/f", Lines: 40, Why: "no sdist"}, recorded.Start{Name: "g/h", Lines: 5, Unfinished: true})
	got, err := Render(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"2 of 4 lock, and the median of their lines is 1.5. 1 were not run to their end", "| not run to its end | 5 |", "| a/b | `abc` | `uv.lock` | 3.13.5 | yes | 3 | 1 | a wheel \\| is accepted | 2026-05-04 |", "| **no** | – | – | no sdist |",
		" | passed | – | 5 min 12 s | 2 min 30 s | 12 (2) | 2 | 2026-05-04 |\n",
		" | passed | 14.0 s | published before | – | 0 | 2 | 2026-05-04, before the recipe changed |\n",
		"| `web` | 200.0 MiB | 60.0 MiB | 45.0 MiB | 30.0 MiB | 1.33 | psycopg2 | `sha256:00` |\n",
		"| **failed**, wheel: `a \\| b &lt;x> 'c' yyy",
		"yyy…` |",
		"**2 of 40 pass.**",
		"| `wrapt` | – | not measured | – | – | – | – |\n",
		"| `MarkupSafe` | 3 | passed | – | – | 7.0 s | – |\n",
		"| `numpy` | 2.4 | passed | 9.0 s | 10 min 00 s | 4 min 10 s | numpy: it links BLAS |\n",
		"| `scipy` | 1.17.0, 1.18.0 | 1 on bullseye | agrees | 2026-05-04 |\n",
		"| `pyyaml` | 6.0 | – | **does not agree**: 6.0: no Cython; 6.0: no \\| bar | 2026-05-04 |\n",
		"| `lxml` | – | – | not compared | – |\n",
		"**1 of ", " agree.**",
		"| pure | `humanize` | 3.0 s | 8.5 s | – | 11.5 s | 10.0 s | **no** |",
		"| nothing to do | 0.12 s | 0.15 s | yes | five |",
		"| interpreter | interpreter | 1 | 0 |\n| stored | wheel | 2 | 2 |\n| all |  | 3 | 2 |\n",
		"`interpreter-001`, killed after 2.0 s during interpreter CPython: left 1 things container x\n",
		"| publishing | 80 | 200 | 1 | 2026-05-04 |\n",
		"| `web` | the same digest | 5 min 00 s | `sha256:00` | 2026-05-04 |\n",
		"| `legacy` | the same digest, which the catalogue's build does not have | 5 min 00 s | `sha256:04` | 2026-05-04, before the recipe changed |\n",
		"; a.so: .rodata (time) | 1 min 00 s | `sha256:02` | 2026-05-04, before the recipe changed |\n",
		"| new | 10 | 0 | 2 | 3 min 20 s | 5 min 00 s | 2 min 10 s | 1 | 10 | 3.13.5 | 3.0.20 | 2026-05-04 |\n",
		"It is under way: 1 modules have run over one of the two so far.\n", "| `static` | 2 | 1 | 0 | 1 | `test_os.A.test_b` | 3 / 1 | 2026-05-04 |\n\nWhy", "| needs root | 3 | 1 |\n",
		"the geometric mean of 1 measurements that all have", "| ampoule static | the same without it | 1.250 | 1.250–1.250 | 0 |\n| pyenv | as pyenv does by default: `configure`, and `make` | 0.500 | 0.500–0.500 | 1 |\n",
		"| python3 -c pass, seconds | 0.01 | 0.01 | 0.01 |\n",
		"| crane | 0.22.1 | validate | registry serve | passed | all is there | 2026-05-04 |\n| oras | 1.3 | pull | docker-registry | **failed**, run: `no` | – | 2026-05-04 |\n",
		"| `science` | Numerical Python",
		" | not measured |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
	if again, _ := Render(dir); again != got {
		t.Error("the same results give another page")
	}
}

func TestRenderRefuses(t *testing.T) {
	t.Parallel()
	for _, file := range []string{recorded.RecipesFile, recorded.PackagesFile, recorded.LoopFile, recorded.BenchFile, recorded.KillsFile, recorded.ChecksFile, recorded.ServicesFile, recorded.StartsFile, recorded.ReleasesFile, recorded.ClientsFile, recorded.PowerLossFile} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, file), []byte("{"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Render(dir); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
	}
}
