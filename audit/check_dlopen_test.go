package audit

import (
	"strings"
	"testing"

	"ampoule/tree"
)

func TestDlopen(t *testing.T) {
	t.Parallel()
	const code = site + "victim/api.py"
	loads := func(text string) []tree.Entry {
		return installed("victim", tree.FileEntry(code, 0o644, []byte(text)))
	}
	carried := in(t, "lib", library(t, "libmagic.so.1", "int magic;"))
	typelib := tree.FileEntry("lib/girepository-1.0/GLib-2.0.typelib", 0o644, []byte("GOBJ"))
	bundled := in(t, site+"victim", library(t, "libsndfile_x86_64.so", "int sound;"))
	const magic = "warn dlopen " + code + ": line 1 magic"
	for name, c := range map[string]struct {
		entries []tree.Entry
		root    []tree.Entry
		host    []string
		want    []string
	}{
		"missing":                     {entries: loads("find_library('magic')"), want: []string{magic}},
		"missing, told once":          {entries: loads("find_library('magic')\nfind_library('magic')"), want: []string{magic}},
		"missing under each name":     {entries: loads("dlopen(ffi, 'zbar', 'libzbar.so.0')"), want: []string{"warn dlopen " + code + ": line 1 zbar"}},
		"missing typelib":             {entries: loads("require_version('Gtk', '3.0')"), want: []string{"warn dlopen " + code + ": line 1 Gtk-3.0.typelib"}},
		"another version":             {entries: append(loads("CDLL('libmagic.so.2')"), carried), want: []string{"warn dlopen " + code + ": line 1 libmagic.so.2"}},
		"carried":                     {entries: append(loads("find_library('magic')"), carried)},
		"carried under one name":      {entries: append(loads("dlopen(ffi, 'other', 'libmagic.so.1')"), carried)},
		"carried typelib":             {entries: append(loads("require_version('GLib', '2.0')"), typelib)},
		"brought by the wheel":        {entries: installed("victim", bundled, tree.FileEntry(code, 0o644, []byte("find_library('sndfile')")))},
		"glibc's":                     {entries: loads("CDLL('libc.so.6'); find_library('c'); find_library('pthread'); CDLL('libdl.so.2')")},
		"in the target":               {entries: loads("find_library('magic')"), root: []tree.Entry{in(t, "usr/"+linkGnu, library(t, "libmagic.so.1", "int magic;"))}},
		"in the target, not searched": {entries: loads("find_library('magic')"), root: []tree.Entry{in(t, "opt", library(t, "libmagic.so.1", "int magic;"))}, want: []string{magic}},
		"of the host":                 {entries: loads("CDLL('libcuda.so.1')"), host: []string{"libcuda.so.1"}},
		"in a test suite":             {entries: installed("victim", tree.FileEntry(site+"victim/tests/x.py", 0o644, []byte("find_library('magic')")))},
		"in a comment":                {entries: loads("# find_library('magic')")},
		"of another system":           {entries: loads("if sys.platform == 'win32':\n    CDLL('magic1')")},
		"the interpreter's own":       {entries: []tree.Entry{{Path: "lib/python3.13/uuid.py", Kind: tree.File, Owner: OwnerInterpreter, Content: tree.Bytes("find_library('magic')"), Size: 21}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := subject(t, c.entries...)
			for i := range s.Targets {
				s.Targets[i].Root = rootfs(t, "mid", c.root...)
				s.Targets[i].Host = c.host
			}
			expect(t, judge(t, s), c.want...)
		})
	}
}

// The finding names the targets that lack the library, and the lines to write.
func TestDlopenTells(t *testing.T) {
	t.Parallel()
	s := subject(t, installed("victim", tree.FileEntry(site+"victim.py", 0o644, []byte("find_library('magic')\nCDLL('libnobodys.so.1')\n")))...)
	s.Targets[1].Host = []string{"libmagic.so.1"}
	v := judge(t, s)
	if len(v.Findings) != 2 || !v.Passed {
		t.Fatalf("findings: %+v", v.Findings)
	}
	for i, want := range []struct{ targets, remedy string }{{"container", "runtime: {libraries: [libmagic1]}"}, {"container vm", "has it to runtime.libraries"}} {
		if f := v.Findings[i]; strings.Join(f.Targets, " ") != want.targets || !strings.Contains(f.Remedy, want.remedy) {
			t.Errorf("%+v", f)
		}
	}
}

// A wheel does not say what variables a start sets.
func TestVariablesOfAWheel(t *testing.T) {
	t.Parallel()
	v := judge(t, subject(t, installed("victim", tree.FileEntry("share/ampoule/variables", 0o644, []byte("MAGIC own x\n")))...))
	if len(v.Findings) == 0 || v.Passed || v.Findings[0].Check != startupCheck && v.Findings[len(v.Findings)-1].Check != startupCheck {
		t.Errorf("findings: %+v", v.Findings)
	}
}
