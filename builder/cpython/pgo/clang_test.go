package pgo

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ampoule/faults"
	"ampoule/tree"
)

// indexedCounts is a profile in the form of clang's for functions of these names: the first bucket of three has all.
func indexedCounts(names ...string) []byte {
	var b []byte
	word := func(n uint64) { b = binary.LittleEndian.AppendUint64(b, n) }
	for _, n := range []uint64{indexedMagic, 12, 0, 0, 0} {
		word(n)
	}
	bucket := uint64(len(b))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(names)))
	for _, name := range names {
		word(7)
		word(uint64(len(name)))
		word(16)
		b = append(b, name...)
		word(1)
		word(2)
	}
	binary.LittleEndian.PutUint64(b[32:], uint64(len(b)))
	for _, n := range []uint64{3, uint64(len(names)), bucket, 0, 0} {
		word(n)
	}
	return b
}

func TestReadIndexed(t *testing.T) {
	t.Parallel()
	whole := indexedCounts("main", "list.c;append")
	if n, err := readIndexed(bytes.NewReader(whole), int64(len(whole))); n != 2 || err != nil {
		t.Errorf("counts of %d functions, %v", n, err)
	}
	for n := range whole {
		if got, err := readIndexed(bytes.NewReader(whole[:n]), int64(n)); err == nil {
			t.Errorf("%d bytes of them have %d functions", n, got)
		}
	}
	changed := func(at int, value uint64) []byte {
		b := slices.Clone(whole)
		binary.LittleEndian.PutUint64(b[at:], value)
		return b
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"GCC's":            {slices.Concat(counts, counts), "no counts of clang's"},
		"an old version":   {changed(8, 4), "its version is 4"},
		"of another stage": {changed(8, 12|1<<56), "front end"},
		"no table":         {changed(32, 1<<63), "ends in the middle"},
		"many buckets":     {changed(len(whole)-40, 1<<40), "ends in the middle"},
		"one lost":         {changed(len(whole)-32, 3), "it lists 3 functions and has 2"},
		"one bucket twice": {changed(len(whole)-16, 40), "it lists 2 functions and has 4"},
		"in the header":    {changed(len(whole)-24, 8), "begin in its header"},
		"a huge name":      {changed(50, 1<<62), "ends in the middle"},
	} {
		if _, err := readIndexed(bytes.NewReader(c.data), int64(len(c.data))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// What real llvm-profdata have written is read.
func TestReadIndexedOfLLVM(t *testing.T) {
	t.Parallel()
	// What llvm-profdata 16 and 19 made of a program with three functions, one of them static.
	for _, version := range []string{"16", "19"} {
		data, err := os.ReadFile(filepath.Join("testdata", "clang-"+version+".profdata"))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := readIndexed(bytes.NewReader(data), int64(len(data))); n != 3 || err != nil {
			t.Errorf("clang %s: counts of %d functions, %v", version, n, err)
		}
	}
}

// clangAbout is what a profile of clang's says of itself.
func clangAbout() About {
	a := about()
	a.GCC, a.Clang, a.Compilers = "", "19.1.7", []string{"clang-19=1:19.1.7-3", "llvm-19=1:19.1.7-3"}
	return a
}

func clangProfile(t *testing.T, name string, data []byte) (*Profile, error) {
	t.Helper()
	counted, err := tree.New([]tree.Entry{tree.FileEntry(name, 0o644, data)})
	if err != nil {
		t.Fatal(err)
	}
	return New(clangAbout(), []string{"Objects/list.o", "Python/pylifecycle.o"}, counted)
}

func TestClangProfile(t *testing.T) {
	t.Parallel()
	p, err := clangProfile(t, ClangData, indexedCounts("main"))
	if err != nil {
		t.Fatal(err)
	}
	data := written(t, p)
	got, err := Read(bytes.NewReader(data), int64(len(data)))
	if err != nil || got.About.Functions != 1 || len(got.About.Objects) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	laid, err := got.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := laid.Lookup(ClangData); !ok {
		t.Error("the counts are elsewhere")
	}
	build := clangAbout()
	build.Configure = append(slices.Clone(build.Configure), "CC=clang-19", "LLVM_AR=/usr/bin/llvm-ar-19")
	if err := got.About.Fits(build); err != nil {
		t.Error(err)
	}
	build.Clang = "20.1.0"
	expectMisfit(t, got.About.Fits(build), "clang is 19.1.7 in the profile, and 20.1.0 in the build")
	expectMisfit(t, got.About.FitsObjects([]string{"Objects/list.o"}), "the build has no Python/pylifecycle.o")
	if _, err := Merge(map[string]*Profile{"a": got, "b": got}); faults.Of(err) != faults.Input || !strings.Contains(strings.Join(faults.Hints(err), ""), "train.commands") {
		t.Errorf("merging: %v", err)
	}
	huge := got.data[0]
	huge.Size = mostIndexed + 1
	expectMisfit(t, (&Profile{About: got.About, data: []tree.Entry{huge}}).check(), "are the most")
	got.About.Functions = 2
	expectMisfit(t, got.check(), "it lists counts for 2 functions and has those for 1")
	nothing := clangAbout()
	nothing.Format = Format
	empty := written(t, &Profile{About: nothing, data: []tree.Entry{tree.FileEntry(ClangData, 0o644, indexedCounts())}})
	_, err = Read(bytes.NewReader(empty), int64(len(empty)))
	expectMisfit(t, err, "it has no counts")
	if _, err := clangProfile(t, ClangData, indexedCounts()); faults.Of(err) != faults.Build {
		t.Errorf("nothing was counted: %v", err)
	}
	_, err = clangProfile(t, "Objects/list.gcda", indexedCounts("main"))
	expectMisfit(t, err, "clang counts into "+ClangData)
	_, err = clangProfile(t, ClangData, counts)
	expectMisfit(t, err, ClangData)
}

// Flags that decide about code when functions have their shapes leave a profile as it is.
func TestShaping(t *testing.T) {
	t.Parallel()
	trained := about()
	for _, same := range [][]string{
		{"CFLAGS_NODIST=-fno-plt -falign-functions=32"}, {"CFLAGS=-fprofile-partial-training"}, {"CFLAGS_NODIST=-ftls-model=initial-exec"}, {"LDFLAGS_NODIST=-Wl,-z,common-page-size=2097152", "LDFLAGS=-Wl,-z,x86-64-v3"}, {"CC=gcc-12", "CXX=g++-12"},
	} {
		build := about()
		build.Configure = append(slices.Clone(build.Configure), same...)
		if err := trained.Fits(build); err != nil {
			t.Errorf("%q: %v", same, err)
		}
	}
	for _, other := range []string{"CFLAGS_NODIST=-O2 -fno-plt", "CFLAGS=-fno-inline", "CFLAGS=-march=x86-64-v3", "OPT=-O2", "CPPFLAGS=-DX"} {
		build := about()
		build.Configure = append(slices.Clone(build.Configure), other)
		expectMisfit(t, trained.Fits(build), "configure is")
	}
}
