package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	// mostSeeds is how many seeds a fuzzer may have in the repository, largestSeed how many
	// bytes one of them. The rest is in go's cache.
	mostSeeds   = 30
	largestSeed = 64 << 10
)

// An input of a fuzzer is a seed, which `make seeds` chooses, or a failure that was found
// once, whose name says what it showed.
var (
	seedName  = regexp.MustCompile(`^seed-[0-9a-f]{16}$`)
	foundName = regexp.MustCompile(`^found-[a-z]+(-[a-z0-9]+)*$`)
)

func TestCorpora(t *testing.T) {
	t.Parallel()
	faults, fuzzers := corpora(t, filepath.Join("..", ".."))
	if fuzzers < 5 {
		t.Errorf("only %d fuzzers have seeds", fuzzers)
	}
	if len(faults) > 0 {
		t.Error(strings.Join(faults, "\n"))
	}
}

func TestCorporaRefuses(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, "tree", "testdata", "fuzz", "FuzzIt")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range mostSeeds + 1 {
		write(t, filepath.Join(dir, fmt.Sprintf("seed-%016x", i)), "small")
	}
	write(t, filepath.Join(dir, "found-endless-loop"), strings.Repeat("large", largestSeed))
	write(t, filepath.Join(dir, "0316fd90b4a76263"), "as go names it")
	write(t, filepath.Join(dir, "seed-0000000000000000"), strings.Repeat("large", largestSeed))
	got, fuzzers := corpora(t, root)
	want := []string{
		"tree/testdata/fuzz/FuzzIt has 31 seeds, more than 30: run `make seeds`",
		"tree/testdata/fuzz/FuzzIt/0316fd90b4a76263 is no seed-HASH (`make seeds` chooses them): name it found-WHAT if it was a failure",
		"tree/testdata/fuzz/FuzzIt/seed-0000000000000000 has 327680 bytes, more than 65536",
	}
	if diff := cmp.Diff(want, got); diff != "" || fuzzers != 1 {
		t.Errorf("%d fuzzers, faults (-want +got):\n%s", fuzzers, diff)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// corpora lists, sorted, what is wrong with the inputs of fuzzers below a directory, and
// counts the fuzzers that have seeds.
func corpora(t *testing.T, root string) (faults []string, fuzzers int) {
	t.Helper()
	seeds := map[string]int{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(filepath.Dir(filepath.Dir(path)), filepath.Join("testdata", "fuzz")):
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		isSeed := seedName.MatchString(entry.Name())
		if isSeed {
			seeds[filepath.Dir(name)]++
		}
		switch {
		case !isSeed && !foundName.MatchString(entry.Name()):
			faults = append(faults, name+" is no seed-HASH (`make seeds` chooses them): name it found-WHAT if it was a failure")
		case isSeed && info.Size() > largestSeed:
			faults = append(faults, fmt.Sprintf("%s has %d bytes, more than %d", name, info.Size(), largestSeed))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, n := range seeds {
		if n > mostSeeds {
			faults = append(faults, fmt.Sprintf("%s has %d seeds, more than %d: run `make seeds`", dir, n, mostSeeds))
		}
	}
	slices.Sort(faults)
	return faults, len(seeds)
}
