package audit

import (
	"testing"

	"ampoule/tree"
)

func TestIsLibpython(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"libpython3.13.so.1.0": true, "libpython3.7m.so.1.0": true, "libpython3.13t.so.1.0": true,
		"libpython3.13d.so.1.0": true, "libpython3.13td.so.1.0": true, "libpython3.so": true,
		"libpython2.7.so.1.0": true, "libpython3.13.so": true, "/usr/lib/libpython3.11.so.1.0": true,
		"libpython3-0a1b2c3d.13t.so.1.0": true, "libpython3.13-0a1b2c3d.so.1.0": true,
		"libpythonic.so": false, "libpython_helper.so.1": false, "libboost_python313.so.1.83.0": false,
		"libpython3.13.a": false, "libpython3.sofa": false, "libpypy3.11-c.so": false, "": false,
	} {
		if got := IsLibpython(name); got != want {
			t.Errorf("IsLibpython(%q) = %t, want %t", name, got, want)
		}
	}
}

// dummy is a library of a soname, to link with.
func dummy(t *testing.T, name string) string {
	t.Helper()
	return library(t, name, "int dummy;")
}

func TestLibpythonRefusesExtensions(t *testing.T) {
	t.Parallel()
	own := func(t *testing.T) tree.Entry { return in(t, "lib", libpython313(t)) }
	for _, name := range []string{soname313, "libpython3.13t.so.1.0", "libpython3.13d.so.1.0", "libpython3.7m.so.1.0", "libpython3.so"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := in(t, site, extension(t, "poisoned", dummy(t, name)))
			s := subject(t, append(installed("poisoned", e), own(t))...)
			s.Targets[0].Host, s.Targets[1].Host = []string{name}, []string{name}
			expect(t, judge(t, s), "refuse libpython-needed "+e.Path+": DT_NEEDED "+name)
		})
	}
}

func TestLibpythonRefusesStrippedSections(t *testing.T) {
	t.Parallel()
	e := stripSections(t, in(t, site, extension(t, "poisoned", libpython313(t))))
	s := subject(t, append(installed("poisoned", e), in(t, "lib", libpython313(t)))...)
	expect(t, judge(t, s), "refuse libpython-needed "+e.Path+": DT_NEEDED "+soname313)
}

func TestLibpythonFollowsLibraries(t *testing.T) {
	t.Parallel()
	inner := library(t, "libinner.so.1", "int inner;", asNeeded, libpython313(t))
	outer := library(t, "libouter.so.1", "int outer;", asNeeded, inner)
	e := in(t, dynload, extension(t, "victim", outer))
	s := subject(t, e, in(t, "lib", outer), in(t, "lib", inner), in(t, "lib", libpython313(t)))
	s.Exceptions = []Exception{{Check: "libpython-needed", Files: []string{"lib/*/*/*", "lib/*"}, Why: "hope"}}
	expect(t, judge(t, s),
		"refuse libpython-needed "+e.Path+": DT_NEEDED libouter.so.1 -> libinner.so.1 -> "+soname313,
		"warn libpython-needed : gate.except *")
}

func TestLibpythonSeesThroughNames(t *testing.T) {
	t.Parallel()
	disguised := library(t, soname313, "int x;")
	e := in(t, site, extension(t, "victim", library(t, "libharmless.so", "int x;")))
	lib := fromFile(t, "lib/libharmless.so", disguised)
	s := subject(t, append(installed("victim", e), lib)...)
	expect(t, judge(t, s),
		"refuse libpython-needed lib/libharmless.so: name libharmless.so "+soname313,
		"refuse libpython-needed "+e.Path+": DT_NEEDED libharmless.so")
}

func TestLibpythonRefusesCarriedOnes(t *testing.T) {
	t.Parallel()
	for at, soname := range map[string]string{
		site + "x.libs/libpython3-0a1b2c3d.13t.so.1.0": "libpython3.13t.so.1.0",
		"lib/libpython3.12.so.1.0":                     "libpython3.12.so.1.0",
	} {
		e := fromFile(t, at, dummy(t, soname))
		s := subject(t, installed("x", e)...)
		expect(t, judge(t, s), "refuse libpython-needed "+at+": name *")
	}
}

func TestLibpythonAcceptsNearMisses(t *testing.T) {
	t.Parallel()
	pythonic := library(t, "libpythonic.so", "int x;")
	clean := installed("clean", in(t, site, extension(t, "clean", pythonic)))
	t.Run("another name", func(t *testing.T) {
		t.Parallel()
		expect(t, judge(t, subject(t, append(clean, in(t, "lib", pythonic))...)))
	})
	t.Run("shared interpreter with its own library", func(t *testing.T) {
		t.Parallel()
		stable := library(t, "libpython3.so", "", asNeeded, libpython313(t))
		expect(t, judge(t, subjectWith(t, append(clean, in(t, "lib", pythonic),
			in(t, "bin", sharedInterpreter(t)), in(t, "lib", libpython313(t)), in(t, "lib", stable))...)))
	})
	t.Run("static interpreter beside a library", func(t *testing.T) {
		t.Parallel()
		expect(t, judge(t, subject(t, in(t, "lib", libpython313(t)))))
	})
}

func TestLibpythonAndPrograms(t *testing.T) {
	t.Parallel()
	program := func(t *testing.T, lib string) tree.Entry {
		return in(t, "bin", shop.build(t, "uwsgi", "int libc_old(void); int main(void){return libc_old();}",
			asNeeded, "-Wl,-e,main", oldRPath, "-Wl,-rpath,$ORIGIN/../lib", lib, libc(t, "old")))
	}
	except := []Exception{{Check: "libpython-needed", Files: []string{"bin/uwsgi"}, Why: "embeds Python", Until: "2027-03-01"}}
	tests := []struct {
		name       string
		exceptions []Exception
		now        string
		lib        string
		want       []string
	}{
		{"no exception", nil, "2026-11-20", soname313, []string{"refuse libpython-needed bin/uwsgi: DT_NEEDED " + soname313}},
		{"exception", except, "2026-11-20", soname313, []string{"excepted libpython-needed bin/uwsgi: DT_NEEDED " + soname313}},
		{"last day", except, "2027-03-01", soname313, []string{"excepted libpython-needed bin/uwsgi: DT_NEEDED " + soname313}},
		{"expired", except, "2027-03-02", soname313, []string{
			"refuse libpython-needed bin/uwsgi: DT_NEEDED " + soname313,
			"warn libpython-needed : gate.except [bin/uwsgi]",
		}},
		{"another libpython", except, "2026-11-20", "libpython3.so", []string{
			"refuse libpython-needed bin/uwsgi: DT_NEEDED libpython3.so",
			"warn libpython-needed : gate.except [bin/uwsgi]",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			lib := dummy(t, tt.lib)
			if tt.lib == soname313 {
				lib = libpython313(t)
			}
			s := subject(t, program(t, lib), in(t, "lib", lib))
			s.Exceptions = tt.exceptions
			s.Now = s.Now.AddDate(0, 0, days(t, today.Format("2006-01-02"), tt.now))
			expect(t, judge(t, s), tt.want...)
		})
	}
}
