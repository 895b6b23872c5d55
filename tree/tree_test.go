package tree

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// newTree makes a tree of entries that are valid.
func newTree(t testing.TB, entries ...Entry) *Tree {
	t.Helper()
	made, err := New(entries)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func dir(p string) Entry          { return Entry{Path: p, Kind: Dir, Mode: 0o755} }
func file(p, text string) Entry   { return FileEntry(p, 0o644, []byte(text)) }
func link(p, target string) Entry { return Entry{Path: p, Kind: Symlink, Mode: 0o777, Link: target} }

// paths lists what a tree has, directories with a slash behind them.
func paths(t *Tree) []string {
	list := []string{}
	for _, e := range t.Entries() {
		switch e.Kind {
		case Dir:
			list = append(list, e.Path+"/")
		case Symlink:
			list = append(list, e.Path+" -> "+e.Link)
		default:
			list = append(list, e.Path)
		}
	}
	return list
}

func TestNew(t *testing.T) {
	t.Parallel()
	deep := Entry{Path: "b/c/d", Kind: Symlink, Link: "x", UID: 7, GID: 8, Owner: "wheel:d"}
	got := newTree(t, file("b-c", ""), deep, Entry{Path: "b", Kind: Dir, Mode: 0o700}, file("a", ""))
	if diff := cmp.Diff([]string{"a", "b/", "b-c", "b/c/", "b/c/d -> x"}, paths(got)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	for p, want := range map[string]Entry{
		"b":   {Path: "b", Kind: Dir, Mode: 0o700},
		"b/c": {Path: "b/c", Kind: Dir, Mode: 0o755, UID: 7, GID: 8, Owner: "wheel:d"},
	} {
		if e, ok := got.Lookup(p); !ok || e != want {
			t.Errorf("Lookup(%q) = %+v, %t; want %+v", p, e, ok, want)
		}
	}
	if e, ok := got.Lookup("b/x"); ok {
		t.Errorf("found %+v, which is not there", e)
	}
	if got.Len() != 5 {
		t.Errorf("Len() = %d, want 5", got.Len())
	}
}

func TestNewKeepsItsArgument(t *testing.T) {
	t.Parallel()
	entries := []Entry{file("b", ""), file("a", "")}
	newTree(t, entries...)
	if entries[0].Path != "b" {
		t.Error("New sorted the caller's entries")
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for want, entries := range map[string][]Entry{
		"a: two entries with one path":              {file("a", ""), dir("a")},
		"a/b: its parent a is not a directory":      {file("a", ""), file("a/b", "")},
		"a/b/c: its parent a is not a directory":    {link("a", "x"), file("a/b/c", "")},
		`"a/../b": not a clean path inside a tree`:  {file("a/../b", "")},
		`"": not a clean path inside a tree`:        {dir("")},
		`".": not a clean path inside a tree`:       {dir(".")},
		`"..": not a clean path inside a tree`:      {dir("..")},
		`"../a": not a clean path inside a tree`:    {file("../a", "")},
		`"/a": not a clean path inside a tree`:      {file("/a", "")},
		`"a/": not a clean path inside a tree`:      {dir("a/")},
		`"a//b": not a clean path inside a tree`:    {file("a//b", "")},
		`"./a": not a clean path inside a tree`:     {file("./a", "")},
		`"a\x00b": not a clean path inside a tree`:  {file("a\x00b", "")},
		`"a/./b": not a clean path inside a tree`:   {file("a/./b", "")},
		`"../../a": not a clean path inside a tree`: {file("../../a", "")},
	} {
		if _, err := New(entries); err == nil || err.Error() != want {
			t.Errorf("New(%v) = %v, want %q", entries, err, want)
		}
	}
	for _, p := range []string{"..a", "...", "a..b", "a\nb", " "} {
		if err := CheckPath(p); err != nil {
			t.Errorf("CheckPath(%q) = %v", p, err)
		}
	}
}

// everything is a tree with an entry of each kind and each special bit.
func everything(t testing.TB) *Tree {
	t.Helper()
	return newTree(t,
		dir("bin"), FileEntry("bin/tool", 0o755|fs.ModeSetuid|fs.ModeSetgid, []byte("#!")),
		Entry{Path: "tmp", Kind: Dir, Mode: 0o777 | fs.ModeSticky},
		file("etc/name \"quoted\"\n", "x\n"), file("empty", ""), link("lib64", "usr/lib"), link("ü", "../out"))
}

// TestHashGolden fails when the normal form changes: every digest that was
// published then names another tree.
func TestHashGolden(t *testing.T) {
	t.Parallel()
	const want = "sha256:2989f85b745cdcfc8462d844f8578bb50fff22f0b626af0485aea234c6146683"
	if got := everything(t).Hash(); got != want {
		t.Errorf("Hash() = %s, want %s", got, want)
	}
	const empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if got := (&Tree{}).Hash(); got != empty {
		t.Errorf("the empty tree has %s, want %s", got, empty)
	}
}

func TestHashTellsApart(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for name, entries := range map[string][]Entry{
		"file":           {file("a", "b")},
		"content":        {file("a", "c")},
		"path":           {file("b", "b")},
		"mode":           {FileEntry("a", 0o600, []byte("b"))},
		"setuid":         {FileEntry("a", 0o644|fs.ModeSetuid, []byte("b"))},
		"setgid":         {FileEntry("a", 0o644|fs.ModeSetgid, []byte("b"))},
		"sticky":         {FileEntry("a", 0o644|fs.ModeSticky, []byte("b"))},
		"directory":      {dir("a")},
		"its mode":       {{Path: "a", Kind: Dir, Mode: 0o700}},
		"link":           {link("a", "b")},
		"target":         {link("a", "c")},
		"two links":      {link("a", "b"), link("c", "d")},
		"a link's lines": {link("a", "b\"\nlink \"c\" \"d")},
	} {
		hash := newTree(t, entries...).Hash()
		if other, ok := seen[hash]; ok {
			t.Errorf("%s and %s have one hash", name, other)
		}
		seen[hash] = name
	}
}

func TestHashIgnores(t *testing.T) {
	t.Parallel()
	want := everything(t).Hash()
	other := everything(t).Map(func(e Entry) Entry {
		e.UID, e.GID, e.Owner = 1, 2, "wheel:x"
		if e.Kind == Symlink {
			e.Mode = 0o755
		}
		return e
	})
	if got := other.Hash(); got != want {
		t.Errorf("owners change the hash: %s, want %s", got, want)
	}
	entries := slices.Clone(everything(t).Entries())
	slices.Reverse(entries)
	if got := newTree(t, entries...).Hash(); got != want {
		t.Errorf("the order of entries changes the hash: %s, want %s", got, want)
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	tr := newTree(t,
		file("usr/lib/libc.so.6", ""), link("lib", "usr/lib"), link("usr/lib/libc.so", "libc.so.6"),
		link("usr/up", ".."), link("usr/lib/deep", "../../usr/./lib//"), link("usr/past", "lib/../past-it"), dir("usr/past-it"),
		link("loop", "pool"), link("pool", "loop"), link("abs", "/usr"), link("out", "../x"), link("usr/out", "up/../x"),
		link("gone", "nothing"), file("x", ""), link("usr/share", "../lib/../share-of-usr"), dir("usr/share-of-usr"), dir("share-of-usr"))
	for p, want := range map[string]string{
		"usr/lib/libc.so.6":    "usr/lib/libc.so.6",
		"lib/libc.so":          "usr/lib/libc.so.6",
		"/lib/libc.so":         "usr/lib/libc.so.6",
		"./lib/./libc.so":      "usr/lib/libc.so.6",
		"usr/up/usr/up/x":      "x",
		"usr/lib/deep/libc.so": "usr/lib/libc.so.6",
		"usr/past":             "usr/past-it",
		// As the kernel does: .. is the parent of what the link leads to.
		"lib/../past":        "usr/past-it",
		"lib/../lib/libc.so": "usr/lib/libc.so.6",
		"usr/share":          "usr/share-of-usr",
		"loop":               "", "abs": "", "abs/lib": "", "out": "", "usr/out": "", "gone": "",
		"../x": "", "usr/../../x": "", "x/y": "", "x/../x": "", "x/": "", "x/.": "", "missing": "", "": "", ".": "", "usr/..": "",
	} {
		e, ok := tr.Resolve(p)
		if e.Path != want || ok != (want != "") {
			t.Errorf("Resolve(%q) = %q, %t; want %q", p, e.Path, ok, want)
		}
	}
}

func TestResolveCountsLinks(t *testing.T) {
	t.Parallel()
	entries := []Entry{file("l00", "")}
	for i := range maxLinks + 1 {
		entries = append(entries, link("l"+number(i+1), "l"+number(i)))
	}
	tr := newTree(t, entries...)
	if _, ok := tr.Resolve("l" + number(maxLinks)); !ok {
		t.Errorf("%d links were not followed", maxLinks)
	}
	if _, ok := tr.Resolve("l" + number(maxLinks+1)); ok {
		t.Errorf("%d links were followed", maxLinks+1)
	}
}

func number(i int) string { return string([]byte{byte('0' + i/10), byte('0' + i%10)}) }

func TestAlgebra(t *testing.T) {
	t.Parallel()
	tr := newTree(t, file("a/b/c", "1"), file("a/d", "2"), file("ab", "3"), link("l", "a"))
	with, err := tr.With(file("a/d", "new"), file("n/m", ""))
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]struct {
		tree *Tree
		want []string
	}{
		"Select": {tr.Select(func(e Entry) bool { return e.Path != "a/b" && e.Path != "ab" }), []string{"a/", "a/b/", "a/b/c", "a/d", "l -> a"}},
		"Sub":    {tr.Sub("a"), []string{"b/", "b/c", "d"}},
		"none":   {tr.Sub("ab"), []string{}},
		"With":   {with, []string{"a/", "a/b/", "a/b/c", "a/d", "ab", "l -> a", "n/", "n/m"}},
		"Map": {tr.Map(func(e Entry) Entry {
			if e.Kind == Symlink {
				e.Link = "x"
			}
			return e
		}), []string{"a/", "a/b/", "a/b/c", "a/d", "ab", "l -> x"}},
		"the original": {tr, []string{"a/", "a/b/", "a/b/c", "a/d", "ab", "l -> a"}},
	} {
		if diff := cmp.Diff(got.want, paths(got.tree)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if e, _ := with.Lookup("a/d"); e.Size != 3 {
		t.Errorf("With kept the old entry: %+v", e)
	}
	if _, err := tr.With(file("ab/x", "")); err == nil || !strings.Contains(err.Error(), "parent ab is not a directory") {
		t.Errorf("an entry below a file: %v", err)
	}
	if _, err := tr.With(file("n", "1"), file("n", "2")); err == nil {
		t.Error("two added entries with one path are no error")
	}
}

// broken is content that cannot be opened, or is other than its entry says.
type broken struct {
	text string
	err  error
}

func (b broken) Open() (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(b.text)), b.err
}

func TestReadAll(t *testing.T) {
	t.Parallel()
	e := file("a", "text")
	if data, err := e.ReadAll(); string(data) != "text" || err != nil {
		t.Errorf("ReadAll() = %q, %v", data, err)
	}
	replaced := e.Replace([]byte("other"))
	if data, err := replaced.ReadAll(); string(data) != "other" || err != nil || replaced.Size != 5 {
		t.Errorf("after Replace %q, %v, size %d", data, err, replaced.Size)
	}
	if _, err := dir("d").ReadAll(); err == nil || err.Error() != "reading d: not a file" {
		t.Errorf("of a directory: %v", err)
	}
	for _, text := range []string{"tex", "texts", "TEXT"} {
		e.Content = broken{text: text}
		if _, err := e.ReadAll(); err == nil || !strings.Contains(err.Error(), "not sha256:"+e.SHA256) {
			t.Errorf("content %q instead of text: %v", text, err)
		}
	}
	gone := errors.New("gone")
	e.Content = broken{err: gone}
	if _, err := e.ReadAll(); !errors.Is(err, gone) {
		t.Errorf("content that cannot be opened: %v", err)
	}
}
