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
}
