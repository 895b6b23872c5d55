package recorded

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBook(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "measured", "packages.json")
	b, err := Open[Package](path)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Package{
		{Name: "b", Version: "1"},
		{Name: "a", Outcome: Outcome{Stage: "lock", Error: "x < y"}},
		{Name: "b", Version: "2", Overrides: []string{"b: it needs c"}},
	} {
		if err := b.Put(p); err != nil {
			t.Fatal(err)
		}
	}
	again, err := Open[Package](path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.All(), again.All()); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
	if got, ok := again.Get("b"); !ok || got.Version != "2" || len(again.All()) != 2 || again.All()[0].Error != "x < y" {
		t.Errorf("results %+v", again.All())
	}
	if _, ok := again.Get("c"); ok {
		t.Error("has what was never put")
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`[{"name": "a", "speed": 1}]`:    "speed",
		`[{"name": "a"}, {"name": "a"}]`: `"a" is in it twice`,
		`[] []`:                          "behind",
		`[`:                              "EOF",
		strings.Repeat(" ", maxBytes+1):  "longer",
	} {
		path := filepath.Join(t.TempDir(), "x.json")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open[Recipe](path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", text, err, want)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	s := Step{LockSeconds: 8, BuildSeconds: 20, CompileSeconds: 13, LimitSeconds: 15}
	if s.Overhead() != 15 || !s.Holds() {
		t.Errorf("overhead %v", s.Overhead())
	}
	s.CompileSeconds = 12
	if s.Holds() || (Figure{Value: 1.06, Limit: 1.05}).Holds() || !(Figure{Value: 1, Limit: 1}).Holds() {
		t.Error("a limit is not kept")
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte(`[{"kind": "pure", "requirement": "a"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "loop.json")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if b, err := Open[Step](path); (b == nil) == (err == nil) {
			t.Errorf("%v, %v", b, err)
		}
	})
}
