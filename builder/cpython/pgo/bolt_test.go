package pgo

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/faults"
	"ampoule/tree"
)

// branches are lines that merge-fdata 19 wrote for a small program.
const branches = "1 main 58 1 g/1 0 0 2000\n0 [unknown] 0 1 frame_dummy/1 0 0 2\n1 f/1 31 1 puts@PLT 0 0 3564\n1 _start 1b 0 [unknown] 0 0 2\n"

func TestReadBranches(t *testing.T) {
	t.Parallel()
	if n, err := readBranches(strings.NewReader(branches)); n != 4 || err != nil {
		t.Errorf("%d branches, %v", n, err)
	}
	for n := range branches {
		// A file that ends behind a line is as long as the profile says, or not.
		if n > 0 && branches[n-1] == '\n' {
			continue
		}
		if got, err := readBranches(strings.NewReader(branches[:n])); err == nil {
			t.Errorf("%d bytes of them have %d branches", n, got)
		}
	}
	for text, want := range map[string]string{
		"":                                     "no data for BOLT",
		"\n":                                   "line 1 is no branch",
		branches + "1 main 58 1 g/1 0 0\n":     "line 5 is no branch",
		"6 main 58 1 g/1 0 0 2000\n":           "line 1 is no branch",
		"1 main 58 1 g/1 0 0 -2\n":             "line 1 is no branch",
		"1 main 58 1 g/1 0 0 2000 \n":          "line 1 is no branch",
		"1 main x 1 g/1 0 0 2000\n":            "line 1 is no branch",
		"1  58 1 g/1 0 0 2000\n":               "line 1 is no branch",
		"4 main 58 4 heap 0 2000\n":            "line 1 is no branch",
		"no_lbr\n":                             "line 1 is no branch",
		"---\nheader:\n":                       "line 1 is no branch",
		"1 main 58 1 g/1 0 0 2000\r\n":         "line 1 is no branch",
		"1 main 58 1 g/1 0 0 2" + zeros + "\n": "line 1 is no branch",
		branches + strings.Repeat("a", 1<<20):  "line 5 has more than 16384 bytes",
	} {
		if n, err := readBranches(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q has %d branches, %v, want %q", text, n, err, want)
		}
	}
}

var zeros = strings.Repeat("0", 20)

// What BOLT 19 told of a program, of the same program with another function, and with -stale-threshold=0.
func TestReadMatch(t *testing.T) {
	t.Parallel()
	const data = "BOLT-INFO: enabling lite mode\nBOLT-INFO: 9 out of 13 functions in the binary (69.2%) have non-empty execution profile\nBOLT-INFO: 2 functions with profile could not be optimized\n"
	const samples = "BOLT-WARNING: 47444 out of 199568 samples in the binary (23.8%) belong to functions with invalid (possibly stale) profile.\nBOLT-INFO: 0 stale functions (0.0% of all stale) have matching block count.\n"
	for told, want := range map[string]Match{
		data: {9, 0},
		data + "BOLT-WARNING: 1 (11.1% of all profiled) function have invalid (possibly stale) profile. Use -report-stale to see the list.\n" + samples: {9, 1},
		data + "BOLT-ERROR: 6 (66.7% of all profiled) functions have invalid (possibly stale) profile. Use -report-stale to see the list.\n" + samples:  {9, 6},
	} {
		if got, err := ReadMatch(told); got != want || err != nil {
			t.Errorf("%+v, %v of\n%s", got, err, told)
		}
	}
	for _, told := range []string{"", "BOLT-INFO: enabling lite mode\n", "x " + data[30:], strings.ReplaceAll(data, "9 out", "99999999999999999999 out")} {
		if got, err := ReadMatch(told); faults.Of(err) != faults.Build {
			t.Errorf("%+v, %v of %q", got, err, told)
		}
	}
}

// boltProfile is a profile with data for one of two binaries.
func boltProfile(t *testing.T) *Profile {
	t.Helper()
	p := newProfile(t)
	if err := p.SetBolt("19.1.7", map[string]Match{"python": {9, 0}, "libpython3.13.so.1.0": {}}, fdata(t, "python.fdata", branches)); err != nil {
		t.Fatal(err)
	}
	return p
}

func fdata(t *testing.T, name, text string) *tree.Tree {
	t.Helper()
	data, err := tree.New([]tree.Entry{tree.FileEntry(name, 0o600, []byte(text))})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestBoltProfile(t *testing.T) {
	t.Parallel()
	got := readAgain(t, boltProfile)
	want := &Bolt{Version: "19.1.7", Binaries: map[string]Binary{"python": {4, Match{9, 0}}, "libpython3.13.so.1.0": {}}}
	if diff := cmp.Diff(want, got.About.Bolt); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	data, err := got.BoltData(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e, ok := data.Lookup("python.fdata")
	if text, err := e.ReadAll(); !ok || err != nil || string(text) != branches {
		t.Errorf("BOLT reads %q, %v", text, err)
	}
	counts, err := got.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, mixed := counts.Lookup("python.fdata"); mixed {
		t.Error("the compiler is given BOLT's data")
	}
	// Without it, nothing of a profile says that there is BOLT.
	if plain := written(t, newProfile(t)); bytes.Contains(plain, []byte("bolt")) {
		t.Error("a profile of no BOLT has another form")
	}
	_, err = Merge(map[string]*Profile{"a": newProfile(t), "b": got})
	if faults.Of(err) != faults.Input || !strings.Contains(strings.Join(faults.Hints(err), ""), "train.commands") {
		t.Errorf("merging: %v", err)
	}
}

// Data that is not what the profile says of it is refused, whoever made it.
func TestNoBoltData(t *testing.T) {
	t.Parallel()
	about, err := json.Marshal(boltProfile(t).About)
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(p *Profile){
		"bolt/python.fdata: it ends in the middle of a line": func(p *Profile) { p.bolt[0] = p.bolt[0].Replace([]byte(branches[:30])) },
		"bolt/python.fdata: it has no data for BOLT":         func(p *Profile) { p.bolt[0] = p.bolt[0].Replace(nil) },
		"it lists 4 branches of python for BOLT and has 1":   func(p *Profile) { p.bolt[0] = p.bolt[0].Replace([]byte(branches[:25])) },
		"it has no data for BOLT, and says that":             func(p *Profile) { p.bolt = nil },
		"it has python.fdata and does not list it":           func(p *Profile) { p.About.Bolt = nil },
		"it has bolt/python.fdata and does not list it":      func(p *Profile) { delete(p.About.Bolt.Binaries, "python") },
		"it has bolt/python.yaml and does not list it":       func(p *Profile) { p.bolt[0].Path = "python.yaml" },
		"it has bolt/-data.fdata and does not list it": func(p *Profile) {
			p.bolt[0].Path = "-data.fdata"
			p.About.Bolt.Binaries["-data"] = p.About.Bolt.Binaries["python"]
		},
		"bolt/lib does not belong into a profile":                    func(p *Profile) { p.bolt[0].Path = "lib/python.fdata" },
		"it lists BOLT's data for libpython3.13.so.1.0 and has none": func(p *Profile) { p.About.Bolt.Binaries["libpython3.13.so.1.0"] = Binary{Branches: 1} },
		"it lists BOLT's data for other and has none":                func(p *Profile) { p.About.Bolt.Binaries["other"] = Binary{Match: Match{Functions: 1}} },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			whole := boltProfile(t)
			p := &Profile{data: whole.data, bolt: slices.Clone(whole.bolt)}
			if err := json.Unmarshal(about, &p.About); err != nil {
				t.Fatal(err)
			}
			change(p)
			data := written(t, p)
			_, err := Read(bytes.NewReader(data), int64(len(data)))
			expectMisfit(t, err, want)
		})
	}
	huge := boltProfile(t)
	huge.bolt[0].Size = mostFdata + 1
	expectMisfit(t, huge.checkBolt(), "are the most")
	p := newProfile(t)
	if err := p.SetBolt("19.1.7", map[string]Match{"python": {}}, &tree.Tree{}); faults.Of(err) != faults.Build {
		t.Errorf("nothing was counted: %v", err)
	}
	expectMisfit(t, p.SetBolt("19.1.7", map[string]Match{"python": {}}, fdata(t, "python.fdata", "no_lbr\n")), "line 1 is no branch")
}

// With BOLT, how the interpreter is linked counts, and whether the compiler aligns functions. What BOLT makes of its data does not.
func TestFitsBolt(t *testing.T) {
	t.Parallel()
	trained := boltProfile(t).About
	build := func() About {
		a := about()
		a.Configure, a.Bolt = slices.Clone(a.Configure), &Bolt{Version: "19.1.7"}
		return a
	}
	same := build()
	same.Configure = append(same.Configure, "BOLT_APPLY_FLAGS=-icf=1", "CC=gcc-12", "LLVM_BOLT=/usr/lib/llvm-19/bin/llvm-bolt")
	if err := trained.Fits(same); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*About){
		"it has data for BOLT, and the recipe has no --enable-bolt": func(a *About) { a.Bolt = nil },
		"BOLT is 19.1.7 in the profile, and 19.1.8 in the build":    func(a *About) { a.Bolt.Version = "19.1.8" },
		"configure is": func(a *About) { a.Configure = append(a.Configure, "LDFLAGS=-Wl,-z,now") },
		"configure is --enable-optimizations --prefix=/opt/ampoule in": func(a *About) { a.Configure = append(a.Configure, "CFLAGS_NODIST=-falign-functions=32") },
		"make is nothing": func(a *About) { a.Make = []string{"LINK_PYTHON_OBJS=$(LIBRARY_OBJS)"} },
	} {
		is := build()
		change(&is)
		err := trained.Fits(is)
		expectMisfit(t, err, want)
		if upgrade := strings.Contains(strings.Join(faults.Hints(err), ""), "--upgrade"); upgrade != strings.HasPrefix(want, "BOLT is") {
			t.Errorf("%v hints at --upgrade: %t", err, upgrade)
		}
	}
	expectMisfit(t, about().Fits(build()), "it has no data for BOLT, and the recipe has --enable-bolt")
	if err := trained.Bolt.FitsBinaries([]string{"python", "libpython3.13.so.1.0"}); err != nil {
		t.Error(err)
	}
	expectMisfit(t, trained.Bolt.FitsBinaries([]string{"python"}), "BOLT arranges libpython3.13.so.1.0, python in the profile, and python in the build")
	for name, binary := range maps.All(trained.Bolt.Binaries) {
		if err := trained.Bolt.FitsMatch(name, binary.Match); err != nil {
			t.Error(err)
		}
	}
	expectMisfit(t, trained.Bolt.FitsMatch("python", Match{9, 5}), "BOLT has data for 9 functions of python in the build, and 5 do not fit")
	expectMisfit(t, trained.Bolt.FitsMatch("python", Match{0, 0}), "in training it had data for 9, and 0 did not fit")
}
