package pgo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ampoule/faults"
	"ampoule/tree"
)

// BoltExt ends the name of what BOLT reads of a binary: python.fdata is of python.
const BoltExt = ".fdata"

// boltDir is the directory of BOLT's data: bolt/python.fdata.
const boltDir = "bolt"

// Bolt says what was counted for BOLT, which arranges the code of linked files anew.
type Bolt struct {
	// Version is llvm-bolt's, such as 19.1.7.
	Version string `json:"version"`
	// Binaries are the files that CPython's Makefile has BOLT arrange (BOLT_BINARIES).
	Binaries map[string]Binary `json:"binaries"`
}

// Binary is what was counted in one file. The zero value is of one that did not run: it stays as
// it was linked.
type Binary struct {
	// Branches is how many lines its data has.
	Branches int `json:"branches"`
	Match
}

// Match is how llvm-bolt found that data fits a file.
type Match struct {
	// Functions is of how many functions there is data, Stale of how many of them it has another shape.
	Functions int `json:"functions"`
	Stale     int `json:"stale"`
}

// What llvm-bolt tells of data (LLVM's bolt/lib/Passes/BinaryPasses.cpp, PrintProgramStats). Of functions that
// are not stale it tells nothing.
var (
	toldFunctions = regexp.MustCompile(`(?m)^BOLT-INFO: (\d{1,9}) out of \d+ functions in the binary \([^)]*\) have non-empty execution profile`)
	toldStale     = regexp.MustCompile(`(?m)^BOLT-[A-Z]+: (\d{1,9}) \([^)]*\) functions? have invalid \(possibly stale\) profile`)
)

// ReadMatch reads what llvm-bolt told when it arranged a file.
func ReadMatch(told string) (Match, error) {
	var m Match
	found := toldFunctions.FindStringSubmatch(told)
	if found == nil {
		return m, faults.New(faults.Build, "the log has what it said; BOLT 19 says it", "llvm-bolt did not say of how many functions it has data")
	}
	var err error
	if m.Functions, err = strconv.Atoi(found[1]); err != nil {
		return m, err
	}
	stale := toldStale.FindStringSubmatch(told)
	if stale != nil {
		m.Stale, err = strconv.Atoi(stale[1])
	}
	return m, err
}

// SetBolt adds what was counted for BOLT: data, a tree that has NAME.fdata for each of the binaries that
// ran, and how each was found to fit.
func (p *Profile) SetBolt(version string, binaries map[string]Match, data *tree.Tree) error {
	about := &Bolt{Version: version, Binaries: make(map[string]Binary, len(binaries))}
	for name := range binaries {
		about.Binaries[name] = Binary{}
	}
	p.About.Bolt, p.bolt = about, nil
	for _, e := range data.Entries() {
		if e.Kind != tree.File {
			continue
		}
		branches, err := branchesOf(e)
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(e.Path, BoltExt)
		about.Binaries[name] = Binary{Branches: branches, Match: binaries[name]}
		p.bolt = append(p.bolt, e)
	}
	if len(p.bolt) == 0 {
		return faults.New(faults.Build, "the training must run the interpreter, and end by itself", "BOLT counted nothing")
	}
	return p.checkBolt()
}

// checkBolt compares BOLT's data with what the profile says of itself.
func (p *Profile) checkBolt() error {
	if p.About.Bolt == nil {
		if len(p.bolt) > 0 {
			return misfit("it has %s and does not list it", p.bolt[0].Path)
		}
		return nil
	}
	if len(p.bolt) == 0 {
		return misfit("it has no data for BOLT, and says that it has some")
	}
	listed := maps.Clone(p.About.Bolt.Binaries)
	for _, e := range p.bolt {
		name, named := strings.CutSuffix(e.Path, BoltExt)
		binary := listed[name]
		if !named || binary.Branches == 0 || !binaryName.MatchString(name) {
			return misfit("it has %s and does not list it", path.Join(boltDir, e.Path))
		}
		branches, err := branchesOf(e)
		if err != nil {
			return err
		}
		if branches != binary.Branches {
			return misfit("it lists %d branches of %s for BOLT and has %d", binary.Branches, name, branches)
		}
		delete(listed, name)
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if listed[name] != (Binary{}) {
			return misfit("it lists BOLT's data for %s and has none", name)
		}
	}
	return nil
}

// BoltData is the tree of BOLT's data: NAME.fdata for each binary that has some.
func (p *Profile) BoltData(ctx context.Context) (*tree.Tree, error) { return readable(ctx, p.bolt) }

// FitsBinaries compares the files that a build has BOLT arrange with those of the training.
func (b *Bolt) FitsBinaries(names []string) error {
	was, is := slices.Sorted(maps.Keys(b.Binaries)), slices.Sorted(slices.Values(names))
	if !slices.Equal(was, is) {
		return misfit("BOLT arranges %s in the profile, and %s in the build", strings.Join(was, ", "), strings.Join(is, ", "))
	}
	return nil
}

// FitsMatch compares how data was found to fit a file with how it fitted that of the training. A function that
// is gone, or that has another shape, was compiled of something else.
func (b *Bolt) FitsMatch(name string, is Match) error {
	if was := b.Binaries[name].Match; was != is {
		return misfit("BOLT has data for %d functions of %s in the build, and %d do not fit; in training it had data for %d, and %d did not fit",
			is.Functions, name, is.Stale, was.Functions, was.Stale)
	}
	return nil
}

// Counted is of how many files there is data.
func (b *Bolt) Counted() int {
	n := 0
	for _, binary := range b.Binaries {
		n += min(binary.Branches, 1)
	}
	return n
}

// version is empty without BOLT.
func (b *Bolt) version() string {
	if b == nil {
		return ""
	}
	return b.Version
}

// errMergeBolt says why profiles with BOLT's data are not merged.
var errMergeBolt = faults.New(faults.Input, "train once with all commands: train.commands of the recipe",
	"profiles with BOLT's data cannot be merged: it was counted in the interpreter that the other counts make, and merged counts make another one")

// mostFdata bounds the data of one binary, in bytes, and mostLine a line of it. CPython 3.13 has a few MB.
const (
	mostFdata = 64 << 20
	mostLine  = 16 << 10
)

// binaryName is a name of a file in the build directory, which needs no quoting anywhere.
var binaryName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+-]*$`)

// IsBinary reports whether a text is a name that BOLT's data can be of.
func IsBinary(name string) bool { return binaryName.MatchString(name) }

func branchesOf(e tree.Entry) (int, error) {
	if e.Size > mostFdata {
		return 0, misfit("%s has %d bytes; %d are the most", path.Join(boltDir, e.Path), e.Size, mostFdata)
	}
	content, err := e.Content.Open()
	if err != nil {
		return 0, fmt.Errorf("reading profile: %w", err)
	}
	defer content.Close()
	branches, err := readBranches(content)
	if err != nil {
		return 0, misfit("%s: %w", path.Join(boltDir, e.Path), err)
	}
	return branches, nil
}

// readBranches reads what an instrumented binary counted, as merge-fdata writes it, and returns how many branches
// it has. What is no such text, or not the whole of one, is an error.
func readBranches(r io.Reader) (branches int, err error) {
	lines := bufio.NewReaderSize(r, mostLine)
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0 && branches > 0:
			return branches, nil
		case errors.Is(err, io.EOF) && branches == 0:
			return 0, errors.New("it has no data for BOLT")
		case errors.Is(err, io.EOF):
			return 0, errors.New("it ends in the middle of a line")
		case errors.Is(err, bufio.ErrBufferFull):
			return 0, fmt.Errorf("line %d has more than %d bytes", branches+1, mostLine)
		case err != nil:
			return 0, err
		}
		branches++
		if !isBranch(strings.Split(strings.TrimSuffix(string(line), "\n"), " ")) {
			return 0, fmt.Errorf("line %d is no branch", branches)
		}
	}
}

// isBranch knows a branch that was counted (LLVM's bolt/include/bolt/Profile/DataReader.h): whether a symbol's name
// follows, the name, and the offset in hexadecimal digits, of where it leaves and of where it leads; how often
// it was mispredicted, and how often it was taken.
func isBranch(fields []string) bool {
	if len(fields) != 8 {
		return false
	}
	for _, place := range [][]string{fields[:3], fields[3:6]} {
		_, err := strconv.ParseUint(place[2], 16, 64)
		if err != nil || place[1] == "" || !slices.Contains([]string{"0", "1", "2"}, place[0]) {
			return false
		}
	}
	for _, count := range fields[6:] {
		if _, err := strconv.ParseUint(count, 10, 64); err != nil {
			return false
		}
	}
	return true
}
