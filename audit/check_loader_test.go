package audit

import (
	"encoding/binary"
	"testing"

	"ampoule/audit/elf"
	"ampoule/tree"
)

// edited changes a byte of a file.
func edited(t *testing.T, e tree.Entry, at int, value byte) tree.Entry {
	t.Helper()
	data, err := e.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	data[at] = value
	return e.Replace(data)
}

// aligned gives every PT_LOAD of a file an alignment.
func aligned(t *testing.T, e tree.Entry, align uint64) tree.Entry {
	t.Helper()
	data, err := e.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	table := binary.LittleEndian.Uint64(data[32:])
	for i := range uint64(binary.LittleEndian.Uint16(data[56:])) {
		if at := table + i*56; elf.SegmentType(binary.LittleEndian.Uint32(data[at:])) == elf.Load {
			binary.LittleEndian.PutUint64(data[at+48:], align)
		}
	}
	return e.Replace(data)
}

// That the loader does so is in the tests of package survey, which import such files.
func TestLoader(t *testing.T) {
	t.Parallel()
	ext := dynload + "victim" + suffix
	module := func(flags ...string) tree.Entry { return fromFile(t, ext, extension(t, "victim", flags...)) }
	static := func(size string) tree.Entry {
		return fromFile(t, ext, shop.build(t, "victim"+suffix, `__attribute__((tls_model("initial-exec"))) __thread char big[`+size+`];
			int PyList_New(void); int PyInit_victim(void) { big[0] = 1; return PyList_New(); }`, "-shared"))
	}
	closed := library(t, "libclosed.so.1", "int c(void){return 0;}", "-Wl,-z,nodlopen")
	for name, tt := range map[string]struct {
		entries []tree.Entry
		want    []string
	}{
		"as linkers do":               {[]tree.Entry{module()}, nil},
		"the ABI of another system":   {[]tree.Entry{edited(t, module(), 7, 9)}, []string{"refuse loader " + ext + ": EI_OSABI 9"}},
		"relocatable":                 {[]tree.Entry{edited(t, module(), 16, 1)}, []string{"refuse loader " + ext + ": e_type ET_REL"}},
		"relocatable, no module":      {[]tree.Entry{edited(t, fromFile(t, "lib/data.o", extension(t, "victim")), 16, 1)}, nil},
		"a program for a module":      {[]tree.Entry{fromFile(t, ext, shop.build(t, "program", "int main(void){return 0;}", "-pie", "-Wl,-e,main", "-Wl,-z,relro"))}, []string{"refuse loader " + ext + ": DT_FLAGS_1 PIE"}},
		"aligned as old loaders want": {[]tree.Entry{aligned(t, module(), 0x1000)}, nil},
		"aligned to less":             {[]tree.Entry{aligned(t, module(), 0x10)}, []string{"warn loader " + ext + ": PT_LOAD *"}},
		"not to be opened, of a program": {[]tree.Entry{in(t, "lib", closed), fromFile(t, "bin/tool", shop.build(t, "tool", "int c(void); int main(void){return c();}", closed, "-Wl,-e,main", oldRPath, "-Wl,-rpath,$ORIGIN/../lib", libc(t, "old")))},
			[]string{"warn loader lib/libclosed.so.1: DT_FLAGS_1 NOOPEN"}},
		"room for it":      {[]tree.Entry{static("512")}, nil},
		"much of the room": {[]tree.Entry{static("1200")}, []string{"warn loader " + ext + ": PT_TLS 1200 bytes"}},
		"no room":          {[]tree.Entry{static("4096")}, []string{"refuse loader " + ext + ": PT_TLS 4096 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := judge(t, subject(t, tt.entries...))
			if len(v.Findings) > 1 && len(tt.want) == 1 {
				v.Findings = v.Findings[:1] // a warning for each segment
			}
			expect(t, v, tt.want...)
		})
	}
}

// Which of two versions of glibc a target has decides what its loader refuses.
func TestRefusalsByGlibc(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		refusal refusal
		glibc   string
		want    bool
	}{
		{refusal{}, "", true}, {refusal{}, "2.17", true},
		{refusal{since: "2.30"}, "2.29", false}, {refusal{since: "2.30"}, "2.30", true}, {refusal{since: "2.30"}, "2.100", true},
		{refusal{before: "2.35"}, "2.34", true}, {refusal{before: "2.35"}, "2.35", false}, {refusal{before: "2.35"}, "2.9", true},
		{refusal{since: "2.30"}, "", false}, {refusal{before: "2.35"}, "", false},
	} {
		if got := tt.refusal.applies(machine{glibc: tt.glibc}); got != tt.want {
			t.Errorf("%+v with glibc %q: %t", tt.refusal, tt.glibc, got)
		}
	}
}
