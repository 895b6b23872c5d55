package install

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/registry"
	"ampoule/tree"
)

// natively is a source with ELF files, a small and a large one, and a program.
func natively(t testing.TB, program, native string) *source {
	t.Helper()
	small := tree.FileEntry("lib/a.so", 0o755, []byte("\x7fELF"+native))
	large := tree.FileEntry("lib/b.so", 0o755, append([]byte("\x7fELF"), make([]byte, maxHeld+1)...))
	small.Owner, large.Owner = "wheel:a", "wheel:b"
	whole, err := sample(t, program).With(small, large)
	if err != nil {
		t.Fatal(err)
	}
	return digested(t, newSource(t, program+native, whole))
}

// candidateOf installs a source and gives what is known of it to a function.
func candidateOf(t testing.TB, s Source, root string, look func(c Candidate)) {
	t.Helper()
	_, err := Add(t.Context(), s, "web", Options{Root: root, Platform: platform, Before: func(_ context.Context, c Candidate) error {
		look(c)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// Which files of a release are ELF is known, whether its layers were fetched or were here.
func TestCandidateKnowsNatives(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "web")
	for _, c := range []struct{ program, native string }{{"one", "x"}, {"two", "x"}, {"two", "y"}} {
		s := natively(t, c.program, c.native)
		candidateOf(t, s, root, func(c Candidate) {
			if want := map[string]bool{"lib/a.so": true, "lib/b.so": true}; cmp.Diff(want, c.Natives) != "" || c.Path != s.release(root) || c.Tree().Hash() != s.whole.Hash() {
				t.Errorf("%s: natives %v, tree %s", c.Path, c.Natives, c.Tree().Hash())
			}
		})
	}
	candidateOf(t, natively(t, "one", "x"), root, func(c Candidate) {
		if c.Natives != nil || c.Tree() == nil {
			t.Errorf("a release that was there: %+v", c)
		}
	})
}

// A note lies beside its release, is found from others, is nothing where it is damaged, and goes with it.
func TestNotes(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "web")
	all := releases(t, "one", "two")
	note := all[0].release(root) + noteSuffix
	candidateOf(t, all[0], root, func(c Candidate) {
		if len(c.Note()) > 0 || len(c.NotesOfOthers()) > 0 {
			t.Errorf("kept %q, %q", c.Note(), c.NotesOfOthers())
		}
		for _, text := range []string{"first", "second"} {
			if err := c.WriteNote([]byte(text)); err != nil || string(c.Note()) != text {
				t.Errorf("kept %q (%v), want %q", c.Note(), err, text)
			}
		}
	})
	candidateOf(t, all[1], root, func(c Candidate) {
		if others := c.NotesOfOthers(); len(c.Note()) > 0 || len(others) != 1 || string(others[0]) != "second" {
			t.Errorf("kept %q, %q", c.Note(), others)
		}
	})
	for name, damage := range map[string]func() error{
		"changed": func() error { return os.WriteFile(note, []byte(digestOf([]byte("second"))+"\nfirst"), 0o600) },
		"a link":  func() error { return errors.Join(os.Remove(note), os.Symlink("/etc/passwd", note)) },
		"gone":    func() error { return os.Remove(note) },
	} {
		candidateOf(t, all[0], root, func(c Candidate) {
			if err := errors.Join(c.WriteNote([]byte("second")), damage()); err != nil || len(c.Note()) > 0 {
				t.Errorf("%s: kept %q (%v)", name, c.Note(), err)
			}
			if err := c.WriteNote([]byte("second")); err != nil || string(c.Note()) != "second" {
				t.Errorf("%s: kept %q (%v)", name, c.Note(), err)
			}
		})
	}
	mustActivate(t, all[1], root)
	if _, err := Uninstall(t.Context(), root, UninstallOptions{Digests: []string{all[0].digest()}}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(note); !os.IsNotExist(err) {
		t.Errorf("the note of a release that is gone: %v", err)
	}
	if _, err := Activate(t.Context(), root, all[0].digest(), SwitchOptions{}); !errors.As(err, new(*registry.NotFoundError)) {
		t.Error(err)
	}
	checkNothingUnfinished(t, root)
}
