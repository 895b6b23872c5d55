package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"ampoule/artifact"
	"ampoule/faults"
)

// ErrNoKey says that a cache cannot be written to without a key to sign with.
var ErrNoKey = faults.New(faults.Usage, "", "there is no key to sign with")

// Write signs an entry and sends it, with the content that its value names, which the store has. It
// takes the place of what was under its tag.
func (c *Cache) Write(ctx context.Context, kind, key string, value []byte, sums []string) (err error) {
	if c.signer == nil {
		return ErrNoKey
	}
	dir, remove, err := c.store.TempDir()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	s := statement{Format: format, Kind: kind, Key: key, Created: c.now().UTC(), Signer: c.signer.id, Value: value}
	var files []artifact.File
	for _, sum := range sorted(sums) {
		file, size, err := c.pack(ctx, dir, sum)
		if err != nil {
			return fmt.Errorf("packing content %s: %w", sum, err)
		}
		s.Content = append(s.Content, content{SHA256: sum, Size: size})
		files = append(files, file)
	}
	if err := s.check(kind, key); err != nil {
		return err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if len(text) > maxStatement {
		return fmt.Errorf("the statement has %d bytes, which are more than %d", len(text), maxStatement)
	}
	signature, err := c.signer.sign(text)
	if err != nil {
		return err
	}
	files = append([]artifact.File{artifact.BytesFile("statement.json", artifact.CacheStatementType, text)}, files...)
	ctx, cancel := c.bound(ctx, s.size())
	defer cancel()
	annotations := map[string]string{artifact.AnnotationSignature: signature}
	return explain(ctx, c.at.Put(ctx, Tag(kind, key), artifact.CacheType, annotations, files))
}

// zip begins a zip archive, such as a wheel, whose members are compressed already (APPNOTE.TXT,
// section 4.3.7).
const zip = "PK\x03\x04"

// pack gives content of the store as a file of an entry, and its size. It is compressed into dir,
// unless it is so already.
func (c *Cache) pack(ctx context.Context, dir, sum string) (_ artifact.File, size int64, err error) {
	f, err := c.store.Open(sum)
	if err != nil {
		return artifact.File{}, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return artifact.File{}, 0, err
	}
	size = info.Size()
	head := make([]byte, len(zip))
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return artifact.File{}, 0, err
	}
	if string(head) == zip {
		open := func(context.Context) (io.ReadCloser, error) { return c.store.Open(sum) }
		return artifact.File{Name: sum, MediaType: artifact.CacheContentType, Digest: "sha256:" + sum, Size: size, Open: open}, size, nil
	}
	path := filepath.Join(dir, sum)
	digest, packed, err := compress(ctx, path, f)
	open := func(context.Context) (io.ReadCloser, error) { return os.Open(path) }
	return artifact.File{Name: sum, MediaType: artifact.CachePackedType, Digest: digest, Size: packed, Open: open}, size, err
}

// compress writes a file, compressed, and returns its digest and size.
func compress(ctx context.Context, path string, from io.Reader) (digest string, size int64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	// What is built meanwhile has the other processors.
	w, err := zstd.NewWriter(io.MultiWriter(f, sum), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(maxWindow/4))
	if err != nil {
		return "", 0, err
	}
	if _, err := io.Copy(w, ended{ctx, from}); err != nil {
		return "", 0, errors.Join(err, w.Close())
	}
	if err := w.Close(); err != nil {
		return "", 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), info.Size(), nil
}

// ended reads until its context ends.
type ended struct {
	//nolint:containedctx // a Read has no context of its own
	ctx  context.Context
	from io.Reader
}

// Read implements [io.Reader].
func (e ended) Read(p []byte) (int, error) {
	if e.ctx.Err() != nil {
		return 0, context.Cause(e.ctx)
	}
	return e.from.Read(p)
}
