package pgo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/faults"
	"ampoule/tree"
)

// counts is what GCC 12.2 wrote for a program of two functions: a summary, and for each
// function its counters; those of the last one are all zero.
var counts = words(
	0x67636461, 0x4232322a, 0x23872ab7, 0xfeadf0dc,
	0xa1000000, 8, 1, 11,
	0x01000000, 12, 0x067072eb, 0xc8127152, 0x722c2630,
	0x01a10000, 24, 1, 0, 7, 0, 11, 0,
	0x01af0000, 8, 1, 0,
	0x01000000, 12, 0x0433e5cc, 0x8debf0a2, 0x154aaef7,
	0x01a10000, 0xfffffff0, 0x01af0000, 0xfffffff8,
	0,
)

// oldCounts is what GCC 10.2 wrote for such a program: without a checksum, lengths in words, all
// zeros written.
var oldCounts = words(append(oldHead(0x4230322a), 0x01a10000, 2, 0, 0, 0x01af0000, 2, 0, 0, 0)...)

// elevenCounts is what GCC 11.3 wrote for the same one: zeros are not written.
var elevenCounts = words(append(oldHead(0x4231332a), 0x01a10000, 0xfffffffe, 0x01af0000, 0xfffffffe, 0)...)

// oldHead is what both wrote, up to the counters of the last function.
func oldHead(version uint32) []uint32 {
	return []uint32{
		0x67636461, version, 0x29f93006,
		0xa1000000, 2, 1, 11,
		0x01000000, 3, 0x067072eb, 0x397fcd91, 0x1921ea89,
		0x01a10000, 6, 1, 0, 11, 0, 0, 0,
		0x01af0000, 2, 1, 0,
		0x01000000, 3, 0x41e25752, 0x047b7580, 0xa43083b8,
	}
}

func words(all ...uint32) []byte {
	var b []byte
	for _, word := range all {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	return b
}

func TestReadCounts(t *testing.T) {
	t.Parallel()
	for want, counts := range map[string][]byte{"12.2": counts, "11.3": elevenCounts, "10.2": oldCounts} {
		version, err := readCounts(bytes.NewReader(counts), int64(len(counts)))
		if version != want || err != nil {
			t.Errorf("counts are of %q, %v; want %q", version, err, want)
		}
		for n := range counts {
			if version, err := readCounts(bytes.NewReader(counts[:n]), int64(n)); err == nil {
				t.Errorf("%d bytes of them are of %q", n, version)
			}
		}
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"a program":   {[]byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00"), "no counts"},
		"more behind": {append(slices.Clone(counts), 0), "behind its end"},
		"of GCC 9":    {words(gcdaMagic, 0x4139332a), "GCC 9"},
		"huge words":  {words(gcdaMagic, 0x4230322a, 0, 0x01000000, 0x20000000), "the length 536870912"},
		"no version":  {words(gcdaMagic, 0x62313232), "version"},
		"huge record": {words(gcdaMagic, 0x4232322a, 0, 0, 0x01000000, 0x7fffffff), "are the most"},
	} {
		if _, err := readCounts(bytes.NewReader(c.data), int64(len(c.data))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// about is what the profile of the tests says of itself.
func about() About {
	return About{
		Version: "3.13.5", Source: "93e5", GCC: "12.2.0", Compilers: []string{"gcc-12=12.2.0-14"},
		Configure: []string{"--prefix=/opt/ampoule", "--enable-optimizations"}, Task: []string{"-m", "test", "--pgo"},
	}
}

// newProfile is a profile of two objects, one of which was not run.
func newProfile(t *testing.T) *Profile {
	t.Helper()
	counted, err := tree.New([]tree.Entry{tree.FileEntry("Objects/list.gcda", 0o600, counts)})
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(about(), []string{"Objects/list.o", "Python/pylifecycle.o"}, counted)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func written(t *testing.T, p *Profile) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// readAgain reads a profile as it was written, which has one form.
func readAgain(t *testing.T, made func(*testing.T) *Profile) *Profile {
	t.Helper()
	first := written(t, made(t))
	if !bytes.Equal(first, written(t, made(t))) {
		t.Error("one profile has two forms")
	}
	got, err := Read(bytes.NewReader(first), int64(len(first)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, written(t, got)) {
		t.Error("what was read has another form")
	}
	return got
}

func TestProfile(t *testing.T) {
	t.Parallel()
	got := readAgain(t, newProfile)
	want := about()
	want.Format, want.Objects = Format, map[string]bool{"Objects/list.o": true, "Python/pylifecycle.o": false}
	if diff := cmp.Diff(want, got.About); diff != "" || got.About.Counted() != 1 {
		t.Errorf("(-want +got):\n%s", diff)
	}
	laid, err := got.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e, ok := laid.Lookup("Objects/list.gcda")
	if data, err := e.ReadAll(); !ok || err != nil || !bytes.Equal(data, counts) {
		t.Errorf("the counts are %q, %v", data, err)
	}
}

// TestNoProfile looks at what is refused as a profile, whoever made it.
func TestNoProfile(t *testing.T) {
	t.Parallel()
	whole := newProfile(t)
	for name, c := range map[string]struct {
		change func(p *Profile)
		want   string
	}{
		"truncated counts":     {func(p *Profile) { p.data[0] = p.data[0].Replace(counts[:40]) }, "Objects/list.gcda: it ends in the middle"},
		"counts of none":       {func(p *Profile) { p.About.Objects["Objects/list.o"] = false }, "counts for Objects/list.o and does not list them"},
		"counts that are gone": {func(p *Profile) { p.About.Objects["Python/pylifecycle.o"] = true }, "lists counts for Python/pylifecycle.o and has none"},
		"an unknown object":    {func(p *Profile) { delete(p.About.Objects, "Objects/list.o") }, "does not list them"},
		"another compiler":     {func(p *Profile) { p.About.GCC = "12.20.1" }, "is of GCC 12.2, and the profile of GCC 12.20.1"},
		"another format":       {func(p *Profile) { p.About.Format++ }, "its format is 2"},
		"no counts":            {func(p *Profile) { p.About.Objects["Objects/list.o"], p.data = false, nil }, "it has no counts"},
		"no counts' name":      {func(p *Profile) { p.data[0].Path = "Objects/list.so" }, "does not list them"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &Profile{About: whole.About, data: slices.Clone(whole.data)}
			p.About.Objects = map[string]bool{"Objects/list.o": true, "Python/pylifecycle.o": false}
			c.change(p)
			data := written(t, p)
			_, err := Read(bytes.NewReader(data), int64(len(data)))
			expectMisfit(t, err, c.want)
		})
	}
	for name, files := range map[string][]tree.Entry{
		"nothing":      nil,
		"other files":  {tree.FileEntry(aboutName, 0o644, []byte("{}")), tree.FileEntry("more", 0o644, nil)},
		"no JSON":      {tree.FileEntry(aboutName, 0o644, []byte("?"))},
		"unknown keys": {tree.FileEntry(aboutName, 0o644, []byte(`{"format": 1, "more": 1}`))},
		"a link":       {{Path: "data", Kind: tree.Dir, Mode: 0o755}, {Path: "data/a.gcda", Kind: tree.Symlink, Link: "/etc/passwd", Mode: 0o777}},
	} {
		made, err := tree.New(files)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := made.WriteTar(&b, "", tree.Time); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Read(bytes.NewReader(b.Bytes()), int64(b.Len()))
			expectMisfit(t, err, "")
		})
	}
}

func expectMisfit(t *testing.T, err error, want string) {
	t.Helper()
	if _, ok := errors.AsType[*MisfitError](err); !ok || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
		return
	}
	if faults.Of(err) != faults.Input || !strings.Contains(strings.Join(faults.Hints(err), "\n"), "ampoule pgo-profile") {
		t.Errorf("%v is of kind %s, hints %q", err, faults.Of(err), faults.Hints(err))
	}
}

func TestFits(t *testing.T) {
	t.Parallel()
	linked := about()
	linked.Configure = append(slices.Clone(linked.Configure), "--enable-static-libpython-for-interpreter", "--with-lto")
	linked.Make = append(linked.Make, "LINK_PYTHON_OBJS=$(LIBRARY_OBJS)", "LINKCC=gcc -no-pie")
	if err := about().Fits(linked); err != nil {
		t.Errorf("linked otherwise: %v", err)
	}
	other := about()
	slices.Reverse(other.Configure)
	if err := about().Fits(other); err != nil {
		t.Errorf("flags in another order: %v", err)
	}
	if err := about().Fits(about()); err != nil {
		t.Error(err)
	}
	listed := about()
	listed.Compilers = []string{"clang-19=1:19.1.7-3", "gcc-11=11.3.0-12", "gcc-12=12.2.0-14", "llvm-19=1:19.1.7-3"}
	if err := listed.Fits(about()); err != nil {
		t.Errorf("of a toolchain with other compilers: %v", err)
	}
	for want, change := range map[string]func(*About){
		"CPython is 3.13.5 in the profile, and 3.13.15 in the build": func(a *About) { a.Version = "3.13.15" },
		"CPython's source is": func(a *About) { a.Source = "other" },
		"the compiler is gcc-12=12.2.0-14 in the profile, and nothing": func(a *About) { a.Compilers = nil },
		"GCC is 12.2.0":   func(a *About) { a.GCC = "14.2.0" },
		"configure is":    func(a *About) { a.Configure = append(a.Configure, "--with-pydebug") },
		"make is nothing": func(a *About) { a.Make = []string{"CFLAGSFORSHARED=-fno-pie"} },
		"python.builtin is nothing in the profile, and _json math in the build": func(a *About) { a.Builtin = []string{"_json", "math"} },
	} {
		build := about()
		build.Configure = slices.Clone(build.Configure)
		change(&build)
		err := about().Fits(build)
		expectMisfit(t, err, want)
		// The lock's compiler trains, and an update of it is what --upgrade takes.
		upgrade := strings.HasPrefix(want, "the compiler") || strings.HasPrefix(want, "GCC")
		if got := strings.Contains(strings.Join(faults.Hints(err), "\n"), "--upgrade"); got != upgrade {
			t.Errorf("%v hints at --upgrade: %t", err, got)
		}
	}
}

func TestFitsObjects(t *testing.T) {
	t.Parallel()
	a := newProfile(t).About
	if err := a.FitsObjects([]string{"Python/pylifecycle.o", "Objects/list.o"}); err != nil {
		t.Error(err)
	}
	expectMisfit(t, a.FitsObjects([]string{"Objects/list.o"}), "the build has no Python/pylifecycle.o")
	expectMisfit(t, a.FitsObjects([]string{"Objects/list.o", "Python/pylifecycle.o", "Objects/dict.o"}), "the build has Objects/dict.o")
}

// Counts that belong to nothing, and none at all, make no profile.
func TestNoCounts(t *testing.T) {
	t.Parallel()
	stray, err := tree.New([]tree.Entry{tree.FileEntry("Objects/dict.gcda", 0o644, counts)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = New(about(), []string{"Objects/list.o"}, stray)
	expectMisfit(t, err, "Objects/dict.gcda belongs to no object file")
	if _, err := New(about(), []string{"Objects/list.o"}, &tree.Tree{}); faults.Of(err) != faults.Build {
		t.Errorf("a training without counts: %v", err)
	}
}

// FuzzRead reads what anybody may have written. What is read has one form.
func FuzzRead(f *testing.F) {
	f.Add(counts)
	f.Add(oldCounts)
	f.Add(indexedCounts("main", "list.c;append"))
	f.Add([]byte(branches))
	f.Fuzz(func(t *testing.T, data []byte) {
		if n, err := readBranches(bytes.NewReader(data)); err == nil && (n == 0 || n != bytes.Count(data, []byte("\n"))) {
			t.Errorf("%q has %d branches", data, n)
		}
		if n, err := readIndexed(bytes.NewReader(data), int64(len(data))); err == nil && n > len(data) {
			t.Errorf("%d bytes have counts of %d functions", len(data), n)
		}
		if p, err := Read(bytes.NewReader(data), int64(len(data))); err == nil {
			again := written(t, p)
			if _, err := Read(bytes.NewReader(again), int64(len(again))); err != nil {
				t.Errorf("what was read and written is refused: %v", err)
			}
		}
		version, err := readCounts(bytes.NewReader(data), int64(len(data)))
		if (version == "") != (err != nil) {
			t.Errorf("counts of %q, %v", version, err)
		}
	})
}
