package wheel

import (
	"archive/zip"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

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
var DefaultLimits = Limits{Members: 200_000, Directory: 64 << 20, Bytes: 16 << 30, Ratio: 200}

// freeBytes may always be unpacked: small wheels of zeros are no bombs.
const freeBytes = 64 << 20

// ErrArchive is wrapped by errors about files that are no sound zip files, or
// exceed their limits.
var ErrArchive = errors.New("unsound wheel file")

// Open opens a wheel file of size bytes. Limits are checked on what the zip's
// directory claims; a member that is longer than it claims fails when read
// (archive/zip checks size and CRC). Members that share bytes of the file are
// an error: that is how small files unpack to endless ones.
func Open(r io.ReaderAt, size int64, limits Limits) (*zip.Reader, error) {
	if err := checkDirectory(r, size, limits); err != nil {
		return nil, err
	}
	z, err := zip.NewReader(r, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, fmt.Errorf("%w: %w", ErrArchive, err)
	}
	// Most of the time that reading a wheel takes is spent here; this one takes a third less.
	z.RegisterDecompressor(zip.Deflate, func(r io.Reader) io.ReadCloser { return flate.NewReader(r) })
	if limits.Members > 0 && len(z.File) > limits.Members {
		return nil, fmt.Errorf("%w: more than %d members", ErrArchive, limits.Members)
	}
	if err := checkBytes(z, size, limits); err != nil {
		return nil, err
	}
	return z, checkOverlap(z)
}

// The signatures and sizes of a zip's end records (APPNOTE 6.3.9, 4.3.14 to 4.3.16).
const (
	endSignature   = "PK\x05\x06"
	end64Signature = "PK\x06\x06"
	locSignature   = "PK\x06\x07"
	endSize        = 22
	locSize        = 20
	maxComment     = 1<<16 - 1
)

// checkDirectory bounds the central directory before archive/zip, which keeps
// all of it in memory, reads it.
func checkDirectory(r io.ReaderAt, size int64, limits Limits) error {
	tail := make([]byte, min(size, endSize+maxComment+locSize))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading wheel file: %w", err)
	}
	for i := len(tail) - endSize; i >= 0; i-- {
		if string(tail[i:i+4]) != endSignature {
			continue
		}
		offset := int64(binary.LittleEndian.Uint32(tail[i+16:]))
		if i >= locSize && string(tail[i-locSize:i-locSize+4]) == locSignature {
			var err error
			if offset, err = directory64(r, int64(binary.LittleEndian.Uint64(tail[i-locSize+8:])), offset); err != nil {
				return err
			}
		}
		end := size - int64(len(tail)) + int64(i)
		if n := end - offset; offset < 0 || n < 0 || limits.Directory > 0 && n > limits.Directory {
			return fmt.Errorf("%w: directory of %d bytes", ErrArchive, n)
		}
		return nil
	}
	return fmt.Errorf("%w: no end of central directory", ErrArchive)
}

// directory64 reads where a ZIP64 directory starts.
func directory64(r io.ReaderAt, at, offset int64) (int64, error) {
	record := make([]byte, 56)
	if at < 0 {
		return 0, fmt.Errorf("%w: ZIP64 end at %d", ErrArchive, at)
	}
	if _, err := r.ReadAt(record, at); err != nil || string(record[:4]) != end64Signature {
		return 0, fmt.Errorf("%w: no ZIP64 end at %d", ErrArchive, at)
	}
	return min(offset, int64(binary.LittleEndian.Uint64(record[48:]))), nil
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

// checkOverlap refuses members whose compressed bytes overlap.
func checkOverlap(z *zip.Reader) error {
	type span struct{ start, end uint64 }
	spans := make([]span, 0, len(z.File))
	for _, f := range z.File {
		start, err := f.DataOffset()
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrArchive, f.Name, err)
		}
		spans = append(spans, span{uint64(start), uint64(start) + f.CompressedSize64})
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	for i := 1; i < len(spans); i++ {
		if spans[i].start < spans[i-1].end {
			return fmt.Errorf("%w: two members share the bytes at %d", ErrArchive, spans[i].start)
		}
	}
	return nil
}
