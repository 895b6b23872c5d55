package survey

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"strings"

	"ampoule/audit"
	"ampoule/audit/wheel"
	"ampoule/tree"
)

// archive is a file that can be read anywhere.
type archive struct {
	io.ReaderAt
	io.Closer
	// offset and size say where the wheel is in it.
	offset, size int64
}

var errNotSeekable = errors.New("cannot be read in any order")

// openArchive opens a file that is a wheel, or in which pip's cache of downloads keeps
// one.
func openArchive(e tree.Entry, cached bool) (archive, error) {
	r, err := e.Content.Open()
	if err != nil {
		return archive{}, err
	}
	at, ok := r.(io.ReaderAt)
	if !ok {
		return archive{}, errors.Join(errNotSeekable, r.Close())
	}
	a := archive{at, r, 0, e.Size}
	if cached {
		if a.offset, a.size, err = body(at, e.Size); err != nil {
			return archive{}, errors.Join(err, r.Close())
		}
	}
	return a, nil
}

// section is the wheel alone.
func (a archive) section() *io.SectionReader { return io.NewSectionReader(a, a.offset, a.size) }

// maxEnvelope bounds what stands before a download in the older form of pip's cache.
const maxEnvelope = 64 << 10

// body finds the download in a file of pip's cache: all of it since pip 23.1, and before
// that the field "body" of a MessagePack map (CacheControl's serialisation, version 4). Without one it is an error that wraps [fs.ErrInvalid].
func body(r io.ReaderAt, size int64) (offset, length int64, err error) {
	start := make([]byte, min(size, maxEnvelope))
	if _, err := r.ReadAt(start, 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, err
	}
	if bytes.HasPrefix(start, []byte("PK\x03\x04")) {
		return 0, size, nil
	}
	if !bytes.HasPrefix(start, []byte("cc=4,")) {
		return 0, 0, fs.ErrInvalid
	}
	_, rest, ok := bytes.Cut(start, []byte("\xa4body"))
	if !ok {
		return 0, 0, fs.ErrInvalid
	}
	// bin 8, bin 16, bin 32: a type and a length of so many bytes.
	widths := map[byte]int{0xc4: 1, 0xc5: 2, 0xc6: 4}
	if len(rest) < 5 || widths[rest[0]] == 0 {
		return 0, 0, fs.ErrInvalid
	}
	width := widths[rest[0]]
	number := make([]byte, 8)
	copy(number[8-width:], rest[1:1+width])
	length = int64(binary.BigEndian.Uint64(number))
	offset = int64(len(start)-len(rest)) + 1 + int64(width)
	if length > size-offset || !bytes.HasPrefix(rest[1+width:], []byte("PK\x03\x04")) {
		return 0, 0, fs.ErrInvalid
	}
	return offset, length, nil
}

// isELF tells by the magic number whether a file is an ELF file.
func isELF(e tree.Entry) bool {
	r, err := e.Content.Open()
	if err != nil {
		return false
	}
	defer r.Close()
	start := make([]byte, 4)
	_, err = io.ReadFull(r, start)
	return err == nil && audit.IsELF(start)
}

// isArchive reports whether a file is a zip archive, or a download that has one in it.
func isArchive(e tree.Entry) bool {
	a, err := openArchive(e, true)
	if err != nil {
		return false
	}
	a.Close()
	return true
}

// holdsWheel reports whether a file of pip's cache of downloads is a wheel, and not an
// index page or an sdist. An archive that is not sound may be one.
func holdsWheel(e tree.Entry) (bool, error) {
	a, err := openArchive(e, true)
	if errors.Is(err, fs.ErrInvalid) || errors.Is(err, errNotSeekable) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer a.Close()
	z, err := wheel.Open(a.section(), a.size, wheel.DefaultLimits)
	return err != nil || hasWheelFile(z), nil
}

func hasWheelFile(z *zip.Reader) bool {
	for _, f := range z.File {
		if dir, ok := strings.CutSuffix(f.Name, ".dist-info/WHEEL"); ok && !strings.Contains(dir, "/") {
			return true
		}
	}
	return false
}
