package table

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/bench/internal/recorded"
)

func TestServiceIsShown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	loads, err1 := recorded.Open[recorded.Load](filepath.Join(dir, recorded.LoadFile))
	growth, err2 := recorded.Open[recorded.Growth](filepath.Join(dir, recorded.GrowthFile))
	soak, err3 := recorded.Open[recorded.Soak](filepath.Join(dir, recorded.SoakFile))
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	slow := recorded.Load{Name: "sqlite: keys", Database: "sqlite", What: "keys", Count: 9, Found: "1 per second", PeakMiB: 7, When: "2030-01-01", Cores: 2, Shared: true}
	if err := errors.Join(
		loads.Put(slow),
		growth.Put(recorded.Growth{Name: "a", Before: 5, Builds: 10, Workers: 100, Recipes: 20, PerSecond: 100, DatabaseBytes: 3 << 20,
			Queries: []recorded.Query{{Text: "SELECT a|b", Calls: 1, MeanMillis: 1.5, Share: 0.5}}, When: "2030-01-01"}),
		soak.Put(recorded.Soak{Name: "round 001", Builds: 3, Lost: 2, Killed: 4, Frozen: 1, Seconds: 61, When: "2030-01-01"}),
		soak.Put(recorded.Soak{Name: "round 002", Builds: 3, Killed: 1, Restarted: 1, Seconds: 59, Faults: []string{"a build is lost"}, When: "2030-01-02"}),
	); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := writeService(&b, dir); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| sqlite | 9 keys | 1 per second | **no**, on a machine with other work | 7 MiB |", "| 5 | 10 | 100 | 20 | 100 | 16 min 40 s | 3.0 MiB | `SELECT a\\|b` (50 %, 1.50 ms) | 2030-01-01 |",
		"| 2 | 6 | 2 | 5 | 1 | 1 | a build is lost | 2 min 00 s | 2030-01-02 |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, &b)
		}
	}
	if line := Load(slow); !strings.Contains(line, "DOES NOT HOLD") {
		t.Error(line)
	}
}
