package audit

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/tree"
)

func TestClosure(t *testing.T) {
	t.Parallel()
	inner := library(t, "libinner.so.1", "int inner;")
	ext := dynload + "victim" + suffix
	victim := func(t *testing.T, flags ...string) tree.Entry {
		return fromFile(t, ext, extension(t, "victim", flags...))
	}
	needs := "refuse closure " + ext + ": "
	tests := []struct {
		name    string
		entries func(t *testing.T) []tree.Entry
		root    []tree.Entry
		host    []string
		want    []string
	}{
		{name: "carried, found by the interpreter's RPATH", entries: func(t *testing.T) []tree.Entry {
			return []tree.Entry{victim(t, inner), in(t, "lib", inner)}
		}},
		{name: "missing", entries: func(t *testing.T) []tree.Entry {
			return []tree.Entry{victim(t, inner)}
		}, want: []string{needs + "DT_NEEDED libinner.so.1"}},
		{name: "missing, section headers stripped", entries: func(t *testing.T) []tree.Entry {
			return []tree.Entry{stripSections(t, victim(t, inner))}
		}, want: []string{needs + "DT_NEEDED libinner.so.1"}},
		{name: "missing filter and auxiliary", entries: func(t *testing.T) []tree.Entry {
			return []tree.Entry{victim(t, "-Wl,-F,libf.so", "-Wl,-f,liba.so")}
		}, want: []string{needs + "DT_AUXILIARY liba.so", needs + "DT_FILTER libf.so"}},
		{name: "carried, but RUNPATH shuts the interpreter's RPATH out", entries: func(t *testing.T) []tree.Entry {
			return []tree.Entry{victim(t, inner, newRPath, "-Wl,-rpath,$ORIGIN"), in(t, "lib", inner)}
		}, want: []string{needs + "DT_NEEDED libinner.so.1"}},
		{name: "RUNPATH that leads to it", entries: func(t *testing.T) []tree.Entry {
			return []tree.Entry{victim(t, inner, newRPath, "-Wl,-rpath,${ORIGIN}/../.."), in(t, "lib", inner)}
		}},
		{name: "RUNPATH of an extension does not serve its libraries", entries: func(t *testing.T) []tree.Entry {
			outer := library(t, "libouter.so.1", "int o;", asNeeded, inner, newRPath, "-Wl,-rpath,$ORIGIN/nowhere")
			return []tree.Entry{victim(t, outer, newRPath, "-Wl,-rpath,$ORIGIN/libs"), in(t, dynload+"libs", outer), in(t, dynload+"libs", inner)}
		}, want: []string{"refuse closure " + dynload + "libs/libouter.so.1: DT_NEEDED libinner.so.1"}},
		{name: "RPATH of an extension does", entries: func(t *testing.T) []tree.Entry {
			outer := library(t, "libouter.so.1", "int o;", asNeeded, inner)
			return []tree.Entry{victim(t, outer, oldRPath, "-Wl,-rpath,$ORIGIN/libs"), in(t, dynload+"libs", outer), in(t, dynload+"libs", inner)}
		}},
		{name: "loaded before by its sibling", entries: func(t *testing.T) []tree.Entry {
			outer := library(t, "libouter.so.1", "int o;", asNeeded, inner, newRPath, "-Wl,-rpath,$ORIGIN/nowhere")
			return []tree.Entry{victim(t, outer, inner, newRPath, "-Wl,-rpath,$ORIGIN/libs"), in(t, dynload+"libs", outer), in(t, dynload+"libs", inner)}
		}},
		{name: "in the target, not carried", entries: func(t *testing.T) []tree.Entry {
			return []tree.Entry{victim(t, inner)}
		}, root: []tree.Entry{in(t, "usr/"+linkGnu, inner)}, want: []string{needs + "DT_NEEDED libinner.so.1"}},
		{name: "in the target, named as the host's", entries: func(t *testing.T) []tree.Entry {
			return []tree.Entry{victim(t, inner)}
		}, root: []tree.Entry{in(t, "usr/"+linkGnu, inner)}, host: []string{"libinner.so.1"}},
		{name: "nowhere, named as the host's", entries: func(t *testing.T) []tree.Entry {
			return []tree.Entry{victim(t, inner)}
		}, host: []string{"libinner.so.1"}},
		{name: "glibc's own", entries: func(t *testing.T) []tree.Entry {
			return []tree.Entry{victim(t, libc(t, "old"))}
		}},
		{name: "glibc carried", entries: func(t *testing.T) []tree.Entry {
			return []tree.Entry{victim(t), in(t, "lib", library(t, "libm.so.6", "int m;"))}
		}, want: []string{"refuse closure lib/libm.so.6: name libm.so.6"}},
		{name: "libcrypt is not glibc's", entries: func(t *testing.T) []tree.Entry {
			return []tree.Entry{victim(t, library(t, "libcrypt.so.1", "int c;"))}
		}, root: []tree.Entry{in(t, "usr/"+linkGnu, library(t, "libcrypt.so.1", "int c;"))}, want: []string{needs + "DT_NEEDED libcrypt.so.1"}},
		{name: "a text file by that name", entries: func(t *testing.T) []tree.Entry {
			return []tree.Entry{victim(t, inner), tree.FileEntry("lib/libinner.so.1", 0o644, []byte("INPUT(x)"))}
		}, want: []string{needs + "DT_NEEDED libinner.so.1"}},
		{name: "through links", entries: func(t *testing.T) []tree.Entry {
			return []tree.Entry{victim(t, inner), fromFile(t, "lib/real/libinner.so.1.2", inner),
				{Path: "lib/libinner.so.1", Kind: tree.Symlink, Link: "real/libinner.so.1.2"}}
		}},
		{name: "a library that nothing needs misses one", entries: func(t *testing.T) []tree.Entry {
			return []tree.Entry{in(t, "lib", library(t, "libouter.so.1", "int o;", asNeeded, inner))}
		}, want: []string{"refuse closure lib/libouter.so.1: DT_NEEDED libinner.so.1"}},
		{name: "another loader", entries: func(t *testing.T) []tree.Entry {
			return []tree.Entry{in(t, "bin", shop.build(t, "tool", "int main(void){return 0;}", "-Wl,-e,main", "-Wl,-dynamic-linker,/build/ld-linux-x86-64.so.2"))}
		}, want: []string{"refuse closure bin/tool: PT_INTERP /build/ld-linux-x86-64.so.2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := subject(t, tt.entries(t)...)
			for i := range s.Targets {
				s.Targets[i].Root = rootfs(t, "mid", tt.root...)
				s.Targets[i].Host = tt.host
			}
			expect(t, judge(t, s), tt.want...)
		})
	}
}

func TestClosureTellsTheTargets(t *testing.T) {
	t.Parallel()
	inner := library(t, "libinner.so.1", "int inner;")
	s := subject(t, fromFile(t, dynload+"victim"+suffix, extension(t, "victim", inner)))
	s.Targets[1].Host = []string{"libinner.so.1"}
	v := judge(t, s)
	if len(v.Findings) != 1 || cmp.Diff(v.Findings[0].Targets, []string{"container"}) != "" {
		t.Errorf("findings: %+v", v.Findings)
	}
	s.Targets[1].Host = nil
	v = judge(t, s)
	if len(v.Findings) != 1 || cmp.Diff(v.Findings[0].Targets, []string{"container", "vm"}) != "" {
		t.Errorf("findings: %+v", v.Findings)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	good := fromFile(t, dynload+"victim"+suffix, extension(t, "victim"))
	data, err := good.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	small := append([]byte{}, data...)
	small[4] = 1
	for name, tt := range map[string]struct {
		data []byte
		want []string
	}{
		"cut off":           {data[:len(data)/4], []string{"refuse parse lib/x: ELF header malformed *"}},
		"32-bit":            {small, []string{"refuse parse lib/x: ELF header unsupported *"}},
		"magic later":       {append([]byte("x"), data...), nil},
		"shorter than that": {[]byte("\x7fEL"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := judge(t, subject(t, tree.FileEntry("lib/x", 0o644, tt.data)))
			expect(t, v, tt.want...)
			if len(tt.want) > 0 && strings.Contains(v.Findings[0].Cause, "32-bit") != (name == "32-bit") {
				t.Errorf("cause: %s", v.Findings[0].Cause)
			}
		})
	}
}

func TestOutside(t *testing.T) {
	t.Parallel()
	inner := library(t, "libinner.so.1", "int inner;")
	outer := library(t, "libouter.so.1", "int outer;", asNeeded, inner, libc(t, "old"))
	gone := library(t, "libgone.so.1", "int gone;")
	ext := in(t, dynload, extension(t, "victim", outer, gone, libc(t, "old")))
	root := rootfs(t, "mid",
		fromFile(t, "usr/"+linkGnu+"libouter.so.1.2", outer),
		tree.Entry{Path: "usr/" + linkGnu + "libouter.so.1", Kind: tree.Symlink, Link: "libouter.so.1.2"},
		in(t, "usr/"+linkGnu, inner))
	r, err := NewResolver(ResolverInput{
		Tree: newTree(t, ext, in(t, "bin", sharedInterpreter(t)), in(t, "lib64", libpython313(t))), Prefix: "/opt/web",
		Root: root, Search: []string{"/opt/web/lib64"},
	})
	if err != nil {
		t.Fatal(err)
	}
	libs, missing := r.Outside()
	type lib struct {
		Name, Path, File string
		By               []string
	}
	var got []lib
	for _, l := range libs {
		got = append(got, lib{l.Name, l.Path, l.Entry.Path, l.By})
	}
	want := []lib{
		{"libinner.so.1", "/" + linkGnu + "libinner.so.1", "usr/" + linkGnu + "libinner.so.1", []string{"/usr/" + linkGnu + "libouter.so.1.2"}},
		{"libouter.so.1", "/" + linkGnu + "libouter.so.1", "usr/" + linkGnu + "libouter.so.1.2", []string{ext.Path}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("libraries (-want +got):\n%s", diff)
	}
	if len(missing) != 1 || missing[0].Name != "libgone.so.1" || cmp.Diff(missing[0].By, []string{ext.Path}) != "" {
		t.Errorf("missing: %+v", missing)
	}
}
