package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"ampoule/system"
)

// CheckSum returns an error unless the text is a sha256 as this package spells it: 64
// lower-case hexadecimal digits.
func CheckSum(sum string) error {
	if len(sum) != 2*sha256.Size {
		return fmt.Errorf("sha256 %q: it must have 64 hexadecimal digits", sum)
	}
	for _, c := range []byte(sum) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("sha256 %q: it must have lower-case hexadecimal digits only", sum)
		}
	}
	return nil
}

// Path is where the content of that sha256 is, or would be. The file must not be
// written to. It panics when sum is not a sha256.
func (s *Store) Path(sum string) string {
	if err := CheckSum(sum); err != nil {
		panic(err)
	}
	return filepath.Join(s.dir, contentDir, sum[:2], sum)
}

// Has reports whether the content of that sha256 is in the store.
func (s *Store) Has(sum string) bool {
	if CheckSum(sum) != nil {
		return false
	}
	path := s.Path(sum)
	// What cannot be pinned may go at any moment.
	if s.pin(path) != nil {
		return false
	}
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	used(path, info)
	return true
}

// Open opens the content of that sha256 for reading; when there is none the error
// is an [ErrNotFound]. The bytes were verified when they came in; [Store.Verify]
// reports whether they are still the same.
func (s *Store) Open(sum string) (*os.File, error) {
	if CheckSum(sum) == nil {
		if err := s.pin(s.Path(sum)); err != nil {
			return nil, err
		}
	}
	f, err := s.open(sum)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil {
		used(f.Name(), info)
	}
	return f, nil
}

// open opens content without a note that it was used.
func (s *Store) open(sum string) (*os.File, error) {
	if err := CheckSum(sum); err != nil {
		return nil, err
	}
	f, err := os.Open(s.Path(sum))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening content %s: %w", sum, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("opening content: %w", err)
	}
	return f, nil
}

// Verify reads the content of that sha256 and compares. The error is an
// [ErrNotFound] when there is none and a [*MismatchError] when it is damaged.
func (s *Store) Verify(ctx context.Context, sum string) error {
	f, err := s.open(sum)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := Sum(ctx, f)
	if err != nil {
		return fmt.Errorf("verifying content %s: %w", sum, err)
	}
	if got != sum {
		return &MismatchError{Want: sum, Got: got, Path: f.Name()}
	}
	return nil
}

// Sum reads to the end, or to the end of the context, and gives the sha256 of what came.
func Sum(ctx context.Context, r io.Reader) (string, error) {
	hash := sha256.New()
	if _, err := io.Copy(hash, contextReader{ctx, r}); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// Whole reports whether the content of each sha256 is there and undamaged. Damaged content
// is removed, so that it can be put again. What this process has read once is read again
// only if its file has changed since.
func (s *Store) Whole(ctx context.Context, sums ...string) (bool, error) {
	for _, sum := range sums {
		if whole, err := s.whole(ctx, sum); !whole || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (s *Store) whole(ctx context.Context, sum string) (bool, error) {
	if !s.Has(sum) {
		return false, CheckSum(sum)
	}
	state := stateOf(s.Path(sum))
	if known, ok := s.verified.Load(sum); ok && known == state {
		return true, nil
	}
	err := s.Verify(ctx, sum)
	switch damaged := (*MismatchError)(nil); {
	case err == nil:
		if state.settled() {
			s.verified.Store(sum, state)
		}
		return true, nil
	case errors.Is(err, ErrNotFound):
		return false, nil
	case !errors.As(err, &damaged):
		return false, err
	}
	unlock, err := s.Lock(ctx, "damaged "+sum)
	if err != nil {
		return false, err
	}
	defer unlock()
	// Another process may have removed it and put it again.
	if s.Verify(ctx, sum) == nil {
		return true, nil
	}
	if err := os.Remove(s.Path(sum)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("removing damaged content: %w", err)
	}
	return false, nil
}

// fileState is what changes when a file is written to or replaced.
type fileState struct {
	inode, size int64
	changed     time.Time
}

func stateOf(path string) fileState {
	info, err := os.Lstat(path)
	if err != nil {
		return fileState{}
	}
	st, _ := system.StatOf(info)
	return fileState{int64(st.Inode), info.Size(), st.Changed}
}

// coarse is more than the kernel's clock takes from one time of a file to the next.
const coarse = time.Second

// settled reports whether a change of the file from now on shows in its state.
func (f fileState) settled() bool {
	return f.inode != 0 && time.Since(f.changed) > coarse
}

// Put stores what r gives and names it by its sha256.
func (s *Store) Put(ctx context.Context, r io.Reader) (sum string, size int64, err error) {
	w, err := s.Create(ctx)
	if err != nil {
		return "", 0, err
	}
	defer w.Abort()
	if _, err := io.Copy(w, r); err != nil {
		return "", 0, fmt.Errorf("storing content: %w", err)
	}
	return w.Commit()
}

// PutExpected stores what r gives if it has that sha256; otherwise the error is a
// [*MismatchError] and nothing is stored.
func (s *Store) PutExpected(ctx context.Context, r io.Reader, sum string) error {
	if err := CheckSum(sum); err != nil {
		return err
	}
	w, err := s.Create(ctx)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := io.Copy(w, r); err != nil {
		return fmt.Errorf("storing content %s: %w", sum, err)
	}
	w.want = sum
	_, _, err = w.Commit()
	return err
}

// contextReader ends with its context.
type contextReader struct {
	//nolint:containedctx // a Read has no context of its own
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
