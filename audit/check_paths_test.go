package audit

import (
	"bytes"
	"strings"
	"testing"

	"ampoule/tree"
)

func TestPaths(t *testing.T) {
	t.Parallel()
	at := func(offset int) []byte {
		data := bytes.Repeat([]byte{0}, 3*scanBlock)
		copy(data[offset:], "/build/dir")
		return data
	}
	tests := []struct {
		name  string
		entry tree.Entry
		want  string
	}{
		{"in bytecode", tree.FileEntry("lib/x.pyc", 0o644, []byte("\xcb\r\r\n/build/dir/x.py\x00")), `offset 4 \ufffd\u000d\u000d\u000a/build/dir/x.py\u0000`},
		{"in a path", tree.FileEntry("lib/build/dirs", 0o644, nil), "path lib/build/dirs"},
		{"in a link", tree.Entry{Path: "lib/x", Kind: tree.Symlink, Link: "/build/dir/y"}, "link /build/dir/y"},
		{"at a block's end", tree.FileEntry("lib/x", 0o644, at(scanBlock-5)), "offset 1048571 *"},
		{"at the buffer's end", tree.FileEntry("lib/x", 0o644, at(scanBlock+50-3)), "offset 1048623 *"},
		{"at the file's end", tree.FileEntry("lib/x", 0o644, at(3*scanBlock-10)), "offset 3145718 *"},
		{"cut off by the file's end", tree.FileEntry("lib/x", 0o644, at(3*scanBlock-9)), ""},
		{"near miss", tree.FileEntry("lib/x", 0o644, []byte("/build/dia")), ""},
		{"empty", tree.FileEntry("lib/x", 0o644, nil), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := subject(t, tt.entry)
			s.Forbidden = []Forbidden{{Text: "/build/dir", Reason: "build directory"}, {Text: "worker-17", Reason: "host name"}}
			var want []string
			if tt.want != "" {
				want = []string{"refuse paths " + tt.entry.Path + ": " + tt.want}
			}
			expect(t, judge(t, s), want...)
		})
	}
}

func TestPathsWarnsAboutForeignWheels(t *testing.T) {
	t.Parallel()
	s := subject(t, installed("far", tree.FileEntry(site+"far.py", 0o644, []byte("# worker-17")))...)
	s.Forbidden = []Forbidden{{Text: "worker-17", Reason: "host name"}}
	s.Foreign = []string{"wheel:far"}
	expect(t, judge(t, s), "warn paths "+site+"far.py: offset 2 # worker-17")
}

// The name of a temporary directory in native code means that the next build differs.
func TestPathsOfTemporaries(t *testing.T) {
	t.Parallel()
	const ext = dynload + "victim" + suffix
	for name, c := range map[string]struct{ text, want string }{
		"a random name in a module":   {"../../tmp/tmpx76m5mjc/_c.pyx", "refuse paths " + ext + ": offset *"},
		"another directory of /tmp":   {"/tmp/tmpfiles.d/a.conf", ""},
		"a name that is no directory": {"/tmp/tmpx76m5mjc", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			module := fromFile(t, ext, shop.build(t, "victim"+suffix, `int PyList_New(void); const char *file = "`+c.text+`"; int PyInit_victim(void) { return PyList_New(); }`, "-shared"))
			s := subject(t, module, tree.FileEntry("lib/doc.py", 0o644, []byte("/tmp/tmpabcdefgh/x")))
			s.Forbidden = []Forbidden{{Text: "worker-17", Reason: "host name"}}
			if c.want == "" {
				expect(t, judge(t, s))
				return
			}
			expect(t, judge(t, s), c.want)
		})
	}
}

func TestScanFindsEverywhere(t *testing.T) {
	t.Parallel()
	texts := []Forbidden{{Text: "needle"}, {Text: strings.Repeat("n", 300)}}
	for offset := scanBlock - 400; offset < scanBlock+400; offset += 7 {
		data := bytes.Repeat([]byte{'.'}, 2*scanBlock)
		copy(data[offset:], "needle")
		copy(data[offset+700:], strings.Repeat("n", 300))
		findings, err := scan(bytes.NewReader(data), int64(len(data)), texts)
		if err != nil || len(findings) != 2 {
			t.Fatalf("offset %d: %v, %v", offset, findings, err)
		}
	}
}

func BenchmarkScan(b *testing.B) {
	data := bytes.Repeat([]byte("some text /usr/lib and more of it\n"), 1<<21)
	texts := []Forbidden{{Text: "/build/dir"}, {Text: "worker-17"}, {Text: "/tmp/pip-"}, {Text: "builder@"}}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := scan(bytes.NewReader(data), int64(len(data)), texts); err != nil {
			b.Fatal(err)
		}
	}
}
