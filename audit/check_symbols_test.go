package audit

import (
	"strings"
	"testing"

	"ampoule/tree"
)

func TestSymbols(t *testing.T) {
	t.Parallel()
	ext := dynload + "victim" + suffix
	// module calls a function, declared with attributes, and is linked with flags.
	module := func(t *testing.T, attributes, function string, flags ...string) tree.Entry {
		source := "int PyList_New(void); int " + function + "(void) " + attributes + ";" +
			"int PyInit_victim(void) { return PyList_New() + (" + function + " ? " + function + "() : 0); }"
		return fromFile(t, ext, shop.build(t, "victim"+suffix, source, append([]string{"-shared"}, flags...)...))
	}
	helper := library(t, "libhelper.so.1", "int help(void) { return 0; }")
	user := shop.build(t, "user"+suffix, "int PyList_New(void); int help(void); int PyInit_user(void) { return PyList_New() + help(); }", "-shared", helper)
	loner := library(t, "libloner.so.1", "int nowhere(void); int alone(void) { return nowhere(); }")
	cuda := library(t, "libcuda.so.1", "int cuda(void) { return 0; }")
	for name, c := range map[string]struct {
		entries []tree.Entry
		host    []string
		want    []string
	}{
		"of the interpreter":         {entries: []tree.Entry{module(t, "", "_PyX")}},
		"of nobody":                  {entries: []tree.Entry{module(t, "", "nowhere")}, want: []string{"refuse symbols " + ext + ": undefined nowhere"}},
		"of nobody, but weak":        {entries: []tree.Entry{module(t, "__attribute__((weak))", "nowhere")}},
		"of another Python":          {entries: []tree.Entry{module(t, "", "PyList_NewIn399")}, want: []string{"refuse symbols " + ext + ": undefined PyList_NewIn399"}},
		"of a library that it needs": {entries: []tree.Entry{module(t, "", "help", helper), in(t, "lib", helper)}},
		"of a library that another one needs": {
			entries: []tree.Entry{module(t, "", "help"), in(t, dynload, user), in(t, "lib", helper)},
			want:    []string{"refuse symbols " + ext + ": undefined help"},
		},
		"of the target's own library":  {entries: []tree.Entry{module(t, "", "libc_mid", libc(t, "mid"))}},
		"of what the machine provides": {entries: []tree.Entry{module(t, "", "nowhere", asNeeded, cuda)}, host: []string{"libcuda.so.1"}},
		"of a library that nothing needs": {
			entries: []tree.Entry{in(t, "lib", loner)}, want: []string{"warn symbols lib/libloner.so.1: undefined nowhere"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := subject(t, c.entries...)
			for i := range s.Targets {
				s.Targets[i].Host = c.host
			}
			v := judge(t, s)
			expect(t, v, c.want...)
			if strings.Contains(name, "another Python") && !strings.Contains(v.Findings[0].Cause, "interpreter does not export") {
				t.Errorf("cause: %s", v.Findings[0].Cause)
			}
		})
	}
}
