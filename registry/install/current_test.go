package install

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"ampoule/registry"
)

func TestCurrent(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root")
	var missing *registry.NotFoundError
	if _, err := Current(root); !errors.As(err, &missing) {
		t.Errorf("without a root: %v", err)
	}
	src := newSource(t, "web", sample(t, "one"))
	done := mustInstall(t, src, root)
	if got, err := Current(root); err != nil || got != done.Release {
		t.Errorf("got %q, %v, want %q", got, err, done.Release)
	}
	if err := os.Remove(filepath.Join(root, "current")); err != nil {
		t.Fatal(err)
	}
	if _, err := Current(root); !errors.As(err, &missing) {
		t.Errorf("without a current release: %v", err)
	}
	if err := os.Symlink("/usr", filepath.Join(root, "current")); err != nil {
		t.Fatal(err)
	}
	var unsafe *UnsafeError
	if _, err := Current(root); !errors.As(err, &unsafe) {
		t.Errorf("a link to elsewhere: %v", err)
	}
}
