package layer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/tree"
)

var epoch = time.Unix(1577836800, 0)

// file makes a file entry of size pseudo-random but fixed bytes.
func file(p, owner string, size int) tree.Entry {
	data := make([]byte, size)
	state := uint32(len(p))
	for i := range data {
		state = state*1664525 + 1013904223
		data[i] = "abcdefghijklmnop"[state>>28]
	}
	e := tree.FileEntry(p, 0o644, data)
	e.Owner = owner
	return e
}

func newTree(t *testing.T, entries ...tree.Entry) *tree.Tree {
	t.Helper()
	made, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestSplitSharesByOwner(t *testing.T) {
	t.Parallel()
	whole := newTree(t,
		file("bin/python3", "interpreter", 100),
		file("lib/libz.so.1", "native", 100),
		file("lib/site/big/a.so", "wheel:big", largeDist),
		file("lib/site/small.py", "wheel:small", largeDist-1),
		file("lib/site/other.py", "wheel:other", 10),
		file("share/ampoule/fingerprints.json", "metadata", 10),
		file("stray", "", 10),
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

func TestSplitIsBounded(t *testing.T) {
	t.Parallel()
	entries := []tree.Entry{file("n", "native", 1), file("i", "interpreter", 1), file("m", "metadata", 1)}
	for i := range 200 {
		e := file(fmt.Sprintf("lib/d%03d", i), fmt.Sprintf("wheel:d%03d", i), 1)
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
	used := map[uint32]bool{}
	for i := range 500 {
		used[bin(fmt.Sprint("dist", i))] = true
	}
	if len(used) != tailBins {
		t.Errorf("500 names use %d bins, want %d", len(used), tailBins)
	}
}

// memory is a Memory for tests. It counts what it is asked to remember.
type memory struct {
	mu    sync.Mutex
	known map[string]Layer
	made  int
}

func (m *memory) Recall(diffID string) (string, int64, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.known[diffID]
	return l.Digest, l.Size, ok
}

func (m *memory) Remember(diffID, digest string, size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known[diffID] = Layer{Digest: digest, Size: size}
	m.made++
	return nil
}

// TestPackGolden fails when the compressor, its level or the tar's form changes:
// then every layer gets another digest, which must be meant.
func TestPackGolden(t *testing.T) {
	t.Parallel()
	part := Part{Name: "interpreter", Tree: newTree(t, file("bin/python3", "interpreter", 300_000), file("lib/a.py", "interpreter", 1000))}
	got, err := Packer{Dir: t.TempDir()}.Pack(t.Context(), []Part{part}, epoch)
	if err != nil {
		t.Fatal(err)
	}
	got[0].Open = nil
	want := []Layer{{
		Name:   "interpreter",
		DiffID: "sha256:f122d3ccea995dc62420f2a62ffea4ba29f1b9dd674840ce974ff213b4ca5dc0",
		Digest: "sha256:46d9f7c0b70aa311fbb2ad45cf8f259f2c5cd6d6a115e88f4ae04c81e14cacf0",
		Size:   164949,
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("layer (-want +got):\n%s", diff)
	}
}

func TestPackRemembers(t *testing.T) {
	t.Parallel()
	parts := Split(newTree(t, file("bin/python3", "interpreter", 5000), file("lib/x", "native", 10)))
	known := &memory{known: map[string]Layer{}}
	first, err := Packer{Dir: t.TempDir(), Memory: known}.Pack(t.Context(), parts, epoch)
	if err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	second, err := Packer{Dir: empty, Memory: known}.Pack(t.Context(), parts, epoch)
	if err != nil {
		t.Fatal(err)
	}
	if known.made != len(parts) {
		t.Errorf("%d layers compressed, want %d", known.made, len(parts))
	}
	if left, _ := os.ReadDir(empty); len(left) > 0 {
		t.Errorf("a remembered layer was compressed: %v", left)
	}
	for i := range first {
		a, b := blobOf(t, first[i]), blobOf(t, second[i])
		if !bytes.Equal(a, b) || int64(len(a)) != second[i].Size {
			t.Errorf("layer %s: compressed again it is another blob", first[i].Name)
		}
	}
}

func blobOf(t *testing.T, l Layer) []byte {
	t.Helper()
	r, err := l.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestPackRefusesWhiteouts(t *testing.T) {
	t.Parallel()
	part := Part{Name: "tail-00", Tree: newTree(t, file("lib/.wh.os.py", "wheel:x", 1))}
	_, err := Packer{Dir: t.TempDir()}.Pack(t.Context(), []Part{part}, epoch)
	if err == nil || !strings.Contains(err.Error(), "lib/.wh.os.py") {
		t.Errorf("error is %v, want one that names lib/.wh.os.py", err)
	}
}

func TestOpenTarVerifies(t *testing.T) {
	t.Parallel()
	made, err := Packer{Dir: t.TempDir()}.Pack(t.Context(), []Part{{Name: "x", Tree: newTree(t, file("a", "", 50_000))}}, epoch)
	if err != nil {
		t.Fatal(err)
	}
	blob := blobOf(t, made[0])
	damaged := bytes.Clone(blob)
	damaged[len(damaged)/2] ^= 0x10
	tests := map[string]struct {
		blob   []byte
		diffID string
		want   error
	}{
		"whole":          {blob, made[0].DiffID, nil},
		"damaged":        {damaged, made[0].DiffID, ErrDiffID},
		"no gzip":        {[]byte("hello, this is no gzip"), made[0].DiffID, ErrDiffID},
		"another DiffID": {blob, "sha256:" + strings.Repeat("0", 64), ErrDiffID},
		"short":          {blob[:len(blob)-100], made[0].DiffID, io.ErrUnexpectedEOF},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := Layer{DiffID: test.diffID, Open: func(context.Context) (io.ReadCloser, error) {
				return io.NopCloser(bytes.NewReader(test.blob)), nil
			}}
			r, err := l.OpenTar(t.Context())
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			if !errors.Is(err, test.want) {
				t.Errorf("error is %v, want %v", err, test.want)
			}
		})
	}
}

func TestPackTarRefusesAnotherTar(t *testing.T) {
	t.Parallel()
	open := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil }
	_, err := Packer{Dir: t.TempDir()}.PackTar(t.Context(), "base", "sha256:"+strings.Repeat("0", 64), open)
	if !errors.Is(err, ErrDiffID) {
		t.Errorf("error is %v, want ErrDiffID", err)
	}
}
