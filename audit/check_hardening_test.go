package audit

import (
	"bytes"
	"encoding/binary"
	"testing"

	"ampoule/audit/elf"
	"ampoule/tree"
)

func TestHardening(t *testing.T) {
	t.Parallel()
	ext := dynload + "victim" + suffix
	module := func(flags ...string) tree.Entry { return fromFile(t, ext, extension(t, "victim", flags...)) }
	// without turns a segment's type into PT_NULL.
	without := func(e tree.Entry, kind elf.SegmentType) tree.Entry {
		data, err := e.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.Read(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		table := binary.LittleEndian.Uint64(data[32:])
		for i, s := range f.Segments {
			if s.Type == kind {
				binary.LittleEndian.PutUint32(data[table+uint64(i)*56:], 0)
			}
		}
		return e.Replace(data)
	}
	const absolute = "int PyList_New(void); int x; int *p = &x; int PyInit_victim(void) { return PyList_New() + *p; }"
	textrel := fromFile(t, ext, shop.build(t, "victim"+suffix, absolute, "-shared", "-Wl,-z,notext", "-Wl,-z,relro",
		"-Wa,--defsym,unused=0", "-fno-pic", "-mcmodel=large"))
	for name, c := range map[string]struct {
		entry tree.Entry
		want  []string
	}{
		"as compilers do":       {module(), nil},
		"executable stack":      {module("-Wl,-z,execstack"), []string{"refuse hardening " + ext + ": PT_GNU_STACK executable"}},
		"no word on the stack":  {without(module(), elf.GNUStack), []string{"refuse hardening " + ext + ": PT_GNU_STACK missing"}},
		"code that is written":  {textrel, []string{"refuse hardening " + ext + ": DT_TEXTREL relocations of code"}},
		"code and data in one":  {module("-Wl,-N"), []string{"refuse hardening " + ext + ": PT_LOAD writable and executable*", "warn hardening " + ext + ": PT_GNU_RELRO missing", "warn loader " + ext + ": PT_LOAD *"}},
		"writable tables":       {module("-Wl,-z,norelro"), []string{"warn hardening " + ext + ": PT_GNU_RELRO missing"}},
		"symbols bound at once": {module("-Wl,-z,now"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, judge(t, subject(t, c.entry)), c.want...)
		})
	}
	fixed := func() tree.Entry {
		return fromFile(t, "bin/python3.13", shop.build(t, "python3.13", pythonSource+"int main(void){return libc_old();}",
			"-fno-pic", "-no-pie", "-Wl,-e,main", "-rdynamic", "-Wl,-z,relro", oldRPath, "-Wl,-rpath,$ORIGIN/../lib", libc(t, "old")))
	}
	t.Run("an interpreter at a fixed address", func(t *testing.T) {
		t.Parallel()
		expect(t, judge(t, subjectWith(t, fixed())), "warn hardening bin/python3.13: e_type ET_EXEC")
	})
	t.Run("an interpreter with no word on its threads' stacks", func(t *testing.T) {
		t.Parallel()
		expect(t, judge(t, subjectWith(t, without(fixed(), elf.GNUStack))),
			"warn hardening bin/python3.13: PT_GNU_STACK missing", "warn hardening bin/python3.13: e_type ET_EXEC")
	})
}
