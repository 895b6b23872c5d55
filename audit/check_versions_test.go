package audit

import (
	"bytes"
	"encoding/binary"
	"testing"

	"ampoule/tree"
)

func TestVersions(t *testing.T) {
	t.Parallel()
	ext := dynload + "victim" + suffix
	call := func(t *testing.T, function, age string) tree.Entry {
		return fromFile(t, ext, shop.build(t, "victim"+suffix, "int PyList_New(void); int "+function+"(void); int PyInit_victim(void){return PyList_New()+"+function+"();}", "-shared", libc(t, age)))
	}
	// weak sets VER_FLG_WEAK, which GNU ld gives to versions without symbols only.
	weak := func(t *testing.T, e tree.Entry) tree.Entry {
		data, err := e.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		hash := binary.LittleEndian.AppendUint32(nil, sysvHash("GLIBC_2.99"))
		at := bytes.Index(data, hash)
		if at < 0 || bytes.Count(data, hash) != 1 {
			t.Fatalf("the version's hash is at %d", at)
		}
		data[at+4] = 2
		return e.Replace(data)
	}
	plain := library(t, "libplain.so.1", "int plain(void){return 0;}")
	asking := library(t, "libplain.so.1", "int libc_old(void); int plain(void){return libc_old();}", libc(t, "old"))
	versioned := library(t, "libplain.so.1", "int plain(void){return 0;}", versionScript(t, "PLAIN_1 { global: *; };"))
	caller := shop.build(t, "victim"+suffix, "int PyList_New(void); int plain(void); int PyInit_victim(void){return PyList_New()+plain();}", "-shared", versioned)
	tests := []struct {
		name    string
		entries []tree.Entry
		root    string
		glibc   string
		want    []string
	}{
		{name: "what the target has", entries: []tree.Entry{call(t, "libc_mid", "mid")}, glibc: "2.36"},
		{name: "newer than the target", entries: []tree.Entry{call(t, "libc_new", "new")}, glibc: "2.36",
			want: []string{"refuse versions " + ext + ": DT_VERNEED libc.so.6 GLIBC_2.99"}},
		{name: "newer, but weak", entries: []tree.Entry{weak(t, call(t, "libc_new", "new"))}, glibc: "2.36",
			want: []string{"refuse symbols " + ext + ": undefined libc_new@GLIBC_2.99"}},
		{name: "above the floor", entries: []tree.Entry{call(t, "libc_mid", "mid")}, glibc: "2.31",
			want: []string{"refuse versions " + ext + ": DT_VERNEED libc.so.6 GLIBC_2.36"}},
		{name: "old version on a low floor", entries: []tree.Entry{call(t, "libc_old", "new")}, glibc: "2.9"},
		{name: "of a carried library", entries: []tree.Entry{fromFile(t, ext, caller), in(t, "lib", versioned)}},
		{name: "of a library that has no versions at all", entries: []tree.Entry{fromFile(t, ext, caller), in(t, "lib", plain)},
			want: []string{"refuse versions " + ext + ": DT_VERNEED libplain.so.1 PLAIN_1"}},
		{name: "of a library without versions of its own", entries: []tree.Entry{fromFile(t, ext, caller), in(t, "lib", asking)},
			want: []string{"warn versions " + ext + ": DT_VERNEED libplain.so.1 PLAIN_1"}},
		{name: "a marker above the floor", entries: []tree.Entry{call(t, "libc_mark", "mark")}, root: "mark", glibc: "2.35",
			want: []string{"refuse versions " + ext + ": DT_VERNEED libc.so.6 GLIBC_ABI_DT_RELR"}},
		{name: "of a missing library is closure's", entries: []tree.Entry{fromFile(t, ext, caller)},
			want: []string{"refuse closure " + ext + ": DT_NEEDED libplain.so.1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := subject(t, tt.entries...)
			s.Targets[1].Glibc = tt.glibc
			if tt.root != "" {
				s.Targets[0].Root, s.Targets[1].Root = rootfs(t, tt.root), rootfs(t, tt.root)
			}
			expect(t, judge(t, s), tt.want...)
		})
	}
}

func TestVersionsOnEachTarget(t *testing.T) {
	t.Parallel()
	s := subject(t, fromFile(t, dynload+"victim"+suffix, shop.build(t, "victim"+suffix,
		"int PyList_New(void); int libc_mid(void); int PyInit_victim(void){return PyList_New()+libc_mid();}", "-shared", libc(t, "mid"))))
	s.Targets[0].Root = rootfs(t, "old")
	v := judge(t, s)
	expect(t, v, "refuse versions *")
	if got := v.Findings[0].Targets; len(got) != 1 || got[0] != "container" {
		t.Errorf("targets: %v", got)
	}
}

// sysvHash is the hash of names of the System V gABI, chapter 5.
func sysvHash(name string) uint32 {
	var h uint32
	for _, c := range []byte(name) {
		h = h<<4 + uint32(c)
		h = (h ^ h>>28<<4) & 0x0fffffff
	}
	return h
}
