package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func set(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, name := range names {
		m[name] = true
	}
	return m
}

func TestGreedy(t *testing.T) {
	t.Parallel()
	inputs := []input{
		{name: "one", size: 1, reached: set("base", "a")},
		{name: "three", size: 9, reached: set("a", "b", "c")},
		{name: "as three, smaller", size: 3, reached: set("a", "b", "c")},
		{name: "another", size: 5, reached: set("d")},
		{name: "nothing new", size: 1, reached: set("base")},
		{name: "refused", size: 1},
	}
	for limit, want := range map[int]map[string]bool{
		30: set("as three, smaller", "another"),
		1:  set("as three, smaller"),
		0:  {},
	} {
		c, got := greedy(set("base"), inputs, limit)
		if diff := cmp.Diff(want, got); diff != "" || c.of != 6 || c.all != 5 || c.base != 1 {
			t.Errorf("limit %d: %+v, chosen (-want +got):\n%s", limit, c, diff)
		}
	}
}

// TestChoose compiles a package with a fuzzer and chooses seeds for it, twice.
func TestChoose(t *testing.T) {
	t.Parallel()
	dir, cache := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module m\n\ngo 1.26.0\n",
		"m.go": `package m

func Read(s string) int {
	n := 0
	for _, c := range s {
		switch c {
		case 'a':
			n++
		case 'b':
			n--
		case 'x':
			panic("x")
		}
	}
	return n
}
`,
		"m_test.go": `package m

import "testing"

func FuzzRead(f *testing.F) {
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) { Read(s) })
}

func TestNot(t *testing.T) { t.Fatal("only fuzzers are run") }
`,
		"testdata/fuzz/FuzzRead/found-nothing": "go test fuzz v1\nstring(\"c\")\n",
		"testdata/fuzz/FuzzRead/seed-old":      "go test fuzz v1\nstring(\"aaaaaaaaaaaaaaaaaaaa\")\n",
	} {
		put(t, filepath.Join(dir, name), text)
	}
	for name, text := range map[string]string{"a": `string("a")`, "b": `string("b")`, "fails": `string("abx")`, "form": `int(1)`, "large": `string("ab` + strings.Repeat("c", 2000) + `")`} {
		put(t, filepath.Join(cache, name), "go test fuzz v1\n"+text+"\n")
	}
	for range 2 {
		fuzzers, err := goCommand{dir: dir}.fuzzers(t.Context(), ".", t.TempDir())
		if err != nil || len(fuzzers) != 1 {
			t.Fatalf("%d fuzzers, %v", len(fuzzers), err)
		}
		fuzzers[0].cache = cache
		c, err := fuzzers[0].choose(t.Context(), 30, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if c.chosen != 2 || c.reached != c.all || c.reached != c.base+2 {
			t.Errorf("%+v", c)
		}
		if diff := cmp.Diff([]string{"found-nothing", "seed-a", "seed-b"}, names(t, filepath.Join(dir, "testdata/fuzz/FuzzRead"))); diff != "" {
			t.Errorf("in the repository (-want +got):\n%s", diff)
		}
		if left := strings.Join(names(t, cache), " "); !strings.Contains(left, "old") || !strings.Contains(left, "large") {
			t.Errorf("in the cache: %s", left)
		}
	}
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}
