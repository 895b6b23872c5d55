package layers

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ampoule/store"
	"ampoule/tree"
)

// saveLarge saves a layer that is large enough for an index.
func saveLarge(t *testing.T, st *store.Store) (want *tree.Tree, sum string) {
	t.Helper()
	large := tree.FileEntry("opt/large", 0o755, bytes.Repeat([]byte("x"), indexedSize))
	link := tree.Entry{Path: "opt/link", Kind: tree.Symlink, Mode: 0o777, Link: "small"}
	want = newTree(t, large, link, file("opt/small", "small"), file("opt/other", "other"), file("opt/empty", ""))
	saved, err := Save(t.Context(), st, want, "")
	if err != nil {
		t.Fatal(err)
	}
	return want, strings.TrimPrefix(saved.DiffID, "sha256:")
}

// readLayer reads a layer for the length of a test.
func readLayer(t *testing.T, st *store.Store, sum string) *tree.Tree {
	t.Helper()
	got, closer, err := Read(st, sum)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	})
	return got
}

// TestReadIndexed reads a large layer twice: from its tar, and with the hashes of that time.
func TestReadIndexed(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	want, sum := saveLarge(t, st)
	for _, from := range []string{"its tar", "its index"} {
		got := readLayer(t, st, sum)
		if diff := cmp.Diff(want.Entries(), got.Entries(), cmpopts.IgnoreFields(tree.Entry{}, "Content")); diff != "" {
			t.Errorf("from %s (-want +got):\n%s", from, diff)
		}
		for _, e := range got.Entries() {
			if e.Kind != tree.File {
				continue
			}
			if _, err := e.ReadAll(); err != nil {
				t.Errorf("from %s: %v", from, err)
			}
		}
	}
	// The second reading did not look at contents: the hashes came from the record.
	text, err := os.ReadFile(st.Path(sum))
	if err != nil {
		t.Fatal(err)
	}
	e, _ := readLayer(t, st, sum).Lookup("opt/small")
	at, _ := tree.Offset(e)
	text[at] = 'X'
	if err := os.WriteFile(st.Path(sum), text, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := readLayer(t, st, sum); got.Hash() != want.Hash() {
		t.Errorf("contents were read: the tree is %s, not %s", got.Hash(), want.Hash())
	}
	if _, err := e.ReadAll(); err == nil {
		t.Error("damaged content is no error")
	}
}

// A bit of an index that flips changes nothing.
func TestFlippedIndex(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	want, sum := saveLarge(t, st)
	readLayer(t, st, sum)
	files, err := filepath.Glob(filepath.Join(st.Root(), "records", indexKind, "*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("indexes %q, %v", files, err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(whole); at += len(whole) / 40 {
		flipped := slices.Clone(whole)
		flipped[at] ^= 1
		if err := os.WriteFile(files[0], flipped, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := readLayer(t, st, sum); got.Hash() != want.Hash() {
			t.Errorf("byte %d of %q changes the tree to %s from %s", at, flipped, got.Hash(), want.Hash())
		}
	}
}

// An index that says something else than its layer never gives other bits, though nothing
// has damaged it: either it is made anew, or writing what was read fails.
func TestWrongIndex(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	want, sum := saveLarge(t, st)
	truth := indexOf(readLayer(t, st, sum))
	small := slices.IndexFunc(truth.Files, func(f indexed) bool { return f.Size == 5 })
	lie := func(change func(*index)) index {
		x := index{truth.Tree, slices.Clone(truth.Files)}
		change(&x)
		return x
	}
	other := strings.Repeat("0", 64)
	wrongTree := want.Map(func(e tree.Entry) tree.Entry {
		if e.Kind == tree.File && e.Size == 5 {
			e.SHA256 = other
		}
		return e
	}).Hash()
	for name, c := range map[string]struct {
		value any
		// fails says that the lie holds together: only the content tells.
		fails bool
	}{
		"empty":        {lie(func(x *index) { x.Files = nil }), false},
		"another tree": {lie(func(x *index) { x.Tree = "sha256:" + other }), false},
		"a hash":       {lie(func(x *index) { x.Files[small].SHA256 = other }), false},
		"no hash":      {lie(func(x *index) { x.Files[small].SHA256 = "x" }), false},
		"an offset":    {lie(func(x *index) { x.Files[small].Offset += 512 }), false},
		"a size":       {lie(func(x *index) { x.Files[small].Size = -1 }), false},
		"another form": {[]string{"x"}, false},
		"hash and tree": {lie(func(x *index) {
			for i := range x.Files {
				if x.Files[i].Size == 5 {
					x.Files[i].SHA256 = other
				}
			}
			x.Tree = wrongTree
		}), true},
	} {
		t.Run(name, func(t *testing.T) {
			if err := st.Record(indexKind, Key(indexKind, indexFormat, sum), c.value); err != nil {
				t.Fatal(err)
			}
			got := readLayer(t, st, sum)
			saved, err := Save(t.Context(), st, got, "")
			if c.fails {
				if err == nil || !strings.Contains(err.Error(), "content is sha256:") {
					t.Errorf("writing it gives %v, %v", saved.DiffID, err)
				}
				return
			}
			if err != nil || saved.DiffID != "sha256:"+sum || got.Hash() != want.Hash() {
				t.Errorf("writing it gives %s, %v, want %s", saved.DiffID, err, sum)
			}
		})
	}
}
