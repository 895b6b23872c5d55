package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// Writer takes content in. Nothing of it is visible before [Writer.Commit]. It is
// for one goroutine.
type Writer struct {
	//nolint:containedctx // a Write has no context of its own
	ctx   context.Context
	store *Store
	file  *os.File
	hash  hash.Hash
	size  int64
	// want is the expected sha256, where one is.
	want string
}

// Create starts new content. The caller must call Commit or Abort. Once the context
// has ended, Write gives its cause.
func (s *Store) Create(ctx context.Context) (*Writer, error) {
	f, err := openLocked(ctx, filepath.Join(s.Dir(Tmp), writerPrefix+rand.Text()))
	if err != nil {
		return nil, fmt.Errorf("creating content: %w", spaceError(s.dir, err))
	}
	return &Writer{ctx: ctx, store: s, file: f, hash: sha256.New()}, nil
}

// Resume starts content of a known sha256, or goes on with what an earlier Writer
// for it kept: [Writer.Size] says how many bytes are there. It waits while another
// process or goroutine writes the same content, so the caller should look with Has
// again. The caller must call Commit, Keep or Abort.
func (s *Store) Resume(ctx context.Context, sum string) (*Writer, error) {
	if err := CheckSum(sum); err != nil {
		return nil, err
	}
	f, err := openLocked(ctx, filepath.Join(s.Dir(Tmp), partialPrefix+sum))
	if err != nil {
		return nil, fmt.Errorf("creating content %s: %w", sum, spaceError(s.dir, err))
	}
	w := &Writer{ctx: ctx, store: s, file: f, hash: sha256.New(), want: sum}
	if w.size, err = io.Copy(w.hash, contextReader{ctx, f}); err != nil {
		f.Close()
		return nil, fmt.Errorf("resuming content %s: %w", sum, err)
	}
	return w, nil
}

// Write appends to the content.
func (w *Writer) Write(p []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	n, err := w.file.Write(p)
	w.hash.Write(p[:n])
	w.size += int64(n)
	if err != nil {
		return n, fmt.Errorf("writing content: %w", spaceError(w.store.dir, err))
	}
	return n, nil
}

// Size is how many bytes the content has so far.
func (w *Writer) Size() int64 { return w.size }

// Sum is the sha256 of the content so far.
func (w *Writer) Sum() string { return hex.EncodeToString(w.hash.Sum(nil)) }

// Reset drops the content so far.
func (w *Writer) Reset() error {
	if err := w.file.Truncate(0); err != nil {
		return fmt.Errorf("emptying content: %w", err)
	}
	if _, err := w.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("emptying content: %w", err)
	}
	w.hash.Reset()
	w.size = 0
	return nil
}

// Commit makes the content visible: on the disk, then in its place. When another
// sha256 was expected the error is a [*MismatchError] and the content is dropped.
func (w *Writer) Commit() (sum string, size int64, err error) {
	if w.file == nil {
		return "", 0, fmt.Errorf("committing content: %w", os.ErrClosed)
	}
	defer w.Abort()
	sum = w.Sum()
	if w.want != "" && w.want != sum {
		return "", 0, &MismatchError{Want: w.want, Got: sum}
	}
	if err := w.place(w.store.Path(sum)); err != nil {
		return "", 0, fmt.Errorf("committing content %s: %w", sum, spaceError(w.store.dir, err))
	}
	size = w.size
	return sum, size, w.Keep()
}

func (w *Writer) place(path string) error {
	if err := w.file.Chmod(0o444); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := w.store.pin(path); err != nil {
		return err
	}
	if err := os.Rename(w.file.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Keep ends the writing. What [Store.Resume] began stays for a later Resume; what
// Create began is left to the next sweep.
func (w *Writer) Keep() error {
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}

// Abort drops the content. After Commit or Keep it does nothing.
func (w *Writer) Abort() {
	if w.file == nil {
		return
	}
	// The lock is still held: nobody else can have taken the name. What cannot be
	// removed now is left to a sweep.
	if stillAt(w.file.Name(), w.file) {
		_ = os.Remove(w.file.Name())
	}
	w.file.Close()
	w.file = nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Some file systems cannot sync a directory and say EINVAL.
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}
