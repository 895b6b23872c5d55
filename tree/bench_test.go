package tree

import (
	"fmt"
	"testing"
)

// BenchmarkTree makes a tree of as many files as a large environment has, and changes each.
func BenchmarkTree(b *testing.B) {
	const files = 100_000
	entries := make([]Entry, files)
	for i := range entries {
		entries[i] = Entry{Path: fmt.Sprintf("lib/python3.13/site-packages/package%d/module%d.py", i%1000, i), Kind: File, Mode: 0o644}
	}
	b.ReportAllocs()
	for b.Loop() {
		t, err := New(entries)
		if err == nil {
			t, err = t.With(Entry{Path: "bin/python3.13", Kind: File, Mode: 0o755})
		}
		if err != nil {
			b.Fatal(err)
		}
		if t.Map(func(e Entry) Entry { e.Owner = "wheel:package"; return e }).Len() != files+1005 {
			b.Fatal(t.Len())
		}
	}
}
