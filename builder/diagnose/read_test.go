package diagnose

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestEntry(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		causes []Cause
		want   string
	}{
		{want: ""},
		{causes: []Cause{{What: "x", Advice: "y"}}, want: ""},
		{causes: []Cause{{Build: []string{"libpq-dev", "postgresql-common"}}}, want: "{build: [libpq-dev]}"},
		{causes: []Cause{{Build: []string{"a-dev", "b-dev"}}, {Build: []string{"c-dev", "a-dev"}}, {Build: []string{"d-dev"}}}, want: "{build: [a-dev, d-dev]}"},
		{causes: []Cause{{Requires: []string{"numpy<2"}}, {Build: []string{"cmake"}}, {Requires: []string{"numpy<2", "cython"}}},
			want: `{build: [cmake], requires: ["numpy<2", "cython"]}`},
	} {
		if got := Entry(test.causes); got != test.want {
			t.Errorf("entry of %+v: %s, want %s", test.causes, got, test.want)
		}
	}
}

// An expression is compiled only when it is needed, so that a fault in it would hide.
func TestRules(t *testing.T) {
	t.Parallel()
	for i, r := range rules {
		if len(r.has) < 2 || r.expr() == nil {
			t.Errorf("rule %d looks for %q", i, r.has)
		}
	}
}

func TestReadSaysTheLine(t *testing.T) {
	t.Parallel()
	log := "│ \x1b[31mx.c:1:10: \x1b]8;;http://a.example\x07fatal error:\x1b[0m yaml.h: No such file or directory\u202e\r\n"
	want := []Cause{{
		What: "the header yaml.h is missing", Line: "x.c:1:10: fatal error: yaml.h: No such file or directory",
		Build: []string{"libyaml-dev"},
	}}
	if diff := cmp.Diff(want, read(t, log, "trixie")); diff != "" {
		t.Errorf("causes (-want +got):\n%s", diff)
	}
	shown := read(t, "é.c:1:1: fatal error: yaml.h: No such file or directory"+strings.Repeat("é", 3000), "trixie")
	if got := shown[0].Line; len(got) > shownBytes || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
		t.Errorf("the line has %d bytes: %s", len(got), got)
	}
}

func TestReadShowsTheEndOfProgress(t *testing.T) {
	t.Parallel()
	got := read(t, "10%\r50%\rx.c:1:1: fatal error: zmq.h: No such file or directory\r\n", "bookworm")
	if len(got) != 1 || got[0].Line != "x.c:1:1: fatal error: zmq.h: No such file or directory" {
		t.Errorf("got %+v", got)
	}
}

func TestReadOfAnotherSuite(t *testing.T) {
	t.Parallel()
	want := []string{"the header zmq.h is missing | advice"}
	for _, suite := range []string{"", "sid", "jammy"} {
		if diff := cmp.Diff(want, tell(read(t, "x.c:1:1: fatal error: zmq.h: No such file or directory", suite))); diff != "" {
			t.Errorf("%q: causes (-want +got):\n%s", suite, diff)
		}
	}
}

func TestReadIsBounded(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	for i := range 50 {
		fmt.Fprintf(&log, "x.c:1:1: fatal error: missing%d.h: No such file or directory\n", i%25)
	}
	got := read(t, log.String(), "bookworm")
	if len(got) != mostCauses || got[9].What != "the header missing9.h is missing" {
		t.Errorf("got %d causes, the last %+v", len(got), got[len(got)-1])
	}
}

// endless gives lines without end until it has given n bytes.
type endless struct{ n int }

func (e *endless) Read(p []byte) (int, error) {
	if e.n <= 0 {
		return 0, io.EOF
	}
	for i := range p {
		p[i] = 'x'
	}
	e.n -= len(p)
	return len(p), nil
}

func TestReadOfALongLine(t *testing.T) {
	t.Parallel()
	log := io.MultiReader(&endless{64 << 20}, strings.NewReader("\nx.c:1:1: fatal error: ffi.h: No such file or directory"))
	causes, err := Read(log, "bullseye")
	if diff := cmp.Diff([]string{"the header ffi.h is missing | build: libffi-dev"}, tell(causes)); err != nil || diff != "" {
		t.Errorf("error %v, causes (-want +got):\n%s", err, diff)
	}
}

func TestReadFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is gone")
	log := io.MultiReader(strings.NewReader("MemoryError\n"), iotest.ErrReader(broken))
	causes, err := Read(log, "bookworm")
	if !errors.Is(err, broken) || len(causes) != 1 {
		t.Errorf("got %v and %+v", err, causes)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("x.c:1:1: fatal error: a/../../b.h: No such file or directory\n", "bookworm")
	f.Add("ERROR: No matching distribution found for a[b] (>=1)\r\x1b[0m", "trixie")
	f.Add("configure: error: -l lib lib. zlib.h\xff\n-- Could NOT find X: Found unsuitable version \"1\", but required is at least \"2\"", "bullseye")
	f.Add("\x1b]x\x1b\\ Unknown compiler(s): [['", "")
	f.Fuzz(func(t *testing.T, log, suite string) {
		causes, err := Read(strings.NewReader(log), suite)
		if err != nil {
			t.Fatal(err)
		}
		if len(causes) > mostCauses {
			t.Errorf("%d causes", len(causes))
		}
		seen := map[string]bool{}
		for _, c := range causes {
			if c.What == "" || seen[c.What] || strings.ContainsAny(c.What+c.Line, "\n\r\x1b") || len(c.Line) > shownBytes || !utf8.ValidString(c.Line) {
				t.Errorf("cause %+v", c)
			}
			seen[c.What] = true
		}
	})
}

func BenchmarkRead(b *testing.B) {
	line := "gcc -pthread -Wno-unused-result -Wsign-compare -DNDEBUG -fPIC -I/opt/python/include/python3.13 -c src/module.c -o build/temp/module.o\n"
	log := strings.Repeat(line, 10000)
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		if _, err := Read(strings.NewReader(log), "bookworm"); err != nil {
			b.Fatal(err)
		}
	}
}
