package survey

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"ampoule/tree"
)

// tinyWheels writes wheels with one small module each.
func tinyWheels(t testing.TB, dir string, n int) {
	t.Helper()
	mod := string(module(t, ""))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		name := fmt.Sprintf("spam%d", i)
		wheel := pack(t, distOf(name, tag, "", map[string]string{name + "/spam" + suffix: mod}))
		if err := os.WriteFile(filepath.Join(dir, name+"-1.0-"+tag+".whl"), []byte(wheel), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// counted counts how often each file is opened.
type counted struct {
	Machine
	mu    sync.Mutex
	opens map[string]int
}

func (c *counted) Lookup(p string) (tree.Entry, bool) {
	e, ok := c.Machine.Lookup(p)
	if e.Content != nil {
		e.Content = countedContent{c, p, e.Content}
	}
	return e, ok
}

type countedContent struct {
	c *counted
	p string
	tree.Content
}

func (c countedContent) Open() (io.ReadCloser, error) {
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	c.c.opens[c.p]++
	return c.Content.Open()
}

// Of however many wheels one interpreter is judged with, it is read as often as for one.
func TestInterpreterIsReadOnce(t *testing.T) {
	t.Parallel()
	opens := func(wheels int) map[string]int {
		m := machine(t, nil)
		tinyWheels(t, filepath.Join(string(m), "d"), wheels)
		c := &counted{Machine: m, opens: map[string]int{}}
		r, err := Look(t.Context(), Target{Files: c, Path: "/d", Against: "/usr"})
		if err != nil || !r.Passed || len(r.Units) != wheels {
			t.Fatalf("%+v, %v", r, err)
		}
		return c.opens
	}
	one, many := opens(1), opens(20)
	for _, file := range []string{"usr/bin/python3.13", "usr/lib/python3.13/_sysconfigdata__linux_x86_64-linux-gnu.py"} {
		if one[file] == 0 || many[file] != one[file] {
			t.Errorf("%s: opened %d times for one wheel, %d times for 20", file, one[file], many[file])
		}
	}
}

// BenchmarkTinyWheels audits a directory of small wheels against an interpreter of the size
// of a real one.
func BenchmarkTinyWheels(b *testing.B) {
	const wheels = 300
	var config strings.Builder
	config.WriteString("build_time_vars = {'EXT_SUFFIX': '" + suffix + "', 'SOABI': 'cpython-313-x86_64-linux-gnu', 'LDSHARED': 'gcc -shared', 'CXX': 'g++'")
	for i := range 1000 {
		fmt.Fprintf(&config, ",\n 'VARIABLE_%d': '-g -O2 -Wall -fPIC %s'", i, strings.Repeat("Objects/abstract.o ", 5))
	}
	config.WriteString("}\n")
	m := machine(b, map[string]string{
		"usr/bin/python3.13": string(interpreterELF(b)) + strings.Repeat("\x00", 20<<20),
		"usr/lib/python3.13/_sysconfigdata__linux_x86_64-linux-gnu.py": config.String(),
	})
	tinyWheels(b, filepath.Join(string(m), "d"), wheels)
	for b.Loop() {
		r, err := Look(b.Context(), Target{Files: m, Path: "/d", Against: "/usr"})
		if err != nil || !r.Passed || len(r.Units) != wheels {
			b.Fatalf("%+v, %v", r, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/wheels, "µs/wheel")
}
