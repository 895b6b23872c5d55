package layers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/builder/sandbox/sandboxtest"
	"ampoule/store"
	"ampoule/tree"
)

// startWith starts a sandbox that has these files.
func startWith(t *testing.T, st *store.Store, runner *fake.Runner, files *tree.Tree) sandbox.Sandbox {
	t.Helper()
	layer, err := Save(t.Context(), st, files, "")
	if err != nil {
		t.Fatal(err)
	}
	id, err := runner.Load(t.Context(), sandbox.Config{Architecture: "amd64"}, layer)
	if err != nil {
		t.Fatal(err)
	}
	return sandboxtest.Start(t, runner, sandbox.Spec{Image: id, Name: "changes"})
}

// TestChanged compares what is read of the changes with what the sandbox has.
func TestChanged(t *testing.T) {
	t.Parallel()
	runner := fake.New(func(_ context.Context, s *fake.Sandbox, step sandbox.Step) error {
		if step.Args[0] == "tar" {
			return s.Archive(step)
		}
		return s.Write(file("d/changed", "new"), file("d/added/deep", "added"),
			tree.Entry{Path: "link", Kind: tree.Symlink, Mode: 0o777, Link: "d"})
	})
	st := openStore(t)
	below := newTree(t, file("d/changed", "old"), file("d/kept", "kept"), tree.Entry{Path: "d", Kind: tree.Dir, Mode: 0o700})
	sb := startWith(t, st, runner, below)
	if err := sb.Exec(t.Context(), sandbox.Step{Args: []string{"change"}}); err != nil {
		t.Fatal(err)
	}
	got, closer, err := Changed(t.Context(), st, sb, below, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	want := runner.Sandboxes()[0].Files().Entries()
	if diff := cmp.Diff(want, got.Entries(), cmpopts.IgnoreFields(tree.Entry{}, "Content")); diff != "" {
		t.Errorf("the file system (-sandbox +read):\n%s", diff)
	}
	if e, _ := got.Lookup("d/kept"); e.Content == nil {
		t.Error("what did not change has no content")
	}
}

// shrunk is a sandbox from which something is gone.
type shrunk struct {
	sandbox.Sandbox
	there, gone []string
}

func (s shrunk) Changes(context.Context) (there, gone []string, err error) {
	return s.there, s.gone, nil
}

func TestChangedGone(t *testing.T) {
	t.Parallel()
	runner := fake.New(func(_ context.Context, s *fake.Sandbox, step sandbox.Step) error { return s.Archive(step) })
	st := openStore(t)
	now := newTree(t, file("d/new", "new"), file("kept", ""))
	sb := shrunk{startWith(t, st, runner, now), []string{"d", "d/new"}, []string{"d", "e"}}
	below := newTree(t, file("d/old", "old"), file("e/f", ""), file("ef", ""), file("kept", ""))
	got, closer, err := Changed(t.Context(), st, sb, below, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	if diff := cmp.Diff([]string{"d", "d/new", "ef", "kept"}, paths(got)); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}

// A tar that stops between two members looks whole to whoever does not look for its end.
func TestChangedRefusesACutTar(t *testing.T) {
	t.Parallel()
	runner := fake.New(func(_ context.Context, s *fake.Sandbox, step sandbox.Step) error {
		var whole bytes.Buffer
		archived := step
		archived.Stdout = &whole
		if err := s.Archive(archived); err != nil {
			return err
		}
		_, err := step.Stdout.Write(whole.Bytes()[:whole.Len()-endMark])
		return err
	})
	st := openStore(t)
	below := newTree(t, file("a", "a"))
	sb := startWith(t, st, runner, below)
	if err := runner.Sandboxes()[0].Write(file("b", strings.Repeat("b", 2*endMark))); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Changed(t.Context(), st, sb, below, t.Output()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a tar without its end: %v", err)
	}
}
