package layers

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ampoule/builder/progress"
	"ampoule/builder/sandbox"
	"ampoule/store"
	"ampoule/tree"
)

func TestSplitSharesByOwner(t *testing.T) {
	t.Parallel()
	whole := newTree(t,
		owned("bin/python3", "interpreter", 100),
		owned("lib/libz.so.1", "native", 100),
		owned("lib/site/big/a.so", "wheel:big", largeDist),
		owned("lib/site/small.py", "wheel:small", largeDist-1),
		owned("lib/site/other.py", "wheel:other", 10),
		owned("share/ampoule/fingerprints.json", "metadata", 10),
		owned("stray", "", 10),
		tree.Entry{Path: "lib/site", Kind: tree.Dir, Mode: 0o555, Owner: "interpreter"},
	)
	parts := Split(whole)
	var names []string
	for _, p := range parts {
		names = append(names, p.Name)
	}
	want := []string{"native", "interpreter", "wheel:big",
		fmt.Sprintf("tail-%02d", min(bin("small"), bin("other"))), fmt.Sprintf("tail-%02d", max(bin("small"), bin("other"))), "metadata"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	all, err := tree.New(nil)
	for _, p := range parts {
		if dir, ok := p.Tree.Lookup("lib/site"); ok && dir.Mode != 0o555 {
			t.Errorf("part %s has lib/site with mode %o", p.Name, dir.Mode)
		}
		if err == nil {
			all, err = all.With(p.Tree.Entries()...)
		}
	}
	if err != nil || all.Hash() != whole.Hash() {
		t.Errorf("parts together are %s (%v), not %s", all.Hash(), err, whole.Hash())
	}
}

// First-party code has a part of its own, however large it is, and takes no other
// distribution's place.
func TestSplitApp(t *testing.T) {
	t.Parallel()
	names := func(size int, own ...string) []string {
		var names []string
		for _, p := range Split(newTree(t,
			owned("bin/python3", "interpreter", 100), owned("lib/site/big.so", "wheel:big", largeDist), owned("lib/site/web.py", "wheel:web", size),
			owned("lib/site/helper.py", "wheel:helper", 1), owned("record.json", "metadata", 10),
		), own...) {
			names = append(names, p.Name)
		}
		return names
	}
	want := []string{"interpreter", "wheel:big", "app", "metadata"}
	for _, size := range []int{1, 2 * largeDist} {
		if diff := cmp.Diff(want, names(size, "web", "helper")); diff != "" {
			t.Errorf("of %d bytes (-want +got):\n%s", size, diff)
		}
	}
	if got := names(1); slices.Contains(got, "app") {
		t.Errorf("without first-party code: %q", got)
	}
	entries := []tree.Entry{owned("web.py", "wheel:web", 1), owned("n", "native", 1), owned("i", "interpreter", 1), owned("m", "metadata", 1)}
	for i := range 100 {
		entries = append(entries, owned(fmt.Sprintf("big%d", i), fmt.Sprintf("wheel:big%d", i), largeDist), owned(fmt.Sprintf("small%d", i), fmt.Sprintf("wheel:small%d", i), 1))
	}
	if n := len(Split(newTree(t, entries...), "web")); n != maxParts {
		t.Errorf("%d parts, not %d", n, maxParts)
	}
}

func TestSplitCoarsely(t *testing.T) {
	t.Parallel()
	var got []string
	for _, part := range SplitCoarsely(newTree(t,
		owned("bin/python3", "interpreter", 9), owned("lib/z.so", "native", 9), owned("a.so", "wheel:a", largeDist),
		owned("b.py", "wheel:b", 9), owned("stray", "", 9))) {
		for _, e := range part.Tree.Entries() {
			if e.Kind == tree.File {
				got = append(got, part.Name+" "+e.Path)
			}
		}
	}
	if diff := cmp.Diff([]string{"interpreter bin/python3", "wheel:a a.so", "native lib/z.so", "rest b.py", "rest stray"}, got); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
}

func TestSplitIsBounded(t *testing.T) {
	t.Parallel()
	entries := []tree.Entry{owned("n", "native", 1), owned("i", "interpreter", 1), owned("m", "metadata", 1)}
	for i := range 200 {
		e := owned(fmt.Sprintf("lib/d%03d", i), fmt.Sprintf("wheel:d%03d", i), 1)
		e.Size = largeDist + int64(i)
		entries = append(entries, e)
	}
	parts := Split(newTree(t, entries...))
	if len(parts) != maxParts {
		t.Errorf("%d parts, want %d", len(parts), maxParts)
	}
	if got := parts[2].Name; got != "wheel:d152" {
		t.Errorf("the smallest distribution with a part of its own is %s, want wheel:d152", got)
	}
}

func TestSplitBinsByNormalisedName(t *testing.T) {
	t.Parallel()
	if bin("Zope.Interface") != bin("zope-interface") || bin("a__b") != bin("a-b") {
		t.Error("spellings of one name are in different bins")
	}
	// Bins are part of the digests of artifacts: they stay.
	for name, want := range map[string]uint32{"numpy": 3, "PyYAML": 5, "Zope.Interface": 1, "Ruamel.yaml.clib": 2, "Flask-SQLAlchemy": 9, "a__b": 6, "X-_.Y": 8} {
		if got := bin(name); got != want {
			t.Errorf("%s is in bin %d, and was in %d", name, got, want)
		}
	}
	used := map[uint32]bool{}
	for i := range 500 {
		used[bin(fmt.Sprint("dist", i))] = true
	}
	if len(used) != tailBins {
		t.Errorf("500 names use %d bins, want %d", len(used), tailBins)
	}
}

// owned makes a file of size bytes that belongs to an owner.
func owned(p, owner string, size int) tree.Entry {
	e := tree.FileEntry(p, 0o644, bytes.Repeat([]byte("a"), size))
	e.Owner = owner
	return e
}

func TestSaveParts(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	save := func(st *store.Store, entries ...tree.Entry) []sandbox.Layer {
		t.Helper()
		saved, err := SaveParts(t.Context(), st, progress.StagePublish, Split(newTree(t, entries...)), "opt/x")
		if err != nil {
			t.Fatal(err)
		}
		return saved
	}
	names := func(saved []sandbox.Layer) (names []string) {
		for _, part := range saved {
			names = append(names, part.Name)
		}
		return names
	}
	python, big := owned("bin/python3", "interpreter", 10), owned("lib/big.so", "wheel:big", largeDist)
	first := save(st, python, big)
	if diff := cmp.Diff([]string{"interpreter", "wheel:big"}, names(first)); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	layer, closer, err := Read(st, strings.TrimPrefix(first[1].DiffID, "sha256:"))
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	if diff := cmp.Diff([]string{"opt", "opt/x", "opt/x/lib", "opt/x/lib/big.so"}, paths(layer)); diff != "" {
		t.Errorf("the layer has (-want +got):\n%s", diff)
	}

	// Another tree shares what is equal; what was damaged in the store is written again.
	if err := os.WriteFile(st.Path(strings.TrimPrefix(first[0].DiffID, "sha256:")), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	second := save(st, python, big, owned("lib/small.py", "wheel:small", 3))
	if second[0].DiffID != first[0].DiffID || second[1].DiffID != first[1].DiffID || len(second) != 3 {
		t.Errorf("first %v, then %v", first, second)
	}
	for _, part := range second {
		if err := st.Verify(t.Context(), strings.TrimPrefix(part.DiffID, "sha256:")); err != nil {
			t.Errorf("%s: %v", part.Name, err)
		}
	}

	_, err = SaveParts(t.Context(), st, progress.StagePublish, Split(newTree(t, owned("lib/.wh.os.py", "wheel:x", 1))), "opt/x")
	if err == nil || !strings.Contains(err.Error(), "lib/.wh.os.py") {
		t.Errorf("error is %v, want one that names lib/.wh.os.py", err)
	}
}

func paths(t *tree.Tree) []string {
	var all []string
	for _, e := range t.Entries() {
		all = append(all, e.Path)
	}
	return all
}

// Everything of a part, and where it is laid, decides which layer is found again.
func TestPartsAreTold(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	base := func() tree.Entry { return file("lib/x.py", "x") }
	save := func(e tree.Entry, prefix string) string {
		t.Helper()
		saved, err := SaveParts(t.Context(), st, progress.StagePublish, []Part{{"part", newTree(t, e)}}, prefix)
		if err != nil {
			t.Fatal(err)
		}
		return saved[0].DiffID
	}
	first := save(base(), "opt/x")
	if again := save(base(), "opt/x"); again != first {
		t.Errorf("the same part is %s, then %s", first, again)
	}
	seen := map[string]string{first: "the first"}
	for name, change := range map[string]func(*tree.Entry){
		"content": func(e *tree.Entry) { *e = e.Replace([]byte("y")) },
		"mode":    func(e *tree.Entry) { e.Mode = 0o755 },
		"path":    func(e *tree.Entry) { e.Path = "lib/y.py" },
		"kind":    func(e *tree.Entry) { *e = tree.Entry{Path: e.Path, Kind: tree.Symlink, Mode: 0o777, Link: "x"} },
		"link":    func(e *tree.Entry) { *e = tree.Entry{Path: e.Path, Kind: tree.Symlink, Mode: 0o777, Link: "y"} },
	} {
		e := base()
		change(&e)
		id := save(e, "opt/x")
		if other, ok := seen[id]; ok {
			t.Errorf("%s: the layer of %s is found", name, other)
		}
		seen[id] = name
	}
	if id := save(base(), "opt/y"); seen[id] != "" {
		t.Errorf("another prefix: the layer of %s is found", seen[id])
	}
}
