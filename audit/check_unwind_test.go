package audit

import "testing"

// handles has a cleanup that an exception passing through would run: with -fexceptions
// that makes it ask for C's personality routine, without it does not.
const handles = `
void outside(void);
static void tidy(int *p) { *p = 0; }
int PyInit_victim(void) { __attribute__((cleanup(tidy))) int kept = 1; outside(); return kept; }
`

func TestUnwind(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		flags   []string
		refused bool
	}{
		{"a handler and its table", []string{"-fexceptions"}, false},
		{"a handler without", []string{"-fexceptions", "-Wl,--no-eh-frame-hdr"}, true},
		{"no handler, no table", []string{"-fno-exceptions", "-Wl,--no-eh-frame-hdr"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := in(t, dynload, shop.build(t, "victim"+suffix, handles, append([]string{"-shared"}, tt.flags...)...))
			e.Owner = OwnerInterpreter
			var want []string
			if tt.refused {
				want = []string{"refuse unwind " + e.Path + ": PT_GNU_EH_FRAME __gcc_personality_v0"}
			}
			expect(t, judge(t, subject(t, e)), want...)
		})
	}
}
