package wheel

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// OpenProgram opens a zip file of size bytes before which a program may stand, as before those
// that package zipapp, pex and shiv make. It checks the limits as [Open] does, and not whether
// other programs could read the file in another way.
func OpenProgram(r io.ReaderAt, size int64, limits Limits) (*zip.Reader, error) {
	tail := make([]byte, min(size, endSize+maxComment+locSize))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading zip file: %w", err)
	}
	i := bytes.LastIndex(tail, []byte(endSignature))
	if i < 0 || len(tail)-i < endSize {
		return nil, unsound("no end of central directory")
	}
	// Whoever reads the directory keeps all of it in memory. That of a ZIP64 file ends before
	// its own end record, which names its size.
	directory := int64(binary.LittleEndian.Uint32(tail[i+12:]))
	if directory == in32 && i >= locSize {
		wide, _, err := directory64(r, tail[i-locSize:i], size-int64(len(tail)-i)-locSize)
		if err != nil {
			return nil, err
		}
		directory = wide.size
	}
	if limits.Directory > 0 && directory > limits.Directory {
		return nil, unsound("directory of %d bytes", directory)
	}
	z, err := zip.NewReader(r, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, fmt.Errorf("%w: %w", ErrArchive, err)
	}
	z.RegisterDecompressor(zip.Deflate, inflate)
	if limits.Members > 0 && len(z.File) > limits.Members {
		return nil, fmt.Errorf("%w: more than %d members", ErrArchive, limits.Members)
	}
	return z, checkBytes(z, size, limits)
}
