package tree

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// writeDir writes a tree's entries below a directory.
func writeDir(t *testing.T, root string, tr *Tree) {
	t.Helper()
	for _, e := range tr.Entries() {
		name := filepath.Join(root, e.Path)
		var err error
		switch e.Kind {
		case Dir:
			err = os.Mkdir(name, 0o755)
		case Symlink:
			err = os.Symlink(e.Link, name)
		default:
			var data []byte
			if data, err = e.ReadAll(); err == nil {
				err = os.WriteFile(name, data, 0o600)
			}
		}
		if err == nil && e.Kind != Symlink {
			err = os.Chmod(name, e.Mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestFromDir(t *testing.T) {
	t.Parallel()
	root, want := t.TempDir(), everything(t)
	writeDir(t, root, want)
	got, err := FromDir(root)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(paths(want), paths(got)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if got.Hash() != want.Hash() {
		t.Errorf("hash %s, want %s", got.Hash(), want.Hash())
	}
	e, _ := got.Lookup("etc/name \"quoted\"\n")
	if data, err := e.ReadAll(); string(data) != "x\n" || err != nil || e.Size != 2 {
		t.Errorf("content %q, %v, size %d", data, err, e.Size)
	}
	if err := os.WriteFile(filepath.Join(root, e.Path), []byte("y\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := e.ReadAll(); err == nil {
		t.Error("a file that changed since is read without an error")
	}
}

func TestFromDirRefuses(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(root, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := FromDir(root); err == nil || !strings.Contains(err.Error(), "pipe: "+fs.ModeNamedPipe.String()+" is not a file") {
		t.Errorf("a FIFO: %v", err)
	}
	if _, err := FromDir(filepath.Join(root, "missing")); err == nil {
		t.Error("a missing directory is no error")
	}
	link := filepath.Join(root, "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{link, filepath.Join(root, "pipe")} {
		if got, err := FromDir(name); err == nil || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("FromDir(%s), which is no directory, gives %v, %v", filepath.Base(name), got, err)
		}
	}
}
