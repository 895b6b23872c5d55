package layer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// level is the gzip level of every layer. It and the version of the compressor
// decide the blobs' digests: the golden test tells when either changes them.
const level = 6

// Format is raised with each change of the compressor that gives a tar another blob: what
// is remembered of the one before must not be found.
const Format = 1

// tarSource writes one uncompressed tar, the same each time.
type tarSource func(context.Context, io.Writer) error

// Packer makes compressed layers of tars. It compresses each at most once.
type Packer struct {
	// Dir is where compressed blobs are kept until the caller removes them.
	Dir string
	// Memory may be nil.
	Memory Memory
}

// Pack makes a layer of an uncompressed tar. Open returns that from its start each
// time; its hash must be diffID. A layer that Memory knows is not compressed: its Open
// does that, if it is ever called.
func (p Packer) Pack(ctx context.Context, name, diffID string, open func(context.Context) (io.ReadCloser, error)) (Layer, error) {
	write := func(ctx context.Context, w io.Writer) error {
		r, err := open(ctx)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(w, r)
		return err
	}
	if p.Memory == nil {
		return p.compress(ctx, name, diffID, write)
	}
	if digest, size, ok := p.Memory.Recall(diffID); ok {
		return Layer{Name: name, DiffID: diffID, Digest: digest, Size: size, Open: compressing(write)}, nil
	}
	made, err := p.compress(ctx, name, diffID, write)
	if err != nil {
		return Layer{}, err
	}
	if err := p.Memory.Remember(made.DiffID, made.Digest, made.Size); err != nil {
		return Layer{}, fmt.Errorf("remembering layer %s: %w", name, err)
	}
	return made, nil
}

// compress writes the blob into the packer's directory, named by DiffID.
func (p Packer) compress(ctx context.Context, name, diffID string, write tarSource) (Layer, error) {
	f, err := os.CreateTemp(p.Dir, "layer-*")
	if err != nil {
		return Layer{}, fmt.Errorf("compressing layer %s: %w", name, err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	defer f.Close()
	blob, plain := newHasher(f), newHasher(nil)
	err = compressTo(ctx, blob, func(ctx context.Context, w io.Writer) error {
		return write(ctx, io.MultiWriter(withContext(ctx, w), plain))
	})
	if err == nil && plain.digest() != diffID {
		err = fmt.Errorf("content is %s, not %s: %w", plain.digest(), diffID, ErrDiffID)
	}
	file := filepath.Join(p.Dir, strings.TrimPrefix(diffID, "sha256:")+".tar.gz")
	if err == nil {
		err = errors.Join(f.Close(), os.Rename(f.Name(), file))
	}
	if err != nil {
		return Layer{}, fmt.Errorf("compressing layer %s: %w", name, err)
	}
	open := func(context.Context) (io.ReadCloser, error) { return os.Open(file) }
	return Layer{Name: name, DiffID: diffID, Digest: blob.digest(), Size: blob.n, Open: open}, nil
}

// compressTo writes a tar to w, compressed. The header holds no time and no name.
func compressTo(ctx context.Context, w io.Writer, write tarSource) error {
	zw, err := gzip.NewWriterLevel(w, level)
	if err != nil {
		return err
	}
	if err := write(ctx, zw); err != nil {
		return err
	}
	return zw.Close()
}

// compressing opens a blob by compressing its tar once more while it is read.
func compressing(write tarSource) func(context.Context) (io.ReadCloser, error) {
	return func(ctx context.Context) (io.ReadCloser, error) {
		r, w := io.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.CloseWithError(compressTo(ctx, withContext(ctx, w), write))
		}()
		return compression{r, done}, nil
	}
}

// compression is a blob that a goroutine is making. Close ends it and waits for it.
type compression struct {
	*io.PipeReader
	done <-chan struct{}
}

// Close implements io.Closer.
func (c compression) Close() error {
	err := c.PipeReader.Close()
	<-c.done
	return err
}

// contextWriter stops writing when its context is done.
type contextWriter struct {
	//nolint:containedctx // a Write has no context of its own
	ctx context.Context
	w   io.Writer
}

func withContext(ctx context.Context, w io.Writer) io.Writer { return contextWriter{ctx, w} }

func (c contextWriter) Write(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}

// hasher counts and hashes what it passes on.
type hasher struct {
	w   io.Writer
	sum hash.Hash
	n   int64
}

// newHasher makes a hasher that writes to w, or to nothing when w is nil.
func newHasher(w io.Writer) *hasher {
	if w == nil {
		w = io.Discard
	}
	return &hasher{w: w, sum: sha256.New()}
}

func (h *hasher) Write(p []byte) (int, error) {
	n, err := h.w.Write(p)
	_, _ = h.sum.Write(p[:n])
	h.n += int64(n)
	return n, err
}

func (h *hasher) digest() string { return "sha256:" + hex.EncodeToString(h.sum.Sum(nil)) }
