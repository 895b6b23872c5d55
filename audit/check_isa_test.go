package audit

import (
	"encoding/binary"
	"testing"

	"ampoule/tree"
)

func TestISA(t *testing.T) {
	t.Parallel()
	ext := dynload + "victim" + suffix
	// level compiles a module whose note says which level of x86-64 it needs.
	level := func(t *testing.T, march string) tree.Entry {
		return fromFile(t, ext, extension(t, "victim", "-march="+march, "-Wl,-z,"+march, "-mneeded"))
	}
	// machine changes e_machine.
	machine := func(e tree.Entry, m uint16) tree.Entry {
		data, err := e.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		binary.LittleEndian.PutUint16(data[18:], m)
		return e.Replace(data)
	}
	hwcaps := level(t, "x86-64-v4")
	hwcaps.Path = "lib/glibc-hwcaps/x86-64-v4/libfast.so.1"
	low := level(t, "x86-64-v4")
	low.Path = "lib/glibc-hwcaps/x86-64-v3/libfast.so.1"
	for name, c := range map[string]struct {
		entry tree.Entry
		want  []string
	}{
		"says nothing":                      {fromFile(t, ext, extension(t, "victim")), nil},
		"of the target's level":             {level(t, "x86-64-v2"), nil},
		"above it":                          {level(t, "x86-64-v4"), []string{"refuse isa " + ext + ": x86 ISA needed x86-64-v4"}},
		"above it, where the loader choses": {hwcaps, nil},
		"in the place of a lower level":     {low, []string{"refuse isa " + low.Path + ": x86 ISA needed x86-64-v4"}},
		"for a graphics processor":          {machine(fromFile(t, ext, extension(t, "victim")), 190), nil},
		"native, not for modules":           {sysconfigOf("PY_CFLAGS_NODIST", "-O3 -march=native"), []string{"refuse isa " + sysconfigFile + ": PY_CFLAGS_NODIST -march=native"}},
		"for another machine":               {machine(fromFile(t, ext, extension(t, "victim")), 183), []string{"refuse isa " + ext + ": e_machine aarch64"}},
		"native":                            {sysconfigOf("CFLAGS", "-O3 -march=native"), []string{"refuse isa " + sysconfigFile + ": CFLAGS -march=native"}},
		"a named level":                     {sysconfigOf("CFLAGS", "-O3 -march=x86-64-v2 -mtune=generic"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := judge(t, subject(t, c.entry))
			expect(t, v, c.want...)
			if name == "above it" && (len(v.Findings[0].Targets) != 1 || v.Findings[0].Targets[0] != "vm") {
				t.Errorf("targets %v", v.Findings[0].Targets)
			}
		})
	}
}

// A build that told its compiler to use what its machine has is refused; an exception
// names the distribution by its directory.
func TestNativeCalls(t *testing.T) {
	t.Parallel()
	const info = site + "victim-1.0.dist-info"
	s := subject(t, tagged(t, in(t, site, extension(t, "victim")), "cp313-cp313-linux_x86_64")...)
	s.NativeCalls = []CompilerCall{{"victim", "gcc -march=native -c a.c\x1b"}, {"gone", "gcc -march=native -c b.c"}}
	const call = ": compiler call gcc -march=native -c a.c\\u001b"
	expect(t, judge(t, s), "refuse isa gone: compiler call gcc -march=native -c b.c", "refuse isa "+info+call)
	s.NativeCalls = s.NativeCalls[:1]
	s.Exceptions = []Exception{{Check: "isa", Files: []string{info}, Why: "one kind of machine", Until: "2027-03-01"}}
	expect(t, judge(t, s), "excepted isa "+info+call)
}
