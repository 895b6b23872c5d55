package audit

import (
	"testing"

	"ampoule/tree"
)

func TestSecondRuntime(t *testing.T) {
	t.Parallel()
	ext := dynload + "victim" + suffix
	module := func(t *testing.T, source string, flags ...string) tree.Entry {
		return fromFile(t, ext, shop.build(t, "victim"+suffix, source, append([]string{"-shared"}, flags...)...))
	}
	const static = "int _PyRuntime; const char *seed = \"PYTHONHASHSEED\"; int PyList_New(void) { return seed[0]; } int PyInit_victim(void) { return PyList_New(); }"
	back := library(t, "libback.so.1", "int PyList_New(void); int init(void) { return PyList_New(); }")
	runtime := library(t, "libembedded.so.1", pythonStub)
	hidden := versionScript(t, "{ global: PyInit_victim; local: *; };")
	program := "int libc_old(void); int main(void) { return libc_old(); }"
	for name, c := range map[string]struct {
		entries []tree.Entry
		want    []string
	}{
		"a module with a whole Python": {[]tree.Entry{module(t, static)}, []string{"refuse second-runtime " + ext + ": DT_SYMTAB _PyRuntime"}},
		"the same, hidden":             {[]tree.Entry{module(t, static, hidden)}, []string{"refuse second-runtime " + ext + ": content PYTHONHASHSEED"}},
		"the same, hidden far into it": {
			[]tree.Entry{module(t, "const struct { char pad[200000], seed[16]; } far = {{1}, \"PYTHONHASHSEED\"}; int _PyRuntime; int PyList_New(void) { return far.seed[_PyRuntime]; } int PyInit_victim(void) { return PyList_New(); }", hidden)},
			[]string{"refuse second-runtime " + ext + ": content PYTHONHASHSEED"},
		},
		"a module whose library asks": {
			[]tree.Entry{module(t, "int init(void); int PyInit_victim(void) { return init(); }", back), in(t, "lib", back)}, nil,
		},
		"a library for ctypes":                    {[]tree.Entry{module(t, "void PyInit_victim(void) {}")}, nil},
		"a module that asks for one thing":        {[]tree.Entry{module(t, "int PyList_New(void); int PyInit_victim(void) { return PyList_New(); }")}, nil},
		"one that asks weakly":                    {[]tree.Entry{module(t, "int PyList_New(void) __attribute__((weak)); int PyInit_victim(void) { return PyList_New ? 0 : 1; }")}, nil},
		"one that returns a table":                {[]tree.Entry{module(t, "static int table[2]; int *PyModExport_victim(void) { return table; } void PyInit_victim(void) {}")}, nil},
		"a library with all of it, by other name": {[]tree.Entry{in(t, "lib", runtime)}, []string{"refuse second-runtime lib/libembedded.so.1: DT_SYMTAB PyType_Type Py_BytesMain _PyRuntime"}},
		"a program that holds Python": {
			[]tree.Entry{fromFile(t, "bin/app", shop.build(t, "app", pythonStub+program, "-Wl,-e,main", "-rdynamic", oldRPath, "-Wl,-rpath,$ORIGIN/../lib", libc(t, "old")))},
			[]string{"refuse second-runtime bin/app: DT_SYMTAB PyType_Type Py_BytesMain _PyRuntime"},
		},
		"a program that copies its data": {
			[]tree.Entry{
				fromFile(t, "bin/app", shop.build(t, "app", "extern int PyType_Type; "+program+" int *type(void) { return &PyType_Type; }",
					"-Wl,-e,main", "-fno-pic", "-no-pie", oldRPath, "-Wl,-rpath,$ORIGIN/../lib", library(t, soname313, pythonSource+"int PyType_Type;"), libc(t, "old"))),
				in(t, "lib", library(t, soname313, pythonSource+"int PyType_Type;")),
			},
			[]string{"refuse libpython-needed bin/app: DT_NEEDED " + soname313},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, judge(t, subject(t, c.entries...)), c.want...)
		})
	}
}

// pythonStub has what only a Python runtime defines.
const pythonStub = "int _PyRuntime; int PyType_Type = 1; int Py_BytesMain(void) { return 0; }"
