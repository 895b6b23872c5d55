package layer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ampoule/artifact"
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

// tarOf writes a tree of entries as a tar.
func tarOf(t *testing.T, entries ...tree.Entry) []byte {
	t.Helper()
	made, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := made.WriteTar(&b, artifact.Prefix, epoch); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pack packs a tar.
func pack(t *testing.T, p Packer, name string, tar []byte) Layer {
	t.Helper()
	open := func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(tar)), nil }
	made, err := p.Pack(t.Context(), name, fmt.Sprintf("sha256:%x", sha256.Sum256(tar)), open)
	if err != nil {
		t.Fatal(err)
	}
	return made
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
// then every layer gets another digest, which must be meant, and Format must be raised.
func TestPackGolden(t *testing.T) {
	t.Parallel()
	got := pack(t, Packer{Dir: t.TempDir()}, "interpreter", tarOf(t, file("bin/python3", "interpreter", 300_000), file("lib/a.py", "interpreter", 1000)))
	got.Open = nil
	want := Layer{
		Name:   "interpreter",
		DiffID: "sha256:f122d3ccea995dc62420f2a62ffea4ba29f1b9dd674840ce974ff213b4ca5dc0",
		Digest: "sha256:46d9f7c0b70aa311fbb2ad45cf8f259f2c5cd6d6a115e88f4ae04c81e14cacf0",
		Size:   164949,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("layer (-want +got):\n%s", diff)
	}
}

func TestPackRemembers(t *testing.T) {
	t.Parallel()
	tar := tarOf(t, file("bin/python3", "interpreter", 5000))
	known := &memory{known: map[string]Layer{}}
	first := pack(t, Packer{Dir: t.TempDir(), Memory: known}, "interpreter", tar)
	empty := t.TempDir()
	second := pack(t, Packer{Dir: empty, Memory: known}, "interpreter", tar)
	if known.made != 1 {
		t.Errorf("compressed %d times, want once", known.made)
	}
	if left, _ := os.ReadDir(empty); len(left) > 0 {
		t.Errorf("a remembered layer was compressed: %v", left)
	}
	if a, b := blobOf(t, first), blobOf(t, second); !bytes.Equal(a, b) || int64(len(a)) != second.Size {
		t.Error("compressed again it is another blob")
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

func TestOpenTarVerifies(t *testing.T) {
	t.Parallel()
	made := pack(t, Packer{Dir: t.TempDir()}, "x", tarOf(t, file("a", "", 50_000)))
	blob := blobOf(t, made)
	damaged := bytes.Clone(blob)
	damaged[len(damaged)/2] ^= 0x10
	tests := map[string]struct {
		blob   []byte
		diffID string
		want   error
	}{
		"whole":          {blob, made.DiffID, nil},
		"damaged":        {damaged, made.DiffID, ErrDiffID},
		"no gzip":        {[]byte("hello, this is no gzip"), made.DiffID, ErrDiffID},
		"another DiffID": {blob, "sha256:" + strings.Repeat("0", 64), ErrDiffID},
		"short":          {blob[:len(blob)-100], made.DiffID, io.ErrUnexpectedEOF},
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

func TestPackRefusesAnotherTar(t *testing.T) {
	t.Parallel()
	open := func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil }
	_, err := Packer{Dir: t.TempDir()}.Pack(t.Context(), "base", "sha256:"+strings.Repeat("0", 64), open)
	if !errors.Is(err, ErrDiffID) {
		t.Errorf("error is %v, want ErrDiffID", err)
	}
}
