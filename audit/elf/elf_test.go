package elf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// compile compiles C source with the host's gcc, a requirement of these tests.
func compile(t testing.TB, source string, flags ...string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	cmd := exec.Command("gcc", append([]string{"-x", "c", "-", "-x", "none", "-nostdlib", "-fPIC", "-o", out}, flags...)...)
	cmd.Stdin = strings.NewReader(source)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compiling: %v\n%s", err, output)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func read(data []byte) (*File, error) { return Read(bytes.NewReader(data), int64(len(data))) }

func mustRead(t *testing.T, data []byte) *File {
	t.Helper()
	f, err := read(data)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// file writes bytes to a file of that name.
func file(t testing.TB, name string, data []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

// specimen needs a versioned library, and defines, uses and hides symbols.
func specimen(t testing.TB, flags ...string) []byte {
	t.Helper()
	script := file(t, "a.map", []byte("A_1 { global: a1; local: *; }; A_2 { global: a2; } A_1;"))
	liba := file(t, "liba.so.1", compile(t, "int a1(void){return 0;} int a2(void){return 0;}",
		"-shared", "-Wl,-soname,liba.so.1", "-Wl,--version-script="+script))
	source := `int a1(void); __attribute__((weak)) int a2(void); __thread int tls;
	int defined(void) { return a1() + (a2 ? a2() : 0); } __attribute__((visibility("hidden"))) int hidden(void) { return tls; }`
	return compile(t, source, append([]string{"-shared", "-Wl,-soname,libs.so", liba, "-Wl,-f,libaux.so", "-Wl,-F,libfilter.so",
		"-Wl,-rpath,$ORIGIN/x:/y", "-Wl,--build-id=0xabcd"}, flags...)...)
}

func TestRead(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{
		"gnu hash":  {"-Wl,--hash-style=gnu"},
		"sysv hash": {"-Wl,--hash-style=sysv"},
		"both":      {"-Wl,--hash-style=both"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := specimen(t, flags...)
			// Without section headers nothing may change.
			stripped := slices.Clone(data)
			clear(stripped[40:48])
			clear(stripped[60:64])
			f := mustRead(t, data)
			if diff := cmp.Diff(f, mustRead(t, stripped)); diff != "" {
				t.Errorf("section headers matter (-with +without):\n%s", diff)
			}
			checkSpecimen(t, f)
		})
	}
}

func checkSpecimen(t *testing.T, f *File) {
	t.Helper()
	runpath := "$ORIGIN/x:/y"
	want := Linking{
		Soname: "libs.so", Needed: []string{"liba.so.1"}, Auxiliary: []string{"libaux.so"}, Filter: []string{"libfilter.so"},
		RunPath: &runpath, Flags: f.Flags,
	}
	if diff := cmp.Diff(want, f.Linking); diff != "" {
		t.Errorf("linking (-want +got):\n%s", diff)
	}
	needs := []Need{{"liba.so.1", []Version{{"A_2", false}, {"A_1", false}}}}
	slices.SortFunc(f.Needs[0].Versions, func(a, b Version) int { return strings.Compare(b.Name, a.Name) })
	if diff := cmp.Diff(needs, f.Needs); diff != "" {
		t.Errorf("needs (-want +got):\n%s", diff)
	}
	symbols := map[string]Symbol{}
	for _, s := range f.Symbols {
		symbols[s.Name] = s
	}
	wantSymbols := map[string]Symbol{
		"a1":      {Name: "a1", Version: "A_1"},
		"a2":      {Name: "a2", Weak: true, Version: "A_2"},
		"defined": {Name: "defined", Defined: true, Type: 2},
		"tls":     {Name: "tls", Defined: true, Type: 6},
	}
	for name, w := range wantSymbols {
		got := symbols[name]
		if !w.Defined {
			got.Type = 0
		}
		got.Index = 0
		if diff := cmp.Diff(w, got); diff != "" {
			t.Errorf("symbol %s (-want +got):\n%s", name, diff)
		}
	}
	if _, ok := symbols["hidden"]; ok {
		t.Error("a hidden symbol is dynamic")
	}
	if !slices.ContainsFunc(f.Notes, func(n Note) bool {
		return n.Name == "GNU" && n.Type == 3 && bytes.Equal(n.Desc, []byte{0xab, 0xcd})
	}) {
		t.Errorf("no build ID in %+v", f.Notes)
	}
	if f.Class != Class64 || f.Machine != X8664 || f.Type != Shared || f.IsExecutable() || !f.Dynamic {
		t.Errorf("header: %+v", f.Header)
	}
}

func TestReadDefines(t *testing.T) {
	t.Parallel()
	script := file(t, "a.map", []byte("A_1 { global: a1; local: *; }; A_2 { global: a2; } A_1;"))
	f := mustRead(t, compile(t, "int a1(void){return 0;} int a2(void){return 0;}", "-shared", "-Wl,-soname,liba.so.1", "-Wl,--version-script="+script))
	if diff := cmp.Diff([]string{"A_1", "A_2"}, f.Defines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	i := slices.IndexFunc(f.Symbols, func(s Symbol) bool { return s.Name == "a2" })
	if i < 0 || f.Symbols[i].Version != "A_2" || !f.Symbols[i].Exported() {
		t.Errorf("symbols: %+v", f.Symbols)
	}
}

// A program that exports nothing has an empty DT_GNU_HASH; its undefined symbols
// are in its relocations only.
func TestReadUndefinedOfPrograms(t *testing.T) {
	t.Parallel()
	lib := file(t, "libb.so", compile(t, "int b(void){return 0;}", "-shared", "-Wl,-soname,libb.so"))
	f := mustRead(t, compile(t, "int b(void); int main(void){return b();}", "-Wl,-e,main", "-Wl,--hash-style=gnu", lib))
	if !slices.ContainsFunc(f.Symbols, func(s Symbol) bool { return s.Name == "b" && !s.Defined }) {
		t.Errorf("symbols: %+v", f.Symbols)
	}
	if !f.IsExecutable() || f.Interp == "" {
		t.Errorf("executable: %t, interp %q", f.IsExecutable(), f.Interp)
	}
}

func TestReadRPath(t *testing.T) {
	t.Parallel()
	f := mustRead(t, compile(t, "int x;", "-shared", "-Wl,--disable-new-dtags", "-Wl,-rpath,/old"))
	if f.RunPath != nil || f.RPath == nil || *f.RPath != "/old" {
		t.Errorf("linking: %+v", f.Linking)
	}
}

// dynamicAt finds where a file has its dynamic section and the entry with a tag.
func dynamicAt(t *testing.T, data []byte, tag uint64) (phdr, entry int) {
	t.Helper()
	table := int(binary.LittleEndian.Uint64(data[32:]))
	for i := range int(binary.LittleEndian.Uint16(data[56:])) {
		phdr = table + i*segmentSize
		if SegmentType(binary.LittleEndian.Uint32(data[phdr:])) != DynamicSeg {
			continue
		}
		offset := int(binary.LittleEndian.Uint64(data[phdr+8:]))
		for at := offset; ; at += dynSize {
			if binary.LittleEndian.Uint64(data[at:]) == tag {
				return phdr, at
			}
		}
	}
	t.Fatal("no dynamic section")
	return 0, 0
}

// change makes another file of one.
type change func(*testing.T, []byte) []byte

// set writes eight bytes at a place.
func set(at func(t *testing.T, data []byte) int, value uint64) change {
	return func(t *testing.T, data []byte) []byte {
		binary.LittleEndian.PutUint64(data[at(t, data):], value)
		return data
	}
}

// value is where the value of a dynamic entry is.
func value(tag uint64) func(*testing.T, []byte) int {
	return func(t *testing.T, data []byte) int { _, at := dynamicAt(t, data, tag); return at + 8 }
}

// phdr is where a field of PT_DYNAMIC's program header is.
func phdr(offset int) func(*testing.T, []byte) int {
	return func(t *testing.T, data []byte) int { at, _ := dynamicAt(t, data, tagNull); return at + offset }
}

const huge = 1 << 62

func TestReadRefusesAbsurdFiles(t *testing.T) {
	t.Parallel()
	sound := specimen(t, "-Wl,--hash-style=both")
	tests := map[string]change{
		"cut off":                  func(_ *testing.T, d []byte) []byte { return d[:len(d)/3] },
		"header only":              func(_ *testing.T, d []byte) []byte { return d[:headerSize] },
		"magic only":               func(_ *testing.T, d []byte) []byte { return d[:4] },
		"no magic":                 func(_ *testing.T, d []byte) []byte { return d[1:] },
		"class":                    func(_ *testing.T, d []byte) []byte { d[4] = 9; return d },
		"program headers outside":  func(_ *testing.T, d []byte) []byte { binary.LittleEndian.PutUint64(d[32:], huge); return d },
		"too many program headers": func(_ *testing.T, d []byte) []byte { binary.LittleEndian.PutUint16(d[56:], 0xffff); return d },
		"dynamic unmapped":         set(phdr(16), huge),
		"string table address":     set(value(tagStrTab), huge),
		"needed name":              set(value(tagNeeded), huge),
		"soname":                   set(value(tagSoname), 1<<20),
		"symbol table":             set(value(tagSymTab), huge),
		"hash":                     set(value(tagHash), huge),
		"versions":                 set(value(tagVerSym), huge),
		"needed versions":          set(value(tagVerNeed), huge),
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := read(change(t, slices.Clone(sound))); !errors.Is(err, ErrFormat) {
				t.Errorf("got %v, want ErrFormat", err)
			}
		})
	}
}

// What the loader does not look at changes nothing; that it loads such files is in the tests
// of package survey.
func TestReadTakesWhatTheLoaderTakes(t *testing.T) {
	t.Parallel()
	sound := specimen(t, "-Wl,--hash-style=both")
	want := mustRead(t, sound)
	notes := func(t *testing.T, data []byte) int {
		at, _ := dynamicAt(t, data, tagNull)
		for ; SegmentType(binary.LittleEndian.Uint32(data[at:])) != NoteSeg; at += segmentSize {
		}
		return int(binary.LittleEndian.Uint64(data[at+8:]))
	}
	for name, change := range map[string]change{
		"dynamic elsewhere in the file": set(phdr(8), 64),
		"dynamic too long":              set(phdr(32), huge),
		"dynamic too short":             set(phdr(32), dynSize),
		"string table size":             set(value(tagStrSize), huge),
		"string table size beyond":      set(value(tagStrSize), uint64(len(sound)+1)),
		"no string table size":          set(value(tagStrSize), 0),
		"symbol size":                   set(value(tagSymEnt), 16),
		"a note of others' bytes":       set(notes, 2379776),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := mustRead(t, change(t, slices.Clone(sound)))
			got.Segments, got.Notes = want.Segments, want.Notes
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadReferences(t *testing.T) {
	t.Parallel()
	source := `int called(void); int data(void); int both(void); extern int unused; __thread int own __attribute__((tls_model("initial-exec")));
	int (*p)(void) = data; int (*q)(void) = both; int f(void) { return called() + both() OWN; }`
	for name, tt := range map[string]struct {
		own  string
		want References
	}{
		"own thread-local memory": {"+ own", References{map[string]bool{"called": true, "data": false, "both": false, "own": false}, true}},
		"none":                    {"", References{map[string]bool{"called": true, "data": false, "both": false}, false}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := compile(t, strings.ReplaceAll(source, "OWN", tt.own), "-shared", "-Wl,-z,lazy")
			got, err := ReadReferences(bytes.NewReader(data), int64(len(data)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadReportsOtherMachines(t *testing.T) {
	t.Parallel()
	sound := specimen(t)
	small, big := slices.Clone(sound), slices.Clone(sound)
	small[4] = byte(Class32)
	big[5], big[18], big[19] = byte(BigEndian), 0, 22
	for want, data := range map[string][]byte{"32-bit little-endian x86-64": small, "64-bit big-endian machine 22": big} {
		f, err := read(data)
		if !errors.Is(err, ErrUnsupported) || f.String() != want {
			t.Errorf("got %v and %v, want %s", f.Header, err, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(specimen(f))
	f.Add(specimen(f, "-Wl,--hash-style=sysv"))
	f.Add(compile(f, "int main(void){return 0;}", "-Wl,-e,main"))
	// Without gaps between segments there is less that does not matter.
	f.Add(specimen(f, "-Wl,-n", "-Wl,-z,norelro", "-s"))
	f.Add([]byte(Magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := read(data)
		if err != nil && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrUnsupported) {
			t.Errorf("unclassified error: %v", err)
		}
		if file == nil {
			t.Error("no file")
		}
		if err != nil {
			return
		}
		if _, err := ReadReferences(bytes.NewReader(data), int64(len(data))); err != nil && !errors.Is(err, ErrFormat) {
			t.Errorf("unclassified error: %v", err)
		}
	})
}

// Segments may follow each other without a gap, as patchelf writes them: an address at the
// end of one is in the next. What lies around a segment in its first and last page is mapped with it.
func TestOffset(t *testing.T) {
	t.Parallel()
	img := &image{loads: []Segment{
		{Addr: 0x1100, Offset: 0x100, FileSize: 0xf00, MemSize: 0xf00},
		{Addr: 0x2000, Offset: 0x8000, FileSize: 0x10, MemSize: 0x10},
		{Addr: 0x4f00, Offset: 0x9f00, FileSize: 0x10, MemSize: 0x20},
		{Addr: 0x6010, Offset: 0x8, FileSize: 0x10, MemSize: 0x10},
	}}
	for _, tt := range []struct{ addr, n, want uint64 }{
		{0x1100, 0xf00, 0x100}, {0x1fff, 1, 0xfff}, {0x2000, 0x10, 0x8000}, {0x2008, 8, 0x8008}, {0x2000, 0, 0x8000},
		{0x1000, 0x100, 0}, {0x2010, 0x10, 0x8010}, {0x2fff, 1, 0x8fff}, {0x4000, 0x10, 0x9000}, {0x4f0f, 1, 0x9f0f},
	} {
		if got, err := img.offset(tt.addr, tt.n, "it"); err != nil || got != tt.want {
			t.Errorf("%d bytes at %#x: at %#x, %v", tt.n, tt.addr, got, err)
		}
	}
	for _, tt := range []struct{ addr, n uint64 }{{0xfff, 1}, {0x1fff, 2}, {0x2000, 0x1001}, {0x3000, 1}, {0x4f10, 1}, {0x6000, 1}, {1 << 63, 1}} {
		if _, err := img.offset(tt.addr, tt.n, "it"); !errors.Is(err, ErrFormat) {
			t.Errorf("%d bytes at %#x: %v", tt.n, tt.addr, err)
		}
	}
}
