package audit

import (
	"errors"
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

// A module may rely on what another one has loaded before it, if the recipe says so.
func TestProviders(t *testing.T) {
	t.Parallel()
	const ext, torchLib = dynload + "_vision.so", "lib/torch/libtorch.so"
	torch := library(t, "libtorch.so", "int help(void) { return 0; }")
	module := func(flags ...string) tree.Entry {
		return fromFile(t, ext, shop.build(t, "_vision.so",
			"int PyList_New(void); int help(void); int PyInit__vision(void) { return PyList_New() + help(); }", append([]string{"-shared"}, flags...)...))
	}
	needs, silent := module(torch), module()
	libtorch := fromFile(t, torchLib, torch)
	plug := fromFile(t, "lib/torch/libplug.so", library(t, "libplug.so", "int plug;", asNeeded, dummy(t, soname313)))
	loner := fromFile(t, "lib/torch/libloner.so", library(t, "libloner.so", "int nowhere(void); int alone(void) { return nowhere(); }"))
	const missing, undefined = "refuse closure " + ext + ": DT_NEEDED libtorch.so", "refuse symbols " + ext + ": undefined help"
	idle := func(field, pattern string) string { return "warn symbols : gate.providers." + field + " " + pattern }
	for name, c := range map[string]struct {
		entry tree.Entry
		p     Provider
		want  []string
	}{
		"needed":                {needs, Provider{Libraries: []string{"lib/torch/*.so"}, Files: []string{dynload + "*.so"}}, nil},
		"not even needed":       {silent, Provider{Libraries: []string{torchLib}, Files: []string{ext}}, nil},
		"for another file":      {needs, Provider{Libraries: []string{torchLib}, Files: []string{"lib/_other.so"}}, []string{missing, idle("files", "lib/_other.so")}},
		"of another library":    {needs, Provider{Libraries: []string{"lib/*.so"}, Files: []string{ext}}, []string{missing, idle("libraries", "lib/*.so")}},
		"nothing":               {silent, Provider{}, []string{undefined}},
		"of a file by itself":   {silent, Provider{Libraries: []string{ext}, Files: []string{ext}}, []string{undefined}},
		"of what has no symbol": {module(libc(t, "mid")), Provider{Libraries: []string{"lib/other/*.so"}, Files: []string{ext}}, []string{undefined, idle("libraries", "lib/other/*.so")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := subject(t, libtorch, c.entry)
			s.Providers = []Provider{c.p}
			v := judge(t, s)
			expect(t, v, c.want...)
			if len(v.Providers) != 1 {
				t.Errorf("the verdict tells of %d providers", len(v.Providers))
			}
		})
	}
	// What is provided is judged as it is without.
	s := subject(t, libtorch, needs, plug, loner)
	s.Providers = []Provider{{Libraries: []string{"lib/torch/*"}, Files: []string{ext, "bin/python3.13"}}}
	expect(t, judge(t, s),
		"refuse closure "+plug.Path+": DT_NEEDED "+soname313, "refuse libpython-needed "+plug.Path+": DT_NEEDED "+soname313,
		idle("files", "bin/python3.13"), "warn symbols "+loner.Path+": undefined nowhere")

	s = subject(t, libtorch)
	s.Providers = []Provider{{Files: []string{"["}}}
	if _, err := Judge(t.Context(), s); !errors.Is(err, ErrSubject) {
		t.Errorf("a pattern that is none: %v", err)
	}
}
