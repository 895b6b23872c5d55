package queue

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// inMemory is how much of a spool is kept in memory: a usual submission. What is longer goes
// into a file.
const inMemory = 64 << 10

// spool takes bytes that come from elsewhere, and gives them as often as is wanted.
type spool struct {
	// dir is for the temporary file; empty is the system's.
	dir   string
	size  int64
	small []byte
	// file has no name: nothing of it is left, however the process ends. It is nil for what is
	// small.
	file *os.File
}

// Write implements [io.Writer].
func (s *spool) Write(p []byte) (n int, err error) {
	if s.file == nil && s.size+int64(len(p)) > inMemory {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	if s.file == nil {
		s.small, n = append(s.small, p...), len(p)
	} else {
		n, err = s.file.Write(p)
	}
	s.size += int64(n)
	return n, err
}

// spill moves what came so far into a file.
func (s *spool) spill() error {
	f, err := os.CreateTemp(s.dir, "archive-")
	if err != nil {
		return fmt.Errorf("making a temporary file: %w", err)
	}
	s.file = f
	err = os.Remove(f.Name())
	if err == nil {
		_, err = f.Write(s.small)
	}
	s.small = nil
	return err
}

// ReadAt implements [io.ReaderAt].
func (s *spool) ReadAt(p []byte, off int64) (int, error) {
	if s.file != nil {
		return s.file.ReadAt(p, off)
	}
	return bytes.NewReader(s.small).ReadAt(p, off)
}

// Close gives up what was taken.
func (s *spool) Close() error {
	if s.file == nil {
		return nil
	}
	if err := s.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// reader reads all of it from the beginning, and closes it.
func (s *spool) reader() io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(s, 0, s.size), s}
}
