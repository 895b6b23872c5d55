package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	s, sums := aged(t, map[string]int{"whole": 0, "damaged": 0})
	damaged := s.Path(sums["damaged"])
	stray := filepath.Join(filepath.Dir(damaged), "stray")
	wrongDir := filepath.Join(s.Root(), contentDir, "zz", sums["whole"])
	absent := strings.Repeat("0", 64)
	err := errors.Join(
		os.Chmod(damaged, 0o644), os.WriteFile(damaged, []byte("x"), 0o644), os.WriteFile(stray, nil, 0o644),
		os.Mkdir(filepath.Dir(wrongDir), 0o755), os.WriteFile(wrongDir, []byte("whole"), 0o444),
		s.Record("layer", "whole", sums["whole"]), s.Record("layer", "of damaged", sums["damaged"]),
		s.Record("layer", "of absent", named{sums["whole"], absent}), s.Record("layer", "torn", 1), s.Record("layer", "flipped", 1), s.Record("layer", "moved", 1),
		s.RecordDurably("inputs", "whole", sums["whole"]), s.RecordDurably("inputs", "of absent", absent), s.RecordDurably("inputs", "flipped", 1),
	)
	if err != nil {
		t.Fatal(err)
	}
	layer := func(key string) string { return recordFile(t, s, recordsDir, "layer", key) }
	inputs := func(key string) string { return recordFile(t, s, keptDir, "inputs", key) }
	flip(t, layer("flipped"))
	flip(t, inputs("flipped"))
	if err := errors.Join(os.Truncate(layer("torn"), 10), os.MkdirAll(filepath.Dir(layer("elsewhere")), 0o755), os.Rename(layer("moved"), layer("elsewhere"))); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		damaged: "its sha256 is 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
		stray:   "nothing leads to it", wrongDir: "nothing leads to it",
		layer("of absent"): "it names content that is not there: " + absent,
		layer("torn"):      "it is torn", layer("flipped"): "its checksum is wrong", layer("elsewhere"): "it has the name of another record",
		inputs("of absent"): "it names content that is not there: " + absent + " lost", inputs("flipped"): "its checksum is wrong lost",
	}
	for _, repair := range []bool{false, true} {
		if repair {
			want[layer("of damaged")] = "it names content that is not there: " + sums["damaged"]
		}
		got, err := s.Check(t.Context(), repair)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, told(got)); diff != "" {
			t.Errorf("repair %t (-want +got):\n%s", repair, diff)
		}
	}
	// What nobody makes again is left, and told each time.
	got, err := s.Check(t.Context(), true)
	if diff := cmp.Diff(map[string]string{inputs("of absent"): want[inputs("of absent")], inputs("flipped"): want[inputs("flipped")]}, told(got)); err != nil || diff != "" || left(s, sums) != "whole" {
		t.Errorf("after the repair: left %q, %v\n%s", left(s, sums), err, diff)
	}
	if err := s.RecordDurably("inputs", "flipped", 1); err != nil {
		t.Error(err)
	}
	if err := s.Forget("inputs", "of absent"); err != nil {
		t.Error(err)
	}
	if got, err := s.Check(t.Context(), false); err != nil || len(got.Damages) > 0 || got.Files != 4 {
		t.Errorf("mended: %+v, %v", got, err)
	}
	if u, err := s.Usage(); err != nil || u.Content != (Part{1, 5}) || u.Records.Files != 3 || u.Registry.Files != 0 {
		t.Errorf("usage %+v, %v", u, err)
	}
}

// named is a value that names content.
type named []string

func (n named) Content() []string { return slices.Clone(n) }

// told is what was found, by path.
func told(c Checked) map[string]string {
	all := map[string]string{}
	for _, d := range c.Damages {
		all[d.Path] = d.What
		if d.Lost {
			all[d.Path] += " lost"
		}
	}
	return all
}

// flip changes the last bit of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)-1] ^= 1
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}
