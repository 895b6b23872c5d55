// Package wheel opens wheel files, and programs that are zip files, within limits.
package wheel

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

// Limits bound what a wheel file may hold. A zero field is no bound.
type Limits struct {
	// Members is the number of files and directories.
	Members int
	// Directory is the size of the zip's central directory in bytes.
	Directory int64
	// Bytes is the sum of the members' sizes; Ratio bounds it relative to the
	// file's size, but for the first [freeBytes].
	Bytes, Ratio int64
}

// DefaultLimits admit the largest wheels known, several times over.
var DefaultLimits = Limits{Members: 100_000, Directory: 16 << 20, Bytes: 16 << 30, Ratio: 200}

// freeBytes may always be unpacked: small wheels of zeros are no bombs.
const freeBytes = 64 << 20

// ErrArchive is wrapped by errors about files that are no sound zip files, or
// exceed their limits.
var ErrArchive = errors.New("unsound wheel file")

// Open opens a wheel file of size bytes. Limits are checked on what the zip's
// directory claims; a member that is longer than it claims fails when read
// (archive/zip checks size and CRC). A file that other programs could read in another
// way is an error: members that overlap or leave gaps, headers that disagree, two
// directories, encryption, names that are no UTF-8.
func Open(r io.ReaderAt, size int64, limits Limits) (*zip.Reader, error) {
	directory, err := findDirectory(r, size)
	if err != nil {
		return nil, err
	}
	// Whoever reads it keeps all of it in memory.
	if limits.Directory > 0 && directory.size > limits.Directory {
		return nil, unsound("directory of %d bytes", directory.size)
	}
	if err := checkHeaders(r, directory); err != nil {
		return nil, err
	}
	z, err := zip.NewReader(r, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, fmt.Errorf("%w: %w", ErrArchive, err)
	}
	// Most of the time that reading a wheel takes is spent here; this one takes a third less.
	z.RegisterDecompressor(zip.Deflate, inflate)
	if limits.Members > 0 && len(z.File) > limits.Members {
		return nil, fmt.Errorf("%w: more than %d members", ErrArchive, limits.Members)
	}
	if err := checkBytes(z, size, limits); err != nil {
		return nil, err
	}
	return z, nil
}

func checkBytes(z *zip.Reader, size int64, limits Limits) error {
	var total uint64
	for _, f := range z.File {
		if f.UncompressedSize64 > 1<<62 || total > 1<<62 {
			return fmt.Errorf("%w: %s claims %d bytes", ErrArchive, f.Name, f.UncompressedSize64)
		}
		total += f.UncompressedSize64
	}
	if limits.Bytes > 0 && total > uint64(limits.Bytes) {
		return fmt.Errorf("%w: unpacks to %d bytes, more than %d", ErrArchive, total, limits.Bytes)
	}
	if limits.Ratio > 0 && total > freeBytes && total/uint64(limits.Ratio) > uint64(size) {
		return fmt.Errorf("%w: %d bytes unpack to %d, more than %d times as many", ErrArchive, size, total, limits.Ratio)
	}
	return nil
}

// inflaters are those that are not in use: each has 40 kB of state, and wheels have
// thousands of members.
var inflaters sync.Pool

// inflate decompresses a member.
func inflate(r io.Reader) io.ReadCloser {
	if old, ok := inflaters.Get().(io.ReadCloser); ok {
		if err := old.(flate.Resetter).Reset(r, nil); err == nil {
			return &inflater{old}
		}
	}
	return &inflater{flate.NewReader(r)}
}

// inflater gives its decompressor back when it is closed.
type inflater struct{ io.ReadCloser }

// Read implements [io.Reader].
func (i *inflater) Read(p []byte) (int, error) {
	if i.ReadCloser == nil {
		return 0, errors.New("reading a member that was closed")
	}
	return i.ReadCloser.Read(p)
}

// Close implements [io.Closer].
func (i *inflater) Close() error {
	if i.ReadCloser == nil {
		return nil
	}
	err := i.ReadCloser.Close()
	inflaters.Put(i.ReadCloser)
	i.ReadCloser = nil
	return err
}
