package compare

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/tree"
)

// compiled is an object, a library of it, and a program, of C source.
func compiled(t *testing.T, source string) (object, library, program []byte) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.c"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"gcc", "-c", "a.c", "-o", "a_module_with_a_long_name.o"}, {"ar", "qcD", "liba.a", "a_module_with_a_long_name.o"},
		{"gcc", "-shared", "-nostdlib", "-Wl,--build-id", "a_module_with_a_long_name.o", "-o", "a.so"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	return read("a_module_with_a_long_name.o"), read("liba.a"), read("a.so")
}

func TestELF(t *testing.T) {
	t.Parallel()
	const source = `const char where[] = "built on %s"; const int stamp = 0;`
	_, library, program := compiled(t, fmt.Sprintf(source, "machine-one"))
	_, otherLibrary, otherProgram := compiled(t, fmt.Sprintf(source, "machine-two"))
	host := Mark{Text: "machine-two", Means: "the host's name"}
	got := Bytes("lib/a.so", program, otherProgram, host)
	want := []Difference{
		{File: "lib/a.so", Place: ".note.gnu.build-id, offset *", Cause: causeFollows},
		{File: "lib/a.so", Place: ".rodata, offset *", First: "hine-one", Second: "hine-two", Cause: "the host's name"},
	}
	check(t, want, got)
	check(t, []Difference{{File: "lib/a.a!a_module_with_a_long_name.o", Place: ".rodata, offset *", First: "hine-one", Second: "hine-two", Cause: "the host's name"}},
		Bytes("lib/a.a", library, otherLibrary, host))

	_, _, bigger := compiled(t, "int f(void) { return 1; }")
	if got := Bytes("a.so", program, bigger); len(got) == 0 || !strings.HasPrefix(got[0].Place, "section ") {
		t.Errorf("other sections: %+v", got)
	}
	if got := Bytes("a.so", program, program); got != nil {
		t.Errorf("the same: %+v", got)
	}
}

// check compares differences. "*" in a place stands for anything, and texts need only
// contain what is wanted.
func check(t *testing.T, want, got []Difference) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("got %d differences: %+v", len(got), got)
	}
	for i, w := range want {
		g := got[i]
		prefix, open := strings.CutSuffix(w.Place, "*")
		if g.File != w.File || g.Cause != w.Cause || !strings.Contains(g.First, w.First) || !strings.Contains(g.Second, w.Second) ||
			(g.Place != w.Place && !(open && strings.HasPrefix(g.Place, prefix))) {
			t.Errorf("got %+v, want %+v", g, w)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		a, b string
		want Difference
	}{
		"time":      {"a\nDate: 2026-11-21\n", "a\nDate: 2026-11-22\n", Difference{Place: "line 2", First: "Date: 2026-11-21", Second: "Date: 2026-11-22", Cause: causeTime}},
		"clock":     {"at 10:11:12", "at 10:11:13", Difference{Place: "line 1", Cause: causeTime}},
		"order":     {"x\nb\na\n", "x\na\nb\n", Difference{Place: "line 2", First: "b", Second: "a", Cause: causeOrder}},
		"temporary": {"built in /tmp/pip-abc\n", "built in /tmp/pip-xyz\n", Difference{Place: "line 1", Cause: causeTemporary}},
		"address":   {"<f at 0x7f00aabbccdd>", "<f at 0x7f00aabbccde>", Difference{Place: "line 1", Cause: causeAddress}},
		"longer":    {"a\n", "a\nb\n", Difference{Place: "line 2", Second: "b"}},
		"unknown":   {"a", "b", Difference{Place: "line 1", First: "a", Second: "b"}},
		"raw":       {"a\x00b", "a\x00c", Difference{Place: "offset 0x2", First: `a\x00b`, Second: `a\x00c`}},
		"shorter":   {"a\x00b", "a\x00", Difference{Place: "offset 0x2", Second: "the end, after 2 bytes"}},
	} {
		c.want.File = "f"
		t.Run(name, func(t *testing.T) { check(t, []Difference{c.want}, Bytes("f", []byte(c.a), []byte(c.b))) })
	}
}

func TestZip(t *testing.T) {
	t.Parallel()
	wheel := func(then time.Time, order ...string) []byte {
		var buf bytes.Buffer
		w := zip.NewWriter(&buf)
		for _, name := range order {
			f, err := w.CreateHeader(&zip.FileHeader{Name: name, Modified: then})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(f, "%s, %s\n", name, then.Format(time.DateOnly))
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	day := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	check(t, []Difference{
		{File: "w.whl!a.py", Place: "time", First: "2026-11-21 00:00:00", Second: "2026-11-22 00:00:00", Cause: causeTime},
		{File: "w.whl!a.py", Place: "line 1", Cause: causeTime},
	}, Bytes("w.whl", wheel(day, "a.py"), wheel(day.AddDate(0, 0, 1), "a.py")))
	check(t, []Difference{{File: "w.whl", Place: "member 1", First: "a.py", Second: "b.py", Cause: causeOrder}},
		Bytes("w.whl", wheel(day, "a.py", "b.py"), wheel(day, "b.py", "a.py")))
}

func TestPyc(t *testing.T) {
	t.Parallel()
	pyc := func(flags byte, stamp uint32, code string) []byte {
		header := append([]byte{1, 2, 3, 4, flags, 0, 0, 0}, binary.LittleEndian.AppendUint32(nil, stamp)...)
		return append(append(header, 5, 0, 0, 0), code...)
	}
	check(t, []Difference{{File: "a.pyc", Place: "time of the source", Cause: causeTime}}, Bytes("a.pyc", pyc(0, 1763683200, "c\x00"), pyc(0, 1763683201, "c\x00")))
	check(t, []Difference{{File: "a.pyc", Place: "hash of the source"}, {File: "a.pyc", Place: "code, offset 0x1", First: `c\x00`, Second: `c\x01`}},
		Bytes("a.pyc", pyc(1, 7, "c\x00"), pyc(1, 8, "c\x01")))
}

func TestCauses(t *testing.T) {
	t.Parallel()
	header := string([]byte{1, 2, 3, 4, 1, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9})
	check(t, []Difference{{File: "a.pyc", Place: "code, offset 0x1", Cause: causeInterned}},
		Bytes("a.pyc", []byte(header+"\x02\xda\x05A.B.C"), []byte(header+"\x02z\x05A.B.C")))
	// Four letters are a number, too.
	check(t, []Difference{{File: "f", Place: "offset 0x3"}}, Bytes("f", []byte("\x00azaa"), []byte("\x00azja")))
	stamp := func(n uint32) []byte { return append([]byte{0, 0xff}, binary.LittleEndian.AppendUint32(nil, n)...) }
	check(t, []Difference{{File: "f", Place: "offset 0x2", Cause: causeTime}}, Bytes("f", stamp(1763683200), stamp(1763683217)))
}

func TestTrees(t *testing.T) {
	t.Parallel()
	made := func(entries ...tree.Entry) *tree.Tree {
		tr, err := tree.New(entries)
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	first := made(tree.FileEntry("a", 0o644, []byte("x")), tree.FileEntry("b", 0o644, []byte("x")), tree.Entry{Path: "l", Kind: tree.Symlink, Link: "a"})
	second := made(tree.FileEntry("b", 0o755, []byte("y")), tree.FileEntry("c", 0o644, nil), tree.Entry{Path: "l", Kind: tree.Symlink, Link: "b"})
	got, err := Trees("opt", first, second)
	if err != nil {
		t.Fatal(err)
	}
	check(t, []Difference{
		{File: "opt/a", Place: "the file", First: "there", Second: "missing"},
		{File: "opt/b", Place: "mode", First: "-rw-r--r--", Second: "-rwxr-xr-x"},
		{File: "opt/b", Place: "line 1", First: "x", Second: "y"},
		{File: "opt/c", Place: "the file", First: "missing", Second: "there"},
		{File: "opt/l", Place: "link", First: "a", Second: "b"},
	}, got)
	if got, err := Trees("opt", first, first); err != nil || got != nil {
		t.Errorf("the same: %+v, %v", got, err)
	}
}

// No two contents are compared without a difference, or without an end.
func FuzzBytes(f *testing.F) {
	f.Add([]byte("\x7fELF"), []byte("\x7fELFx"), "a.so")
	f.Add([]byte("!<arch>\n"), []byte("!<arch>\nx"), "a.a")
	f.Add([]byte("PK\x03\x04"), []byte("PK\x03\x04x"), "a.whl")
	f.Add([]byte("0123456789abcdefc"), []byte("0123456789abcdefd"), "a.pyc")
	f.Fuzz(func(t *testing.T, a, b []byte, name string) {
		got := Bytes(name, a, b)
		if bytes.Equal(a, b) != (len(got) == 0) || len(got) > Most+1 {
			t.Errorf("%d differences", len(got))
		}
		if diff := cmp.Diff(got, Bytes(name, a, b)); diff != "" {
			t.Error(diff)
		}
	})
}

// A mark tells by one text that is in one of them alone, or by two forms.
func TestMarks(t *testing.T) {
	t.Parallel()
	user := Mark{Forms: [2]*regexp.Regexp{regexp.MustCompile(`\b2\d{4}\b`), regexp.MustCompile(`\b4\d{4}\b`)}, Means: "the user"}
	host := Mark{Text: "elsewhere", Means: "the host"}
	for _, c := range []struct {
		a, b string
		mark Mark
		want bool
	}{
		{"uid 23456", "uid 45678", user, true},
		{"uid 23456", "uid 29999", user, false},
		{"uid 123456", "uid 45678", user, false},
		{"at here", "at elsewhere", host, true},
		{"elsewhere 1", "elsewhere 2", host, false},
		{"a", "b", Mark{}, false},
	} {
		if got := c.mark.tells(c.a, c.b); got != c.want {
			t.Errorf("%q and %q: %t", c.a, c.b, got)
		}
	}
}
