package audit

import (
	"fmt"
	"strings"
	"testing"

	"ampoule/tree"
)

func TestConflicts(t *testing.T) {
	t.Parallel()
	// functions defines that many functions of a prefix.
	functions := func(prefix string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "int %s_%02d(void) { return 0; }\n", prefix, i)
		}
		return b.String()
	}
	const brought = site + "victim.libs/libssl-0a1b2c3d.so.3"
	own := library(t, "libssl.so.3", functions("ssl", 20))
	user := in(t, dynload, shop.build(t, "_ssl"+suffix, "int PyList_New(void); int PyInit__ssl(void) { return PyList_New(); }", "-shared", asNeeded, own))
	user.Owner = OwnerInterpreter
	carried := in(t, "lib", own)
	wheels := func(source string) []tree.Entry {
		lib := library(t, "libssl-0a1b2c3d.so.3", source)
		module := in(t, site, extension(t, "victim", lib, "-Wl,-rpath,$ORIGIN/victim.libs"))
		return installed("victim", module, fromFile(t, brought, lib))
	}
	wheelUser := installed("user", in(t, site, shop.build(t, "user"+suffix, "int PyList_New(void); int PyInit_user(void) { return PyList_New(); }", "-shared", asNeeded, own)))
	for name, c := range map[string]struct {
		entries []tree.Entry
		want    []string
	}{
		"a library of its own":                {append(wheels(functions("ssl", 20)), user, carried), []string{"warn conflicts " + brought + ": DT_SYMTAB 20 symbols of lib/libssl.so.3: ssl_00 *"}},
		"another one":                         {append(wheels(functions("crypto", 20)), user, carried), nil},
		"a few names in common":               {append(wheels(functions("ssl", 10)+functions("crypto", 20)), user, carried), nil},
		"one that the interpreter has not":    {wheels(functions("ssl", 20)), nil},
		"one that only wheels use":            {append(append(wheels(functions("ssl", 20)), wheelUser...), carried), nil},
		"names of the implementation's (_Z…)": {append(wheels(functions("_Zssl", 20)), user, carried), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, judge(t, subject(t, c.entries...)), c.want...)
		})
	}
	t.Run("files of two wheels", func(t *testing.T) {
		t.Parallel()
		s := subject(t)
		s.Built = &ArtifactRecord{LeftOut: []LeftOut{
			{Place: "docs/**", Dists: []string{"a"}},
			{Place: "tests", Dists: []string{"a", "b"}, Clashes: []string{"tests/__init__.py"}},
		}}
		v := judge(t, s)
		expect(t, v, "warn conflicts "+site+"tests: RECORD tests/__init__.py*")
		if f := v.Findings[0]; !strings.HasPrefix(f.Cause, "a and b bring different files for tests, which no module outside of it imports: the tree has none of them.") ||
			!strings.Contains(f.Remedy, `packages: {b: {exclude: ["tests/**"]}}`) {
			t.Errorf("said: %s %s", f.Cause, f.Remedy)
		}
	})
}

func TestLeftOutTellsWhatIsKept(t *testing.T) {
	t.Parallel()
	l := LeftOut{Place: "LICENSE", Dists: []string{"g"}, Kept: []string{"a"}, Clashes: []string{"LICENSE"}}
	if f := l.finding("site"); !strings.Contains(f.Cause, "g and a bring") || !strings.Contains(f.Cause, "the tree has what a brings") || !strings.Contains(f.Remedy, `exclude: ["LICENSE"]`) {
		t.Errorf("said: %s %s", f.Cause, f.Remedy)
	}
}
