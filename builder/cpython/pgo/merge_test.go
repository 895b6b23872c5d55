package pgo

import (
	"bytes"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/tree"
)

// trained compiles a program that counts, with the host's gcc, runs it once for each list of
// arguments, and gives the counts of them all.
func trained(t *testing.T, source string, runs ...[]string) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.c"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	steps := [][]string{{"gcc", "-O2", "-fprofile-generate", "-c", "p.c"}, {"gcc", "-fprofile-generate", "-o", "p", "p.o"}}
	for _, args := range runs {
		steps = append(steps, append([]string{"./p"}, args...))
	}
	for _, step := range steps {
		cmd := exec.CommandContext(t.Context(), step[0], step[1:]...)
		cmd.Dir = dir
		if told, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", step, err, told)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "p.gcda"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// program has counters of every kind: it divides by, copies and calls what its arguments say.
const program = `#include <stdlib.h>
#include <string.h>
static int one(int x) { return x * 2 + 1; }
static int two(int x) { return x * 3; }
static int three(int x) { return x - 1; }
int never(int n) { int s = 0; for (int i = 0; i < n; i++) s += i; return s; }
int main(int argc, char **argv) {
	int n = atoi(argv[1]), k = atoi(argv[2]), s = 0;
	int (*calls[])(int) = {one, two, three};
	static char to[256], from[256];
	for (int i = 0; i < n; i++) {
		s += calls[(i * k) % 3](i);
		memcpy(to, from, i % k + 1);
		s /= k + (i & 1);
	}
	if (k > 1000) s += never(n);
	return s == 42 && to[0];
}
`

// profileOf is a profile with counts of one object.
func profileOf(t *testing.T, counts []byte) *Profile {
	t.Helper()
	counted, err := tree.New([]tree.Entry{tree.FileEntry("Objects/list.gcda", 0o600, counts)})
	if err != nil {
		t.Fatal(err)
	}
	// The host's GCC may be another one than that of the other tests.
	h, err := readRecords(bytes.NewReader(counts), int64(len(counts)), func(record) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	a := about()
	a.GCC = h.version + ".0"
	p, err := New(a, []string{"Objects/list.o", "Python/pylifecycle.o"}, counted)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// normal gives counts in the form that merging gives them, without the counters that hold addresses of
// the stack: the kernel gives other ones to each process.
func normal(t *testing.T, data []byte) *counted {
	t.Helper()
	c, err := parseCounts(data)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range c.records {
		switch k, isCounters := r.(counters); {
		case isCounters && hasValues(k.kind):
			lists, err := readValues(k.values)
			if err != nil {
				t.Fatal(err)
			}
			k.values = nil
			for _, l := range lists {
				k.values = append(k.values, l.encode()...)
			}
			c.records[i] = k
		case isCounters && k.kind == 6:
			clear(k.values)
		}
	}
	return c
}

// What two trainings counted, merged, is what libgcov counts when the program runs twice.
func TestMergeAsLibgcov(t *testing.T) {
	t.Parallel()
	first, second := []string{"10", "2"}, []string{"50", "5"}
	// Each is compiled anew, as in a training of its own.
	a, b, both := trained(t, program, first), trained(t, program, second), trained(t, program, first, second)
	merged, err := Merge(map[string]*Profile{"aa": profileOf(t, a), "bb": profileOf(t, b)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := merged.data[0].ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	allow := cmp.AllowUnexported(counted{}, header{}, summary{}, function{}, counters{})
	if diff := cmp.Diff(normal(t, both), normal(t, got), allow); diff != "" {
		t.Errorf("(-libgcov +merged):\n%s", diff)
	}
	if diff := cmp.Diff(normal(t, a), normal(t, got), allow); diff == "" {
		t.Error("the second training changed nothing")
	}
	if len(a) == 0 || bytes.Equal(a[8:12], trained(t, program, first)[8:12]) {
		t.Error("two compilations have one stamp: the test shows less than it should")
	}
	if diff := cmp.Diff([]string{"aa", "bb"}, merged.About.Merged); diff != "" || merged.About.Task != nil {
		t.Errorf("it says of itself %+v", merged.About)
	}
	whole := written(t, merged)
	again, err := Merge(map[string]*Profile{"bb": profileOf(t, b), "aa": profileOf(t, a)})
	if err != nil || !bytes.Equal(whole, written(t, again)) {
		t.Errorf("merged again, it is another one: %v", err)
	}
	if _, err := Read(bytes.NewReader(whole), int64(len(whole))); err != nil {
		t.Error(err)
	}
	_, err = Merge(map[string]*Profile{"aa": profileOf(t, a), "cc": profileOf(t, trained(t, "int main(void) { return 0; }", nil))})
	expectMisfit(t, err, "functions of other shapes")
}

// The kinds of counters that a small program cannot fill.
func TestMergeCounters(t *testing.T) {
	t.Parallel()
	var many, more []int64
	for i := range int64(mostValues) {
		many, more = append(many, i, i+1), append(more, 100+i, 1)
	}
	lists := func(total int64, pairs []int64) []int64 {
		return append([]int64{total, int64(len(pairs) / 2)}, pairs...)
	}
	for name, c := range map[string]struct {
		kind       int
		a, b, want []int64
	}{
		"sums":             {0, []int64{1, math.MaxInt64}, []int64{2, 5}, []int64{3, math.MaxInt64}},
		"bits":             {6, []int64{5}, []int64{3}, []int64{7}},
		"first times":      {7, []int64{0, 3, 4}, []int64{2, 0, 1}, []int64{2, 3, 1}},
		"values":           {3, lists(7, []int64{9, 4, 2, 3}), lists(5, []int64{2, 1, 1, 4}), lists(12, []int64{1, 4, 2, 4, 9, 4})},
		"some were lost":   {3, lists(-7, []int64{9, 4}), lists(5, nil), lists(-12, []int64{9, 4})},
		"too many targets": {4, lists(500, many), lists(40, more), lists(-540, many)},
		"several places":   {4, []int64{1, 1, 8, 1, 0, 0}, []int64{0, 0, 2, 1, 6, 2}, []int64{1, 1, 8, 1, 2, 1, 6, 2}},
	} {
		for _, order := range [][2][]int64{{c.a, c.b}, {c.b, c.a}} {
			got, err := mergers[c.kind](order[0], order[1])
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Errorf("%s: %v, (-want +got):\n%s", name, err, diff)
			}
		}
	}
}

// TestNoMerge looks at what cannot be merged.
func TestNoMerge(t *testing.T) {
	t.Parallel()
	whole := func(change func(*Profile)) *Profile {
		p := newProfile(t)
		p.About.Objects = maps.Clone(p.About.Objects)
		change(p)
		return p
	}
	records := func(all ...uint32) func(*Profile) {
		return func(p *Profile) {
			head := []uint32{gcdaMagic, 0x4232322a, 0, 0xfeadf0dc}
			p.data[0] = p.data[0].Replace(words(slices.Concat(head, all, []uint32{0})...))
		}
	}
	for want, other := range map[string]func(*Profile){
		"CPython is 3.13.5 in the one, and 3.13.6 in the other": func(p *Profile) { p.About.Version = "3.13.6" },
		"one of them has no Python/new.o":                       func(p *Profile) { p.About.Objects["Python/new.o"] = false },
		"one of them has no Python/pylifecycle.o":               func(p *Profile) { delete(p.About.Objects, "Python/pylifecycle.o") },
		"a record that is not known":                            records(0x01b10000, 8, 0, 0),
		"Objects/list.gcda cannot be merged: it has a record":   records(0x01a70000, 0xfffffff0),
		"functions of other shapes":                             records(tagSummary, 8, 1, 1),
		"ends in the middle":                                    func(p *Profile) { p.data[0] = p.data[0].Replace(counts[:60]) },
		"they are of GCC 10.2, and 12 is the oldest":            func(p *Profile) { p.data[0] = p.data[0].Replace(oldCounts) },
		"take more than":                                        records(0x01a10000, 0x80000001),
	} {
		_, err := Merge(map[string]*Profile{"aa": newProfile(t), "bb": whole(other)})
		expectMisfit(t, err, want)
	}
	_, err := Merge(map[string]*Profile{"aa": newProfile(t)})
	expectMisfit(t, err, "two are the fewest")
	files := map[string][]tree.Entry{"a.gcda": {newProfile(t).data[0]}, "b.gcda": {newProfile(t).data[0]}}
	if _, err := mergeAll(files, 2*int64(len(counts))); err != nil {
		t.Error(err)
	}
	_, err = mergeAll(files, 2*int64(len(counts))-1)
	expectMisfit(t, err, "they have more than")
	for name, values := range map[string][]int64{
		"half a place": {1}, "more values than there are": {1, 2, 3, 4}, "below zero": {1, -1}, "no total": {math.MinInt64, 0},
	} {
		if got, err := mergeValues(values, values); err == nil {
			t.Errorf("%s is %v", name, got)
		}
	}
}

// FuzzMerge merges what anybody may have written with itself: the result is read again.
func FuzzMerge(f *testing.F) {
	f.Add(counts)
	f.Add(oldCounts)
	f.Add(words(gcdaMagic, 0x4232322a, 0, 0, 0x01a70000, 32, 1, 0, 1, 0, 8, 0, 1, 0, 0))
	f.Add(words(gcdaMagic, 0x4232322a, 0, 0, 0x01a70000, 0xffffff00, 0x01a10000, 0xffffff00, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseCounts(data)
		if err != nil {
			return
		}
		more, _ := parseCounts(data)
		if c.add(more) != nil {
			return
		}
		again := c.encode()
		if _, err := readCounts(bytes.NewReader(again), int64(len(again))); err != nil {
			t.Errorf("%s: what was merged is refused: %v", strconv.Quote(string(data)), err)
		}
		if len(again) > len(data) {
			t.Errorf("%s: %d bytes are merged to %d", strconv.Quote(string(data)), len(data), len(again))
		}
	})
}
