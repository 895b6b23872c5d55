package audit

import (
	"strings"
	"testing"

	"ampoule/tree"
)

func TestABI3(t *testing.T) {
	t.Parallel()
	// The interpreter has what the specimens ask for, in the stable ABI or not.
	api := "int PyList_New(void), PyObject_Vectorcall(void), PyBytes_Join(void), _PyX(void);"
	python := shop.build(t, "python3.13", pythonSource+
		"int PyObject_Vectorcall(void){return 0;} int PyBytes_Join(void){return 0;} int main(void){return libc_old();}",
		"-Wl,-e,main", "-rdynamic", oldRPath, "-Wl,-rpath,$ORIGIN/../lib", libc(t, "old"))
	module := func(file, calls string) tree.Entry {
		return fromFile(t, site+file, shop.build(t, file, api+" int PyInit_victim(void) { return PyList_New() + "+calls+"; }", "-shared"))
	}
	const file = "victim.abi3.so"
	refuse := func(symbol string) []string { return []string{"refuse abi3 " + site + file + ": undefined " + symbol} }
	for name, c := range map[string]struct {
		entry   tree.Entry
		tag     string
		foreign bool
		want    []string
	}{
		"what the version has":      {module(file, "PyObject_Vectorcall()"), "cp312-abi3-linux_x86_64", false, nil},
		"what a later one has":      {module(file, "PyObject_Vectorcall()"), "cp311-abi3-linux_x86_64", false, refuse("PyObject_Vectorcall")},
		"what none has":             {module(file, "_PyX()"), "cp312-abi3-linux_x86_64", false, refuse("_PyX")},
		"the same, built elsewhere": {module(file, "_PyX()"), "cp312-abi3-linux_x86_64", true, []string{"warn abi3 " + site + file + ": undefined _PyX"}},
		"named so, for one Python":  {module(file, "PyObject_Vectorcall()"), "cp313-cp313-linux_x86_64", false, nil},
		"named so, private things":  {module(file, "_PyX()"), "cp313-cp313-linux_x86_64", false, refuse("_PyX")},
		"a library of its wheel": {
			fromFile(t, site+"libvictim.so.1", shop.build(t, "libvictim.so.1", api+" int victim(void) { return PyList_New() + _PyX(); }", "-shared")), "cp312-abi3-linux_x86_64", false,
			[]string{"refuse abi3 " + site + "libvictim.so.1: undefined _PyX"},
		},
		"named for one Python in it":  {module("victim"+suffix, "_PyX()"), "cp312-abi3-linux_x86_64", false, nil},
		"neither named nor tagged so": {module("victim.so", "_PyX()"), "cp313-cp313-linux_x86_64", false, nil},
		"for free-threaded builds, too": {
			module("victim.abi3t.so", "_PyX()"), "cp313-abi3.abi3t-linux_x86_64", false,
			[]string{"refuse abi3 " + site + "victim.abi3t.so: undefined _PyX", "refuse tags " + site + "victim.abi3t.so: suffix .abi3t.so"},
		},
		"only tagged so": {
			module("victim.so", "_PyX()"), "cp312-abi3-linux_x86_64", false,
			[]string{"refuse abi3 " + site + "victim.so: undefined _PyX"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := subjectWith(t, append(tagged(t, c.entry, c.tag), fromFile(t, "bin/python3.13", python))...)
			if c.foreign {
				s.Foreign = []string{OwnerWheel + "victim"}
			}
			expect(t, judge(t, s), c.want...)
		})
	}
	if n := len(abi3()); n < 900 || abi3()["PyObject_Vectorcall"] != 12 || abi3()["PyList_New"] != 2 {
		t.Errorf("%d symbols", n)
	}
}

func TestSuffixes(t *testing.T) {
	t.Parallel()
	const machine = "x86_64-linux-gnu"
	for want, vars := range map[string]map[string]string{
		// As importlib.machinery.EXTENSION_SUFFIXES of each has them.
		".cpython-313-x86_64-linux-gnu.so .abi3.so .so": {
			"EXT_SUFFIX": ".cpython-313-x86_64-linux-gnu.so", "ALT_SOABI": "0", "VERSION": "3.13", "MULTIARCH": machine,
		},
		".cpython-313td-x86_64-linux-gnu.so .cpython-313t-x86_64-linux-gnu.so .abi3.so .so": {
			"EXT_SUFFIX": ".cpython-313td-x86_64-linux-gnu.so", "ALT_SOABI": `"cpython-313t-x86_64-linux-gnu"`, "VERSION": "3.13",
			"MULTIARCH": machine, "Py_GIL_DISABLED": "1",
		},
		".cpython-315-x86_64-linux-gnu.so .abi3-x86_64-linux-gnu.so .abi3.so .abi3t-x86_64-linux-gnu.so .abi3t.so .so": {
			"EXT_SUFFIX": ".cpython-315-x86_64-linux-gnu.so", "VERSION": "3.15", "MULTIARCH": machine,
		},
		".cpython-315t-x86_64-linux-gnu.so .abi3t-x86_64-linux-gnu.so .abi3t.so .so": {
			"EXT_SUFFIX": ".cpython-315t-x86_64-linux-gnu.so", "VERSION": "3.15", "MULTIARCH": machine, "Py_GIL_DISABLED": "1",
		},
		".abi3.so .so": {},
	} {
		if got := strings.Join(sysconfig{vars: vars}.suffixes(), " "); got != want {
			t.Errorf("suffixes %q, want %q", got, want)
		}
	}
}
