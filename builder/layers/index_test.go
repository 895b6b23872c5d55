package layers

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ampoule/tree"
)

// TestReadIndexed reads a large layer twice: from its tar, and from the record of that.
func TestReadIndexed(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	large := tree.FileEntry("opt/large", 0o755, bytes.Repeat([]byte("x"), indexedSize))
	link := tree.Entry{Path: "opt/link", Kind: tree.Symlink, Mode: 0o777, Link: "small"}
	want := newTree(t, large, link, file("opt/small", "small"), file("opt/empty", ""))
	saved, err := Save(t.Context(), st, want, "")
	if err != nil {
		t.Fatal(err)
	}
	sum := strings.TrimPrefix(saved.DiffID, "sha256:")
	for _, from := range []string{"its tar", "its index"} {
		got, closer, err := Read(st, sum)
		if err != nil {
			t.Fatal(err)
		}
		defer closer.Close()
		if diff := cmp.Diff(want.Entries(), got.Entries(), cmpopts.IgnoreFields(tree.Entry{}, "Content")); diff != "" {
			t.Errorf("from %s (-want +got):\n%s", from, diff)
		}
		e, _ := got.Lookup("opt/small")
		if data, err := e.ReadAll(); err != nil || string(data) != "small" {
			t.Errorf("from %s: opt/small is %q, %v", from, data, err)
		}
	}
	// What the second reading took came from the record: the tar's headers are gone.
	damaged := bytes.Repeat([]byte("y"), indexedSize+4096)
	if err := os.WriteFile(st.Path(sum), damaged, 0o644); err != nil {
		t.Fatal(err)
	}
	got, closer, err := Read(st, sum)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	e, _ := got.Lookup("opt/small")
	if _, err := e.ReadAll(); err == nil {
		t.Error("damaged content is no error")
	}
}

// A record that cannot be right does not keep a layer from being read.
func TestReadIndexedAnew(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	want := newTree(t, tree.FileEntry("large", 0o644, bytes.Repeat([]byte("x"), indexedSize)))
	saved, err := Save(t.Context(), st, want, "")
	if err != nil {
		t.Fatal(err)
	}
	sum := strings.TrimPrefix(saved.DiffID, "sha256:")
	wrong := membersOf(want)
	wrong[0].Offset = indexedSize
	if err := st.Record(indexKind, Key(indexKind, indexFormat, sum), wrong); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, closer, err := Read(st, sum)
		if err != nil {
			t.Fatal(err)
		}
		defer closer.Close()
		if got.Hash() != want.Hash() {
			t.Errorf("the tree is %s, not %s", got.Hash(), want.Hash())
		}
		e, _ := got.Lookup("large")
		if _, err := e.ReadAll(); err != nil {
			t.Error(err)
		}
	}
}
