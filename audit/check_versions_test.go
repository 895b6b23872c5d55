package audit

import (
	"testing"

	"ampoule/tree"
)

func TestVersions(t *testing.T) {
	t.Parallel()
	ext := dynload + "victim" + suffix
	call := func(t *testing.T, function, age string) tree.Entry {
		return fromFile(t, ext, shop.build(t, "victim"+suffix, "int "+function+"(void); int PyInit_victim(void){return "+function+"();}", "-shared", libc(t, age)))
	}
	weak := func(t *testing.T) tree.Entry {
		return fromFile(t, ext, shop.build(t, "victim"+suffix,
			"__attribute__((weak)) int libc_new(void); int PyInit_victim(void){return libc_new ? libc_new() : 0;}", "-shared", libc(t, "new")))
	}
	plain := library(t, "libplain.so.1", "int plain(void){return 0;}")
	versioned := library(t, "libplain.so.1", "int plain(void){return 0;}", versionScript(t, "PLAIN_1 { global: *; };"))
	caller := shop.build(t, "victim"+suffix, "int plain(void); int PyInit_victim(void){return plain();}", "-shared", versioned)
	tests := []struct {
		name    string
		entries []tree.Entry
		glibc   string
		want    []string
	}{
		{name: "what the target has", entries: []tree.Entry{call(t, "libc_mid", "mid")}, glibc: "2.36"},
		{name: "newer than the target", entries: []tree.Entry{call(t, "libc_new", "new")}, glibc: "2.36",
			want: []string{"refuse versions " + ext + ": DT_VERNEED libc.so.6 GLIBC_2.99"}},
		{name: "newer, but weak", entries: []tree.Entry{weak(t)}, glibc: "2.36"},
		{name: "above the floor", entries: []tree.Entry{call(t, "libc_mid", "mid")}, glibc: "2.31",
			want: []string{"refuse versions " + ext + ": DT_VERNEED libc.so.6 GLIBC_2.36"}},
		{name: "old version on a low floor", entries: []tree.Entry{call(t, "libc_old", "new")}, glibc: "2.9"},
		{name: "of a carried library", entries: []tree.Entry{fromFile(t, ext, caller), in(t, "lib", versioned)}},
		{name: "of a library without versions", entries: []tree.Entry{fromFile(t, ext, caller), in(t, "lib", plain)},
			want: []string{"warn versions " + ext + ": DT_VERNEED libplain.so.1 PLAIN_1"}},
		{name: "of a missing library is closure's", entries: []tree.Entry{fromFile(t, ext, caller)},
			want: []string{"refuse closure " + ext + ": DT_NEEDED libplain.so.1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := subject(t, tt.entries...)
			s.Targets[1].Glibc = tt.glibc
			expect(t, judge(t, s), tt.want...)
		})
	}
}

func TestVersionsOnEachTarget(t *testing.T) {
	t.Parallel()
	s := subject(t, fromFile(t, dynload+"victim"+suffix, shop.build(t, "victim"+suffix,
		"int libc_mid(void); int PyInit_victim(void){return libc_mid();}", "-shared", libc(t, "mid"))))
	s.Targets[0].Root = rootfs(t, "old")
	v := judge(t, s)
	expect(t, v, "refuse versions *")
	if got := v.Findings[0].Targets; len(got) != 1 || got[0] != "container" {
		t.Errorf("targets: %v", got)
	}
}
