package audit

import "testing"

// handles has a cleanup that an exception passing through would run: with -fexceptions
// that makes it ask for C's personality routine, without it does not.
const handles = `
int PyList_New(void);
static void tidy(int *p) { *p = 0; }
int PyInit_victim(void) { __attribute__((cleanup(tidy))) int kept = 1; PyList_New(); return kept; }
`

const looks = `
int _Unwind_Backtrace(void *f, void *data);
int PyList_New(void);
int PyInit_victim(void) { return PyList_New() + _Unwind_Backtrace(0, 0); }
`

const throws = `
void __gxx_personality_v0(void);
int PyList_New(void);
int PyInit_victim(void) { __gxx_personality_v0(); return PyList_New(); }
`

// unwinder defines what the specimens ask for.
const unwinder = `
void _Unwind_Resume(void) {}
int _Unwind_Backtrace(void *f, void *data) { return 0; }
void __gcc_personality_v0(void) {}
void __gxx_personality_v0(void) {}
`

func TestUnwind(t *testing.T) {
	t.Parallel()
	gcc := library(t, "libgcc_s.so.1", unwinder)
	tests := []struct {
		name, source string
		flags        []string
		refused      string
	}{
		{"a handler and its table", handles, []string{"-fexceptions"}, ""},
		{"a handler without", handles, []string{"-fexceptions", "-Wl,--no-eh-frame-hdr"}, "__gcc_personality_v0"},
		{"no handler, no table", handles, []string{"-fno-exceptions", "-Wl,--no-eh-frame-hdr"}, ""},
		{"C++ without", throws, []string{"-Wl,--no-eh-frame-hdr"}, "__gxx_personality_v0"},
		{"C++ and its table", throws, nil, ""},
		{"a look at the stack", looks, []string{"-Wl,--no-eh-frame-hdr"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := in(t, dynload, shop.build(t, "victim"+suffix, tt.source, append([]string{"-shared", gcc}, tt.flags...)...))
			e.Owner = OwnerInterpreter
			var want []string
			if tt.refused != "" {
				want = []string{"refuse unwind " + e.Path + ": PT_GNU_EH_FRAME " + tt.refused}
			}
			expect(t, judge(t, subject(t, e, in(t, "lib", gcc))), want...)
		})
	}
}
