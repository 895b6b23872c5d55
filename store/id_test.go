package store

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// id is a store's id, asked for by several at once.
func id(t *testing.T, dir string) string {
	t.Helper()
	var first string
	var mu sync.Mutex
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			s, err := Open(dir)
			if err != nil {
				t.Error(err)
				return
			}
			id, err := s.ID(t.Context())
			mu.Lock()
			defer mu.Unlock()
			if err != nil || !idForm.MatchString(id) || first != "" && id != first {
				t.Errorf("id %q, %v, another %q", id, err, first)
			}
			first = id
		})
	}
	group.Wait()
	return first
}

// A copy of a store is another store; a directory that was renamed is not.
func TestCopyHasAnotherID(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	if known, found, err := s.KnownID(); found || err != nil {
		t.Errorf("a new store has the id %q, %v", known, err)
	}
	original := id(t, s.Root())
	copied := filepath.Join(filepath.Dir(s.Root()), "copy")
	if out, err := exec.Command("cp", "-a", s.Root(), copied).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c, err := Open(copied)
	if err != nil {
		t.Fatal(err)
	}
	if known, found, err := c.KnownID(); found || err != nil {
		t.Errorf("a copy knows the id %q, %v", known, err)
	}
	second := id(t, copied)
	if second == original || id(t, s.Root()) != original {
		t.Errorf("the copy has the id %s, the original %s, before %s", second, id(t, s.Root()), original)
	}
	moved := filepath.Join(filepath.Dir(s.Root()), "moved")
	if err := os.Rename(s.Root(), moved); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(copied, s.Root()); err != nil {
		t.Fatal(err)
	}
	if id(t, moved) != original || id(t, s.Root()) != second {
		t.Errorf("after renaming: %s, %s, before %s, %s", id(t, moved), id(t, s.Root()), original, second)
	}
	// What cannot be read names nobody.
	write(t, moved, idFile, `[{"place":`)
	if third := id(t, moved); third == original || third == second {
		t.Errorf("a torn file gives %s", third)
	}
}
