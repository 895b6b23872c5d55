package audit

import (
	"strings"
	"testing"

	"ampoule/tree"
)

// promising is a distribution with a module, as if it were installed alone, of which is known
// what the machine is, if there is one.
func promising(t *testing.T, tag string, module tree.Entry, machine bool, more ...tree.Entry) Place {
	t.Helper()
	entries := append(tagged(t, module, tag), more...)
	place := Place{Site: strings.TrimSuffix(site, "/"), Alone: true}
	if machine {
		python, config := fromFile(t, "bin/python3.13", interpreter(t)), sysconfigOf()
		python.Owner, config.Owner = OwnerInterpreter, OwnerInterpreter
		entries = append(entries, python, config)
		place.Interpreter = "bin/python3.13"
	}
	place.Tree = newTree(t, entries...)
	return place
}

func TestPlatformPlaces(t *testing.T) {
	t.Parallel()
	wants := func(call string) tree.Entry {
		return in(t, site, shop.build(t, "victim"+suffix, "int PyList_New(void); int "+call+"(void); int PyInit_victim(void) { return PyList_New() + "+call+"(); }",
			"-shared", asNeeded, libc(t, "new")))
	}
	mid, old := wants("libc_mid"), wants("libc_old")
	own := in(t, site, extension(t, "victim", library(t, "libown.so.1", "int own;")))
	musl := in(t, site, extension(t, "victim", library(t, "libc.musl-x86_64.so.1", "int musl;")))
	other := mid
	other.Path = site + "victim" + suffix
	data := readAll(t, other)
	data[18], data[19] = 183, 0
	other = other.Replace(data)
	const tag = "cp313-cp313-"
	for name, c := range map[string]struct {
		tag    string
		module tree.Entry
		here   bool
		want   []string
	}{
		"glibc that is newer, nobody knows where":     {tag + "manylinux_2_17_x86_64", mid, false, []string{"undecided DT_VERNEED libc.so.6 GLIBC_2.36"}},
		"glibc that is newer, and here":               {tag + "manylinux2014_x86_64.manylinux_2_17_x86_64", mid, true, []string{"warn DT_VERNEED libc.so.6 GLIBC_2.36"}},
		"the oldest of its tags":                      {tag + "manylinux_2_36_x86_64.manylinux1_x86_64", mid, true, []string{"warn DT_VERNEED libc.so.6 GLIBC_2.36"}},
		"glibc as promised":                           {tag + "manylinux_2_36_x86_64", mid, true, nil},
		"glibc that is older":                         {tag + "manylinux1_x86_64", old, false, nil},
		"no promise":                                  {tag + "linux_x86_64", mid, false, nil},
		"one of two tags promises nothing":            {tag + "linux_x86_64.manylinux1_x86_64", mid, false, nil},
		"glibc for musl, nobody knows where":          {tag + "musllinux_1_2_x86_64", mid, false, []string{"undecided DT_NEEDED libc.so.6"}},
		"another system's":                            {tag + "macosx_11_0_arm64", mid, false, nil},
		"a library of the system":                     {tag + "manylinux_2_17_x86_64", own, false, []string{"warn DT_NEEDED libown.so.1"}},
		"a library that is missing here is closure's": {tag + "manylinux_2_17_x86_64", own, true, nil},
		"musl for glibc":                              {tag + "manylinux_2_17_x86_64", musl, false, []string{"refuse DT_NEEDED libc.musl-x86_64.so.1"}},
		"another machine than the tag's":              {tag + "manylinux_2_17_x86_64", other, false, []string{"refuse e_machine aarch64"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var machine Root
			if c.here {
				machine = rootfs(t, "new")
			}
			var got []string
			for _, told := range inspected(t, "platform", machine, promising(t, c.tag, c.module, c.here)) {
				severity, _, _ := strings.Cut(told, " ")
				_, what, _ := strings.Cut(told, ": ")
				got = append(got, severity+" "+what)
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// What the machine itself lacks is refused, whatever the tag says.
func TestPlatformOfOlderMachine(t *testing.T) {
	t.Parallel()
	module := in(t, site, shop.build(t, "victim"+suffix, "int PyList_New(void); int libc_mid(void); int PyInit_victim(void) { return PyList_New() + libc_mid(); }",
		"-shared", asNeeded, libc(t, "new")))
	place := promising(t, "cp313-cp313-manylinux2014_x86_64", module, true)
	for age, want := range map[string]string{"old": "refuse versions", "mid": ""} {
		got := strings.Join(inspected(t, "versions", rootfs(t, age), place), "\n")
		if !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s: %q", age, got)
		}
	}
}

// TestPlatform judges trees: what a target lacks is refused by versions, and a tag that
// promises more is a warning.
func TestPlatform(t *testing.T) {
	t.Parallel()
	module := in(t, site, shop.build(t, "victim"+suffix, "int PyList_New(void); int libc_mid(void); int PyInit_victim(void) { return PyList_New() + libc_mid(); }",
		"-shared", asNeeded, libc(t, "mid")))
	t.Run("older than its tag", func(t *testing.T) {
		t.Parallel()
		expect(t, judge(t, subject(t, tagged(t, module, "cp313-cp313-manylinux_2_36_x86_64")...)))
	})
	t.Run("newer than its tag", func(t *testing.T) {
		t.Parallel()
		expect(t, judge(t, subject(t, tagged(t, module, "cp313-cp313-manylinux_2_17_x86_64")...)),
			"warn platform "+module.Path+": DT_VERNEED libc.so.6 GLIBC_2.36")
	})
}

// Musl takes libc.so.6 for itself: what counts is whether it has the symbols.
func TestPlatformMusl(t *testing.T) {
	t.Parallel()
	python := fromFile(t, "bin/python3.13", shop.build(t, "python3.13", pythonSource+"int main(void) { return libc_old(); }",
		"-Wl,-e,main", "-rdynamic", "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1", libc(t, "old")))
	config := sysconfigOf()
	python.Owner, config.Owner = OwnerInterpreter, OwnerInterpreter
	machine := newTree(t, fromFile(t, "lib/ld-musl-x86_64.so.1", library(t, "libc.musl-x86_64.so.1", "int libc_old(void) { return 0; }")))
	for call, want := range map[string]string{"libc_old": "warn ", "libc_mid": "refuse "} {
		module := in(t, site, shop.build(t, "victim"+suffix, "int "+call+"(void); int PyInit_victim(void) { return "+call+"(); }", "-shared", asNeeded, libc(t, "mid")))
		entries := append(tagged(t, module, "cp313-cp313-musllinux_1_2_x86_64"), python, config)
		place := Place{Tree: newTree(t, entries...), Interpreter: "bin/python3.13", Site: strings.TrimSuffix(site, "/"), Alone: true}
		got := inspected(t, "platform", machine, place)
		if len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("%s: %q", call, got)
		}
	}
}
