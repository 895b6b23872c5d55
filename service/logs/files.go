package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"ampoule/service/database"
)

// Files keeps streams as files: DIR/BUILD/STREAM.log.
type Files struct{ Dir string }

var _ Store = Files{}

func (f Files) path(build string, stream Stream) string {
	return filepath.Join(f.Dir, build, string(stream)+".log")
}

// Append implements [Store]. A file that was removed begins anew.
func (f Files) Append(_ context.Context, _ database.Tx, build string, stream Stream, data []byte) error {
	if err := check(build, stream); err != nil {
		return err
	}
	path := f.path(build, stream)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("writing log of build %s: %w", build, err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("writing log of build %s: %w", build, err)
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("writing log of build %s: %w", build, err)
	}
	return nil
}

// Read implements [Store].
func (f Files) Read(_ context.Context, build string, stream Stream, offset int64, limit int) ([]byte, error) {
	if err := check(build, stream); err != nil {
		return nil, err
	}
	file, err := os.Open(f.path(build, stream))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, behind(offset, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("reading log of build %s: %w", build, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading log of build %s: %w", build, err)
	}
	left := info.Size() - offset
	if offset < 0 || left <= 0 {
		return nil, behind(offset, info.Size())
	}
	data := make([]byte, min(left, int64(max(limit, 0)), MaxRead))
	n, err := file.ReadAt(data, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading log of build %s: %w", build, err)
	}
	return data[:n], nil
}

// behind is nil for the end of a stream, and an error for what is no place in it.
func behind(offset, size int64) error {
	if offset == size {
		return nil
	}
	return &OffsetError{offset, size}
}

// Remove implements [Store].
func (f Files) Remove(_ context.Context, build string) error {
	if !idForm.MatchString(build) {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(f.Dir, build)); err != nil {
		return fmt.Errorf("removing logs of build %s: %w", build, err)
	}
	return nil
}
