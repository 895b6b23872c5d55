package table

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"ampoule/bench/internal/recorded"
)

func TestRegistryIsShown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pushes, err1 := recorded.Open[recorded.Pushes](filepath.Join(dir, recorded.RegistryFile))
	conformance, err2 := recorded.Open[recorded.Conformance](filepath.Join(dir, recorded.ConformanceFile))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		pushes.Put(recorded.Pushes{Name: "a", When: "2030-01-01", Cores: 2, Manifests: 1000, Writers: 4, PerSecond: 12.5, ListBytes: 3 << 20}),
		pushes.Put(recorded.Pushes{Name: "b", When: "2030-01-01", Cores: 2, Manifests: 1000, Writers: 1, PerSecond: 7, Shared: true}),
		conformance.Put(recorded.Conformance{Name: "program v1", When: "2030-01-01", Passed: 9, Skipped: 1, Left: []string{"x|y"}}),
	); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := writeRegistry(&b, dir); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| 1000 | 4 | 12.5 | 3.0 MiB | 2 | 2030-01-01 |", "| ≥ 7 |", `| program v1 | 9 | 0 | 1 | x\|y | 2030-01-01 |`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, &b)
		}
	}
}
