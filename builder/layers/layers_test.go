package layers

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/sandbox"
	"ampoule/builder/sandbox/fake"
	"ampoule/builder/sandbox/sandboxtest"
	"ampoule/store"
	"ampoule/tree"
)

func openStore(t testing.TB) *store.Store {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func newTree(t testing.TB, entries ...tree.Entry) *tree.Tree {
	t.Helper()
	made, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func file(p, text string) tree.Entry { return tree.FileEntry(p, 0o644, []byte(text)) }

// TestKeyGolden fails when every key changes: what was built before is then never found again.
func TestKeyGolden(t *testing.T) {
	t.Parallel()
	const want = "e4e929b50ae8cdcd9ffc34b8f8721ad403e41ab6090ec1a820207d89d6aa684f"
	if got := Key("wheel", 2, map[string]any{"b": []string{"x"}, "a": 1}); got != want {
		t.Errorf("Key() = %s, want %s", got, want)
	}
	seen := map[string]bool{want: true}
	for _, key := range []string{
		Key("seal", 2, map[string]any{"b": []string{"x"}, "a": 1}),
		Key("wheel", 3, map[string]any{"b": []string{"x"}, "a": 1}),
		Key("wheel", 2, map[string]any{"b": []string{"y"}, "a": 1}),
		Key("wheel", 2, map[string]any{"b": []string{"x"}, "c": 1}),
	} {
		if seen[key] {
			t.Errorf("two inputs have the key %s", key)
		}
		seen[key] = true
	}
}

func TestKeyPanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if told, ok := recover().(string); !ok || !strings.Contains(told, "inputs of wheel are not JSON") {
			t.Errorf("recovered %q", told)
		}
	}()
	Key("wheel", 1, func() {})
}

func TestDiffIDs(t *testing.T) {
	t.Parallel()
	image := sandbox.Image{Layers: []sandbox.Layer{{DiffID: "sha256:b"}, {DiffID: "sha256:a"}}}
	if diff := cmp.Diff([]string{"sha256:b", "sha256:a"}, DiffIDs(image)); diff != "" {
		t.Errorf("in order (-want +got):\n%s", diff)
	}
}

func TestSaveAndRead(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	owned := file("bin/tool", "text")
	owned.UID, owned.GID = sandbox.UID, sandbox.GID
	layer, err := Save(t.Context(), st, newTree(t, owned), "opt/ampoule")
	if err != nil {
		t.Fatal(err)
	}
	r, err := layer.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if layer.DiffID != "sha256:"+sum || !st.Has(sum) {
		t.Errorf("layer %s has the content sha256:%s; the store has it: %t", layer.DiffID, sum, st.Has(sum))
	}
	got, closer, err := Read(st, sum)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	want := newTree(t, file("opt/ampoule/bin/tool", "text"))
	if got.Hash() != want.Hash() {
		t.Errorf("the layer has %v, not %v", got.Entries(), want.Entries())
	}
	for _, e := range got.Entries() {
		if e.UID != 0 || e.GID != 0 {
			t.Errorf("%s is of %d:%d", e.Path, e.UID, e.GID)
		}
	}
	again, err := Save(t.Context(), st, newTree(t, file("bin/tool", "text")), "opt/ampoule")
	if err != nil || again.DiffID != layer.DiffID {
		t.Errorf("another owner's files give another layer: %s, %v", again.DiffID, err)
	}
}

func TestSaveLeavesNothingOfABrokenTree(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	e := file("a", "text")
	e.Content = tree.Bytes("te")
	if layer, err := Save(t.Context(), st, newTree(t, e), ""); err == nil {
		t.Errorf("a file shorter than it says is saved as %s", layer.DiffID)
	}
	expectEmptyTmp(t, st)
}

func expectEmptyTmp(t *testing.T, st *store.Store) {
	t.Helper()
	left, err := os.ReadDir(st.Dir(store.Tmp))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	if _, _, err := Read(st, strings.Repeat("0", 64)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a missing layer: %v", err)
	}
	sum, _, err := st.Put(t.Context(), strings.NewReader(strings.Repeat("no tar ", 200)))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Read(st, sum); err == nil || !strings.Contains(err.Error(), "reading layer sha256:"+sum) {
		t.Errorf("content that is no tar: %v", err)
	}
}

func TestFileOf(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	want := file("wheels/a.whl", "text")
	if _, err := FileOf(st, want.SHA256, want.Path); !errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), want.Path) {
		t.Errorf("missing content: %v", err)
	}
	if _, _, err := st.Put(t.Context(), strings.NewReader("text")); err != nil {
		t.Fatal(err)
	}
	got, err := FileOf(st, want.SHA256, want.Path)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := got.ReadAll(); string(data) != "text" || err != nil {
		t.Errorf("content %q, %v", data, err)
	}
	got.Content, want.Content = nil, nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}
}

// start starts a fake sandbox whose image is one layer of these files.
func start(t *testing.T, contents map[string]string, headers ...*tar.Header) sandbox.Sandbox {
	t.Helper()
	r := fake.New(nil)
	id, err := r.Load(t.Context(), sandboxtest.Config(), sandboxtest.TarLayer(t, headers, contents))
	if err != nil {
		t.Fatal(err)
	}
	sb, err := r.Start(t.Context(), sandbox.Spec{Image: id})
	if err != nil {
		t.Fatal(err)
	}
	return sb
}

func TestExport(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	sb := start(t, map[string]string{"box/out/a": "text"}, &tar.Header{Name: "box/out/a", Mode: 0o644}, &tar.Header{Name: "box/b", Mode: 0o644})
	got, closer, err := Export(t.Context(), st, sb, "/box/out")
	if err != nil {
		t.Fatal(err)
	}
	expectEmptyTmp(t, st)
	e, _ := got.Lookup("a")
	if data, err := e.ReadAll(); got.Len() != 1 || string(data) != "text" || err != nil {
		t.Errorf("exported %v, %q, %v", got.Entries(), data, err)
	}
	if err := closer.Close(); err != nil {
		t.Error(err)
	}
	if _, err := e.ReadAll(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close the content is read: %v", err)
	}
	if _, _, err := Export(t.Context(), st, sb, "/box/missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
	expectEmptyTmp(t, st)
}

// exporting is a sandbox whose export is a stream.
type exporting struct {
	sandbox.Sandbox
	stream io.ReadCloser
}

func (e exporting) Export(context.Context, string) (io.ReadCloser, error) { return e.stream, nil }

// closing gives an error when it is closed.
type closing struct {
	io.Reader
	err error
}

func (c closing) Close() error { return c.err }

func TestExportRefusesACutStream(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	var whole bytes.Buffer
	if err := newTree(t, file("a", strings.Repeat("text", 1000))).WriteTar(&whole, "", tree.Time); err != nil {
		t.Fatal(err)
	}
	lost := errors.New("connection lost")
	for name, r := range map[string]io.ReadCloser{
		"cut":     io.NopCloser(bytes.NewReader(whole.Bytes()[:1500])),
		"failing": io.NopCloser(io.MultiReader(bytes.NewReader(whole.Bytes()), iotest.ErrReader(lost))),
		"closing": closing{bytes.NewReader(whole.Bytes()), lost},
	} {
		_, _, err := Export(t.Context(), st, exporting{stream: r}, "/x")
		if err == nil || name != "cut" && !errors.Is(err, lost) {
			t.Errorf("a %s stream: %v", name, err)
		}
	}
	expectEmptyTmp(t, st)
}
