package record

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type result struct {
	Name  string `json:"name"`
	Value int    `json:"value"`
}

func (r result) Key() string { return r.Name }

func TestPut(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "results.json")
	for _, r := range []result{{"b", 1}, {"a", 2}, {"b", 3}} {
		if err := Put(path, r); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Read[result](path)
	if diff := cmp.Diff([]result{{"a", 2}, {"b", 3}}, got); diff != "" || err != nil {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
	for name, want := range map[string]bool{"a": true, "c": false} {
		if has, err := Has[result](path, name); has != want || err != nil {
			t.Errorf("%s: %t, %v", name, has, err)
		}
	}
	if err := os.WriteFile(path, []byte("no results"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Put(path, result{"c", 1}); err == nil {
		t.Error("a damaged file is written over")
	}
}
