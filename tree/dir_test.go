package tree

import (
	"context"
	"errors"
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

// What changes while a tree is read leads nowhere else, and nobody waits for a FIFO.
func TestFromRootStaysInside(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, swap := range map[string]func(string) error{
		"a link out in a directory's place": func(at string) error { return os.Symlink(outside, at) },
		"a link in a directory's place":     func(at string) error { return os.Symlink("other", at) },
		"a link out in a file's place":      func(at string) error { return os.Symlink(filepath.Join(outside, "secret"), at) },
		"a link in a file's place":          func(at string) error { return os.Symlink("other/f", at) },
		"a FIFO in a file's place":          func(at string) error { return syscall.Mkfifo(at, 0o644) },
		"another file":                      func(at string) error { return os.WriteFile(at, []byte("f"), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			writeDir(t, dir, newTree(t, file("d/f", "f"), file("other/f", "f"), file("f", "f")))
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			victim := "f"
			if strings.Contains(name, "directory") {
				victim = "d"
			}
			got, err := FromRoot(t.Context(), root, func(p string, _ fs.FileInfo) error {
				if p != victim {
					return nil
				}
				at := filepath.Join(dir, p)
				// The old one stays, so that its inode is not used again.
				if err := os.Rename(at, filepath.Join(outside, strings.ReplaceAll(name, " ", "-"))); err != nil {
					return err
				}
				return swap(at)
			})
			if err == nil {
				t.Errorf("read %v, want an error", paths(got))
			}
		})
	}
}

func TestFromRootEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeDir(t, dir, newTree(t, file("d/f", "f")))
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	whole, err := FromRoot(t.Context(), root, nil)
	if err != nil {
		t.Fatal(err)
	}
	if e, _ := whole.Lookup("d/f"); e.SHA256 != hashOf([]byte("f")) {
		t.Errorf("entry %+v", e)
	} else if data, err := e.ReadAll(); string(data) != "f" || err != nil {
		t.Errorf("content %q, %v", data, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := FromRoot(ended, root, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

func TestListing(t *testing.T) {
	t.Parallel()
	tr := newTree(t, file("a/b \"c\"\xff", "text"), link("l", "a\nb"))
	want := "dir 0755 \"a\"\nfile 0644 \"a/b \\\"c\\\"\\xff\" " + hashOf([]byte("text")) + "\nlink \"l\" \"a\\nb\"\n"
	if diff := cmp.Diff(want, string(tr.Listing())); diff != "" {
		t.Errorf("listing (-want +got):\n%s", diff)
	}
	if got := "sha256:" + hashOf(tr.Listing()); got != tr.Hash() {
		t.Errorf("the hash is %s, the listing's %s", tr.Hash(), got)
	}
}
