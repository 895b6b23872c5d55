package elf

import (
	"fmt"
	"io"
	"strings"
)

// windowSize is how many bytes of a table are read at a time.
const windowSize = 256 << 10

// window is a mapped table that is read from its beginning on, a part at a time.
type window struct {
	img          *image
	offset, size uint64
	what         string
	// from is where part begins in the table.
	from uint64
	part []byte
}

// window finds the table of n bytes that is mapped at an address.
func (img *image) window(addr, n uint64, what string) (*window, error) {
	offset, err := img.offset(addr, n, what)
	if err != nil {
		return nil, err
	}
	return &window{img: img, offset: offset, size: n, what: what}, nil
}

// at reads n bytes of the table. They are valid until it is called again.
func (w *window) at(offset, n uint64) ([]byte, error) {
	if offset < w.from || offset+n > w.from+uint64(len(w.part)) {
		part, err := w.img.bytes(w.offset+offset, min(max(n, windowSize), w.size-offset), w.what)
		if err != nil {
			return nil, err
		}
		w.from, w.part = offset, part
	}
	return w.part[offset-w.from:][:n], nil
}

// text reads the n bytes that are mapped at an address, as text, without a copy of it.
func (img *image) text(addr, n uint64, what string) (string, error) {
	offset, err := img.offset(addr, n, what)
	if err != nil {
		return "", err
	}
	if offset > img.size || n > img.size-offset {
		return "", malformed("%s: %d bytes at %d in a file of %d", what, n, offset, img.size)
	}
	var b strings.Builder
	b.Grow(int(n))
	if got, err := io.Copy(&b, io.NewSectionReader(img.r, int64(offset), int64(n))); err != nil || got != int64(n) {
		return "", fmt.Errorf("reading %s: %d of %d bytes: %w", what, got, n, orEnd(err))
	}
	return b.String(), nil
}

// orEnd is an error, or that a file ended too soon.
func orEnd(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

// add keeps a symbol, or gives it to whoever wants each.
func (f *File) add(s Symbol, each func(Symbol)) {
	if each != nil {
		each(s)
		return
	}
	f.Symbols = append(f.Symbols, s)
}
