package seal

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/tree"
)

// icuPackage is a package of ICU's data with items, "NAME=TEXT", sorted by name, each filled
// up to two pages.
func icuPackage(items ...string) []byte {
	header := make([]byte, 144)
	copy(header, "\x90\x00\xda\x27\x14\x00\x00\x00\x00\x00\x02\x00CmnD")
	toc := le.AppendUint32(nil, uint32(len(items)))
	at := 4 + 8*len(items)
	var names, contents []byte
	for _, i := range items {
		name, _, _ := strings.Cut(i, "=")
		names = append(append(names, name...), 0)
	}
	begin := (at + len(names) + 15) &^ 15
	for _, i := range items {
		name, text, _ := strings.Cut(i, "=")
		toc = le.AppendUint32(le.AppendUint32(toc, uint32(at)), uint32(begin+len(contents)))
		at += len(name) + 1
		contents = append(contents, text+strings.Repeat("\x00", 8192-len(text))...)
	}
	toc = append(toc, names...)
	return slices.Concat(header, toc, make([]byte, begin-len(toc)), contents)
}

// icuLibrary is a library with such a package, as ICU's own build makes it.
func icuLibrary(t *testing.T, data []byte) tree.Entry {
	t.Helper()
	file := filepath.Join(t.TempDir(), "icudt99l.dat")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return compiled(t, "lib/libicudata.so.99", `__asm__(".section .rodata\n.balign 16\n.global icudt99_dat\n.type icudt99_dat, @object\nicudt99_dat:\n.incbin \"`+file+
		`\"\n.size icudt99_dat, .-icudt99_dat\n.text"); int data = 7; int *where(void) { return &data; }`,
		"-shared", "-Wl,-soname,libicudata.so.99,-z,separate-code,--build-id=none", "-fno-asynchronous-unwind-tables")
}

const icuCommon = "extern char icudt99_dat[]; const char *ucnv_open_99(void) { return icudt99_dat; } void ucnv_getDisplayName_99(void) {} void u_init_99(void) {}"

// icuNames lists the items of a library's package, with what they begin with.
func icuNames(t *testing.T, e tree.Entry) []string {
	t.Helper()
	data, err := e.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	s := symbols[slices.IndexFunc(symbols, func(s elf.Symbol) bool { return s.Name == "icudt99_dat" })]
	content, err := f.Sections[s.Section].Data()
	if err != nil || s.Size != uint64(len(content)) || f.Sections[s.Section].Addr != s.Value {
		t.Fatalf("symbol %+v of %d bytes, %v", s, len(content), err)
	}
	items, ok := itemsOf(content[144:])
	if !ok {
		t.Fatal("the package cannot be read")
	}
	var names []string
	for _, i := range items {
		text, _, _ := strings.Cut(string(i.data), "\x00")
		names = append(names, i.name+"="+text)
	}
	return names
}

// ICU's data loses what no file can ask for, and only where none can.
func TestLessICU(t *testing.T) {
	t.Parallel()
	all := []string{"icudt99l/af.res=a", "icudt99l/cnvalias.icu=b", "icudt99l/ibm-1.cnv=c", "icudt99l/zone/de.res=d"}
	converters := all[1:3]
	data := icuLibrary(t, icuPackage(all...))
	data.Owner = OwnerNative
	common := compiled(t, "lib/libicuuc.so.99", icuCommon, "-shared", "-Wl,-soname,libicuuc.so.99")
	user := func(p, function string) tree.Entry {
		return compiled(t, p, "extern void "+function+"(void); void f(void) { "+function+"(); }", "-shared")
	}
	for name, c := range map[string]struct {
		files []tree.Entry
		want  []string
	}{
		"converters alone":  {[]tree.Entry{user("lib/libxml2.so.2", "ucnv_open_99"), user(site+"x.so", "malloc")}, converters},
		"names for people":  {[]tree.Entry{user("lib/libxml2.so.2", "ucnv_getDisplayName_99")}, all},
		"another function":  {[]tree.Entry{user("lib/libxml2.so.2", "ucnv_open_99"), user(site+"x.so", "u_init_99")}, all},
		"the data itself":   {[]tree.Entry{compiled(t, site+"x.so", "extern char icudt99_dat[]; char *f(void) { return icudt99_dat; }", "-shared")}, all},
		"another of ICU's":  {[]tree.Entry{user("lib/libicui18n.so.99", "ucnv_open_99")}, all},
		"without its users": {nil, converters},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := lessICU(newTree(t, append(c.files, link("lib/libicuuc.so", "libicuuc.so.99"), common, data)...))
			if err != nil {
				t.Fatal(err)
			}
			carried, _ := got.Lookup(data.Path)
			if diff := cmp.Diff(c.want, icuNames(t, carried)); diff != "" {
				t.Errorf("items (-want +got):\n%s", diff)
			}
		})
	}
	if got, err := lessICU(newTree(t, common)); err != nil || got.Hash() != newTree(t, common).Hash() {
		t.Errorf("without data: %v, %v", got.Entries(), err)
	}
}

// The smaller library is one that ld.so loads, with all that is behind the data in its place.
func TestLessICULoads(t *testing.T) {
	t.Parallel()
	data, err := icuLibrary(t, icuPackage("icudt99l/a.res=a", "icudt99l/b.cnv=bee", "icudt99l/c.res=c")).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	less, ok := withoutItems(data, "icudt99_dat", isConverter)
	if !ok || len(less) != len(data)-16384 {
		t.Fatalf("%t, %d of %d bytes", ok, len(less), len(data))
	}
	file := filepath.Join(t.TempDir(), "libicudata.so.99")
	if err := os.WriteFile(file, less, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("python3", "-I", "-c", `import ctypes, sys
lib = ctypes.CDLL(sys.argv[1])
lib.where.restype = ctypes.POINTER(ctypes.c_int)
print(lib.where()[0], b"icudt99l/b.cnv\0" in (ctypes.c_char * 512).in_dll(lib, "icudt99_dat").raw)`, file).CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != "7 True" {
		t.Errorf("%s, %v", got, err)
	}
}

// What is not of the known form is left as it is.
func TestLessICUKnowsItsForm(t *testing.T) {
	t.Parallel()
	good := icuPackage("icudt99l/a.res=a", "icudt99l/b.cnv=b")
	for name, spoil := range map[string]func([]byte) []byte{
		"big-endian":      func(d []byte) []byte { d[8] = 1; return d },
		"another format":  func(d []byte) []byte { copy(d[12:], "ResB"); return d },
		"too many items":  func(d []byte) []byte { le.PutUint32(d[144:], 1<<30); return d },
		"a name outside":  func(d []byte) []byte { le.PutUint32(d[148:], 1<<30); return d },
		"items backwards": func(d []byte) []byte { le.PutUint32(d[152:], 1<<20); return d },
		"no converter":    func([]byte) []byte { return icuPackage("icudt99l/a.res=a") },
		"cut off":         func(d []byte) []byte { return d[:20] },
		"empty":           func([]byte) []byte { return nil },
	} {
		if _, ok := packageWithout(spoil(slices.Clone(good)), isConverter); ok {
			t.Errorf("%s: changed", name)
		}
	}
	for name, data := range map[string][]byte{"no ELF file": []byte("text"), "no such symbol": mustRead(t, shared(t, "lib/libicudata.so.99"))} {
		if _, ok := withoutItems(data, "icudt99_dat", isConverter); ok {
			t.Errorf("%s: changed", name)
		}
	}
}

func mustRead(t *testing.T, e tree.Entry) []byte {
	t.Helper()
	data, err := e.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// FuzzPackageWithout: a package of any bytes is read within its bounds.
func FuzzPackageWithout(f *testing.F) {
	f.Add(icuPackage("icudt99l/a.res=a", "icudt99l/b.cnv=b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if less, ok := packageWithout(data, isConverter); ok && len(less) >= len(data) {
			t.Errorf("%d bytes became %d", len(data), len(less))
		}
	})
}
